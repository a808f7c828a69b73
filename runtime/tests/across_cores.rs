//! Tasks on other cores: outputs and panics travel, futures that are not Send never leave the core on which they were made.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::future::{Future, pending};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};

use common::{MODES, until};
use runtime::task::yield_now;
use runtime::{Builder, Mode};

/// Not Send: checks that it is dropped where it was made, and counts.
struct AtHome(ThreadId, Arc<AtomicUsize>, Rc<()>);

impl AtHome {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        AtHome(thread::current().id(), Arc::clone(drops), Rc::new(()))
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        if self.0 == thread::current().id() && Rc::strong_count(&self.2) == 1 {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn run_two<F: Future>(mode: Mode, main: impl FnOnce() -> F) -> F::Output {
    let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
    runtime.block_on(main())
}

#[test]
fn outputs_and_panics_travel() {
    for mode in MODES {
        run_two(mode, || async {
            let here = thread::current().id();
            let (text, there) = runtime::spawn_on(1, || async {
                let not_send = Rc::new(String::from("moved"));
                yield_now().await;
                ((*not_send).clone(), thread::current().id())
            })
            .await
            .unwrap();
            assert_eq!(text, "moved");
            assert_ne!(here, there);
            assert_eq!(runtime::spawn_on(1, || async { thread::current().id() }).await.unwrap(), there);
            assert_eq!(runtime::spawn_on(0, || async { thread::current().id() }).await.unwrap(), here);
            let error = runtime::spawn_on(1, || async { panic!("number {}", std::hint::black_box(7)) })
                .await
                .unwrap_err();
            assert!(error.is_panic() && !error.is_aborted());
            assert_eq!(error.to_string(), "the task panicked: number 7");
            assert_eq!(*error.try_into_panic().unwrap().downcast::<String>().unwrap(), "number 7");
            // The closure itself may panic too, and the core goes on.
            let closure = || -> std::future::Ready<()> { panic!("in the closure") };
            assert!(runtime::spawn_on(1, closure).await.unwrap_err().is_panic());
            assert_eq!(runtime::spawn_on(1, || async { runtime::core() }).await.unwrap(), 1);
            let refused = runtime::spawn_on(2, || async {}).await.unwrap_err();
            assert!(!refused.is_panic() && !refused.is_aborted());
            assert!(refused.to_string().contains("no core 2"), "{refused}");
            assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::InvalidInput);
        });
    }
}

#[test]
fn every_core_runs_one() {
    for mode in MODES {
        run_two(mode, || async {
            let handles = runtime::on_every_core(|core| async move {
                assert_eq!(core, runtime::core());
                // From there back to here, so that both wait for each other's tasks.
                let back = runtime::spawn_on(0, move || async move { (core, runtime::core()) });
                back.await.unwrap()
            });
            assert_eq!(handles.len(), runtime::cores());
            for (core, handle) in handles.into_iter().enumerate() {
                assert_eq!(handle.await.unwrap(), (core, 0));
            }
            assert!(runtime::metrics().cores.iter().all(|core| core.mode == Some(mode)));
        });
    }
}

#[test]
fn abort_from_another_core_finds_the_task_in_every_state() {
    for mode in MODES {
        let (drops, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        run_two(mode, || async {
            for round in 0..2_000 {
                let (drops, made) = (Arc::clone(&drops), Arc::clone(&made));
                let handle = runtime::spawn_on(1, move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    let guard = AtHome::new(&drops);
                    async move {
                        let _guard = guard;
                        // Running, queued or pending when the abort comes, by chance.
                        for _ in 0..round % 50 {
                            yield_now().await;
                        }
                        pending::<()>().await;
                    }
                });
                for _ in 0..round % 7 {
                    yield_now().await;
                }
                handle.abort();
                assert!(handle.await.unwrap_err().is_aborted());
            }
        });
        assert_eq!(
            drops.load(Ordering::SeqCst),
            made.load(Ordering::SeqCst),
            "a future was dropped away from home"
        );
    }
}

#[test]
fn abort_while_the_task_is_in_its_poll() {
    for mode in MODES {
        run_two(mode, || async {
            let (go, gate) = mpsc::channel::<()>();
            let (started, has_started) = futures::channel::oneshot::channel();
            let handle = runtime::spawn_on(1, move || async move {
                started.send(()).unwrap();
                gate.recv().unwrap();
                pending::<()>().await;
            });
            has_started.await.unwrap();
            handle.abort();
            assert!(!handle.is_finished(), "its poll has not returned");
            go.send(()).unwrap();
            assert!(handle.await.unwrap_err().is_aborted());
        });
    }
}

#[test]
fn a_dropped_handle_detaches_and_is_finished_tells() {
    for mode in MODES {
        let ended = Arc::<AtomicUsize>::default();
        run_two(mode, || async {
            let counter = Arc::clone(&ended);
            drop(runtime::spawn_on(1, move || async move {
                yield_now().await;
                counter.fetch_add(1, Ordering::SeqCst);
            }));
            until("the detached task's end", || ended.load(Ordering::SeqCst) == 1).await;
            let handle = runtime::spawn_on(1, || async { "kept" });
            until("the end", || handle.is_finished()).await;
            handle.abort();
            assert_eq!(handle.await.unwrap(), "kept");
        });
    }
}

/// Completed, aborted and ended by the shutdown: always on the thread on which the future was made.
#[test]
fn futures_are_dropped_at_home_in_the_end_too() {
    const TASKS: usize = 200;
    for mode in MODES {
        let (drops, made) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let kept = run_two(mode, || async {
            let mut kept = Vec::new();
            for task in 0..TASKS {
                let (drops, made) = (Arc::clone(&drops), Arc::clone(&made));
                let handle = runtime::spawn_on(1, move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    let guard = AtHome::new(&drops);
                    async move {
                        let _guard = guard;
                        if task % 2 == 0 {
                            pending::<()>().await;
                        }
                    }
                });
                kept.push(handle);
            }
            kept.pop().unwrap().await.unwrap();
            kept
        });
        assert_eq!((made.load(Ordering::SeqCst), drops.load(Ordering::SeqCst)), (TASKS, TASKS));
        for (task, handle) in kept.into_iter().enumerate() {
            assert!(handle.is_finished());
            assert_eq!(futures::executor::block_on(handle).is_ok(), task % 2 == 1);
        }
    }
}
