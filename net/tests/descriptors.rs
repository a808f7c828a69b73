//! Descriptors: running out of them is reported and got over, and connections leave none behind.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "limits of the child process")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::os::fd::AsRawFd;

use common::{MODES, descriptors, in_child, run, until, until_operations};
use futures::StreamExt;
use net::{TcpListener, TcpStream};
use runtime::task::JoinSet;

fn limit_descriptors(soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads the limit into `limit`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: the kernel reads `limit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Lowers the limit so that nothing can be opened any more.
fn exhaust() {
    let highest = std::fs::File::open("/dev/null").unwrap().as_raw_fd();
    limit_descriptors(highest as u64);
}

#[test]
fn without_descriptors_accepts_fail_and_work_again_later() {
    in_child("without_descriptors_accepts_fail_and_work_again_later", || {
        for mode in MODES {
            limit_descriptors(1000);
            run(mode, async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let client = TcpStream::connect(address).await.unwrap();
                until_operations(0).await;
                exhaust();
                for _ in 0..3 {
                    let error = listener.accept().await.unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                }
                let mut incoming = listener.incoming();
                let error = incoming.next().await.unwrap().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                assert!(incoming.next().await.is_none(), "an error is the last item");
                let connecting = TcpStream::connect(address).await.unwrap_err();
                assert_eq!(connecting.raw_os_error(), Some(libc::EMFILE));
                limit_descriptors(1000);
                // The connection has waited all the time.
                let (server, peer) = listener.accept().await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
                server.write_all("at last").await.0.unwrap();
                assert_eq!(client.read(Vec::with_capacity(16)).await.1, b"at last");
                let mut incoming = listener.incoming();
                let _second = TcpStream::connect(address).await.unwrap();
                incoming.next().await.unwrap().unwrap();
            });
        }
    });
}

async fn connections(address: std::net::SocketAddr, rounds: usize) {
    for _ in 0..rounds {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.write_all("x").await.0.unwrap();
        assert_eq!(stream.read(vec![0; 4]).await.0.unwrap(), 1);
    }
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    in_child("ten_thousand_connections_leave_nothing", || {
        for (mode, multishot) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
            limit_descriptors(20_000);
            run(mode, async {
                let before = descriptors();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let echo = async |stream: TcpStream| {
                    let (result, buf) = stream.read(Vec::with_capacity(4)).await;
                    result.unwrap();
                    stream.write_all(buf).await.0.unwrap();
                };
                let server = runtime::spawn(async move {
                    let mut incoming = listener.incoming();
                    loop {
                        let stream = match multishot {
                            true => incoming.next().await.unwrap().unwrap(),
                            false => listener.accept().await.unwrap().0,
                        };
                        drop(runtime::spawn(echo(stream)));
                    }
                });
                let mut clients = JoinSet::new();
                (0..50).for_each(|_| clients.spawn(connections(address, 100)));
                clients.join_all().await.into_iter().for_each(|result| result.unwrap());
                server.abort();
                assert!(server.await.unwrap_err().is_aborted());
                until_operations(0).await;
                until("the last close", || descriptors() == before).await;
            });
        }
    });
}

#[test]
fn thousands_of_connections_at_once_leave_nothing() {
    in_child("thousands_of_connections_at_once_leave_nothing", || {
        for mode in MODES {
            limit_descriptors(20_000);
            run(mode, async {
                let before = descriptors();
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let mut clients = JoinSet::new();
                (0..2500).for_each(|_| clients.spawn(TcpStream::connect(address)));
                let mut incoming = listener.incoming();
                let mut open = Vec::new();
                for _ in 0..2500 {
                    open.push(incoming.next().await.unwrap().unwrap());
                    open.push(clients.join_next().await.unwrap().unwrap().unwrap());
                }
                assert!(descriptors() >= before + 5000);
                drop((open, incoming, listener));
                until_operations(0).await;
                until("the last close", || descriptors() == before).await;
            });
        }
    });
}
