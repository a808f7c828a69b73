//! Code of others that panics - wakers, destructors of buffers, of outputs, of panic payloads - takes nobody else along:
//! the other tasks are woken, the slots are freed, the process lives.

mod common;
#[allow(unsafe_code, reason = "implements the unsafe buffer traits, and a waker with code of its own")]
mod code_of_others {
    use std::cell::Cell;
    use std::panic::panic_any;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{RawWaker, RawWakerVTable, Wake, Waker};
    use std::time::Duration;

    use runtime::buf::{IoBuf, IoBufMut};

    use super::common::poll_deaf;

    /// The payload of most panics here.
    pub(super) struct Payload;

    impl Drop for Payload {
        fn drop(&mut self) {
            panic!("the destructor of a panic's payload");
        }
    }

    /// Panics in its destructor, with a payload that does the same.
    pub(super) struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Payload);
        }
    }

    /// A waker that counts, and panics.
    #[derive(Default)]
    pub(super) struct PanickingWaker(AtomicUsize);

    impl PanickingWaker {
        pub(super) fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic_any(Payload);
        }
    }

    /// A buffer whose destructor counts, spoils the bytes, and panics. With enough `PADDING` its operation does not fit into
    /// a slot.
    pub(super) struct BombBuf<const PADDING: usize>(Box<[u8]>, Rc<Cell<usize>>, [u64; PADDING]);

    impl<const PADDING: usize> BombBuf<PADDING> {
        pub(super) fn new(drops: &Rc<Cell<usize>>) -> Self {
            BombBuf(vec![0; 64].into(), Rc::clone(drops), [0; PADDING])
        }
    }

    impl<const PADDING: usize> Drop for BombBuf<PADDING> {
        fn drop(&mut self) {
            self.0.fill(0xDD);
            self.1.set(self.1.get() + 1);
            panic_any(Payload);
        }
    }

    // SAFETY: the bytes are on the heap and stay there until the value is dropped.
    unsafe impl<const PADDING: usize> IoBuf for BombBuf<PADDING> {
        fn stable_ptr(&self) -> *const u8 {
            self.0.as_ptr()
        }
        fn bytes_init(&self) -> usize {
            self.0.len()
        }
    }

    // SAFETY: as above; they are this value's alone, and all initialised.
    unsafe impl<const PADDING: usize> IoBufMut for BombBuf<PADDING> {
        fn stable_mut_ptr(&mut self) -> *mut u8 {
            self.0.as_mut_ptr()
        }
        fn bytes_total(&self) -> usize {
            self.0.len()
        }
        unsafe fn set_init(&mut self, _len: usize) {}
    }

    /// What a waker of [`busy_waker`] does whatever happens to it: uses the runtime.
    fn use_runtime() {
        let mut nop = runtime::op::nop();
        assert!(poll_deaf(&mut nop).is_pending());
        let mut sleep = runtime::time::sleep(Duration::from_secs(1000));
        assert!(poll_deaf(&mut sleep).is_pending());
        drop(runtime::spawn(async { runtime::op::nop().await }));
    }

    static BUSY: RawWakerVTable = RawWakerVTable::new(
        |data| {
            use_runtime();
            RawWaker::new(data, &BUSY)
        },
        |_| use_runtime(),
        |_| use_runtime(),
        |_| use_runtime(),
    );

    /// Starts and drops an operation, a timer and a task whenever it is cloned, woken or dropped: inside a runtime only.
    pub(super) fn busy_waker(number: &'static u8) -> Waker {
        // SAFETY: the functions may be called on any thread (outside of a runtime they panic), and the data is not used.
        unsafe { Waker::new(std::ptr::from_ref(number).cast(), &BUSY) }
    }
}

