//! Programs that turn into daemons.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(unsafe_code, reason = "locks files")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use runtime::Mode;
use runtime::guard::{Daemon, Daemonize, daemonize};

use crate::common::forks::alarm;
use crate::common::place::{Place, perform};

/// Runs this program in a role, in which it becomes a daemon and says so.
pub fn perform_daemon(test: &str, mode: Mode, name: &str, place: &Place) {
    let output = perform(test, mode, name, place);
    assert!(output.status.success(), "the original: {output:?}; {}", place.result());
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
