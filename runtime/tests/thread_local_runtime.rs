//! A runtime, and what belongs to one, in thread-locals: all of it is dropped at the end of the thread, in whatever order.

mod common;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{MODES, builder, in_child, pipe, poll_deaf};
use runtime::fd::Fd;
use runtime::time::{interval, sleep};
use runtime::{Mode, Runtime, op};

const HOUR: Duration = Duration::from_secs(3600);

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
    static EARLY: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static LATE: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
    static USES_AT_EXIT: RefCell<Option<AtExit>> = const { RefCell::new(None) };
}

/// Counts its drops.
struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Builds a runtime in its destructor.
struct AtExit(Mode, Arc<AtomicUsize>);

impl Drop for AtExit {
    fn drop(&mut self) {
        use_runtime(&builder(self.0).build().expect("this machine has io_uring"), &self.1);
        self.1.fetch_add(100, Ordering::SeqCst);
    }
}

/// Leaves a task behind.
fn use_runtime(runtime: &Runtime, ended: &Arc<AtomicUsize>) {
    runtime.block_on(async {
        let counts = Counts(Arc::clone(ended));
        drop(runtime::spawn(async move {
            let _counts = counts;
            pending::<()>().await;
        }));
        assert_eq!(runtime::spawn(async { 5 }).await.expect("it does not panic"), 5);
        op::nop().await.expect("nothing can be done");
    });
}

/// Runs `body` on a thread in a child process, which a panic in a thread-local's destructor ends.
fn on_a_thread(
    test: &str,
    body: impl Fn(Mode, Arc<AtomicUsize>) + Send + Sync + Copy + 'static,
    expected: usize,
) {
    in_child(test, || {
        for mode in MODES {
            let count = Arc::<AtomicUsize>::default();
            let ended = Arc::clone(&count);
            thread::spawn(move || body(mode, ended)).join().expect("the thread does not panic");
            assert_eq!(count.load(Ordering::SeqCst), expected, "{mode:?}");
        }
    });
}

/// The runtime's thread-local was there before those that the runtime uses itself.
#[test]
fn one_that_is_built_after_its_thread_local() {
    on_a_thread(
        "one_that_is_built_after_its_thread_local",
        |mode, ended| {
            RUNTIME.with_borrow_mut(|slot| {
                let runtime = slot.insert(builder(mode).build().unwrap());
                use_runtime(runtime, &ended);
                use_runtime(runtime, &ended);
            });
        },
        2,
    );
}

/// And the other way round.
#[test]
fn one_that_is_built_before_its_thread_local() {
    on_a_thread(
        "one_that_is_built_before_its_thread_local",
        |mode, ended| {
            let runtime = builder(mode).build().unwrap();
            use_runtime(&runtime, &ended);
            RUNTIME.replace(Some(runtime));
        },
        1,
    );
}

#[test]
fn one_that_was_never_entered() {
    on_a_thread(
        "one_that_was_never_entered",
        |mode, _| {
            RUNTIME.replace(Some(builder(mode).build().unwrap()));
        },
        0,
    );
}

#[test]
fn one_with_other_cores() {
    on_a_thread(
        "one_with_other_cores",
        |mode, ended| {
            RUNTIME.with_borrow_mut(|slot| {
                let runtime = slot.insert(builder(mode).cores(2).build().unwrap());
                use_runtime(runtime, &ended);
                runtime.block_on(async {
                    let counts = Counts(Arc::clone(&ended));
                    drop(runtime::spawn_on(1, move || async move {
                        let _counts = counts;
                        pending::<()>().await;
                    }));
                });
            });
        },
        2,
    );
}

#[test]
fn one_that_is_built_at_exit() {
    on_a_thread(
        "one_that_is_built_at_exit",
        |mode, ended| {
            USES_AT_EXIT.replace(Some(AtExit(mode, Arc::clone(&ended))));
            use_runtime(&builder(mode).build().unwrap(), &ended);
        },
        102,
    );
}

/// Everything that holds on to a runtime, started there and not finished.
fn belongings(runtime: &Runtime, fd: &Fd, ended: &Arc<AtomicUsize>) -> Vec<Box<dyn Any>> {
    runtime.block_on(async {
        let mut read = op::read_at(fd, vec![0; 8], u64::MAX);
        let mut recv = op::recv(fd, [0; 32]);
        let mut accepts = op::accept_many(fd);
        let mut timer = sleep(HOUR);
        let mut ticks = Box::pin(interval(HOUR));
        let (reader, _writer) = pipe();
        let mut close = Box::pin(reader.clone().close());
        let counts = Counts(Arc::clone(ended));
        let handle = runtime::spawn(async move {
            let _counts = counts;
            pending::<()>().await;
            Rc::new(Cell::new(5))
        });
        let finished = runtime::spawn(async { Rc::new(Cell::new(5)) });
        assert!(poll_deaf(&mut read).is_pending());
        assert!(poll_deaf(&mut recv).is_pending());
        assert!(poll_deaf(&mut futures::StreamExt::next(&mut accepts)).is_pending());
        assert!(poll_deaf(&mut timer).is_pending());
        // Ready at once, and then in an hour.
        assert!(poll_deaf(&mut futures::StreamExt::next(&mut ticks)).is_ready());
        assert!(poll_deaf(&mut futures::StreamExt::next(&mut ticks)).is_pending());
        assert!(poll_deaf(&mut close).is_pending());
        runtime::task::yield_now().await;
        assert!(finished.is_finished() && !handle.is_finished());
        let boxes: Vec<Box<dyn Any>> = vec![
            Box::new(read),
            Box::new(recv),
            Box::new(accepts),
            Box::new(timer),
            Box::new(ticks),
            Box::new((close, reader)),
            Box::new(handle),
            Box::new(finished),
            Box::new(op::nop()),
        ];
        boxes
    })
}

/// Thread-locals are dropped in the reverse order of their first use: half of the belongings go before the runtime, half after.
fn keep_belongings(mode: Mode, ended: Arc<AtomicUsize>, runtime_too: bool) {
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let fd = Fd::new(OwnedFd::from(near));
    EARLY.with_borrow_mut(|_| ());
    RUNTIME.with_borrow_mut(|_| ());
    LATE.with_borrow_mut(|_| ());
    let runtime = builder(mode).build().expect("this machine has io_uring");
    EARLY.set(belongings(&runtime, &fd, &ended));
    LATE.set(belongings(&runtime, &fd, &ended));
    if runtime_too {
        RUNTIME.set(Some(runtime));
        EARLY.with_borrow_mut(|kept| kept.push(Box::new(fd)));
    } else {
        drop(runtime);
        drop(fd);
        far.set_nonblocking(true).expect("a socket can be non-blocking");
        let open = far.read(&mut [0]).expect_err("nobody writes");
        assert_eq!(open.kind(), ErrorKind::WouldBlock, "the operations that are kept hold it");
    }
    // Closed by whoever is last; nobody can look after that.
    LATE.with_borrow_mut(|kept| kept.push(Box::new(far)));
}

#[test]
fn belongings_of_a_runtime_in_a_thread_local() {
    on_a_thread(
        "belongings_of_a_runtime_in_a_thread_local",
        |mode, ended| keep_belongings(mode, ended, true),
        2,
    );
}

#[test]
fn belongings_of_a_runtime_that_is_gone() {
    on_a_thread("belongings_of_a_runtime_that_is_gone", |mode, ended| keep_belongings(mode, ended, false), 2);
}
