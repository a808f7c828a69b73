//! What a runtime's cores are doing, readable at run time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ring::{Mode, RingCounts};

/// The state of a runtime's cores; made by [`runtime::metrics`](crate::metrics()).
///
/// # Examples
///
/// ```
/// #[runtime::main(cores = 1, mode = "entered")]
/// async fn main() {
///     let core = &runtime::metrics().cores[0];
///     assert_eq!(core.mode, Some(runtime::Mode::Entered));
///     assert_eq!(core.why_not_polled.as_deref(), Some("entered rings were asked for"));
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Metrics {
    /// One for each chosen core, started or not.
    pub cores: Vec<CoreMetrics>,
}

/// The state of one core. The counts are those of its last park.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CoreMetrics {
    /// The CPU that the core is pinned to, if it is.
    pub cpu: Option<usize>,
    /// How its ring is driven; `None` until the core has started.
    pub mode: Option<Mode>,
    /// Why it is not polled, where it is not.
    pub why_not_polled: Option<String>,
    /// The thread id of its poller, if it is polled and `/proc` can tell.
    pub poller_tid: Option<i32>,
    /// System calls of the ring: `io_uring_enter(2)`.
    pub enters: u64,
    /// How many of them woke the poller.
    pub wakeups: u64,
    /// Requests submitted, cancels included.
    pub sqes: u64,
    /// Completions taken.
    pub cqes: u64,
    /// How often the completion queue had overflowed.
    pub overflows: u64,
    /// How often the core went to sleep.
    pub parks: u64,
    /// Operations in flight, or finished and not taken.
    pub operations: u64,
    /// Timers that have not fired.
    pub timers: u64,
}

/// A core's counts, written by its thread alone.
#[derive(Debug, Default)]
pub(crate) struct CoreCounters {
    enters: AtomicU64,
    wakeups: AtomicU64,
    sqes: AtomicU64,
    cqes: AtomicU64,
    overflows: AtomicU64,
    parks: AtomicU64,
    operations: AtomicU64,
    timers: AtomicU64,
}

impl CoreCounters {
    /// Makes the counts visible, at a park.
    pub(crate) fn publish(&self, ring: RingCounts, operations: usize, timers: usize) {
        let RingCounts { enters, wakeups, sqes, cqes, overflows } = ring;
        self.enters.store(enters, Ordering::Relaxed);
        self.wakeups.store(wakeups, Ordering::Relaxed);
        self.sqes.store(sqes, Ordering::Relaxed);
        self.cqes.store(cqes, Ordering::Relaxed);
        self.overflows.store(overflows, Ordering::Relaxed);
        self.operations.store(operations as u64, Ordering::Relaxed);
        self.timers.store(timers as u64, Ordering::Relaxed);
        // One writer, so a load and a store do.
        self.parks.store(self.parks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn read_into(&self, metrics: &mut CoreMetrics) {
        metrics.enters = self.enters.load(Ordering::Relaxed);
        metrics.wakeups = self.wakeups.load(Ordering::Relaxed);
        metrics.sqes = self.sqes.load(Ordering::Relaxed);
        metrics.cqes = self.cqes.load(Ordering::Relaxed);
        metrics.overflows = self.overflows.load(Ordering::Relaxed);
        metrics.parks = self.parks.load(Ordering::Relaxed);
        metrics.operations = self.operations.load(Ordering::Relaxed);
        metrics.timers = self.timers.load(Ordering::Relaxed);
    }
}
