//! Processes that can't open any more files.
#![allow(unreachable_pub, reason = "each test file uses its part of this")]
#![allow(unsafe_code, reason = "sets limits of the process")]

use std::io;

/// As long as this lives, the process can't open anything. `getrlimit(2)`, `RLIMIT_NOFILE`.
pub struct NoMoreFiles(libc::rlimit);

impl NoMoreFiles {
    pub fn from_now_on() -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel writes the limits.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) }, 0);
        set(libc::rlimit { rlim_cur: 0, ..before });
        NoMoreFiles(before)
    }
}

impl Drop for NoMoreFiles {
    fn drop(&mut self) {
        set(self.0);
    }
}

fn set(limits: libc::rlimit) {
    // SAFETY: the kernel reads the limits.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
