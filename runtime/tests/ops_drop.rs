//! A dropped or forgotten operation: its memory is freed once, not before the kernel has let go of it, and its slot too.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![allow(unsafe_code, reason = "looks at a forgotten buffer through a pointer")]

mod common;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use common::{
    Counted, MODES, Wakes, builder, full_pipe, pipe, poll_deaf, poll_once, run, run_on, until,
    until_operations,
};
use runtime::Builder;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{self, read_at, recv, write_at};

const HERE: u64 = u64::MAX;

#[test]
fn before_its_first_poll_nothing_happens() {
    for mode in MODES {
        run(mode, async {
            let (reader, mut writer) = pipe();
            writer.write_all(b"x").unwrap();
            let drops = Rc::default();
            drop(read_at(&reader, Counted::new(8, &drops), HERE));
            assert_eq!(drops.get(), 1);
            until_operations(0).await;
            assert_eq!(read_at(&reader, Vec::with_capacity(8), HERE).await.1, b"x");
        });
    }
}

#[test]
fn in_flight_the_buffer_is_freed_once_and_later() {
    for mode in MODES {
        run(mode, async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (reader, mut writer) = pipe();
            let (near, mut far) = UnixStream::pair().unwrap();
            let socket = Fd::new(OwnedFd::from(near));
            let (_full_reader, full) = full_pipe();
            let mut write = write_at(&full, Counted::new(8, &drops), HERE);
            let mut read = read_at(&reader, Counted::new(8, &drops), HERE);
            let mut receive = recv(&socket, Counted::new(8, &drops));
            // An operation too large for its slot.
            let mut large = recv(&socket, [0; 4096]);
            assert!(poll_once(&mut write).await.is_pending() && poll_once(&mut read).await.is_pending());
            assert!(poll_once(&mut receive).await.is_pending() && poll_once(&mut large).await.is_pending());
            until_operations(4).await;
            drop((write, read, receive, large));
            assert_eq!(drops.get(), 0, "freed while the kernel may still use them");
            until_operations(0).await;
            assert_eq!(drops.get(), 3);
            // The requests are cancelled, not only forgotten: they take nothing of what comes now.
            writer.write_all(b"pipe").unwrap();
            far.write_all(b"socket").unwrap();
            assert_eq!(read_at(&reader, Vec::with_capacity(8), HERE).await.1, b"pipe");
            assert_eq!(recv(&socket, Vec::with_capacity(8)).await.1, b"socket");
        });
    }
}

#[test]
fn after_its_completion_the_buffer_is_freed_at_once() {
    for mode in MODES {
        run(mode, async {
            let (reader, mut writer) = pipe();
            let (drops, wakes) = (Rc::default(), Arc::new(Wakes::default()));
            let mut read = read_at(&reader, Counted::new(8, &drops), HERE);
            let waker = Waker::from(Arc::clone(&wakes));
            assert!(Pin::new(&mut read).poll(&mut Context::from_waker(&waker)).is_pending());
            writer.write_all(b"x").unwrap();
            until("the completion", || wakes.count() > 0).await;
            assert_eq!(drops.get(), 0);
            drop(read);
            assert_eq!((drops.get(), wakes.count()), (1, 1));
            until_operations(0).await;
            drop(waker);
            assert_eq!(Arc::strong_count(&wakes), 1, "the slot kept the waker");
        });
    }
}

#[test]
fn in_the_backlog_and_in_flight_together() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 2].map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            let (reader, mut writer) = pipe();
            let drops: Rc<Cell<usize>> = Rc::default();
            let mut reads: Vec<_> =
                (0..400).map(|_| read_at(&reader, Counted::new(1, &drops), HERE)).collect();
            for read in &mut reads {
                assert!(poll_deaf(read).is_pending());
            }
            let kept: Vec<_> =
                reads.into_iter().enumerate().filter(|(i, _)| i % 2 == 0).map(|(_, read)| read).collect();
            writer.write_all(&[7; 400]).unwrap();
            for read in kept {
                let (result, buf) = read.await;
                assert_eq!((result.unwrap(), buf.as_bytes()), (1, &[7][..]));
            }
            until_operations(0).await;
            assert_eq!(drops.get(), 400);
        });
    }
}

