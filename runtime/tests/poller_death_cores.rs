//! Several cores lose the poller that they share: each recovers, and they share the one new poller.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{until, until_operations};
use deaths::scene::every_kind;
use deaths::{Replaced, alive, kill, kill_nth, replaced, run, until_replaced};
use runtime::fd::Fd;
use runtime::op::recv;
use runtime::task::yield_now;
use runtime::{Builder, JoinHandle, Mode};

const NEVER: Replaced = Replaced { total: 0, poller_died: 0 };

fn cores(cores: usize) -> Builder {
    Builder::new().cores(cores).pin(false).mode(Mode::Polled)
}

/// A task on `core` that waits for something to receive, and has begun to.
async fn receiver(core: usize, near: UnixStream) -> JoinHandle<Vec<u8>> {
    let (pending, is_pending) = futures::channel::oneshot::channel();
    let handle = runtime::spawn_on(core, move || async move {
        let near = Fd::new(OwnedFd::from(near));
        let receive = runtime::spawn(async move { recv(&near, Vec::with_capacity(16)).await });
        until_operations(1).await;
        pending.send(()).unwrap();
        let (result, buf) = receive.await.unwrap();
        result.unwrap();
        buf
    });
    is_pending.await.unwrap();
    handle
}

fn pollers() -> Vec<Option<i32>> {
    runtime::metrics().cores.iter().map(|core| core.poller_tid).collect()
}

#[test]
fn they_all_recover_and_share_the_new_one() {
    for (count, from_thread) in [(2, true), (2, false), (3, true), (3, false)] {
        run(cores(count), async {
            let (mut handles, mut ends) = (Vec::new(), Vec::new());
            for core in 0..count {
                let (near, far) = UnixStream::pair().unwrap();
                handles.push(receiver(core, near).await);
                ends.push(far);
            }
            assert_eq!(alive(), 1, "there is one poller");
            let before = pollers();
            assert!(before.iter().all(|poller| poller.is_some() && *poller == before[0]), "{before:?}");
            if from_thread {
                thread::spawn(kill).join().unwrap();
            } else {
                kill();
            }
            for core in 0..count {
                until_replaced(core, 1).await;
            }
            let after = pollers();
            assert!(after.iter().all(|poller| poller.is_some() && *poller == after[0]), "{after:?}");
            assert_ne!(after[0], before[0]);
            assert_eq!(alive(), 1, "there is one new poller");
            assert!(runtime::metrics().cores.iter().all(|core| core.mode == Some(Mode::Polled)));
            for (core, (handle, mut far)) in handles.into_iter().zip(ends).enumerate() {
                far.write_all(&[core as u8; 8]).unwrap();
                assert_eq!(handle.await.unwrap(), [core as u8; 8]);
            }
        });
    }
}

#[test]
fn everything_goes_on_on_each() {
    for (count, early) in [(2, true), (2, false), (3, true), (3, false)] {
        run(cores(count), async {
            for death in 1..=5 {
                let ready = Arc::<AtomicUsize>::default();
                let handles = runtime::on_every_core(move |_| {
                    let ready = Arc::clone(&ready);
                    async move {
                        every_kind(early, async || {
                            // The last one to be ready kills.
                            if ready.fetch_add(1, Ordering::SeqCst) + 1 == count {
                                assert_eq!(kill(), 1);
                            }
                            until("the others", || ready.load(Ordering::SeqCst) == count).await;
                        })
                        .await;
                    }
                });
                for handle in handles {
                    handle.await.unwrap();
                }
                for core in 0..count {
                    until_replaced(core, death).await;
                }
                assert_eq!(alive(), 1);
            }
        });
    }
}

/// A core that sleeps with nothing to wait for but wake-ups from the others.
#[test]
fn wakes_between_cores_arrive() {
    run(cores(2).spin_us_max(0), async {
        for death in 0..100 {
            let (to_task, message) = futures::channel::oneshot::channel();
            let handle = runtime::spawn_on(1, move || async move {
                if death % 3 == 0 {
                    yield_now().await;
                }
                message.await.unwrap()
            });
            if death % 2 == 0 {
                yield_now().await;
            }
            kill();
            to_task.send(death).unwrap();
            assert_eq!(handle.await.unwrap(), death);
        }
        until("one poller", || alive() == 1).await;
    });
}

/// It must not end up with a ring without a poller, nor with a poller of its own.
#[test]
fn a_core_that_starts_over_a_dead_poller_gets_a_live_one() {
    for _ in 0..20 {
        run(cores(3), async {
            assert_eq!(kill(), 1);
            for core in [1, 2] {
                assert_eq!(runtime::spawn_on(core, || async { runtime::core() }).await.unwrap(), core);
            }
            until_replaced(0, 1).await;
            let metrics = runtime::metrics();
            assert!(metrics.cores.iter().all(|core| core.mode == Some(Mode::Polled)), "{metrics:?}");
            assert_eq!(alive(), 1);
            let pollers = pollers();
            assert!(pollers.iter().all(|poller| poller.is_some() && *poller == pollers[0]), "{pollers:?}");
        });
    }
}

/// One poller, one fate; but only of those who share it.
#[test]
fn cores_with_another_poller_notice_nothing() {
    for (dies, lives) in [(0, 1), (1, 0)] {
        run(cores(2).pollers(2), async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let (other_near, mut other_far) = UnixStream::pair().unwrap();
            let (one, other) = (receiver(0, near).await, receiver(1, other_near).await);
            assert_eq!((alive(), kill_nth(dies)), (2, 1));
            until_replaced(dies, 1).await;
            far.write_all(b"one").unwrap();
            other_far.write_all(b"other").unwrap();
            assert_eq!((one.await.unwrap(), other.await.unwrap()), (b"one".to_vec(), b"other".to_vec()));
            until_replaced(dies, 1).await;
            assert_eq!((replaced(lives), alive()), (NEVER, 2));
        });
    }
}

#[test]
fn they_end_as_always_though_their_poller_is_dead() {
    for recovered in [true, false] {
        let end = run(cores(3), async {
            for core in 0..3 {
                let (near, far) = UnixStream::pair().unwrap();
                drop(receiver(core, near).await);
                std::mem::forget(far);
            }
            assert_eq!(kill(), 1);
            if recovered {
                for core in 0..3 {
                    until_replaced(core, 1).await;
                }
            }
            Instant::now()
        });
        assert!(end.elapsed() < Duration::from_secs(5), "shutdown waited for a dead poller");
    }
}
