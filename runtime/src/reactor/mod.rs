//! The completion side of a core: the table of operations in flight, the one path by which they are submitted and the one
//! by which they complete.
//!
//! **Who owns what.** An operation owns all memory that the kernel may touch. It lives in a slot ([`slots`]) from the moment
//! it is started until its last CQE has come *and* its future has taken it, or has been dropped. The future holds only the
//! slot's [`Key`]. So whatever the user does with the future - drops it, forgets it, panics - what the kernel points to
//! stays where it is. The states are [`slots::Lifecycle`]'s:
//!
//! ```text
//! start ---> InFlight ----last CQE----> Done ----taken----> (free)
//!   |           |  ^                      |
//!   | SQ full   |  | room                 | future dropped
//!   +------> Queued                       v
//!               | future dropped   (discarded, free)
//!               v
//!            Orphaned ----last CQE, or found in the backlog---> (discarded, free)
//! ```
//!
//! **A ring is only a carrier.** The operation in its slot is enough to submit the request again, so the ring can be exchanged
//! under the futures that wait: [`replace`] says when, and what each request becomes. No way in ([`Table::check_owner`])
//! trusts what it finds before it knows that this is still the process that wrote it.
//!
//! **A full queue loses nothing.** What finds no room in the SQ (a request, a cancel, the wake-up poll) waits in the backlog,
//! in order, and is pushed as soon as there is room; nothing blocks for it, and nobody overtakes it.
//!
//! **Critical sections.** Everything is behind one `RefCell`, borrowed for a few instructions at a time. Code of others - a
//! waker's `wake` or `drop`, the destructor of a buffer - runs only while it is not borrowed, because that code may start or
//! drop operations itself.
#![allow(
    unsafe_code,
    reason = "brings type-erased operations back, and vouches for their memory towards the ring"
)]

mod replace;
mod slots;
mod table;

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::contain::{contain_panic, wake_all};
use crate::op::request::{Completion, MultiShot, Request, SingleShot};
use crate::owner::Owner;
use crate::ring::{Mode, Ring, RingCounts};

pub(crate) use slots::Key;
use slots::Lifecycle;
use table::Table;

/// How long the kernel gets at shutdown in any case.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(250);

/// How long a request that was called back may take before it is called again.
const RECALL_AGAIN: Duration = Duration::from_millis(20);

/// A core's reactor. Futures of operations keep it alive, so that their slots outlive the runtime if they do.
pub(crate) struct Reactor {
    table: RefCell<Table>,
    /// Reused between turns: wakers to be woken once the table is free.
    woken: RefCell<Vec<Waker>>,
}

impl Reactor {
    /// A reactor on `ring`; `wakeup` is the event counter by which other threads wake it out of [`Reactor::wait`].
    pub(crate) fn new(ring: Ring, wakeup: Arc<dyn AsFd>, owner: Owner) -> Rc<Self> {
        let table = RefCell::new(Table::new(ring, wakeup, owner));
        Rc::new(Reactor { table, woken: RefCell::default() })
    }

    /// Moves an operation into the table and submits it. Gives it back if the reactor has shut down.
    pub(crate) fn start<O: Request>(&self, op: O) -> Result<Key, O> {
        self.table.borrow_mut().start(op, Lifecycle::InFlight)
    }

    /// Submits an operation that nobody awaits. Gives it back if the reactor has shut down, or if there are many under way:
    /// whoever produces them faster than the kernel carries them out has to do it by himself.
    pub(crate) fn start_detached<O: Request>(&self, op: O) -> Result<(), O> {
        self.table.borrow_mut().start_detached(op)
    }

    /// The operation and its completion, once it is done; until then `cx` is woken when it is.
    ///
    /// # Safety
    ///
    /// `key` came from `start` with an `O` and has neither been taken nor abandoned.
    pub(crate) unsafe fn poll_single<O: SingleShot>(
        &self,
        key: Key,
        cx: &mut Context<'_>,
    ) -> Poll<(O, Completion)> {
        let mut table = self.table.borrow_mut();
        table.check_owner();
        let entry = table.slots.get_mut(key).expect("a future's slot is in use");
        let Some(completion) = entry.results.pop() else {
            let needs_waker = table.needs_waker(key, cx);
            drop(table);
            self.wait_for(key, cx, needs_waker);
            return Poll::Pending;
        };
        // SAFETY: the caller vouches for the type; a single-shot operation with a result has had its last CQE.
        let (op, entry) = unsafe { table.slots.remove::<O>(key) };
        drop(table);
        // A waker may be left where the future was polled again between the completion and its wake-up.
        drop(entry);
        Poll::Ready((op, completion))
    }

