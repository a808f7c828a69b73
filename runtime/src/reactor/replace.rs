//! Replacing the ring under the requests that wait: what each of them becomes.
//!
//! An operation's slot is all that it takes to submit it, so a ring can be exchanged if only it is known what became of the
//! requests that it had. There are three ways to know:
//!
//! - **The ring works** ([`hold`](Table::hold)): nothing more is submitted, every request that may wait is cancelled (by its
//!   `user_data`, which is linear), and the CQEs say the rest. A request comes back done, and its future gets the result; or
//!   undone (`ECANCELED`, `EINTR`), and it is submitted again. Requests that do not wait for anybody are not cancelled
//!   but waited for. What is not back by a deadline stays with its ring, which goes on beside the new one.
//! - **The poller is dead** ([`bury`](Table::bury)): the kernel has cancelled what the poller had taken, and its CQEs are in the
//!   queue or, if that was full, in fdinfo. What has no CQE was never taken. Nothing is left that could touch any memory.
//! - **The ring is another process's** ([`disown`](Table::disown)), since this one is a child that somebody forked: its requests
//!   are the parent's and are carried out there. Nothing can be known here but that they won't be carried out for this
//!   process, so they fail with `EOWNERDEAD`.
//!
//! ```text
//!             hold                     CQE: undone
//! InFlight ----------> Recalled -----------------------> Queued (returned) --release--> backlog --> InFlight
//!     |                    |  CQE: result                   ^
//!     |                    +--------------> Done            | no CQE
//!     +-----------------------------bury--------------------+
//! ```
//!
//! While submission is held, new requests wait in the backlog; those that came back go before them, in the order in which
//! they were first started.

use super::slots::{Key, Lifecycle, NO_RING};
use super::table::{Carrier, Table};
use crate::op::request::Completion;
use crate::owner::Owner;
use crate::ring::Ring;

impl Table {
    /// Submits nothing from now on, and asks for what the present ring has.
    pub(super) fn hold(&mut self) {
        self.check_owner();
        self.held = true;
        self.recall();
    }

    /// Cancels every request that may wait, on whichever ring, also those that were asked before: a cancel can miss a request
    /// that is between two states in the kernel.
    pub(super) fn recall(&mut self) {
        let mut asked = self.keys(|entry| entry.ring != NO_RING);
        // The newest first: the kernel looks for a request in a list, at whose front the newest ones are.
        asked.sort_unstable_by_key(|key| self.slots.age(*key));
        for key in asked {
            let Some(entry) = self.slots.get_mut(key) else { continue };
            match entry.lifecycle {
                Lifecycle::InFlight if entry.vtable.waits => entry.lifecycle = Lifecycle::Recalled,
                Lifecycle::Recalled | Lifecycle::Cancelled | Lifecycle::Orphaned => {}
                _ => continue,
            }
            self.cancel_in_flight(key);
        }
    }

    /// How many requests the rings still have, and whether some have not been asked to come back yet.
    pub(super) fn called_back(&self) -> (usize, bool) {
        (self.in_flight(), !self.cancels.is_empty())
    }

    /// How many requests the rings have, former ones included.
    pub(super) fn in_flight(&self) -> usize {
        self.current.iter().chain(&self.leaving).map(|carrier| carrier.in_flight).sum()
    }

    /// Submits again, what came back first.
    pub(super) fn release(&mut self) {
        self.held = false;
        let mut returned = std::mem::take(&mut self.returned);
        returned.sort_by_key(|key| std::cmp::Reverse(self.slots.age(*key)));
        for key in returned.into_iter().rev() {
            self.backlog.push_front(key);
        }
        self.drain_backlog();
    }

    /// Goes over to a new ring. The former one, if there is one, is closed as soon as it has no request any more.
    pub(super) fn install(&mut self, ring: Ring) {
        self.rings_opened += 1;
        let new = Carrier { ring, number: self.rings_opened, in_flight: 0 };
        if let Some(old) = self.current.replace(new) {
            self.part_with(old);
        }
        self.arm_wakeup = true;
        self.drain_backlog();
    }

    fn part_with(&mut self, old: Carrier) {
        self.counts_before += old.ring.counts;
        if old.in_flight > 0 {
            self.leaving.push(old);
        }
    }

    /// The present ring's poller is dead: has everything wait for the next ring.
    pub(super) fn bury(&mut self) {
        self.held = true;
        if let Some(dead) = self.current.take() {
            self.bury_carrier(dead);
        }
        self.bury_leaving();
    }

    /// Buries those of the former rings whose pollers are dead.
    pub(super) fn bury_leaving(&mut self) {
        for mut carrier in std::mem::take(&mut self.leaving) {
            if carrier.ring.is_dead() { self.bury_carrier(carrier) } else { self.leaving.push(carrier) }
        }
    }

