//! The parent's handle to a worker process.

use std::io;
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::process::Pidfd;
use crate::signal::SignalKind;

/// A worker that [`fork_worker`](super::fork_worker) has started.
///
/// Dropping it does not end the worker, whose end is then waited for in the background, so that it leaves no zombie.
#[derive(Debug)]
pub struct Worker {
    pid: u32,
    /// `None` only while it is being dropped.
    pidfd: Option<Pidfd>,
}

impl Worker {
    /// # Errors
    ///
    /// Those of `pidfd_open(2)`: then the child, which nobody could reach, has been ended.
    pub(super) fn of_child(pid: libc::pid_t) -> io::Result<Self> {
        let child = Pid::from_raw(pid);
        match Pidfd::open(pid.unsigned_abs()) {
            Ok(pidfd) => Ok(Worker { pid: pid.unsigned_abs(), pidfd: Some(pidfd) }),
            Err(error) => {
                // It is a child that nobody has waited for, so the id is its own.
                let _ = kill(child, Signal::SIGKILL).and_then(|()| waitpid(child, None));
                Err(error)
            }
        }
    }

    fn pidfd(&self) -> &Pidfd {
        self.pidfd.as_ref().expect("it is there until it is dropped")
    }

    /// Its process id. It is the worker's until it has been waited for.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended; gives how. Again afterwards, at once.
    ///
    /// # Errors
    ///
    /// `ECHILD` if it is not a child of this process: in a process that was forked since, or where `SIGCHLD` is ignored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call gives the status.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.pidfd().wait().await
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Worker::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.pidfd().try_wait()
    }

    /// Sends it a signal, and never another process that has got its id since. `pidfd_send_signal(2)`.
    ///
    /// # Errors
    ///
    /// `ESRCH` if it has been waited for.
    pub fn kill(&self, signal: SignalKind) -> io::Result<()> {
        self.pidfd().signal(signal)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pidfd) = self.pidfd.take() {
            pidfd.leave(false);
        }
    }
}
