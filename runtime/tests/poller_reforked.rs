//! A kernel that forks a dead poller again by itself: `io_uring_enter` succeeds, but what was in flight has been cancelled,
//! though nobody asked for it. Nothing is replaced; the requests are submitted again on the same ring.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;
mod deaths;

use std::cell::Cell;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use common::{Counted, builder, pipe, poll_deaf, poll_once, until, until_operations};
use deaths::run_load::{from_environment, under_load};
use deaths::scene::{HERE, every_kind};
use deaths::{Random, Replaced, faults, replaced, run_with_faults};
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{read_at, recv};

const NEVER: Replaced = Replaced { total: 0, poller_died: 0 };

/// Has the kernel fork the poller again so many times, once for each of the next calls.
async fn refork(times: u32) {
    let before = faults::injected().reforks;
    faults::refork(times);
    until("the calls", || faults::injected().reforks == before + u64::from(times)).await;
}

#[test]
fn every_kind_of_operation_goes_on() {
    for times in [1, 2, 20] {
        run_with_faults(builder(Mode::Polled), async {
            every_kind(false, async || {
                until_operations(6).await;
                refork(times).await;
            })
            .await;
            assert_eq!(replaced(0), NEVER);
        });
    }
}

/// What has been cancelled and the new poller's requests meet in a queue that is too small.
#[test]
fn many_more_than_there_is_room_for() {
    run_with_faults(builder(Mode::Polled).entries(8), async {
        let drops: Rc<Cell<usize>> = Rc::default();
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = Fd::new(OwnedFd::from(near));
        let mut pending: Vec<_> = (0..1000).map(|_| recv(&near, Counted::new(1, &drops))).collect();
        let places: Vec<_> = pending.iter_mut().map(poll_deaf).collect();
        assert!(places.iter().all(std::task::Poll::is_pending));
        until("room for all requests", || runtime::metrics().cores[0].sqes > 1000).await;
        refork(1).await;
        let bytes: Vec<_> = (0..1000).map(|byte| (byte % 251) as u8).collect();
        far.write_all(&bytes).unwrap();
        let mut received = Vec::new();
        for receive in pending {
            let (result, buf) = receive.await;
            assert_eq!(result.unwrap(), 1);
            received.push(buf.as_bytes()[0]);
        }
        let mut expected = bytes;
        expected.sort_unstable();
        received.sort_unstable();
        assert!(received == expected, "{received:?}");
        until_operations(0).await;
        assert_eq!((drops.get(), replaced(0)), (1000, NEVER));
    });
}

/// Who is not wanted any more is not begun again: neither where the cancel was ours, nor where it was not.
#[test]
fn a_dropped_future_stays_dropped() {
    for drop_first in [true, false] {
        run_with_faults(builder(Mode::Polled), async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (reader, mut writer) = pipe();
            let mut reads: Vec<_> =
                (0..100).map(|_| Some(read_at(&reader, Counted::new(1, &drops), HERE))).collect();
            reads.iter_mut().flatten().for_each(|read| assert!(poll_deaf(read).is_pending()));
            until_operations(100).await;
            if drop_first {
                reads.iter_mut().step_by(2).for_each(|read| drop(read.take()));
                refork(1).await;
            } else {
                refork(1).await;
                reads.iter_mut().step_by(2).for_each(|read| drop(read.take()));
            }
            until_operations(50).await;
            assert_eq!(drops.get(), 50);
            writer.write_all(&[5; 100]).unwrap();
            for read in reads.into_iter().flatten() {
                assert_eq!(read.await.0.unwrap(), 1);
            }
            assert_eq!(read_at(&reader, Vec::with_capacity(200), HERE).await.1, [5; 50]);
            until_operations(0).await;
            assert_eq!((drops.get(), replaced(0)), (100, NEVER));
        });
    }
}

#[test]
fn again_and_again_under_one_read() {
    run_with_faults(builder(Mode::Polled), async {
        let (reader, mut writer) = pipe();
        let buf = Vec::with_capacity(8);
        let place = buf.as_ptr();
        let mut read = read_at(&reader, buf, HERE);
        assert!(poll_once(&mut read).await.is_pending());
        // The runtime gives up on a request that comes back 64 times in a row.
        for _ in 0..50 {
            refork(1).await;
            assert!(poll_once(&mut read).await.is_pending());
        }
        writer.write_all(b"at last").unwrap();
        let (result, buf) = read.await;
        assert_eq!((result.unwrap(), buf.as_bytes(), buf.as_ptr()), (7, &b"at last"[..], place));
        assert_eq!(replaced(0), NEVER);
    });
}

/// The wake-up from other threads was in flight too.
#[test]
fn wakes_from_other_threads_arrive() {
    run_with_faults(builder(Mode::Polled).spin_us_max(0), async {
        for round in 0..500 {
            let (from_thread, message) = futures::channel::oneshot::channel();
            faults::refork(1);
            let thread = thread::spawn(move || from_thread.send(round).unwrap());
            assert_eq!(message.await.unwrap(), round);
            thread.join().unwrap();
        }
        assert_eq!(replaced(0), NEVER);
    });
}

#[test]
fn under_load_nothing_is_lost() {
    let _session = deaths::session_of_faults();
    for cores in [1, 2] {
        let reforks = from_environment("REPOLL_DEATHS", 300);
        let replaced = under_load("poller forked again", cores, false, move |seed, _| {
            let (mut random, before) = (Random::new(seed), faults::injected().reforks);
            while faults::injected().reforks < before + reforks {
                faults::refork(1 + random.below(2) as u32);
                thread::sleep(Duration::from_micros(random.below(3000)));
            }
            faults::none();
            faults::injected().reforks - before
        });
        assert!(replaced.iter().all(|core| *core == NEVER), "{replaced:?}");
    }
}