    /// The next completion of a multishot operation, or `None` after the last; until there is one `cx` is woken for it.
    ///
    /// # Safety
    ///
    /// As for `poll_single`.
    pub(crate) unsafe fn poll_multi<O: MultiShot>(
        &self,
        key: Key,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<O::Item>>> {
        let mut table = self.table.borrow_mut();
        table.check_owner();
        let entry = table.slots.get_mut(key).expect("a future's slot is in use");
        let Some(completion) = entry.results.pop() else {
            if matches!(entry.lifecycle, Lifecycle::Done | Lifecycle::Lost) {
                return Poll::Ready(None);
            }
            let needs_waker = table.needs_waker(key, cx);
            drop(table);
            self.wait_for(key, cx, needs_waker);
            return Poll::Pending;
        };
        // SAFETY: the caller vouches for the type; `item` is this crate's code and does not call back.
        let item = unsafe { (*table.slots.get_ptr::<O>(key)).item(completion.into_result()) };
        Poll::Ready(Some(item))
    }

    /// Cloning and dropping a waker is code of others: outside of the critical section.
    fn wait_for(&self, key: Key, cx: &Context<'_>, needs_waker: bool) {
        if needs_waker {
            let waker = cx.waker().clone();
            let old = self.table.borrow_mut().set_waker(key, waker);
            drop(old);
        }
    }

    /// The future of `key` is gone: frees its slot, or sees to it that the last CQE does.
    pub(crate) fn abandon(&self, key: Key) {
        let waker = self.table.borrow_mut().abandon(key);
        drop(waker);
        self.reclaim();
    }

    /// Asks the kernel to cancel the request of `key`; its future then gets what became of it.
    pub(crate) fn cancel(&self, key: Key) {
        self.table.borrow_mut().cancel(key);
        self.wake();
    }

    /// Wakes those whose requests have ended, outside of the critical section.
    fn wake(&self) {
        let mut woken = self.woken.take();
        woken.append(&mut self.table.borrow_mut().woken);
        wake_all(&mut woken);
        self.woken.replace(woken);
    }

    /// Drops the operations that nobody will take, outside of the critical section: a buffer's or descriptor's destructor
    /// may start and drop operations.
    fn reclaim(&self) {
        loop {
            let Some(mut last) = self.table.borrow_mut().next_reclaimable() else { return };
            while let Some(completion) = last.results.pop() {
                // SAFETY: the slot holds its operation, which the kernel has finished with, until it is freed below.
                unsafe { (last.vtable.discard)(last.storage, completion.into_result()) };
            }
            // SAFETY: as above; the storage is not used again before the slot is freed.
            contain_panic(|| unsafe { (last.vtable.drop)(last.storage) });
            self.table.borrow_mut().slots.free(last.key);
        }
    }

    /// Whether [`Reactor::publish`] usually takes no system call, so that there is no point in putting it off.
    pub(crate) fn publishes_for_free(&self) -> bool {
        self.table.borrow_mut().ring().is_ok_and(|ring| ring.mode() == Mode::Polled)
    }

    /// Makes the kernel see all that was started, without waiting.
    ///
    /// # Errors
    ///
    /// `EOWNERDEAD`: the poller is dead, or this is another process than the ring's.
    pub(crate) fn publish(&self) -> io::Result<()> {
        let result = self.table.borrow_mut().publish();
        self.reclaim();
        result
    }

    /// Publishes, and waits for a completion, a wake-up from another thread, or `timeout`.
    ///
    /// # Errors
    ///
    /// As for `publish`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.wait_many(1, timeout)
    }

    /// Waits for so many completions, else as `wait`.
    fn wait_many(&self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let mut table = self.table.borrow_mut();
        table.check_owner();
        table.drain_backlog();
        if !table.reclaimable.is_empty() {
            drop(table);
            // Their destructors may have given the core something to do.
            self.reclaim();
            return Ok(());
        }
        table.wait(want, timeout)
    }

    /// Whether there is a completion to take: a look at shared memory.
    pub(crate) fn has_completions(&self) -> bool {
        self.table.borrow_mut().has_completions()
    }

    /// Takes all completions and wakes the tasks that waited for them; returns how many there were.
    pub(crate) fn reap(&self) -> usize {
        let mut woken = self.woken.take();
        let mut table = self.table.borrow_mut();
        let taken = table.reap();
        // Wakers that are woken may leave others: each has its own list.
        std::mem::swap(&mut woken, &mut table.woken);
        drop(table);
        wake_all(&mut woken);
        self.woken.replace(woken);
        self.reclaim();
        taken
    }

    /// Submits nothing any more and has all requests come back, done or undone, until `deadline`; returns how many have not.
    /// Requests that are started meanwhile wait.
    ///
    /// # Errors
    ///
    /// As for `publish`.
    pub(crate) fn call_back(&self, deadline: Instant) -> io::Result<usize> {
        self.table.borrow_mut().hold();
        let (mut again, mut before) = (Instant::now() + RECALL_AGAIN, usize::MAX);
        loop {
            self.publish()?;
            let reaped = self.reap();
            let ((left, asking), now) = (self.table.borrow().called_back(), Instant::now());
            if left == 0 || now >= deadline {
                return Ok(left);
            }
            // As long as there is progress nobody has been missed; to ask twice costs as much as to ask once.
            if left < before || asking {
                (again, before) = (now + RECALL_AGAIN, left);
            }
            if now >= again {
                self.table.borrow_mut().recall();
                again = now + RECALL_AGAIN;
            } else if reaped == 0 || !asking {
                // All of them are wanted; to be woken for each would take time from whoever carries them out.
                self.wait_many(left, Some(deadline.min(again) - now))?;
            }
        }
    }

