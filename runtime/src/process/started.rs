//! A child on its way from the thread that spawned it to its core.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::child::Child;
use super::pidfd::{in_background, reap_at_the_end};
use crate::sys;
use crate::task::JoinHandle;

/// What the thread has got. It is no [`Child`] yet, because that belongs to a core.
pub(super) struct Started {
    pub(super) pid: u32,
    /// `None` once the core has it.
    pub(super) process: Option<OwnedFd>,
    pub(super) kill_on_drop: bool,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

impl Started {
    /// Takes over a child that has just been spawned. If that fails, it is as if it had never been.
    pub(super) fn new(mut child: std::process::Child, kill_on_drop: bool) -> io::Result<Self> {
        // The number is the child's until it is reaped, which nobody does before this returns.
        let process = match sys::process::pidfd_open(child.id()) {
            Ok(process) => process,
            Err(error) => {
                // Where `SIGCHLD` is ignored, the kernel reaps, and the number may be another's already.
                if error.raw_os_error() != Some(libc::ESRCH) {
                    let _ = child.kill().and_then(|()| child.wait());
                }
                return Err(error);
            }
        };
        Ok(Started {
            pid: child.id(),
            process: Some(process),
            kill_on_drop,
            stdin: child.stdin.take().map(OwnedFd::from),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            reap_at_the_end(process.as_fd(), self.kill_on_drop);
        }
    }
}

/// A spawn that is under way.
pub(super) struct Spawning(Option<JoinHandle<io::Result<Started>>>);

impl Spawning {
    pub(super) fn new(handle: JoinHandle<io::Result<Started>>) -> Self {
        Spawning(Some(handle))
    }

    /// Waits for the child. If the future is dropped, so is the child.
    pub(super) async fn child(mut self) -> io::Result<Child> {
        let handle = self.0.as_mut().expect("it is under way");
        let started = handle.await;
        self.0 = None;
        Ok(Child::new(started??))
    }
}

impl Drop for Spawning {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take() {
            // If it has not begun, it never does.
            handle.abort();
            in_background(async move {
                if let Ok(Ok(started)) = handle.await {
                    drop(Child::new(started));
                }
            });
        }
    }
}
