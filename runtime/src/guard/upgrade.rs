//! Replacing the program under a running server: exec with its listeners, and its connections if asked.
//!
//! The image that makes way brings all cores to a safe point and calls their requests back: what was not taken by a future
//! before an exec is dropped by it, an accepted connection for one. Then a thread of its own gets a private copy of the
//! descriptor table, puts what is handed over to the numbers that the next image expects, and executes it. If that succeeds
//! everything else of this process is gone; if not, the copy goes with the thread, nothing has changed, and all go on.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::pause::{self, Patience, Paused};
use super::{Here, flush, inherit};
use crate::cores::Cluster;
use crate::{ring, signal, sys};

/// Another image of a program that takes over: what it is, and what it gets. [`exec`](Upgrade::exec) carries it out.
///
/// Listeners are handed over as systemd does it, so a server that takes its listeners by
/// [`inherited`](super::inherited) starts in three ways with the same code: by itself (there are none), under socket
/// activation, and by an upgrade.
///
/// # Examples
///
/// ```no_run
/// use runtime::guard::{Upgrade, inherited};
/// use std::net::TcpListener;
///
/// #[runtime::main(cores = 1)]
/// async fn main() -> std::io::Result<()> {
///     let listener = match inherited("http").pop() {
///         Some(fd) => TcpListener::from(fd),
///         None => TcpListener::bind("127.0.0.1:8080")?,
///     };
///     // ... serves; when told so, stops accepting, finishes what is being answered, and then:
///     let error = Upgrade::new().listener("http", &listener).exec();
///     // This program goes on.
///     eprintln!("not upgraded: {error}");
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "an upgrade does nothing before `exec`"]
pub struct Upgrade {
    program: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    listeners: Vec<(String, OwnedFd)>,
    connections: Vec<(String, OwnedFd, Vec<u8>)>,
    patience: Duration,
    /// What was wrong with an argument: reported by `exec`.
    wrong: Option<io::Error>,
}

impl Upgrade {
    /// This program again, from the path of its file, with the same arguments and environment. If the file may be renamed
    /// while it runs, [`program`](Upgrade::program) names the path where the next version will be.
    pub fn new() -> Self {
        Upgrade {
            program: None,
            args: std::env::args_os().skip(1).collect(),
            env: Vec::new(),
            listeners: Vec::new(),
            connections: Vec::new(),
            patience: Patience::LONG.cores,
            wrong: None,
        }
    }

    /// Another program, by its path.
    pub fn program(mut self, path: impl AsRef<Path>) -> Self {
        self.program = Some(path.as_ref().into());
        self
    }

    /// Other arguments than this program was started with, without the program's name.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// A variable of the environment beside those of this process, or instead of one.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands a listening socket over, to be taken by its name with [`inherited`](super::inherited). Several may have one name.
    /// Clients that come meanwhile wait in its queue.
    pub fn listener(mut self, name: &str, listener: impl AsFd) -> Self {
        if let Some(name) = self.checked_name(name)
            && let Some(fd) = self.cloned(&listener)
        {
            self.listeners.push((name, fd));
        }
        self
    }

    /// Hands a live connection over, with whatever the next image has to know about it: bytes that were read and not
    /// answered yet, say. To be taken with [`inherited_connections`](super::inherited_connections).
    pub fn connection(mut self, name: &str, connection: impl AsFd, state: Vec<u8>) -> Self {
        if let Some(name) = self.checked_name(name)
            && let Some(fd) = self.cloned(&connection)
        {
            self.connections.push((name, fd, state));
        }
        self
    }

    /// How long the cores may take to come to a safe point; five seconds unless told otherwise.
    pub fn deadline_ms(mut self, milliseconds: u64) -> Self {
        self.patience = Duration::from_millis(milliseconds);
        self
    }