use std::any::Any;
use std::cell::Cell;
use std::future::{Future, pending};
use std::io::Write;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use code_of_others::{Bomb, BombBuf, PanickingWaker, Payload, busy_waker};
use common::{
    MODES, Wakes, builder, in_child, poll_deaf, run, run_on, until, until_blocking, until_operations,
};
use runtime::fd::Fd;
use runtime::op;
use runtime::task::JoinSet;
use runtime::time::{sleep, sleep_until};
use runtime::{Builder, JoinHandle};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs `body` in a process of its own, which may end. Panics that get out fail the test; but not with a payload whose
/// destructor would panic on the way.
fn isolated(test: &str, body: impl FnOnce()) {
    in_child(test, || {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
            if payload.is::<Payload>() {
                mem::forget(payload);
                panic!("a panic of others got out");
            }
            resume_unwind(payload);
        }
    });
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn socket() -> (Fd, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (Fd::new(OwnedFd::from(near)), far)
}

/// Polls the futures in turns with a waker that panics and with one that does not, waits for all the wakes, and returns the
/// outputs.
async fn with_panicking_wakers<F>(mut futures: Vec<F>) -> Vec<F::Output>
where
    F: Future + Unpin + 'static,
    F::Output: 'static,
{
    let (panicking, wakes) = (Arc::<PanickingWaker>::default(), Arc::<Wakes>::default());
    let wakers = [Waker::from(Arc::clone(&panicking)), Waker::from(Arc::clone(&wakes))];
    let last = futures.pop().expect("an odd number of futures");
    for (future, waker) in futures.iter_mut().zip(wakers.iter().cycle()) {
        assert!(poll_with(future, waker).is_pending());
    }
    let task = runtime::spawn(last);
    let half = futures.len() / 2;
    until("the wake-ups of others", || wakes.count() == half).await;
    until("the wake-ups that panic", || panicking.count() == half).await;
    let mut outputs = vec![task.await.expect("the task was woken and not hurt")];
    for future in futures {
        outputs.push(future.await);
    }
    outputs
}

/// They complete in one system call where the ring is entered, so that they are one batch.
async fn completions() {
    for result in with_panicking_wakers((0..7).map(|_| op::nop()).collect()).await {
        result.expect("nothing can be done");
    }
}

async fn timers() {
    let deadline = Instant::now() + Duration::from_millis(300);
    let count = with_panicking_wakers((0..7).map(|_| sleep_until(deadline)).collect()).await.len();
    assert_eq!(count, 7);
}

#[test]
fn wakers_of_completions() {
    isolated("wakers_of_completions", || {
        for mode in MODES {
            run(mode, completions());
        }
    });
}

#[test]
fn wakers_of_timers() {
    isolated("wakers_of_timers", || {
        for mode in MODES {
            run(mode, timers());
        }
    });
}

/// On a thread of the runtime's own, where a panic that gets out ends the process.
#[test]
fn wakers_on_another_core() {
    isolated("wakers_on_another_core", || {
        for mode in MODES {
            run_on(builder(mode).cores(2), mode, async {
                runtime::spawn_on(1, || async {
                    completions().await;
                    timers().await;
                })
                .await
                .unwrap();
            });
        }
    });
}

/// In flight, waiting for room in the queue, and answered; then the runtime ends. Late writes to freed buffers are for
/// AddressSanitizer to see.
#[test]
fn wakers_of_operations_that_shutting_down_cancels() {
    isolated("wakers_of_operations_that_shutting_down_cancels", || {
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 256].map(|entries| (mode, entries))) {
            let runtime = builder(mode).entries(entries).build().unwrap();
            let panicking = Arc::<PanickingWaker>::default();
            let waker = Waker::from(Arc::clone(&panicking));
            let mut nops = Vec::new();
            let (mut recvs, mut peers) = (Vec::new(), Vec::new());
            runtime.block_on(async {
                for _ in 0..20 {
                    let (near, far) = socket();
                    let mut recv = op::recv(&near, [0; 64]);
                    assert!(poll_with(&mut recv, &waker).is_pending());
                    let mut nop = op::nop();
                    assert!(poll_with(&mut nop, &waker).is_pending());
                    nops.push(nop);
                    recvs.push(recv);
                    peers.push(far);
                }
            });
            drop(runtime);
            assert_eq!(panicking.count(), 40, "{mode:?} {entries}: every future is woken once");
            for far in &mut peers {
                // The near end may be closed already.
                let _ = far.write_all(b"late");
            }
            for recv in recvs.iter_mut().step_by(2) {
                let Poll::Ready((result, _)) = poll_deaf(recv) else { panic!("it was woken") };
                assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
            }
            assert!(nops.iter_mut().all(|nop| poll_deaf(nop).is_ready()));
            drop(recvs);
            assert_eq!(panicking.count(), 40);
        }
    });
}

