//! Recovering: a core whose ring is gone gets another one, before its futures are driven again.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::context::Core;
use crate::metrics::ReplaceReason;
use crate::owner::Owner;
use crate::{private, signal};

/// A refusal of a new ring may pass: descriptors or memory come free.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A core's worker has found that the core is another process's, or that its ring is not served.
pub(super) fn recover(core: &Core) -> io::Result<()> {
    if core.owner.get().is_here() { ring_lost(core) } else { after_fork(core) }
}

/// An enter has failed with `EOWNERDEAD`. A kernel that has put another poller in the dead one's place has done it by the
/// second enter: then the ring stays, and what came back cancelled is submitted again.
fn ring_lost(core: &Core) -> io::Result<()> {
    let start = Instant::now();
    if !core.reactor.is_dead() {
        // The turn that has failed would have gone on so.
        core.reactor.reap();
        core.timers.fire();
        return Ok(());
    }
    core.reactor.bury();
    reopen(core, ReplaceReason::PollerDied, start)
}

/// This process is a child that somebody has forked, with a copy of the core's thread.
pub(super) fn after_fork(core: &Core) -> io::Result<()> {
    let start = Instant::now();
    core.reactor.disown();
    take_over(core, ReplaceReason::Forked, start)
}

/// Makes the core one of this process, a child of a fork, where it is the only one; its requests have been given up, or
/// called back before.
pub(crate) fn take_over(core: &Core, reason: ReplaceReason, start: Instant) -> io::Result<()> {
    let remote = core.executor.remote();
    private::close_inherited(Some(remote.wakeup().as_fd().as_raw_fd()));
    // Before anything can fail: nobody may start this core a second time.
    super::live().take_over(core);
    remote.renew()?;
    signal::after_fork(true)?;
    // After what can't be had without the child's help: the core's next turn is to fail for it again.
    core.owner.set(Owner::this_process()?);
    reopen(core, reason, start)?;
    core.executor.wake_all();
    Ok(())
}

/// Gives the core a new ring, and submits on it what waits. `start` is when it could not submit any more.
pub(crate) fn reopen(core: &Core, reason: ReplaceReason, start: Instant) -> io::Result<()> {
    let cluster = super::live();
    let mut tries = 0;
    loop {
        match cluster.reopen(core, reason, start, tries == TRIES) {
            Err(error) if tries == TRIES => {
                // The former one, if it is there, is of an identity or a poller that is not to be used any more.
                core.reactor.lose_ring();
                return Err(error);
            }
            Err(_) => {
                tries += 1;
                thread::sleep(BETWEEN_TRIES);
            }
            Ok(()) => return Ok(()),
        }
    }
}
