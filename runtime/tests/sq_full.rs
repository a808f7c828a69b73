//! A submission queue that is far too small: whatever finds no room waits its turn, and none of it is lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use common::{Counted, MODES, builder, pipe, poll_deaf, run_on, until, until_operations};
use futures::future::join_all;
use runtime::Mode;
use runtime::fd::Fd;
use runtime::op::{nop, read_at};
use runtime::task::JoinSet;
use runtime::time::timeout;

const HERE: u64 = u64::MAX;

fn cases() -> impl Iterator<Item = (Mode, u32)> {
    MODES.into_iter().flat_map(|mode| [1, 2, 4].map(|entries| (mode, entries)))
}

#[test]
fn thousands_of_nops_started_in_one_go() {
    for (mode, entries) in cases() {
        run_on(builder(mode).entries(entries), mode, async {
            for result in join_all((0..5000).map(|_| nop())).await {
                result.unwrap();
            }
            until_operations(0).await;
        });
    }
}

#[test]
fn every_read_of_a_file_gets_its_own_bytes() {
    const LEN: usize = 4096;
    let mut file = tempfile::tempfile().unwrap();
    let contents: Vec<u8> = (0..LEN * 4).map(|n| ((n / 4) >> (8 * (n % 4))) as u8).collect();
    file.write_all(&contents).unwrap();
    for (mode, entries) in cases() {
        let file = Fd::new(OwnedFd::from(file.try_clone().unwrap()));
        run_on(builder(mode).entries(entries), mode, async {
            let reads = (0..LEN).map(|n| read_at(&file, [0; 4], n as u64 * 4));
            for (n, (result, bytes)) in join_all(reads).await.into_iter().enumerate() {
                assert_eq!((result.unwrap(), u32::from_le_bytes(bytes)), (4, n as u32));
            }
        });
    }
}

#[test]
fn cancels_between_pipe_reads_are_not_lost() {
    for (mode, entries) in cases() {
        run_on(builder(mode).entries(entries), mode, async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let mut pipes: Vec<_> = (0..64).map(|_| pipe()).collect();
            let (mut kept, mut dropped) = (Vec::new(), Vec::new());
            for (reader, _) in &pipes {
                for n in 0..20 {
                    let mut read = read_at(reader, Counted::new(1, &drops), HERE);
                    assert!(poll_deaf(&mut read).is_pending());
                    if n % 4 == 0 {
                        kept.push(read)
                    } else {
                        dropped.push(read)
                    };
                    // Some cancels wait behind their request, some find it gone, some come when there is room.
                    if n % 7 == 6 {
                        dropped.clear();
                    }
                }
                runtime::task::yield_now().await;
            }
            drop(dropped);
            // What is left in flight are exactly the kept ones: a lost cancel leaves one more.
            until_operations(kept.len() as u64).await;
            assert_eq!(drops.get(), 64 * 15);
            for (_, writer) in &mut pipes {
                writer.write_all(&[1; 5]).unwrap();
            }
            for read in kept {
                assert_eq!(read.await.0.unwrap(), 1);
            }
            until_operations(0).await;
            assert_eq!(drops.get(), 64 * 20);
        });
    }
}

/// Cancels are sent for requests that would else wait for ever; what tells that all got through is that the pipe's
/// descriptor is closed, which no operation holds any more.
#[test]
fn timeouts_cancel_through_a_full_queue() {
    for (mode, entries) in cases() {
        run_on(builder(mode).entries(entries), mode, async {
            let (reader, mut writer) = pipe();
            let mut set = JoinSet::new();
            for n in 0..500 {
                let reader = reader.clone();
                set.spawn(timeout(Duration::from_millis(n % 5), async move {
                    read_at(&reader, Vec::with_capacity(1), HERE).await
                }));
            }
            while let Some(result) = set.join_next().await {
                assert!(result.unwrap().is_err(), "there was nothing to read");
            }
            until_operations(0).await;
            reader.close().await.unwrap();
            assert_eq!(writer.write_all(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        });
    }
}

/// The poll on the wake-up counter is a request too, the first of all: with one entry it is what fills the queue.
#[test]
fn wakes_from_another_thread_get_through() {
    for (mode, entries) in cases() {
        run_on(builder(mode).entries(entries).spin_us_max(0), mode, async {
            let (reader, _writer) = pipe();
            let mut reads: Vec<_> = (0..200).map(|_| read_at(&reader, [0], HERE)).collect();
            let deaf = &mut Context::from_waker(Waker::noop());
            for _ in 0..20 {
                reads.iter_mut().for_each(|read| assert!(Pin::new(read).poll(deaf).is_pending()));
                let (sender, receiver) = futures::channel::oneshot::channel();
                let thread = std::thread::spawn(move || sender.send(()).unwrap());
                receiver.await.unwrap();
                thread.join().unwrap();
                reads.truncate(reads.len() - 10);
            }
            until_operations(0).await;
        });
    }
}

/// More requests than the queue has room for, started while the core is busy: the results come in one burst.
#[test]
fn descriptors_closed_in_the_background_are_all_closed() {
    for (mode, entries) in cases() {
        run_on(builder(mode).entries(entries), mode, async {
            let mut writers = Vec::new();
            for _ in 0..300 {
                let (reader, writer) = pipe();
                drop(reader);
                writers.push(writer);
            }
            for mut writer in writers {
                // A write succeeds as long as the reading end is open.
                until("the close", || {
                    writer.write_all(b"x").is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
                })
                .await;
            }
            until_operations(0).await;
        });
    }
}
