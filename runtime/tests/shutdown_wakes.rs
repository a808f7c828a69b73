//! The end of a runtime meets wake-ups: a main future that was woken once too often, a core that is awake when it is told to
//! stop. A shutdown that waits for something that never comes hangs here: in a child process, with an end to patience.
#![allow(clippy::print_stderr, reason = "says why the process is ended")]

mod common;

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{MODES, PATIENCE, builder, in_child, poll_deaf, until};
use runtime::time::timeout;
use runtime::{Builder, Mode, Runtime};

/// Runs `body` in a process of its own, which is ended if it hangs.
fn in_child_with_an_end(test: &str, body: impl FnOnce()) {
    in_child(test, || {
        thread::spawn(|| {
            thread::sleep(PATIENCE);
            eprintln!("HANG");
            std::process::abort();
        });
        body();
    });
}

/// What is not over when asked to stop is never over: no deadline hides it.
fn patient(mode: Mode, cores: usize) -> Runtime {
    let builder = Builder::new().cores(cores).pin(false).mode(mode);
    builder.shutdown_ms(u64::MAX).build().expect("this machine has io_uring")
}

/// Counts its drops, and checks that they happen on the thread on which it was made.
struct AtHome(ThreadId, Arc<AtomicUsize>);

impl AtHome {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        AtHome(thread::current().id(), Arc::clone(drops))
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        assert_eq!(self.0, thread::current().id(), "dropped away from home");
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Never ends by itself.
async fn wait_at_home(drops: Arc<AtomicUsize>) {
    let _guard = AtHome::new(&drops);
    pending::<()>().await;
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0.take().expect("dropped once")();
    }
}

fn on_drop<F: FnOnce()>(f: F) -> OnDrop<F> {
    OnDrop(Some(f))
}

/// Spawns a task on this core that ends with the runtime, and then calls `f`.
fn at_shutdown(f: impl FnOnce() + 'static) {
    let guard = on_drop(f);
    drop(runtime::spawn(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
}

async fn main_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// Runs `main` with two tasks beside it, drops the runtime, and sees both end.
fn ends<F: Future>(mode: Mode, main: F) -> F::Output {
    let drops = Arc::<AtomicUsize>::default();
    let runtime = patient(mode, 1);
    let output = runtime.block_on(async {
        drop(runtime::spawn(wait_at_home(Arc::clone(&drops))));
        drop(runtime::spawn(wait_at_home(Arc::clone(&drops))));
        main.await
    });
    drop(runtime);
    // A task whose first poll was still to come has made no guard.
    assert!(drops.load(Ordering::SeqCst) <= 2);
    output
}

/// The task that ends with the runtime wakes the future that was waiting for it.
#[test]
fn after_a_timeout_over_a_handle() {
    in_child_with_an_end("after_a_timeout_over_a_handle", || {
        for mode in MODES {
            ends(mode, async {
                let handle = runtime::spawn(pending::<()>());
                assert!(timeout(Duration::from_millis(5), handle).await.is_err());
            });
        }
    });
}

#[test]
fn after_a_timeout_over_a_handle_that_is_kept() {
    in_child_with_an_end("after_a_timeout_over_a_handle_that_is_kept", || {
        for mode in MODES {
            let mut kept = None;
            ends(mode, async {
                let mut handle = runtime::spawn(pending::<()>());
                assert!(timeout(Duration::from_millis(5), &mut handle).await.is_err());
                kept = Some(handle);
            });
            let mut handle = kept.unwrap();
            assert!(handle.is_finished());
            let Poll::Ready(result) = poll_deaf(&mut handle) else { panic!("it is finished") };
            assert!(result.unwrap_err().is_aborted());
        }
    });
}

#[test]
fn after_a_main_future_that_woke_itself() {
    in_child_with_an_end("after_a_main_future_that_woke_itself", || {
        for mode in MODES {
            ends(
                mode,
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::Ready(())
                }),
            );
            // Nor does it confuse the next main future.
            let runtime = patient(mode, 1);
            for round in 0..3 {
                let polls = AtomicUsize::new(0);
                runtime.block_on(poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    if polls.fetch_add(1, Ordering::SeqCst) < 2 { Poll::Pending } else { Poll::Ready(()) }
                }));
                assert_eq!(polls.into_inner(), 3, "round {round}");
            }
        }
    });
}

/// Nobody takes the message before the runtime is dropped.
#[test]
fn after_a_wake_of_the_main_future_from_another_thread() {
    in_child_with_an_end("after_a_wake_of_the_main_future_from_another_thread", || {
        for mode in MODES {
            let drops = Arc::<AtomicUsize>::default();
            let runtime = patient(mode, 1);
            let waker = runtime.block_on(async {
                drop(runtime::spawn(wait_at_home(Arc::clone(&drops))));
                until("the task's first poll", || Arc::strong_count(&drops) == 3).await;
                main_waker().await
            });
            let late = waker.clone();
            thread::spawn(move || waker.wake()).join().unwrap();
            // This thread is not in the runtime either now.
            late.wake_by_ref();
            drop(runtime);
            assert_eq!(drops.load(Ordering::SeqCst), 1);
            thread::spawn(move || late.wake()).join().unwrap();
        }
    });
}

