//! Where other threads leave things for a core: a queue of many producers and one consumer that knows whether its
//! consumer sleeps.
//!
//! **One word holds everything.** `head` is the newest node of a linked stack, or one of three marks: [`EMPTY`],
//! [`PARKED`] (empty, and the consumer sleeps or is about to) and [`CLOSED`] (the consumer is gone). A push is one
//! compare-and-swap that also learns which of them it replaced; so "was the consumer asleep" can't be asked too early or
//! too late, and exactly one producer, the one that replaces `PARKED`, has to wake it. No lock, no waiting: a producer only
//! retries when another one has got in first.
//!
//! **Who owns a node.** Its producer until the compare-and-swap succeeds, then the inbox; the consumer takes the whole stack
//! with one swap and owns all of it, so nobody ever reads a node that another may free (no ABA).

#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, Ordering};

use std::ptr;

struct Node<T> {
    item: T,
    next: *mut Node<T>,
}

/// Marks are addresses that no node can have: a node's alignment is at least that of a pointer.
const EMPTY: usize = 0;
const PARKED: usize = 1;
const CLOSED: usize = 2;

fn mark<T>(value: usize) -> *mut Node<T> {
    ptr::without_provenance_mut(value)
}

fn is_node<T>(head: *mut Node<T>) -> bool {
    head.addr() > CLOSED
}

/// What a producer has to do after a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// The consumer is awake and will see the item before it sleeps.
    Awake,
    /// The consumer was asleep, or about to sleep: this producer, and no other, has to wake it.
    MustWake,
}

/// A queue with any number of producers and one consumer.
pub(crate) struct Inbox<T> {
    head: AtomicPtr<Node<T>>,
}

// SAFETY: items are moved in by one thread and out by another, never shared: `T: Send` is all that takes.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inbox<T> {}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Inbox { head: AtomicPtr::new(mark(EMPTY)) }
    }

    /// Adds an item, or gives it back if the inbox is closed. Any thread.
    pub(crate) fn push(&self, item: T) -> Result<Pushed, T> {
        let node = Box::into_raw(Box::new(Node { item, next: mark(EMPTY) }));
        // Acquire, here and where the exchange fails: who learns that the inbox is closed also sees what was done before.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            if head.addr() == CLOSED {
                // SAFETY: the node was never published, so it is still this thread's alone.
                return Err(unsafe { Box::from_raw(node) }.item);
            }
            let next = if is_node(head) { head } else { mark(EMPTY) };
            // SAFETY: as above, until the exchange succeeds.
            unsafe { (*node).next = next };
            // Release: the consumer sees the node's contents. Acquire: this producer sees what the consumer did before
            // it parked.
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Acquire) {
                Ok(old) if old.addr() == PARKED => return Ok(Pushed::MustWake),
                Ok(_) => return Ok(Pushed::Awake),
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is something to take. One relaxed load: an item that is missed is seen next time, or by `park`.
    pub(crate) fn is_empty(&self) -> bool {
        !is_node(self.head.load(Ordering::Relaxed))
    }

    /// Takes all items in the order in which they were pushed, and unparks. Consumer only.
    pub(crate) fn take(&self, each: impl FnMut(T)) {
        let stack = self.head.swap(mark(EMPTY), Ordering::AcqRel);
        Self::unstack(stack, each);
    }

    /// Announces that the consumer is going to sleep. `false`: there are items, so it must not. Consumer only.
    pub(crate) fn park(&self) -> bool {
        self.head.compare_exchange(mark(EMPTY), mark(PARKED), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the announcement back, after waking for whatever reason. Consumer only.
    pub(crate) fn unpark(&self) {
        // Fails if a producer has replaced the mark, and then there is nothing to take back.
        let _ = self.head.compare_exchange(mark(PARKED), mark(EMPTY), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Refuses items from now on and hands out those that came before. Consumer only.
    pub(crate) fn close(&self, each: impl FnMut(T)) {
        let stack = self.head.swap(mark(CLOSED), Ordering::AcqRel);
        Self::unstack(stack, each);
    }

    fn unstack(mut stack: *mut Node<T>, mut each: impl FnMut(T)) {
        let mut ordered: *mut Node<T> = mark(EMPTY);
        while is_node(stack) {
            // SAFETY: the swap made the whole stack this thread's; every node was made by `Box::into_raw`.
            let next = unsafe { std::mem::replace(&mut (*stack).next, ordered) };
            ordered = stack;
            stack = next;
        }
        // Frees what is left if `each` panics.
        let mut rest = Chain(ordered);
        while let Some(item) = rest.pop() {
            each(item);
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.close(drop);
    }
}

/// Nodes taken from the inbox, oldest first.
struct Chain<T>(*mut Node<T>);

impl<T> Chain<T> {
    fn pop(&mut self) -> Option<T> {
        if !is_node(self.0) {
            return None;
        }
        // SAFETY: the chain owns its nodes, each made by `Box::into_raw` and taken out once.
        let node = unsafe { Box::from_raw(self.0) };
        self.0 = node.next;
        Some(node.item)
    }
}

impl<T> Drop for Chain<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::new();
        for n in 0..5 {
            assert_eq!(inbox.push(n), Ok(Pushed::Awake));
        }
        let mut taken = Vec::new();
        inbox.take(|n| taken.push(n));
        assert_eq!(taken, [0, 1, 2, 3, 4]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn only_the_first_push_onto_a_parked_consumer_wakes_it() {
        let inbox = Inbox::new();
        assert!(inbox.park());
        assert_eq!(inbox.push(1), Ok(Pushed::MustWake));
        assert_eq!(inbox.push(2), Ok(Pushed::Awake));
        assert!(!inbox.park());
        inbox.take(drop);
        assert!(inbox.park());
        inbox.unpark();
        assert_eq!(inbox.push(3), Ok(Pushed::Awake));
    }

    #[test]
    fn a_closed_inbox_gives_items_back() {
        let inbox = Inbox::new();
        assert_eq!(inbox.push("before"), Ok(Pushed::Awake));
        let mut last = Vec::new();
        inbox.close(|item| last.push(item));
        assert_eq!(last, ["before"]);
        assert_eq!(inbox.push("after"), Err("after"));
    }

    #[test]
    fn what_was_not_taken_is_dropped_once() {
        let item = std::sync::Arc::new(());
        let inbox = Inbox::new();
        for _ in 0..3 {
            assert!(inbox.push(item.clone()).is_ok());
        }
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inbox.take(|_| panic!("first"))));
        assert!(panicked.is_err());
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
        assert!(inbox.push(item.clone()).is_ok());
        drop(inbox);
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }
}
