//! What can be seen of a process from outside of its runtime: in which call a thread sleeps, and whether it comes to its end.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]

use std::path::PathBuf;

use runtime::Mode;

use crate::common::forks::{Shared, fork_plain};
use crate::common::{MODES, in_child, until_blocking};

/// Runs `body` for each mode, each time in a process of its own. It must come to its end there: a process that has become
/// another one, or none, fails like one that panics.
pub fn in_each_mode(test: &str, body: impl Fn(Mode)) {
    in_child(test, || {
        for mode in MODES {
            let ended = Shared::new(1);
            let child = fork_plain(|| {
                let here = std::process::id();
                body(mode);
                assert_eq!(std::process::id(), here, "{mode:?}: this is another process");
                ended.set(0, 1);
            });
            child.succeeds_blocking();
            assert_eq!(ended.get(0), 1, "{mode:?}: it has not come to its end");
        }
    });
}

/// A thread of this process.
#[derive(Clone, Copy)]
pub struct Thread(u32);

impl Thread {
    /// The calling one.
    pub fn this() -> Self {
        let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
        Thread(link.file_name().and_then(|tid| tid.to_str()?.parse().ok()).expect("a number"))
    }

    /// That of a core other than the first, which runs.
    pub fn of_core(core: usize) -> Self {
        let name = format!("repoll-{core}\n");
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
        let tids = tasks.map(|task| task.expect("an entry").file_name().into_string().expect("a number"));
        let is_it =
            |tid: &String| std::fs::read_to_string(task_file(tid, "comm")).is_ok_and(|comm| comm == name);
        let tid = tids.into_iter().find(is_it).unwrap_or_else(|| panic!("core {core} does not run"));
        Thread(tid.parse().expect("a number"))
    }

    /// Waits, on another thread, until it sleeps in a system call: `SYS_futex`, say.
    pub fn until_sleeping_in(self, call: libc::c_long) {
        let call = format!("{call} ");
        until_blocking("a thread's sleep", || {
            let now = std::fs::read_to_string(task_file(&self.0.to_string(), "syscall"));
            now.expect("it is there").starts_with(&call)
        });
    }

    /// Waits until the core rests at a safe point: it has nothing else to wait for by a futex if it is idle, or asked from
    /// within a task.
    pub fn until_resting(self) {
        self.until_sleeping_in(libc::SYS_futex);
    }
}

fn task_file(tid: &str, file: &str) -> PathBuf {
    format!("/proc/self/task/{tid}/{file}").into()
}