/// The message comes while the tasks end, from a destructor here, from one on another core, and from a thread.
#[test]
fn a_wake_of_the_main_future_while_tasks_end() {
    in_child_with_an_end("a_wake_of_the_main_future_while_tasks_end", || {
        for mode in MODES {
            let runtime = patient(mode, 2);
            let (woken, has_woken) = mpsc::channel();
            runtime.block_on(async {
                let (here, there, by_thread) = (main_waker().await, main_waker().await, main_waker().await);
                let from_there = woken.clone();
                runtime::spawn_on(1, move || async move {
                    at_shutdown(move || {
                        there.wake();
                        from_there.send("another core").unwrap();
                    });
                    runtime::task::yield_now().await;
                })
                .await
                .unwrap();
                let from_here = woken.clone();
                at_shutdown(move || {
                    here.wake();
                    from_here.send("this core").unwrap();
                });
                at_shutdown(move || {
                    thread::spawn(move || by_thread.wake()).join().unwrap();
                    woken.send("a thread").unwrap();
                });
                runtime::task::yield_now().await;
            });
            drop(runtime);
            let mut woken: Vec<_> = has_woken.into_iter().collect();
            woken.sort_unstable();
            assert_eq!(woken, ["a thread", "another core", "this core"], "{mode:?}");
        }
    });
}

/// A thread wakes the main future all the time, before, while and after the runtime is dropped.
#[test]
fn wakes_of_the_main_future_race_with_the_end() {
    in_child_with_an_end("wakes_of_the_main_future_race_with_the_end", || {
        for (mode, _) in MODES.into_iter().flat_map(|mode| (0..50).map(move |round| (mode, round))) {
            let (stop, stopped) = mpsc::channel::<()>();
            let thread = ends(mode, async {
                let waker = main_waker().await;
                thread::spawn(move || {
                    while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                        waker.wake_by_ref();
                    }
                })
            });
            drop(stop);
            thread.join().unwrap();
        }
    });
}

/// The core is in the middle of a task when it is told to stop, so nobody wakes it for that: it is awake.
#[test]
fn a_core_that_is_busy_when_it_is_told_to_stop() {
    in_child_with_an_end("a_core_that_is_busy_when_it_is_told_to_stop", || {
        for (mode, cores) in MODES.into_iter().flat_map(|mode| [2, 3].map(|cores| (mode, cores))) {
            let drops = Arc::<AtomicUsize>::default();
            let runtime = patient(mode, cores);
            runtime.block_on(async {
                for core in 1..cores {
                    let (start, has_started) = futures::channel::oneshot::channel();
                    let (told, is_told) = mpsc::channel::<()>();
                    for _ in 0..3 {
                        let drops = Arc::clone(&drops);
                        drop(runtime::spawn_on(core, move || wait_at_home(drops)));
                    }
                    let own = Arc::clone(&drops);
                    drop(runtime::spawn_on(core, move || async move {
                        let _guard = AtHome::new(&own);
                        start.send(()).unwrap();
                        // Until the first core ends its tasks, which it does once it has told the others.
                        assert_eq!(is_told.recv(), Err(mpsc::RecvError));
                        pending::<()>().await;
                    }));
                    has_started.await.unwrap();
                    at_shutdown(move || drop(told));
                }
                runtime::task::yield_now().await;
            });
            assert_eq!(drops.load(Ordering::SeqCst), 0);
            drop(runtime);
            assert_eq!(drops.load(Ordering::SeqCst), 4 * (cores - 1), "{mode:?}");
        }
    });
}

/// It never gets to rest: there is always a task to run when it is told to stop.
#[test]
fn a_core_that_never_sleeps() {
    in_child_with_an_end("a_core_that_never_sleeps", || {
        for mode in MODES {
            let drops = Arc::<AtomicUsize>::default();
            let runtime = patient(mode, 2);
            runtime.block_on(async {
                for _ in 0..3 {
                    let drops = Arc::clone(&drops);
                    let (start, has_started) = futures::channel::oneshot::channel();
                    drop(runtime::spawn_on(1, move || async move {
                        let _guard = AtHome::new(&drops);
                        start.send(()).unwrap();
                        loop {
                            runtime::task::yield_now().await;
                        }
                    }));
                    has_started.await.unwrap();
                }
            });
            drop(runtime);
            assert_eq!(drops.load(Ordering::SeqCst), 3, "{mode:?}");
        }
    });
}

/// It has just finished something and may be on its way to sleep, in any state.
#[test]
fn a_core_that_is_about_to_sleep() {
    in_child_with_an_end("a_core_that_is_about_to_sleep", || {
        for (mode, round) in MODES.into_iter().flat_map(|mode| (0..100).map(move |round| (mode, round))) {
            let drops = Arc::<AtomicUsize>::default();
            let builder = builder(mode).cores(2).spin_us_max(if round % 2 == 0 { 0 } else { 50 });
            let runtime = builder.shutdown_ms(u64::MAX).build().unwrap();
            runtime.block_on(async {
                let counter = Arc::clone(&drops);
                let waiting = runtime::spawn_on(1, move || async move {
                    drop(runtime::spawn(wait_at_home(counter)));
                    runtime::task::yield_now().await;
                });
                waiting.await.unwrap();
                for _ in 0..round {
                    runtime::spawn_on(1, || async {}).await.unwrap();
                }
            });
            drop(runtime);
            assert_eq!(drops.load(Ordering::SeqCst), 1, "{mode:?} round {round}");
        }
    });
}

/// What a destructor of the main future does still belongs to its core.
#[test]
fn a_main_future_is_dropped_on_its_core() {
    for mode in MODES {
        let seen = Arc::<Mutex<Option<usize>>>::default();
        let runtime = builder(mode).build().unwrap();
        let result = Arc::clone(&seen);
        let guard = on_drop(move || {
            *result.lock().unwrap() = Some(runtime::core());
            drop(runtime::spawn(runtime::op::nop()));
        });
        runtime.block_on(poll_fn(move |_| {
            let _held = &guard;
            Poll::Ready(())
        }));
        drop(runtime);
        assert_eq!(*seen.lock().unwrap(), Some(0), "{mode:?}");
    }
}
