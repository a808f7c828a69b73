//! Timers: never early, in order, cancelled without a trace, and not starved by a busy core.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{MODES, pipe, poll_deaf, poll_once, run, until_operations};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use runtime::op::{nop, read_at};
use runtime::task::yield_now;
use runtime::time::{MissedTicks, interval, interval_at, sleep, sleep_until, timeout, timeout_at};

const HOUR: Duration = Duration::from_secs(3600);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Numbers that follow from nothing (a linear congruential generator).
fn random() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(7_u64), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
        .map(|n| n >> 33)
}

#[test]
fn no_sleep_is_early() {
    for mode in MODES {
        run(mode, async {
            let mut sleeps = FuturesUnordered::new();
            for n in random().take(500) {
                let duration = Duration::from_micros(n % 40_000);
                let start = Instant::now();
                sleeps.push(async move {
                    sleep(duration).await;
                    assert!(start.elapsed() >= duration, "{duration:?} after {:?}", start.elapsed());
                });
            }
            while sleeps.next().await.is_some() {}
            sleep(Duration::ZERO).await;
            sleep_until(Instant::now() - ms(1)).await;
        });
    }
}

/// The core is busy until all have become due, so that one turn fires them: by their deadlines, not by their starts.
#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    for mode in MODES {
        run(mode, async {
            let (order, polled) = (Rc::<RefCell<Vec<u64>>>::default(), Rc::<Cell<usize>>::default());
            let (start, mut tasks) = (Instant::now(), Vec::new());
            for n in random().take(300) {
                let (order, polled, n) = (Rc::clone(&order), Rc::clone(&polled), n % 60);
                tasks.push(runtime::spawn(async move {
                    let mut timer = sleep_until(start + ms(n));
                    let waits = poll_once(&mut timer).await.is_pending();
                    polled.set(polled.get() + 1);
                    timer.await;
                    // Those that were due already did not wait for their turn.
                    if waits {
                        order.borrow_mut().push(n);
                    }
                }));
            }
            while polled.get() < 300 {
                yield_now().await;
            }
            while start.elapsed() < ms(70) {
                std::hint::spin_loop();
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert!(order.borrow().is_sorted(), "{order:?}");
        });
    }
}

#[test]
fn a_hundred_thousand_timers_of_which_most_are_cancelled() {
    for mode in MODES {
        run(mode, async {
            let wakes = std::sync::Arc::new(common::Wakes::default());
            let waker = std::task::Waker::from(std::sync::Arc::clone(&wakes));
            let mut cx = std::task::Context::from_waker(&waker);
            let mut sleeps: Vec<_> =
                random().take(100_000).map(|n| sleep(HOUR + ms(n % 10_000_000))).collect();
            for sleep in &mut sleeps {
                assert!(Pin::new(sleep).poll(&mut cx).is_pending());
            }
            // Some start over, most are dropped, the rest is brought near.
            for (n, sleep) in sleeps.iter_mut().enumerate().filter(|(n, _)| n % 3 == 0) {
                sleep.reset(Instant::now() + HOUR + ms(n as u64));
                assert!(Pin::new(sleep).poll(&mut cx).is_pending());
            }
            sleeps.truncate(1000);
            let (soon, mut waiting) = (Instant::now() + ms(5), 0);
            for sleep in &mut sleeps {
                sleep.reset(soon);
                waiting += usize::from(Pin::new(sleep).poll(&mut cx).is_pending());
            }
            common::until("all wake-ups", || wakes.count() == waiting).await;
            assert!(Instant::now() >= soon);
            assert!(sleeps.iter_mut().all(|sleep| Pin::new(sleep).poll(&mut cx).is_ready()));
            drop(sleeps);
            drop(waker);
            assert_eq!(
                (wakes.count(), std::sync::Arc::strong_count(&wakes)),
                (waiting, 1),
                "a timer kept its waker"
            );
        });
    }
}

#[test]
fn reset_makes_it_earlier_or_later_and_revives_it() {
    for mode in MODES {
        run(mode, async {
            let mut timer = sleep(HOUR);
            assert!(poll_once(&mut timer).await.is_pending());
            timer.reset(Instant::now() + ms(1));
            (&mut timer).await;
            let later = Instant::now() + ms(4);
            timer.reset(later);
            assert_eq!(timer.deadline(), later);
            (&mut timer).await;
            assert!(Instant::now() >= later);
            timer.reset(Instant::now() + ms(1));
            let _ = poll_once(&mut timer).await;
            timer.reset(Instant::now() + HOUR);
            assert!(poll_once(&mut timer).await.is_pending());
            sleep(ms(5)).await;
            assert!(poll_once(&mut timer).await.is_pending(), "the former deadline still counts");
        });
    }
}

#[test]
fn timeout_drops_its_future_or_gives_its_output() {
    struct Guard(Rc<Cell<bool>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    for mode in MODES {
        run(mode, async {
            let dropped = Rc::<Cell<bool>>::default();
            let guard = Guard(Rc::clone(&dropped));
            let (reader, _writer) = pipe();
            let late = timeout(ms(2), async move {
                let _guard = guard;
                read_at(&reader, vec![0; 8], u64::MAX).await
            });
            let error = late.await.unwrap_err();
            assert!(dropped.get());
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
            until_operations(0).await;
            assert_eq!(timeout(HOUR, async { nop().await.is_ok() }).await, Ok(true));
            // Both at once: the output counts.
            assert_eq!(timeout_at(Instant::now() - ms(1), async { 5 }).await, Ok(5));
            assert_eq!(timeout(Duration::MAX, async { 6 }).await, Ok(6));
            assert!(timeout(Duration::ZERO, pending::<()>()).await.is_err());
        });
    }
}

#[test]
fn intervals_tick_by_their_schedule() {
    for mode in MODES {
        run(mode, async {
            let start = Instant::now() + ms(2);
            let ticks: Vec<Instant> = interval_at(start, ms(3)).take(5).collect().await;
            assert_eq!(ticks, [0, 3, 6, 9, 12].map(|n| start + ms(n)));
            assert!(Instant::now() >= start + ms(12));
            let mut burst = interval(ms(2));
            let first = burst.tick().await;
            while first.elapsed() < ms(9) {
                std::hint::spin_loop();
            }
            for n in 1..=4 {
                assert_eq!(burst.tick().await, first + ms(2 * n));
            }
            let mut skip = interval(ms(5)).missed_ticks(MissedTicks::Skip);
            let first = skip.tick().await;
            while first.elapsed() < ms(18) {
                std::hint::spin_loop();
            }
            skip.tick().await;
            let next = skip.tick().await - first;
            assert!(next >= ms(20) && next.as_nanos() % ms(5).as_nanos() == 0, "{next:?}");
            // A tick whose future is dropped is not lost.
            let mut kept = interval(ms(3));
            let first = kept.tick().await;
            let tick = poll_deaf(&mut Box::pin(kept.tick()));
            // It was due already only if this thread was kept from running.
            let next = if tick.is_ready() { 6 } else { 3 };
            assert_eq!(kept.tick().await, first + ms(next));
            kept.reset();
            assert!(kept.tick().await >= first + ms(6));
        });
    }
}
