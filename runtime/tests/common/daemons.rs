//! Programs that turn into daemons: this test again, in a role. What it finds out it leaves in a directory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(unsafe_code, reason = "locks files")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Output;

use runtime::Mode;
use runtime::guard::{Daemon, Daemonize, daemonize};

use crate::common::forks::{PANICKED, alarm, exit_now, program, role};
use crate::common::{MODES, until_blocking};

const PASSED: &str = "passed";

/// Where a program leaves files: its pid file, the address it listens on, its result.
#[derive(Clone)]
pub struct Place(PathBuf);

impl Place {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Place(path.into())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn pid_file(&self) -> PathBuf {
        self.path("daemon.pid")
    }

    /// Leaves a file that is whole as soon as it is there.
    pub fn leave(&self, name: &str, text: impl AsRef<[u8]>) {
        let unfinished = self.path(&format!("{name}.unfinished"));
        std::fs::write(&unfinished, text).expect("there is room");
        std::fs::rename(unfinished, self.path(name)).expect("it is there");
    }

    /// Waits for a file that somebody else leaves.
    pub fn wait_for(&self, name: &str) -> String {
        until_blocking(name, || self.path(name).exists() || self.path("result").exists());
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| {
            panic!("{name}: {error}; the program: {:?}", std::fs::read_to_string(self.path("result")))
        })
    }

    /// Waits for the end of the program, daemon or not, which must have found everything right.
    pub fn assert_passed(&self) {
        assert_eq!(self.wait_for("result"), PASSED);
    }

    /// The id in the pid file.
    pub fn pid(&self) -> libc::pid_t {
        let text = std::fs::read_to_string(self.pid_file()).expect("a pid file");
        text.trim_end().parse().unwrap_or_else(|_| panic!("the pid file says {text:?}"))
    }
}

/// If this process has a role: runs `body` with the mode and the place that it was given, leaves the result there, and ends,
/// whatever process that is by then.
pub fn play(body: impl FnOnce(Mode, &str, Place)) {
    let Some(role) = role() else { return };
    let [mode, name, path] = role.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("role {role:?}") };
    let mode = MODES.into_iter().find(|known| format!("{known:?}") == mode).expect("a mode");
    let place = Place::new(path);
    let panicked = place.clone();
    std::panic::set_hook(Box::new(move |info| {
        panicked.leave("result", format!("process {}: {info}", std::process::id()));
        exit_now(PANICKED);
    }));
    body(mode, name, place.clone());
    place.leave("result", PASSED);
    exit_now(0);
}

/// Runs this program in a role until the process that was started ends; a daemon goes on. If that keeps the standard streams
/// open, this waits for its end.
pub fn perform(test: &str, mode: Mode, name: &str, place: &Place) -> Output {
    let role = format!("{mode:?} {name} {}", place.0.display());
    program(test, &role).stdin(std::process::Stdio::null()).output().expect("it can be started")
}

/// Runs this program in a role, in which it becomes a daemon and says so.
pub fn perform_daemon(test: &str, mode: Mode, name: &str, place: &Place) {
    let output = perform(test, mode, name, place);
    assert!(
        output.status.success(),
        "the original: {output:?}; {:?}",
        std::fs::read_to_string(place.path("result"))
    );
}

/// Turns this process into a daemon, which can't outlive a test that hangs.
pub fn become_daemon(options: Daemonize) -> Daemon {
    let original = std::process::id();
    let daemon = daemonize(options).unwrap_or_else(|error| panic!("daemonize: {error}"));
    alarm();
    assert_ne!(std::process::id(), original);
    daemon
}

/// Whether nobody has an exclusive lock on the file. `flock(2)`.
pub fn is_unlocked(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    // SAFETY: takes no pointers. The lock, if it is had, ends with the file.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(true),
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        error => Err(error),
    }
}
