//! The loop of a core: run tasks, publish, reap, fire timers; with nothing to do spin briefly, then park.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::context::Core;
use crate::metrics::CoreCounters;
use crate::signal;

/// Counts the CPUs that no core and no poller of the runtime occupies. Where there is none to spare, looking for work instead
/// of sleeping takes a CPU from whoever has to run for work to arrive: then a core yields while it looks.
#[derive(Debug)]
pub(crate) struct SpareCpus(AtomicIsize);

impl SpareCpus {
    /// For cores that run on `usable` CPUs, beside so many pollers.
    pub(crate) fn new(usable: usize, pollers: usize) -> Self {
        SpareCpus(AtomicIsize::new(usable as isize - pollers as isize))
    }

    /// Another core has started.
    pub(crate) fn occupy(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// How many tasks run before completions are looked at again: a task that is always ready can't starve the reactor.
const TASKS_PER_TURN: usize = 64;

/// The thread that owns a core's executor and reactor.
pub(crate) struct Worker {
    core: Rc<Core>,
    spin: Spin,
    spare: Arc<SpareCpus>,
    counters: Arc<CoreCounters>,
    /// Gives a core another ring, or makes it one of another process.
    recover: fn(&Core) -> io::Result<()>,
}

impl Worker {
    /// A worker that spins for `spin_max` at most, and yields in between if there are no CPUs to `spare`.
    pub(crate) fn new(
        core: Rc<Core>,
        spin_max: Duration,
        spare: Arc<SpareCpus>,
        counters: Arc<CoreCounters>,
        recover: fn(&Core) -> io::Result<()>,
    ) -> Self {
        Worker { core, spin: Spin::new(spin_max), spare, counters, recover }
    }

    /// Drives this core until `main` is ready.
    ///
    /// # Errors
    ///
    /// An error of `io_uring_enter(2)` that no later turn would get over, or the kernel's refusal of a new ring.
    pub(crate) fn run_main<F: Future>(&mut self, main: F) -> io::Result<F::Output> {
        let _entered = self.core.enter();
        // Pinned here, so that it is dropped on its core.
        let mut main = pin!(main);
        let waker = self.core.executor.main_waker();
        let mut cx = Context::from_waker(&waker);
        waker.wake_by_ref();
        let _main = self.core.executor.has_main();
        loop {
            self.check_owner()?;
            if self.core.executor.take_main_woken()
                && let Poll::Ready(output) = main.as_mut().poll(&mut cx)
            {
                return Ok(output);
            }
            self.turn()?;
        }
    }

    /// Drives this core until another thread stops it.
    ///
    /// # Errors
    ///
    /// As for `run_main`.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let _entered = self.core.enter();
        while !self.core.executor.is_stopped() {
            self.check_owner()?;
            self.turn()?;
        }
        Ok(())
    }

    /// Before anything is driven: is this still the process that the core works for?
    fn check_owner(&mut self) -> io::Result<()> {
        if self.core.owner.get().is_here() { Ok(()) } else { (self.recover)(&self.core) }
    }

    fn turn(&mut self) -> io::Result<()> {
        match self.turn_on_ring() {
            Err(error) if error.raw_os_error() == Some(libc::EOWNERDEAD) => (self.recover)(&self.core),
            result => result,
        }
    }

    fn turn_on_ring(&mut self) -> io::Result<()> {
        let Core { executor, reactor, timers, .. } = &*self.core;
        executor.run(TASKS_PER_TURN);
        if let Some(errand) = executor.next_errand() {
            return errand();
        }
        let idle = !executor.has_work();
        if !idle || self.spin.is_on() || reactor.publishes_for_free() {
            reactor.publish()?;
        }
        let reaped = reactor.reap();
        timers.fire();
        if idle && reaped == 0 && !executor.has_work() && !executor.is_stopped() {
            self.wait()?;
        }
        Ok(())
    }

    /// Nothing to do: waits for something, first by looking, then asleep.
    fn wait(&mut self) -> io::Result<()> {
        let Core { executor, reactor, timers, .. } = &*self.core;
        let timeout = timers.next();
        if self.spin.until(timeout, !self.spare.any(), || reactor.has_completions() || executor.has_work()) {
            return Ok(());
        }
        // Whoever wanted to listen for a signal that was held back has had the chance.
        signal::unblock_handed_over()?;
        if !executor.park() {
            return Ok(());
        }
        self.counters.publish(reactor.counts(), reactor.slots_in_use(), timers.len());
        let start = Instant::now();
        let result = reactor.wait(timers.next());
        self.spin.slept(start.elapsed());
        executor.unpark();
        result
    }

    /// Ends all tasks, cancels all I/O and waits for the kernel until `deadline`; the core is of no use afterwards. Returns
    /// how many operations the kernel kept.
    pub(crate) fn shut_down(&mut self, deadline: Instant) -> usize {
        let _entered = self.core.enter();
        if !self.core.owner.get().is_here() {
            // Of the tasks, those that a lost thread was about to queue would never end.
            self.core.executor.wake_all();
        }
        self.core.executor.end_tasks();
        let kept = self.core.reactor.shut_down(deadline);
        self.core.executor.close();
        kept
    }
}

/// How long a core looks for work before it sleeps: as long as that tends to pay, up to a limit.
///
/// Sleeping and being woken costs more than looking for a while, if the wait is short. So after a sleep that looking would
/// have avoided, the core looks longer next time, and after a long one it looks less, down to not at all: an idle core
/// sleeps at once.
struct Spin {
    max: Duration,
    current: Duration,
}

impl Spin {
    /// Where growing starts, and below which shrinking ends.
    const MIN: Duration = Duration::from_micros(4);
    /// Looks before the first look at the clock.
    const LOOKS: u32 = 32;

    fn new(max: Duration) -> Self {
        Spin { max, current: max }
    }

    fn is_on(&self) -> bool {
        !self.current.is_zero()
    }

    /// Looks until `found` says so (`true`), or the time is up, or `timeout` is nearer than that. `politely`: in longer and
    /// longer intervals the CPU is offered to others, which costs nothing but the call if nobody wants it.
    fn until(&self, timeout: Option<Duration>, politely: bool, mut found: impl FnMut() -> bool) -> bool {
        let limit = timeout.map_or(self.current, |timeout| timeout.min(self.current));
        if limit.is_zero() {
            return false;
        }
        let start = Instant::now();
        let mut looks = Self::LOOKS;
        while start.elapsed() < limit {
            for _ in 0..looks {
                if found() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if politely {
                std::thread::yield_now();
                looks *= 2;
            }
        }
        false
    }

    /// Learns from a sleep.
    fn slept(&mut self, slept: Duration) {
        self.current = if slept <= self.max {
            (self.current * 2).clamp(Self::MIN.min(self.max), self.max)
        } else if self.current > Self::MIN {
            self.current / 2
        } else {
            Duration::ZERO
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_grows_with_short_sleeps_and_stops_with_long_ones() {
        let mut spin = Spin::new(Duration::from_micros(50));
        for _ in 0..10 {
            spin.slept(Duration::from_secs(1));
        }
        assert!(!spin.is_on());
        assert!(!spin.until(None, false, || unreachable!("it does not look")));
        for _ in 0..10 {
            spin.slept(Duration::from_micros(20));
        }
        assert_eq!(spin.current, spin.max);
        assert!(spin.until(None, false, || true));
    }

    #[test]
    fn spinning_that_is_off_stays_off() {
        let mut spin = Spin::new(Duration::ZERO);
        spin.slept(Duration::ZERO);
        assert!(!spin.is_on());
    }
}
