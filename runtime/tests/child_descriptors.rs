//! A child of a fork that closes descriptors by number, as daemons and shells do, and opens files of its own under those numbers:
//! they are not taken for what the runtime had there.
#![allow(unsafe_code, reason = "closes and replaces descriptors by number")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::forks::{Child, PANICKED, exit_now, fork_raw, open_files};
use common::{MODES, in_child, until_operations, work};
use runtime::signal::{SignalKind, signal};
use runtime::{Builder, Mode};

/// Files of the child's, and what they are.
#[derive(Default)]
struct Own(Vec<(RawFd, Metadata)>);

fn meant_by(number: RawFd) -> io::Result<Metadata> {
    std::fs::metadata(format!("/proc/self/fd/{number}"))
}

impl Own {
    /// Closes everything but the standard streams, and opens so many files.
    fn instead_of_everything(count: usize) -> Self {
        // SAFETY: takes no pointers. Whoever owns one of them is told by `Own` what it means now.
        assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
        let open = |_| std::mem::ManuallyDrop::new(File::open("/proc/self/exe").unwrap()).as_raw_fd();
        Own((0..count).map(open).map(|number| (number, meant_by(number).unwrap())).collect())
    }

    /// Opens a file under a number that means something else.
    fn instead_of(number: RawFd) -> Self {
        let file = File::open("/proc/self/exe").unwrap();
        // SAFETY: takes no pointers; as above.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
        Own(vec![(number, file.metadata().unwrap())])
    }

    /// Each number still means the file that was opened under it.
    fn assert_whole(&self) {
        for (number, file) in &self.0 {
            let now = meant_by(*number).unwrap_or_else(|error| panic!("{number}: {error}"));
            assert_eq!((now.dev(), now.ino()), (file.dev(), file.ino()), "{number}: {:?}", open_files());
        }
    }
}

/// How the child has got on with its runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Works,
    /// `block_on` has panicked: a descriptor that the core needs means another file.
    Broken,
}

/// Forks from within a runtime that has what a runtime can have: two cores, listeners for signals. The child calls `open`
/// first, goes on with its runtime, and has its files in the end; `expected` says what is right for the runtime.
fn child_of_a_runtime(mode: Mode, open: impl Fn() -> Own, expected: impl Fn(Runtime) -> bool) {
    let (parent, mut child) = (std::process::id(), None);
    let mut own = Own::default();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
        runtime.block_on(async {
            let _signals = signal(SignalKind::USER2).unwrap();
            runtime::spawn_on(1, || async {}).await.unwrap();
            until_operations(0).await;
            let pid = fork_raw();
            if pid != 0 {
                return child = Some(Child::of_pid(pid));
            }
            own = open();
            work::everything_everywhere().await;
            own.assert_whole();
        });
    }));
    if std::process::id() == parent {
        ended.unwrap();
        return child.unwrap().succeeds_blocking();
    }
    // By now the runtime has been dropped as well.
    let found = if ended.is_ok() { Runtime::Works } else { Runtime::Broken };
    let right = catch_unwind(AssertUnwindSafe(|| {
        own.assert_whole();
        assert!(expected(found), "{found:?}");
    }));
    exit_now(if right.is_ok() { 0 } else { PANICKED });
}

/// The numbers of a runtime's own descriptors of that kind, in a process that does the same as those that fork.
fn own_numbers(mode: Mode, kind: &str) -> Vec<RawFd> {
    let runtime = Builder::new().cores(2).pin(false).mode(mode).build().unwrap();
    runtime.block_on(async {
        let _signals = signal(SignalKind::USER2).unwrap();
        runtime::spawn_on(1, || async {}).await.unwrap();
        let suffix = format!(" -> anon_inode:[{kind}]");
        let files = open_files();
        files.iter().filter_map(|file| file.strip_suffix(&suffix)?.parse().ok()).collect()
    })
}

#[test]
fn everything_has_been_closed() {
    in_child("everything_has_been_closed", || {
        for mode in MODES {
            child_of_a_runtime(mode, || Own::instead_of_everything(0), |found| found == Runtime::Works);
        }
    });
}

/// All numbers that the runtime has had mean files of the child's. It can't go on there, and has to say so.
#[test]
fn everything_means_something_else() {
    in_child("everything_means_something_else", || {
        for mode in MODES {
            child_of_a_runtime(mode, || Own::instead_of_everything(30), |found| found == Runtime::Broken);
        }
    });
}

/// The rings are the parent's, and closed in the child: if they are still there.
#[test]
fn a_rings_number_means_something_else() {
    in_child("a_rings_number_means_something_else", || {
        for mode in MODES {
            let rings = own_numbers(mode, "io_uring");
            assert_eq!(rings.len(), 2);
            for ring in rings {
                child_of_a_runtime(mode, || Own::instead_of(ring), |found| found == Runtime::Works);
            }
        }
    });
}

/// What wakes a core, or says that a signal has come, is replaced in the child under the same number: if it is still there.
#[test]
fn a_counters_number_means_something_else() {
    in_child("a_counters_number_means_something_else", || {
        for mode in MODES {
            let counters = own_numbers(mode, "eventfd");
            assert_eq!(counters.len(), 3, "two of cores, one of signals");
            for counter in counters {
                child_of_a_runtime(mode, || Own::instead_of(counter), |_| true);
            }
        }
    });
}