/// Not a panic of others, but code of others just the same: it may call back into the runtime.
#[test]
fn wakers_that_use_the_runtime_while_they_are_cloned_or_dropped() {
    isolated("wakers_that_use_the_runtime_while_they_are_cloned_or_dropped", || {
        static NUMBERS: [u8; 2] = [0, 1];
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 256].map(|entries| (mode, entries))) {
            run_on(builder(mode).entries(entries), mode, async {
                let wakers = [busy_waker(&NUMBERS[0]), busy_waker(&NUMBERS[1])];
                let (near, mut far) = socket();
                let mut recv = op::recv(&near, [0; 64]);
                let mut accepts = op::accept_many(&near);
                let mut timer = sleep(HOUR);
                let mut short = sleep(Duration::from_millis(2));
                let mut task = runtime::spawn(pending::<()>());
                for waker in wakers.iter().chain(&wakers) {
                    assert!(poll_with(&mut recv, waker).is_pending());
                    assert!(poll_with(&mut futures::StreamExt::next(&mut accepts), waker).is_pending());
                    assert!(poll_with(&mut timer, waker).is_pending());
                    // It may have passed already.
                    let _ = poll_with(&mut short, waker);
                    assert!(poll_with(&mut task, waker).is_pending());
                }
                far.write_all(b"x").unwrap();
                assert_eq!(recv.await.0.unwrap(), 1);
                short.await;
                task.abort();
                assert!(task.await.unwrap_err().is_aborted());
                drop((accepts, timer, wakers));
                until_operations(0).await;
            });
        }
    });
}

/// Those of operations that are dropped in each of their states: waiting for room (with `entries` = 1), in flight, answered.
async fn orphans<const PADDING: usize>() {
    let drops: Rc<Cell<usize>> = Rc::default();
    let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..10).map(|_| socket()).unzip();
    let start = || -> Vec<_> {
        let ops = sockets.iter().map(|near| op::recv(near, BombBuf::<PADDING>::new(&drops)));
        let mut ops: Vec<_> = ops.collect();
        assert!(ops.iter_mut().all(|op| poll_deaf(op).is_pending()));
        ops
    };
    drop(start());
    until_operations(0).await;
    assert_eq!(drops.get(), 10);

    let in_flight = start();
    until_operations(10).await;
    drop(in_flight);
    until_operations(0).await;
    assert_eq!(drops.get(), 20);

    let cqes = runtime::metrics().cores[runtime::core()].cqes;
    let answered = start();
    peers.iter_mut().for_each(|far| far.write_all(b"x").expect("the socket has room"));
    until("the answers", || runtime::metrics().cores[runtime::core()].cqes >= cqes + 10).await;
    drop(answered);
    assert_eq!(drops.get(), 30, "dropped at once");
    until_operations(0).await;

    // Of slots that had those in them.
    for near in &sockets {
        let (result, buf) = op::send(near, b"hello".to_vec(), true).await;
        assert_eq!((result.expect("the socket has room"), buf.len()), (5, 5));
    }
    assert_eq!(drops.get(), 30);
}

#[test]
fn buffers_of_orphaned_operations() {
    isolated("buffers_of_orphaned_operations", || {
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 256].map(|entries| (mode, entries))) {
            run_on(builder(mode).entries(entries), mode, async {
                orphans::<0>().await;
                orphans::<64>().await;
            });
        }
    });
}

#[test]
fn buffers_of_orphaned_operations_on_another_core() {
    isolated("buffers_of_orphaned_operations_on_another_core", || {
        for mode in MODES {
            run_on(builder(mode).cores(2), mode, async {
                runtime::spawn_on(1, || async {
                    orphans::<0>().await;
                    orphans::<64>().await;
                })
                .await
                .unwrap();
            });
        }
    });
}

