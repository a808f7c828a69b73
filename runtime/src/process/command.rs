//! What to run, and how it is started.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::ops::DerefMut;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::child::Child;
use super::started::{Spawning, Started};
use crate::context;
use crate::owner::Owner;

/// Builds a child process: `std`'s [`Command`](std::process::Command), spawned without blocking the core.
///
/// Unless told otherwise the child inherits the environment, the working directory and, but for
/// [`output`](Command::output), the standard streams.
///
/// # Examples
///
/// ```
/// use runtime::process::Command;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let output = Command::new("sh").args(["-c", "echo $WHO"]).env("WHO", "you").output().await?;
///     assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"you\n"[..]));
///     Ok(())
/// }
/// ```
pub struct Command {
    /// Shared with the thread that spawns, which holds the lock while it does.
    std: Arc<Mutex<std::process::Command>>,
    /// The process that has last spawned it.
    spawned_in: Option<Owner>,
    kill_on_drop: bool,
    /// Which of the standard streams have been set.
    set: [bool; 3],
}

/// How to set one of the standard streams.
type SetStream = fn(&mut std::process::Command, Stdio) -> &mut std::process::Command;
const STREAMS: [SetStream; 3] =
    [std::process::Command::stdin, std::process::Command::stdout, std::process::Command::stderr];

fn lock(std: &Mutex<std::process::Command>) -> MutexGuard<'_, std::process::Command> {
    // Spawning does not leave a command half changed.
    std.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fork came while the command was being spawned: the thread that has it is the parent's only.
fn lost() -> io::Error {
    io::Error::from_raw_os_error(libc::EOWNERDEAD)
}

