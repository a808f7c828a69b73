//! A request that the kernel does not give back when its ring is to be replaced: it stays with that ring, which goes on beside
//! the new one until the request has ended, once. What can't go on with it - another process, another image, another user - is
//! refused, and nothing is lost.
#![allow(unsafe_code, reason = "asks for the ids of the process")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/gate.rs"]
mod gate;
#[path = "common/watch.rs"]
mod watch;

use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;

use common::forks::rings;
use common::waiting::Waiting;
use common::{builder, descriptors, poll_once, run, until, until_operations, work};
use gate::Gate;
use runtime::Mode;
use runtime::guard::{Daemonize, Upgrade, daemonize, drop_privileges, identity_changed};
use runtime::op::{Op, Open};
use watch::{Thread, in_each_mode};

/// Runs `body` for each mode, in a process of its own, with a gate; or not at all.
fn gated(test: &str, body: impl Fn(Mode, Arc<Gate>)) {
    match Gate::new() {
        Err(error) => println!("SKIPPED {test}: no file can be held by fanotify: {error}"),
        Ok(gate) => {
            // Made here, where it can be removed again whoever the others become.
            let gate = Arc::new(gate);
            in_each_mode(test, |mode| body(mode, Arc::clone(&gate)));
        }
    }
}

/// An open that waits at the gate, beside so many others.
async fn held(gate: &Gate, others: usize) -> Op<Open> {
    let mut open = gate.open();
    assert!(poll_once(&mut open).await.is_pending());
    until("the kernel's question", || gate.waiting() == others + 1).await;
    open
}

/// An open that waits at the gate; its ring has been replaced.
async fn left_behind(gate: &Gate) -> Op<Open> {
    let open = held(gate, 0).await;
    identity_changed().unwrap();
    assert_eq!(rings().len(), 2, "its ring is still open, beside the new one");
    open
}

/// Lets one in, who gets the file.
async fn is_let_in(gate: &Gate, open: Op<Open>) {
    assert_eq!(gate.let_in(), 1, "it has been asked for once");
    open.await.unwrap().close().await.unwrap();
}

/// Nothing else happens there, and an entered ring completes nothing unless it is entered.
#[test]
fn a_core_that_sleeps_gets_the_result() {
    gated("a_core_that_sleeps_gets_the_result", |mode, gate| {
        let sleeps_at_once = builder(mode).spin_us_max(0);
        common::run_on(sleeps_at_once, mode, async {
            let open = left_behind(&gate).await;
            let (core, answered) = (Thread::this(), Arc::clone(&gate));
            let answering = thread::spawn(move || {
                core.until_sleeping_in(libc::SYS_io_uring_enter);
                answered.let_in()
            });
            let file = open.await.unwrap();
            assert_eq!(answering.join().unwrap(), 1);
            file.close().await.unwrap();
            until("the former ring is closed", || rings().len() == 1).await;
        });
    });
}

/// Several rings at the same time; none of the requests is submitted again, though everything else is.
#[test]
fn each_result_comes_once() {
    gated("each_result_comes_once", |mode, gate| {
        run(mode, async {
            let before = descriptors();
            let mut opens = Vec::new();
            for round in 1..=3 {
                opens.push(held(&gate, round - 1).await);
                let waiting = Waiting::queue(20).await;
                until_operations(round as u64 + 20).await;
                identity_changed().unwrap();
                let last = runtime::metrics().cores[0].last_replacement.unwrap();
                assert_eq!(last.carried, 20, "all but what the kernel keeps: {last:?}");
                assert_eq!(rings().len(), round + 1);
                waiting.finish().await;
                work::everything().await;
            }
            assert!(poll_once(&mut opens[0]).await.is_pending());
            assert_eq!(gate.let_in(), 3, "each has been asked for once");
            for open in opens {
                open.await.unwrap().close().await.unwrap();
            }
            assert_eq!(gate.waiting(), 0);
            until_operations(0).await;
            until("the former rings are closed", || rings().len() == 1).await;
            assert_eq!(descriptors(), before, "a second result is a descriptor that nobody has");
            work::everything().await;
        });
    });
}

/// What the kernel opens at last for nobody is closed.
#[test]
fn a_future_that_is_dropped_meanwhile() {
    gated("a_future_that_is_dropped_meanwhile", |mode, gate| {
        run(mode, async {
            let before = descriptors();
            let (first, second, third) = (held(&gate, 0).await, held(&gate, 1).await, held(&gate, 2).await);
            drop(first);
            identity_changed().unwrap();
            drop(second);
            identity_changed().unwrap();
            work::everything().await;
            assert_eq!((rings().len(), gate.let_in()), (2, 3));
            third.await.unwrap().close().await.unwrap();
            until_operations(0).await;
            until("the former ring is closed", || rings().len() == 1).await;
            assert_eq!(descriptors(), before);
            work::everything().await;
        });
    });
}

/// The request would be carried out in a process that is gone.
#[test]
fn a_daemon_is_refused() {
    gated("a_daemon_is_refused", |mode, gate| {
        run(mode, async {
            let (open, waiting) = (left_behind(&gate).await, Waiting::queue(20).await);
            let error = daemonize(Daemonize::new().keep_stdio(true)).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            waiting.finish().await;
            work::everything_everywhere().await;
            is_let_in(&gate, open).await;
        });
    });
}

/// Kept by the present ring, or by a former one.
#[test]
fn an_upgrade_is_refused() {
    gated("an_upgrade_is_refused", |mode, gate| {
        for replaced in [false, true] {
            run(mode, async {
                let open = if replaced { left_behind(&gate).await } else { held(&gate, 0).await };
                let waiting = Waiting::queue(20).await;
                for _ in 0..2 {
                    // Executed, it would end this process with an error.
                    let error = Upgrade::new().program("/bin/false").deadline_ms(100).exec();
                    assert_eq!(error.kind(), ErrorKind::TimedOut, "{replaced}: {error}");
                    work::everything().await;
                }
                waiting.finish().await;
                is_let_in(&gate, open).await;
                // When it has ended nothing is in the way any more.
                let error = Upgrade::new().program("/nonexistent").exec();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{replaced}: {error}");
            });
        }
    });
}

/// It would be carried out with the privileges: nobody knows what the kernel has looked at by then. So nothing has changed.
#[test]
fn dropping_privileges_is_refused() {
    // SAFETY: takes nothing, can't fail.
    let user = || unsafe { (libc::getuid(), libc::geteuid()) };
    gated("dropping_privileges_is_refused", |mode, gate| {
        run(mode, async {
            let before = user();
            let (open, waiting) = (left_behind(&gate).await, Waiting::queue(20).await);
            let error = drop_privileges("65534", Some("65534")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert_eq!(user(), before);
            assert_eq!(runtime::metrics().cores[0].replaced.identity, 1, "by the test alone");
            waiting.finish().await;
            is_let_in(&gate, open).await;
            drop_privileges("65534", Some("65534")).unwrap();
            assert_eq!(user(), (65_534, 65_534));
            work::through_a_pipe(vec![0; 8]).await;
        });
    });
}
