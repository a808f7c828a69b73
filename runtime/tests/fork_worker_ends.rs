//! How a worker ends: with the code of its future's output, by a panic, by a signal; and how its parent learns that.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
#[path = "common/workers.rs"]
mod workers;

use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, panic_any};

use common::forks::{PANICKED, Shared, exit_now, fork, program, role};
use common::{MODES, in_child, poll_once, run_two, until, work};
use futures::FutureExt;
use futures::future::BoxFuture;
use runtime::signal::SignalKind;
use runtime::task::yield_now;
use workers::{start, status_of};

#[test]
fn it_ends_with_the_futures_code() {
    const TEST: &str = "it_ends_with_the_futures_code";
    if role().is_none() {
        let output = program(TEST, "parent").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.matches("no more eggs").count(), MODES.len(), "{stderr}");
        assert!(stderr.contains("panics on purpose"), "{stderr}");
        return;
    }
    for mode in MODES {
        run_two(mode, async {
            assert_eq!(status_of(async {}).await.code(), Some(0));
            assert_eq!(status_of(async { 0_u8 }).await.code(), Some(0));
            assert_eq!(status_of(async { 217_u8 }).await.code(), Some(217));
            assert_eq!(status_of(async { Ok::<(), String>(()) }).await.code(), Some(0));
            let failed = async {
                yield_now().await;
                Err::<(), _>(std::io::Error::other("no more eggs"))
            };
            assert_eq!(status_of(failed).await.code(), Some(1));
            let panics = async {
                yield_now().await;
                panic!("panics on purpose")
            };
            let status = status_of::<BoxFuture<'static, ()>>(Box::pin(panics)).await;
            assert_eq!(status.code(), Some(PANICKED));
        });
    }
}

/// It panics where it is dropped: in a worker, so that whoever catches it must not go on there.
struct PanicsAgain {
    parent: u32,
}

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        assert_eq!(std::process::id(), self.parent, "the destructor of a panic's payload");
    }
}

/// Nothing of the worker may unwind into the task that has forked it: that one would go on in two processes.
#[test]
fn a_panic_whose_payload_panics_when_it_is_dropped() {
    in_child("a_panic_whose_payload_panics_when_it_is_dropped", || {
        for mode in MODES {
            run_two(mode, async {
                let parent = std::process::id();
                for in_task in [false, true] {
                    let forks = async move {
                        let payload = PanicsAgain { parent };
                        let panics = async move {
                            yield_now().await;
                            panic_any(payload)
                        };
                        status_of::<BoxFuture<'static, ()>>(Box::pin(panics)).await
                    };
                    let status = match in_task {
                        true => runtime::spawn(forks).await.unwrap(),
                        false => AssertUnwindSafe(forks).catch_unwind().await.unwrap_or_else(|_| exit_now(3)),
                    };
                    assert_eq!((std::process::id(), status.code()), (parent, Some(PANICKED)));
                }
            });
        }
    });
}

#[test]
fn waiting_killing_and_letting_go() {
    in_child("waiting_killing_and_letting_go", || {
        for mode in MODES {
            run_two(mode, async {
                let mut worker = start(pending::<()>());
                assert!(worker.try_wait().unwrap().is_none());
                // A wait that is dropped loses nothing.
                for _ in 0..3 {
                    assert!(poll_once(&mut Box::pin(worker.wait())).await.is_pending());
                }
                worker.kill(SignalKind::TERMINATE).unwrap();
                assert_eq!(worker.wait().await.unwrap().signal(), Some(libc::SIGTERM));
                assert_eq!(worker.wait().await.unwrap().signal(), Some(libc::SIGTERM), "asked again");
                assert_eq!(worker.try_wait().unwrap().unwrap().signal(), Some(libc::SIGTERM));
                assert!(worker.kill(SignalKind::TERMINATE).is_err(), "there is nobody to be killed");

                let shared = Shared::new(2);
                // Whoever drops the handle is no longer interested.
                let pid = start(async move {
                    until("the word", || shared.get(0) == 1).await;
                    shared.set(1, 1);
                })
                .pid();
                work::through_a_pipe(vec![0; 8]).await;
                shared.set(0, 1);
                until("the end of the work", || shared.get(1) == 1).await;
                // Nor does it stay as a zombie.
                let process = std::path::PathBuf::from(format!("/proc/{pid}"));
                until("its end", || !process.exists()).await;
            });
        }
    });
}

/// A fork that nobody has planned copies the handle; the worker is not a child of that copy.
#[test]
fn in_another_process_it_cannot_be_waited_for() {
    in_child("in_another_process_it_cannot_be_waited_for", || {
        for mode in MODES {
            run_two(mode, async {
                let shared = Shared::new(1);
                let mut worker = start(async move { until("the word", || shared.get(0) == 1).await });
                let mut waiting = Box::pin(worker.wait());
                assert!(poll_once(&mut waiting).await.is_pending());
                let child = fork(async {
                    let error = (&mut waiting).await.unwrap_err();
                    let errno = error.raw_os_error();
                    assert!(matches!(errno, Some(libc::ECHILD | libc::EOWNERDEAD)), "{error}");
                })
                .await;
                child.succeeds().await;
                drop(waiting);
                let mut copy = Some(worker);
                let child = fork(async {
                    let mut worker = copy.take().unwrap();
                    assert_eq!(worker.wait().await.unwrap_err().raw_os_error(), Some(libc::ECHILD));
                    assert_eq!(worker.try_wait().unwrap_err().raw_os_error(), Some(libc::ECHILD));
                    drop(worker);
                    work::everything().await;
                })
                .await;
                child.succeeds().await;
                shared.set(0, 1);
                assert!(copy.unwrap().wait().await.unwrap().success());
            });
        }
    });
}
