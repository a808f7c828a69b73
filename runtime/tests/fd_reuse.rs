//! A request keeps its descriptor open: the number can't come to mean another file before the kernel has looked at it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use common::{MODES, builder, poll_deaf, run_on};
use runtime::fd::Fd;
use runtime::op::{self, read_at, write_at};

/// The handle is dropped and other files are opened right after the read was started, when the poller may not have seen it.
#[test]
fn a_read_gets_the_file_that_it_was_started_on() {
    let mut right = tempfile::NamedTempFile::new().unwrap();
    let mut wrong = tempfile::NamedTempFile::new().unwrap();
    right.write_all(b"right").unwrap();
    wrong.write_all(b"wrong").unwrap();
    for (mode, entries) in MODES.into_iter().flat_map(|mode| [1, 64].map(|entries| (mode, entries))) {
        run_on(builder(mode).entries(entries), mode, async {
            let mut reused = 0;
            for _ in 0..3000 {
                let fd = Fd::new(OwnedFd::from(File::open(right.path()).unwrap()));
                let number = fd.as_raw_fd();
                let mut read = read_at(&fd, [0; 5], 0);
                assert!(poll_deaf(&mut read).is_pending());
                drop(fd);
                let others: Vec<File> = (0..3).map(|_| File::open(wrong.path()).unwrap()).collect();
                assert!(others.iter().all(|file| file.as_raw_fd() != number), "closed under a request");
                let (result, bytes) = read.await;
                assert_eq!((result.unwrap(), &bytes), (5, b"right"));
                drop(others);
                // Now nobody holds it, so that its number is free soon.
                reused += usize::from(File::open(wrong.path()).unwrap().as_raw_fd() <= number);
            }
            assert!(reused > 0, "numbers were never used again: the test shows nothing");
        });
    }
}

/// Closing is a request too: it must not close a file that got the number meanwhile, and not be overtaken by the reads.
#[test]
fn a_close_behind_reads_and_writes_closes_only_its_own() {
    let target = tempfile::NamedTempFile::new().unwrap();
    for mode in MODES {
        run_on(builder(mode).entries(2), mode, async {
            let keep: Vec<File> = (0..20).map(|_| File::open("/dev/zero").unwrap()).collect();
            for round in 0..500_u32 {
                let file = File::options().read(true).write(true).open(target.path()).unwrap();
                let fd = Fd::new(OwnedFd::from(file));
                let mut write = write_at(&fd, round.to_le_bytes(), 0);
                assert!(poll_deaf(&mut write).is_pending());
                let mut nops: Vec<_> = (0..5).map(|_| op::nop()).collect();
                nops.iter_mut().for_each(|nop| assert!(poll_deaf(nop).is_pending()));
                drop(fd);
                assert_eq!(write.await.0.unwrap(), 4);
                let again = Fd::new(OwnedFd::from(File::open(target.path()).unwrap()));
                let (result, bytes) = read_at(&again, [0; 4], 0).await;
                assert_eq!((result.unwrap(), u32::from_le_bytes(bytes)), (4, round));
                again.close().await.unwrap();
            }
            for file in keep {
                // Still open, and still the same.
                let (result, byte) = read_at(&Fd::new(OwnedFd::from(file)), [1], 0).await;
                assert_eq!((result.unwrap(), byte), (1, [0]));
            }
        });
    }
}

#[test]
fn an_fd_is_given_up_only_by_its_last_owner() {
    for mode in MODES {
        run_on(builder(mode), mode, async {
            let fd = Fd::new(OwnedFd::from(File::open("/dev/zero").unwrap()));
            let clone = fd.clone();
            let fd = fd.try_into_owned().unwrap_err();
            drop(clone);
            let mut read = read_at(&fd, [1; 8], 0);
            let fd = fd.try_into_owned().unwrap_err();
            assert!(poll_deaf(&mut read).is_pending());
            let fd = fd.try_into_owned().unwrap_err();
            assert_eq!(read.await.1, [0; 8]);
            let owned = fd.try_into_owned().unwrap();
            assert!(owned.as_raw_fd() >= 0);
        });
    }
}
