//! Tasks: their handles, sets of them, and yielding.
//!
//! # Inside
//!
//! A spawned future lives in one allocation, a cell of the `async_task` crate. What we add, and what the rest of the runtime
//! relies on:
//!
//! - **A task always ends with an output.** `Guarded` wraps the future: a panic, an abort and the shutdown of its core all
//!   become an `Err(JoinError)`, so a handle that is awaited never waits for ever and never panics.
//! - **A future is polled and dropped on its own core only**, though its wakers may be anywhere. A `Runnable` woken on
//!   another thread travels home through the core's `Inbox`. Before the core's inbox closes, every task that has been
//!   polled is gone; one that has not (a closure sent by `spawn_on`) is `Send` and may end on the sender's thread.
//! - **The `Header`** is what both sides share: whose task it is, whether it is to stop, and under which key the core keeps a
//!   waker for it. The core registers a task when its first poll returns `Pending`: one that ends at once never touches
//!   the registry.
#![allow(unsafe_code, reason = "spawns futures that are not Send, and owns the inbox's nodes")]

mod guarded;
pub(crate) mod inbox;
mod join;
pub(crate) mod lost;
mod set;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Waker;

pub use join::{JoinError, JoinHandle};
pub use set::JoinSet;

use guarded::Guarded;

/// A task that wants to be polled.
pub(crate) type Runnable = async_task::Runnable<Header>;
type Task<T> = async_task::Task<guarded::Outcome<T>, Header>;

/// Who runs a task: a core, or the pool of blocking threads.
pub(crate) trait Home: Send + Sync + 'static {
    /// Takes a task that was woken, from any thread. Must not drop or run it here unless the home has closed, in which case
    /// [`Home::is_closing`] is true and running it ends it.
    fn schedule(&self, task: Runnable);

    /// Whether tasks are to end instead of being polled.
    fn is_closing(&self) -> bool;

    /// Whether its tasks run on the calling thread's core.
    fn is_here(&self) -> bool;

    /// Whether it stayed behind in the process that forked this one: its tasks will never end here.
    fn is_lost(&self) -> bool;

    /// Keeps a waker for a task, on the home's own thread, so that the home can reach all its tasks; returns its key.
    fn register(&self, waker: &Waker) -> usize;

    /// Forgets the waker, on the home's own thread.
    fn deregister(&self, key: usize);

    /// Wakes the task registered under `key`, from any thread. A key that another task has by now wakes that one, which is
    /// harmless.
    fn wake_registered(&self, key: usize);
}

/// The key of a task that its core has not registered.
pub(crate) const UNREGISTERED: usize = usize::MAX;

/// What a task, its handle and its home share.
pub(crate) struct Header {
    home: Arc<dyn Home>,
    aborted: AtomicBool,
    key: AtomicUsize,
}

impl Header {
    fn new(home: Arc<dyn Home>) -> Self {
        Header { home, aborted: AtomicBool::new(false), key: AtomicUsize::new(UNREGISTERED) }
    }

    fn is_stopped(&self) -> bool {
        // SeqCst pairs with `abort`: see there.
        self.aborted.load(Ordering::SeqCst) || self.home.is_closing()
    }

    /// Asks the task to end. If it is registered, it is woken to notice; if not, it is queued for its first poll, or is in
    /// it and looks at `aborted` after it has registered. In the single order of SeqCst either this thread sees the key or
    /// the task sees `aborted`.
    fn abort(&self) {
        self.aborted.store(true, Ordering::SeqCst);
        let key = self.key.load(Ordering::SeqCst);
        if key != UNREGISTERED {
            self.home.wake_registered(key);
        }
    }

    /// Under which key the core has registered the task.
    pub(crate) fn key(&self) -> usize {
        self.key.load(Ordering::Relaxed)
    }

    fn register(&self, waker: &Waker) {
        if self.key.load(Ordering::Relaxed) == UNREGISTERED {
            self.key.store(self.home.register(waker), Ordering::SeqCst);
        }
    }

    fn deregister(&self) {
        let key = self.key.swap(UNREGISTERED, Ordering::SeqCst);
        if key != UNREGISTERED {
            self.home.deregister(key);
        }
    }
}

/// Makes a task of a future, to be run by `home`, whose thread is this one.
pub(crate) fn new_local<F>(future: F, home: Arc<dyn Home>) -> (Runnable, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    // SAFETY: the future is polled and dropped on this thread only: see `new_unchecked` and the module's second point.
    unsafe { new_unchecked(future, home) }
}

/// Makes a task of a future that `make` returns on the thread of `home`, where it is polled and dropped.
pub(crate) fn new_remote<M, F>(make: M, home: Arc<dyn Home>) -> (Runnable, JoinHandle<F::Output>)
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    // SAFETY: until its first poll, which happens on the thread of `home`, the future holds only `make`, which is Send; from
    // then on it is registered there or gone.
    unsafe { new_unchecked(async move { make().await }, home) }
}

/// # Safety
///
/// After its first poll, the future is only touched on the thread of `home`; before, it is Send or still on its thread.
/// That a woken task is polled at home is this module's and the executor's work; that it ends there is `Home::schedule`'s
/// contract. `F::Output` may be dropped by the handle's thread: `JoinHandle<T>` is Send only if `T` is.
unsafe fn new_unchecked<F>(future: F, home: Arc<dyn Home>) -> (Runnable, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let schedule = |runnable: Runnable| {
        let home = Arc::clone(&runnable.metadata().home);
        home.schedule(runnable);
    };
    // SAFETY: future and output are 'static, `schedule` captures nothing; the caller vouches for the threads.
    let (runnable, task) = unsafe {
        async_task::Builder::new()
            .metadata(Header::new(home))
            .spawn_unchecked(move |header| Guarded::new(future, header), schedule)
    };
    (runnable, JoinHandle::new(task))
}

/// Lets the other tasks of this core run, and completions be looked at, before going on.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() {
///     for _ in 0..3 {
///         runtime::task::yield_now().await;
///     }
/// }
/// ```
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await
}
