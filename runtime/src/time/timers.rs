//! A core's timers: the wheel and the clock that drives it.

use std::cell::RefCell;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::wheel::{Key, Wheel};
use crate::contain::wake_all;

/// The wheel, with instants instead of ticks. A tick is a millisecond; deadlines are rounded up, so that no timer fires
/// early, and the clock is rounded down for the same reason.
pub(crate) struct Timers {
    origin: Instant,
    wheel: RefCell<Wheel<Waker>>,
    /// Reused between turns.
    fired: RefCell<Vec<Waker>>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Timers { origin: Instant::now(), wheel: RefCell::new(Wheel::new()), fired: RefCell::default() }
    }

    fn tick_at_or_after(&self, instant: Instant) -> u64 {
        let nanos = instant.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// Has `waker` woken at `deadline`.
    pub(crate) fn insert(&self, deadline: Instant, waker: Waker) -> Key {
        let tick = self.tick_at_or_after(deadline);
        self.wheel.borrow_mut().insert(tick, waker)
    }

    /// Whether the timer has not fired yet.
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.wheel.borrow_mut().get_mut(key).is_some()
    }

    /// Replaces a timer's waker, unless it has fired. Returns the one to be dropped: outside, since that may run code of
    /// others.
    pub(crate) fn update(&self, key: Key, waker: &Waker) -> Option<Waker> {
        if self.wheel.borrow_mut().get_mut(key)?.will_wake(waker) {
            return None;
        }
        // Cloned outside of the borrow: that is code of others too.
        let waker = waker.clone();
        Some(std::mem::replace(self.wheel.borrow_mut().get_mut(key)?, waker))
    }

    /// Takes a timer out, unless it has fired.
    pub(crate) fn remove(&self, key: Key) {
        let waker = self.wheel.borrow_mut().remove(key);
        drop(waker);
    }

    /// Wakes what is due. Looks at the clock only if there are timers.
    pub(crate) fn fire(&self) {
        if self.wheel.borrow().is_empty() {
            return;
        }
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut fired = self.fired.take();
        self.wheel.borrow_mut().advance(now, &mut fired);
        wake_all(&mut fired);
        self.fired.replace(fired);
    }

    /// How many timers there are.
    pub(crate) fn len(&self) -> usize {
        self.wheel.borrow().len()
    }

    /// How long until [`Timers::fire`] may have something to do; `None`: no timers.
    pub(crate) fn next(&self) -> Option<Duration> {
        let tick = self.wheel.borrow().next_deadline()?;
        let at = Duration::from_millis(tick);
        Some(at.saturating_sub(self.origin.elapsed()))
    }
}
