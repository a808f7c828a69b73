//! Ticks at a fixed period.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::Stream;

use super::far_add;
use super::sleep::{Sleep, sleep_until};

/// What an [`Interval`] does about ticks that were due while nobody awaited it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissedTicks {
    /// Makes up for them at once, then goes on by the original schedule.
    #[default]
    Burst,
    /// Forgets them; the next tick comes a period after the late one.
    Delay,
    /// Forgets them; the next tick is the next one of the original schedule.
    Skip,
}

/// Ticks now and then every `period`.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// #[runtime::main]
/// async fn main() {
///     let start = Instant::now();
///     let mut interval = runtime::time::interval(Duration::from_millis(2));
///     for _ in 0..3 {
///         interval.tick().await;
///     }
///     assert!(start.elapsed() >= Duration::from_millis(4));
/// }
/// ```
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start` and then every `period`.
///
/// # Panics
///
/// If `period` is zero.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// #[runtime::main]
/// async fn main() {
///     let start = Instant::now() + Duration::from_millis(3);
///     let mut interval = runtime::time::interval_at(start, Duration::from_secs(1));
///     assert_eq!(interval.tick().await, start);
/// }
/// ```
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval's period is more than zero");
    Interval { sleep: sleep_until(start), period, missed: MissedTicks::default() }
}

/// Ticks at a fixed period; made by [`interval`] and [`interval_at`]. Also a [`Stream`] of the ticks' instants.
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// Sets what is done about missed ticks; [`MissedTicks::Burst`] if it is not called.
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Starts over: the next tick comes a period from now.
    pub fn reset(&mut self) {
        self.sleep.reset(far_add(Instant::now(), self.period));
    }

    /// Waits for the next tick; the instant at which it was due.
    ///
    /// # Panics
    ///
    /// When polled outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no tick is lost.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let due = self.sleep.deadline();
        ready!(Pin::new(&mut self.sleep).poll(cx));
        self.sleep.reset(self.next(due, Instant::now()));
        Poll::Ready(due)
    }

    fn next(&self, due: Instant, now: Instant) -> Instant {
        let scheduled = far_add(due, self.period);
        if scheduled > now {
            return scheduled;
        }
        match self.missed {
            MissedTicks::Burst => scheduled,
            MissedTicks::Delay => far_add(now, self.period),
            MissedTicks::Skip => {
                let into_period = (now - due).as_nanos() % self.period.as_nanos();
                let rest = self.period.as_nanos() - into_period;
                far_add(now, Duration::from_nanos(u64::try_from(rest).unwrap_or(u64::MAX)))
            }
        }
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_ticks_are_made_up_for_delayed_or_skipped() {
        let due = Instant::now();
        let ms = Duration::from_millis;
        let next = |missed, late| interval_at(due, ms(10)).missed_ticks(missed).next(due, due + late) - due;
        assert_eq!(next(MissedTicks::Burst, ms(3)), ms(10));
        assert_eq!(next(MissedTicks::Burst, ms(34)), ms(10));
        assert_eq!(next(MissedTicks::Delay, ms(34)), ms(44));
        assert_eq!(next(MissedTicks::Skip, ms(34)), ms(40));
        assert_eq!(next(MissedTicks::Skip, ms(30)), ms(40));
        assert_eq!(next(MissedTicks::Skip, ms(3)), ms(10));
    }

    #[test]
    #[should_panic(expected = "more than zero")]
    fn a_period_of_zero_would_tick_for_ever() {
        interval(Duration::ZERO);
    }
}
