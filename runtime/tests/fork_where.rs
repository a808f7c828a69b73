//! Forks at every place: in a task of another core, on a blocking thread, outside of the runtime, in the child of a fork; and
//! children that do nothing with the runtime that they have inherited, or drop it, or outlive their parent.
#![allow(unsafe_code, reason = "becomes the parent of processes whose parents have ended")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use common::forks::{Child, Shared, assert_success, exit_now, fork, fork_plain, fork_raw};
use common::waiting::Waiting;
use common::{MODES, builder, in_child, run, until, until_blocking, until_operations, work};
use runtime::time::timeout;
use runtime::{Builder, Mode, Runtime};

fn two_cores(mode: Mode) -> Runtime {
    Builder::new().cores(2).pin(false).mode(mode).build().unwrap()
}

fn parent_pid() -> libc::pid_t {
    // SAFETY: takes nothing, can't fail.
    unsafe { libc::getppid() }
}

/// As in classic daemonising. The poller ends with the parent; the child has its own, whether it has used its ring before that
/// or not.
#[test]
fn the_parent_exits_first() {
    in_child("the_parent_exits_first", || {
        // SAFETY: takes no pointers. Grandchildren become our children when their parents end.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
        let here = std::process::id() as libc::pid_t;
        for (mode, works_before) in MODES.into_iter().flat_map(|mode| [false, true].map(|at| (mode, at))) {
            let shared = Shared::new(2);
            let parent = fork_plain(|| {
                run(mode, async {
                    let mut waiting = Waiting::start(3).await;
                    let child = fork(async {
                        if works_before {
                            work::everything().await;
                        }
                        shared.set(0, 1);
                        until("the parent's end", || parent_pid() == here).await;
                        waiting.assert_owner_dead().await;
                        work::everything().await;
                        work::everything_everywhere().await;
                    })
                    .await;
                    shared.set(1, child.pid() as u64);
                    until("the child's work", || shared.get(0) == 1).await;
                    // Neither waits for the child nor shuts anything down.
                    exit_now(0);
                });
            });
            parent.succeeds_blocking();
            Child::of_pid(shared.get(1) as libc::pid_t).succeeds_blocking();
        }
    });
}

/// Each generation has requests in flight when the next one is born, and finishes them afterwards.
async fn generations(mode: Mode, left: u32) {
    let mut waiting = Waiting::start(5).await;
    if left > 0 {
        let child = fork(async {
            waiting.assert_owner_dead().await;
            work::everything().await;
            Box::pin(generations(mode, left - 1)).await;
            work::everything().await;
            let core = &runtime::metrics().cores[0];
            assert!(core.replaced.forked >= 1 && core.mode == Some(mode), "{core:?}");
        })
        .await;
        work::everything().await;
        child.succeeds().await;
    }
    waiting.finish().await;
}

#[test]
fn children_of_children() {
    in_child("children_of_children", || {
        for mode in MODES {
            run(mode, generations(mode, 4));
        }
    });
}

/// The thread that survives is the other core's; core 0 is the one that is started anew.
#[test]
fn from_a_task_of_another_core() {
    in_child("from_a_task_of_another_core", || {
        for mode in MODES {
            two_cores(mode).block_on(async {
                let here = Waiting::start(4).await;
                let there = runtime::spawn_on(1, || async {
                    let mut waiting = Waiting::start(4).await;
                    let child = fork(async {
                        waiting.assert_owner_dead().await;
                        assert_eq!(runtime::core(), 1);
                        work::everything().await;
                        work::everything_everywhere().await;
                        assert_eq!(runtime::metrics().cores[1].replaced.forked, 1);
                    })
                    .await;
                    child.succeeds().await;
                    waiting.finish().await;
                });
                there.await.unwrap();
                here.finish().await;
                work::everything_everywhere().await;
            });
        }
    });
}

/// Such a child has no core. It does plain work and ends; one that returns from its closure has nothing left to do.
#[test]
fn from_a_blocking_closure() {
    in_child("from_a_blocking_closure", || {
        for mode in MODES {
            two_cores(mode).block_on(async {
                let waiting = Waiting::start(4).await;
                let plain = || {
                    fork_plain(|| {
                        let file = tempfile::NamedTempFile::new().unwrap();
                        std::fs::write(file.path(), "plain").unwrap();
                        assert_eq!(std::fs::read(file.path()).unwrap(), b"plain");
                    })
                };
                runtime::spawn_blocking(plain).await.unwrap().succeeds().await;
                let returns = runtime::spawn_blocking(|| match fork_raw() {
                    0 => None,
                    pid => Some(Child::of_pid(pid)),
                });
                let returned = returns.await.unwrap().expect("this is the parent");
                // Not only when the pool would let an idle thread go.
                let status = timeout(Duration::from_secs(5), returned.wait()).await.expect("it hangs");
                assert!(status.code().is_some(), "it was ended by force: {status}");
                waiting.finish().await;
                work::everything_everywhere().await;
            });
        }
    });
}

