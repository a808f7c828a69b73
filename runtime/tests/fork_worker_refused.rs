//! When a worker can't be forked: outside of a core, or with a core that does not come to a safe point. Everything goes on
//! then as if nobody had asked. Cores that ask at the same time are served one after the other.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::io::ErrorKind;
use std::sync::{Arc, Barrier};

use common::forks::{Shared, alarm};
use common::load::Load;
use common::waiting::Waiting;
use common::{MODES, in_child, run_two, until, until_blocking, work};
use runtime::guard::{Worker, fork_worker};

fn start() -> std::io::Result<Worker> {
    fork_worker(async {
        alarm();
        work::everything().await;
    })
}

#[test]
fn outside_of_a_core_it_is_an_error() {
    in_child("outside_of_a_core_it_is_an_error", || {
        for mode in MODES {
            let error = start().unwrap_err();
            assert!(error.to_string().contains("runtime"), "{error}");
            run_two(mode, async {
                let error = runtime::spawn_blocking(|| start().unwrap_err()).await.unwrap();
                assert!(error.to_string().contains("runtime"), "{error}");
                assert!(start().unwrap().wait().await.unwrap().success());
            });
            start().unwrap_err();
        }
    });
}

/// The core is let go only when the refusal is here.
#[test]
fn a_core_that_does_not_come_to_a_safe_point() {
    in_child("a_core_that_does_not_come_to_a_safe_point", || {
        for mode in MODES {
            run_two(mode, async {
                let shared = Shared::new(2);
                let far = runtime::spawn_on(1, move || async move {
                    let waiting = Waiting::start(5).await;
                    shared.set(0, 1);
                    until_blocking("the refusal", || shared.get(1) == 1);
                    waiting.finish().await;
                });
                let waiting = Waiting::start(5).await;
                until("it is busy", || shared.get(0) == 1).await;
                let error = start().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                assert!(error.to_string().contains('1'), "it names the core: {error}");
                // This core goes on while the other one is still busy.
                waiting.finish().await;
                work::everything().await;
                shared.set(1, 1);
                far.await.unwrap();
                work::everything_everywhere().await;
                assert!(start().unwrap().wait().await.unwrap().success());
                work::everything_everywhere().await;
            });
        }
    });
}

#[test]
fn cores_that_ask_at_the_same_time() {
    in_child("cores_that_ask_at_the_same_time", || {
        for mode in MODES {
            run_two(mode, async {
                for _ in 0..10 {
                    let barrier = Arc::new(Barrier::new(2));
                    let asks = move |barrier: Arc<Barrier>| async move {
                        let waiting = Waiting::queue(3).await;
                        barrier.wait();
                        let mut worker = start().unwrap();
                        assert!(worker.wait().await.unwrap().success());
                        waiting.finish().await;
                    };
                    let other = Arc::clone(&barrier);
                    let far = runtime::spawn_on(1, move || asks(other));
                    asks(barrier).await;
                    far.await.unwrap();
                }
                work::everything_everywhere().await;
            });
        }
    });
}

/// Requests of every kind are drained and go on, fifty times: nothing is lost, doubled or out of order.
#[test]
fn traffic_is_intact_over_fifty_workers() {
    in_child("traffic_is_intact_over_fifty_workers", || {
        for mode in MODES {
            run_two(mode, async {
                let load = Load::start(0..2, 3);
                load.progress(10).await;
                for round in 0..50 {
                    // A worker's handle stays on its core.
                    let one = || async { start().unwrap().wait().await.unwrap() };
                    let worker = runtime::spawn_on(round % 2, one);
                    load.progress(2).await;
                    assert!(worker.await.unwrap().success());
                }
                load.progress(10).await;
                load.finish().await;
            });
        }
    });
}
