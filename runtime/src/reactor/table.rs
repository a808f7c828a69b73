//! The state behind the reactor's `RefCell`: slots, ring and backlog. Nothing here runs code of others.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use super::slots::{Key, Lifecycle, Results, Slots, Vtable};
use crate::op::request::{Completion, Request};
use crate::ring::Ring;

/// The poll on the wake-up counter.
const WAKEUP: Key = Key::reserved(0);
/// Cancels; they report only failures, which say that the request has completed by itself.
const CANCEL: Key = Key::reserved(1);

/// How many requests that nobody awaits may be under way: descriptors that are being closed still count against the limit on
/// open files.
const DETACHED_MAX: usize = 64;

/// What waits for room in the SQ.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    Request(Key),
    Cancel(Key),
    Wakeup,
}

/// What is left of an operation that nobody will take.
pub(super) struct Reclaimable {
    pub(super) key: Key,
    pub(super) vtable: &'static Vtable,
    pub(super) storage: *mut u8,
    pub(super) results: Results,
}

pub(super) struct Table {
    /// `None` once the reactor has shut down.
    pub(super) ring: Option<Ring>,
    pub(super) slots: Slots,
    backlog: VecDeque<Waiting>,
    /// Slots that nobody will take and the kernel has finished with.
    reclaimable: Vec<Key>,
    /// Requests that the kernel knows and whose last CQE has not come.
    in_flight: usize,
    /// Slots of requests that nobody awaits and that are to be carried out.
    detached: usize,
    wakeup: Arc<OwnedFd>,
    /// New operations are refused.
    closed: bool,
}

impl Table {
    pub(super) fn new(ring: Ring, wakeup: Arc<OwnedFd>) -> Self {
        let mut table = Table {
            ring: Some(ring),
            slots: Slots::default(),
            backlog: VecDeque::new(),
            reclaimable: Vec::new(),
            in_flight: 0,
            detached: 0,
            wakeup,
            closed: false,
        };
        table.push(Waiting::Wakeup);
        table
    }

    pub(super) fn ring(&mut self) -> &mut Ring {
        self.ring.as_mut().expect("a core that has shut down does not run")
    }

