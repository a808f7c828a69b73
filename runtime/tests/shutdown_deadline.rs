//! A shutdown whose time is up gives memory up rather than freeing it under the kernel's hands, and returns.
#![allow(unsafe_code, reason = "tells the leak checker that leaking is what this file is about")]
#![allow(clippy::async_yields_async, reason = "handles are carried out of the runtime on purpose")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;

use common::{Counted, MODES, builder, pipe, poll_deaf, run};
use runtime::op::read_at;

const HERE: u64 = u64::MAX;

/// Read by AddressSanitizer, if the test was built with it.
// SAFETY: nobody else defines this symbol; without the sanitizer nobody uses it.
#[unsafe(no_mangle)]
extern "C" fn __asan_default_options() -> *const std::ffi::c_char {
    c"detect_leaks=0".as_ptr()
}

/// Whether the kernel gets the operations back to the runtime in no time is the kernel's affair: each buffer is freed once
/// or never, and what comes in later reaches no memory that has been freed (AddressSanitizer looks at that).
#[test]
fn no_time_at_all() {
    for mode in MODES {
        for _ in 0..50 {
            let drops: Rc<Cell<usize>> = Rc::default();
            let mut pipes: Vec<_> = (0..20).map(|_| pipe()).collect();
            let runtime = builder(mode).entries(4).shutdown_ms(0).build().unwrap();
            let mut kept: Vec<_> =
                pipes.iter().map(|(reader, _)| read_at(reader, Counted::new(64, &drops), HERE)).collect();
            let mut dropped: Vec<_> =
                pipes.iter().map(|(reader, _)| read_at(reader, Counted::new(64, &drops), HERE)).collect();
            runtime.block_on(async {
                kept.iter_mut().for_each(|read| assert!(poll_deaf(read).is_pending()));
                dropped.iter_mut().for_each(|read| assert!(poll_deaf(read).is_pending()));
                runtime::task::yield_now().await;
            });
            drop(dropped);
            drop(runtime);
            pipes.iter_mut().for_each(|(_, writer)| writer.write_all(&[7; 64]).unwrap());
            for mut read in kept {
                // An operation that was given up can't be awaited any more: it panics instead of waiting for ever.
                let _ = catch_unwind(AssertUnwindSafe(|| poll_deaf(&mut read)));
            }
            assert!(drops.get() <= 40, "{}", drops.get());
            // The next runtime is not disturbed.
            run(mode, async { runtime::op::nop().await.unwrap() });
        }
    }
}

#[test]
fn a_blocking_thread_that_is_stuck_is_left_behind() {
    for mode in MODES {
        let (go, gate) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let runtime = builder(mode).blocking_threads_max(1).shutdown_ms(10).build().unwrap();
        let (handle, queued) = runtime.block_on(async {
            let stuck = move || {
                started.send(()).unwrap();
                gate.recv().is_err()
            };
            (runtime::spawn_blocking(stuck), runtime::spawn_blocking(|| ()))
        });
        has_started.recv().unwrap();
        drop(runtime);
        assert!(!handle.is_finished());
        drop(go);
        assert!(futures::executor::block_on(handle).unwrap());
        let not_begun = futures::executor::block_on(queued).unwrap_err();
        assert!(not_begun.is_aborted(), "{not_begun}");
    }
}

#[test]
fn a_core_that_is_stuck_in_a_task_is_left_behind() {
    for mode in MODES {
        let (go, gate) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let runtime = runtime::Builder::new().cores(2).pin(false).mode(mode).shutdown_ms(10).build().unwrap();
        let handle = runtime.block_on(async {
            runtime::spawn_on(1, move || async move {
                started.send(()).unwrap();
                gate.recv().is_err()
            })
        });
        has_started.recv().unwrap();
        drop(runtime);
        assert!(!handle.is_finished());
        drop(go);
        assert!(futures::executor::block_on(handle).unwrap());
    }
}
