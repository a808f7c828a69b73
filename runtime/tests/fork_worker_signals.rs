//! Signals and workers: a worker has the default actions until it listens itself, and neither side sees the other's.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;

use common::forks::{Shared, alarm};
use common::{MODES, in_child, poll_deaf, run, until, work};
use runtime::guard::fork_worker;
use runtime::signal::{SignalKind, signal};

/// The parent listens, so that its handler is there at the fork; the worker does not, and is killed as any program would be:
/// also by a signal that comes before it has done anything.
#[test]
fn a_worker_that_does_not_listen_has_the_default_action() {
    in_child("a_worker_that_does_not_listen_has_the_default_action", || {
        for mode in MODES {
            run(mode, async {
                let mut terms = signal(SignalKind::TERMINATE).unwrap();
                let mut term = pin!(terms.recv());
                assert!(poll_deaf(&mut term).is_pending());
                for round in 0..30 {
                    let shared = Shared::new(1);
                    let mut worker = fork_worker(async move {
                        alarm();
                        shared.set(0, 1);
                        pending::<()>().await;
                    })
                    .unwrap();
                    if round % 3 == 0 {
                        until("its start", || shared.get(0) == 1).await;
                    }
                    worker.kill(SignalKind::TERMINATE).unwrap();
                    assert_eq!(worker.wait().await.unwrap().signal(), Some(libc::SIGTERM));
                }
                work::through_a_pipe(vec![0; 8]).await;
                assert!(poll_deaf(&mut term).is_pending(), "the parent has got a worker's signal");
                signal_hook::low_level::raise(libc::SIGTERM).unwrap();
                term.await.unwrap();
            });
        }
    });
}

#[test]
fn a_worker_that_listens_gets_its_own_ones() {
    in_child("a_worker_that_listens_gets_its_own_ones", || {
        for mode in MODES {
            run(mode, async {
                let mut terms = signal(SignalKind::TERMINATE).unwrap();
                let mut term = pin!(terms.recv());
                assert!(poll_deaf(&mut term).is_pending());
                let shared = Shared::new(1);
                let mut worker = fork_worker(async move {
                    alarm();
                    let mut terms = signal(SignalKind::TERMINATE).unwrap();
                    for count in 1..=3 {
                        shared.set(0, count);
                        terms.recv().await.unwrap();
                    }
                    9_u8
                })
                .unwrap();
                for count in 1..=3 {
                    until("the worker listens", || shared.get(0) == count).await;
                    worker.kill(SignalKind::TERMINATE).unwrap();
                }
                assert_eq!(worker.wait().await.unwrap().code(), Some(9));
                work::through_a_pipe(vec![0; 8]).await;
                assert!(poll_deaf(&mut term).is_pending(), "the parent has got a worker's signal");
                signal_hook::low_level::raise(libc::SIGTERM).unwrap();
                term.await.unwrap();
            });
        }
    });
}

/// One that is ignored in the parent (as SIGPIPE is in every Rust program) stays ignored: an inheritance like any other.
#[test]
fn no_signal_stays_blocked_in_a_worker() {
    in_child("no_signal_stays_blocked_in_a_worker", || {
        for mode in MODES {
            run(mode, async {
                let masks = |field: &str| {
                    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                    let line = status.lines().find(|line| line.starts_with(field)).unwrap().to_owned();
                    (field.to_owned(), line)
                };
                let (blocked, ignored) = (masks("SigBlk:"), masks("SigIgn:"));
                let (there, ignored_there) = (blocked.clone(), ignored.clone());
                let mut worker = fork_worker(async move {
                    alarm();
                    assert_eq!((masks("SigBlk:"), masks("SigIgn:")), (there, ignored_there));
                })
                .unwrap();
                assert!(worker.wait().await.unwrap().success());
                assert_eq!((masks("SigBlk:"), masks("SigIgn:")), (blocked, ignored));
            });
        }
    });
}
