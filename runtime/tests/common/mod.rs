//! What several tests need: both modes, waiting for a state, child processes, counting descriptors, a buffer that counts.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "each test file uses its part of this"
)]
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

pub mod forks;
pub mod load;
pub mod place;
pub mod waiting;
pub mod work;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use runtime::buf::{IoBuf, IoBufMut};
use runtime::fd::Fd;
use runtime::{Builder, Mode};

pub const MODES: [Mode; 2] = [Mode::Polled, Mode::Entered];

/// After this long a state that a test waits for is taken never to come. Whoever builds the tests for a slow machine (an
/// emulated one, see `.ci/kernels`) says so.
pub const PATIENCE: Duration =
    Duration::from_secs(if option_env!("SLOW_MACHINE").is_some() { 300 } else { 60 });

/// One core, not pinned: tests run side by side.
pub fn builder(mode: Mode) -> Builder {
    Builder::new().cores(1).pin(false).mode(mode)
}

/// Runs a future on a runtime of its own, which must have got the mode that was asked for.
pub fn run_on<F: Future>(builder: Builder, mode: Mode, main: F) -> F::Output {
    let runtime = builder.build().expect("this machine has io_uring");
    runtime.block_on(async {
        assert_eq!(runtime::metrics().cores[0].mode, Some(mode), "{:?}", runtime::metrics());
        main.await
    })
}

pub fn run<F: Future>(mode: Mode, main: F) -> F::Output {
    run_on(builder(mode), mode, main)
}

/// Runs a future on a runtime of two cores, neither of them pinned.
pub fn run_two<F: Future>(mode: Mode, main: F) -> F::Output {
    run_on(Builder::new().cores(2).pin(false).mode(mode), mode, main)
}

/// Waits, on the runtime, until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        runtime::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits, on a plain thread, until `condition` holds.
pub fn until_blocking(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until this core has parked with `operations` slots in use.
pub async fn until_operations(operations: u64) {
    let core = runtime::core();
    let parks = runtime::metrics().cores[core].parks;
    let start = Instant::now();
    loop {
        runtime::time::sleep(Duration::from_millis(1)).await;
        let now = runtime::metrics().cores[core].clone();
        if now.parks > parks && now.operations == operations {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{} operations have a slot, not {operations}", now.operations);
    }
}

/// Polls a future once, with the waker of the task that this is called in.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Polls a future once, with a waker that does nothing.
pub fn poll_deaf<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that counts.
#[derive(Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A pipe: reader, writer.
pub fn pipe() -> (Fd, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (Fd::new(OwnedFd::from(reader)), writer)
}

/// A pipe that takes no more: a write to it waits until somebody reads.
pub fn full_pipe() -> (std::io::PipeReader, Fd) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // What a pipe holds by default, see pipe(7).
    writer.write_all(&[0; 1 << 16]).expect("the pipe has room");
    (reader, Fd::new(OwnedFd::from(writer)))
}

/// How many descriptors this process has open.
pub fn descriptors() -> usize {
    // The one that reads the directory counts itself.
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1
}

/// How many threads this process has, pollers included. Not the kernel's I/O workers: they belong to a thread that used
/// rings rather than to one of these, and the last one may stay for as long as that thread does (seen on Linux 6.1).
pub fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
    // One that has just ended has no name.
    names.flatten().filter(|name| !name.starts_with("iou-wrk-")).count()
}

/// Whether the test was built with AddressSanitizer; whoever runs it says so.
pub fn under_asan() -> bool {
    std::env::var_os("ASAN").is_some()
}

const CHILD: &str = "REPOLL_TEST_CHILD";

/// Runs `body` in a process of its own: the calling test again, in a copy of this program. `test` is its full name.
pub fn in_child(test: &str, body: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        return body();
    }
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(CHILD, test)
        .output()
        .expect("this program can be started");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} in a child: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "there is no test {test}:\n{text}");
    if text.contains("SKIPPED") {
        println!("{text}");
    }
}

/// A buffer on the heap whose destructor counts, and spoils the bytes so that a late write by the kernel shows.
pub struct Counted {
    bytes: Box<[u8]>,
    drops: Rc<Cell<usize>>,
}

impl Counted {
    pub fn new(len: usize, drops: &Rc<Cell<usize>>) -> Self {
        Counted { bytes: vec![0; len].into(), drops: Rc::clone(drops) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bytes.fill(0xDD);
        self.drops.set(self.drops.get() + 1);
    }
}

// SAFETY: the bytes are on the heap and stay there until the value is dropped.
unsafe impl IoBuf for Counted {
    fn stable_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
    fn bytes_init(&self) -> usize {
        self.bytes.len()
    }
}

// SAFETY: as above; they are this value's alone, and all initialised.
unsafe impl IoBufMut for Counted {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }
    fn bytes_total(&self) -> usize {
        self.bytes.len()
    }
    unsafe fn set_init(&mut self, _len: usize) {}
}
