//! What a replacement of the ring does to requests that are more than a read of an empty pipe: half sent, half connected,
//! waiting for a signal or for a process.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use common::work::{self, socket_pair};
use common::{MODES, PATIENCE, in_child, poll_deaf, poll_once, run, until_operations};
use runtime::Mode;
use runtime::fd::Fd;
use runtime::guard::identity_changed;
use runtime::op::{self, OpenHow};
use runtime::process::Command;
use runtime::signal::{SignalKind, signal};
use runtime::time::timeout;
use socket2::{Domain, Socket, Type};

/// A send that is to send everything does so, though the peer takes it in pieces, and the ring changes at each.
#[test]
fn a_large_send_is_whole() {
    const LEN: usize = 4 << 20;
    in_child("a_large_send_is_whole", || {
        for mode in MODES {
            run(mode, async {
                let (left, right) = socket_pair();
                let bytes: Vec<u8> = (0..LEN).map(|at| (at / 1000) as u8).collect();
                let sending = runtime::spawn(op::send(&left, bytes.clone(), true));
                let mut received = Vec::new();
                while received.len() < LEN {
                    if received.len() % 3 == 0 {
                        // The rest of it is in flight.
                        runtime::time::sleep(Duration::from_millis(1)).await;
                    }
                    identity_changed().unwrap();
                    let next = (LEN - received.len()).min(100_000);
                    let piece = timeout(Duration::from_secs(20), work::recv_exact(&right, next)).await;
                    received.extend(
                        piece.unwrap_or_else(|_| panic!("{} of {LEN} came", received.len())).unwrap(),
                    );
                }
                let (sent, _) = sending.await.unwrap();
                assert_eq!((sent.unwrap(), received == bytes), (LEN, true));
            });
        }
    });
}

/// A listener whose queue is full, with what fills it: whoever connects now waits.
fn full_listener() -> (Fd, SocketAddr, Vec<Socket>) {
    let tcp = || Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None).unwrap();
    let listener = tcp();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let client = tcp();
        client.connect(&address).unwrap();
        waiting.push(client);
    }
    (Fd::new(OwnedFd::from(listener)), address.as_socket().unwrap(), waiting)
}

/// The kernel is in the middle of the handshake; asked for the same again, it says `EALREADY`.
#[test]
fn a_connect_under_way() {
    in_child("a_connect_under_way", || {
        for mode in MODES {
            run(mode, async {
                let (listener, address, _waiting) = full_listener();
                let mut connecting = Box::pin(work::connect(address));
                assert!(poll_once(&mut connecting).await.is_pending());
                until_operations(1).await;
                for _ in 0..3 {
                    identity_changed().unwrap();
                    work::through_a_pipe(vec![0; 8]).await;
                    assert!(poll_once(&mut connecting).await.is_pending(), "nobody has accepted yet");
                }
                for _ in 0..2 {
                    op::accept(&listener).await.unwrap();
                }
                // The handshake is tried again after a second.
                let client = timeout(Duration::from_secs(30), connecting).await.unwrap().unwrap();
                let (server, _) = op::accept(&listener).await.unwrap();
                work::send_all(&client, "hello").await.unwrap();
                assert_eq!(work::recv_exact(&server, 5).await.unwrap(), b"hello");
            });
        }
    });
}

#[test]
fn a_connect_that_is_refused() {
    in_child("a_connect_that_is_refused", || {
        for mode in MODES {
            run(mode, async {
                for _ in 0..20 {
                    let (listener, address) = work::listen();
                    listener.close().await.unwrap();
                    let mut connecting = Box::pin(work::connect(address));
                    assert!(poll_once(&mut connecting).await.is_pending());
                    identity_changed().unwrap();
                    let error = connecting.await.unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
                }
            });
        }
    });
}

/// An open of a pipe in the file system that waits for somebody to open the other end. `O_CREAT` has the kernel open it where it
/// may wait; else it does so without waiting, if it can.
async fn waiting_open(path: &Path) -> op::Op<op::Open> {
    let mut open =
        op::open(work::c_path(path), OpenHow { flags: libc::O_RDONLY | libc::O_CREAT, mode: 0o600 });
    assert!(poll_once(&mut open).await.is_pending());
    until_operations(1).await;
    open
}

fn in_child_with_fifo(test: &str, body: impl Fn(Mode, PathBuf)) {
    in_child(test, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        MODES.into_iter().for_each(|mode| body(mode, path.clone()));
    });
}

/// The kernel says that it was interrupted, which nobody here has to know.
#[test]
fn an_open_that_waits_for_the_other_end() {
    in_child_with_fifo("an_open_that_waits_for_the_other_end", |mode, path| {
        run(mode, async {
            let mut open = waiting_open(&path).await;
            for _ in 0..5 {
                identity_changed().unwrap();
                work::through_a_pipe(vec![0; 8]).await;
                until_operations(1).await;
                let polled = poll_once(&mut open).await;
                assert!(polled.is_pending(), "there is no other end: {polled:?}");
            }
            let writing = runtime::spawn_blocking(move || std::fs::write(path, "hello"));
            let fifo = timeout(PATIENCE, open).await.unwrap().unwrap();
            let (read, buf) = op::read_at(&fifo, vec![0; 8], work::HERE).await;
            assert_eq!((read.unwrap(), &buf[..5]), (5, &b"hello"[..]));
            writing.await.unwrap().unwrap();
        });
    });
}

/// Nor whoever has cancelled it, before or after.
#[test]
fn an_open_that_is_cancelled() {
    in_child_with_fifo("an_open_that_is_cancelled", |mode, path| {
        run(mode, async {
            for (before, after) in [(false, false), (true, false), (false, true)] {
                let open = waiting_open(&path).await;
                if before {
                    identity_changed().unwrap();
                    until_operations(1).await;
                }
                open.cancel();
                if after {
                    identity_changed().unwrap();
                }
                let error = timeout(PATIENCE, open).await.unwrap().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED), "{before} {after}: {error}");
            }
        });
    });
}

#[test]
fn waits_for_signals_and_processes() {
    in_child("waits_for_signals_and_processes", || {
        for mode in MODES {
            run(mode, async {
                let mut hangups = signal(SignalKind::HANGUP).unwrap();
                let mut child = Command::new("sleep").arg("1000").spawn().await.unwrap();
                for _ in 0..20 {
                    {
                        let (mut hangup, mut end) = (pin!(hangups.recv()), pin!(child.wait()));
                        assert!(poll_deaf(&mut hangup).is_pending() && poll_deaf(&mut end).is_pending());
                        identity_changed().unwrap();
                        signal_hook::low_level::raise(libc::SIGHUP).unwrap();
                        hangup.await.unwrap();
                        assert!(poll_once(&mut end).await.is_pending());
                    }
                    assert!(poll_deaf(&mut pin!(hangups.recv())).is_pending(), "the signal came twice");
                }
                assert!(!child.kill().await.unwrap().success());
            });
        }
    });
}
