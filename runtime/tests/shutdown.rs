//! The end of a runtime: every future is dropped once and on its own thread, nothing it held is left behind.
#![allow(clippy::async_yields_async, reason = "handles are carried out of the runtime on purpose")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::ffi::CString;
use std::future::{Future, pending};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{
    Counted, MODES, builder, descriptors, full_pipe, in_child, pipe, poll_deaf, threads, until_blocking,
};
use futures::StreamExt;
use runtime::Builder;
use runtime::fd::Fd;
use runtime::op::{self, OpenHow};
use runtime::time::{interval, sleep};

const HERE: u64 = u64::MAX;
const HOUR: Duration = Duration::from_secs(3600);

/// Counts its drops, and checks that they happen on the thread on which it was made.
struct AtHome(ThreadId, Arc<AtomicUsize>);

impl AtHome {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        AtHome(thread::current().id(), Arc::clone(drops))
    }
}

impl Drop for AtHome {
    fn drop(&mut self) {
        assert_eq!(self.0, thread::current().id(), "dropped away from home");
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

/// Spawns a task for every kind of wait; returns how many.
fn spawn_waiters(drops: &Arc<AtomicUsize>) -> usize {
    let count = Cell::new(0);
    let waiter = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let guard = AtHome::new(drops);
        count.set(count.get() + 1);
        drop(runtime::spawn(async move {
            let _guard = guard;
            future.await;
        }));
    };
    for _ in 0..3 {
        let (reader, writer) = pipe();
        let (full_reader, full) = full_pipe();
        let (near, far) = UnixStream::pair().unwrap();
        let near = Fd::new(OwnedFd::from(near));
        let listener = || Fd::new_prompt(OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()));
        let (one, many) = (listener(), listener());
        let (receiver, second) = (near.clone(), near.clone());
        waiter(Box::pin(async move {
            let (_writer, read) = (writer, op::read_at(&reader, vec![0; 9], HERE));
            assert_eq!(read.await.0.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        }));
        waiter(Box::pin(async move { drop((op::write_at(&full, vec![0; 9], HERE).await, full_reader)) }));
        waiter(Box::pin(async move { drop((op::recv(&receiver, [0; 4096]).await, far)) }));
        waiter(Box::pin(async move { drop(op::read_vectored_at(&second, vec![vec![0; 9]; 3], HERE).await) }));
        waiter(Box::pin(async move { drop(op::accept(&one).await) }));
        waiter(Box::pin(async move { drop(op::accept_many(&many).next().await) }));
        waiter(Box::pin(sleep(HOUR)));
        waiter(Box::pin(async move { interval(HOUR).for_each(|_| async {}).await }));
        waiter(Box::pin(pending()));
        waiter(Box::pin(async move { near.close().await.unwrap() }));
        let (last, own) = (runtime::cores() - 1, runtime::core());
        let other = Arc::clone(drops);
        waiter(Box::pin(async move {
            let here = async move {
                let _guard = AtHome::new(&other);
                pending::<()>().await;
            };
            drop(runtime::spawn_on(last, move || here).await);
            runtime::task::yield_now().await;
            assert_eq!(runtime::core(), own);
        }));
    }
    // Those that the last waiters start on another core.
    count.get() + 3
}

#[test]
fn with_tasks_in_every_kind_of_wait_nothing_is_left() {
    in_child("with_tasks_in_every_kind_of_wait_nothing_is_left", || {
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 256].map(|entries| (mode, entries))) {
            let (before, threads_before) = (descriptors(), threads());
            let drops = Arc::<AtomicUsize>::default();
            let runtime = Builder::new().cores(2).pin(false).mode(mode).entries(entries).build().unwrap();
            let mut expected = 0;
            runtime.block_on(async {
                for core in 0..2 {
                    let drops = Arc::clone(&drops);
                    expected +=
                        runtime::spawn_on(core, move || async move { spawn_waiters(&drops) }).await.unwrap();
                }
                // Most are in flight by then, the last ones are not.
                sleep(Duration::from_millis(20)).await;
                expected += spawn_waiters(&drops);
            });
            drop(runtime);
            until_blocking("the last thread's end", || threads() == threads_before);
            // Of those that were sent to the other core, some may have been ended before they began.
            let dropped = drops.load(Ordering::SeqCst);
            assert!(
                (expected - 9..=expected).contains(&dropped),
                "{mode:?} {entries}: {dropped} of {expected}"
            );
            assert_eq!(descriptors(), before, "{mode:?} {entries}");
        }
    });
}