/// The buffer's destructor panics while another panic unwinds the task, which is the one that is reported.
#[test]
fn buffers_of_a_task_that_panics() {
    isolated("buffers_of_a_task_that_panics", || {
        for mode in MODES {
            run(mode, async {
                let drops: Rc<Cell<usize>> = Rc::default();
                let (near, mut far) = socket();
                let mut answered = op::recv(&near, BombBuf::<0>::new(&drops));
                assert!(poll_deaf(&mut answered).is_pending());
                let cqes = runtime::metrics().cores[0].cqes;
                far.write_all(b"x").unwrap();
                until("the answer", || runtime::metrics().cores[0].cqes > cqes).await;
                let mut in_flight = op::recv(&near, BombBuf::<64>::new(&drops));
                assert!(poll_deaf(&mut in_flight).is_pending());
                let task = runtime::spawn(async move {
                    let _ops = (answered, in_flight);
                    panic!("the first panic");
                });
                let error = task.await.map(|(): ()| ()).unwrap_err();
                assert_eq!(error.to_string(), "the task panicked: the first panic");
                until_operations(0).await;
                assert_eq!(drops.get(), 2);
            });
        }
    });
}

/// Operations that the end of the runtime cancels, of tasks, and of a future that goes later.
#[test]
fn buffers_at_shutdown() {
    isolated("buffers_at_shutdown", || {
        for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 256].map(|entries| (mode, entries))) {
            let drops: Rc<Cell<usize>> = Rc::default();
            let runtime = builder(mode).entries(entries).build().unwrap();
            let mut kept = Vec::new();
            let mut peers = Vec::new();
            runtime.block_on(async {
                for _ in 0..10 {
                    let (near, far) = socket();
                    let mut op = op::recv(&near, BombBuf::<0>::new(&drops));
                    assert!(poll_deaf(&mut op).is_pending());
                    kept.push(op);
                    let op = op::recv(&near, BombBuf::<64>::new(&drops));
                    drop(runtime::spawn(async move {
                        op.await.0.unwrap();
                    }));
                    peers.push(far);
                }
                runtime::task::yield_now().await;
            });
            drop(runtime);
            assert_eq!(drops.get(), 10, "{mode:?} {entries}");
            drop(kept);
            assert_eq!(drops.get(), 20, "{mode:?} {entries}");
        }
    });
}

/// What a task can leave behind that panics when it is dropped.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Output,
    Payload,
}

const LEAVES: [Leaves; 2] = [Leaves::Output, Leaves::Payload];

async fn leave(what: Leaves) -> Bomb {
    match what {
        Leaves::Output => Bomb,
        Leaves::Payload => panic_any(Payload),
    }
}

async fn still_works() {
    assert_eq!(runtime::spawn(async { 6 * 7 }).await.expect("it does not panic"), 42);
    op::nop().await.expect("nothing can be done");
}

async fn until_finished<T>(handle: &JoinHandle<T>) {
    until("the end of the task", || handle.is_finished()).await;
}

