//! Time: sleeping, deadlines and intervals, to the millisecond.
//!
//! Timers live in a hierarchical wheel on the core that awaits them: starting and cancelling one costs the same with ten or
//! a million of them, and no system call. A timer never fires early; it fires within a millisecond of its deadline, plus
//! however long the core is busy with a task.

pub(crate) mod timers;
pub(crate) mod wheel;

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use sleep::{Sleep, sleep, sleep_until};
pub use timeout::{Elapsed, Timeout, timeout, timeout_at};

use std::time::{Duration, Instant};

/// `Instant + Duration` that stops at a time so far away that no timer gets there, instead of panicking.
fn far_add(start: Instant, duration: Duration) -> Instant {
    const THIRTY_YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    start.checked_add(duration).unwrap_or(start + THIRTY_YEARS)
}
