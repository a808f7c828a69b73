//! Every kind of operation that can wait, pending at once: the scene into which a test lets something happen.

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{accept, accept_many, read_at, recv, send, write_at};

use crate::common::{full_pipe, pipe, poll_once};

/// The offset that means a file's own position.
pub const HERE: u64 = u64::MAX;

/// A socket that takes no more, and the end at which it can be emptied.
pub fn full_socket() -> (Fd, UnixStream) {
    let (mut near, far) = UnixStream::pair().expect("a pair of sockets");
    near.set_nonblocking(true).expect("a socket");
    while near.write(&[0; 4096]).is_ok() {}
    near.set_nonblocking(false).expect("a socket");
    (Fd::new(OwnedFd::from(near)), far)
}

fn listener() -> (Fd, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    (Fd::new_prompt(OwnedFd::from(listener)), address)
}

/// What a waiting operation gives is right, and its buffer has not moved.
async fn gives<B: IoBuf>(
    operation: impl Future<Output = (std::io::Result<usize>, B)>,
    place: *const u8,
    expected: &[u8],
) {
    let (result, buf) = operation.await;
    assert_eq!(result.expect("it goes on"), expected.len());
    assert_eq!(buf.as_bytes(), expected);
    assert_eq!(buf.stable_ptr(), place, "the buffer has moved");
}

/// Reads from `from` until a block ends in `end`.
fn read_up_to(mut from: impl Read, end: &[u8]) {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        let mut block = [0; 4096];
        let len = from.read(&mut block).expect("it can be read");
        assert_ne!(len, 0, "the writer has gone without {end:?}");
        all.extend_from_slice(&block[..len]);
    }
    assert_eq!(all.iter().filter(|&&byte| byte != 0).count(), end.len(), "something was written twice");
}

/// Starts one operation of each kind, none of which can finish; lets `disturb` happen; then gives each what it waits for
/// and checks its result. `early`: `disturb` happens before any is started, in the same turn.
pub async fn every_kind(early: bool, disturb: impl AsyncFnOnce()) {
    let mut disturb = Some(disturb);
    if early {
        disturb.take().expect("just put there")().await;
    }
    let ((reader, mut to_reader), (emptied, full)) = (pipe(), full_pipe());
    let (full_socket, emptied_socket) = full_socket();
    let (socket, mut to_socket) = UnixStream::pair().expect("a pair of sockets");
    let socket = Fd::new(OwnedFd::from(socket));
    let ((one, one_address), (many, many_address)) = (listener(), listener());
    let (in_vec, out_vec) = (Vec::with_capacity(64), b"written".to_vec());
    let (in_slice, out_slice) = (vec![0; 64].into_boxed_slice(), b"sent".to_vec());
    let places = [in_vec.as_ptr(), out_vec.as_ptr(), in_slice.as_ptr(), out_slice.as_ptr()];

    let mut read = read_at(&reader, in_vec, HERE);
    let mut write = write_at(&full, out_vec, HERE);
    let mut receive = recv(&socket, in_slice.slice(..32));
    let mut transmit = send(&full_socket, out_slice, true);
    let mut accepted = accept(&one);
    let mut stream = accept_many(&many);
    assert!(poll_once(&mut read).await.is_pending() && poll_once(&mut write).await.is_pending());
    assert!(poll_once(&mut receive).await.is_pending() && poll_once(&mut transmit).await.is_pending());
    assert!(poll_once(&mut accepted).await.is_pending() && futures::poll!(stream.next()).is_pending());
    let start = Instant::now();
    let mut sleep = pin!(runtime::time::sleep(Duration::from_millis(100)).into_future());
    assert!(futures::poll!(sleep.as_mut()).is_pending());
    let (from_thread, message) = futures::channel::oneshot::channel();
    let task = runtime::spawn(message);
    if let Some(disturb) = disturb {
        disturb().await;
    }

    let sender = thread::spawn(move || from_thread.send("from a thread"));
    assert_eq!(task.await.expect("the task ends").expect("a message"), "from a thread");
    sender.join().expect("the thread ends").expect("somebody listens");
    to_reader.write_all(b"read").expect("somebody reads");
    gives(read, places[0], b"read").await;
    to_socket.write_all(b"received").expect("somebody receives");
    let (result, slice) = receive.await;
    let buf = slice.into_inner();
    assert_eq!((result.expect("it goes on"), &buf[..9]), (8, &b"received\0"[..]));
    assert_eq!(buf.as_ptr(), places[2], "the buffer has moved");
    let emptier = thread::spawn(move || {
        read_up_to(emptied, b"written");
        read_up_to(emptied_socket, b"sent");
    });
    gives(write, places[1], b"written").await;
    gives(transmit, places[3], b"sent").await;
    emptier.join().expect("both arrive once");

    let client = TcpStream::connect(one_address).expect("it listens");
    let (fd, peer) = accepted.await.expect("it goes on");
    assert_eq!(peer.as_socket(), client.local_addr().ok());
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(many_address).expect("it listens")).collect();
    for _ in &clients {
        let fd = stream.next().await.expect("it goes on").expect("a connection");
        send(&fd, b"!".to_vec(), true).await.0.expect("it is open");
    }
    for mut client in clients {
        client.read_exact(&mut [0]).expect("each was accepted once");
    }
    drop(fd);
    sleep.await;
    assert!(start.elapsed() >= Duration::from_millis(100), "a timer was early");
}
