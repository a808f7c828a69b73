//! The echo server, driven as users drive it: many connections, all sizes of messages, an end by signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running server; killed if the test fails before it has ended.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_echo"))
            .args(["--addr", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let output = process.stdout.as_mut().expect("stdout is a pipe");
        BufReader::new(output).read_line(&mut line).expect("the server prints");
        let address =
            line.trim().strip_prefix("listening on ").expect("it says where").parse().expect("an address");
        Server { process, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("the server accepts")
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("/proc is mounted").count()
    }

    /// Connections end a little after their clients have gone.
    fn await_descriptors(&self, wanted: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.descriptors() != wanted {
            assert!(Instant::now() < deadline, "{} descriptors instead of {wanted}", self.descriptors());
            thread::yield_now();
        }
    }

    /// Sends a signal and gives the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes that say which connection and message they belong to.
fn message(connection: usize, number: usize, len: usize) -> Vec<u8> {
    let mut state = (connection as u64) << 32 | number as u64 | 1 << 63;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Each of `connections` sends `messages` of `len` bytes and gets them back; the writers don't wait for the readers.
fn exchange(server: &Server, connections: usize, messages: usize, len: usize) {
    thread::scope(|scope| {
        for connection in 0..connections {
            let stream = server.connect();
            let mut writer = stream.try_clone().expect("a socket can be cloned");
            scope.spawn(move || {
                for number in 0..messages {
                    writer.write_all(&message(connection, number, len)).expect("the server reads");
                }
                writer.shutdown(std::net::Shutdown::Write).expect("the connection is whole");
            });
            scope.spawn(move || {
                let mut stream = stream;
                let mut got = vec![0; len];
                for number in 0..messages {
                    stream.read_exact(&mut got).expect("the server writes");
                    assert!(
                        got == message(connection, number, len),
                        "connection {connection}, message {number}"
                    );
                }
                assert_eq!(stream.read(&mut got).expect("a clean end"), 0, "more than was sent");
            });
        }
    });
}

fn serves(arguments: &[&str], signal: &str) {
    let server = Server::start(arguments);
    let before = server.descriptors();
    exchange(&server, 256, 20, 64);
    exchange(&server, 256, 10, 4096);
    exchange(&server, 16, 4, 1 << 20);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2500).for_each(|_| drop(server.connect())));
        }
    });
    server.await_descriptors(before);
    assert_eq!(server.end(signal), Some(0));
}

#[test]
fn serves_polled_until_sigterm() {
    serves(&["--mode", "polled"], "-TERM");
}

#[test]
fn serves_entered_until_sigint() {
    serves(&["--mode", "entered"], "-INT");
}

#[test]
fn serves_on_every_core() {
    serves(&["--cores", &thread::available_parallelism().expect("CPUs").to_string()], "-TERM");
}

#[test]
fn ends_with_connections_open() {
    let server = Server::start(&[]);
    let mut open = server.connect();
    open.write_all(b"x").expect("the server reads");
    open.read_exact(&mut [0]).expect("the server writes");
    assert_eq!(server.end("-TERM"), Some(0));
    assert_eq!(open.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn wrong_use_is_explained() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_echo")).args(arguments).output().expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--help"], 0, "Usage: echo"),
        (&[], 2, "--addr HOST:PORT is missing"),
        (&["--addr", "127.0.0.1:0", "--mode", "sqpoll"], 2, "`polled` or `entered`"),
        (&["--port", "1"], 2, "--port"),
        (&["--addr", "127.0.0.1:0", "--cores", "0"], 1, "cores is 0"),
        (&["--addr", "127.0.0.1:0", "--cores", "5000"], 1, "this process may use"),
        (&["--addr", "256.0.0.1:0"], 1, "can't listen on 256.0.0.1:0"),
    ];
    for (arguments, code, text) in cases {
        let (got, output) = run(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {output}");
        assert!(output.contains(text), "{arguments:?}: {output}");
    }
}
