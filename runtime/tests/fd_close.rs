//! `Fd::close`: waits for everybody who uses the descriptor, closes it once, and reports; also outside of a runtime, and if
//! the future is dropped.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use common::{Counted, MODES, Wakes, builder, poll_deaf, poll_once, run, run_on, until, until_operations};
use futures::executor;
use futures::future::join;
use runtime::fd::Fd;
use runtime::op;

const ENTRIES: [u32; 2] = [1, 256];

/// A pipe's writer, and a reader that shows whether that is open.
fn observed() -> (Fd, Observer) {
    let (reader, writer) = io::pipe().expect("a pipe");
    // Not only sockets have the flag that this sets.
    socket2::SockRef::from(&reader).set_nonblocking(true).expect("a pipe can be non-blocking");
    (Fd::new(OwnedFd::from(writer)), Observer(reader))
}

struct Observer(PipeReader);

impl Observer {
    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            other => panic!("nobody writes: {other:?}"),
        }
    }
}

fn poll_with<F: Future + Unpin>(future: &mut F, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

fn is_busy(result: Poll<io::Result<()>>) -> bool {
    matches!(result, Poll::Ready(Err(error)) if error.raw_os_error() == Some(libc::EBUSY))
}

#[test]
fn closed_when_it_reports() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            for _ in 0..100 {
                let (fd, mut reader) = observed();
                assert!(!reader.is_closed());
                fd.close().await.unwrap();
                assert!(reader.is_closed());
            }
        });
    }
}

/// There is no ring to do it, which is reported; but the descriptor is not left open.
#[test]
fn outside_of_a_runtime() {
    let (fd, mut reader) = observed();
    let error = executor::block_on(fd.close()).unwrap_err();
    assert_eq!(error.raw_os_error(), None, "{error}");
    assert!(error.to_string().contains("runtime"), "{error}");
    assert!(reader.is_closed());

    let (fd, mut reader) = observed();
    let (clone, wakes) = (fd.clone(), Arc::<Wakes>::default());
    let mut close = Box::pin(fd.close());
    assert!(poll_with(&mut close, &wakes).is_pending());
    assert!(!reader.is_closed());
    drop(clone);
    assert_eq!(wakes.count(), 1);
    assert!(matches!(poll_with(&mut close, &wakes), Poll::Ready(Err(_))));
    assert!(reader.is_closed());
}

/// A close that the runtime could not finish: waiting for room in the queue, in flight, or for a clone.
#[test]
fn after_the_end_of_its_runtime() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
        let (fds, mut readers): (Vec<_>, Vec<_>) = (0..8).map(|_| observed()).unzip();
        let clone = fds[0].clone();
        let mut closes: Vec<_> = fds.into_iter().map(|fd| Box::pin(fd.close())).collect();
        let runtime = builder(mode).entries(entries).build().unwrap();
        runtime.block_on(async {
            assert!(closes.iter_mut().all(|close| poll_deaf(close).is_pending()));
        });
        drop(runtime);
        // Those that were started are over, and either dropped or looked at; each descriptor was closed.
        let mut waiting = closes.remove(0);
        assert!(poll_deaf(&mut waiting).is_pending());
        assert!(!readers[0].is_closed());
        for (index, mut close) in closes.into_iter().enumerate() {
            if index % 2 == 0 {
                let Poll::Ready(result) = poll_deaf(&mut close) else { panic!("the runtime is gone") };
                let errno = result.err().and_then(|error| error.raw_os_error());
                assert!(matches!(errno, None | Some(libc::ECANCELED)), "{errno:?}");
            }
        }
        assert!(readers[1..].iter_mut().all(Observer::is_closed), "{mode:?} {entries}");
        drop(clone);
        assert!(matches!(poll_deaf(&mut waiting), Poll::Ready(Err(_))));
        assert!(readers[0].is_closed());
    }
}

#[test]
fn waits_for_clones() {
    for mode in MODES {
        run(mode, async {
            let (fd, mut reader) = observed();
            let clones = [fd.clone(), fd.clone()];
            let wakes = Arc::<Wakes>::default();
            let mut close = Box::pin(fd.close());
            for clone in clones {
                assert!(poll_with(&mut close, &wakes).is_pending());
                assert_eq!(wakes.count(), 0);
                assert!(!reader.is_closed());
                drop(clone);
            }
            assert_eq!(wakes.count(), 1, "woken for the last clone");
            assert!(poll_with(&mut close, &wakes).is_pending(), "the kernel is asked to close");
            // Woken when the kernel has closed it and, under a poller, once more when that has let go of it.
            until("the close", || match poll_with(&mut close, &wakes) {
                Poll::Ready(result) => result.map(|()| true).unwrap(),
                Poll::Pending => false,
            })
            .await;
            assert!((2..=3).contains(&wakes.count()), "{}", wakes.count());
            assert!(reader.is_closed());

            // As tasks do it.
            let (fd, mut reader) = observed();
            let clone = fd.clone();
            let close = runtime::spawn(fd.close());
            runtime::task::yield_now().await;
            drop(clone);
            close.await.unwrap().unwrap();
            assert!(reader.is_closed());
        });
    }
}

