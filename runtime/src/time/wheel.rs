//! A hierarchical timing wheel: the timers of one runtime thread, ordered just enough to fire them in time.
//!
//! # What it is
//!
//! A tick is a number with eleven digits in base 64 (the topmost has only four bits), and the wheel has a
//! level for each digit and, on each level, a slot for each value of it. An entry lives on the level of the
//! *highest digit in which its deadline differs from the clock*, in the slot that its deadline has for that
//! digit:
//!
//! ```text
//!              digit 2   digit 1   digit 0
//!   clock         0         3        17
//!   deadline      0         3        40      level 0, slot 40: 23 ticks from now, fires from here
//!   deadline      0         9         2      level 1, slot  9: moves down once the clock reads 0·9·x
//!   deadline      5         0        63      level 2, slot  5: moves down once the clock reads 5·x·x
//! ```
//!
//! When the clock enters a slot of a higher level, the entries there agree with the clock in one digit more
//! than before, and *cascade* to lower levels. A slot of level 0 is a single tick, so what is in it fires.
//!
//! # Why levels
//!
//! A timer of a network program is mostly inserted to be removed again: the time limit that was not needed. A
//! heap pays O(log n) and a walk over cold memory for each. One flat wheel makes both O(1), but needs a slot
//! for every tick of its range, or else looks at timers of later rounds in every round. The levels keep O(1),
//! cover all of `u64` in 704 slots (11 KiB), and put off the sorting of an entry until its deadline is near,
//! when most have been removed. As they cover all of `u64` there is no deadline too far away, and no overflow
//! list that would be a second mechanism to get right; an upper level that is empty costs a look at its
//! bitmap.
//!
//! # Who owns what
//!
//! The wheel owns the values; they leave it by [`Wheel::remove`], by [`Wheel::advance`], or when it is
//! dropped. They are in a slab, and a slot is a doubly linked list of slab indices, so a cascade moves no
//! values, and a steady state of inserts and removes allocates nothing. The slab never shrinks: it stays as
//! large as the most entries that were ever in it at once. A caller holds a [`Key`], which owns nothing and
//! may outlive the entry: it carries the serial number of its insert, and no number is given twice, so a
//! stale key finds nothing even if its index is used again. The wheel reads no clock and calls no code of its
//! caller's: to wake or drop a value is up to whoever took it out.
//!
//! # Invariants
//!
//! 1. Every entry's deadline is at or after the clock (`insert` raises one in the past to the clock).
//! 2. Every entry is in the slot that [`Place::of`] computes from its deadline and the clock *as they are
//!    now*. So the place need not be stored to unlink an entry, and entries of equal deadline are always in
//!    one list.
//! 3. By 2, the slots in use on a level above 0 lie after the clock's digit, and any entry on a lower level
//!    is due before any on a higher one: the lowest bit of the lowest level in use is the earliest slot of
//!    all.
//! 4. A list is in the order of insertion: a cascade walks it from its head and appends, and by 3 the levels
//!    below are empty then. With 2, this is why ties fire in the order of their insertion.
//! 5. A slot's `earliest` is within the slot, and is the earliest deadline that was in its list since that
//!    was last empty: at or before every deadline there, and exact unless that entry has been removed.
//!
//! # Costs
//!
//! `insert`, `remove` and `get_mut` are O(1), `next_deadline` is O(levels). `advance` is O(levels) for each
//! slot in use that it passes, however many ticks that is. An entry inserted less than 64ⁿ ticks ahead
//! cascades at most n times (a timer of a minute at most three times, any at most ten), so it is O(1)
//! amortised. Only amortised: to enter a slot of a high level moves all of its entries at once.

use slab::Slab;

use self::place::{LEVELS, Place, SLOTS};

mod place;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// The index that is none: the end of a list.
const NONE: u32 = u32::MAX;

/// Holds values of `T` until their deadlines. See the documentation of the module.
pub(crate) struct Wheel<T> {
    now: u64,
    /// The serial number that the next insert gets.
    serial: u64,
    nodes: Slab<Node<T>>,
    /// For each level, a bit for each slot that is not empty. Apart from the slots, so that a search for the
    /// earliest slot reads two cache lines and not one for each level.
    occupied: [u64; LEVELS],
    /// `SLOTS` for each level, the lowest level first.
    slots: Box<[Slot]>,
}

/// Names an entry of a [`Wheel`], and nothing any more once the entry has fired or was removed.
///
/// A key is good only for the wheel that made it; another wheel may take it for one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    index: u32,
    serial: u64,
}

/// An entry: a value, and its links in the list of a slot.
struct Node<T> {
    value: T,
    deadline: u64,
    serial: u64,
    previous: u32,
    next: u32,
}

/// The list of the entries in a slot, from the oldest to the newest.
#[derive(Clone, Copy)]
struct Slot {
    /// No deadline in the list is before this one.
    earliest: u64,
    head: u32,
    tail: u32,
}

impl Slot {
    const EMPTY: Self = Self { earliest: u64::MAX, head: NONE, tail: NONE };
}

