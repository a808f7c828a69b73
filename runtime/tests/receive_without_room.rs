//! A receive or read that has nowhere to put anything is refused at once, and the buffer comes back.

mod common;

use std::future::Future;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::Poll;

use common::{MODES, pipe, poll_deaf, run, until_operations};
use runtime::buf::{AlignedBuf, IoBuf, IoBufMut};
use runtime::fd::Fd;
use runtime::op;

const HERE: u64 = u64::MAX;
/// How many buffers a vectored read uses; see writev(2) on `IOV_MAX`.
const IOVECS_MAX: usize = 1024;

/// What `future` gives in its first poll.
fn at_once<B, F: Future<Output = (io::Result<usize>, B)> + Unpin>(mut future: F) -> B {
    match poll_deaf(&mut future) {
        Poll::Ready((result, buf)) => {
            let error = result.expect_err("there was no room");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains("room"), "{error}");
            buf
        }
        Poll::Pending => panic!("it waits"),
    }
}

/// A buffer whose bytes are at the same place afterwards is the same one.
fn comes_back<B: IoBufMut, F>(buf: B, start: impl FnOnce(B) -> F) -> B
where
    F: Future<Output = (io::Result<usize>, B)> + Unpin,
{
    let before = (buf.stable_ptr(), buf.bytes_init(), buf.bytes_total());
    assert_eq!(before.2, 0, "this buffer has room");
    let buf = at_once(start(buf));
    assert_eq!((buf.stable_ptr(), buf.bytes_init(), buf.bytes_total()), before);
    buf
}

fn every_kind_of_buffer(fd: &Fd, receive: bool) {
    fn on<B: IoBufMut>(fd: &Fd, receive: bool, buf: B) -> B {
        if receive {
            comes_back(buf, |buf| op::recv(fd, buf))
        } else {
            comes_back(comes_back(buf, |buf| op::read_at(fd, buf, HERE)), |buf| op::read_at(fd, buf, 0))
        }
    }
    on(fd, receive, Vec::new());
    on(fd, receive, Box::<[u8]>::default());
    if receive {
        assert_eq!(at_once(op::recv(fd, [])), []);
    } else {
        assert_eq!(at_once(op::read_at(fd, [], HERE)), []);
    }
    let mut aligned = AlignedBuf::new(512, 512).expect("memory");
    aligned.set_len(512);
    on(fd, receive, aligned.slice(512..));
    let kept = on(fd, receive, b"keep this".to_vec().slice(2..2)).into_inner();
    assert_eq!(kept, b"keep this");
    let mut full = Vec::with_capacity(9);
    full.extend_from_slice(b"keep this");
    let kept = on(fd, receive, full.into_boxed_slice().slice(9..)).into_inner();
    assert_eq!(&*kept, b"keep this");
}

fn every_kind_of_list(fd: &Fd) {
    assert_eq!(at_once(op::read_vectored_at(fd, Vec::<Vec<u8>>::new(), HERE)).capacity(), 0);
    for count in [1, 3, IOVECS_MAX] {
        let bufs: Vec<_> = (0..count).map(|_| b"keep".to_vec().slice(4..4)).collect();
        let places: Vec<_> = bufs.iter().map(IoBuf::stable_ptr).collect();
        let back = at_once(op::read_vectored_at(fd, bufs, HERE));
        assert_eq!(back.iter().map(IoBuf::stable_ptr).collect::<Vec<_>>(), places);
        assert!(back.into_iter().all(|buf| buf.into_inner() == b"keep"));
    }
    // The kernel does not get to the one that has room.
    let mut bufs = vec![Vec::new(); IOVECS_MAX];
    bufs.push(vec![7; 5]);
    let back = at_once(op::read_vectored_at(fd, bufs, HERE));
    assert_eq!((back.len(), &*back[IOVECS_MAX]), (IOVECS_MAX + 1, &[7; 5][..]));
}

fn unix() -> (Fd, OwnedFd) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (Fd::new(OwnedFd::from(near)), OwnedFd::from(far))
}

fn tcp() -> (Fd, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let far = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (near, _) = listener.accept().expect("a client waits");
    (Fd::new(OwnedFd::from(near)), OwnedFd::from(far))
}

/// Nothing was sent, and a receive that left nothing behind makes the next one wait first.
#[test]
fn of_sockets_without_data() {
    for (mode, socket) in MODES.into_iter().flat_map(|mode| [unix, tcp].map(|socket| (mode, socket))) {
        run(mode, async {
            let (near, far) = socket();
            let far = Fd::new(far);
            every_kind_of_buffer(&near, true);
            for _ in 0..2 {
                op::send(&far, b"x".to_vec(), true).await.0.unwrap();
                assert_eq!(op::recv(&near, vec![0; 8]).await.0.unwrap(), 1);
                every_kind_of_buffer(&near, true);
            }
            every_kind_of_buffer(&near, false);
            every_kind_of_list(&near);
            until_operations(0).await;
        });
    }
}

/// They must not be lost, nor taken for the end of the stream.
#[test]
fn with_data_and_at_the_end() {
    for mode in MODES {
        run(mode, async {
            let (near, far) = unix();
            let far = Fd::new(far);
            op::send(&far, b"hello".to_vec(), true).await.0.unwrap();
            every_kind_of_buffer(&near, true);
            every_kind_of_buffer(&near, false);
            every_kind_of_list(&near);
            let (result, buf) = op::recv(&near, Vec::with_capacity(8)).await;
            assert_eq!((result.unwrap(), &*buf), (5, &b"hello"[..]));
            far.close().await.unwrap();
            every_kind_of_buffer(&near, true);
            every_kind_of_buffer(&near, false);
            every_kind_of_list(&near);
            assert_eq!(op::recv(&near, Vec::with_capacity(8)).await.0.unwrap(), 0);
            every_kind_of_buffer(&near, true);
        });
    }
}

#[test]
fn of_files_and_pipes() {
    for mode in MODES {
        run(mode, async {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"hello").unwrap();
            let file = Fd::new(OwnedFd::from(file));
            let (reader, _writer) = pipe();
            for fd in [&file, &reader] {
                every_kind_of_buffer(fd, false);
                every_kind_of_list(fd);
            }
            let list = vec![Vec::new(), Vec::with_capacity(2), Vec::new(), Vec::with_capacity(8)];
            let (result, bufs) = op::read_vectored_at(&file, list, 0).await;
            assert_eq!(result.unwrap(), 5, "some of the buffers have room");
            assert_eq!(bufs.concat(), b"hello");
            until_operations(0).await;
        });
    }
}

/// The mistake is in the request, so it is found also where nothing could carry it out.
#[test]
fn outside_of_a_runtime() {
    let (near, _far) = unix();
    every_kind_of_buffer(&near, true);
    every_kind_of_buffer(&near, false);
    every_kind_of_list(&near);
}