    /// Whether the kernel has something to give back, or to be told.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.has_backlog()
    }

    fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// See `Reactor::start`; `lifecycle` says whether somebody awaits it.
    pub(super) fn start<O: Request>(&mut self, op: O, lifecycle: Lifecycle) -> Result<Key, O> {
        if self.closed {
            return Err(op);
        }
        let key = self.slots.insert(op, lifecycle);
        self.push(Waiting::Request(key));
        Ok(key)
    }

    /// See `Reactor::start_detached`.
    pub(super) fn start_detached<O: Request>(&mut self, op: O) -> Result<(), O> {
        if self.detached >= DETACHED_MAX || self.has_backlog() {
            return Err(op);
        }
        self.start(op, Lifecycle::Detached)?;
        self.detached += 1;
        Ok(())
    }

    /// Pushes into the SQ, or into the backlog if the SQ is full or others wait already.
    fn push(&mut self, item: Waiting) {
        if self.backlog.is_empty() && self.try_push(item) {
            return;
        }
        if let Waiting::Request(key) = item {
            self.change(key, Lifecycle::InFlight, Lifecycle::Queued);
        }
        self.backlog.push_back(item);
    }

    /// `false`: the SQ is full.
    fn try_push(&mut self, item: Waiting) -> bool {
        let entry = match item {
            Waiting::Request(key) => self.prepare(key).user_data(key.user_data()),
            Waiting::Cancel(key) => opcode::AsyncCancel::new(key.user_data())
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(CANCEL.user_data()),
            Waiting::Wakeup => opcode::PollAdd::new(types::Fd(self.wakeup.as_raw_fd()), libc::POLLIN as u32)
                .multi(true)
                .build()
                .user_data(WAKEUP.user_data()),
        };
        // SAFETY: a request's memory is owned by its operation, which stays in its slot until the last CQE; a cancel names
        // none; the poll names a descriptor that lives as long as this table.
        if !unsafe { self.ring().try_push(entry) } {
            return false;
        }
        self.in_flight += usize::from(matches!(item, Waiting::Request(_)));
        true
    }

    fn prepare(&mut self, key: Key) -> squeue::Entry {
        let storage = self.slots.storage(key.index);
        let entry = self.slots.get_mut(key).expect("a request that is pushed has a slot");
        // SAFETY: the slot holds its operation; nobody else uses it during the call.
        unsafe { (entry.vtable.prepare)(storage) }
    }

    fn change(&mut self, key: Key, from: Lifecycle, to: Lifecycle) {
        if let Some(entry) = self.slots.get_mut(key)
            && entry.lifecycle == from
        {
            entry.lifecycle = to;
        }
    }

    /// Moves the backlog into the SQ as far as there is room. What is not wanted any more becomes reclaimable.
    pub(super) fn drain_backlog(&mut self) {
        while let Some(&item) = self.backlog.front() {
            if self.is_still_wanted(item) {
                if !self.try_push(item) {
                    return;
                }
                if let Waiting::Request(key) = item {
                    self.change(key, Lifecycle::Queued, Lifecycle::InFlight);
                }
            }
            self.backlog.pop_front();
        }
    }

    /// A request whose future was dropped while it waited is not submitted at all; a cancel of a request that has ended
    /// meanwhile is pointless.
    fn is_still_wanted(&mut self, item: Waiting) -> bool {
        match item {
            Waiting::Request(key) => {
                let wanted =
                    self.slots.get_mut(key).is_some_and(|entry| entry.lifecycle != Lifecycle::Orphaned);
                if !wanted {
                    self.reclaimable.push(key);
                }
                wanted
            }
            Waiting::Cancel(key) => {
                self.slots.get_mut(key).is_some_and(|entry| entry.lifecycle != Lifecycle::Done)
            }
            Waiting::Wakeup => true,
        }
    }

    pub(super) fn publish(&mut self) -> io::Result<()> {
        self.drain_backlog();
        self.ring().publish()?;
        // An entered ring's queue is empty after each submission, so the rest fits; a poller takes its time.
        while self.has_backlog() && self.ring().has_room() {
            self.drain_backlog();
            self.ring().publish()?;
        }
        Ok(())
    }

    pub(super) fn has_reclaimable(&self) -> bool {
        !self.reclaimable.is_empty()
    }

    /// See `Reactor::wait`, which has drained the backlog.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.has_backlog() {
            return self.ring().wait_for_room();
        }
        self.ring().wait(timeout)
    }

    /// Takes every CQE; the wakers to be woken are added to `woken`. Returns how many there were.
    pub(super) fn reap(&mut self, woken: &mut Vec<Waker>) -> usize {
        // Taken out for the loop, so that the closure may use the rest.
        let Some(mut ring) = self.ring.take() else { return 0 };
        let mut taken = 0;
        ring.reap(|cqe| {
            taken += 1;
            woken.extend(self.complete(&cqe));
        });
        self.ring = Some(ring);
        taken
    }

    fn complete(&mut self, cqe: &cqueue::Entry) -> Option<Waker> {
        let key = Key::from_user_data(cqe.user_data());
        let more = cqueue::more(cqe.flags());
        if key == WAKEUP && !more {
            self.backlog.push_back(Waiting::Wakeup);
        }
        // Bookkeeping requests have no entry.
        let entry = self.slots.get_mut(key)?;
        entry.results.push(Completion { result: cqe.result(), flags: cqe.flags() });
        let waker = entry.waker.take();
        if !more {
            self.in_flight -= 1;
            match entry.lifecycle {
                Lifecycle::Orphaned => self.reclaimable.push(key),
                Lifecycle::Detached => {
                    self.detached -= 1;
                    self.reclaimable.push(key);
                }
                _ => entry.lifecycle = Lifecycle::Done,
            }
        }
        waker
    }

    /// Whether the next completion of `key` does not wake `cx` yet.
    pub(super) fn needs_waker(&mut self, key: Key, cx: &Context<'_>) -> bool {
        let entry = self.slots.get_mut(key).expect("a future's slot is in use");
        assert!(
            entry.lifecycle != Lifecycle::Lost,
            "the runtime shut down before the kernel finished this operation, and its memory had to be given up"
        );
        !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Has `waker` woken with the next completion of `key`; returns the one that it replaces.
    pub(super) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        self.slots.get_mut(key).expect("a future's slot is in use").waker.replace(waker)
    }

    /// See `Reactor::abandon`; returns the future's waker, to be dropped outside.
    pub(super) fn abandon(&mut self, key: Key) -> Option<Waker> {
        let entry = self.slots.get_mut(key).expect("a future's slot is in use");
        let (before, waker) = (entry.lifecycle, entry.waker.take());
        if before != Lifecycle::Lost {
            entry.lifecycle = Lifecycle::Orphaned;
        }
        match before {
            Lifecycle::Done => self.reclaimable.push(key),
            Lifecycle::InFlight => self.push(Waiting::Cancel(key)),
            Lifecycle::Queued | Lifecycle::Orphaned | Lifecycle::Detached | Lifecycle::Lost => {}
        }
        waker
    }

    pub(super) fn next_reclaimable(&mut self) -> Option<Reclaimable> {
        let key = self.reclaimable.pop()?;
        let storage = self.slots.storage(key.index);
        let entry = self.slots.get_mut(key).expect("a reclaimable slot is in use");
        Some(Reclaimable { key, vtable: entry.vtable, storage, results: std::mem::take(&mut entry.results) })
    }

    /// Refuses new operations and cancels those that somebody awaits; detached ones are carried out.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let awaited: Vec<Key> = self
            .slots
            .keys()
            .filter(|(_, lifecycle)| matches!(lifecycle, Lifecycle::Queued | Lifecycle::InFlight))
            .map(|(key, _)| key)
            .collect();
        for key in awaited {
            self.push(Waiting::Cancel(key));
        }
    }

    /// Closes the ring; returns how many operations the kernel has not given back, whose memory is leaked.
    /// The wakers of those whose state that changes are added to `woken`.
    pub(super) fn close_ring(&mut self, woken: &mut Vec<Waker>) -> usize {
        self.ring = None;
        // What the kernel was never told of ends here, as cancelled.
        for waiting in std::mem::take(&mut self.backlog) {
            if let Waiting::Request(key) = waiting
                && let Some(entry) = self.slots.get_mut(key)
            {
                match entry.lifecycle {
                    Lifecycle::Queued => {
                        entry.results.push(Completion { result: -libc::ECANCELED, flags: 0 });
                        entry.lifecycle = Lifecycle::Done;
                        woken.extend(entry.waker.take());
                    }
                    _ => self.reclaimable.push(key),
                }
            }
        }
        let unfinished: Vec<Key> = self
            .slots
            .keys()
            .filter(|(key, lifecycle)| *lifecycle != Lifecycle::Done && !self.reclaimable.contains(key))
            .map(|(key, _)| key)
            .collect();
        for &key in &unfinished {
            if let Some(entry) = self.slots.get_mut(key) {
                entry.lifecycle = Lifecycle::Lost;
                woken.extend(entry.waker.take());
            }
        }
        if !unfinished.is_empty() {
            self.slots.leak();
        }
        unfinished.len()
    }
}