impl<T> Wheel<T> {
    /// An empty wheel whose clock reads 0.
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            serial: 0,
            nodes: Slab::new(),
            occupied: [0; LEVELS],
            slots: vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
        }
    }

    /// The tick that the clock reads: the latest that [`advance`](Self::advance) was given.
    #[cfg(test)]
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// How many entries have neither fired nor been removed.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds an entry that fires at the first [`advance`](Self::advance) to `deadline` or later. Any tick is
    /// legal, and one in the past is the same as one of [`now`](Self::now): the entry fires at the next
    /// `advance`, whatever tick that is given.
    ///
    /// # Panics
    ///
    /// If there are 2³² - 1 entries already.
    pub(crate) fn insert(&mut self, deadline: u64, value: T) -> Key {
        let deadline = deadline.max(self.now);
        let serial = self.serial;
        let vacant = self.nodes.vacant_entry();
        let index = u32::try_from(vacant.key()).ok().filter(|&index| index != NONE);
        let index = index.expect("fewer than 2^32 timers on a wheel");
        vacant.insert(Node { value, deadline, serial, previous: NONE, next: NONE });
        self.serial += 1;
        self.append(index);
        Key { index, serial }
    }

    /// Takes an entry out before it fires. `None` if it has fired or was removed.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let node = self.nodes.remove(key.index as usize);
        let place = Place::of(node.deadline, self.now);
        let slot = &mut self.slots[place.index()];
        match node.previous {
            NONE => slot.head = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        match node.next {
            NONE => slot.tail = node.previous,
            next => self.nodes[next as usize].previous = node.previous,
        }
        if slot.head == NONE {
            self.take(place);
        }
        Some(node.value)
    }

    /// The value of an entry, to look at or to replace. `None` if it has fired or was removed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let node = self.nodes.get_mut(key.index as usize)?;
        (node.serial == key.serial).then_some(&mut node.value)
    }

    /// Moves the clock to `now`, and appends to `fired` the values of all entries whose deadlines have come:
    /// in the order of their deadlines, and those of one deadline in the order of their insertion. A deadline
    /// that had passed when it was inserted counts as one of the tick of its insert.
    ///
    /// The clock does not go backwards: a `now` before [`Wheel::now`] is taken for `Wheel::now`.
    pub(crate) fn advance(&mut self, now: u64, fired: &mut Vec<T>) {
        let target = self.now.max(now);
        while let Some(place) = self.first() {
            let earliest = self.slots[place.index()].earliest;
            // The slot that the target lies in must cascade even if nothing there is due, for invariant 2.
            if !place.is_reached(earliest, target) {
                break;
            }
            // No deadline is before `earliest`, so the clock need not stop at the start of the slot, nor at
            // that of each slot on the way down: whatever is due first goes straight to level 0.
            self.now = earliest.min(target);
            let head = self.take(place).head;
            if place.level == 0 {
                self.fire(head, fired);
            } else {
                self.cascade(head);
            }
        }
        self.now = target;
    }

    /// A tick by which the caller must have called [`advance`](Self::advance) for all entries to fire in
    /// time: at or before the earliest deadline (one in the past counting as the tick of its insert). `None`
    /// if there is no entry.
    ///
    /// - It is [`now`](Self::now) if an entry is due, which the next `advance` then fires, and after `now`
    ///   otherwise: a caller who sleeps until this tick and then advances to it never spins.
    /// - It is the earliest deadline itself if that is in the current block of 64 ticks (on the lowest
    ///   level), and also if nothing has been removed.
    /// - Otherwise it may be the deadline of an entry that was removed from the slot of the earliest one. To
    ///   advance to it then fires nothing, and moves what is left in that slot to lower levels: at most n
    ///   times for an entry inserted less than 64ⁿ ticks ahead, at most ten times for any.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.first().map(|place| self.slots[place.index()].earliest)
    }

    /// The slot in use that is due before all others.
    fn first(&self) -> Option<Place> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        Some(Place { level, slot: self.occupied[level].trailing_zeros() as usize })
    }

    /// Empties a slot, and returns what was in it, still linked.
    fn take(&mut self, place: Place) -> Slot {
        self.occupied[place.level] &= !(1 << place.slot);
        std::mem::replace(&mut self.slots[place.index()], Slot::EMPTY)
    }

    /// Puts a node, whatever its links, at the end of the list where it belongs.
    fn append(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        let place = Place::of(node.deadline, self.now);
        let slot = &mut self.slots[place.index()];
        let previous = std::mem::replace(&mut slot.tail, index);
        slot.earliest = slot.earliest.min(node.deadline);
        node.previous = previous;
        node.next = NONE;
        match previous {
            NONE => slot.head = index,
            previous => self.nodes[previous as usize].next = index,
        }
        self.occupied[place.level] |= 1 << place.slot;
    }

    /// Moves the nodes of a list that was taken to where the clock now wants them.
    fn cascade(&mut self, head: u32) {
        let mut index = head;
        while index != NONE {
            let next = self.nodes[index as usize].next;
            self.append(index);
            index = next;
        }
    }

    /// Ends the entries of a list that was taken.
    fn fire(&mut self, head: u32, fired: &mut Vec<T>) {
        let mut index = head;
        while index != NONE {
            let node = self.nodes.remove(index as usize);
            fired.push(node.value);
            index = node.next;
        }
    }
}
