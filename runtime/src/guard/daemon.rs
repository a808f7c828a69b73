//! Becoming a daemon with everything that runs: the process that goes on is the grandchild of the one that called.
//!
//! ```text
//! original      all cores at a safe point, requests called back; fork; waits for the answer ...... exits 0, or goes on
//!   child         setsid, so that there is no terminal; fork; exits
//!     daemon        directory, umask, streams, pid file, new ring and poller; answers; the task that called goes on
//! ```
//!
//! Nothing is changed in the original, so if the daemon can't be had there, the error is the call's result and all go on.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::fork::NeverBack;
use super::pause::{self, Patience, Paused};
use super::{Here, flush};
use crate::context::Core;
use crate::cores::recover;
use crate::metrics::ReplaceReason;
use crate::sys::{self, Forked};

/// What the daemon says first: that it is ready, or the errno of what it has failed for, and then the text.
const READY: i32 = 0;
const UNKNOWN: i32 = -1;

/// How long a closure that has given its result may take to leave its thread.
const MOMENT: Duration = Duration::from_millis(200);

/// How [`daemonize`] does it.
///
/// | option | default | |
/// |---|---|---|
/// | [`pid_file`](Daemonize::pid_file) | none | file with the daemon's id, locked as long as it lives |
/// | [`working_directory`](Daemonize::working_directory) | `/` | so that no file system is kept from being unmounted |
/// | [`umask`](Daemonize::umask) | `0o027` | permissions that new files don't get |
/// | [`keep_stdio`](Daemonize::keep_stdio) | no | else the standard streams become `/dev/null` |
#[derive(Debug, Clone)]
pub struct Daemonize {
    pid_file: Option<PathBuf>,
    working_directory: PathBuf,
    umask: u32,
    keep_stdio: bool,
}

impl Daemonize {
    /// The defaults.
    pub fn new() -> Self {
        Daemonize { pid_file: None, working_directory: "/".into(), umask: 0o027, keep_stdio: false }
    }

    /// The daemon writes its id into this file and keeps a lock on it (`flock(2)`), so that there is no second one.
    pub fn pid_file(mut self, path: impl AsRef<Path>) -> Self {
        self.pid_file = Some(path.as_ref().into());
        self
    }

    /// The daemon's working directory.
    pub fn working_directory(mut self, path: impl AsRef<Path>) -> Self {
        self.working_directory = path.as_ref().into();
        self
    }

    /// The daemon's file mode creation mask, `umask(2)`.
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = mask;
        self
    }

    /// Whether the daemon keeps the standard input, output and error.
    pub fn keep_stdio(mut self, keep: bool) -> Self {
        self.keep_stdio = keep;
        self
    }
}

impl Default for Daemonize {
    fn default() -> Self {
        Self::new()
    }
}

/// That this process has become a daemon.
#[derive(Debug)]
pub struct Daemon {
    pid_file: Option<PidFile>,
}

impl Daemon {
    /// Removes the pid file, as a daemon does when it ends. Without this it stays, unlocked once the process has ended: the
    /// next daemon takes it over.
    ///
    /// # Errors
    ///
    /// Those of `unlink(2)`. Without a pid file there is nothing to do.
    pub fn remove_pid_file(self) -> io::Result<()> {
        match &self.pid_file {
            Some(pid_file) => std::fs::remove_file(&pid_file.path),
            None => Ok(()),
        }
    }
}

/// Goes on as a daemon: in the background, in a session of its own, without a terminal, as a child of init.
///
/// All tasks of this core go on in the daemon, with their listeners, connections, files and timers: requests in flight are
/// called back, and submitted again by the daemon on its own ring and poller. The call returns there. The process that called
/// ends with exit code 0 as soon as the daemon is ready, without running destructors; or, if there is an error, it goes on
/// as if nothing had happened, and the error is the result: a `main` that returns it ends the process with a code that is
/// not 0.
///
/// Threads can't be taken along. Other cores are started again when they are used; so daemonise first, then spread out.
/// Child processes remain children of the process that ends: they can't be waited for any more.
///
/// Blocks this core until all cores have come to a safe point; call it from a task, on a core.
///
/// `daemon(7)`.
///
/// # Errors
///
/// `ResourceBusy` while other cores have tasks, or closures of `spawn_blocking` run; `WouldBlock` if another process has the
/// pid file; `TimedOut` if a core does not come to a safe point, or the kernel does not give a request back, within five
/// seconds; those of `fork(2)`, `open(2)`, `chdir(2)`. `ResourceBusy` also if the process has another runtime.
///
/// # Examples
///
/// ```no_run
/// use runtime::guard::{Daemonize, daemonize};
///
/// #[runtime::main(cores = 1)]
/// async fn main() -> std::io::Result<()> {
///     let listener = std::net::TcpListener::bind("127.0.0.1:7777")?;
///     let daemon = daemonize(Daemonize::new().pid_file("/run/example.pid"))?;
///     // ... serves, until it is told to end:
///     # drop(listener);
///     daemon.remove_pid_file()
/// }
/// ```
pub fn daemonize(options: Daemonize) -> io::Result<Daemon> {
    let start = Instant::now();
    let here = Here::find()?;
    let pid_file = options.pid_file.as_deref().map(PidFile::lock).transpose()?;
    match go_on(&options, pid_file.as_ref(), &here, start) {
        Ok(()) => Ok(Daemon { pid_file }),
        Err(error) => {
            if let Some(pid_file) = pid_file {
                pid_file.give_up();
            }
            Err(error)
        }
    }
}

