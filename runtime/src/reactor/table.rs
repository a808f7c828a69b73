//! The state behind the reactor's `RefCell`: slots, rings, and what waits for room. Nothing here runs code of others: wakers
//! are collected in `woken`, and what is to be dropped in `reclaimable`, for the reactor to see to outside.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use io_uring::{opcode, squeue, types};

use super::slots::{Key, Lifecycle, NO_RING, Results, Slots, Vtable};
use crate::op::request::{Completion, Request};
use crate::owner::Owner;
use crate::ring::{Overflowed, Ring, RingCounts};

/// The poll on the wake-up counter.
const WAKEUP: Key = Key::reserved(0);
/// Cancels; they report only failures, which say that the request has completed by itself.
const CANCEL: Key = Key::reserved(1);

/// How many requests that nobody awaits may be under way: descriptors that are being closed still count against the limit on
/// open files.
const DETACHED_MAX: usize = 64;

/// How often in a row a request is submitted again that comes back undone though nobody here has asked for that. A kernel
/// does it when a poller dies; a file system may answer so for reasons of its own, again and again.
const RETURNS_MAX: u8 = 64;

/// What the kernel says to itself when a signal interrupts a system call - ERESTARTSYS and its like, see `errno.h` there - also
/// says an open or a connect that a cancel has interrupted. To everybody else that is `EINTR`.
const RESTARTS: [i32; 4] = [-512, -513, -514, -516];

/// While a ring that has been replaced still has requests, the core looks at it this often.
const LEAVING_LOOK: Duration = Duration::from_millis(10);

/// A ring, and what it has.
pub(super) struct Carrier {
    pub(super) ring: Ring,
    /// Its number; no other ring of this table has had it.
    pub(super) number: u32,
    /// Requests that the kernel knows by it and whose last CQE has not come.
    pub(super) in_flight: usize,
}

/// What is left of an operation that nobody will take.
pub(super) struct Reclaimable {
    pub(super) key: Key,
    pub(super) vtable: &'static Vtable,
    pub(super) storage: *mut u8,
    pub(super) results: Results,
}

pub(super) struct Table {
    pub(super) owner: Owner,
    pub(super) slots: Slots,
    /// The ring that requests are submitted on. `None` between two rings, and once the reactor has shut down.
    pub(super) current: Option<Carrier>,
    /// Rings that were replaced but still have requests which could not be called back.
    pub(super) leaving: Vec<Carrier>,
    pub(super) rings_opened: u32,
    /// What the rings before the present one did.
    pub(super) counts_before: RingCounts,
    /// Requests that wait for room in the SQ, or for a ring, in order.
    pub(super) backlog: VecDeque<Key>,
    /// Requests that came back undone while submission is held.
    pub(super) returned: Vec<Key>,
    /// Cancels that wait for room.
    pub(super) cancels: VecDeque<Key>,
    /// The wake-up counter has to be polled (again).
    pub(super) arm_wakeup: bool,
    /// Nothing is submitted: the ring is about to be replaced, or there is none.
    pub(super) held: bool,
    /// New operations are refused.
    closed: bool,
    /// Slots that nobody will take and the kernel has finished with.
    pub(super) reclaimable: Vec<Key>,
    /// Whom to wake.
    pub(super) woken: Vec<Waker>,
    /// Slots of requests that nobody awaits and that are to be carried out.
    pub(super) detached: usize,
    wakeup: Arc<dyn AsFd>,
}

impl Table {
    pub(super) fn new(ring: Ring, wakeup: Arc<dyn AsFd>, owner: Owner) -> Self {
        let mut table = Table {
            owner,
            slots: Slots::default(),
            current: None,
            leaving: Vec::new(),
            rings_opened: NO_RING,
            counts_before: RingCounts::default(),
            backlog: VecDeque::new(),
            returned: Vec::new(),
            cancels: VecDeque::new(),
            arm_wakeup: false,
            held: false,
            closed: false,
            reclaimable: Vec::new(),
            woken: Vec::new(),
            detached: 0,
            wakeup,
        };
        table.install(ring);
        table
    }

    /// To be called before anything else on each way in: after a fork nothing here is what it says.
    #[inline]
    pub(super) fn check_owner(&mut self) {
        if !self.owner.is_here() {
            self.disown();
        }
    }

    /// The present ring.
    ///
    /// # Errors
    ///
    /// `EOWNERDEAD` if there is none because it was lost.
    pub(super) fn ring(&mut self) -> io::Result<&mut Ring> {
        match &mut self.current {
            Some(carrier) => Ok(&mut carrier.ring),
            None => Err(io::Error::from_raw_os_error(libc::EOWNERDEAD)),
        }
    }

    fn carrier(&mut self, number: u32) -> Option<&mut Carrier> {
        self.current.iter_mut().chain(&mut self.leaving).find(|carrier| carrier.number == number)
    }