/// Closes are started in the end, in greater number than the queue has room for. Each descriptor is closed.
#[test]
fn descriptors_that_are_dropped_last_are_closed() {
    in_child("descriptors_that_are_dropped_last_are_closed", || {
        for round in 0..50 {
            for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 2].map(|entries| (mode, entries))) {
                let before = descriptors();
                let runtime = builder(mode).entries(entries).build().unwrap();
                runtime.block_on(async {
                    let pipes: Vec<_> = (0..100).map(|_| pipe()).collect();
                    drop(runtime::spawn(async move {
                        let _pipes = pipes;
                        pending::<()>().await;
                    }));
                    runtime::task::yield_now().await;
                });
                drop(runtime);
                assert_eq!(descriptors(), before, "round {round}, {mode:?}, entries {entries}");
            }
        }
    });
}

#[test]
fn blocking_closures_that_run_are_waited_for() {
    for mode in MODES {
        let ran = Arc::<AtomicUsize>::default();
        let runtime = builder(mode).build().unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let handle = runtime.block_on(async {
            let (started, has_started) = futures::channel::oneshot::channel();
            let counter = Arc::clone(&ran);
            let handle = runtime::spawn_blocking(move || {
                started.send(()).unwrap();
                gate.recv().unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
            });
            has_started.await.unwrap();
            // Lets the closure go on when the shutdown ends this task, not before.
            let release = scopeguard(move || go.send(()).unwrap());
            drop(runtime::spawn(async move {
                let _release = release;
                pending::<()>().await;
            }));
            runtime::task::yield_now().await;
            handle
        });
        assert!(!handle.is_finished());
        drop(runtime);
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        assert!(handle.is_finished());
    }
}

fn scopeguard(f: impl FnOnce()) -> impl Sized {
    struct Guard<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for Guard<F> {
        fn drop(&mut self) {
            self.0.take().expect("dropped once")();
        }
    }
    Guard(Some(f))
}

#[test]
fn tasks_spawned_by_destructors_end_too() {
    for mode in MODES {
        let (begun, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        runtime.block_on(async {
            let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
            let guard = scopeguard(move || {
                let local = AtHome::new(&ended);
                let begun_local = Arc::clone(&begun);
                let handle = runtime::spawn(async move {
                    let _local = local;
                    begun_local.fetch_add(1, Ordering::SeqCst);
                });
                drop(handle);
                // To another core too, which may have ended, and to this one by the door of the others.
                for core in [0, 1] {
                    let begun = Arc::clone(&begun);
                    drop(runtime::spawn_on(
                        core,
                        move || async move { begun.fetch_add(1, Ordering::SeqCst) },
                    ));
                }
                let begun = Arc::clone(&begun);
                drop(runtime::spawn_blocking(move || begun.fetch_add(100, Ordering::SeqCst)));
            });
            drop(runtime::spawn(async move {
                let _guard = guard;
                pending::<()>().await;
            }));
            runtime::task::yield_now().await;
        });
        drop(runtime);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert_eq!(begun.load(Ordering::SeqCst) % 100, 0, "a task was polled during the shutdown");
    }
}

#[test]
fn an_operation_that_outlives_its_runtime_gives_ecanceled() {
    for mode in MODES {
        let (reader, _writer) = pipe();
        let drops: Rc<Cell<usize>> = Rc::default();
        let runtime = builder(mode).build().unwrap();
        let mut reads: Vec<_> = (0..3).map(|_| op::read_at(&reader, Counted::new(8, &drops), HERE)).collect();
        let mut open =
            op::open(CString::new("/dev/null").unwrap(), OpenHow { flags: libc::O_RDONLY, mode: 0 });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut accepts = op::accept_many(&Fd::new_prompt(OwnedFd::from(listener)));
        runtime.block_on(async {
            assert!(poll_deaf(&mut reads[0]).is_pending() && poll_deaf(&mut reads[1]).is_pending());
            assert!(poll_deaf(&mut open).is_pending() && poll_deaf(&mut accepts.next()).is_pending());
        });
        drop(runtime);
        assert!(poll_deaf(&mut accepts.next()).is_ready());
        // One was started and is awaited, one was started and is dropped, one never saw the runtime.
        let unstarted = reads.pop().unwrap();
        drop(reads.pop());
        let (result, _) = futures::executor::block_on(reads.pop().unwrap());
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(futures::executor::block_on(unstarted).0.unwrap_err().kind(), std::io::ErrorKind::Other);
        // Started, so there is an answer: the file, or that it was not opened.
        drop(futures::executor::block_on(open));
        assert_eq!(drops.get(), 3);
    }
}
