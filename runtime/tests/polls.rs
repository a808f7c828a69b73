//! Polls: they tell when a descriptor is ready, again and again if asked to, and take nothing from it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use common::{MODES, full_pipe, pipe, poll_deaf, poll_once, run, until_operations};
use futures::{FutureExt, StreamExt};
use runtime::fd::Fd;
use runtime::op;

const IN: u32 = libc::POLLIN as u32;
const OUT: u32 = libc::POLLOUT as u32;
const HUP: u32 = libc::POLLHUP as u32;

#[test]
fn readable_before_or_after_it_was_asked_and_the_data_stays() {
    for mode in MODES {
        run(mode, async {
            let (fd, mut writer) = pipe();
            let waiting = runtime::spawn({
                let fd = fd.clone();
                async move { op::poll(&fd, IN).await }
            });
            until_operations(1).await;
            assert!(!waiting.is_finished());
            writer.write_all(b"data").unwrap();
            assert_eq!(waiting.await.unwrap().unwrap(), IN);
            assert_eq!(op::poll(&fd, IN).await.unwrap(), IN);
            let (result, buf) = op::read_at(&fd, Vec::with_capacity(16), u64::MAX).await;
            assert_eq!((result.unwrap(), &buf[..]), (4, &b"data"[..]));
            drop(writer);
            assert_eq!(op::poll(&fd, IN).await.unwrap(), HUP);
        });
    }
}

#[test]
fn writable_once_there_is_room() {
    for mode in MODES {
        run(mode, async {
            let (mut reader, fd) = full_pipe();
            let mut writable = op::poll(&fd, OUT);
            assert!(poll_once(&mut writable).await.is_pending());
            until_operations(1).await;
            assert!(poll_once(&mut writable).await.is_pending());
            reader.read_exact(&mut vec![0; 1 << 16]).unwrap();
            assert_eq!(writable.await.unwrap(), OUT);
        });
    }
}

#[test]
fn each_edge_is_told_with_one_request() {
    for mode in MODES {
        run(mode, async {
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            let fd = Fd::new(OwnedFd::from(reader.try_clone().unwrap()));
            let mut edges = op::poll_many(&fd, IN);
            for round in 0..200 {
                if round % 2 == 0 {
                    assert!(edges.next().now_or_never().is_none(), "an edge without a cause");
                }
                writer.write_all(b"!").unwrap();
                assert_eq!(edges.next().await.unwrap().unwrap(), IN);
                reader.read_exact(&mut [0]).unwrap();
            }
            until_operations(1).await;
            drop(writer);
            assert_eq!(edges.next().await.unwrap().unwrap() & HUP, HUP);
        });
    }
}

#[test]
fn dropped_in_flight_they_let_go_of_the_descriptor_and_of_no_data() {
    for mode in MODES {
        run(mode, async {
            let (fd, mut writer) = pipe();
            for _ in 0..50 {
                let mut once = op::poll(&fd, IN);
                let mut many = op::poll_many(&fd, IN);
                assert!(poll_deaf(&mut once).is_pending());
                assert!(poll_deaf(&mut many.next()).is_pending());
            }
            until_operations(0).await;
            writer.write_all(b"all of it").unwrap();
            let mut waiting = op::poll_many(&fd, IN);
            assert_eq!(waiting.next().await.unwrap().unwrap(), IN);
            drop(waiting);
            let (result, buf) = op::read_at(&fd, Vec::with_capacity(16), u64::MAX).await;
            assert_eq!((result.unwrap(), &buf[..]), (9, &b"all of it"[..]));
            // Nothing else holds the reader any more: this waits until it is closed.
            fd.close().await.unwrap();
            assert_eq!(writer.write(b"!").unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    }
}

#[test]
fn what_cannot_be_polled_is_an_error_and_the_last_item() {
    for mode in MODES {
        run(mode, async {
            use std::os::unix::fs::OpenOptionsExt;
            let path = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/").unwrap();
            let fd = Fd::new(path.into());
            assert_eq!(op::poll(&fd, IN).await.unwrap_err().raw_os_error(), Some(libc::EBADF));
            let mut many = op::poll_many(&fd, IN);
            assert_eq!(many.next().await.unwrap().unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert!(many.next().await.is_none());
        });
    }
}
