//! The inbox in all interleavings: nothing is lost, and whoever has to wake the consumer does. Runs under loom only:
//! `RUSTFLAGS="--cfg loom" cargo test -p repoll --test loom_inbox --release`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]
#![cfg(loom)]
#![allow(unsafe_code, reason = "the source of the inbox, which owns its nodes")]
#![allow(
    dead_code,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    reason = "reads through loom's cell"
)]

#[path = "../src/task/inbox.rs"]
mod inbox;

use inbox::{Inbox, Pushed};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// An item whose contents loom watches: a take that is not ordered after its push is a data race.
struct Item(UnsafeCell<usize>);

impl Item {
    fn new(value: usize) -> Self {
        let cell = UnsafeCell::new(0);
        // SAFETY: nobody else has it yet.
        cell.with_mut(|cell| unsafe { *cell = value });
        Item(cell)
    }

    fn into_value(self) -> usize {
        // SAFETY: it is this thread's now; loom checks that.
        self.0.with(|cell| unsafe { *cell })
    }
}

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(body);
}

/// What a core does: take; park; if that went well sleep until woken; unpark.
#[test]
fn two_producers_and_a_consumer_that_sleeps() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        // The event counter: how many wakes were sent.
        let wakes = Arc::new(AtomicUsize::new(0));
        let producers: Vec<_> = (1..=2)
            .map(|value| {
                let (inbox, wakes) = (Arc::clone(&inbox), Arc::clone(&wakes));
                thread::spawn(move || match inbox.push(Item::new(value)) {
                    Ok(Pushed::MustWake) => drop(wakes.fetch_add(1, Ordering::SeqCst)),
                    Ok(Pushed::Awake) => {}
                    Err(_) => panic!("the inbox is open"),
                })
            })
            .collect();
        let (mut sum, mut sleeps) = (0, 0);
        while sum < 3 {
            inbox.take(|item: Item| sum += item.into_value());
            if sum < 3 && inbox.park() {
                sleeps += 1;
                // Asleep until the producer that found it so has said so; a lost wake hangs here, which loom reports.
                while wakes.load(Ordering::SeqCst) < sleeps {
                    thread::yield_now();
                }
                inbox.unpark();
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert_eq!(wakes.load(Ordering::SeqCst), sleeps, "exactly one wake for each sleep");
        assert!(inbox.is_empty());
    });
}

/// A consumer that wakes by itself (a completion, a timer) while a producer pushes: the item is seen before it sleeps again.
#[test]
fn unparking_races_with_a_push() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let must_wake = Arc::new(AtomicBool::new(false));
        assert!(inbox.park());
        let producer = {
            let (inbox, must_wake) = (Arc::clone(&inbox), Arc::clone(&must_wake));
            thread::spawn(move || {
                if let Ok(Pushed::MustWake) = inbox.push(Item::new(1)) {
                    must_wake.store(true, Ordering::SeqCst);
                }
            })
        };
        inbox.unpark();
        let mut sum = 0;
        inbox.take(|item: Item| sum += item.into_value());
        let asleep = inbox.park();
        producer.join().unwrap();
        if asleep && sum == 0 {
            assert!(
                must_wake.load(Ordering::SeqCst),
                "asleep beside an item, and nobody is going to wake it"
            );
        }
        inbox.take(|item: Item| sum += item.into_value());
        assert_eq!(sum, 1);
    });
}

#[test]
fn closing_races_with_pushes() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let returned = Arc::new(AtomicUsize::new(0));
        let producers: Vec<_> = [1, 10]
            .into_iter()
            .map(|value| {
                let (inbox, returned) = (Arc::clone(&inbox), Arc::clone(&returned));
                thread::spawn(move || {
                    if let Err(item) = inbox.push(Item::new(value)) {
                        returned.fetch_add(item.into_value(), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut taken = 0;
        inbox.close(|item: Item| taken += item.into_value());
        for producer in producers {
            producer.join().unwrap();
        }
        inbox.take(|_| panic!("an item in a closed inbox"));
        assert_eq!(taken + returned.load(Ordering::SeqCst), 11, "each item was taken or came back");
    });
}

#[test]
fn one_producer_keeps_its_order() {
    model(|| {
        let inbox = Arc::new(Inbox::new());
        let producer = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || (1..=3).for_each(|value| drop(inbox.push(Item::new(value)))))
        };
        let mut taken = Vec::new();
        inbox.take(|item: Item| taken.push(item.into_value()));
        producer.join().unwrap();
        inbox.take(|item: Item| taken.push(item.into_value()));
        assert_eq!(taken, [1, 2, 3]);
    });
}
