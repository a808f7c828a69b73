//! A fork comes while other threads are waking tasks of the core that forks. Such a task counts as queued already, but the thread
//! that was about to queue it does not exist in the child: it has to run there all the same, and once more whenever it is woken.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use common::forks::fork;
use common::{MODES, in_child, run, until, work};
use runtime::task::{JoinHandle, yield_now};

const TASKS: usize = 4;
const WAKERS: usize = 3;
/// So many that one that comes at the wrong moment is among them: without any care for them every tenth fork loses a task.
const FORKS: usize = 200;

/// What a process has of its own: a fork copies it.
#[derive(Default)]
struct Control {
    /// Each task's waker, and how often it was polled.
    wakers: [Mutex<Option<Waker>>; TASKS],
    polls: [AtomicUsize; TASKS],
    /// Tasks that are polled from now on end.
    end: AtomicBool,
    /// The threads end.
    stop: AtomicBool,
}

impl Control {
    fn task(self: Arc<Self>, index: usize) -> impl Future<Output = usize> {
        poll_fn(move |cx| {
            self.polls[index].fetch_add(1, Ordering::SeqCst);
            // In a child the lock may be held for ever, and the waker is that of before then.
            if let Ok(mut waker) = self.wakers[index].try_lock()
                && waker.is_none()
            {
                *waker = Some(cx.waker().clone());
            }
            if self.end.load(Ordering::SeqCst) { Poll::Ready(index) } else { Poll::Pending }
        })
    }

    /// Wakes all tasks by turns, over and over.
    fn keep_waking(&self) {
        let wakers: Vec<Waker> =
            self.wakers.iter().map(|waker| waker.lock().unwrap().clone().expect("it was polled")).collect();
        while !self.stop.load(Ordering::Relaxed) {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
    }

    fn counts(&self) -> [usize; TASKS] {
        std::array::from_fn(|index| self.polls[index].load(Ordering::SeqCst))
    }

    /// Waits until every task has been polled again.
    async fn all_run(&self, what: &str) {
        let before = self.counts();
        until(what, || self.counts().iter().zip(before).all(|(now, before)| *now > before)).await;
    }
}

/// Tasks that are woken by threads all the time.
struct Woken {
    control: Arc<Control>,
    tasks: Vec<JoinHandle<usize>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Woken {
    async fn start() -> Self {
        let control = Arc::<Control>::default();
        let tasks = (0..TASKS).map(|index| runtime::spawn(Arc::clone(&control).task(index))).collect();
        until("their first polls", || control.counts().iter().all(|count| *count > 0)).await;
        let waking = |_| {
            let control = Arc::clone(&control);
            thread::spawn(move || control.keep_waking())
        };
        let threads = (0..WAKERS).map(waking).collect();
        Woken { control, tasks, threads }
    }

    /// Ends all tasks; each is polled once more for that, and gives its output.
    async fn end(tasks: &mut [JoinHandle<usize>]) {
        for (index, task) in tasks.iter_mut().enumerate() {
            assert_eq!(task.await.unwrap(), index);
        }
    }

    async fn finish(mut self) {
        self.control.all_run("the parent's tasks").await;
        self.control.end.store(true, Ordering::SeqCst);
        Self::end(&mut self.tasks).await;
        self.control.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// The child's core wakes whatever it has, since what it waits for may be gone.
#[test]
fn they_run_in_the_child() {
    in_child("they_run_in_the_child", || {
        for mode in MODES {
            run(mode, async {
                let woken = Woken::start().await;
                for _ in 0..FORKS {
                    let child = fork(woken.control.all_run("the child's tasks")).await;
                    child.succeeds().await;
                }
                woken.finish().await;
            });
        }
    });
}

/// They come to their end, and are freed like others.
#[test]
fn they_end_in_the_child() {
    in_child("they_end_in_the_child", || {
        for mode in MODES {
            run(mode, async {
                let mut woken = Woken::start().await;
                for _ in 0..FORKS {
                    let child = fork(async {
                        woken.control.end.store(true, Ordering::SeqCst);
                        Woken::end(&mut woken.tasks).await;
                        // The wakers that are left name them, and wake nobody.
                        for waker in &woken.control.wakers {
                            if let Ok(waker) = waker.try_lock() {
                                waker.iter().for_each(Waker::wake_by_ref);
                            }
                        }
                        work::through_a_pipe(vec![0; 8]).await;
                        yield_now().await;
                    })
                    .await;
                    child.succeeds().await;
                }
                woken.finish().await;
            });
        }
    });
}

/// The task that forks is being woken as well: it runs, and is queued by nobody but itself when it returns.
#[test]
fn the_task_that_forks_is_woken_meanwhile() {
    in_child("the_task_that_forks_is_woken_meanwhile", || {
        for mode in MODES {
            run(mode, async {
                let stop = Arc::<AtomicBool>::default();
                let stopped = Arc::clone(&stop);
                let forks = runtime::spawn(async move {
                    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                    let waking = thread::spawn(move || {
                        while !stopped.load(Ordering::Relaxed) {
                            waker.wake_by_ref();
                        }
                    });
                    for _ in 0..FORKS {
                        // Nothing else wakes it there, once the first wake-up of all has been used up.
                        let child = fork(async {
                            for _ in 0..3 {
                                yield_now().await;
                            }
                            work::timers().await;
                        })
                        .await;
                        child.succeeds().await;
                    }
                    waking
                });
                let waking = forks.await.unwrap();
                stop.store(true, Ordering::Relaxed);
                waking.join().unwrap();
            });
        }
    });
}
