//! A running child.

use std::fmt;
use std::io;
use std::process::{ExitStatus, Output};

use futures::future::try_join3;

use super::pidfd::Pidfd;
use super::pipes::{ChildStderr, ChildStdin, ChildStdout};
use super::started::Started;
use crate::fd::Fd;
use crate::signal::SignalKind;

/// A child process, started by [`Command::spawn`](super::Command::spawn).
///
/// Dropping it does not end the child, unless [`kill_on_drop`](super::Command::kill_on_drop) was set; it closes the
/// pipes. Either way the runtime reaps the child when it has ended, as long as there is a runtime, so that no zombie
/// stays.
///
/// It belongs to the process that spawned it: after a fork, in the other process, waiting is an error of `ECHILD`, and
/// dropping it does nothing to the child.
pub struct Child {
    pid: u32,
    /// `None` only while it is being dropped.
    process: Option<Pidfd>,
    kill_on_drop: bool,
    /// Its standard input, if that was piped: to be written, and closed for the child to see the end.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// Its standard error, if that was piped.
    pub stderr: Option<ChildStderr>,
}

impl Child {
    pub(super) fn new(mut started: Started) -> Self {
        let process = started.process.take().expect("it is taken once");
        Child {
            pid: started.pid,
            process: Some(Pidfd::from_owned(process)),
            kill_on_drop: started.kill_on_drop,
            stdin: started.stdin.take().map(|fd| ChildStdin::new(Fd::new(fd))),
            stdout: started.stdout.take().map(|fd| ChildStdout::new(Fd::new(fd))),
            stderr: started.stderr.take().map(|fd| ChildStderr::new(Fd::new(fd))),
        }
    }

    fn process(&self) -> &Pidfd {
        self.process.as_ref().expect("a child that can be reached is there")
    }

    /// Its process id. Once it has been waited for, the number may be another process's.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Closes the child's standard input, if that is still in [`stdin`](Child::stdin), and waits until the child has
    /// ended. When it has, it gives the same each time. `waitid(2)`.
    ///
    /// # Errors
    ///
    /// `ECHILD` in another process than the one that spawned the child, or if something else in this one has reaped it,
    /// for which it is enough that `SIGCHLD` is ignored; `ECANCELED` when the runtime shuts down.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is lost but the standard input.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::process::{Command, Stdio};
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let mut child = Command::new("sh").args(["-c", "read x; exit 7"]).stdin(Stdio::piped()).spawn().await?;
    ///     assert_eq!(child.try_wait()?, None);
    ///     assert_eq!(child.wait().await?.code(), Some(7));
    ///     assert_eq!(child.wait().await?.code(), Some(7));
    ///     Ok(())
    /// }
    /// ```
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Else a child that reads to the end and a parent that waits for it would wait for each other.
        drop(self.stdin.take());
        self.process().wait().await
    }

    /// How the child has ended, if it has. Leaves its standard input open.
    ///
    /// # Errors
    ///
    /// `ECHILD` as for [`wait`](Child::wait).
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process().try_wait()
    }

    /// Waits until the child has ended and closed its pipes, and gives what it has written to them, if they are still in
    /// [`stdout`](Child::stdout) and [`stderr`](Child::stderr). Closes its standard input first.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Child::wait) and of `read(2)`; `OutOfMemory`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, so is the child, and what has been read is lost.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        // Both at a time: a child that fills the one while the other is read would never end.
        let stdout = async move {
            let Some(stdout) = stdout else { return Ok(Vec::new()) };
            let (result, bytes) = stdout.read_to_end(Vec::new()).await;
            result.map(|_| bytes)
        };
        let stderr = async move {
            let Some(stderr) = stderr else { return Ok(Vec::new()) };
            let (result, bytes) = stderr.read_to_end(Vec::new()).await;
            result.map(|_| bytes)
        };
        let (status, stdout, stderr) = try_join3(self.wait(), stdout, stderr).await?;
        Ok(Output { status, stdout, stderr })
    }

    /// Sends the child a signal. It never reaches another process. `pidfd_send_signal(2)`.
    ///
    /// # Errors
    ///
    /// `ESRCH` if the child has been waited for; `EPERM` if it has taken on another user's rights; `EINVAL` if there is
    /// no such signal.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// use runtime::process::{Command, Stdio};
    /// use runtime::signal::SignalKind;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().await?;
    ///     child.signal(SignalKind::TERMINATE)?;
    ///     assert_eq!(child.wait().await?.signal(), Some(SignalKind::TERMINATE.as_raw()));
    ///     Ok(())
    /// }
    /// ```
    pub fn signal(&self, kind: SignalKind) -> io::Result<()> {
        self.process().signal(kind)
    }

    /// Ends the child with `SIGKILL`, without waiting until it has ended; one that is gone already is no error.
    ///
    /// # Errors
    ///
    /// `EPERM` if it has taken on another user's rights.
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.process().kill()
    }

    /// Ends the child with `SIGKILL` and waits until it has ended.
    ///
    /// # Errors
    ///
    /// Those of [`start_kill`](Child::start_kill) and [`wait`](Child::wait).
    ///
    /// # Cancel safety
    ///
    /// Once it has been polled, the child is killed.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.start_kill()?;
        self.wait().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.leave(self.kill_on_drop);
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("pid", &self.pid)
            .field("stdin", &self.stdin)
            .field("stdout", &self.stdout)
            .field("stderr", &self.stderr)
            .finish_non_exhaustive()
    }
}
