//! In the child of a fork, handles of tasks whose thread did not survive say so instead of waiting for ever, whether somebody
//! waited for them at the fork or asks afterwards; all others go on.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::future::{Future, pending};
use std::time::Duration;

use common::forks::{Shared, fork};
use common::{MODES, in_child, poll_once, run_on, until, until_blocking, until_operations, work};
use runtime::task::{JoinHandle, JoinSet, yield_now};
use runtime::time::timeout;
use runtime::{Builder, JoinError, Mode};

/// Far less than the alarm of a child, far more than a turn.
const PROMPTLY: Duration = Duration::from_secs(20);

/// Words of [`Shared`].
const GO: usize = 0;
const STARTED: usize = 1;

async fn promptly<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PROMPTLY, future).await.unwrap_or_else(|_| panic!("{what}: it waits for ever"))
}

fn assert_lost<T>(what: &str, result: Result<T, JoinError>) {
    let Err(error) = result else { panic!("{what}: it has an output") };
    assert!(error.is_lost() && !error.is_aborted() && !error.is_panic(), "{what}: {error}");
    assert!(error.to_string().contains("fork"), "{what}: {error}");
}

/// Tasks elsewhere that end when `GO` is set: one that waits for a timer, one that never yields, one that waits for I/O, and
/// closures: two that run, one that has not begun.
async fn elsewhere(shared: Shared) -> Vec<(&'static str, JoinHandle<u32>)> {
    let waits = runtime::spawn_on(1, move || async move {
        shared.add(STARTED, 1);
        until("go", || shared.get(GO) == 1).await;
        1
    });
    let closure = move || {
        shared.add(STARTED, 1);
        until_blocking("go", || shared.get(GO) == 1);
        2
    };
    let closures = [runtime::spawn_blocking(closure), runtime::spawn_blocking(closure)];
    until("their start", || shared.get(STARTED) == 3).await;
    let not_begun = runtime::spawn_blocking(|| 3);
    let busy = runtime::spawn_on(1, move || async move {
        shared.add(STARTED, 1);
        until_blocking("go", || shared.get(GO) == 1);
        4
    });
    until("the busy one's start", || shared.get(STARTED) == 4).await;
    let not_polled = runtime::spawn_on(1, || async { 5 });
    let mut all =
        vec![("waits", waits), ("busy", busy), ("not polled", not_polled), ("not begun", not_begun)];
    all.extend(closures.map(|closure| ("closure", closure)));
    all
}

/// With fewer blocking threads than there are closures.
fn run_few<F: Future>(mode: Mode, main: F) -> F::Output {
    run_on(Builder::new().cores(2).pin(false).blocking_threads_max(2).mode(mode), mode, main)
}

#[test]
fn those_that_are_awaited_after_the_fork() {
    in_child("those_that_are_awaited_after_the_fork", || {
        for mode in MODES {
            run_few(mode, async {
                let shared = Shared::new(2);
                let mut handles = elsewhere(shared).await;
                let child = fork(async {
                    for (what, handle) in &mut handles {
                        // What never ran may be run by the child's own threads, or be lost.
                        match promptly(what, handle).await {
                            Ok(output) => assert!(what.starts_with("not") && [3, 5].contains(&output)),
                            lost => assert_lost(what, lost),
                        }
                    }
                    work::everything_everywhere().await;
                })
                .await;
                child.succeeds().await;
                shared.set(GO, 1);
                for (what, handle) in handles {
                    promptly(what, handle).await.unwrap();
                }
            });
        }
    });
}

/// A task waits for each; the wake-up has to come from the child itself.
#[test]
fn those_that_were_being_awaited_at_the_fork() {
    in_child("those_that_were_being_awaited_at_the_fork", || {
        for mode in MODES {
            run_few(mode, async {
                let shared = Shared::new(2);
                let mut waiting: Vec<_> = elsewhere(shared)
                    .await
                    .into_iter()
                    .map(|(what, handle)| (what, runtime::spawn(handle)))
                    .collect();
                yield_now().await;
                let child = fork(async {
                    for (what, task) in &mut waiting {
                        let result = promptly(what, task).await.expect("the task is this core's");
                        if !what.starts_with("not") {
                            assert_lost(what, result);
                        }
                    }
                })
                .await;
                child.succeeds().await;
                shared.set(GO, 1);
                for (what, task) in waiting {
                    promptly(what, task).await.unwrap().unwrap();
                }
            });
        }
    });
}

