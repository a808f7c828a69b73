//! A child process by its descriptor: waiting for it, signals to it, and what becomes of one that nobody waits for.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;

use crate::fd::Fd;
use crate::signal::SignalKind;
use crate::{context, op, sys};

/// How long a killed child gets to end where nobody can wait for it any other way: a process that is not in the middle
/// of something uninterruptible takes less than a millisecond.
const KILLED_WAIT_MS: i32 = 1000;

/// A child process. Dropping it neither ends the child nor reaps it: see [`Pidfd::leave`].
pub(crate) struct Pidfd {
    fd: Fd,
    /// How it ended, once that has been reaped.
    status: Cell<Option<ExitStatus>>,
}

impl Pidfd {
    /// Of a child of this process that nobody has reaped: else the number may be another's already.
    ///
    /// # Errors
    ///
    /// Those of `pidfd_open(2)`.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        sys::process::pidfd_open(pid).map(Self::from_owned)
    }

    pub(super) fn from_owned(fd: OwnedFd) -> Self {
        Pidfd { fd: Fd::new(fd), status: Cell::new(None) }
    }

    /// How the child has ended, if it has; the same each time.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it is not a child of this process, which has been forked since, or if somebody else has reaped it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.get().is_none() {
            self.status.set(sys::process::reap(self.fd.as_fd())?);
        }
        Ok(self.status.get())
    }

    /// Waits until the child has ended. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// As for `try_wait`; `ECANCELED` when the runtime shuts down.
    pub(crate) async fn wait(&self) -> io::Result<ExitStatus> {
        let mut forked = false;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            match op::poll(&self.fd, libc::POLLIN as u32).await {
                Ok(_) => {}
                // The request belonged to the parent, as the child does; ask again whose it is, for the right error.
                Err(error) if error.raw_os_error() == Some(libc::EOWNERDEAD) && !forked => forked = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it has been reaped; `EPERM` if it has another user's rights; `EINVAL` if there is no such signal.
    pub(crate) fn signal(&self, kind: SignalKind) -> io::Result<()> {
        sys::process::pidfd_send_signal(self.fd.as_fd(), kind.as_raw())
    }

    /// Ends a child whatever it does.
    ///
    /// # Errors
    ///
    /// As for `signal`, but one that is gone is none.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self.signal(SignalKind::from_raw(libc::SIGKILL)) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Gives up waiting: the child is reaped by a task of this core when it ends, by its own or, with `kill`, at once.
    pub(crate) fn leave(self, kill: bool) {
        // It has been reaped now, or is not ours, to kill least of all.
        if !matches!(self.try_wait(), Ok(None)) {
            return;
        }
        let left = Left { pidfd: self, kill };
        if kill {
            let _ = left.pidfd.kill();
        }
        in_background(async move {
            // With an error, it is not ours or the runtime ends.
            let _ = left.pidfd.wait().await;
        });
    }
}

impl fmt::Debug for Pidfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pidfd").field("fd", &self.fd).field("status", &self.status.get()).finish()
    }
}

/// Runs a future that nobody awaits on this core; drops it where there is none, or when the runtime ends.
pub(super) fn in_background(future: impl Future<Output = ()> + 'static) {
    if context::current().is_some() {
        drop(crate::spawn(future));
    }
}

/// A child that nobody waits for but a task.
struct Left {
    pidfd: Pidfd,
    kill: bool,
}

impl Drop for Left {
    fn drop(&mut self) {
        if self.pidfd.status.get().is_none() {
            reap_at_the_end(self.pidfd.fd.as_fd(), self.kill);
        }
    }
}

/// What can be done for a child where there is no ring to wait with.
pub(super) fn reap_at_the_end(child: BorrowedFd<'_>, kill: bool) {
    // Errors say that it is not ours to reap.
    if kill && matches!(sys::process::reap(child), Ok(None)) {
        let _ = sys::process::pidfd_send_signal(child, libc::SIGKILL);
        let _ = sys::process::wait_for_end(child, KILLED_WAIT_MS);
    }
    let _ = sys::process::reap(child);
}
