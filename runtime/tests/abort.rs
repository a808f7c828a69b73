//! Aborts, panics and sets of tasks on one core.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::panic_any;
use std::rc::Rc;
use std::task::Poll;

use common::{MODES, pipe, run, until_operations};
use runtime::task::{JoinHandle, JoinSet, yield_now};

/// Counts its drops.
struct Guard(Rc<Cell<usize>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

/// As above, with a payload that takes no memory: what is swallowed is leaked on purpose.
struct PanicsQuietly;

impl Drop for PanicsQuietly {
    fn drop(&mut self) {
        panic_any(());
    }
}

#[test]
fn before_its_first_poll_it_never_runs() {
    for mode in MODES {
        run(mode, async {
            let (drops, polled) = (Rc::default(), Rc::<Cell<bool>>::default());
            let (guard, flag) = (Guard(Rc::clone(&drops)), Rc::clone(&polled));
            let handle = runtime::spawn(async move {
                let _guard = guard;
                flag.set(true);
            });
            handle.abort();
            handle.abort();
            assert!(handle.await.unwrap_err().is_aborted());
            assert_eq!((polled.get(), drops.get()), (false, 1));
        });
    }
}

#[test]
fn pending_it_is_dropped_with_its_operation() {
    for mode in MODES {
        run(mode, async {
            let drops = Rc::default();
            let (guard, (reader, _writer)) = (Guard(Rc::clone(&drops)), pipe());
            let handle = runtime::spawn(async move {
                let _guard = guard;
                runtime::op::read_at(&reader, vec![0; 8], u64::MAX).await
            });
            until_operations(1).await;
            handle.abort();
            assert_eq!(drops.get(), 0, "not in the caller");
            let error = handle.await.unwrap_err();
            assert!(error.is_aborted() && !error.is_panic() && error.try_into_panic().is_err());
            assert_eq!(drops.get(), 1);
            until_operations(0).await;
        });
    }
}

#[test]
fn by_itself_in_its_poll() {
    for mode in MODES {
        run(mode, async {
            for ends in [false, true] {
                let slot = Rc::<RefCell<Option<JoinHandle<u8>>>>::default();
                let own = Rc::clone(&slot);
                let handle = runtime::spawn(async move {
                    own.borrow().as_ref().unwrap().abort();
                    if !ends {
                        pending::<()>().await;
                    }
                    7
                });
                slot.replace(Some(handle));
                yield_now().await;
                let handle = slot.take().unwrap();
                // What is finished in the same poll is finished.
                assert_eq!(handle.await.ok(), ends.then_some(7));
            }
        });
    }
}

#[test]
fn after_its_end_the_output_stays() {
    for mode in MODES {
        run(mode, async {
            let handle = runtime::spawn(async { "output" });
            yield_now().await;
            assert!(handle.is_finished());
            handle.abort();
            assert_eq!(handle.await.unwrap(), "output");
        });
    }
}

#[test]
fn panics_end_the_task_and_nothing_else() {
    for mode in MODES {
        run(mode, async {
            let error = runtime::spawn(async { panic_any(42_u64) }).await.unwrap_err();
            assert_eq!(error.to_string(), "the task panicked");
            assert_eq!(*error.try_into_panic().unwrap().downcast::<u64>().unwrap(), 42);
            let drops = Rc::default();
            let guard = Guard(Rc::clone(&drops));
            let later = runtime::spawn(async move {
                let _guard = guard;
                yield_now().await;
                panic!("later");
            });
            assert_eq!(later.await.unwrap_err().to_string(), "the task panicked: later");
            assert_eq!(drops.get(), 1);
            let blocking = runtime::spawn_blocking(|| panic!("blocking")).await.unwrap_err();
            assert_eq!(blocking.to_string(), "the task panicked: blocking");
            // Detached, nobody hears of it, and the core goes on.
            drop(runtime::spawn(async { panic!("unheard") }));
            yield_now().await;
            runtime::op::nop().await.unwrap();
        });
    }
}

#[test]
fn destructors_that_panic_are_reported_or_swallowed_but_stop_nothing() {
    for mode in MODES {
        run(mode, async {
            // Of the future, when it is aborted: there is no other result.
            let handle = runtime::spawn(async {
                let _bomb = PanicsInDrop;
                pending::<()>().await;
            });
            yield_now().await;
            handle.abort();
            assert_eq!(handle.await.unwrap_err().to_string(), "the task panicked: in a destructor");
            // Of what the future still holds when it is ready: the output is there.
            let ready = Some((PanicsQuietly, 5));
            let handle = runtime::spawn(poll_fn(move |_| Poll::Ready(ready.as_ref().unwrap().1)));
            assert_eq!(handle.await.unwrap(), 5);
            // In the poll.
            let handle = runtime::spawn(async { drop(PanicsInDrop) });
            assert!(handle.await.unwrap_err().is_panic());
            runtime::op::nop().await.unwrap();
        });
    }
}

#[test]
fn a_set_gives_results_in_the_order_of_the_ends() {
    for mode in MODES {
        run(mode, async {
            let mut set = JoinSet::new();
            let mut senders = Vec::new();
            for n in 0..5 {
                let (sender, receiver) = futures::channel::oneshot::channel::<()>();
                senders.push(Some(sender));
                set.spawn(async move {
                    receiver.await.unwrap();
                    n
                });
            }
            assert!(set.try_join_next().await.is_none());
            for n in [3, 0, 4] {
                senders[n].take().unwrap().send(()).unwrap();
                assert_eq!(set.join_next().await.unwrap().unwrap(), n);
            }
            assert_eq!((set.len(), set.is_empty()), (2, false));
            set.insert(runtime::spawn(async { 9 }));
            assert_eq!(set.join_next().await.unwrap().unwrap(), 9);
            set.abort_all();
            assert_eq!(set.len(), 2);
            for result in set.join_all().await {
                assert!(result.unwrap_err().is_aborted());
            }
            assert!(JoinSet::<()>::default().join_next().await.is_none());
        });
    }
}

#[test]
fn a_dropped_set_aborts_its_tasks() {
    for mode in MODES {
        run(mode, async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let mut set = JoinSet::new();
            for _ in 0..10 {
                let guard = Guard(Rc::clone(&drops));
                set.spawn(async move {
                    let _guard = guard;
                    pending::<()>().await;
                });
            }
            yield_now().await;
            drop(set);
            common::until("the aborts", || drops.get() == 10).await;
        });
    }
}
