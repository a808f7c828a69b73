//! One connection of the client: a message out, the same bytes back, then the next message.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bits of a message's stamp that hold its number; the connection's index stands above them.
const NUMBER_BITS: u32 = 40;
/// Makes every 8 bytes of a message differ from its other ones.
const WORD_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A connection with at most one message under way.
pub(super) struct Connection {
    stream: TcpStream,
    index: usize,
    /// The number of the last message sent.
    number: u64,
    message: Vec<u8>,
    written: usize,
    answer: Vec<u8>,
    read: usize,
    sent_at: Instant,
    waiting: bool,
}

impl Connection {
    /// Connects and registers for events under the connection's index.
    pub(super) fn connect(
        addr: SocketAddr,
        index: usize,
        size: usize,
        registry: &Registry,
    ) -> io::Result<Connection> {
        let stream = net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection {
            stream,
            index,
            number: 0,
            message: vec![0; size],
            written: 0,
            answer: vec![0; size],
            read: 0,
            sent_at: Instant::now(),
            waiting: false,
        })
    }

    /// Sends the next message; what the socket does not take now goes when it is writable.
    pub(super) fn send(&mut self, now: Instant) -> io::Result<()> {
        self.number += 1;
        fill(&mut self.message, self.index, self.number);
        (self.written, self.read, self.sent_at, self.waiting) = (0, 0, now, true);
        self.write()
    }

    /// Goes on after an event; true if the whole answer has arrived and is right.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        if !self.waiting {
            return Ok(false);
        }
        self.write()?;
        while self.read < self.answer.len() {
            match self.stream.read(&mut self.answer[self.read..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by the server")),
                Ok(count) => self.read += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        check(&self.message, &self.answer)?;
        self.waiting = false;
        Ok(true)
    }

    /// When the last message was sent.
    pub(super) fn sent_at(&self) -> Instant {
        self.sent_at
    }

    /// Whether an answer is owed.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.message.len() {
            match self.stream.write(&self.message[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, number, read) = (self.index, self.number, self.read);
        write!(formatter, "connection {index} (message {number}, {read} bytes back)")
    }
}

/// Writes the stamp of a message, then the rest of it, each 8 bytes derived from the stamp and their place.
fn fill(message: &mut [u8], index: usize, number: u64) {
    let stamp = (index as u64) << NUMBER_BITS | number;
    for (place, chunk) in message.chunks_mut(8).enumerate() {
        let word = stamp ^ (place as u64).wrapping_mul(WORD_STEP);
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// An error naming the first byte that differs, and whose message the answer seems to be.
fn check(message: &[u8], answer: &[u8]) -> io::Result<()> {
    let Some(place) = message.iter().zip(answer).position(|(sent, got)| sent != got) else {
        return Ok(());
    };
    let stamp = |bytes: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[..8]);
        let word = u64::from_le_bytes(word);
        format!("connection {}, message {}", word >> NUMBER_BITS, word & ((1 << NUMBER_BITS) - 1))
    };
    let (sent, got) = (stamp(message), stamp(answer));
    let error = format!("wrong answer at byte {place}: sent [{sent}], got back what starts like [{got}]");
    Err(io::Error::new(ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let mut message = vec![0; 67];
        fill(&mut message, 5, 77);
        check(&message, &message.clone()).unwrap();
        for place in 0..message.len() {
            let mut answer = message.clone();
            answer[place] ^= 1;
            let error = check(&message, &answer).unwrap_err().to_string();
            assert!(error.contains(&format!("at byte {place}:")), "{error}");
        }
    }

    #[test]
    fn another_connections_message_is_named() {
        let (mut message, mut answer) = (vec![0; 64], vec![0; 64]);
        fill(&mut message, 5, 77);
        fill(&mut answer, 6, 77);
        let error = check(&message, &answer).unwrap_err().to_string();
        assert!(error.contains("sent [connection 5, message 77]"), "{error}");
        assert!(error.contains("[connection 6, message 77]"), "{error}");
    }
}
