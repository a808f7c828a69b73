//! The server of several processes, driven as users drive it: all workers serve, a killed one is replaced, all end together.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod http_support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use http_support::client::{Client, REQUEST, get};
use http_support::{Program, await_descriptors, descriptors, kill, sockets, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_prefork");
const WORKERS: usize = 3;

fn start(arguments: &[&str]) -> (Program, SocketAddr) {
    let workers = WORKERS.to_string();
    let program =
        Program::start(PROGRAM, &[&["--addr", "127.0.0.1:0", "--workers", &workers], arguments].concat());
    let address = program.address();
    until("the workers", || workers_of(&program).len() == WORKERS);
    (program, address)
}

fn workers_of(program: &Program) -> Vec<u32> {
    let mut processes = program.processes();
    processes.retain(|pid| *pid != program.pid());
    processes
}

/// Connects and asks until each of `wanted` has answered.
fn until_all_answer(address: SocketAddr, wanted: &[u32]) {
    let mut missing: HashSet<u64> = wanted.iter().copied().map(u64::from).collect();
    // Connections that stay, so that it is not always the same worker's turn.
    let mut open = Vec::new();
    until("an answer of each worker", || {
        let mut client = Client::connect(address).unwrap();
        missing.remove(&client.get().unwrap().number("pid"));
        open.push(client);
        missing.is_empty()
    });
}

fn all_serve_and_end(mode: &str, signal: i32) {
    let (program, address) = start(&["--mode", mode]);
    let workers = workers_of(&program);
    until_all_answer(address, &workers);
    // Of its parent's, each has the listener and nothing else.
    until("the ends of all connections", || workers.iter().all(|worker| sockets(*worker) == 1));
    let before: Vec<usize> = workers.iter().map(|worker| descriptors(*worker)).collect();
    until_all_answer(address, &workers);
    for (worker, before) in workers.iter().zip(before) {
        await_descriptors(*worker, before);
    }
    let mut client = Client::connect(address).unwrap();
    client.get().unwrap();
    assert_eq!(program.errors(), "");
    program.signal(signal);
    assert!(client.is_ended());
    let mut program = program;
    assert_eq!(program.wait(), Some(0));
    assert_eq!(program.processes(), []);
    assert_eq!(program.errors(), "");
    assert!(get(address).is_err());
}

#[test]
fn all_workers_serve_and_end_by_sigterm() {
    all_serve_and_end("polled", libc::SIGTERM);
}

#[test]
fn all_workers_serve_entered_and_end_by_sigint() {
    all_serve_and_end("entered", libc::SIGINT);
}

#[test]
fn workers_that_are_killed_are_replaced_while_the_others_serve() {
    let (program, address) = start(&[]);
    let (is_over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // A connection of the worker that is killed breaks; every other one is served.
                    if get(address).is_ok() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _over = Over(&is_over);
        for round in 1..=5 {
            let killed = workers_of(&program)[0];
            kill(killed, libc::SIGKILL);
            until("its replacement", || {
                let workers = workers_of(&program);
                workers.len() == WORKERS && !workers.contains(&killed)
            });
            let before = answered.load(Ordering::Relaxed);
            until("more answers", || answered.load(Ordering::Relaxed) > before + 50);
            until("a word about it", || program.errors().lines().count() == round);
            let expected = format!("prefork: worker {killed} has ended: signal: 9 (SIGKILL)");
            assert!(program.errors().contains(&expected), "{}", program.errors());
        }
    });
    until_all_answer(address, &workers_of(&program));
    let mut program = program;
    program.signal(libc::SIGTERM);
    assert_eq!(program.wait(), Some(0));
    assert_eq!(program.processes(), []);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All that was not accepted by the one that is killed is served by the others.
#[test]
fn a_worker_that_hangs_takes_nothing_along() {
    let (program, address) = start(&[]);
    let workers = workers_of(&program);
    kill(workers[0], libc::SIGSTOP);
    let served = || {
        let client = Client::connect(address).unwrap();
        let short = Some(std::time::Duration::from_millis(500));
        client.stream.set_read_timeout(short).unwrap();
        { client }.get().is_ok_and(|response| response.number("pid") != u64::from(workers[0]))
    };
    until("an answer of another", served);
    kill(workers[0], libc::SIGKILL);
    until("its replacement", || workers_of(&program).len() == WORKERS && workers_of(&program) != workers);
    until_all_answer(address, &workers_of(&program));
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

#[test]
fn a_signal_to_a_worker_is_not_the_parents() {
    let (program, address) = start(&[]);
    let workers = workers_of(&program);
    until_all_answer(address, &workers);
    for worker in &workers {
        // A terminal's Ctrl-C, of which the parent sees nothing here.
        kill(*worker, libc::SIGINT);
    }
    until_all_answer(address, &workers);
    kill(workers[1], libc::SIGTERM);
    until("its replacement", || {
        let now = workers_of(&program);
        now.len() == WORKERS && !now.contains(&workers[1])
    });
    assert!(program.errors().contains(&format!("worker {} has ended: exit status: 0", workers[1])));
    until_all_answer(address, &workers_of(&program));
    assert_eq!(program.end(libc::SIGTERM), Some(0));
}

#[test]
fn workers_end_with_a_parent_that_is_killed() {
    let (mut program, address) = start(&[]);
    let workers = workers_of(&program);
    until_all_answer(address, &workers);
    let mut client = Client::connect(address).unwrap();
    client.get().unwrap();
    client.send(&REQUEST[..5]).unwrap();
    program.signal(libc::SIGKILL);
    assert_eq!(program.wait(), None);
    for worker in workers {
        assert_eq!(http_support::reap(worker), 0);
    }
    assert_eq!(program.processes(), []);
}

#[test]
fn an_end_that_comes_at_once_is_an_end() {
    for _ in 0..10 {
        let program = Program::start(PROGRAM, &["--addr", "127.0.0.1:0", "--workers", "2"]);
        program.address();
        assert_eq!(program.end(libc::SIGTERM), Some(0));
    }
}

#[test]
fn wrong_use_is_explained() {
    http_support::check_use(
        PROGRAM,
        &[
            (&["--help"], 0, "A worker that ends is replaced"),
            (&["--version"], 0, "prefork 0."),
            (&[], 2, "--addr HOST:PORT is missing"),
            (&["--addr", "127.0.0.1:0", "--workers", "0"], 2, "the number of workers is 1 or more"),
            (&["--addr", "127.0.0.1:0", "--workers", "many"], 2, "the number of workers is 1 or more"),
            (&["--addr", "256.0.0.1:0"], 1, "can't listen on 256.0.0.1:0"),
        ],
    );
}
