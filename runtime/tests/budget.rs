//! A task that is always ready starves nobody: not I/O, timers, other tasks or wakes from other threads.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use common::{MODES, builder, pipe, run_on};
use runtime::op::{nop, read_at};
use runtime::task::yield_now;
use runtime::time::sleep;

/// Starts tasks that yield for ever; what else is asked of the core must come about nevertheless, or the test hangs.
fn beside_busy_tasks<F: Future<Output = ()>>(main: impl Fn() -> F) {
    for (mode, busy) in MODES.into_iter().flat_map(|mode| [1, 500].map(|busy| (mode, busy))) {
        run_on(builder(mode).entries(4), mode, async {
            let turns = Rc::<Cell<u64>>::default();
            for _ in 0..busy {
                let turns = Rc::clone(&turns);
                drop(runtime::spawn(async move {
                    loop {
                        turns.set(turns.get() + 1);
                        yield_now().await;
                    }
                }));
            }
            main().await;
            assert!(turns.get() > 0, "they were starved themselves");
        });
    }
}

#[test]
fn io_comes_through() {
    beside_busy_tasks(|| async {
        let (reader, mut writer) = pipe();
        let read = runtime::spawn(async move { read_at(&reader, vec![0; 8], u64::MAX).await.0 });
        for _ in 0..50 {
            nop().await.unwrap();
        }
        writer.write_all(b"x").unwrap();
        assert_eq!(read.await.unwrap().unwrap(), 1);
        let nops = (0..100).map(|_| runtime::spawn(nop())).collect::<Vec<_>>();
        for nop in nops {
            nop.await.unwrap().unwrap();
        }
    });
}

#[test]
fn timers_come_through() {
    beside_busy_tasks(|| async {
        let timer = runtime::spawn(sleep(Duration::from_millis(2)));
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
        }
        timer.await.unwrap();
    });
}

#[test]
fn other_tasks_and_the_main_future_come_through() {
    beside_busy_tasks(|| async {
        for _ in 0..20 {
            let task = runtime::spawn(async {
                yield_now().await;
                5
            });
            assert_eq!(task.await.unwrap(), 5);
            yield_now().await;
        }
    });
}

#[test]
fn wakes_from_other_threads_come_through() {
    beside_busy_tasks(|| async {
        for _ in 0..20 {
            let (sender, receiver) = futures::channel::oneshot::channel();
            let thread = std::thread::spawn(move || sender.send(7).unwrap());
            assert_eq!(runtime::spawn(receiver).await.unwrap().unwrap(), 7);
            thread.join().unwrap();
            assert_eq!(runtime::spawn_blocking(|| 8).await.unwrap(), 8);
        }
    });
}

/// A task that wakes itself while it runs is polled again after the others, not at once.
#[test]
fn yielding_lets_every_other_task_run_once() {
    for mode in MODES {
        run_on(builder(mode), mode, async {
            let order = Rc::<std::cell::RefCell<Vec<(u32, u32)>>>::default();
            let tasks: Vec<_> = (0..200)
                .map(|task| {
                    let order = Rc::clone(&order);
                    runtime::spawn(async move {
                        for round in 0..3 {
                            order.borrow_mut().push((round, task));
                            yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(order.borrow().len(), 600);
            assert!(order.borrow().is_sorted(), "somebody was overtaken");
        });
    }
}