    /// Submits again, on whichever ring there is; returns how many requests had been waiting for that.
    pub(crate) fn release(&self) -> usize {
        let mut table = self.table.borrow_mut();
        let carried = table.queued();
        table.release();
        drop(table);
        self.reclaim();
        carried
    }

    /// Goes over to a new ring, on which nothing is submitted before [`Reactor::release`] if submission is held. The
    /// former ring's requests that have not come back are waited for beside the new ones.
    pub(crate) fn install(&self, ring: Ring) {
        self.table.borrow_mut().install(ring);
    }

    /// Whether the poller is dead, after a call failed with `EOWNERDEAD`.
    pub(crate) fn is_dead(&self) -> bool {
        self.table.borrow_mut().ring().map_or(true, |ring| ring.is_dead())
    }

    /// Takes what a ring with a dead poller still has, and holds submission until there is another.
    pub(crate) fn bury(&self) {
        self.table.borrow_mut().bury();
        self.wake();
        self.reclaim();
    }

    /// Goes without a ring until there is another.
    pub(crate) fn lose_ring(&self) {
        self.table.borrow_mut().lose_ring();
    }

    /// In a child that was forked while requests were in flight: gives them up, and holds submission until there is a ring.
    pub(crate) fn disown(&self) {
        self.table.borrow_mut().check_owner();
        self.wake();
        self.reclaim();
    }

    /// In a child of a fork that does not go on with what there was: gives all up, and neither wakes nor drops anything.
    pub(crate) fn leave_behind(&self) {
        let mut table = self.table.borrow_mut();
        table.check_owner();
        table.reclaimable.clear();
        std::mem::forget(std::mem::take(&mut table.woken));
    }

    /// In a child of a fork, after all requests had been called back: has them wait for a ring of this process.
    pub(crate) fn inherit(&self) {
        self.table.borrow_mut().inherit();
    }

    /// Connections that were accepted and not taken yet.
    pub(crate) fn untaken_accepts(&self) -> usize {
        self.table.borrow_mut().untaken_accepts()
    }

    /// Whether there is a ring.
    pub(crate) fn has_ring(&self) -> bool {
        self.table.borrow().current.is_some()
    }

    /// Another descriptor of the present ring.
    pub(crate) fn duplicate_ring(&self) -> io::Result<Option<OwnedFd>> {
        self.table.borrow().current.as_ref().map(|carrier| carrier.ring.duplicate()).transpose()
    }

    /// How the present ring is driven.
    pub(crate) fn mode(&self) -> Option<Mode> {
        self.table.borrow().current.as_ref().map(|carrier| carrier.ring.mode())
    }

    /// Refuses new operations, cancels those in flight and waits for their last CQEs until `deadline`. What the kernel has
    /// not given back by then is leaked rather than freed under its hands; returns how many operations that were.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        // A poller that is busy elsewhere gets a moment even if the deadline has passed: requests that nobody has seen yet
        // would be lost, and with them the descriptors that they close.
        let deadline = deadline.max(Instant::now() + SHUTDOWN_GRACE);
        self.table.borrow_mut().close();
        loop {
            // Where publishing or waiting fails, no CQE will come that has not come yet.
            let alive = self.is_served(self.publish());
            self.reap();
            // Else it would wait for those that are only named in the backlog, and have been cancelled there.
            self.table.borrow_mut().drain_backlog();
            let left = deadline.saturating_duration_since(Instant::now());
            if !alive || !self.table.borrow().is_busy() || left.is_zero() {
                break;
            }
            if !self.is_served(self.wait(Some(left))) {
                break;
            }
        }
        if self.table.borrow().is_busy() && self.is_dead() {
            self.bury();
        }
        let kept = self.table.borrow_mut().close_ring();
        self.wake();
        self.reclaim();
        kept
    }

    /// Whether the kernel still serves the ring, after a call that had this result.
    fn is_served(&self, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::EOWNERDEAD) && !self.is_dead(),
        }
    }

    /// Requests that the kernel has.
    pub(crate) fn in_flight(&self) -> usize {
        self.table.borrow().in_flight()
    }

    /// What the rings have done so far.
    pub(crate) fn counts(&self) -> RingCounts {
        let table = self.table.borrow();
        let mut counts = table.counts_before;
        counts += table.current.as_ref().map(|carrier| carrier.ring.counts).unwrap_or_default();
        counts
    }

    /// How many operations have a slot: in flight, or not taken yet.
    pub(crate) fn slots_in_use(&self) -> usize {
        self.table.borrow().slots.len()
    }
}
