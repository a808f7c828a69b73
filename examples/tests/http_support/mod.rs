//! What the tests of the HTTP servers share: a program with all of its processes, and a plain client.
//!
//! The servers fork, daemonise and exec, so their processes are found by a mark in the environment, which all of them inherit.
//! Whatever happens to a test, no process with its mark is left.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(unsafe_code, reason = "prctl(2), kill(2), waitpid(2)")]

pub mod client;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// After this long a state that a test waits for is taken never to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `CLOSE_RANGE_CLOEXEC`, close_range(2).
const CLOSE_ON_EXEC: u32 = 4;

const MARK: &str = "REPOLL_TEST_MARK";

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running program.
pub struct Program {
    process: Child,
    mark: String,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
    collector: Option<thread::JoinHandle<()>>,
}

impl Program {
    pub fn start(path: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.args(arguments);
        Self::start_command(command)
    }

    pub fn start_command(mut command: Command) -> Self {
        static MARKS: AtomicUsize = AtomicUsize::new(0);
        // SAFETY: names no memory. Processes that lose their parent become children of this one, so they can be waited for.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
        // What whoever runs the tests has left open is not the program's.
        // SAFETY: the system call names no memory, and is all that is done between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_ON_EXEC) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let mark = format!("{}-{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
        let piped = command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = loop {
            match piped.spawn() {
                // A copy of it is still open for writing in a child that another test is about to start.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
                started => break started.expect("the program starts"),
            }
        };
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().expect("stdout is a pipe"));
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let errors = Arc::<Mutex<String>>::default();
        let (collected, mut output) = (Arc::clone(&errors), process.stderr.take().expect("stderr is a pipe"));
        let collector = thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut part) {
                collected.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..len]));
            }
        });
        Program { process, mark, lines, errors, collector: Some(collector) }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line: {}", self.errors()))
    }

    /// Where it says that it listens.
    pub fn address(&self) -> SocketAddr {
        let line = self.line();
        let address = line.split_once("listening on ").expect("it says where").1;
        address.parse().expect("an address")
    }

    /// What it has printed to the standard error so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// Waits for its end, and for that of what it prints; gives the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        until("the end of the program", || self.process.try_wait().expect("it is a child").is_some());
        if let Some(collector) = self.collector.take() {
            collector.join().expect("it only collects");
        }
        self.process.wait().expect("it is a child").code()
    }

    /// Sends a signal and gives the exit code.
    pub fn end(mut self, signal: i32) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// All of its processes that run, by their ids.
    pub fn processes(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark).into_bytes();
        let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let is_marked = |id: &u32| {
            let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
        };
        ids.filter(is_marked).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A process that is being killed may have forked.
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                kill(pid, libc::SIGKILL);
                // SAFETY: names no memory that is used.
                unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
            }
        }
        if thread::panicking() {
            println!("the program has printed: {}", self.errors());
        }
    }
}

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: names no memory.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Waits for the end of a process that this one has started or adopted; gives the exit code.
pub fn reap(pid: u32) -> i32 {
    let mut status = 0;
    // SAFETY: the kernel writes one number.
    until(
        "the end of the process",
        || unsafe { libc::waitpid(pid as i32, &raw mut status, libc::WNOHANG) } != 0,
    );
    assert!(libc::WIFEXITED(status), "it did not end by itself: {status:x}");
    libc::WEXITSTATUS(status)
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Connections end a little after their clients have gone.
pub fn await_descriptors(pid: u32, wanted: usize) {
    let start = Instant::now();
    while descriptors(pid) != wanted {
        assert!(
            start.elapsed() < PATIENCE,
            "{wanted} descriptors were open, now {:#?}",
            descriptors_named(pid)
        );
        thread::sleep(Duration::from_millis(1));
    }
}

/// How many of them are sockets.
pub fn sockets(pid: u32) -> usize {
    descriptors_named(pid).iter().filter(|name| name.starts_with("socket:")).count()
}

fn descriptors_named(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc is mounted");
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.display().to_string()).collect()
}

/// Runs the program with arguments that it answers at once: the exit code and a part of what it prints.
pub fn check_use(program: &str, cases: &[(&[&str], i32, &str)]) {
    for (arguments, code, text) in cases {
        let output = Command::new(program).args(*arguments).output().expect("it runs");
        let printed =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {printed}");
        assert!(printed.contains(text), "{arguments:?}: {printed}");
    }
}
