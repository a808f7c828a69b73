//! The server that upgrades itself, driven as users drive it: under load, with slow clients, from systemd, to a broken program.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod http_support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use http_support::client::{Client, LAST_REQUEST, REQUEST, get};
use http_support::{Program, await_descriptors, descriptors, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hot_upgrade");
const UPGRADES: u64 = 50;

fn start(arguments: &[&str]) -> (Program, SocketAddr) {
    let program = Program::start(PROGRAM, &[&["--addr", "127.0.0.1:0"], arguments].concat());
    let address = program.address();
    (program, address)
}

/// Has it upgraded, and waits until the generation serves.
fn upgrade(program: &Program, address: SocketAddr, generation: u64) {
    program.signal(libc::SIGHUP);
    until("the next generation", || get(address).unwrap().number("generation") == generation);
}

/// What the clients of one test have seen.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    generation: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    /// Gets responses until the test is over; any that fails, or goes back to an earlier generation, fails the test.
    fn all_good(&self, pid: u32, mut get: impl FnMut() -> std::io::Result<http_support::client::Response>) {
        let mut generation = 1;
        while !self.is_over.load(Ordering::Relaxed) {
            let response = get().unwrap_or_else(|error| panic!("after generation {generation}: {error}"));
            assert_eq!(response.number("pid"), u64::from(pid));
            assert!(response.number("generation") >= generation, "{response:?} after {generation}");
            generation = response.number("generation");
            self.generation.fetch_max(generation, Ordering::Relaxed);
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn upgrades_under_load(mode: &str) {
    let (program, address) = start(&["--mode", mode]);
    let (pid, seen) = (program.pid(), Seen::default());
    let before = descriptors(pid);
    thread::scope(|scope| {
        // Also if this thread fails.
        let over = Over(&seen.is_over);
        for _ in 0..64 {
            scope.spawn(|| {
                let mut client = Client::connect(address).unwrap();
                seen.all_good(pid, || client.get());
            });
        }
        for _ in 0..2 {
            scope.spawn(|| seen.all_good(pid, || get(address)));
        }
        for generation in 2..2 + UPGRADES {
            program.signal(libc::SIGHUP);
            until("the next generation", || seen.generation.load(Ordering::Relaxed) == generation);
        }
        drop(over);
    });
    println!("{mode}: {} requests over {UPGRADES} upgrades", seen.requests.load(Ordering::Relaxed));
    await_descriptors(pid, before);
    assert_eq!(program.processes(), [pid]);
    assert_eq!(program.errors(), "");
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn fifty_upgrades_under_load_fail_no_request_polled() {
    upgrades_under_load("polled");
}

#[test]
fn fifty_upgrades_under_load_fail_no_request_entered() {
    upgrades_under_load("entered");
}

#[test]
fn a_request_that_comes_in_pieces_is_answered_by_the_last_generation() {
    let (program, address) = start(&[]);
    let mut client = Client::connect(address).unwrap();
    let mut generation = 1;
    let (last, parts) = REQUEST.as_bytes().split_last().unwrap();
    for part in parts.chunks(7) {
        client.send(part).unwrap();
        generation += 1;
        upgrade(&program, address, generation);
    }
    client.send([*last]).unwrap();
    assert_eq!(client.receive().unwrap().number("generation"), generation);
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

/// A client whose side of the connection holds little that it has not read.
fn connect_narrow(address: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    Client::on(socket.into()).unwrap()
}

/// Sends requests without reading until the server can't send any more answers and so takes no more requests.
fn send_until_stuck(client: &Client) -> usize {
    let mut sent = 0;
    let many = REQUEST.repeat(1000);
    client.stream.set_nonblocking(true).unwrap();
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        match (&client.stream).write(&many.as_bytes()[sent % REQUEST.len()..]) {
            Ok(len) => {
                sent += len;
                last = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    client.stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn answers_that_nobody_reads_are_handed_over() {
    let (program, address) = start(&[]);
    let mut client = connect_narrow(address);
    let sent = send_until_stuck(&client);
    for generation in 2..7 {
        upgrade(&program, address, generation);
    }
    // The rest of the last request, and one more that is the last.
    let rest = sent.next_multiple_of(REQUEST.len()) - sent;
    let end = [&REQUEST.as_bytes()[REQUEST.len() - rest..], LAST_REQUEST.as_bytes()].concat();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&end).unwrap());
    let (mut answers, mut generation) = (0, 1);
    loop {
        let response = client.receive().unwrap();
        answers += 1;
        assert!(response.number("generation") >= generation, "{response:?} after {generation}");
        generation = response.number("generation");
        if response.header("connection") == Some("close") {
            break;
        }
    }
    assert!(client.is_ended());
    writing.join().unwrap();
    assert_eq!((answers, generation), (sent.div_ceil(REQUEST.len()) + 1, 6));
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

/// A copy of the program in a directory of its own, to be replaced.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("server");
    fs::copy(PROGRAM, &path).unwrap();
    (directory, path)
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let (directory, path) = copy();
    let program = Program::start(path.to_str().unwrap(), &["--addr", "127.0.0.1:0"]);
    let (address, before) = (program.address(), descriptors(program.pid()));
    let mut client = Client::connect(address).unwrap();
    client.send(&REQUEST[..10]).unwrap();
    let good = directory.path().join("good");
    fs::rename(&path, &good).unwrap();
    let mut failures = 0;
    let mut fails = |why: &str| {
        failures += 1;
        program.signal(libc::SIGHUP);
        until(why, || program.errors().lines().count() == failures);
        let errors = program.errors();
        let last = errors.lines().last().unwrap().to_owned();
        assert!(last.starts_with("hot_upgrade: not upgraded, generation 1 goes on: "), "{last}");
        assert!(last.contains(why), "{last}");
        assert_eq!(get(address).unwrap().number("generation"), 1);
    };
    fails("No such file or directory");
    fs::write(&path, "neither a program nor a script").unwrap();
    fails("Permission denied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fails("Exec format error");
    // The connection has lived through it, with half a request.
    client.send(&REQUEST[10..]).unwrap();
    assert_eq!(client.receive().unwrap().number("generation"), 1);
    await_descriptors(program.pid(), before + 1);

    fs::rename(&good, &path).unwrap();
    upgrade(&program, address, 2);
    assert_eq!(client.get().unwrap().number("generation"), 2);
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

/// As systemd starts it: the listening socket is descriptor 3.
fn start_activated(name: Option<&str>) -> (Program, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 </dev/null; LISTEN_PID=$$ exec "$0""#, PROGRAM]).env("LISTEN_FDS", "1");
    if let Some(name) = name {
        command.env("LISTEN_FDNAMES", name);
    }
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    (Program::start_command(command), address)
}

#[test]
fn socket_activation_needs_no_address() {
    for name in [None, Some("http")] {
        let (program, address) = start_activated(name);
        assert_eq!(program.address(), address);
        let mut client = Client::connect(address).unwrap();
        assert_eq!(client.get().unwrap().number("generation"), 1);
        for generation in 2..5 {
            upgrade(&program, address, generation);
            assert_eq!(client.get().unwrap().number("generation"), generation);
        }
        assert_eq!(program.end(libc::SIGINT), Some(0));
    }
    let (mut other, _) = start_activated(Some("https"));
    assert_eq!(other.wait(), Some(2));
    assert!(other.errors().contains("--addr HOST:PORT is missing"), "{}", other.errors());
}

#[test]
fn a_signal_to_end_is_not_lost_in_an_upgrade() {
    let (mut program, _) = start(&[]);
    for pause in 0..40 {
        program.signal(libc::SIGHUP);
        // From before the upgrade begins until after the next image has started.
        thread::sleep(Duration::from_micros(pause * 1000));
        assert_eq!(program.end(libc::SIGTERM), Some(0), "after {pause} ms");
        (program, _) = start(&[]);
    }
}

#[test]
fn signals_to_upgrade_that_come_fast_are_merged() {
    let (program, address) = start(&[]);
    let mut client = Client::connect(address).unwrap();
    for _ in 0..300 {
        program.signal(libc::SIGHUP);
        thread::sleep(Duration::from_millis(1));
    }
    let generation = client.get().unwrap().number("generation");
    assert!((2..=301).contains(&generation), "{generation}");
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

#[test]
fn wrong_use_is_explained() {
    http_support::check_use(
        PROGRAM,
        &[
            (&["--help"], 0, "SIGHUP replaces the program"),
            (&["--version"], 0, "hot_upgrade 0."),
            (&[], 2, "--addr HOST:PORT is missing"),
            (&["--addr", "127.0.0.1:0", "--mode", "sqpoll"], 2, "`polled` or `entered`"),
            (&["--port", "1"], 2, "--port"),
            (&["--addr", "256.0.0.1:0"], 1, "can't listen on 256.0.0.1:0"),
        ],
    );
}
