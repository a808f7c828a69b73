//! The poller dies over results that nobody has taken: each is delivered once, however many there are.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use common::{Counted, builder, descriptors, poll_deaf, until, until_blocking, until_operations};
use deaths::{kill, run, until_replaced};
use futures::StreamExt;
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{accept_many, recv};

/// What a socket has received and nobody has read.
fn unread(socket: &Fd) -> usize {
    let mut block = [std::mem::MaybeUninit::uninit(); 4096];
    match socket2::SockRef::from(socket).recv_with_flags(&mut block, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Ok(len) => len,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Receives of a byte each wait on one socket. `first` of the bytes come while the core does not look, then its poller
/// dies, then the rest comes: each byte is received once, into the buffer that was given for it.
async fn bytes(receives: usize, first: usize) {
    let drops: Rc<Cell<usize>> = Rc::default();
    let (near, mut far) = UnixStream::pair().unwrap();
    let near = Fd::new(OwnedFd::from(near));
    until_operations(0).await;
    let all_sqes = runtime::metrics().cores[0].sqes + receives as u64;
    let mut pending: Vec<_> = (0..receives)
        .map(|_| {
            let buf = Counted::new(1, &drops);
            (buf.stable_ptr(), recv(&near, buf))
        })
        .collect();
    pending.iter_mut().for_each(|(_, receive)| assert!(poll_deaf(receive).is_pending()));
    until("room for all requests", || runtime::metrics().cores[0].sqes >= all_sqes).await;
    // A byte that comes twice or never shows, if the numbers of all are known: 251 is a prime.
    let all: Vec<u8> = (0..receives).map(|byte| (byte % 251) as u8).collect();
    far.write_all(&all[..first]).unwrap();
    until_blocking("somebody takes them", || unread(&near) == 0);
    assert_eq!(kill(), 1);
    far.write_all(&all[first..]).unwrap();
    let mut received = Vec::new();
    for (place, receive) in pending {
        let (result, buf) = receive.await;
        assert_eq!((result.unwrap(), buf.stable_ptr()), (1, place));
        received.push(buf.as_bytes()[0]);
    }
    let mut expected = all;
    expected.sort_unstable();
    received.sort_unstable();
    assert!(received == expected, "{received:?}");
    assert_eq!(drops.get(), receives);
    until_operations(0).await;
}

#[test]
fn results_in_the_queue() {
    for first in [0, 1, 50, 99, 100] {
        run(builder(Mode::Polled), async {
            bytes(100, first).await;
            until_replaced(0, 1).await;
        });
    }
}

/// The queue has room for 128; the kernel keeps the rest, and a dead poller's ring has no way to ask for it.
#[test]
fn results_that_found_no_room() {
    for first in [0, 100, 200, 500, 900, 1000] {
        run(builder(Mode::Polled).entries(8), async {
            bytes(1000, first).await;
            until_replaced(0, 1).await;
        });
    }
}

/// Twice, so that what was carried over is carried over again, or is done on the second ring.
#[test]
fn results_that_found_no_room_in_a_ring_that_was_new() {
    run(builder(Mode::Polled).entries(8), async {
        for death in 1..=5 {
            bytes(500, 250).await;
            until_replaced(0, death).await;
        }
    });
}

/// A second death while the core is at work on the first: before it has looked at all that it carries over.
#[test]
fn a_death_in_the_middle_of_the_recovery() {
    for entries in [8, 256] {
        run(builder(Mode::Polled).entries(entries), async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (near, mut far) = UnixStream::pair().unwrap();
            let near = Fd::new(OwnedFd::from(near));
            let mut pending: Vec<_> = (0..1000).map(|_| recv(&near, Counted::new(1, &drops))).collect();
            pending.iter_mut().for_each(|receive| assert!(poll_deaf(receive).is_pending()));
            assert_eq!(kill(), 1);
            let killer = std::thread::spawn(|| {
                for _ in 0..20 {
                    until_blocking("a poller", || kill() == 1);
                }
            });
            until("the last death", || killer.is_finished()).await;
            killer.join().unwrap();
            far.write_all(&[7; 1000]).unwrap();
            for receive in pending {
                assert_eq!(receive.await.0.unwrap(), 1);
            }
            assert_eq!(drops.get(), 1000);
        });
    }
}

/// Connections that were accepted for a stream which has not seen them: each comes out of it once, and none is left open.
#[test]
fn accepted_connections() {
    for (entries, connections) in [(256, 20), (1, 100)] {
        run(builder(Mode::Polled).entries(entries), async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = Fd::new_prompt(OwnedFd::from(listener));
            let mut accepts = accept_many(&listener);
            assert!(futures::poll!(accepts.next()).is_pending());
            // Beside the poll on the wake-up counter.
            until("room for the accept", || runtime::metrics().cores[0].sqes > 1).await;
            let before = descriptors();
            let mut clients: Vec<_> =
                (0..connections).map(|_| TcpStream::connect(address).unwrap()).collect();
            // More is accepted only as long as there is room for the results.
            let accepted = connections.min(16);
            until_blocking("an accepted connection", || descriptors() >= before + connections + accepted);
            assert_eq!(kill(), 1);
            clients.extend((0..20).map(|_| TcpStream::connect(address).unwrap()));
            let mut peers = Vec::new();
            for _ in &clients {
                let fd = accepts.next().await.unwrap().unwrap();
                peers.push(socket2::SockRef::from(&fd.as_fd()).peer_addr().unwrap().as_socket().unwrap());
                fd.close().await.unwrap();
            }
            peers.sort();
            let mut expected: Vec<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
            expected.sort();
            assert_eq!(peers, expected);
            // They were accepted once, and closed.
            for mut client in clients {
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            until_replaced(0, 1).await;
            assert!(listener.as_raw_fd() > 2);
        });
    }
}
