//! Tests that fork: a child whose panics and hangs become its exit status, words that both sides see, and what the kernel
//! has seen of a ring.
//!
//! Only the forking thread survives in a child, so a test forks in a process of its own (`in_child`), where nothing else
//! than the test harness waits. A child never returns into the harness: it ends with its body. It is a child of the test,
//! so whatever becomes of the test, it ends by itself: an alarm ends one that hangs.

use std::future::Future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::FutureExt;

use super::{PATIENCE, until_blocking};

/// The exit code of a child that panicked.
pub const PANICKED: i32 = 101;

/// A child of a fork. One that nobody has waited for is killed.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    waited: bool,
}

/// Forks. In the child `body` is run, and the process ends: with 0, or with [`PANICKED`]. The parent gets the child at once.
pub fn fork_plain(body: impl FnOnce()) -> Child {
    match fork_raw() {
        0 => end(catch_unwind(AssertUnwindSafe(body))),
        pid => Child { pid, waited: false },
    }
}

/// As [`fork_plain`] from within a task: in the child the executor goes on, with `body` as part of the task that forked.
pub async fn fork(body: impl Future<Output = ()>) -> Child {
    match fork_raw() {
        0 => end(AssertUnwindSafe(body).catch_unwind().await),
        pid => Child { pid, waited: false },
    }
}

/// `fork(2)`; the child has until [`PATIENCE`] is over.
pub fn fork_raw() -> libc::pid_t {
    // SAFETY: the child goes on with this thread alone, as these tests want to see; glibc keeps malloc usable there.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
    if pid == 0 {
        alarm();
    }
    pid
}

/// Ends this process by SIGALRM, if it still runs when [`PATIENCE`] is over. An exec keeps that, a fork does not.
pub fn alarm() {
    // SAFETY: takes no pointers. The signal's action is the default one: it ends the process.
    unsafe { libc::alarm(PATIENCE.as_secs() as u32) };
}

/// Lets this process open as many files as the system lets it.
pub fn many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes the limits.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

/// Ends this process without running anything of the test harness.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; no destructor and no handler runs.
    unsafe { libc::_exit(code) }
}

/// The panic's message and place have been printed by its hook.
fn end(result: thread::Result<()>) -> ! {
    exit_now(if result.is_ok() { 0 } else { PANICKED })
}

impl Child {
    /// A child that somebody else has forked.
    pub fn of_pid(pid: libc::pid_t) -> Self {
        Child { pid, waited: false }
    }

    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// How it has ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        let mut status = 0;
        // SAFETY: the kernel writes the status.
        let pid = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) };
        assert!(pid >= 0, "waitpid {}: {}", self.pid, io::Error::last_os_error());
        self.waited = pid != 0;
        self.waited.then(|| ExitStatus::from_raw(status))
    }

    /// Waits for its end; this thread's runtime, if there is one, stands still.
    pub fn wait_blocking(mut self) -> ExitStatus {
        self.wait_while(|| {})
    }

    /// As [`Child::wait_blocking`], calling `look` again and again.
    pub fn wait_while(&mut self, mut look: impl FnMut()) -> ExitStatus {
        let start = Instant::now();
        loop {
            look();
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE * 2, "child {} does not end", self.pid);
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits for its end, on the runtime.
    pub async fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE * 2, "child {} does not end", self.pid);
            runtime::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn succeeds(self) {
        assert_success(self.wait().await);
    }

    pub fn succeeds_blocking(self) {
        assert_success(self.wait_blocking());
    }
}

