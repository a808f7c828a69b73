//! Descriptors that are dropped, and so closed in the background: each one is closed whatever comes in between, and not
//! many are open at a time.
#![allow(unsafe_code, reason = "setrlimit(2)")]

mod common;

use std::ffi::CString;
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use common::{MODES, builder, descriptors, in_child, run_on, until};
use runtime::fd::Fd;
use runtime::op::{self, OpenHow};
use runtime::{Builder, Mode};

const ENTRIES: [u32; 3] = [1, 2, 256];
/// Fewer than fit into the shortest queue, more than may be closed in the background at a time, more than fit into any queue.
const COUNTS: [usize; 5] = [1, 3, 60, 100, 700];

fn null() -> Fd {
    Fd::new(OwnedFd::from(File::open("/dev/null").expect("it is there")))
}

fn each(rounds: usize) -> impl Iterator<Item = (Mode, u32, usize)> {
    let entries = MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries)));
    let counts = entries.flat_map(|(mode, entries)| COUNTS.map(|count| (mode, entries, count)));
    counts.flat_map(move |all| std::iter::repeat_n(all, rounds))
}

/// Allows this process so many descriptors, or all if that is fewer.
fn limit_descriptors(limit: u64) {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are good for the calls.
    let set = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut old);
        let new = libc::rlimit { rlim_cur: limit.min(old.rlim_max), ..old };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const new)
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn assert_all_closed(before: usize, what: impl std::fmt::Debug) {
    assert_eq!(descriptors(), before, "{what:?}");
}

#[test]
fn dropped_by_the_main_future_in_the_end() {
    in_child("dropped_by_the_main_future_in_the_end", || {
        limit_descriptors(4096);
        for what @ (mode, entries, count) in each(5) {
            let before = descriptors();
            let runtime = builder(mode).entries(entries).build().unwrap();
            runtime.block_on(async {
                let all: Vec<_> = (0..count).map(|_| null()).collect();
                drop(all);
            });
            drop(runtime);
            assert_all_closed(before, what);
        }
    });
}

#[test]
fn dropped_one_after_the_other_in_the_end() {
    in_child("dropped_one_after_the_other_in_the_end", || {
        limit_descriptors(4096);
        for what @ (mode, entries, count) in each(5) {
            let before = descriptors();
            let runtime = builder(mode).entries(entries).build().unwrap();
            runtime.block_on(async { (0..count).for_each(|_| drop(null())) });
            drop(runtime);
            assert_all_closed(before, what);
        }
    });
}

/// By the shutdown itself, on each core.
#[test]
fn dropped_with_their_tasks() {
    in_child("dropped_with_their_tasks", || {
        limit_descriptors(4096);
        for what @ (mode, entries, count) in each(3) {
            let before = descriptors();
            let runtime = Builder::new().cores(2).pin(false).mode(mode).entries(entries).build().unwrap();
            runtime.block_on(async {
                for core in [0, 1] {
                    let hold = move || async move {
                        let all: Vec<_> = (0..count).map(|_| null()).collect();
                        drop(runtime::spawn(async move {
                            let _all = all;
                            pending::<()>().await;
                        }));
                        runtime::task::yield_now().await;
                    };
                    runtime::spawn_on(core, hold).await.unwrap();
                }
            });
            drop(runtime);
            assert_all_closed(before, what);
        }
    });
}

/// Held by an operation that shutting down cancels, so that the last owner is the reactor.
#[test]
fn dropped_by_operations_that_are_cancelled_in_the_end() {
    in_child("dropped_by_operations_that_are_cancelled_in_the_end", || {
        limit_descriptors(4096);
        for what @ (mode, entries, count) in each(5) {
            let before = descriptors();
            let runtime = builder(mode).entries(entries).build().unwrap();
            runtime.block_on(async {
                for _ in 0..count {
                    let (reader, writer) = common::pipe();
                    drop(runtime::spawn(async move {
                        let _writer = writer;
                        op::read_at(&reader, vec![0; 8], u64::MAX).await.0
                    }));
                }
                runtime::task::yield_now().await;
            });
            drop(runtime);
            assert_all_closed(before, what);
        }
    });
}

/// The kernel gets a moment all the same. If a poller gets no CPU for longer than that, requests are lost that it has not seen:
/// on a crowded machine that happens now and then, but not as a rule.
#[test]
fn with_no_time_for_shutting_down() {
    in_child("with_no_time_for_shutting_down", || {
        const ROUNDS: usize = 10;
        limit_descriptors(4096);
        for ((mode, entries, count), ms) in each(1).flat_map(|what| [(what, 0), (what, 1)]) {
            let lossy = (0..ROUNDS).filter(|_| {
                let before = descriptors();
                let runtime = builder(mode).entries(entries).shutdown_ms(ms).build().unwrap();
                runtime.block_on(async { (0..count).for_each(|_| drop(null())) });
                drop(runtime);
                descriptors() != before
            });
            let (lossy, lossy_max) = (lossy.count(), if mode == Mode::Polled { ROUNDS / 2 } else { 0 });
            assert!(lossy <= lossy_max, "{mode:?} {entries} {count} {ms}: {lossy} of {ROUNDS} lost some");
        }
    });
}

#[test]
fn a_thousand_in_one_poll_with_room_for_a_few() {
    in_child("a_thousand_in_one_poll_with_room_for_a_few", || {
        limit_descriptors(256);
        for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
            run_on(builder(mode).entries(entries), mode, async {
                let before = descriptors();
                for round in 0..1000 {
                    match File::open("/dev/null") {
                        Ok(file) => drop(Fd::new(OwnedFd::from(file))),
                        Err(error) => panic!("{mode:?} {entries}: round {round}: {error}"),
                    }
                }
                until("the last close", || descriptors() == before).await;
            });
        }
    });
}

#[test]
fn thousands_through_the_ring_with_room_for_a_few() {
    in_child("thousands_through_the_ring_with_room_for_a_few", || {
        limit_descriptors(256);
        let how = OpenHow { flags: libc::O_RDONLY, mode: 0 };
        for (mode, entries) in MODES.into_iter().flat_map(|mode| ENTRIES.map(|entries| (mode, entries))) {
            run_on(builder(mode).entries(entries), mode, async {
                let before = descriptors();
                for round in 0..3000 {
                    match op::open(CString::new("/dev/null").unwrap(), how).await {
                        Ok(fd) => drop(fd),
                        Err(error) => panic!("{mode:?} {entries}: round {round}: {error}"),
                    }
                }
                until("the last close", || descriptors() == before).await;
            });
        }
    });
}

/// Where there is no runtime, or none any more.
#[test]
fn dropped_outside_of_a_runtime() {
    in_child("dropped_outside_of_a_runtime", || {
        for mode in MODES {
            let before = descriptors();
            drop(null());
            assert_all_closed(before, "without a runtime");
            let runtime = builder(mode).build().unwrap();
            let (inside, fd) = (descriptors(), null());
            runtime.block_on(async {});
            drop(fd);
            assert_all_closed(inside, "beside a runtime");
            let fd = runtime.block_on(async { null() });
            drop(runtime);
            drop(fd);
            assert_all_closed(before, "after a runtime");
        }
    });
}
