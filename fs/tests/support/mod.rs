//! What the tests of this crate share: runtimes of both kinds, and directories that go away.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::print_stderr, reason = "shown when a test fails")]

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::{Builder, Mode};
use tempfile::TempDir;

/// Runs a test in a polled and in an entered runtime.
pub fn in_both_modes<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for mode in [Mode::Polled, Mode::Entered] {
        eprintln!("in mode {}", mode.as_str());
        let runtime = Builder::new().cores(1).pin(false).mode(mode).build().expect("a runtime");
        runtime.block_on(test());
    }
}

/// A directory that is removed with its contents.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Dir(TempDir::new().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with these contents.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("the file is written");
        path
    }

    /// This many entries, which cost a file system less than as many files.
    pub fn entries(&self, count: usize) -> impl Iterator<Item = String> {
        let original =
            TempDir::new_in(self.0.path().parent().expect("it is in a directory")).expect("a directory");
        let file = original.path().join("file");
        std::fs::write(&file, "").expect("the file is written");
        for n in 0..count {
            std::fs::hard_link(&file, self.path(&format!("entry {n}"))).expect("the link is made");
        }
        (0..count).map(|n| format!("entry {n}"))
    }

    /// A named pipe.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        path
    }
}

/// Bytes that differ from place to place.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The descriptors that are open in this process; only for tests that are alone in theirs.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// Descriptors are closed in the background: waits until there are as many as there were.
pub async fn await_descriptors(wanted: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while descriptors() != wanted {
        assert!(Instant::now() < deadline, "{} descriptors instead of {wanted}", descriptors());
        runtime::op::nop().await.expect("the ring works");
    }
}

/// What an error says, to compare with another one.
pub fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().expect("an error").raw_os_error()
}
