//! Pollers that really die, and kernels that misbehave, without a hook in the code under test.
//!
//! The kernel ends a poller with the process that owns it, so a test of a dead poller seems to need the death of the test.
//! Two things make it possible all the same:
//!
//! - **The seam.** The io-uring crate makes its system calls through libc's `syscall` function. A program that defines
//!   a function of that name itself gets the calls instead ([`seam`]): the runtime under test is the very one that is
//!   shipped, and notices nothing. What is none of io_uring's is passed straight on (std's futexes, say).
//! - **The helper.** `io_uring_setup` of a polled ring is carried out by another *process*, which shares this one's memory
//!   and its table of descriptors ([`helper`]). The ring appears in our table, is mapped into our memory, and its poller
//!   works on both; but it belongs to the helper. When the helper is killed, the poller dies as it does after an exec or
//!   after a daemon's parent has gone: what was in flight is cancelled, what was in the queue stays there, and
//!   `io_uring_enter` answers `EOWNERDEAD`. The next ring gets a new helper.
//!
//! A ring that attaches (`IORING_SETUP_ATTACH_WQ`) is set up by the helper of the ring that it attaches to, so that it does
//! share the poller; if that helper is dead, the answer is `ENXIO`, which is the kernel's for a dead poller of one's own.
//! (Asked by another process the kernel would start a second poller without a word.)
//!
//! **What is different** from a ring of one's own: the poller is not among `/proc/self/task`, and `io_uring_register` fails
//! with `EEXIST`, because the only issuer of such a ring is the helper. The runtime registers nothing.
//!
//! Without a [`Session`] the seam only passes on. Sessions exclude each other, because the pollers of a session are all the
//! pollers of this process. Whatever happens to the test, no helper is left: a session ends its own, and they die with the
//! thread that started them.
#![cfg(target_arch = "x86_64")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(
    unsafe_code,
    reason = "defines a C function, makes raw system calls and starts a process on its memory"
)]

mod helper;
pub mod load;
pub mod run_load;
pub mod scene;
mod seam;
pub mod watchdog;

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use runtime::{Builder, Mode};

/// What the seam does to `io_uring_enter` on polled rings.
pub use seam::faults;

/// One test's time with mortal pollers: those made while it lives. To be held longer than the runtime.
pub struct Session {
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has nothing to do with the next one.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on pollers are mortal.
pub fn session() -> Session {
    let session = Session { _alone: alone() };
    helper::divert(true);
    session
}

/// A session with pollers of this process, which can't be killed: for what the seam does to `io_uring_enter`.
pub fn session_of_faults() -> Session {
    Session { _alone: alone() }
}

impl Drop for Session {
    fn drop(&mut self) {
        faults::none();
        helper::divert(false);
        kill();
    }
}

/// Runs a future on a runtime with mortal pollers, and sees to it that it ends.
pub fn run<F: Future>(builder: Builder, main: F) -> F::Output {
    let (_session, _watchdog) = (session(), watchdog::Watchdog::new());
    crate::common::run_on(builder, Mode::Polled, main)
}

/// As [`run`], in a session of faults.
pub fn run_with_faults<F: Future>(builder: Builder, main: F) -> F::Output {
    let (_session, _watchdog) = (session_of_faults(), watchdog::Watchdog::new());
    crate::common::run_on(builder, Mode::Polled, main)
}

/// Waits until this runtime's core has parked with its ring replaced so many times, for the death of its poller only.
pub async fn until_replaced(core: usize, deaths: u64) {
    let all = Replaced { total: deaths, poller_died: deaths };
    crate::common::until(&format!("{deaths} new rings of core {core}"), || replaced(core) == all).await;
}

/// Kills every poller of the session, and returns when they are dead: how many that were. From any thread.
pub fn kill() -> usize {
    helper::kill(..)
}

/// Kills the poller that was made `nth`, counted from 0, among those alive.
pub fn kill_nth(nth: usize) -> usize {
    helper::kill(nth..=nth)
}

/// How many pollers of the session live.
pub fn alive() -> usize {
    helper::alive()
}

/// How often the ring of a core has been replaced since the core started, as of its last park.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    pub total: u64,
    pub poller_died: u64,
}

pub fn replaced(core: usize) -> Replaced {
    let replaced = runtime::metrics().cores[core].replaced;
    Replaced { total: replaced.total(), poller_died: replaced.poller_died }
}

/// A generator of random numbers (xorshift64*): the same ones for the same seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Small seeds would start with small numbers, and 0 would stay 0.
        let mut random = Random(seed ^ 0x9E37_79B9_7F4A_7C15);
        random.below(1);
        random
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % limit
    }
}
