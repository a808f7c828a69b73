//! Signals after a fork: each process gets its own ones only, on listeners of before and after.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::pin::pin;

use common::forks::{Shared, fork};
use common::{MODES, in_child, poll_deaf, run, until, until_operations, work};
use runtime::signal::{SignalKind, signal};

fn raise(kind: SignalKind) {
    signal_hook::low_level::raise(kind.as_raw()).unwrap();
}

#[test]
fn the_childs_do_not_reach_the_parent() {
    in_child("the_childs_do_not_reach_the_parent", || {
        for mode in MODES {
            run(mode, async {
                let mut hangups = signal(SignalKind::HANGUP).unwrap();
                let mut recv = Box::pin(hangups.recv());
                assert!(poll_deaf(&mut recv).is_pending());
                until_operations(1).await;
                let child = fork(async {
                    work::signals().await;
                    let mut mine = signal(SignalKind::HANGUP).unwrap();
                    for _ in 0..10 {
                        raise(SignalKind::HANGUP);
                        mine.recv().await.unwrap();
                    }
                })
                .await;
                child.succeeds().await;
                // A turn in which a completion would have come.
                work::through_a_pipe(vec![0; 10]).await;
                assert!(poll_deaf(&mut recv).is_pending(), "the parent got a signal of its child");
                raise(SignalKind::HANGUP);
                recv.await.unwrap();
            });
        }
    });
}

/// Both listen; the child must not take what is the parent's.
#[test]
fn the_parents_are_not_taken_by_the_child() {
    in_child("the_parents_are_not_taken_by_the_child", || {
        for mode in MODES {
            run(mode, async {
                let shared = Shared::new(2);
                let mut hangups = signal(SignalKind::HANGUP).unwrap();
                let child = fork(async {
                    shared.set(0, 1);
                    loop {
                        match hangups.recv().await {
                            // What was in flight at the fork, at most once.
                            Err(error) if error.raw_os_error() == Some(libc::EOWNERDEAD) => {}
                            result => break result.unwrap(),
                        }
                    }
                    assert_eq!(shared.get(1), 1, "a signal of the parent's came here");
                })
                .await;
                until("the child", || shared.get(0) == 1).await;
                for _ in 0..100 {
                    raise(SignalKind::HANGUP);
                    hangups.recv().await.unwrap();
                }
                shared.set(1, 1);
                // SIGHUP to the child: its own.
                assert!(
                    std::process::Command::new("kill")
                        .args(["-HUP", &child.pid().to_string()])
                        .status()
                        .unwrap()
                        .success()
                );
                child.succeeds().await;
                assert!(poll_deaf(&mut pin!(hangups.recv())).is_pending());
            });
        }
    });
}
