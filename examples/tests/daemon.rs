//! The daemon, driven as a script does it: it returns when it serves, it says why it can't, it cleans up behind itself.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod http_support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use http_support::client::{Client, LAST_REQUEST, REQUEST, get};
use http_support::{Program, await_descriptors, descriptors, kill, reap};

const PROGRAM: &str = env!("CARGO_BIN_EXE_daemon");

fn start(addr: &str, pid_file: &Path, arguments: &[&str]) -> Program {
    let fixed = ["--addr", addr, "--pid-file", pid_file.to_str().unwrap()];
    Program::start(PROGRAM, &[&fixed, arguments].concat())
}

/// A daemon that serves, whose original process has ended.
struct Daemon {
    program: Program,
    address: SocketAddr,
    pid: u32,
    pid_file: PathBuf,
    _directory: tempfile::TempDir,
}

fn daemon(arguments: &[&str]) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let mut program = start("127.0.0.1:0", &pid_file, arguments);
    let address = program.address();
    assert_eq!(program.wait(), Some(0), "{}", program.errors());
    // Nothing has to be waited for from here on.
    let pid = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_ne!(pid, program.pid());
    Daemon { program, address, pid, pid_file, _directory: directory }
}

fn lives_and_ends(mode: &str, signal: i32) {
    let daemon = daemon(&["--mode", mode]);
    let before = descriptors(daemon.pid);
    assert_eq!(daemon.program.processes(), [daemon.pid], "the processes in between have ended");
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(daemon.address).unwrap()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(client.get().unwrap().body, format!("pid {}", daemon.pid));
        }
    }
    assert_eq!(descriptors(daemon.pid), before + clients.len());
    drop(clients);
    await_descriptors(daemon.pid, before);

    let mut idle = Client::connect(daemon.address).unwrap();
    let mut busy = Client::connect(daemon.address).unwrap();
    // Both have been accepted.
    idle.get().unwrap();
    busy.get().unwrap();
    busy.send(&REQUEST[..9]).unwrap();
    kill(daemon.pid, signal);
    assert_eq!(reap(daemon.pid), 0);
    assert!(idle.is_ended());
    assert!(!daemon.pid_file.exists(), "it leaves its pid file");
    assert_eq!(daemon.program.processes(), []);
    assert!(get(daemon.address).is_err(), "the port is not free");
}

#[test]
fn a_daemon_serves_when_the_program_returns_and_ends_by_sigterm() {
    lives_and_ends("polled", libc::SIGTERM);
}

#[test]
fn an_entered_daemon_ends_by_sigint() {
    lives_and_ends("entered", libc::SIGINT);
}

/// The value of a line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

#[test]
fn it_has_left_its_terminal_directory_and_streams() {
    let daemon = daemon(&[]);
    let of = |name: &str| fs::read_link(format!("/proc/{}/{name}", daemon.pid)).unwrap();
    assert_eq!(of("cwd"), Path::new("/"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(of(stream), Path::new("/dev/null"));
    }
    assert_eq!(status(daemon.pid, "Umask"), "0027");
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid)).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (session, terminal) = (fields[3].parse::<u32>().unwrap(), fields[4]);
    // In a session of its own, but not its leader: it can't get a terminal.
    assert_ne!(session, daemon.pid);
    assert_ne!(session, std::process::id());
    assert_eq!(terminal, "0");
}

#[test]
fn what_has_come_before_the_end_is_answered() {
    let daemon = daemon(&[]);
    let mut client = Client::connect(daemon.address).unwrap();
    client.get().unwrap();
    client.send(REQUEST.repeat(99) + LAST_REQUEST).unwrap();
    kill(daemon.pid, libc::SIGTERM);
    for _ in 0..100 {
        client.receive().unwrap();
    }
    assert!(client.is_ended());
    assert_eq!(reap(daemon.pid), 0);
}

#[test]
fn what_prevents_it_is_said_on_the_standard_error() {
    let first = daemon(&[]);
    let taken = first.address.to_string();
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let nowhere = directory.path().join("missing/pid");
    let locked =
        format!("{}: another process with the id {} has locked it", first.pid_file.display(), first.pid);
    let cases: [(&str, &Path, &str); 4] = [
        (&taken, &pid_file, "can't listen on 127.0.0.1:"),
        ("127.0.0.1:0", &first.pid_file, &locked),
        ("127.0.0.1:0", &nowhere, "missing/pid: No such file or directory"),
        ("256.0.0.1:0", &pid_file, "can't listen on 256.0.0.1:0"),
    ];
    for (addr, pid_file, error) in cases {
        let mut second = start(addr, pid_file, &[]);
        assert_eq!(second.wait(), Some(1));
        assert!(
            second.errors().starts_with("daemon: ") && second.errors().contains(error),
            "{}",
            second.errors()
        );
        assert_eq!(second.processes(), []);
    }
    assert!(!pid_file.exists());
    // The first one has not been harmed.
    assert_eq!(get(first.address).unwrap().body, format!("pid {}", first.pid));
    assert_eq!(fs::read_to_string(&first.pid_file).unwrap(), format!("{}\n", first.pid));
}

#[test]
fn the_pid_file_of_a_daemon_that_was_killed_is_taken_over() {
    let killed = daemon(&[]);
    kill(killed.pid, libc::SIGKILL);
    http_support::until("its end", || killed.program.processes().is_empty());
    assert!(killed.pid_file.exists());
    let mut next = start("127.0.0.1:0", &killed.pid_file, &[]);
    let address = next.address();
    assert_eq!(next.wait(), Some(0));
    assert_eq!(fs::read_to_string(&killed.pid_file).unwrap(), format!("{}\n", next.processes()[0]));
    assert_eq!(get(address).unwrap().number("pid"), u64::from(next.processes()[0]));
}

/// A script names files as it likes, and its directory is not the daemon's.
#[test]
fn the_pid_file_may_be_relative() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["--addr", "127.0.0.1:0", "--pid-file", "pid"]).current_dir(directory.path());
    let mut program = Program::start_command(command);
    assert_eq!(program.wait(), Some(0), "{}", program.errors());
    let pid = program.processes()[0];
    assert_eq!(fs::read_to_string(directory.path().join("pid")).unwrap(), format!("{pid}\n"));
    kill(pid, libc::SIGTERM);
    assert_eq!(reap(pid), 0);
    assert!(!directory.path().join("pid").exists());
}

#[test]
fn the_port_is_free_when_the_daemon_has_ended() {
    let daemon = daemon(&[]);
    assert!(TcpListener::bind(daemon.address).is_err());
    kill(daemon.pid, libc::SIGTERM);
    assert_eq!(reap(daemon.pid), 0);
    // Linux may take a moment for a socket of a ring that is gone.
    http_support::until("the port", || TcpListener::bind(daemon.address).is_ok());
}

#[test]
fn wrong_use_is_explained() {
    http_support::check_use(
        PROGRAM,
        &[
            (&["--help"], 0, "Usage: daemon"),
            (&["-V"], 0, "daemon 0."),
            (&["--addr", "127.0.0.1:0"], 2, "--pid-file FILE is missing"),
            (&["--pid-file", "/nowhere"], 2, "--addr HOST:PORT is missing"),
            (&["--addr", "127.0.0.1:0", "--pid-file"], 2, "--pid-file"),
            (&["--workers", "1"], 2, "--workers"),
            (&["now"], 2, "now"),
        ],
    );
}