/// Nothing else in the child wakes the core: no timer, no I/O.
#[test]
fn a_core_that_only_waits_for_a_lost_task_wakes() {
    in_child("a_core_that_only_waits_for_a_lost_task_wakes", || {
        for mode in MODES {
            run_few(mode, async {
                let shared = Shared::new(2);
                let mut handle = runtime::spawn_on(1, pending::<()>);
                let mut closure =
                    runtime::spawn_blocking(move || until_blocking("go", || shared.get(GO) == 1));
                assert!(poll_once(&mut handle).await.is_pending());
                assert!(poll_once(&mut closure).await.is_pending());
                let child = fork(async {
                    assert_lost("task", (&mut handle).await);
                    assert_lost("closure", (&mut closure).await);
                })
                .await;
                child.succeeds().await;
                assert!(!handle.is_finished() && !closure.is_finished());
                shared.set(GO, 1);
                closure.await.unwrap();
                handle.abort();
                assert!(handle.await.unwrap_err().is_aborted());
            });
        }
    });
}

#[test]
fn what_has_finished_keeps_its_output() {
    in_child("what_has_finished_keeps_its_output", || {
        for mode in MODES {
            run_few(mode, async {
                let mut far = runtime::spawn_on(1, || async { vec![1] });
                let mut failed = runtime::spawn_on(1, || async { panic!("on purpose") });
                let mut closure = runtime::spawn_blocking(|| vec![2]);
                until("their ends", || far.is_finished() && failed.is_finished() && closure.is_finished())
                    .await;
                let child = fork(async {
                    assert_eq!(promptly("task", &mut far).await.unwrap(), [1]);
                    let failed: Result<(), _> = promptly("panic", &mut failed).await;
                    assert!(failed.unwrap_err().is_panic());
                    assert_eq!(promptly("closure", &mut closure).await.unwrap(), [2]);
                })
                .await;
                child.succeeds().await;
                assert_eq!((far.await.unwrap(), closure.await.unwrap()), (vec![1], vec![2]));
            });
        }
    });
}

/// Lost handles can be asked, aborted, dropped and be in a set; they reach nobody in the parent.
#[test]
fn lost_handles_do_no_harm() {
    in_child("lost_handles_do_no_harm", || {
        for mode in MODES {
            run_few(mode, async {
                let shared = Shared::new(2);
                let mut set = JoinSet::new();
                let mut handles = Vec::new();
                for (index, (_, handle)) in elsewhere(shared).await.into_iter().enumerate() {
                    match index % 2 {
                        0 => set.insert(handle),
                        _ => handles.push(handle),
                    }
                }
                set.spawn(async { 6 });
                let child = fork(async {
                    for handle in handles.drain(..) {
                        handle.abort();
                        let _ = handle.is_finished();
                    }
                    let mut outputs = 0;
                    while let Some(result) = promptly("the set", set.join_next()).await {
                        outputs += u32::from(result.is_ok());
                    }
                    assert!(outputs >= 1, "the local one has its output");
                    work::everything_everywhere().await;
                    until_operations(0).await;
                })
                .await;
                child.succeeds().await;
                shared.set(GO, 1);
                for handle in handles {
                    promptly("a handle", handle).await.unwrap();
                }
                assert!(promptly("the set", set.join_all()).await.into_iter().all(|result| result.is_ok()));
            });
        }
    });
}

/// Tasks of the surviving core are whole, also those that wait for each other, and for a channel of a core that is gone.
#[test]
fn tasks_of_the_surviving_core_go_on() {
    in_child("tasks_of_the_surviving_core_go_on", || {
        for mode in MODES {
            run_few(mode, async {
                let (send, receive) = futures::channel::oneshot::channel::<u32>();
                let (go, gate) = futures::channel::oneshot::channel::<()>();
                let first = runtime::spawn(async move {
                    gate.await.unwrap();
                    send.send(5).unwrap();
                });
                let mut second = runtime::spawn(async move {
                    first.await.unwrap();
                    receive.await.unwrap()
                });
                let mut go = Some(go);
                yield_now().await;
                let mut side = Box::pin(async {
                    go.take().unwrap().send(()).unwrap();
                    assert_eq!(promptly("the second", &mut second).await.unwrap(), 5);
                });
                let child = fork(&mut side).await;
                child.succeeds().await;
                side.await;
            });
        }
    });
}
