//! Forks while other threads are in the middle of something: building a runtime, starting a signal listener, changing the
//! process. What they hold is held for ever in the child, and must not be what the child needs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::forks::{Shared, alarm, fork};
use common::waiting::Waiting;
use common::{MODES, builder, in_child, run, run_two, until, until_blocking, work};
use runtime::guard::{fork_worker, identity_changed};
use runtime::signal::{SignalKind, signal};

/// Threads that do something again and again until they are told to stop.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Busy {
    fn start(body: impl Fn(u32) + Clone + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..2)
            .map(|_| {
                let (body, stop) = (body.clone(), Arc::clone(&stop));
                thread::spawn(move || (0..).take_while(|_| !stop.load(Ordering::SeqCst)).for_each(&body))
            })
            .collect();
        Busy { stop, threads }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn while_other_runtimes_come_and_go() {
    in_child("while_other_runtimes_come_and_go", || {
        for mode in MODES {
            let busy = Busy::start(move |_| {
                builder(mode).build().unwrap().block_on(async { runtime::op::nop().await.unwrap() });
            });
            run_two(mode, async {
                for _ in 0..60 {
                    let waiting = Waiting::start(2).await;
                    let child = fork(async {
                        work::through_a_pipe(vec![0; 8]).await;
                        for handle in runtime::on_every_core(|_| work::timers()) {
                            handle.await.unwrap();
                        }
                    })
                    .await;
                    child.succeeds().await;
                    waiting.finish().await;
                }
            });
            busy.finish();
        }
    });
}

/// Each thread listens for other signals each time, as long as there are any.
#[test]
fn while_other_threads_start_to_listen() {
    in_child("while_other_threads_start_to_listen", || {
        for mode in MODES {
            let busy = Busy::start(|round| {
                let number = libc::SIGRTMIN() + (round % 20) as i32;
                drop(signal(SignalKind::from_raw(number)).unwrap());
            });
            run(mode, async {
                for _ in 0..100 {
                    let child = fork(async {
                        work::signals().await;
                        drop(signal(SignalKind::from_raw(libc::SIGRTMIN() + 25)).unwrap());
                    })
                    .await;
                    child.succeeds().await;
                }
            });
            busy.finish();
        }
    });
}

/// What is in its buffer can't be written then, here as there; everything else does not wait for that.
#[test]
fn while_another_thread_has_the_standard_output() {
    in_child("while_another_thread_has_the_standard_output", || {
        for mode in MODES {
            run(mode, async {
                let shared = Shared::new(2);
                let holder = thread::spawn(move || {
                    let _locked = std::io::stdout().lock();
                    shared.set(0, 1);
                    until_blocking("the fork", || shared.get(1) == 1);
                });
                until("it is locked", || shared.get(0) == 1).await;
                let worker = fork_worker(async {
                    alarm();
                    work::everything_everywhere().await;
                });
                shared.set(1, 1);
                assert!(worker.unwrap().wait().await.unwrap().success());
                holder.join().expect("it was locked until the worker had been forked");
            });
        }
    });
}

/// The other core has asked this one to come to a safe point, and waits; in the child it does not exist.
#[test]
fn while_another_core_changes_the_process() {
    in_child("while_another_core_changes_the_process", || {
        for mode in MODES {
            run_two(mode, async {
                for _ in 0..5 {
                    let shared = Shared::new(1);
                    let far = runtime::spawn_on(1, move || async move {
                        shared.set(0, 1);
                        identity_changed()
                    });
                    until("the other core is about to ask", || shared.get(0) == 1).await;
                    // This task does not return meanwhile, so the other core waits, most likely.
                    thread::sleep(Duration::from_millis(20));
                    let child = fork(work::everything_everywhere()).await;
                    far.await.unwrap().unwrap();
                    child.succeeds().await;
                }
            });
        }
    });
}

/// As above, over and over, at any moment.
#[test]
fn while_another_core_changes_the_process_again_and_again() {
    in_child("while_another_core_changes_the_process_again_and_again", || {
        for mode in MODES {
            run_two(mode, async {
                let shared = Shared::new(1);
                let far = runtime::spawn_on(1, move || async move {
                    while shared.get(0) == 0 {
                        identity_changed().unwrap();
                        runtime::task::yield_now().await;
                    }
                });
                for _ in 0..50 {
                    let waiting = Waiting::queue(3).await;
                    let child = fork(work::everything()).await;
                    child.succeeds().await;
                    waiting.finish().await;
                }
                shared.set(0, 1);
                far.await.unwrap();
            });
        }
    });
}
