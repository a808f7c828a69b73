//! Notices a hang, says what can be said about it, and ends the program.
//!
//! A core that hangs in a system call can't say anything itself, so what `/proc` has is shown: what each thread is waiting in,
//! and what each ring looks like. The helpers die with the program.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::PATIENCE;

/// What is watched.
#[derive(Default)]
struct Watched {
    progress: AtomicU64,
    report: Mutex<String>,
    stopped: AtomicBool,
}

/// As long as it lives there must be progress, or at least an end, within [`PATIENCE`].
pub struct Watchdog {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

/// By which progress is reported, from any thread.
#[derive(Clone)]
pub struct Progress(Arc<Watched>);

impl Progress {
    pub fn step(&self) {
        self.0.progress.fetch_add(1, Ordering::Relaxed);
    }

    pub fn steps(&self) -> u64 {
        self.0.progress.load(Ordering::Relaxed)
    }

    /// For whoever notices a hang himself: says what can be said, and ends the program.
    pub fn hangs(&self) -> ! {
        self.0.end()
    }

    /// Leaves something to be shown in case of a hang.
    pub fn report(&self, report: String) {
        *self.0.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

impl Watchdog {
    pub fn new() -> Self {
        let watched = Arc::<Watched>::default();
        let thread = thread::spawn({
            let watched = Arc::clone(&watched);
            move || watched.watch()
        });
        Watchdog { watched, thread: Some(thread) }
    }

    pub fn progress(&self) -> Progress {
        Progress(Arc::clone(&self.watched))
    }
}

impl Watched {
    fn watch(&self) {
        let (mut last, mut since) = (0, Instant::now());
        while !self.stopped.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_secs(1));
            let now = self.progress.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                self.end();
            }
        }
    }

    fn end(&self) -> ! {
        let steps = self.progress.load(Ordering::Relaxed);
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (threads, rings) = (threads(), rings());
        let text =
            format!("HANG after {steps} steps; last report:\n{report}\nthreads:\n{threads}rings:\n{rings}");
        // Not by a macro, whose output the test harness keeps for the end.
        let _ = std::io::stderr().write_all(text.as_bytes());
        std::process::abort();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.watched.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does not panic.
            let _ = thread.join();
        }
    }
}

fn threads() -> String {
    let mut text = String::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (name, call, channel) = (read("comm"), read("syscall"), read("wchan"));
        let _ = writeln!(text, "  {:?} {}: {} {channel}", task.file_name(), name.trim(), call.trim());
    }
    text
}

fn rings() -> String {
    let mut text = String::new();
    for fd in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        if std::fs::read_link(fd.path()).is_ok_and(|target| target.to_string_lossy().contains("io_uring")) {
            let name = fd.file_name().to_string_lossy().into_owned();
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap_or_default();
            let start: Vec<&str> = info.lines().take(24).collect();
            let _ = writeln!(text, "  {name}: {}", start.join("; "));
        }
    }
    text
}