/// Returns in the daemon, or with an error in the original.
fn go_on(options: &Daemonize, pid_file: Option<&PidFile>, here: &Here, start: Instant) -> io::Result<()> {
    let Here { core, cluster } = here;
    cluster.refuse_others()?;
    let busy = cluster.pool().busy(MOMENT);
    if busy > 0 {
        return Err(refused(format!("{busy} closures of spawn_blocking run")));
    }
    flush();
    let paused = pause::all(core, cluster, Patience::LONG)?;
    if let Some(other) = paused.others().iter().find(|report| report.tasks > 0) {
        return Err(refused(format!("core {} has {} tasks", other.core, other.tasks)));
    }
    paused.refuse_left()?;
    let (reader, mut writer) = io::pipe()?;
    if let Forked::Parent(child) = sys::fork()? {
        drop(writer);
        return Err(await_daemon(child, reader));
    }
    // In the child, and then in the daemon. Nothing may return from here but in a daemon that is ready.
    let never_back = NeverBack;
    drop(reader);
    // Nobody rests here who could be told to resume.
    let paused = ManuallyDrop::new(paused);
    let daemon = || become_daemon(options, pid_file, core, paused, start);
    match separate().map_err(Failure::from).and_then(|()| daemon()) {
        Ok(()) => {
            // Whoever waited for it may have been killed.
            let _ = writer.write_all(&READY.to_ne_bytes());
            std::mem::forget(never_back);
            Ok(())
        }
        Err(Failure { errno, text }) => {
            let _ = writer.write_all(&[&errno.to_ne_bytes(), text.as_bytes()].concat());
            sys::exit_now(1)
        }
    }
}

fn refused(why: String) -> io::Error {
    let error = format!("{why}, whose threads can't be taken along: daemonise first, then spread out");
    io::Error::new(io::ErrorKind::ResourceBusy, error)
}

/// In the original: ends it when the daemon is ready, else says why there is none.
fn await_daemon(child: libc::pid_t, mut reader: io::PipeReader) -> io::Error {
    let mut answer = Vec::new();
    // The writing end is open in the child and the daemon only, and the daemon answers once.
    let mut errno = [0; 4];
    let read = reader.read_exact(&mut errno).and_then(|()| {
        if i32::from_ne_bytes(errno) == READY {
            sys::exit_now(0);
        }
        reader.read_to_end(&mut answer)
    });
    // The child has ended, or is about to.
    let _ = waitpid(Pid::from_raw(child), None);
    match read {
        Ok(_) => {
            let kind = io::Error::from_raw_os_error(i32::from_ne_bytes(errno)).kind();
            io::Error::new(kind, format!("the daemon could not start: {}", String::from_utf8_lossy(&answer)))
        }
        Err(_) => io::Error::other("the daemon ended before it was ready"),
    }
}

/// In the child: becomes the leader of a session, and has a child go on that is none, and so can't get a terminal.
fn separate() -> io::Result<()> {
    setsid()?;
    match sys::fork()? {
        Forked::Parent(_) => sys::exit_now(0),
        Forked::Child => Ok(()),
    }
}

fn become_daemon(
    options: &Daemonize,
    pid_file: Option<&PidFile>,
    core: &Core,
    paused: ManuallyDrop<Paused<'_>>,
    start: Instant,
) -> Result<(), Failure> {
    ManuallyDrop::into_inner(paused).take_along();
    let what = |what: &str, error: io::Error| Failure { text: format!("{what}: {error}"), ..error.into() };
    let directory = &options.working_directory;
    std::env::set_current_dir(directory).map_err(|error| what(&format!("{}", directory.display()), error))?;
    umask(Mode::from_bits_truncate(options.umask));
    if !options.keep_stdio {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| what("/dev/null", error))?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
    }
    if let Some(pid_file) = pid_file {
        pid_file.write().map_err(|error| what(&format!("{}", pid_file.path.display()), error))?;
    }
    Ok(recover::take_over(core, ReplaceReason::Daemonized, start)?)
}

/// Why there is no daemon, to be told to the original.
struct Failure {
    errno: i32,
    text: String,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure { errno: error.raw_os_error().unwrap_or(UNKNOWN), text: error.to_string() }
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Self {
        io::Error::from(error).into()
    }
}

/// A pid file that this process has locked. The lock goes along with a fork; it ends with the last process that has it open,
/// which a worker is too unless it calls [`release_inherited`](super::release_inherited); an exec ends it.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    fn lock(path: &Path) -> io::Result<Self> {
        // The daemon has another working directory.
        let path = std::path::absolute(path)?;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        loop {
            let mut open = OpenOptions::new();
            let file = open.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
            let file = file.map_err(named)?;
            match sys::try_lock(file.as_fd()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let holder =
                        read_text(file).map_or_else(String::new, |pid| format!(" with the id {pid}"));
                    let error = format!("{}: another process{holder} has locked it", path.display());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, error));
                }
                Err(error) => return Err(named(error)),
            }
            // Whoever had it before may have removed it between our two steps: then another one can have its name.
            let same = std::fs::metadata(&path).is_ok_and(|now| {
                file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
            });
            if same {
                return Ok(PidFile { path, file });
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
    }

    /// There is no daemon: leaves no empty file behind.
    fn give_up(self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn read_text(mut file: File) -> Option<String> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
