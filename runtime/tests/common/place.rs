//! Programs that turn into something else - daemons, new images - and leave what they find out in a directory: the calling test
//! again, in a role.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use runtime::Mode;

use super::forks::{PANICKED, exit_now, program, role};
use super::{MODES, until_blocking};

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
        std::fs::read_to_string(self.path(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; the program: {}", self.result()))
    }

    /// Waits for the end of the program, daemon or not, which must have found everything right.
    pub fn assert_passed(&self) {
        assert_eq!(self.wait_for("result"), PASSED);
    }

    /// What the program has found out so far, for messages.
    pub fn result(&self) -> String {
        std::fs::read_to_string(self.path("result")).unwrap_or_else(|error| format!("no result: {error}"))
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

/// What [`play`] takes apart again.
pub fn role_of(mode: Mode, name: &str, place: &Place) -> String {
    format!("{mode:?} {name} {}", place.0.display())
}

/// Runs this program in a role until the process that was started ends; a daemon goes on. If that keeps the standard streams
/// open, this waits for its end.
pub fn perform(test: &str, mode: Mode, name: &str, place: &Place) -> Output {
    let mut command = program(test, &role_of(mode, name, place));
    command.stdin(Stdio::null()).output().expect("it can be started")
}
