//! What the child of a fork that nobody has planned has: the core that has forked, on its own thread, the others anew, and no
//! descriptor of what is its parent's alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::thread::ThreadId;
use std::time::Duration;

use common::forks::{Shared, fork, rings};
use common::work;
use common::{MODES, descriptors, in_child, run, until, until_operations};
use runtime::task::JoinHandle;
use runtime::time::timeout;
use runtime::{Builder, op};

/// Those whose threads are gone are started anew; the others, too, are as before.
#[test]
fn other_cores_and_blocking_threads_can_be_had_again() {
    in_child("other_cores_and_blocking_threads_can_be_had_again", || {
        for (mode, started) in MODES.into_iter().flat_map(|mode| [false, true].map(|started| (mode, started)))
        {
            let runtime = Builder::new().cores(3).pin(false).mode(mode).build().unwrap();
            runtime.block_on(async {
                runtime::spawn_blocking(|| ()).await.unwrap();
                if started {
                    work::everything_everywhere().await;
                }
                let child = fork(async {
                    work::through_a_pipe(vec![0; 8]).await;
                    for _ in 0..3 {
                        work::everything_everywhere().await;
                    }
                    let cores = runtime::metrics().cores;
                    assert!(cores.iter().all(|core| core.mode == Some(mode)), "{cores:?}");
                    let pollers: Vec<_> = cores.iter().map(|core| core.poller_tid).collect();
                    assert!(pollers.iter().all(|tid| *tid == pollers[0]), "they share one: {pollers:?}");
                    assert_eq!(
                        rings().len(),
                        3,
                        "the parent's rings are open: {:?}, started: {started}, {mode:?}",
                        rings()
                    );
                })
                .await;
                child.succeeds().await;
                work::everything_everywhere().await;
            });
        }
    });
}

/// The task that forked goes on before the core has had a turn: what it starts there finds the core that it is on.
#[test]
fn the_first_thing_that_the_child_does() {
    in_child("the_first_thing_that_the_child_does", || {
        for mode in MODES {
            let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
            runtime.block_on(async {
                let here = std::thread::current().id();
                let first: [fn() -> JoinHandle<ThreadId>; 4] = [
                    || runtime::spawn(async { std::thread::current().id() }),
                    || runtime::spawn_on(0, || async { std::thread::current().id() }),
                    || runtime::on_every_core(|_| async { std::thread::current().id() }).remove(0),
                    || {
                        let _metrics = runtime::metrics();
                        runtime::spawn_blocking(|| ());
                        runtime::spawn_on(0, || async { std::thread::current().id() })
                    },
                ];
                for start in first {
                    let child = fork(async {
                        assert_eq!(start().await.unwrap(), here, "it runs on another thread");
                        work::everything_everywhere().await;
                        assert_eq!(rings().len(), 2, "{:?}", rings());
                    })
                    .await;
                    child.succeeds().await;
                }
            });
        }
    });
}

/// What the parent has just given up is closed in the child as well: else the peer would not learn of it.
#[test]
fn what_is_being_closed_is_closed_in_both() {
    in_child("what_is_being_closed_is_closed_in_both", || {
        for mode in MODES {
            run(mode, async {
                let shared = Shared::new(2);
                let (left, right) = work::socket_pair();
                drop(left);
                let child = fork(async {
                    work::everything().await;
                    shared.set(0, 1);
                    until("the word", || shared.get(1) == 1).await;
                })
                .await;
                until("the child's work", || shared.get(0) == 1).await;
                let end = timeout(Duration::from_secs(10), op::recv(&right, vec![0])).await;
                shared.set(1, 1);
                child.succeeds().await;
                assert_eq!(end.expect("the child has it open").0.unwrap(), 0);
            });
        }
    });
}

/// An inherited ring that stays open would keep the parent's requests alive when the parent is gone.
#[test]
fn the_child_keeps_no_descriptor_of_the_parents_ring() {
    in_child("the_child_keeps_no_descriptor_of_the_parents_ring", || {
        for mode in MODES {
            run(mode, async {
                let before = (rings().len(), descriptors());
                let child = fork(async {
                    work::through_a_pipe(vec![0; 10]).await;
                    until_operations(0).await;
                    assert_eq!((rings().len(), descriptors()), before);
                })
                .await;
                child.succeeds().await;
                assert_eq!((rings().len(), descriptors()), before);
            });
        }
    });
}