#[test]
fn outputs_that_nobody_takes() {
    isolated("outputs_that_nobody_takes", || {
        for (mode, what) in MODES.into_iter().flat_map(|mode| LEAVES.map(|what| (mode, what))) {
            run_on(builder(mode).cores(2), mode, async {
                // Detached before it ends.
                drop(runtime::spawn(leave(what)));
                runtime::task::yield_now().await;
                still_works().await;
                // Dropped with its handle.
                let handle = runtime::spawn(leave(what));
                until_finished(&handle).await;
                drop(handle);
                still_works().await;
                // Dropped with its handle where that is unwound.
                let handle = runtime::spawn(leave(what));
                until_finished(&handle).await;
                let task = runtime::spawn(async move {
                    let _handle = handle;
                    panic!("the first panic");
                });
                let error = task.await.map(|(): ()| ()).unwrap_err();
                assert_eq!(error.to_string(), "the task panicked: the first panic");
                // Of a set.
                let mut set = JoinSet::new();
                set.spawn(leave(what));
                set.spawn(async {
                    pending::<()>().await;
                    Bomb
                });
                runtime::task::yield_now().await;
                drop(set);
                still_works().await;
                // On another core, and from there.
                drop(runtime::spawn_on(1, move || leave(what)));
                let handle = runtime::spawn_on(1, move || leave(what));
                until_finished(&handle).await;
                drop(handle);
                runtime::spawn_on(1, still_works).await.unwrap();
                // On a blocking thread, and from there.
                let (end, ended) = mpsc::channel::<()>();
                drop(runtime::spawn_blocking(move || {
                    let _end = end;
                    match what {
                        Leaves::Output => Bomb,
                        Leaves::Payload => panic_any(Payload),
                    }
                }));
                until("the end of the closure", || ended.try_recv() == Err(mpsc::TryRecvError::Disconnected))
                    .await;
                let handle = runtime::spawn_blocking(move || futures::executor::block_on(leave(what)));
                until_finished(&handle).await;
                drop(handle);
                assert_eq!(runtime::spawn_blocking(|| 1).await.unwrap(), 1);
                still_works().await;
            });
        }
    });
}

#[test]
fn outputs_that_outlive_the_runtime() {
    isolated("outputs_that_outlive_the_runtime", || {
        for (mode, what) in MODES.into_iter().flat_map(|mode| LEAVES.map(|what| (mode, what))) {
            let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
            let handles = runtime.block_on(async {
                let handles = [runtime::spawn(leave(what)), runtime::spawn_on(1, move || leave(what))];
                until_finished(&handles[0]).await;
                until_finished(&handles[1]).await;
                handles
            });
            drop(runtime);
            drop(handles);
        }
    });
}

/// Ready at once or never; its destructor panics.
struct BombFuture(bool, #[allow(dead_code, reason = "for its destructor")] Bomb);

impl Future for BombFuture {
    type Output = u8;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
        if self.0 { Poll::Ready(5) } else { Poll::Pending }
    }
}

fn bomb_future(ready: bool) -> BombFuture {
    BombFuture(ready, Bomb)
}

fn is_payload(payload: Box<dyn Any + Send>) -> bool {
    let is = payload.is::<Payload>();
    mem::forget(payload);
    is
}

#[test]
fn destructors_of_futures() {
    isolated("destructors_of_futures", || {
        for mode in MODES {
            let mut late = None;
            run_on(builder(mode).cores(2), mode, async {
                assert_eq!(runtime::spawn(bomb_future(true)).await.unwrap(), 5);
                // There it is the end of the closure's future that panics, before that has an output.
                let panics = runtime::spawn_on(1, || bomb_future(true));
                assert!(is_payload(panics.await.unwrap_err().try_into_panic().unwrap()));
                drop(runtime::spawn(bomb_future(true)));
                let panics = runtime::spawn(async {
                    let _bomb = bomb_future(true);
                    // Returns, so the destructor's panic is the task's.
                    1
                });
                assert!(is_payload(panics.await.unwrap_err().try_into_panic().unwrap()));
                for core in [0, 1] {
                    let aborted = runtime::spawn_on(core, || bomb_future(false));
                    runtime::task::yield_now().await;
                    aborted.abort();
                    let error = aborted.await.unwrap_err();
                    // Unless it was aborted before it was made.
                    assert!(
                        error.is_aborted() || error.try_into_panic().is_ok_and(is_payload),
                        "on core {core}"
                    );
                    let nobody = runtime::spawn_on(core, || bomb_future(false));
                    nobody.abort();
                    drop(nobody);
                    // For the end of the runtime.
                    drop(runtime::spawn_on(core, || bomb_future(false)));
                }
                late = Some(runtime::spawn(bomb_future(false)));
                runtime::task::yield_now().await;
                still_works().await;
                runtime::spawn_on(1, still_works).await.unwrap();
            });
            let late = late.unwrap();
            until_blocking("the end of the task", || late.is_finished());
            let Poll::Ready(result) = poll_deaf(&mut { late }) else { unreachable!("it is finished") };
            assert!(is_payload(result.unwrap_err().try_into_panic().unwrap()));
        }
    });
}
