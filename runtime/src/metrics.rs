//! What a runtime's cores are doing, readable at run time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    /// The CPU that its poller ran on last.
    pub poller_cpu: Option<usize>,
    /// The share of its poller's time, from 0 to 1, that went into requests and not into looking for some. Linux 6.8.
    pub poller_utilisation: Option<f64>,
    /// How often its ring was replaced.
    pub replaced: Replaced,
    /// The last time that its ring was replaced.
    pub last_replacement: Option<Replacement>,
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

/// Why a ring was replaced; see [`guard`](crate::guard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplaceReason {
    /// The poller had died: `EOWNERDEAD`.
    PollerDied,
    /// The process is the child of a fork that the runtime was not told of.
    Forked,
    /// The process has become a daemon.
    Daemonized,
    /// The process has got another identity.
    Identity,
}

impl ReplaceReason {
    const ALL: [Self; 4] = [Self::PollerDied, Self::Forked, Self::Daemonized, Self::Identity];

    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PollerDied => "the poller died",
            Self::Forked => "the process was forked",
            Self::Daemonized => "the process became a daemon",
            Self::Identity => "the process changed its identity",
        }
    }
}

/// How often a core's ring was replaced, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replaced {
    /// See [`ReplaceReason::PollerDied`].
    pub poller_died: u64,
    /// See [`ReplaceReason::Forked`].
    pub forked: u64,
    /// See [`ReplaceReason::Daemonized`].
    pub daemonized: u64,
    /// See [`ReplaceReason::Identity`].
    pub identity: u64,
}

impl Replaced {
    /// For whatever reason.
    pub fn total(&self) -> u64 {
        let Replaced { poller_died, forked, daemonized, identity } = *self;
        poller_died + forked + daemonized + identity
    }
}

/// A ring that was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replacement {
    /// Why.
    pub reason: ReplaceReason,
    /// How long the core was without a ring to submit on.
    pub duration: Duration,
    /// Requests that waited for it: those that had been in flight, undone, and those started meanwhile.
    pub carried: u64,
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
    /// In the order of `ReplaceReason::ALL`.
    replaced: [AtomicU64; 4],
    last_reason: AtomicU64,
    last_nanos: AtomicU64,
    last_carried: AtomicU64,
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

    /// Notes that the ring was replaced.
    pub(crate) fn replaced(&self, replacement: Replacement) {
        let Replacement { reason, duration, carried } = replacement;
        self.last_reason.store(reason as u64, Ordering::Relaxed);
        self.last_nanos.store(duration.as_nanos() as u64, Ordering::Relaxed);
        self.last_carried.store(carried, Ordering::Relaxed);
        let count = &self.replaced[reason as usize];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn read_replaced_into(&self, metrics: &mut CoreMetrics) {
        let [poller_died, forked, daemonized, identity] =
            self.replaced.each_ref().map(|count| count.load(Ordering::Acquire));
        metrics.replaced = Replaced { poller_died, forked, daemonized, identity };
        let reason = ReplaceReason::ALL.get(self.last_reason.load(Ordering::Relaxed) as usize);
        metrics.last_replacement =
            reason.filter(|_| metrics.replaced.total() > 0).map(|&reason| Replacement {
                reason,
                duration: Duration::from_nanos(self.last_nanos.load(Ordering::Relaxed)),
                carried: self.last_carried.load(Ordering::Relaxed),
            });
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
        self.read_replaced_into(metrics);
    }
}