/// The child's own message stands above.
pub fn assert_success(status: ExitStatus) {
    match status.signal() {
        Some(libc::SIGALRM) => panic!("the child hung"),
        Some(libc::SIGSEGV) => panic!("the child touched memory that is not mapped there: a ring?"),
        _ => assert!(status.success(), "the child: {status}"),
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            // SAFETY: no pointers; a child that has not been waited for keeps its number.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            // SAFETY: as above; the status is of no interest.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Words in memory that a fork does not copy: both sides see what the other one writes. Never freed.
#[derive(Debug, Clone, Copy)]
pub struct Shared(&'static [AtomicU64]);

impl Shared {
    pub fn new(words: usize) -> Self {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, placed by the kernel.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), words * 8, prot, flags, -1, 0) };
        assert!(page != libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        // SAFETY: the mapping has so many zeroed words and is never unmapped.
        Shared(unsafe { std::slice::from_raw_parts(page.cast(), words) })
    }

    pub fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::SeqCst)
    }

    pub fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::SeqCst);
    }

    pub fn add(self, word: usize, value: u64) -> u64 {
        self.0[word].fetch_add(value, Ordering::SeqCst) + value
    }
}

/// Memory that somebody may write to behind our backs: looked at byte by byte.
pub fn assert_bytes(what: &str, ptr: *const u8, len: usize, expected: u8) {
    for at in 0..len {
        // SAFETY: the caller keeps the memory allocated and initialised; volatile, because the kernel may write to it.
        let byte = unsafe { ptr.add(at).read_volatile() };
        assert_eq!(byte, expected, "{what}: byte {at} of {len} has been overwritten");
    }
}

/// What this process has open, each as `number -> file`, less what reads that.
pub fn open_files() -> Vec<String> {
    let numbers: Vec<_> = std::fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a number"))
        .collect();
    let link = |fd: &String| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let mut files: Vec<_> =
        numbers.iter().filter_map(|fd| Some(format!("{fd} -> {}", link(fd)?.display()))).collect();
    files.sort_unstable();
    files
}

/// The same files are open as `before`, under the same numbers.
pub fn assert_open(before: &[String], what: &str) {
    let now = open_files();
    let missing: Vec<_> = before.iter().filter(|file| !now.contains(file)).collect();
    let new: Vec<_> = now.iter().filter(|file| !before.contains(file)).collect();
    assert!(missing.is_empty() && new.is_empty(), "{what}: {new:?} are open, and {missing:?} not any more");
}

/// The numbers of this process's descriptors that are rings.
pub fn rings() -> Vec<i32> {
    let files = open_files();
    let rings = files.iter().filter_map(|file| file.strip_suffix(" -> anon_inode:[io_uring]"));
    rings.map(|fd| fd.parse().expect("a number")).collect()
}

/// What the kernel has seen of this process's rings: the heads and tails of their queues. They move if anybody submits.
pub fn ring_marks() -> Vec<(i32, Vec<String>)> {
    rings().into_iter().map(|fd| (fd, marks_of(fd))).collect()
}

/// As [`ring_marks`], when all that this process has submitted so far has been taken.
pub fn settled_marks() -> Vec<(i32, Vec<String>)> {
    let number = |mark: &str| mark.split_once('\t').map(|(_, number)| number.to_owned());
    let taken = |marks: &[String]| number(&marks[0]).is_some() && number(&marks[0]) == number(&marks[1]);
    let mut all = ring_marks();
    until_blocking("the poller", || {
        all = ring_marks();
        all.iter().all(|(_, marks)| taken(marks))
    });
    all
}

fn marks_of(fd: i32) -> Vec<String> {
    const NAMES: [&str; 4] = ["SqHead:", "SqTail:", "CqHead:", "CqTail:"];
    let start = Instant::now();
    loop {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("the ring is open");
        let marks: Vec<String> = info
            .lines()
            .filter(|line| NAMES.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect();
        // Nothing is told while the poller holds the ring's lock.
        if marks.len() == NAMES.len() {
            return marks;
        }
        assert!(start.elapsed() < PATIENCE, "fdinfo does not tell: {info}");
        thread::sleep(Duration::from_millis(1));
    }
}

const ROLE: &str = "REPOLL_TEST_ROLE";

/// What this process is to do, if it is one of [`program`]'s.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    alarm();
    Some(role)
}

/// This program again, to run the calling test (`test` is its full name) in a role.
pub fn program(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env(ROLE, role);
    command
}
