//! Wakers on other threads: every wake arrives, whatever state the task, its core or its runtime is in.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::{MODES, builder, run, run_on, until};
use futures::task::AtomicWaker;

/// A turn that a task and a thread take in turns.
#[derive(Default)]
struct Ball {
    state: Mutex<(u32, Option<Waker>)>,
    thread: Condvar,
}

impl Ball {
    /// Odd: the task has it.
    async fn receive(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock().unwrap();
            if state.0 % 2 == 1 {
                return Poll::Ready(());
            }
            state.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn play(&self) -> Option<Waker> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.thread.notify_all();
        state.1.take()
    }
}

/// The core parks between the wakes, or is about to: one that is lost hangs the test.
#[test]
fn ping_pong_with_a_thread_loses_no_wake() {
    const ROUNDS: u32 = 20_000;
    for (mode, spin_us, as_task) in
        MODES.into_iter().flat_map(|mode| [(mode, 0, true), (mode, 50, true), (mode, 0, false)])
    {
        let ball = Arc::new(Ball::default());
        let opponent = thread::spawn({
            let ball = Arc::clone(&ball);
            move || {
                for _ in 0..ROUNDS {
                    let state = ball.state.lock().unwrap();
                    drop(ball.thread.wait_while(state, |state| state.0 % 2 == 1).unwrap());
                    if let Some(waker) = ball.play() {
                        waker.wake();
                    }
                }
            }
        });
        let game = async move {
            for _ in 0..ROUNDS {
                ball.receive().await;
                drop(ball.play());
            }
        };
        run_on(builder(mode).spin_us_max(spin_us), mode, async {
            if as_task { runtime::spawn(game).await.unwrap() } else { game.await }
        });
        opponent.join().unwrap();
    }
}

#[test]
fn a_hundred_thousand_wakes_from_several_threads() {
    const WAKES: usize = 25_000;
    for mode in MODES {
        run(mode, async {
            let (sent, waker) = (Arc::<AtomicUsize>::default(), Arc::new(AtomicWaker::new()));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (sent, waker) = (Arc::clone(&sent), Arc::clone(&waker));
                    thread::spawn(move || {
                        for _ in 0..WAKES {
                            sent.fetch_add(1, Ordering::SeqCst);
                            waker.wake();
                        }
                    })
                })
                .collect();
            let seen = runtime::spawn(poll_fn(move |cx| {
                waker.register(cx.waker());
                if sent.load(Ordering::SeqCst) == 4 * WAKES { Poll::Ready(()) } else { Poll::Pending }
            }));
            seen.await.unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

/// A future that gives its waker away, and ends when it is told to.
async fn expose(wakers: Arc<Mutex<Vec<Waker>>>, end: Arc<AtomicBool>) {
    poll_fn(|cx| {
        wakers.lock().unwrap().push(cx.waker().clone());
        if end.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn wakers_outlive_their_task_and_their_runtime() {
    for mode in MODES {
        let (wakers, end) = (Arc::<Mutex<Vec<Waker>>>::default(), Arc::<AtomicBool>::default());
        let main_waker = run(mode, async {
            let ended = runtime::spawn(expose(Arc::clone(&wakers), Arc::clone(&end)));
            let pending = runtime::spawn(expose(Arc::clone(&wakers), Arc::default()));
            until("both wakers", || wakers.lock().unwrap().len() == 2).await;
            end.store(true, Ordering::SeqCst);
            let first = wakers.lock().unwrap()[0].clone();
            thread::spawn(move || first.wake()).join().unwrap();
            ended.await.unwrap();
            // Of a completed task, of one that is pending, and drops on other threads.
            let all = wakers.lock().unwrap().clone();
            thread::spawn(move || all.into_iter().for_each(Waker::wake)).join().unwrap();
            let all = std::mem::take(&mut *wakers.lock().unwrap());
            until("the pending task's next poll", || !wakers.lock().unwrap().is_empty()).await;
            thread::spawn(move || drop(all)).join().unwrap();
            drop(pending);
            poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
        });
        let after = std::mem::take(&mut *wakers.lock().unwrap());
        assert!(!after.is_empty());
        for waker in after.into_iter().chain([main_waker]) {
            waker.wake_by_ref();
            thread::spawn(move || waker.wake()).join().unwrap();
        }
        assert!(wakers.lock().unwrap().is_empty(), "a task was polled after its runtime");
    }
}

/// The thread holds the only reference to the task: dropping it there must not drop the future there.
#[test]
fn the_last_waker_dropped_elsewhere_sends_the_future_home() {
    struct AtHome(thread::ThreadId, Arc<AtomicUsize>);
    impl Drop for AtHome {
        fn drop(&mut self) {
            assert_eq!(self.0, thread::current().id());
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    for mode in MODES {
        let drops = Arc::<AtomicUsize>::default();
        run(mode, async {
            let wakers = Arc::<Mutex<Vec<Waker>>>::default();
            for _ in 0..100 {
                let guard = AtHome(thread::current().id(), Arc::clone(&drops));
                let wakers = Arc::clone(&wakers);
                drop(runtime::spawn(async move {
                    let _guard = guard;
                    expose(wakers, Arc::default()).await;
                }));
            }
            until("all wakers", || wakers.lock().unwrap().len() == 100).await;
            let all = std::mem::take(&mut *wakers.lock().unwrap());
            thread::spawn(move || drop(all)).join().unwrap();
        });
        assert_eq!(drops.load(Ordering::SeqCst), 100);
    }
}

/// The runtime ends while threads wake its tasks as fast as they can.
#[test]
fn wakes_race_with_the_end_of_the_runtime() {
    for mode in MODES {
        for _ in 0..50 {
            let stop = Arc::<AtomicBool>::default();
            let wakers = Arc::<Mutex<Vec<Waker>>>::default();
            let thread = run(mode, async {
                for _ in 0..20 {
                    drop(runtime::spawn(expose(Arc::clone(&wakers), Arc::default())));
                }
                until("all wakers", || wakers.lock().unwrap().len() == 20).await;
                let (all, stop) = (std::mem::take(&mut *wakers.lock().unwrap()), Arc::clone(&stop));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        all.iter().for_each(Waker::wake_by_ref);
                    }
                })
            });
            let polls = wakers.lock().unwrap().len();
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
            assert_eq!(wakers.lock().unwrap().len(), polls, "a task was polled after its runtime");
        }
    }
}