    fn checked_name(&mut self, name: &str) -> Option<String> {
        // What sd_listen_fds_with_names(3) allows.
        let good = !name.is_empty()
            && name.len() < 256
            && name.bytes().all(|b| (b' '..0x7f).contains(&b) && b != b':');
        if !good {
            let error =
                format!("{name:?} can't be the name of a descriptor: use printable ASCII without colons");
            self.wrong.get_or_insert(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        good.then(|| name.to_owned())
    }

    fn cloned(&mut self, fd: &impl AsFd) -> Option<OwnedFd> {
        match fd.as_fd().try_clone_to_owned() {
            Ok(fd) => Some(fd),
            Err(error) => {
                self.wrong.get_or_insert(error);
                None
            }
        }
    }

    /// Executes the other image. Returns only if that fails, and then everything goes on as before.
    ///
    /// The process keeps its id. Its tasks, threads and closures of `spawn_blocking` end without a word, and their connections
    /// are closed unless they are handed over: so stop accepting first, without losing what was accepted
    /// ([`OpStream::stop`](crate::op::OpStream::stop)), and let each task come to an end. Signals that this image listens for
    /// are held back until the next one listens, or has nothing to do for the first time.
    ///
    /// Blocks this core until all cores have come to a safe point; call it from a task, on a core.
    ///
    /// `execve(2)`, `sd_listen_fds(3)`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a bad name; `ResourceBusy` if connections have been accepted that no task has taken: they would be
    /// dropped, and if the process has another runtime; `TimedOut` if a core does not come to a safe point, or the kernel does not give a request back; those of
    /// `execve(2)`, among them `ENOENT`, `EACCES` and `ENOEXEC`.
    pub fn exec(mut self) -> io::Error {
        match self.try_exec() {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn try_exec(&mut self) -> io::Result<std::convert::Infallible> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let Here { core, cluster } = Here::find()?;
        let program = match &self.program {
            Some(program) => program.clone(),
            None => this_program()?,
        };
        cluster.refuse_others()?;
        flush();
        let patience = Patience { cores: self.patience, kernel: self.patience };
        let paused = pause::all(&core, &cluster, patience)?;
        paused.refuse_left()?;
        refuse_untaken(&paused)?;
        let state = inherit::write_state(&self.connections)?;
        let ring = match core.reactor.mode() {
            Some(ring::Mode::Polled) => core.reactor.duplicate_ring()?,
            _ => None,
        };
        let listened = signal::listened();
        // One that comes from here on stays pending, for the next image or, if there will be none, for this one.
        let held_back = sys::signal::block_for_now(&listened)?;
        let executed = thread::scope(|scope| {
            let image = thread::Builder::new().name("repoll-exec".into());
            let state = state.as_ref().map(AsFd::as_fd);
            let ring = ring.as_ref().map(AsFd::as_fd);
            let (program, cluster, listened) = (&program, &cluster, &listened);
            let execute = move || self.execute(program, state, ring, cluster, listened);
            let thread = image.spawn_scoped(scope, execute)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that executes it panicked")))
        });
        drop(paused);
        drop(held_back);
        executed
    }

    /// On a thread of its own, whose descriptors, mask and affinity nobody else has.
    fn execute(
        &self,
        program: &Path,
        state: Option<BorrowedFd<'_>>,
        ring: Option<BorrowedFd<'_>>,
        cluster: &Cluster,
        listened: &[i32],
    ) -> io::Result<std::convert::Infallible> {
        sys::exec::unshare_descriptors()?;
        let listeners = self.listeners.iter().map(|(_, fd)| fd.as_fd());
        let connections = self.connections.iter().map(|(_, fd, _)| fd.as_fd());
        let mut handed = Vec::new();
        let total = self.listeners.len() + self.connections.len() + 2;
        let above = inherit::FIRST + total as RawFd;
        for fd in listeners.chain(connections).chain(state) {
            handed.push(sys::exec::duplicate_above(fd, above)?);
        }
        let ring = ring.map(|ring| sys::exec::duplicate_above(ring, above)).transpose()?;
        for (index, fd) in handed.iter().enumerate() {
            sys::exec::hand_over(fd.as_fd(), inherit::FIRST + index as RawFd)?;
        }
        let (program, args) = (c_string(program.as_os_str())?, self.argv(program)?);
        let mut extra = inherit::variables(&self.listeners, self.connections.len());
        extra.push((signal::HELD_BACK.into(), signal::describe_held_back(listened)));
        let number = ring.as_ref().map(AsRawFd::as_raw_fd);
        extra.push((ring::inherited::VARIABLE.into(), cluster.describe_ring(number)));
        if let Some(ring) = number {
            sys::exec::keep_across_exec(ring)?;
        }
        let env = self.envp(extra)?;
        // The core's pin is not the next image's.
        let _ = sys::set_affinity(0, &cluster.options().usable_cpus);
        sys::signal::block(listened)?;
        // What has come and was not received, or comes to another thread, is left pending, too.
        let _kept = signal::keep_pending(listened)?;
        Err(sys::exec::execve(&program, &args, &env))
    }

    fn argv(&self, program: &Path) -> io::Result<Vec<CString>> {
        let name = std::env::args_os().next().filter(|_| self.program.is_none());
        let name = name.unwrap_or_else(|| program.into());
        [&name].into_iter().chain(&self.args).map(|arg| c_string(arg)).collect()
    }

    /// The environment of this process, with `self.env` and then `extra` instead of variables of the same names; an empty value
    /// of `extra` removes one.
    fn envp(&self, extra: Vec<(OsString, String)>) -> io::Result<Vec<CString>> {
        let named = |name: &OsString| self.env.iter().any(|(other, _)| other == name);
        let given = |name: &OsString| extra.iter().any(|(other, _)| other == name);
        let kept = std::env::vars_os().filter(|(name, _)| !named(name) && !given(name));
        let own = self.env.iter().filter(|(name, _)| !given(name)).cloned();
        let set = extra.iter().filter(|(_, value)| !value.is_empty());
        let set = set.map(|(name, value)| (name.clone(), OsString::from(value)));
        let all = kept.chain(own).chain(set);
        all.map(|(name, value)| c_string(&[name, value].join(OsStr::new("=")))).collect()
    }
}

impl Default for Upgrade {
    fn default() -> Self {
        Self::new()
    }
}

fn refuse_untaken(paused: &Paused<'_>) -> io::Result<()> {
    match paused.reports().map(|report| report.untaken).sum() {
        0 => Ok(()),
        untaken => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "{untaken} accepted connections have not been taken by a task, and would be dropped: stop accepting, \
                 and let the tasks take them, before the upgrade"
            ),
        )),
    }
}

/// Where this program was started from; a new version may have taken its place there.
fn this_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.into_os_string().into_vec();
    let path = path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path);
    Ok(OsString::from_vec(path).into())
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::from)
}
