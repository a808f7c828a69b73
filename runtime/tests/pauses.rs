//! Cores are brought to a safe point while they start, end, fork, or want to do the same themselves; and the kernel refuses what
//! they need to go on. Nobody is left out, nobody is waited for in vain, nothing hangs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/files.rs"]
mod files;
#[path = "common/watch.rs"]
mod watch;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::forks::{Shared, fork};
use common::waiting::Waiting;
use common::{PATIENCE, run, run_on, run_two, until, until_blocking, work};
use files::NoMoreFiles;
use runtime::guard::{Daemonize, daemonize, identity_changed};
use runtime::{Builder, Mode};
use watch::{Thread, in_each_mode};

fn cores(mode: Mode, cores: usize) -> Builder {
    Builder::new().cores(cores).pin(false).mode(mode)
}

/// Starts core `index`, which then has nothing to do. Cores are asked in the order of their numbers, so when it rests, all
/// before it have been asked.
async fn idle_core(index: usize) -> Thread {
    runtime::spawn_on(index, || async {}).await.unwrap();
    Thread::of_core(index)
}

/// Else it would have a ring of the former identity.
#[test]
fn a_core_that_starts_during_the_pause_is_replaced_too() {
    in_each_mode("a_core_that_starts_during_the_pause_is_replaced_too", |mode| {
        run_on(cores(mode, 4), mode, async {
            let shared = Shared::new(1);
            let last = idle_core(3).await;
            let starts = runtime::spawn_on(1, move || async move {
                shared.set(0, 1);
                last.until_resting();
                drop(runtime::spawn_on(2, || async {}));
            });
            until("core 1 is busy", || shared.get(0) == 1).await;
            identity_changed().unwrap();
            let replaced: Vec<_> =
                runtime::metrics().cores.iter().map(|core| core.replaced.identity).collect();
            assert_eq!(replaced, [1; 4]);
            starts.await.unwrap();
            work::everything_everywhere().await;
        });
    });
}

/// It does not come to the safe point any more, and who asked does not have to wait until it is too late.
#[test]
fn a_core_that_ends_meanwhile_is_excused() {
    in_each_mode("a_core_that_ends_meanwhile_is_excused", |mode| {
        let (shared, runtime) = (Shared::new(2), cores(mode, 3).shutdown_ms(PATIENCE.as_millis() as u64));
        let runtime = runtime.build().unwrap();
        runtime.block_on(async {
            let last = idle_core(2).await;
            drop(runtime::spawn_on(1, move || async move {
                shared.set(0, 1);
                let outcome = identity_changed().map_or_else(|error| error.to_string(), |()| String::new());
                assert_eq!(outcome, "");
                shared.set(1, 1);
            }));
            // From here on this core does not come to a safe point: it has been asked when it ends.
            until_blocking("core 1 runs", || shared.get(0) == 1);
            last.until_resting();
        });
        drop(runtime);
        assert_eq!(shared.get(1), 1, "core 1 has not got what it asked for");
    });
}

/// In the child nobody will tell it how to go on.
#[test]
fn a_core_forks_when_it_has_been_asked() {
    in_each_mode("a_core_forks_when_it_has_been_asked", |mode| {
        run_on(cores(mode, 3), mode, async {
            let shared = Shared::new(1);
            let last = idle_core(2).await;
            let forks = runtime::spawn_on(1, move || async move {
                let waiting = Waiting::start(5).await;
                shared.set(0, 1);
                last.until_resting();
                fork(work::everything_everywhere()).await.succeeds().await;
                waiting.finish().await;
            });
            until("core 1 is busy", || shared.get(0) == 1).await;
            identity_changed().unwrap();
            forks.await.unwrap();
            work::everything_everywhere().await;
        });
    });
}

/// Its task is in its first poll, so it is in no list; a daemon would lose it.
#[test]
fn a_core_that_waits_for_its_turn_has_a_task() {
    in_each_mode("a_core_that_waits_for_its_turn_has_a_task", |mode| {
        run_on(cores(mode, 4), mode, async {
            let shared = Shared::new(2);
            let last = idle_core(3).await;
            let second = idle_core(1).await;
            let slow = runtime::spawn_on(2, move || async move {
                shared.set(0, 1);
                second.until_resting();
            });
            until("core 2 is busy", || shared.get(0) == 1).await;
            let waits = runtime::spawn_on(1, move || async move {
                shared.set(1, 1);
                last.until_resting();
                identity_changed()
            });
            // Nothing is polled here meanwhile, so that it is still in its first poll when it is asked.
            until_blocking("core 1 is busy", || shared.get(1) == 1);
            let error = daemonize(Daemonize::new().keep_stdio(true)).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
            assert!(error.to_string().contains("core 1 has 1 tasks"), "{error}");
            waits.await.unwrap().unwrap();
            slow.await.unwrap();
            work::everything_everywhere().await;
        });
    });
}

/// For want of descriptors. When there are some again, everything goes on.
#[test]
fn a_new_ring_is_refused_for_a_while() {
    in_each_mode("a_new_ring_is_refused_for_a_while", |mode| {
        run(mode, async {
            let waiting = Waiting::start(20).await;
            let no_more = NoMoreFiles::from_now_on();
            let error = identity_changed().unwrap_err();
            drop(no_more);
            assert!(error.to_string().contains("open an io_uring"), "{error}");
            waiting.finish().await;
            work::everything_everywhere().await;
            identity_changed().unwrap();
            assert_eq!(runtime::metrics().cores[0].mode, Some(mode));
        });
    });
}

/// The other core can't go on, and its tasks end with an error; so does what is sent to it.
#[test]
fn another_cores_new_ring_is_refused() {
    in_each_mode("another_cores_new_ring_is_refused", |mode| {
        run_two(mode, async {
            let shared = Shared::new(1);
            let far = runtime::spawn_on(1, move || async move {
                let waiting = Waiting::start(5).await;
                shared.set(0, 1);
                waiting.finish_never().await;
            });
            until("core 1 waits", || shared.get(0) == 1).await;
            let no_more = NoMoreFiles::from_now_on();
            identity_changed().unwrap_err();
            drop(no_more);
            far.await.unwrap_err();
            runtime::spawn_on(1, || async {}).await.unwrap_err();
            work::everything().await;
        });
    });
}

/// There is no hope for the first core: `block_on` says so.
#[test]
fn a_new_ring_is_refused_for_good() {
    in_each_mode("a_new_ring_is_refused_for_good", |mode| {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            run(mode, async {
                let waiting = Waiting::start(5).await;
                let _no_more = NoMoreFiles::from_now_on();
                identity_changed().unwrap_err();
                waiting.finish_never().await;
            });
        }));
        let message = ended.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("core 0 is broken"), "{message}");
    });
}