#[test]
fn from_a_thread_of_nobodys() {
    in_child("from_a_thread_of_nobodys", || {
        for mode in MODES {
            run(mode, async {
                let waiting = Waiting::start(4).await;
                let child = std::thread::spawn(|| {
                    fork_plain(|| {
                        // A runtime of the child's own, on this thread.
                        run(Mode::Polled, work::everything());
                        run(Mode::Entered, work::everything());
                    })
                });
                child.join().unwrap().succeeds().await;
                waiting.finish().await;
            });
        }
    });
}

/// Both sides go into `block_on` again, with what was left in flight by the last one.
#[test]
fn between_two_calls_of_block_on() {
    in_child("between_two_calls_of_block_on", || {
        for (mode, used) in MODES.into_iter().flat_map(|mode| [false, true].map(|used| (mode, used))) {
            let runtime = two_cores(mode);
            let mut waiting = used.then(|| runtime.block_on(Waiting::start(4)));
            let child = fork_plain(|| {
                runtime.block_on(async {
                    if let Some(waiting) = &mut waiting {
                        waiting.assert_owner_dead().await;
                    }
                    work::everything_everywhere().await;
                });
                runtime.block_on(work::everything());
            });
            runtime.block_on(async {
                child.succeeds().await;
                if let Some(waiting) = waiting {
                    waiting.finish().await;
                }
                work::everything_everywhere().await;
            });
        }
    });
}

/// With requests in flight, tasks on a core that is not there any more and a closure that runs nowhere.
#[test]
fn a_child_that_drops_the_runtime() {
    in_child("a_child_that_drops_the_runtime", || {
        for (mode, works) in MODES.into_iter().flat_map(|mode| [false, true].map(|works| (mode, works))) {
            let builder = Builder::new().cores(2).pin(false).mode(mode).shutdown_ms(50_000);
            let mut runtime = Some(builder.build().unwrap());
            let shared = Shared::new(2);
            let (mut waiting, blocking) = runtime.as_ref().unwrap().block_on(async {
                runtime::spawn(async {
                    let _reads = Waiting::queue(200).await;
                    std::future::pending::<()>().await;
                });
                drop(runtime::spawn_on(1, move || async move {
                    let _reads = Waiting::start(10).await;
                    shared.set(1, 1);
                    std::future::pending::<()>().await;
                }));
                let blocking =
                    runtime::spawn_blocking(move || until_blocking("the end", || shared.get(0) == 1));
                until("the other core's reads", || shared.get(1) == 1).await;
                (Waiting::queue(10).await, blocking)
            });
            let child = fork_plain(|| {
                let start = Instant::now();
                if works {
                    runtime.as_ref().unwrap().block_on(work::everything_everywhere());
                }
                waiting.abandon();
                drop(runtime.take());
                assert!(start.elapsed() < Duration::from_secs(20), "it waited for what can't come");
                // Another one can be had.
                run(mode, work::everything());
            });
            child.succeeds_blocking();
            let runtime = runtime.take().unwrap();
            runtime.block_on(async {
                shared.set(0, 1);
                blocking.await.unwrap();
                waiting.finish().await;
                work::everything_everywhere().await;
            });
        }
    });
}

/// Neither leaves a trace, at whatever point of the parent's work.
#[test]
fn children_that_exit_or_execute_at_once() {
    in_child("children_that_exit_or_execute_at_once", || {
        for mode in MODES {
            let runtime = builder(mode).build().unwrap();
            runtime.block_on(async {
                let waiting = Waiting::start(20).await;
                for round in 0..20 {
                    let mut child = match fork_raw() {
                        0 if round % 2 == 0 => exit_now(7),
                        0 => panic!("exec: {}", Command::new("sh").args(["-c", "exit 7"]).exec()),
                        pid => Child::of_pid(pid),
                    };
                    work::through_a_pipe(vec![0; 100]).await;
                    assert_eq!(child.wait_while(|| waiting.assert_untouched()).code(), Some(7));
                }
                waiting.finish().await;
                until_operations(0).await;
            });
            let mut child = fork_plain(|| exit_now(0));
            assert_success(child.wait_while(|| ()));
            drop(runtime);
        }
    });
}
