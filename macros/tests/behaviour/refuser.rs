//! A runtime that can't be built: no option makes the real one refuse on every machine.

use std::convert::Infallible;

pub(crate) struct Builder;

impl Builder {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn build(self) -> Result<Runtime, &'static str> {
        Err("refused")
    }
}

pub(crate) struct Runtime(Infallible);

impl Runtime {
    pub(crate) fn block_on<F: Future>(&self, _future: F) -> F::Output {
        match self.0 {}
    }
}

pub(crate) mod __private {
    /// The real one ends the process, which a test can't watch from within.
    pub(crate) fn build_failed(error: &str) -> ! {
        panic!("build_failed: {error}");
    }
}