/// Awaited, dropped, and forgotten by all but the kernel.
#[test]
fn waits_for_operations_in_flight() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            let (near, mut far) = UnixStream::pair().unwrap();
            let fd = Fd::new(OwnedFd::from(near));
            let mut recv = op::recv(&fd, vec![0; 8]);
            assert!(poll_once(&mut recv).await.is_pending());
            let mut close = Box::pin(fd.close());
            assert!(poll_once(&mut close).await.is_pending());
            until_operations(1).await;
            assert!(poll_once(&mut close).await.is_pending());
            far.write_all(b"x").unwrap();
            assert_eq!(recv.await.0.unwrap(), 1);
            close.await.unwrap();
            assert_eq!(far.read(&mut [0]).unwrap(), 0);

            let (near, mut far) = UnixStream::pair().unwrap();
            let fd = Fd::new(OwnedFd::from(near));
            let drops: Rc<Cell<usize>> = Rc::default();
            let mut recvs: Vec<_> = (0..5).map(|_| op::recv(&fd, Counted::new(8, &drops))).collect();
            assert!(recvs.iter_mut().all(|recv| poll_deaf(recv).is_pending()));
            let close = runtime::spawn(fd.close());
            drop(recvs);
            close.await.unwrap().unwrap();
            assert_eq!(drops.get(), 5, "they were over first");
            assert_eq!(far.read(&mut [0]).unwrap(), 0);
        });
    }
}

/// Neither would ever be the last owner.
#[test]
fn a_second_one_at_the_same_time_is_refused() {
    for mode in MODES {
        run(mode, async {
            let (fd, mut reader) = observed();
            let mut close = Box::pin(fd.clone().close());
            assert!(poll_once(&mut close).await.is_pending());
            for _ in 0..2 {
                assert!(is_busy(poll_once(&mut Box::pin(fd.clone().close())).await));
            }
            assert!(!reader.is_closed());
            assert!(is_busy(poll_once(&mut Box::pin(fd.close())).await), "and was the last clone");
            close.await.unwrap();
            assert!(reader.is_closed());

            let (fd, mut reader) = observed();
            let (first, second) = join(fd.clone().close(), fd.close()).await;
            first.unwrap();
            assert_eq!(second.unwrap_err().raw_os_error(), Some(libc::EBUSY));
            assert!(reader.is_closed());

            // Both as tasks, in whatever order.
            let (fd, mut reader) = observed();
            let (one, other) = (runtime::spawn(fd.clone().close()), runtime::spawn(fd.close()));
            let results = [one.await.unwrap(), other.await.unwrap()];
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
            assert!(reader.is_closed());
        });
    }
}

#[test]
fn a_waiting_one_that_is_dropped_leaves_it_to_the_next() {
    for mode in MODES {
        run(mode, async {
            let (fd, mut reader) = observed();
            let wakes = Arc::<Wakes>::default();
            let mut dropped = Box::pin(fd.clone().close());
            assert!(poll_with(&mut dropped, &wakes).is_pending());
            drop(dropped);
            assert_eq!(wakes.count(), 0, "nobody is woken who is gone");
            assert!(!reader.is_closed(), "as if the clone had been dropped");
            assert_eq!(Arc::strong_count(&wakes), 1, "nor is his waker kept");
            // It is of use as before, also for another close.
            assert_eq!(op::write_at(&fd, Vec::new(), u64::MAX).await.0.unwrap(), 0);
            let clone = fd.clone();
            let mut close = Box::pin(fd.close());
            assert!(poll_once(&mut close).await.is_pending());
            drop(clone);
            close.await.unwrap();
            assert!(reader.is_closed());
            assert_eq!(wakes.count(), 0);
        });
    }
}

/// Never polled, waiting, or with the kernel at work: it is closed, once, in the background.
#[test]
fn one_that_is_dropped_closes_it_all_the_same() {
    for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            for _ in 0..50 {
                let (fds, mut readers): (Vec<_>, Vec<_>) = (0..4).map(|_| observed()).unzip();
                let clone = fds[1].clone();
                let mut closes: Vec<_> = fds.into_iter().map(|fd| Box::pin(fd.close())).collect();
                for close in &mut closes[1..] {
                    assert!(poll_once(close).await.is_pending());
                }
                drop((closes, clone));
                until("the closes", || readers.iter_mut().all(Observer::is_closed)).await;
            }
            until_operations(0).await;
        });
    }
}

/// It is ended like any task, and the descriptor is left to the clone that it waited for.
#[test]
fn a_closer_on_its_own_does_not_hold_up_the_end() {
    for mode in MODES {
        let (fd, mut reader) = observed();
        let clone = fd.clone();
        let number = fd.as_raw_fd();
        let mut handle = None;
        run(mode, async {
            handle = Some(runtime::spawn(fd.close()));
            runtime::task::yield_now().await;
        });
        assert!(handle.unwrap().is_finished());
        assert!(!reader.is_closed());
        assert_eq!(clone.as_raw_fd(), number);
        assert_eq!(clone.try_into_owned().unwrap().as_raw_fd(), number);
        assert!(reader.is_closed());
    }
}