    /// Takes what a ring with a dead poller has completed, and has everything else that it had wait.
    fn bury_carrier(&mut self, mut dead: Carrier) {
        dead.ring.retire_poller();
        let number = dead.number;
        let known = self.keys(|entry| entry.ring == number && entry.lifecycle == Lifecycle::InFlight);
        for key in known {
            if let Some(entry) = self.slots.get_mut(key) {
                // Whatever says that it was interrupted now was interrupted by the poller's death.
                entry.lifecycle = Lifecycle::Recalled;
                entry.returns = 0;
            }
        }
        self.reap_carrier(&mut dead);
        let overflowed = dead.ring.overflowed();
        for cqe in overflowed.as_deref().unwrap_or_default() {
            self.complete(number, *cqe);
        }
        for key in self.keys(|entry| entry.ring == number) {
            let entry = self.slots.get_mut(key).expect("just seen");
            match entry.lifecycle {
                // Done perhaps, with a CQE that can't be read: it must not happen twice.
                _ if overflowed.is_err() => self.finish(key, NOBODY_KNOWS),
                Lifecycle::Recalled | Lifecycle::InFlight | Lifecycle::Detached => {
                    self.set_queued(key);
                    self.put_back(key);
                }
                _ => self.finish(key, CANCELLED),
            }
        }
        // It has nothing any more.
        dead.in_flight = 0;
        self.part_with(dead);
    }

    /// Goes without a ring: the present one can't be replaced, and must not be used. What it has is waited for.
    pub(super) fn lose_ring(&mut self) {
        self.held = true;
        if let Some(lost) = self.current.take() {
            self.part_with(lost);
        }
    }

    /// In a child that was forked while requests were in flight: they fail, what they own is this process's, and the rings
    /// are left to the parent.
    #[cold]
    pub(super) fn disown(&mut self) {
        self.owner = Owner::this_process().expect("only the first owner of all can fail");
        let rings = self.current.iter().chain(&self.leaving);
        let unwritten: Vec<Key> =
            rings.flat_map(|carrier| carrier.ring.unwritten()).map(Key::from_user_data).collect();
        for key in unwritten {
            // The kernel was not told of it, nor of those that wait.
            if let Some(entry) = self.slots.get_mut(key) {
                entry.ring = NO_RING;
            }
        }
        self.leave_rings_to_parent();
        self.held = true;
        self.cancels.clear();
        self.backlog.clear();
        self.returned.clear();
        let lost = self.keys(|entry| !matches!(entry.lifecycle, Lifecycle::Done | Lifecycle::Lost));
        for key in lost {
            let entry = self.slots.get_mut(key).expect("just seen");
            // Nobody awaits it, so all that counts is whether it has begun.
            let untold =
                entry.ring == NO_RING && matches!(entry.lifecycle, Lifecycle::Detached | Lifecycle::Orphaned);
            self.finish(key, if untold { CANCELLED } else { NOBODY_KNOWS });
        }
    }

    /// In a child of a fork before which everything was called back: the ring is left to the parent, and the requests go on
    /// in this process.
    pub(super) fn inherit(&mut self) {
        self.owner = Owner::this_process().expect("only the first owner of all can fail");
        // Whoever forks has seen to it that nothing is in flight; if there were, it would be the parent's.
        for key in self.keys(|entry| entry.ring != NO_RING) {
            self.finish(key, NOBODY_KNOWS);
        }
        self.leave_rings_to_parent();
    }

    fn leave_rings_to_parent(&mut self) {
        // A ring that is dropped in another process than its own closes its descriptor, and that is all.
        for carrier in self.current.take().into_iter().chain(std::mem::take(&mut self.leaving)) {
            self.counts_before += carrier.ring.counts;
        }
    }

    /// Connections that were accepted and that no future has taken yet.
    pub(super) fn untaken_accepts(&mut self) -> usize {
        let untaken =
            |entry: &super::slots::Entry| if entry.vtable.accepts { entry.results.successes() } else { 0 };
        self.slots.iter_mut().map(|(_, entry)| untaken(entry)).sum()
    }

    /// How many requests wait to be submitted.
    pub(super) fn queued(&mut self) -> usize {
        self.keys(|entry| entry.ring == NO_RING && entry.lifecycle == Lifecycle::Queued).len()
    }
}

const CANCELLED: Completion = Completion { result: -libc::ECANCELED, flags: 0 };

/// The outcome of a request that another process, or a ring that can't be read, has taken along.
const NOBODY_KNOWS: Completion = Completion { result: -libc::EOWNERDEAD, flags: 0 };
