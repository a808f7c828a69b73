//! `io_uring_enter` says `EOWNERDEAD` though the poller lives, as kernels before 5.14 did now and then: nothing is lost and
//! nothing is done twice, whether the core believes it or not; and it does not believe it easily.
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

use common::{Counted, builder, poll_deaf, until, until_operations};
use deaths::run_load::{from_environment, under_load};
use deaths::scene::every_kind;
use deaths::{Random, Replaced, faults, replaced, run_with_faults};
use runtime::Mode;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::recv;

const NEVER: Replaced = Replaced { total: 0, poller_died: 0 };

async fn false_alarms(times: u32) {
    let before = faults::injected().spurious;
    faults::spurious(times);
    until("the calls", || faults::injected().spurious == before + u64::from(times)).await;
}

#[test]
fn every_kind_of_operation_goes_on() {
    for times in [1, 2, 3, 5, 20, 100] {
        run_with_faults(builder(Mode::Polled), async {
            every_kind(false, async || {
                until_operations(6).await;
                false_alarms(times).await;
            })
            .await;
            until_operations(0).await;
        });
    }
}

#[test]
fn in_the_turn_in_which_the_requests_are_submitted() {
    for times in [1, 2, 3, 5, 20, 100] {
        run_with_faults(builder(Mode::Polled), async {
            for early in [true, false] {
                every_kind(early, async || faults::spurious(times)).await;
                faults::none();
            }
            until_operations(0).await;
        });
    }
}

#[test]
fn one_false_alarm_replaces_nothing() {
    run_with_faults(builder(Mode::Polled), async {
        for _ in 0..100 {
            false_alarms(1).await;
        }
        until_operations(0).await;
        assert_eq!(replaced(0), NEVER);
    });
}

/// A living poller goes on while the core believes that it is dead: what it does in the meantime counts once.
#[test]
fn many_more_than_there_is_room_for() {
    for times in [1, 2, 10] {
        run_with_faults(builder(Mode::Polled).entries(8), async {
            let drops: Rc<Cell<usize>> = Rc::default();
            let (near, mut far) = UnixStream::pair().unwrap();
            let near = Fd::new(OwnedFd::from(near));
            let mut pending: Vec<_> = (0..1000).map(|_| recv(&near, Counted::new(1, &drops))).collect();
            pending.iter_mut().for_each(|receive| assert!(poll_deaf(receive).is_pending()));
            until("room for all requests", || runtime::metrics().cores[0].sqes > 1000).await;
            faults::spurious(times);
            let bytes: Vec<_> = (0..1000).map(|byte| (byte % 251) as u8).collect();
            for part in bytes.chunks(100) {
                far.write_all(part).unwrap();
                runtime::task::yield_now().await;
            }
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
            assert_eq!(drops.get(), 1000);
        });
    }
}

#[test]
fn under_load_nothing_is_lost() {
    let _session = deaths::session_of_faults();
    for (cores, longest) in [(1, 1), (2, 5)] {
        let alarms = from_environment("REPOLL_DEATHS", 300);
        under_load("false alarms", cores, false, move |seed, _| {
            let (mut random, before) = (Random::new(seed), faults::injected().spurious);
            while faults::injected().spurious < before + alarms {
                faults::spurious(1 + random.below(longest) as u32);
                thread::sleep(Duration::from_micros(random.below(3000)));
            }
            faults::none();
            faults::injected().spurious - before
        });
    }
}
