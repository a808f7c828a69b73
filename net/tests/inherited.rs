//! Sockets that another program has handed over: listeners by their name, connections as mere descriptors.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "fcntl(2)")]

#[path = "../../runtime/tests/common/mod.rs"]
mod common;

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use common::{MODES, run};
use net::{TcpListener, TcpStream};

const ADDRESS: &str = "REPOLL_TEST_ADDRESS";

fn is_close_on_exec(fd: &impl AsRawFd) -> bool {
    // SAFETY: names no memory.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    flags & libc::FD_CLOEXEC != 0
}

/// As a service manager does it: descriptors from 3 on, their names and the process that they are for in the environment.
#[test]
fn listeners_are_taken_by_their_name_once() {
    if let Ok(address) = std::env::var(ADDRESS) {
        return in_the_program(address.parse().unwrap());
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut program = Command::new("sh")
        .args(["-c", r#"exec 3<&0 4</dev/null 5<&0; LISTEN_PID=$$ exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["listeners_are_taken_by_their_name_once", "--exact", "--nocapture", "--test-threads=1"])
        .env(ADDRESS, address.to_string())
        .env("LISTEN_FDS", "3")
        .env("LISTEN_FDNAMES", "http:null:http")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(common::PATIENCE)).unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(program.wait().unwrap().success());
}

fn in_the_program(address: SocketAddr) {
    run(MODES[0], async {
        assert!(TcpListener::inherited("https").unwrap().is_empty());
        let listeners = TcpListener::inherited("http").unwrap();
        assert_eq!(listeners.len(), 2);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
            assert!(is_close_on_exec(listener));
        }
        assert!(TcpListener::inherited("http").unwrap().is_empty(), "taken twice");
        let error = TcpListener::inherited("null").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with(r#"descriptor 4, inherited as "null": "#), "{error}");
        let (client, _) = listeners[0].accept().await.unwrap();
        client.write_all([1]).await.0.unwrap();
    });
}

#[test]
fn a_connection_is_taken_over_as_a_descriptor() {
    for mode in MODES {
        run(mode, async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let server = TcpStream::try_from(OwnedFd::from(listener.accept().unwrap().0)).unwrap();
            assert!(is_close_on_exec(&server));
            client.write_all("hello").await.0.unwrap();
            assert_eq!(server.read(Vec::with_capacity(8)).await.1, b"hello");

            let not_connections: [(OwnedFd, &str); 3] = [
                (listener.into(), "listens"),
                (UdpSocket::bind("127.0.0.1:0").unwrap().into(), "not a TCP socket"),
                (std::os::unix::net::UnixStream::pair().unwrap().0.into(), "not a TCP socket"),
            ];
            for (fd, expected) in not_connections {
                let error = TcpStream::try_from(fd).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
                assert!(error.to_string().contains(expected), "{error}");
            }
            let file = std::fs::File::open("/dev/null").unwrap();
            let error = TcpStream::try_from(OwnedFd::from(file)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
        });
    }
}
