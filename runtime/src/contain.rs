//! Keeps panics in code of others - wakers, destructors - from getting into our own.
//!
//! Such a panic has been reported by the panic hook. It must not keep the runtime from waking the other tasks or from freeing
//! what it holds, and there is nobody to hand it to.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Calls `f`, and goes on if it panics.
pub(crate) fn contain_panic(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        // Its destructor might panic in turn.
        mem::forget(payload);
    }
}

/// Wakes all of them, whatever any of them does.
pub(crate) fn wake_all(wakers: &mut Vec<Waker>) {
    for waker in wakers.drain(..) {
        contain_panic(|| waker.wake());
    }
}