impl Command {
    /// Runs `program`, which is looked for in `PATH` unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::from(std::process::Command::new(program))
    }

    /// Waits for a spawn whose future was dropped; `None` if it will never return.
    fn std(&self) -> Option<MutexGuard<'_, std::process::Command>> {
        match self.std.try_lock() {
            Err(TryLockError::WouldBlock) if self.spawned_in.is_some_and(|owner| !owner.is_here()) => None,
            Err(TryLockError::WouldBlock) => Some(lock(&self.std)),
            Err(TryLockError::Poisoned(std)) => Some(std.into_inner()),
            Ok(std) => Some(std),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut std::process::Command)) -> &mut Self {
        // Spawning is what reports that it is lost.
        if let Some(mut std) = self.std() {
            change(&mut std);
        }
        self
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.change(|std| _ = std.arg(arg))
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.change(|std| _ = std.args(args))
    }

    /// Sets the name that the program is told it has, its argument 0, instead of the one it is started by.
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.change(|std| _ = std.arg0(name))
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.change(|std| _ = std.env(key, value))
    }

    /// Sets variables of the environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        self.change(|std| _ = std.envs(variables))
    }

    /// Removes a variable from the environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.change(|std| _ = std.env_remove(key))
    }

    /// Inherits no variables, and forgets those that have been set.
    pub fn env_clear(&mut self) -> &mut Self {
        self.change(|std| _ = std.env_clear())
    }

    /// Sets the working directory.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.change(|std| _ = std.current_dir(directory))
    }

    /// What the standard input is; inherited if not set, but for [`output`](Command::output), where it is empty.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.stream(0, stdin.into())
    }

    /// What the standard output is; inherited if not set, but for [`output`](Command::output), which captures it.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.stream(1, stdout.into())
    }

    /// What the standard error is; inherited if not set, but for [`output`](Command::output), which captures it.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.stream(2, stderr.into())
    }

    fn stream(&mut self, stream: usize, to: Stdio) -> &mut Self {
        self.set[stream] = true;
        self.change(|std| _ = STREAMS[stream](std, to))
    }

    /// Whether the child is killed (`SIGKILL`) when its [`Child`] is dropped before it has ended. Not set by default.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Sets the child's user id, for which this process needs the right. If this process is root's, the child has no
    /// supplementary groups either. `setuid(2)`.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.change(|std| _ = std.uid(id))
    }

    /// Sets the child's group id. `setgid(2)`.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.change(|std| _ = std.gid(id))
    }

    /// Puts the child into a process group; 0 makes a new one, with the child's id. `setpgid(2)`.
    pub fn process_group(&mut self, group: i32) -> &mut Self {
        self.change(|std| _ = std.process_group(group))
    }

    /// `std`'s command behind this one, for options that have no method here, such as `pre_exec`. The standard streams
    /// are to be set by the methods here: [`output`](Command::output) does not see those that are set there. Waits while
    /// a spawn of this command, whose future was dropped, is still under way.
    ///
    /// # Panics
    ///
    /// If this process was forked while the command was being spawned: it is of no use here.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut command = runtime::process::Command::new("ls");
    /// command.arg("-l");
    /// assert_eq!(command.as_std_mut().get_args().collect::<Vec<_>>(), ["-l"]);
    /// ```
    pub fn as_std_mut(&mut self) -> impl DerefMut<Target = std::process::Command> + '_ {
        self.std().expect("the command was being spawned when this process was forked")
    }

    /// Starts the child; when the future is ready, it executes its program. The command can be used again.
    ///
    /// The system calls that this takes are made on a thread of the blocking pool, because they take as long as the
    /// kernel needs to open and map the program: the core goes on meanwhile, and the child may run on every CPU that
    /// this process may, where a core's thread is pinned to one. A parent-death signal (`PR_SET_PDEATHSIG`), which is
    /// about the thread, would come when the pool lets go of it.
    ///
    /// # Errors
    ///
    /// Those of `fork(2)` and `execve(2)`: `ENOENT` if there is no such program or working directory, `EACCES` if it may
    /// not be executed, `EAGAIN` if there are too many processes; those of `pipe2(2)` and `pidfd_open(2)`: `EMFILE`.
    /// Kind `Other` outside of a runtime or when it shuts down; `EOWNERDEAD`, in a child of a fork, if the fork came
    /// while the command was being spawned before.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child may be started all the same, and is then as one whose [`Child`] was dropped.
    pub async fn spawn(&mut self) -> io::Result<Child> {
        self.spawn_with([None, None, None]).await
    }

    /// Starts the child, with `unset` as those standard streams that have not been set.
    async fn spawn_with(&mut self, unset: [Option<fn() -> Stdio>; 3]) -> io::Result<Child> {
        context::current().ok_or_else(context::no_runtime)?;
        drop(self.std().ok_or_else(lost)?);
        self.spawned_in = Some(Owner::this_process()?);
        let (std, set, kill_on_drop) = (Arc::clone(&self.std), self.set, self.kill_on_drop);
        let spawning = Spawning::new(crate::spawn_blocking(move || {
            let mut std = lock(&std);
            let defaults = || (0..3).filter(|&n| !set[n]).filter_map(|n| Some((STREAMS[n], unset[n]?)));
            for (set_stream, default) in defaults() {
                set_stream(&mut std, default());
            }
            let child = std.spawn();
            for (set_stream, _) in defaults() {
                set_stream(&mut std, Stdio::inherit());
            }
            drop(std);
            Started::new(child?, kill_on_drop)
        }));
        spawning.child().await
    }

    /// Runs the child until it ends.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Command::spawn) and [`Child::wait`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the child is as one whose [`Child`] was dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::process::Command;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     assert!(Command::new("true").status().await?.success());
    ///     assert_eq!(Command::new("/no/such/program").status().await.unwrap_err().raw_os_error(), Some(2));
    ///     Ok(())
    /// }
    /// ```
    pub async fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn().await?.wait().await
    }

    /// Runs the child until it ends, and gives what it has written. Those of its standard streams that have not been set
    /// are empty (input) and captured (output and error).
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    ///
    /// # Cancel safety
    ///
    /// As for [`status`](Command::status).
    pub async fn output(&mut self) -> io::Result<Output> {
        let child = self.spawn_with([Some(Stdio::null), Some(Stdio::piped), Some(Stdio::piped)]).await?;
        child.wait_with_output().await
    }
}

impl From<std::process::Command> for Command {
    /// Its standard streams are taken not to be set.
    fn from(std: std::process::Command) -> Self {
        Command { std: Arc::new(Mutex::new(std)), spawned_in: None, kill_on_drop: false, set: [false; 3] }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.std() {
            Some(std) => std.fmt(f),
            None => f.write_str("Command"),
        }
    }
}
