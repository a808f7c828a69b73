//! A ring in one of two modes, and how the thread waits on it.

use std::{hint, io};

use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue};

use super::super::{POLLER_IDLE_MS, RING_ENTRIES};
use super::Settings;
use crate::sides::Mode;

/// Looks at the ring before the thread parks, if it spins.
const SPINS: u32 = 20_000;
/// Room for the completions of many connections at once.
const COMPLETIONS_PER_ENTRY: u32 = 4;

/// The ring.
pub(super) struct Ring {
    inner: IoUring,
    mode: Mode,
    spin: bool,
}

impl Ring {
    /// Opens it.
    pub(super) fn new(settings: Settings) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_cqsize(RING_ENTRIES * COMPLETIONS_PER_ENTRY);
        match settings.mode {
            Mode::Polled => builder.setup_sqpoll(POLLER_IDLE_MS),
            Mode::Entered => builder.setup_defer_taskrun().setup_taskrun_flag(),
        };
        Ok(Ring { inner: builder.build(RING_ENTRIES)?, mode: settings.mode, spin: settings.spin })
    }

    /// To register things with.
    pub(super) fn submitter(&self) -> Submitter<'_> {
        self.inner.submitter()
    }

    /// Queues a request; the kernel gets it at the next `reap` at the latest.
    ///
    /// # Safety
    ///
    /// What the request names, memory and descriptors, must stay as it is until its last completion.
    pub(super) unsafe fn push(&mut self, request: squeue::Entry) -> io::Result<()> {
        // SAFETY: the caller's promise.
        while unsafe { self.inner.submission().push(&request) }.is_err() {
            self.inner.submit()?;
            if self.mode == Mode::Polled {
                self.inner.submitter().squeue_wait()?;
            }
        }
        Ok(())
    }

    /// Submits what was queued, waits for at least one completion and takes all that there are.
    pub(super) fn reap(&mut self, completed: &mut Vec<cqueue::Entry>) -> io::Result<()> {
        while completed.is_empty() {
            match self.wait() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            completed.extend(self.inner.completion());
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.mode {
            Mode::Polled => {
                // Only a wake-up of a sleeping poller is a system call.
                self.inner.submit()?;
                let spins = if self.spin { SPINS } else { 1 };
                if self.spins_until(spins, |ring| Ok(ring.has_completions()))? {
                    return Ok(());
                }
            }
            Mode::Entered if self.spin => {
                self.enter()?;
                if self.spins_until(SPINS, Ring::has_completions_or_work)? {
                    return Ok(());
                }
            }
            Mode::Entered => {}
        }
        self.inner.submit_and_wait(1).map(drop)
    }

    /// Looks up to so many times; true as soon as there is something.
    fn spins_until(&mut self, spins: u32, look: impl Fn(&mut Ring) -> io::Result<bool>) -> io::Result<bool> {
        for _ in 0..spins {
            if look(self)? {
                return Ok(true);
            }
            hint::spin_loop();
        }
        Ok(false)
    }

    fn has_completions(&mut self) -> bool {
        !self.inner.completion().is_empty()
    }

    /// Completions are there, or the kernel says that entering will make some: then it is entered.
    fn has_completions_or_work(&mut self) -> io::Result<bool> {
        if self.inner.submission().taskrun() {
            self.enter()?;
        }
        Ok(self.has_completions())
    }

    /// Submits and runs the deferred work, without waiting.
    fn enter(&mut self) -> io::Result<()> {
        let queued = self.inner.submission().len() as u32;
        let submitter = self.inner.submitter();
        // SAFETY: no argument is passed, and the count is of entries that are in the queue.
        unsafe { submitter.enter::<libc::sigset_t>(queued, 0, EnterFlags::GETEVENTS.bits(), None)? };
        Ok(())
    }
}