/// The only thing that happens here is that requests in the backlog are given up: what is in the queue before them waits
/// for ever. What they hold must be let go of then, not whenever the core wakes up next; `close` waits for it.
#[test]
fn in_the_backlog_alone_it_is_let_go_of() {
    for (mode, spin_us) in MODES.into_iter().flat_map(|mode| [0, 50].map(|spin| (mode, spin))) {
        let builder: Builder = builder(mode).entries(1).spin_us_max(spin_us);
        run_on(builder, mode, async {
            let ((silent, _silent_writer), (reader, _writer)) = (pipe(), pipe());
            until_operations(0).await;
            let mut blocker = read_at(&silent, [0], HERE);
            assert!(poll_deaf(&mut blocker).is_pending());
            let drops = Rc::default();
            let mut reads: Vec<_> = (0..3).map(|_| read_at(&reader, Counted::new(1, &drops), HERE)).collect();
            for read in &mut reads {
                assert!(poll_deaf(read).is_pending());
            }
            drop(reads);
            let closed = runtime::time::timeout(std::time::Duration::from_secs(5), reader.close()).await;
            closed.expect("close waits for requests that were never submitted").unwrap();
            assert_eq!(drops.get(), 3);
        });
    }
}

/// As `std::mem::forget`, but leak checkers can see that it is on purpose.
fn forget<T>(value: T) {
    static FORGOTTEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    FORGOTTEN.lock().unwrap().push(Box::into_raw(Box::new(value)).expose_provenance());
}

#[test]
fn forgotten_in_flight_its_memory_stays() {
    for mode in MODES {
        let (reader, mut writer) = pipe();
        let drops: Rc<Cell<usize>> = Rc::default();
        let buf = Counted::new(8, &drops);
        let bytes = buf.stable_ptr();
        run(mode, async {
            let mut read = read_at(&reader, buf, HERE);
            assert!(poll_deaf(&mut read).is_pending());
            until_operations(1).await;
            forget(read);
            writer.write_all(b"too late").unwrap();
            until("the kernel's write", || {
                // SAFETY: the buffer was forgotten, so it is never freed; the kernel has written to it or not.
                unsafe { bytes.add(7).read_volatile() == b'e' }
            })
            .await;
        });
        // SAFETY: as above; the runtime, and with it the kernel's use, is gone.
        assert_eq!(unsafe { std::slice::from_raw_parts(bytes, 8) }, b"too late");
        assert_eq!(drops.get(), 0);
    }
}

/// A buffer whose destructor uses the runtime: starts an operation, drops it, spawns a task.
struct Busy(Counted, Fd, Rc<Cell<usize>>);

// SAFETY: as for `Counted`.
unsafe impl IoBuf for Busy {
    fn stable_ptr(&self) -> *const u8 {
        self.0.stable_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.0.bytes_init()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut read = read_at(&self.1, Vec::with_capacity(1), HERE);
        assert!(poll_deaf(&mut read).is_pending());
        let (fd, ended) = (self.1.clone(), Rc::clone(&self.2));
        runtime::spawn(async move {
            op::nop().await.unwrap();
            drop(fd);
            ended.set(ended.get() + 1);
        });
    }
}

#[test]
fn a_destructor_may_use_the_runtime() {
    for mode in MODES {
        run_on(builder(mode).entries(4), mode, async {
            let (empty, _writer) = pipe();
            let (drops, ended) = (Rc::default(), Rc::<Cell<usize>>::default());
            let (_reader, full) = full_pipe();
            let mut writes: Vec<_> = (0..50)
                .map(|_| {
                    write_at(&full, Busy(Counted::new(8, &drops), empty.clone(), Rc::clone(&ended)), HERE)
                })
                .collect();
            writes.iter_mut().for_each(|write| assert!(poll_deaf(write).is_pending()));
            until_operations(50).await;
            drop(writes);
            until("the tasks of the destructors", || ended.get() == 50).await;
            until_operations(0).await;
            assert_eq!(drops.get(), 50);
            empty.close().await.unwrap();
        });
    }
}

#[test]
fn a_future_may_be_polled_by_one_task_and_then_another() {
    for mode in MODES {
        run(mode, async {
            let (reader, mut writer) = pipe();
            let (first, second) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
            let mut read = read_at(&reader, Vec::with_capacity(8), HERE);
            for wakes in [&first, &second] {
                let waker = Waker::from(Arc::clone(wakes));
                assert!(Pin::new(&mut read).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            writer.write_all(b"x").unwrap();
            until("the wake-up", || second.count() == 1).await;
            assert_eq!((first.count(), Arc::strong_count(&first)), (0, 1));
            let (result, buf) = poll_fn(|cx| match Pin::new(&mut read).poll(cx) {
                Poll::Ready(output) => Poll::Ready(output),
                Poll::Pending => panic!("woken, but not ready"),
            })
            .await;
            assert_eq!((result.unwrap(), buf), (1, b"x".to_vec()));
        });
    }
}
