//! The limit: the same server on a bare ring, without a runtime.

#![allow(
    unsafe_code,
    reason = "requests name memory, descriptors and shared rings by address; no runtime keeps them"
)]

mod buffers;
mod multishot;
mod oneshot;
mod ring;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{cqueue, opcode, types::Fd};

use super::{Config, announce};
use crate::sides::Mode;
use multishot::Multishot;
use oneshot::Oneshot;
use ring::Ring;

/// Which loop.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Whether one receive request serves a connection for good, with buffers that the kernel picks.
    pub(crate) multishot: bool,
    /// Whether the thread spins before it parks.
    pub(crate) spin: bool,
}

/// What a completion is for: an operation, and the key of its connection.
#[derive(Clone, Copy)]
struct Token {
    operation: Operation,
    key: usize,
}

#[derive(Clone, Copy)]
enum Operation {
    Accept,
    Receive,
    Send,
}

const ACCEPT: Token = Token { operation: Operation::Accept, key: 0 };

impl Token {
    fn to_user_data(self) -> u64 {
        (self.key as u64) << 2 | self.operation as u64
    }

    fn from_user_data(user_data: u64) -> Token {
        let operation = match user_data & 3 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            _ => Operation::Send,
        };
        Token { operation, key: (user_data >> 2) as usize }
    }
}

/// The connections of a server, in one of two ways.
trait Connections {
    /// Starts to receive on a new connection.
    fn accepted(&mut self, ring: &mut Ring, stream: TcpStream) -> io::Result<()>;
    /// Continues a connection after one of its requests completed.
    fn completed(&mut self, ring: &mut Ring, token: Token, entry: &cqueue::Entry) -> io::Result<()>;
}

/// Serves until the process is killed.
pub(crate) fn serve(config: &Config, settings: Settings) -> io::Result<()> {
    let listener = TcpListener::bind(config.addr)?;
    announce(listener.local_addr()?)?;
    let mut ring = Ring::new(settings)?;
    if settings.multishot {
        let connections = Multishot::new(&mut ring, config.size)?;
        run(ring, &listener, connections)
    } else {
        run(ring, &listener, Oneshot::new(config.size))
    }
}

fn run(mut ring: Ring, listener: &TcpListener, mut connections: impl Connections) -> io::Result<()> {
    let mut completed = Vec::new();
    accept(&mut ring, listener)?;
    loop {
        ring.reap(&mut completed)?;
        for entry in completed.drain(..) {
            let token = Token::from_user_data(entry.user_data());
            match token.operation {
                Operation::Accept => {
                    let descriptor = count(&entry)?;
                    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
                    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(descriptor as i32) });
                    stream.set_nodelay(true)?;
                    connections.accepted(&mut ring, stream)?;
                    if !cqueue::more(entry.flags()) {
                        accept(&mut ring, listener)?;
                    }
                }
                Operation::Receive | Operation::Send => connections.completed(&mut ring, token, &entry)?,
            }
        }
    }
}

/// Asks for all connections to come.
fn accept(ring: &mut Ring, listener: &TcpListener) -> io::Result<()> {
    let request = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
    // SAFETY: the request names no memory, and the listener outlives the ring.
    unsafe { ring.push(request.user_data(ACCEPT.to_user_data())) }
}

/// A completion's result as a count, or the error it stands for.
fn count(entry: &cqueue::Entry) -> io::Result<usize> {
    usize::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()))
}
