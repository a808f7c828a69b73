//! Closures on blocking threads: results and panics come back, as many run at once as allowed, aborts stop only the queue.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use common::{MODES, builder, run, run_on};
use runtime::task::JoinSet;

#[test]
fn results_and_panics_come_back_from_another_thread() {
    for mode in MODES {
        run(mode, async {
            let here = std::thread::current().id();
            let (there, name) = runtime::spawn_blocking(|| {
                let thread = std::thread::current();
                (thread.id(), thread.name().map(str::to_owned))
            })
            .await
            .unwrap();
            assert_ne!(here, there);
            assert_eq!(name.as_deref(), Some("repoll-blocking"));
            assert!(runtime::spawn_blocking(|| panic!("on purpose")).await.unwrap_err().is_panic());
            let mut set = JoinSet::new();
            (0..1000_u64).for_each(|n| set.insert(runtime::spawn_blocking(move || n)));
            let sum: u64 = set.join_all().await.into_iter().map(|n| n.unwrap()).sum();
            assert_eq!(sum, 499_500);
        });
    }
}

/// The barrier opens only if all run at the same time, and no more than that may.
#[test]
fn as_many_run_at_once_as_are_allowed() {
    const THREADS: usize = 5;
    for mode in MODES {
        run_on(builder(mode).blocking_threads_max(THREADS), mode, async {
            let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
            let barrier = Arc::new(Barrier::new(THREADS));
            let mut set = JoinSet::new();
            for _ in 0..THREADS * 4 {
                let (running, most, barrier) =
                    (Arc::clone(&running), Arc::clone(&most), Arc::clone(&barrier));
                set.insert(runtime::spawn_blocking(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    barrier.wait();
                    running.fetch_sub(1, Ordering::SeqCst);
                }));
            }
            set.join_all().await.into_iter().for_each(|result| result.unwrap());
            assert_eq!(most.load(Ordering::SeqCst), THREADS);
        });
    }
}

#[test]
fn abort_stops_what_has_not_begun_and_nothing_else() {
    for mode in MODES {
        run_on(builder(mode).blocking_threads_max(1), mode, async {
            let (go, gate) = mpsc::channel::<()>();
            let (started, has_started) = futures::channel::oneshot::channel();
            let running = runtime::spawn_blocking(move || {
                started.send(()).unwrap();
                gate.recv().unwrap();
                "ran"
            });
            has_started.await.unwrap();
            let ran = Arc::<AtomicUsize>::default();
            let counter = Arc::clone(&ran);
            let queued = runtime::spawn_blocking(move || counter.fetch_add(1, Ordering::SeqCst));
            let counter = Arc::clone(&ran);
            drop(runtime::spawn_blocking(move || counter.fetch_add(10, Ordering::SeqCst)));
            queued.abort();
            running.abort();
            go.send(()).unwrap();
            assert_eq!(running.await.unwrap(), "ran");
            assert!(queued.await.unwrap_err().is_aborted());
            // A dropped handle does not keep its closure from running.
            runtime::spawn_blocking(|| ()).await.unwrap();
            assert_eq!(ran.load(Ordering::SeqCst), 10);
        });
    }
}
