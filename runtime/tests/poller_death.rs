//! The poller dies: what was pending goes on, on a new ring, and no future notices.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::future::poll_fn;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use common::{builder, pipe, poll_once, until_blocking, until_operations};
use deaths::scene::{HERE, every_kind};
use deaths::{Replaced, alive, kill, replaced, run, until_replaced};
use futures::task::AtomicWaker;
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{connect, read_at};

const ONCE: Replaced = Replaced { total: 1, poller_died: 1 };

/// The core sleeps in the kernel, and every request has been taken.
#[test]
fn while_the_core_sleeps() {
    run(builder(Mode::Polled), async {
        every_kind(false, async || {
            // The stream and the task that waits for the thread have none or one.
            until_operations(6).await;
            thread::spawn(kill);
            until_replaced(0, 1).await;
        })
        .await;
        assert_eq!((replaced(0), alive()), (ONCE, 1));
    });
}

/// The task itself sees the poller die, and what its operations wait for comes before the core can know.
#[test]
fn while_a_task_runs() {
    run(builder(Mode::Polled), async {
        every_kind(false, async || {
            until_operations(6).await;
            assert_eq!(kill(), 1);
        })
        .await;
        until_replaced(0, 1).await;
        assert_eq!(alive(), 1);
    });
}

/// The requests are still in the queue, or not even there.
#[test]
fn before_the_poller_has_seen_the_requests() {
    for early in [true, false] {
        run(builder(Mode::Polled), async {
            every_kind(early, async || assert_eq!(kill(), 1)).await;
            until_replaced(0, 1).await;
        });
    }
}

/// Requests that find no room in the queue of the dead poller.
#[test]
fn while_the_queue_is_full() {
    for entries in [1, 2, 8] {
        run(builder(Mode::Polled).entries(entries), async {
            for early in [true, false] {
                every_kind(early, async || assert_eq!(kill(), 1)).await;
            }
            until_replaced(0, 2).await;
        });
    }
}

/// Nothing is pending and no timer is set: the death itself must wake the core, or the next wake-up is lost.
#[test]
fn while_nothing_is_pending() {
    for await_recovery in [true, false] {
        run(builder(Mode::Polled), async {
            until_operations(0).await;
            let (from_thread, message) = futures::channel::oneshot::channel();
            let thread = thread::spawn(move || {
                assert_eq!(kill(), 1);
                if await_recovery {
                    until_blocking("a new poller", || alive() == 1);
                }
                from_thread.send(()).unwrap();
            });
            message.await.unwrap();
            thread.join().unwrap();
            until_replaced(0, 1).await;
        });
    }
}

/// One that hangs in `io_uring_enter`, with everything still in the queue, is woken by nothing.
#[test]
fn right_after_the_birth_of_its_ring() {
    run(builder(Mode::Polled).spin_us_max(0), async {
        for death in 1..=50 {
            let (from_thread, message) = futures::channel::oneshot::channel();
            let thread = thread::spawn(move || {
                until_blocking("a poller", || alive() == 1);
                assert_eq!(kill(), 1);
                from_thread.send(death).unwrap();
            });
            assert_eq!(message.await.unwrap(), death);
            thread.join().unwrap();
        }
        until_replaced(0, 50).await;
    });
}

#[test]
fn again_and_again_under_one_read() {
    const DEATHS: u64 = 100;
    run(builder(Mode::Polled), async {
        let (reader, mut writer) = pipe();
        let buf = Vec::with_capacity(8);
        let place = buf.as_ptr();
        let mut read = read_at(&reader, buf, HERE);
        assert!(poll_once(&mut read).await.is_pending());
        for death in 1..=DEATHS {
            assert_eq!(kill(), 1);
            until_replaced(0, death).await;
        }
        writer.write_all(b"at last").unwrap();
        let (result, buf) = read.await;
        assert_eq!((result.unwrap(), buf.as_bytes(), buf.as_ptr()), (7, &b"at last"[..], place));
    });
}

/// The wake-up from other threads is a request too.
#[test]
fn wakes_from_other_threads_arrive_across_deaths() {
    const ROUNDS: u32 = 1_000;
    for spin_us in [0, 50] {
        run(builder(Mode::Polled).spin_us_max(spin_us), async {
            let (to_thread, from_core) = mpsc::channel();
            let (state, waker) = (Arc::new(Mutex::new(None)), Arc::new(AtomicWaker::new()));
            let thread = thread::spawn({
                let (state, waker) = (Arc::clone(&state), Arc::clone(&waker));
                move || {
                    for round in from_core {
                        if round % 20 == 0 {
                            kill();
                        }
                        *state.lock().unwrap() = Some(round);
                        waker.wake();
                    }
                }
            });
            for round in 1..=ROUNDS {
                to_thread.send(round).unwrap();
                let answer = poll_fn(|cx| {
                    waker.register(cx.waker());
                    state.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready)
                });
                assert_eq!(answer.await, round);
            }
            drop(to_thread);
            thread.join().unwrap();
        });
    }
}

/// A connection under way can't be begun a second time: the kernel would say `EALREADY` or `EISCONN`.
#[test]
fn a_connect_goes_on() {
    run(builder(Mode::Polled), async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // The queue of connections that nobody has accepted is as short as can be, and full.
        let listening = socket2::SockRef::from(&listener);
        listening.listen(0).unwrap();
        let first = std::net::TcpStream::connect(address).unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let socket = Fd::new(OwnedFd::from(socket));
        let mut connecting = connect(&socket, address.into());
        assert!(poll_once(&mut connecting).await.is_pending());
        until_operations(1).await;
        assert_eq!(kill(), 1);
        until_replaced(0, 1).await;
        assert!(poll_once(&mut connecting).await.is_pending(), "the case was not reached");
        // Now there is room, which the kernel notices when it tries again.
        let accepted = listener.accept().unwrap();
        connecting.await.unwrap();
        assert_eq!(
            listener.accept().unwrap().1,
            socket2::SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap()
        );
        drop((first, accepted));
    });
}

#[test]
fn a_runtime_ends_as_always_though_its_poller_is_dead() {
    for recovered in [true, false] {
        let end = run(builder(Mode::Polled), async {
            let (reader, writer) = pipe();
            for _ in 0..10 {
                let reader = reader.clone();
                drop(runtime::spawn(async move { read_at(&reader, Vec::with_capacity(8), HERE).await }));
            }
            until_operations(10).await;
            assert_eq!(kill(), 1);
            if recovered {
                until_replaced(0, 1).await;
            }
            std::mem::forget(writer);
            Instant::now()
        });
        assert!(end.elapsed() < Duration::from_secs(5), "shutdown waited for a dead poller");
    }
}

/// An entered ring has no poller that could die: the seam leaves it alone.
#[test]
fn entered_rings_have_none() {
    let _session = deaths::session();
    common::run(Mode::Entered, async {
        every_kind(false, async || assert_eq!(kill(), 0)).await;
    });
}

/// The scene itself: it ends well where nothing happens.
#[test]
fn the_poller_of_nobody() {
    run(builder(Mode::Polled), async {
        every_kind(false, async || ()).await;
        assert_eq!((replaced(0).total, alive()), (0, 1));
    });
}
