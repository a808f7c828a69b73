//! Multishot receives: one request for a connection's life, a provided buffer for each message, sent back from there.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{cqueue, opcode, types::Fd};
use slab::Slab;

use super::super::ended;
use super::buffers::{Buffers, GROUP};
use super::ring::Ring;
use super::{Connections, Operation, Token, count};

/// All connections, by key, and the buffers that they share.
pub(super) struct Multishot {
    connections: Slab<Connection>,
    buffers: Buffers,
    /// Connections whose receive ended because no buffer was left.
    starved: Vec<usize>,
}

struct Connection {
    stream: TcpStream,
    /// What was received and not yet sent back, in order; while there is any, the first is being sent.
    received: VecDeque<Message>,
    /// Whether the client has closed: nothing more is received.
    closed: bool,
}

struct Message {
    buffer: u16,
    len: usize,
    sent: usize,
}

impl Multishot {
    /// None yet; messages of that length.
    pub(super) fn new(ring: &mut Ring, size: usize) -> io::Result<Multishot> {
        let buffers = Buffers::new(ring, size)?;
        Ok(Multishot { connections: Slab::new(), buffers, starved: Vec::new() })
    }

    fn receive(&mut self, ring: &mut Ring, key: usize) -> io::Result<()> {
        let fd = Fd(self.connections[key].stream.as_raw_fd());
        let token = Token { operation: Operation::Receive, key };
        let request = opcode::RecvMulti::new(fd, GROUP).build().user_data(token.to_user_data());
        // SAFETY: the group's memory is never freed; the connection stays until its last receive completed.
        unsafe { ring.push(request) }
    }

    fn send_first(&mut self, ring: &mut Ring, key: usize) -> io::Result<()> {
        let connection = &self.connections[key];
        let Some(message) = connection.received.front() else { return Ok(()) };
        let rest = &self.buffers.filled(message.buffer, message.len)[message.sent..];
        let fd = Fd(connection.stream.as_raw_fd());
        let request =
            opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).flags(libc::MSG_WAITALL).build();
        let token = Token { operation: Operation::Send, key };
        // SAFETY: the buffer's memory is never freed, and it is given back only after this completed; a connection
        // with a message is not removed.
        unsafe { ring.push(request.user_data(token.to_user_data())) }
    }

    fn on_receive(&mut self, ring: &mut Ring, key: usize, entry: &cqueue::Entry) -> io::Result<()> {
        let connection = &mut self.connections[key];
        match (count(entry), cqueue::buffer_select(entry.flags())) {
            (Ok(len), Some(buffer)) if len > 0 => {
                connection.received.push_back(Message { buffer, len, sent: 0 });
                let idle = connection.received.len() == 1;
                if !cqueue::more(entry.flags()) {
                    self.receive(ring, key)?;
                }
                return if idle { self.send_first(ring, key) } else { Ok(()) };
            }
            (Err(error), _) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.starved.push(key);
                return Ok(());
            }
            (result, buffer) => {
                ended(result.map(drop));
                connection.closed = true;
                if let Some(buffer) = buffer {
                    self.give(ring, buffer)?;
                }
            }
        }
        self.remove_if_done(key);
        Ok(())
    }

    fn on_send(&mut self, ring: &mut Ring, key: usize, entry: &cqueue::Entry) -> io::Result<()> {
        let Some(message) = self.connections[key].received.front_mut() else {
            return Err(io::Error::other("a send completed that nobody made"));
        };
        let failed = match count(entry) {
            Ok(count) => {
                message.sent += count;
                if message.sent < message.len {
                    return self.send_first(ring, key);
                }
                false
            }
            // The receive will tell that the connection is over.
            Err(error) => {
                ended(Err(error));
                true
            }
        };
        while let Some(message) = self.connections[key].received.pop_front() {
            self.give(ring, message.buffer)?;
            if !failed {
                break;
            }
        }
        self.send_first(ring, key)?;
        self.remove_if_done(key);
        Ok(())
    }

    /// Gives a buffer back, and another chance to a connection that had none.
    fn give(&mut self, ring: &mut Ring, buffer: u16) -> io::Result<()> {
        self.buffers.give(buffer);
        match self.starved.pop() {
            Some(key) => self.receive(ring, key),
            None => Ok(()),
        }
    }

    fn remove_if_done(&mut self, key: usize) {
        let connection = &self.connections[key];
        if connection.closed && connection.received.is_empty() {
            self.connections.remove(key);
        }
    }
}

impl Connections for Multishot {
    fn accepted(&mut self, ring: &mut Ring, stream: TcpStream) -> io::Result<()> {
        let key = self.connections.insert(Connection { stream, received: VecDeque::new(), closed: false });
        self.receive(ring, key)
    }

    fn completed(&mut self, ring: &mut Ring, token: Token, entry: &cqueue::Entry) -> io::Result<()> {
        match token.operation {
            Operation::Receive => self.on_receive(ring, token.key, entry),
            _ => self.on_send(ring, token.key, entry),
        }
    }
}