    /// Whether the kernel has something to give back, or to be told.
    pub(super) fn is_busy(&self) -> bool {
        let in_flight = self.current.iter().chain(&self.leaving).any(|carrier| carrier.in_flight > 0);
        in_flight || self.waits_for_room()
    }

    /// Whether something could be pushed if there were room.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.cancels.is_empty() || self.arm_wakeup || (!self.held && !self.backlog.is_empty())
    }

    fn waiting(&self) -> usize {
        self.cancels.len() + self.backlog.len() + usize::from(self.arm_wakeup)
    }

    /// See `Reactor::start`; `lifecycle` says whether somebody awaits it.
    pub(super) fn start<O: Request>(&mut self, op: O, lifecycle: Lifecycle) -> Result<Key, O> {
        self.check_owner();
        if self.closed {
            return Err(op);
        }
        let key = self.slots.insert(op, lifecycle);
        if self.held || self.waits_for_room() || !self.try_push(key) {
            self.queue(key);
        }
        Ok(key)
    }

    /// See `Reactor::start_detached`.
    pub(super) fn start_detached<O: Request>(&mut self, op: O) -> Result<(), O> {
        self.check_owner();
        if self.detached >= DETACHED_MAX || self.held || self.waits_for_room() {
            return Err(op);
        }
        self.start(op, Lifecycle::Detached)?;
        self.detached += 1;
        Ok(())
    }

    /// Has a request wait for room, behind those that do already.
    fn queue(&mut self, key: Key) {
        self.set_queued(key);
        self.backlog.push_back(key);
    }

    pub(super) fn set_queued(&mut self, key: Key) {
        let entry = self.slots.get_mut(key).expect("a request that waits has a slot");
        entry.ring = NO_RING;
        if matches!(entry.lifecycle, Lifecycle::InFlight | Lifecycle::Recalled) {
            entry.lifecycle = Lifecycle::Queued;
        }
    }

    /// Submits a request; `false`: the SQ is full.
    fn try_push(&mut self, key: Key) -> bool {
        let Some(carrier) = &mut self.current else { return false };
        if !carrier.ring.has_room() {
            return false;
        }
        let storage = self.slots.storage(key.index);
        let entry = self.slots.get_mut(key).expect("a request that is pushed has a slot");
        // SAFETY: the slot holds its operation; nobody else uses it during the call.
        let sqe = unsafe { (entry.vtable.prepare)(storage) }.user_data(key.user_data());
        // SAFETY: a request's memory is owned by its operation, which stays in its slot until the last CQE.
        let pushed = unsafe { carrier.ring.try_push(sqe) };
        debug_assert!(pushed, "there was room");
        carrier.in_flight += 1;
        entry.ring = carrier.number;
        if entry.lifecycle == Lifecycle::Queued {
            entry.lifecycle = Lifecycle::InFlight;
        }
        true
    }

    /// Tells the kernel that a request is not wanted any more; `false`: the SQ is full. One that has ended meanwhile, or
    /// that no ring has, needs no cancel.
    fn try_cancel(&mut self, key: Key) -> bool {
        let ring = match self.slots.get_mut(key) {
            Some(entry) if entry.lifecycle != Lifecycle::Done => entry.ring,
            _ => NO_RING,
        };
        let Some(carrier) = self.carrier(ring) else { return true };
        let cancel = opcode::AsyncCancel::new(key.user_data()).build().flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: a cancel names no memory.
        unsafe { carrier.ring.try_push(cancel.user_data(CANCEL.user_data())) }
    }

    pub(super) fn cancel_in_flight(&mut self, key: Key) {
        if !self.cancels.is_empty() || !self.try_cancel(key) {
            self.cancels.push_back(key);
        }
    }

    fn try_arm_wakeup(&mut self) -> bool {
        let wakeup = types::Fd(self.wakeup.as_fd().as_raw_fd());
        let Some(carrier) = &mut self.current else { return false };
        let poll = opcode::PollAdd::new(wakeup, libc::POLLIN as u32).multi(true).build();
        // SAFETY: names no memory, and a descriptor that lives as long as this table.
        unsafe { carrier.ring.try_push(poll.user_data(WAKEUP.user_data())) }
    }

    /// Moves what waits for room into the SQ as far as there is some. What is not wanted any more becomes reclaimable.
    pub(super) fn drain_backlog(&mut self) {
        if !self.drain_cancels() {
            return;
        }
        if self.arm_wakeup {
            self.arm_wakeup = !self.try_arm_wakeup();
        }
        if self.held || self.arm_wakeup {
            return;
        }
        while let Some(&key) = self.backlog.front() {
            match self.slots.get_mut(key).map(|entry| entry.lifecycle) {
                // Its future was dropped while it waited: it is not submitted at all.
                Some(Lifecycle::Orphaned) => self.give_up(key),
                Some(Lifecycle::Queued | Lifecycle::Detached) if !self.try_push(key) => return,
                _ => {}
            }
            self.backlog.pop_front();
        }
    }

    /// `false`: the present ring's SQ is full.
    fn drain_cancels(&mut self) -> bool {
        for _ in 0..self.cancels.len() {
            let Some(key) = self.cancels.pop_front() else { break };
            if !self.try_cancel(key) {
                // In any order: each is for another request.
                self.cancels.push_back(key);
                if self.current.as_mut().is_some_and(|carrier| !carrier.ring.has_room()) {
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn publish(&mut self) -> io::Result<()> {
        self.check_owner();
        self.drain_backlog();
        self.ring()?.publish()?;
        // An entered ring's queue is empty after each submission, so the rest fits; a poller takes its time. What completes
        // meanwhile is to be taken first, or there might be no room for more of it.
        while self.waits_for_room() && self.ring()?.has_room() && !self.ring()?.has_completions() {
            let before = self.waiting();
            self.drain_backlog();
            self.ring()?.publish()?;
            if self.waiting() == before {
                break;
            }
        }
        Ok(())
    }

    /// See `Reactor::wait`, which has drained the backlog.
    pub(super) fn wait(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if self.waits_for_room() {
            return self.ring()?.wait_for_room();
        }
        if self.leaving.is_empty() {
            return self.ring()?.wait(want, timeout);
        }
        self.ring()?.wait(1, Some(timeout.map_or(LEAVING_LOOK, |timeout| timeout.min(LEAVING_LOOK))))
    }

    pub(super) fn has_completions(&mut self) -> bool {
        // A ring that is not this process's has none for it.
        let mut rings = self.current.iter_mut().chain(&mut self.leaving);
        self.owner.is_here() && rings.any(|carrier| carrier.ring.has_completions())
    }

    /// Takes every CQE; returns how many there were.
    pub(super) fn reap(&mut self) -> usize {
        self.check_owner();
        let mut taken = 0;
        // Taken out for the loop, so that the rest may be used.
        if let Some(mut current) = self.current.take() {
            taken = self.reap_carrier(&mut current);
            self.current = Some(current);
        }
        if self.leaving.is_empty() { taken } else { taken + self.reap_leaving() }
    }

    fn reap_leaving(&mut self) -> usize {
        // They are published here, each turn: entered ones complete nothing unless they are entered.
        if self.leaving.iter_mut().any(|carrier| carrier.ring.publish().is_err()) {
            self.bury_leaving();
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        let taken = leaving.iter_mut().map(|carrier| self.reap_carrier(carrier)).sum();
        leaving.retain(|carrier| carrier.in_flight > 0);
        self.leaving.append(&mut leaving);
        taken
    }

    pub(super) fn reap_carrier(&mut self, carrier: &mut Carrier) -> usize {
        let Carrier { ring, number, in_flight } = carrier;
        let mut taken = 0;
        ring.reap(|cqe| {
            taken += 1;
            let (user_data, result, flags) = (cqe.user_data(), cqe.result(), cqe.flags());
            *in_flight -= usize::from(self.complete(*number, Overflowed { user_data, result, flags }));
        });
        taken
    }

    /// Notes a completion on ring `number`; whether it was the last of its request.
    pub(super) fn complete(&mut self, number: u32, cqe: Overflowed) -> bool {
        let Overflowed { user_data, result, flags } = cqe;
        let result = if RESTARTS.contains(&result) { -libc::EINTR } else { result };
        let key = Key::from_user_data(user_data);
        let more = io_uring::cqueue::more(flags);
        if key == WAKEUP && !more && number == self.rings_opened {
            self.arm_wakeup = true;
        }
        // Bookkeeping requests have no entry.
        let Some(entry) = self.slots.get_mut(key) else { return false };
        if more {
            entry.results.push(Completion { result, flags });
            entry.returns = 0;
            self.woken.extend(entry.waker.take());
            return false;
        }
        // Whoever has cancelled it is told that, whatever the kernel calls it.
        let cancelled =
            entry.lifecycle == Lifecycle::Cancelled && entry.vtable.waits && result == -libc::EINTR;
        let result = if cancelled { -libc::ECANCELED } else { result };
        if !self.closed && self.is_undone(key, result) {
            self.set_queued(key);
            self.put_back(key);
            return true;
        }
        self.finish(key, Completion { result, flags });
        true
    }

    /// Has a request that came back undone wait for its next submission.
    pub(super) fn put_back(&mut self, key: Key) {
        if self.held {
            self.returned.push(key);
        } else {
            self.backlog.push_back(key);
        }
    }

    /// Whether a request that ended with this result is to be submitted again.
    fn is_undone(&mut self, key: Key, result: i32) -> bool {
        let storage = self.slots.storage(key.index);
        let Some(entry) = self.slots.get_mut(key) else { return false };
        if result >= 0 && entry.lifecycle != Lifecycle::Recalled {
            return false;
        }
        let interrupted = result == -libc::ECANCELED || (result == -libc::EINTR && entry.vtable.waits);
        match entry.lifecycle {
            Lifecycle::Recalled if interrupted => true,
            // Nobody here has cancelled it: its poller died, and the kernel has put another in its place.
            Lifecycle::InFlight | Lifecycle::Detached if interrupted && entry.returns < RETURNS_MAX => {
                entry.returns += 1;
                true
            }
            // SAFETY: the slot holds its operation, which the kernel has finished with.
            Lifecycle::InFlight | Lifecycle::Recalled => unsafe { (entry.vtable.again)(storage, result) },
            _ => false,
        }
    }

    /// Notes the last completion of a request that no ring has any more.
    pub(super) fn finish(&mut self, key: Key, completion: Completion) {
        let entry = self.slots.get_mut(key).expect("a request that ends has a slot");
        entry.results.push(completion);
        entry.ring = NO_RING;
        self.woken.extend(entry.waker.take());
        let before = std::mem::replace(&mut entry.lifecycle, Lifecycle::Done);
        self.detached -= usize::from(before == Lifecycle::Detached);
        if matches!(before, Lifecycle::Orphaned | Lifecycle::Detached) {
            self.reclaimable.push(key);
        }
    }

    /// Has a slot freed that nobody will take and no ring has.
    fn give_up(&mut self, key: Key) {
        self.slots.get_mut(key).expect("a request that waits has a slot").lifecycle = Lifecycle::Done;
        self.reclaimable.push(key);
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

    /// See `Reactor::cancel`.
    pub(super) fn cancel(&mut self, key: Key) {
        self.check_owner();
        let entry = self.slots.get_mut(key).expect("a future's slot is in use");
        match entry.lifecycle {
            // The backlog passes over it.
            Lifecycle::Queued => self.finish(key, Completion { result: -libc::ECANCELED, flags: 0 }),
            Lifecycle::InFlight => {
                entry.lifecycle = Lifecycle::Cancelled;
                self.cancel_in_flight(key);
            }
            // The kernel has been asked already.
            Lifecycle::Recalled => entry.lifecycle = Lifecycle::Cancelled,
            _ => {}
        }
    }

    /// See `Reactor::abandon`; returns the future's waker, to be dropped outside.
    pub(super) fn abandon(&mut self, key: Key) -> Option<Waker> {
        self.check_owner();
        let entry = self.slots.get_mut(key).expect("a future's slot is in use");
        let (before, waker) = (entry.lifecycle, entry.waker.take());
        match before {
            // It may still be named in the backlog, where its state says that there is nothing to do.
            Lifecycle::Done => self.reclaimable.push(key),
            Lifecycle::Lost => {}
            _ => entry.lifecycle = Lifecycle::Orphaned,
        }
        // Others are found in the backlog, or have been cancelled already.
        if before == Lifecycle::InFlight {
            self.cancel_in_flight(key);
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
        self.check_owner();
        self.closed = true;
        let awaited: Vec<Key> = self.keys(|entry| {
            matches!(entry.lifecycle, Lifecycle::Queued | Lifecycle::InFlight | Lifecycle::Recalled)
        });
        for key in awaited {
            self.cancel(key);
        }
    }

    /// The slots whose entries are so.
    pub(super) fn keys(&mut self, wanted: impl Fn(&super::slots::Entry) -> bool) -> Vec<Key> {
        self.slots.iter_mut().filter(|(_, entry)| wanted(entry)).map(|(key, _)| key).collect()
    }

    /// Closes the rings; returns how many operations the kernel has not given back, whose memory is leaked.
    pub(super) fn close_ring(&mut self) -> usize {
        self.current = None;
        self.leaving.clear();
        // What the kernel was never told of ends here, as cancelled.
        self.cancels.clear();
        let waiting: Vec<Key> = self.backlog.drain(..).chain(self.returned.drain(..)).collect();
        for key in waiting {
            let lifecycle = self.slots.get_mut(key).map(|entry| entry.lifecycle);
            if matches!(lifecycle, Some(Lifecycle::Queued | Lifecycle::Orphaned | Lifecycle::Detached)) {
                self.finish(key, Completion { result: -libc::ECANCELED, flags: 0 });
            }
        }
        let unfinished = self.keys(|entry| entry.ring != NO_RING);
        for &key in &unfinished {
            if let Some(entry) = self.slots.get_mut(key) {
                entry.lifecycle = Lifecycle::Lost;
                self.woken.extend(entry.waker.take());
            }
        }
        if !unfinished.is_empty() {
            self.slots.leak();
        }
        unfinished.len()
    }
}
