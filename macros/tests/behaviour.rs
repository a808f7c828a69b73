//! What a function under the attributes does when it is called: its value, the options that reach the builder, the
//! life of its runtime, and what happens when there is none.

#![deny(warnings)]
#![forbid(unsafe_code)]

#[path = "behaviour/recorder.rs"]
mod recorder;
#[path = "behaviour/refuser.rs"]
mod refuser;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::num::ParseIntError;
use std::rc::Rc;
use std::task::Poll;

thread_local! {
    static TEXT: Cell<&'static str> = const { Cell::new("7") };
}

/// Comes back once, so that somebody must really drive it.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

// --- values

#[runtime::main]
async fn parse() -> Result<u8, ParseIntError> {
    yield_once().await;
    let number = TEXT.get().parse()?;
    Ok(number)
}

#[test]
fn a_value_comes_back() {
    TEXT.set("7");
    assert_eq!(parse(), Ok(7));
}

#[test]
fn a_question_mark_leaves_with_the_error() {
    TEXT.set("seven");
    assert_eq!(parse(), "seven".parse::<u8>());
}

/// Not `Send`, and neither is what it holds while it waits.
#[runtime::main]
async fn not_send() -> Rc<RefCell<u8>> {
    let shared = Rc::new(RefCell::new(6));
    yield_once().await;
    *shared.borrow_mut() += 1;
    shared
}

#[test]
fn the_future_stays_on_its_thread() {
    assert_eq!(*not_send().borrow(), 7);
}

#[runtime::main]
async fn panics() {
    yield_once().await;
    panic!("of the body");
}

#[test]
#[should_panic = "of the body"]
fn a_panic_goes_through() {
    panics();
}

// --- tests

#[runtime::test]
async fn a_test_runs() {
    yield_once().await;
}

#[runtime::test]
async fn a_test_returns_a_result() -> Result<(), ParseIntError> {
    yield_once().await;
    assert_eq!("7".parse::<u8>()?, 7);
    Ok(())
}

#[runtime::test]
#[should_panic = "of the test"]
async fn a_test_should_panic() {
    yield_once().await;
    panic!("of the test");
}

#[should_panic]
#[runtime::test(cores = 1, mode = "entered")]
async fn an_attribute_may_stand_above() {
    yield_once().await;
    panic!("of the test");
}

// --- options

#[runtime::main(crate = "recorder")]
async fn without_options() {
    recorder::note("body");
}

#[test]
fn the_runtime_is_gone_before_the_function_returns() {
    let calls = recorder::calls_of(without_options);
    assert_eq!(calls, ["new", "build", "block_on", "body", "drop"]);
}

#[runtime::main(
    shutdown_ms = 5000,
    cores = 2,
    mode = "polled",
    pin = false,
    entries = 256,
    poller_cpu = 1,
    poller_idle_ms = 50,
    pollers = 2,
    spin_us_max = 0,
    blocking_threads_max = 8,
    crate = "recorder"
)]
async fn with_every_option() {}

#[test]
fn every_option_reaches_the_builder() {
    let calls = recorder::calls_of(with_every_option);
    let expected = [
        "new",
        "shutdown_ms 5000",
        "cores 2",
        "mode polled",
        "pin false",
        "entries 256",
        "poller_cpu 1",
        "poller_idle_ms 50",
        "pollers 2",
        "spin_us_max 0",
        "blocking_threads_max 8",
        "build",
        "block_on",
        "drop",
    ];
    assert_eq!(calls, expected);
}

#[runtime::main(cores = "all", mode = "entered", pin = true, crate = "crate::recorder")]
async fn on_all_cores() {}

#[runtime::main(cores = [0, 2], crate = "self::recorder")]
async fn on_listed_cores() {}

#[test]
fn cores_are_counted_all_or_listed() {
    assert_eq!(recorder::calls_of(on_all_cores)[1..4], ["cores all", "mode entered", "pin true"]);
    assert_eq!(recorder::calls_of(on_listed_cores)[1], "cores [0, 2]");
}

// --- no runtime

#[runtime::main(crate = "refuser")]
async fn main_without_runtime() {
    unreachable!("there is nothing to run it");
}

#[test]
#[should_panic = "build_failed: refused"]
fn main_hands_the_error_to_the_runtime_crate() {
    main_without_runtime();
}

// The next two functions stand in others because the harness must not find them.

#[test]
#[should_panic = "the runtime could not be built: refused"]
#[allow(unnameable_test_items, reason = "it is called here")]
fn a_test_without_runtime_fails() {
    #[runtime::test(crate = "crate::refuser")]
    async fn fails() {}
    fails();
}

/// If it panicked, as others do, it would count as passed.
#[test]
#[allow(unnameable_test_items, reason = "it is called here")]
fn a_test_that_should_panic_returns_without_runtime() {
    #[runtime::test(crate = "crate::refuser")]
    #[should_panic]
    async fn fails() {}
    fails();
}
