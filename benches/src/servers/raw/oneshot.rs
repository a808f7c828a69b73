//! Single-shot requests: receive into the connection's buffer, send it back, receive again.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{cqueue, opcode, types::Fd};
use slab::Slab;

use super::super::ended;
use super::ring::Ring;
use super::{Connections, Operation, Token, count};

/// All connections, by key.
pub(super) struct Oneshot {
    connections: Slab<Connection>,
    size: usize,
}

/// A connection has exactly one request in flight, always.
struct Connection {
    stream: TcpStream,
    buf: Vec<u8>,
    /// Bytes received, and how many of them were sent back.
    received: usize,
    sent: usize,
}

impl Oneshot {
    /// None yet; messages of that length.
    pub(super) fn new(size: usize) -> Oneshot {
        Oneshot { connections: Slab::new(), size }
    }

    fn receive(&mut self, ring: &mut Ring, key: usize) -> io::Result<()> {
        let connection = &mut self.connections[key];
        let (fd, buf) = (Fd(connection.stream.as_raw_fd()), &mut connection.buf);
        let request = opcode::Recv::new(fd, buf.as_mut_ptr(), buf.len() as u32).build();
        let token = Token { operation: Operation::Receive, key };
        // SAFETY: the connection, its buffer's heap memory and its descriptor stay until this request completes:
        // `completed` is the only place that removes it, and no other request of it is in flight then.
        unsafe { ring.push(request.user_data(token.to_user_data())) }
    }

    fn send(&mut self, ring: &mut Ring, key: usize) -> io::Result<()> {
        let connection = &self.connections[key];
        let rest = &connection.buf[connection.sent..connection.received];
        let fd = Fd(connection.stream.as_raw_fd());
        let request =
            opcode::Send::new(fd, rest.as_ptr(), rest.len() as u32).flags(libc::MSG_WAITALL).build();
        let token = Token { operation: Operation::Send, key };
        // SAFETY: as in `receive`.
        unsafe { ring.push(request.user_data(token.to_user_data())) }
    }
}

impl Connections for Oneshot {
    fn accepted(&mut self, ring: &mut Ring, stream: TcpStream) -> io::Result<()> {
        let buf = vec![0; self.size];
        let key = self.connections.insert(Connection { stream, buf, received: 0, sent: 0 });
        self.receive(ring, key)
    }

    fn completed(&mut self, ring: &mut Ring, token: Token, entry: &cqueue::Entry) -> io::Result<()> {
        let key = token.key;
        let count = match count(entry) {
            Ok(count) if count > 0 => count,
            result => {
                self.connections.remove(key);
                ended(result.map(drop));
                return Ok(());
            }
        };
        let connection = &mut self.connections[key];
        match token.operation {
            Operation::Receive => (connection.received, connection.sent) = (count, 0),
            _ => connection.sent += count,
        }
        if connection.sent < connection.received { self.send(ring, key) } else { self.receive(ring, key) }
    }
}
