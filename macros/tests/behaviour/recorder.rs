//! The real runtime, with a note of each call that a function under the attributes makes. It builds with the real
//! builder's defaults, whatever is asked: not every machine has such CPUs.

use std::cell::RefCell;
use std::fmt::Display;

pub(crate) use ::runtime::{__private, BuildError, Cores, Mode};

thread_local! {
    static CALLS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn note(call: impl Into<String>) {
    CALLS.with_borrow_mut(|calls| calls.push(call.into()));
}

/// The calls that `function` makes.
pub(crate) fn calls_of(function: fn()) -> Vec<String> {
    CALLS.take();
    function();
    CALLS.take()
}

pub(crate) struct Builder;

impl Builder {
    pub(crate) fn new() -> Self {
        note("new");
        Self
    }

    pub(crate) fn cores(self, cores: impl Into<Cores>) -> Self {
        match cores.into() {
            Cores::Count(count) => self.noting("cores", count),
            Cores::All => self.noting("cores", "all"),
            Cores::List(cpus) => self.noting("cores", format!("{cpus:?}")),
        }
    }

    pub(crate) fn mode(self, mode: Mode) -> Self {
        match mode {
            Mode::Polled => self.noting("mode", "polled"),
            Mode::Entered => self.noting("mode", "entered"),
        }
    }

    pub(crate) fn pin(self, pin: bool) -> Self {
        self.noting("pin", pin)
    }

    pub(crate) fn entries(self, entries: u32) -> Self {
        self.noting("entries", entries)
    }

    pub(crate) fn poller_cpu(self, cpu: usize) -> Self {
        self.noting("poller_cpu", cpu)
    }

    pub(crate) fn poller_idle_ms(self, idle_ms: u32) -> Self {
        self.noting("poller_idle_ms", idle_ms)
    }

    pub(crate) fn pollers(self, pollers: usize) -> Self {
        self.noting("pollers", pollers)
    }

    pub(crate) fn spin_us_max(self, spin_us_max: u32) -> Self {
        self.noting("spin_us_max", spin_us_max)
    }

    pub(crate) fn shutdown_ms(self, shutdown_ms: u64) -> Self {
        self.noting("shutdown_ms", shutdown_ms)
    }

    pub(crate) fn blocking_threads_max(self, threads_max: usize) -> Self {
        self.noting("blocking_threads_max", threads_max)
    }

    pub(crate) fn build(self) -> Result<Runtime, BuildError> {
        note("build");
        ::runtime::Builder::new().build().map(Runtime)
    }

    fn noting(self, method: &str, value: impl Display) -> Self {
        note(format!("{method} {value}"));
        self
    }
}

pub(crate) struct Runtime(::runtime::Runtime);

impl Runtime {
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        note("block_on");
        self.0.block_on(future)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        note("drop");
    }
}
