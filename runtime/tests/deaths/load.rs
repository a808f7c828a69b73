//! A load under which every byte is known: whoever receives one knows which it must be. So nothing can be lost, come twice or
//! come late without being noticed.
//!
//! - *Echoes*: over a pair of sockets, messages of random lengths go to a server and back; each carries its number. One half
//!   of the clients waits for each answer, the other half sends on, so that queues fill.
//! - *Pipes*: numbered records in one direction.
//! - *Visitors*: a plain thread connects, says a number, wants to hear it again, and goes; a multishot accept serves it.
//! - *Quitters*: receives that nothing comes for are dropped after a random time; their buffers are counted.
//! - *Files*: blocks are written, synced, read again.
//!
//! All of them pause at random, so that cores also sleep.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use runtime::JoinHandle;
use runtime::buf::IoBuf;
use runtime::fd::Fd;
use runtime::op::{accept_many, read_at, recv, send, shutdown, sync_data, write_at};

use super::Random;
use super::scene::HERE;
use super::watchdog::Progress;
use crate::common::{Counted, PATIENCE};

/// What all parts of the load share.
#[derive(Clone)]
pub struct Load {
    pub progress: Progress,
    pub stop: Arc<AtomicBool>,
    pub seed: u64,
}

/// The bytes from `at` on of the endless stream that a sender and its receiver agree on.
fn expected(seed: u64, at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64).map(|at| (at.wrapping_mul(0x9E37_79B1).wrapping_add(seed) >> 11) as u8).collect()
}

/// A message: its number, and bytes that depend on it.
fn message(seed: u64, number: u64, random: &mut Random) -> Vec<u8> {
    let len = 12 + if random.below(8) == 0 { random.below(20_000) } else { random.below(200) } as usize;
    let mut message = number.to_le_bytes().to_vec();
    message.extend_from_slice(&(len as u32).to_le_bytes());
    message.extend(expected(seed ^ number, 0, len - 12));
    message
}

/// Checks messages as they come, in whatever pieces.
struct Checker {
    seed: u64,
    number: u64,
    rest: Vec<u8>,
}

impl Checker {
    /// Returns how many messages these bytes complete.
    fn check(&mut self, bytes: &[u8]) -> u64 {
        self.rest.extend_from_slice(bytes);
        let before = self.number;
        while self.rest.len() >= 12 {
            let number = u64::from_le_bytes(self.rest[..8].try_into().expect("8 bytes"));
            assert_eq!(number, self.number, "a message is lost, or came twice");
            let len = u32::from_le_bytes(self.rest[8..12].try_into().expect("4 bytes")) as usize;
            if self.rest.len() < len {
                break;
            }
            assert!(self.rest[12..len] == expected(self.seed ^ number, 0, len - 12), "message {number}");
            self.rest.drain(..len);
            self.number += 1;
        }
        self.number - before
    }
}

/// Sends all of it, whether the kernel does so at once or in parts.
async fn send_all(fd: &Fd, mut bytes: Vec<u8>) {
    let mut sent = 0;
    while sent < bytes.len() {
        let (result, slice) = send(fd, bytes.slice(sent..), true).await;
        sent += result.expect("the other end is open");
        bytes = slice.into_inner();
    }
}

impl Load {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn pause(&self, random: &mut Random) {
        if random.below(16) == 0 {
            runtime::time::sleep(Duration::from_micros(random.below(3000))).await;
        }
    }

    /// Starts everything, spread over all cores. Each handle gives how many messages there were.
    pub fn start(&self, connections: u64) -> Vec<JoinHandle<u64>> {
        let cores = runtime::cores() as u64;
        let mut handles = Vec::new();
        for n in 0..connections {
            let (one, other) = ((n % cores) as usize, (n / 2 % cores) as usize);
            let (near, far) = UnixStream::pair().expect("a pair of sockets");
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
            let load = Load { seed: self.seed ^ n << 32, ..self.clone() };
            let (a, b, c, d) = (load.clone(), load.clone(), load.clone(), load.clone());
            handles.push(runtime::spawn_on(one, move || serve(Fd::new(OwnedFd::from(far)))));
            let near = OwnedFd::from(near);
            handles.push(runtime::spawn_on(other, move || a.client(Fd::new(near), n % 2 == 0)));
            handles.push(runtime::spawn_on(other, move || b.write_pipe(Fd::new(writer))));
            handles.push(runtime::spawn_on(one, move || c.read_pipe(Fd::new(reader))));
            handles.push(runtime::spawn_on(one, move || d.quit()));
        }
        for core in 0..cores as usize {
            let (files, welcome) = (self.clone(), self.clone());
            handles.push(runtime::spawn_on(core, move || files.file()));
            handles.push(runtime::spawn_on(core, move || welcome.welcome()));
        }
        handles
    }

