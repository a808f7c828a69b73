//! The poller dies around the end of a future: its buffer is freed once, and what it waited for is not taken from others.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use common::{Counted, builder, descriptors, pipe, poll_deaf, until, until_blocking, until_operations};
use deaths::scene::HERE;
use deaths::{kill, run, until_replaced};
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{accept, read_at, recv};

const OPERATIONS: usize = 300;

/// When, as seen from the death, a future is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dropped {
    /// And the kernel has cancelled it before.
    LongBefore,
    /// The cancel is in the queue, or not even there.
    JustBefore,
    /// The core does not know yet.
    JustAfter,
    /// The request has been submitted again.
    LongAfter,
}

#[test]
fn buffers_are_freed_once_and_nothing_is_taken() {
    for entries in [1, 8, 256] {
        for when in [Dropped::LongBefore, Dropped::JustBefore, Dropped::JustAfter, Dropped::LongAfter] {
            run(builder(Mode::Polled).entries(entries), dropped(when));
        }
    }
}

async fn dropped(when: Dropped) {
    let drops: Rc<Cell<usize>> = Rc::default();
    let (reader, mut writer) = pipe();
    let mut futures: Vec<_> =
        (0..OPERATIONS).map(|_| Some(read_at(&reader, Counted::new(1, &drops), HERE))).collect();
    futures.iter_mut().flatten().for_each(|future| assert!(poll_deaf(future).is_pending()));
    until_operations(OPERATIONS as u64).await;
    let kept = OPERATIONS / 2;
    let mut drop_half = || futures.iter_mut().step_by(2).for_each(|future| drop(future.take()));
    if matches!(when, Dropped::LongBefore | Dropped::JustBefore) {
        drop_half();
        assert_eq!(drops.get(), 0, "{when:?}: freed while the kernel may still use them");
    }
    if when == Dropped::LongBefore {
        until_operations(kept as u64).await;
    }
    assert_eq!(kill(), 1);
    if when == Dropped::JustAfter {
        drop_half();
    }
    if when == Dropped::LongAfter {
        until_replaced(0, 1).await;
        drop_half();
    }
    until("all that were dropped", || drops.get() == OPERATIONS - kept).await;
    until_operations(kept as u64).await;
    writer.write_all(&[5; OPERATIONS]).unwrap();
    for future in futures.into_iter().flatten() {
        let (result, buf) = future.await;
        assert_eq!((result.unwrap(), buf.as_bytes()), (1, &[5][..]));
    }
    assert_eq!(drops.get(), OPERATIONS);
    // What the dropped ones did not take is still there.
    let (result, rest) = read_at(&reader, Vec::with_capacity(2 * OPERATIONS), HERE).await;
    assert_eq!((result.unwrap(), rest), (OPERATIONS - kept, vec![5; OPERATIONS - kept]), "{when:?}");
    until_operations(0).await;
    until_replaced(0, 1).await;
}

/// What has finished is not begun again, although its result was never seen.
#[test]
fn a_receive_that_was_done_when_its_future_was_dropped() {
    for drop_first in [true, false] {
        run(builder(Mode::Polled), async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (near, mut far) = UnixStream::pair().unwrap();
            let near = Fd::new(OwnedFd::from(near));
            let mut receive = recv(&near, Counted::new(4, &drops));
            assert!(poll_deaf(&mut receive).is_pending());
            until_operations(1).await;
            far.write_all(b"gone").unwrap();
            until_blocking("the poller takes it", || {
                let mut block = [std::mem::MaybeUninit::uninit(); 8];
                socket2::SockRef::from(&near)
                    .recv_with_flags(&mut block, libc::MSG_PEEK | libc::MSG_DONTWAIT)
                    .is_err()
            });
            if drop_first {
                drop(receive);
                assert_eq!(kill(), 1);
            } else {
                assert_eq!(kill(), 1);
                drop(receive);
            }
            far.write_all(b"here").unwrap();
            assert_eq!(recv(&near, Vec::with_capacity(16)).await.1, b"here");
            until_operations(0).await;
            assert_eq!(drops.get(), 1);
        });
    }
}

/// A connection that was accepted for nobody is closed, one that was not is accepted by the next.
#[test]
fn accepts_that_are_dropped_leave_no_descriptor() {
    run(builder(Mode::Polled), async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Fd::new_prompt(OwnedFd::from(listener));
        let before = descriptors();
        for round in 0..40 {
            let mut accepting = accept(&listener);
            assert!(poll_deaf(&mut accepting).is_pending());
            until_operations(1).await;
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            if round % 2 == 0 {
                // This side's and the other side's.
                until_blocking("the accept", || descriptors() == before + 2);
            }
            if round % 4 < 2 {
                drop(accepting);
                assert_eq!(kill(), 1);
            } else {
                assert_eq!(kill(), 1);
                drop(accepting);
            }
            until_operations(0).await;
            until_replaced(0, round + 1).await;
            socket2::SockRef::from(&listener).set_nonblocking(true).unwrap();
            drop(socket2::SockRef::from(&listener).accept());
            socket2::SockRef::from(&listener).set_nonblocking(false).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
            drop(client);
            until("no descriptor too many", || descriptors() == before).await;
        }
    });
}

/// A close that nobody awaits is carried out, once: a number that was given out again in the meantime stays open.
#[test]
fn descriptors_that_were_being_closed_are_closed_once() {
    for (round, entries) in [1, 8, 256].into_iter().enumerate() {
        run(builder(Mode::Polled).entries(entries), async {
            let before = descriptors();
            for death in 1..=20 {
                let pairs: Vec<_> = (0..30).map(|_| UnixStream::pair().unwrap()).collect();
                let (near, far): (Vec<_>, Vec<_>) =
                    pairs.into_iter().map(|(near, far)| (Fd::new(OwnedFd::from(near)), far)).unzip();
                if (death + round as u64).is_multiple_of(2) {
                    drop(near);
                    assert_eq!(kill(), 1);
                } else {
                    assert_eq!(kill(), 1);
                    drop(near);
                }
                // These may get the numbers of those that have been closed.
                let others: Vec<_> = (0..30).map(|_| UnixStream::pair().unwrap()).collect();
                for mut far in far {
                    assert_eq!(poll_end(&mut far).await, 0);
                }
                until_replaced(0, death).await;
                for (mut one, mut other) in others {
                    one.write_all(b"open").unwrap();
                    let mut block = [0; 4];
                    other.read_exact(&mut block).unwrap();
                    assert_eq!(&block, b"open");
                }
                until("no descriptor too many", || descriptors() == before).await;
            }
        });
    }
}

/// Waits, on the runtime, until a socket has something to read, or its end.
async fn poll_end(socket: &mut UnixStream) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut len = None;
    until("the end of the stream", || {
        len = socket.read(&mut [0]).ok();
        len.is_some()
    })
    .await;
    len.unwrap()
}
