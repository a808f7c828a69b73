//! `block_on`: again and again, with borrows, panics and nesting, and two runtimes one after the other on a thread.
#![allow(clippy::async_yields_async, reason = "handles are carried out of the runtime on purpose")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod common;

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use common::{MODES, builder, pipe, poll_deaf};
use futures::FutureExt;
use runtime::op::{nop, read_at};
use runtime::task::yield_now;

#[test]
fn tasks_go_on_in_the_next_call() {
    for mode in MODES {
        let runtime = builder(mode).build().unwrap();
        let steps: Rc<Cell<u32>> = Rc::default();
        let counter = Rc::clone(&steps);
        let (mut reader, nothing) = (None, pipe());
        let task = runtime.block_on(async {
            reader = Some(runtime::spawn(async move { read_at(&nothing.0, vec![0; 1], u64::MAX).await.1 }));
            runtime::spawn(async move {
                for _ in 0..100 {
                    nop().await.unwrap();
                    yield_now().await;
                    counter.set(counter.get() + 1);
                }
                "done"
            })
        });
        let before = steps.get();
        assert!(before < 100);
        assert_eq!(runtime.block_on(task).unwrap(), "done");
        assert_eq!(steps.get(), 100);
        // Something that was in flight meanwhile.
        std::io::Write::write_all(&mut { nothing.1 }, b"x").unwrap();
        assert_eq!(runtime.block_on(reader.unwrap()).unwrap(), b"x");
    }
}

#[test]
fn the_main_future_may_borrow() {
    for mode in MODES {
        let runtime = builder(mode).build().unwrap();
        let mut words = vec![String::from("one")];
        let borrowed = &mut words;
        let len = runtime.block_on(async {
            nop().await.unwrap();
            borrowed.push(String::from("two"));
            borrowed.len()
        });
        assert_eq!((len, words.join(" ")), (2, "one two".to_owned()));
        // One that is ready at once, and one that never sees the ring.
        assert_eq!(runtime.block_on(std::future::ready(1)), 1);
    }
}

#[test]
fn a_panic_of_the_main_future_leaves_the_runtime_working() {
    for mode in MODES {
        let runtime = builder(mode).build().unwrap();
        let ran: Rc<Cell<bool>> = Rc::default();
        let flag = Rc::clone(&ran);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                drop(runtime::spawn(async move { flag.set(true) }));
                nop().await.unwrap();
                panic!("main");
            })
        }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "main");
        runtime.block_on(async {
            yield_now().await;
            nop().await.unwrap();
        });
        assert!(ran.get());
        // Without a working afterwards: dropped while a task is pending.
        drop(catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                drop(runtime::spawn(pending::<()>()));
                panic!("again");
            })
        })));
    }
}

#[test]
fn nested_it_panics_and_says_what_to_do() {
    for mode in MODES {
        let (runtime, other) = (builder(mode).build().unwrap(), builder(mode).build().unwrap());
        for inner in [&runtime, &other] {
            let panic =
                catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { inner.block_on(async {}) })));
            let message = *panic.unwrap_err().downcast::<&str>().unwrap();
            assert_eq!(
                message,
                "block_on was called inside a runtime: await the future instead, or use spawn_blocking"
            );
        }
        let joined = runtime.block_on(async {
            // A thread of the pool is no core: there it is allowed.
            runtime::spawn_blocking(move || builder(mode).build().unwrap().block_on(async { 7 })).await
        });
        assert_eq!(joined.unwrap(), 7);
    }
}

#[test]
fn outside_of_a_runtime_everything_says_so() {
    let message = |panic: Box<dyn std::any::Any + Send>| *panic.downcast::<String>().unwrap();
    let cases: [fn(); 6] = [
        || drop(runtime::spawn(async {})),
        || drop(runtime::spawn_on(0, || async {})),
        || drop(runtime::spawn_blocking(|| ())),
        || _ = runtime::core(),
        || drop(runtime::metrics()),
        || _ = poll_deaf(&mut Box::pin(runtime::time::sleep(Duration::from_secs(1)))),
    ];
    for case in cases {
        let text = message(catch_unwind(case).unwrap_err());
        assert!(text.contains("repoll runtime") && text.contains("block_on"), "{text}");
    }
    let error = nop().now_or_never().unwrap().unwrap_err();
    assert!(error.to_string().contains("repoll runtime"), "{error}");
}

#[test]
fn futures_may_be_carried_from_one_runtime_to_another() {
    for (first_mode, second_mode) in MODES.into_iter().flat_map(|first| MODES.map(|second| (first, second))) {
        let (first, second) = (builder(first_mode).build().unwrap(), builder(second_mode).build().unwrap());
        let (reader, mut writer) = pipe();
        let mut started = read_at(&reader, vec![0; 8], u64::MAX);
        let unstarted = read_at(&reader, vec![0; 8], u64::MAX);
        let mut timer = runtime::time::sleep(Duration::from_millis(3));
        let mut late = runtime::time::sleep(Duration::from_secs(3600));
        let mut interval = runtime::time::interval(Duration::from_millis(1));
        let handle = first.block_on(async {
            assert!(poll_deaf(&mut started).is_pending() && poll_deaf(&mut late).is_pending());
            // It may be due already, if this thread was not.
            let _ = poll_deaf(&mut timer);
            interval.tick().await;
            let _ = poll_deaf(&mut Box::pin(interval.tick()));
            runtime::spawn(pending::<()>())
        });
        second.block_on(async {
            assert!(poll_deaf(&mut started).is_pending() && poll_deaf(&mut late).is_pending());
            timer.await;
            interval.tick().await;
        });
        // The first one ends, and with it what was started there.
        drop(first);
        second.block_on(async {
            assert!(handle.await.unwrap_err().is_aborted());
            let (result, _) = started.await;
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
            std::io::Write::write_all(&mut writer, b"x").unwrap();
            let (result, buf) = unstarted.await;
            assert_eq!((result.unwrap(), buf), (1, b"x".to_vec()));
        });
        drop(second);
    }
}