    /// Sends numbered messages and checks the echoes.
    async fn client(self, fd: Fd, in_step: bool) -> u64 {
        let mut random = Random::new(self.seed);
        let checker = Rc::new(RefCell::new(Checker { seed: self.seed, number: 0, rest: Vec::new() }));
        let receiver = runtime::spawn({
            let (fd, checker, progress) = (fd.clone(), Rc::clone(&checker), self.progress.clone());
            async move {
                let mut buf = Vec::with_capacity(4096);
                loop {
                    let place = buf.as_ptr();
                    let (result, back) = recv(&fd, buf).await;
                    let len = result.expect("the server is there");
                    assert_eq!(back.as_ptr(), place, "the buffer has moved");
                    if len == 0 {
                        return;
                    }
                    if checker.borrow_mut().check(&back[..len]) > 0 {
                        progress.step();
                    }
                    buf = back;
                }
            }
        });
        let mut number = 0;
        while !self.stopped() {
            send_all(&fd, message(self.seed, number, &mut random)).await;
            number += 1;
            while in_step && checker.borrow().number < number {
                runtime::time::sleep(Duration::from_micros(300)).await;
            }
            self.pause(&mut random).await;
        }
        shutdown(&fd, std::net::Shutdown::Write).await.expect("the socket is open");
        receiver.await.expect("all echoes were right");
        let checker = checker.borrow();
        assert_eq!((checker.number, checker.rest.len()), (number, 0), "echoes are missing at the end");
        number
    }

    async fn write_pipe(self, fd: Fd) -> u64 {
        let (mut random, mut at) = (Random::new(self.seed + 1), 0);
        while !self.stopped() {
            let mut bytes = expected(self.seed, at, 1 + random.below(3000) as usize);
            at += bytes.len() as u64;
            let mut written = 0;
            while written < bytes.len() {
                let (result, slice) = write_at(&fd, bytes.slice(written..), HERE).await;
                written += result.expect("somebody reads");
                bytes = slice.into_inner();
            }
            self.pause(&mut random).await;
        }
        0
    }

    async fn read_pipe(self, fd: Fd) -> u64 {
        let (mut at, mut buf, mut records) = (0, Vec::with_capacity(1000), 0);
        loop {
            let (result, back) = read_at(&fd, buf, HERE).await;
            let len = result.expect("the pipe is open");
            if len == 0 {
                return records;
            }
            assert!(back[..len] == expected(self.seed, at, len), "{len} bytes at {at} are wrong");
            (at, buf, records) = (at + len as u64, back, records + 1);
            self.progress.step();
        }
    }

    /// Receives that are dropped while they wait.
    async fn quit(self) -> u64 {
        let (mut random, drops, mut made) = (Random::new(self.seed + 2), Rc::<Cell<usize>>::default(), 0);
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        let near = Fd::new(OwnedFd::from(near));
        while !self.stopped() {
            let time = Duration::from_micros(random.below(2000));
            let receive = recv(&near, Counted::new(64, &drops));
            made += 1;
            assert!(runtime::time::timeout(time, receive).await.is_err(), "nothing was sent");
        }
        crate::common::until("the last buffer", || drops.get() == made).await;
        far.write_all(b"now").expect("it is open");
        assert_eq!(recv(&near, Vec::with_capacity(8)).await.1, b"now", "a receive that was dropped took it");
        made as u64
    }

    async fn file(self) -> u64 {
        let (mut random, mut blocks) = (Random::new(self.seed + 3), 0);
        let file = tempfile::tempfile().expect("a temporary file");
        let file = Fd::new(OwnedFd::from(file));
        while !self.stopped() {
            let offset = random.below(64) * 4096;
            let block = expected(self.seed ^ blocks, offset, 4096);
            let (result, block) = write_at(&file, block, offset).await;
            assert_eq!(result.expect("there is room"), 4096);
            if random.below(8) == 0 {
                sync_data(&file).await.expect("it can be synced");
            }
            let (result, back) = read_at(&file, Vec::with_capacity(4096), offset).await;
            assert_eq!(result.expect("it was written"), 4096);
            assert!(back == block, "block {blocks} at {offset} is wrong");
            blocks += 1;
            runtime::time::sleep(Duration::from_micros(random.below(3000))).await;
        }
        blocks
    }

    /// Serves visitors, each of which must get its own number back.
    async fn welcome(self) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let listener = Fd::new_prompt(OwnedFd::from(listener));
        let accepter = runtime::spawn(async move {
            let mut connections = accept_many(&listener);
            while let Some(connection) = connections.next().await {
                drop(runtime::spawn(serve(connection.expect("a connection"))));
            }
        });
        let visits = runtime::spawn_blocking(move || self.visit(address)).await;
        accepter.abort();
        assert!(accepter.await.is_err_and(|error| error.is_aborted()), "the stream of connections has ended");
        visits.expect("each visitor was served")
    }

    /// On a plain thread.
    fn visit(&self, address: SocketAddr) -> u64 {
        let mut number = 0_u64;
        while !self.stopped() {
            let mut socket = TcpStream::connect(address).expect("it listens");
            socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
            socket.write_all(&number.to_le_bytes()).expect("it is open");
            let mut answer = [0; 8];
            socket.read_exact(&mut answer).expect("each is accepted, once");
            assert_eq!(u64::from_le_bytes(answer), number);
            number += 1;
            self.progress.step();
        }
        number
    }
}

/// Sends everything back, until the other end has finished.
async fn serve(fd: Fd) -> u64 {
    let (mut buf, mut blocks) = (Vec::with_capacity(2048), 0);
    loop {
        let (result, back) = recv(&fd, buf).await;
        let len = result.expect("the client is there");
        if len == 0 {
            return blocks;
        }
        let place = back.as_ptr();
        let (mut sent, mut bytes) = (0, back);
        while sent < len {
            let (result, slice) = send(&fd, bytes.slice(sent..len), true).await;
            sent += result.expect("the client is there");
            bytes = slice.into_inner();
        }
        assert_eq!(bytes.as_ptr(), place, "the buffer has moved");
        (buf, blocks) = (bytes, blocks + 1);
    }
}
