//! A descriptor that the kernel made for a future that is gone by then is closed, and the peer notices.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::ffi::CString;
use std::future::Future;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::{MODES, builder, descriptors, in_child, poll_deaf, until, until_operations};
use futures::StreamExt;
use runtime::fd::Fd;
use runtime::op::{self, OpenHow};

const ROUNDS: usize = 1500;

/// Runs `body` on a runtime in a child process, in both modes, and looks for descriptors that it left.
fn leaves_nothing<F: Future<Output = ()>>(test: &str, body: impl Fn(Fd, std::net::SocketAddr) -> F) {
    in_child(test, || {
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [2, 256].map(|entries| (mode, entries))) {
            let runtime = builder(mode).entries(entries).build().unwrap();
            let before = descriptors();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                body(Fd::new(OwnedFd::from(listener)), address).await;
                until_operations(0).await;
                until("the last close", || descriptors() == before).await;
            });
        }
    });
}

/// The client's end of a connection that nobody wants reads to the end, or is reset.
fn is_closed(mut client: TcpStream) -> bool {
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match client.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A few turns of the loop, each time another number, so that drops meet the accept in every state.
async fn pause(round: usize) {
    for _ in 0..round % 5 {
        runtime::task::yield_now().await;
    }
    if round.is_multiple_of(11) {
        runtime::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn accepts_that_are_dropped_while_a_client_connects() {
    leaves_nothing("accepts_that_are_dropped_while_a_client_connects", |listener, address| async move {
        for round in 0..ROUNDS {
            let mut accept = op::accept(&listener);
            assert!(poll_deaf(&mut accept).is_pending());
            pause(round).await;
            let client = TcpStream::connect(address).unwrap();
            pause(round / 5).await;
            drop(accept);
            // Either it was accepted for nobody and closed, or it is still in the queue.
            if round % 20 == 0 {
                until_operations(0).await;
                drain(&listener);
                assert!(is_closed(client));
            }
        }
        drain(&listener);
    });
}

/// Takes all connections out of the queue.
fn drain(listener: &Fd) {
    socket2::SockRef::from(listener).set_nonblocking(true).unwrap();
    while let Ok((socket, _)) = socket2::SockRef::from(listener).accept() {
        drop(socket);
    }
    socket2::SockRef::from(listener).set_nonblocking(false).unwrap();
}

#[test]
fn an_accept_that_was_answered_and_not_taken() {
    leaves_nothing("an_accept_that_was_answered_and_not_taken", |listener, address| async move {
        for _ in 0..200 {
            let mut accept = op::accept(&listener);
            assert!(poll_deaf(&mut accept).is_pending());
            let client = TcpStream::connect(address).unwrap();
            let cqes = runtime::metrics().cores[0].cqes;
            until("the completion", || runtime::metrics().cores[0].cqes > cqes).await;
            drop(accept);
            until_operations(0).await;
            assert!(is_closed(client));
        }
    });
}

#[test]
fn a_stream_of_accepts_that_is_dropped_with_connections_in_it() {
    leaves_nothing(
        "a_stream_of_accepts_that_is_dropped_with_connections_in_it",
        |listener, address| async move {
            for round in 0..ROUNDS / 10 {
                let mut accepts = op::accept_many(&listener);
                assert!(poll_deaf(&mut accepts.next()).is_pending());
                pause(round).await;
                let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
                pause(round).await;
                let taken: Vec<_> = (0..round % 3).map(|_| poll_deaf(&mut accepts.next())).collect();
                drop(accepts);
                drop(taken);
                until_operations(0).await;
                drain(&listener);
                assert!(clients.into_iter().all(is_closed));
            }
        },
    );
}

#[test]
fn opens_that_are_dropped() {
    leaves_nothing("opens_that_are_dropped", |listener, _| async move {
        let how = OpenHow { flags: libc::O_RDONLY, mode: 0 };
        for round in 0..ROUNDS * 2 {
            let mut open = op::open(CString::new("/dev/null").unwrap(), how);
            assert!(poll_deaf(&mut open).is_pending());
            pause(round).await;
            drop(open);
        }
        drop(listener);
    });
}

/// Closing is cancelled by nothing: neither by dropping its future nor by the end of the runtime.
#[test]
fn closes_that_are_dropped() {
    leaves_nothing("closes_that_are_dropped", |listener, _| async move {
        for round in 0..ROUNDS {
            let fd = Fd::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
            let mut close = Box::pin(fd.close());
            if round % 4 != 0 {
                assert!(poll_deaf(&mut close).is_pending());
            }
            pause(round).await;
            drop(close);
        }
        drop(listener);
    });
}
