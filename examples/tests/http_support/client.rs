//! A plain HTTP client that takes nothing for granted: whatever is not a whole, well-formed response is an error.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
pub const LAST_REQUEST: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The number after a word of the body: `generation 3 pid 4711`.
    pub fn number(&self, word: &str) -> u64 {
        let mut words = self.body.split(' ').skip_while(|found| *found != word).skip(1);
        let number = words.next().and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no {word} in {self:?}"))
    }
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::on(TcpStream::connect(address)?)
    }

    /// A client on a connection that there is.
    pub fn on(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(super::PATIENCE))?;
        Ok(Client { stream, unread: Vec::new() })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next response.
    pub fn receive(&mut self) -> io::Result<Response> {
        self.receive_after("GET")
    }

    /// The next response, to a request of that method.
    pub fn receive_after(&mut self, method: &str) -> io::Result<Response> {
        let head = loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                break String::from_utf8(head).map_err(|error| malformed(&error.to_string()))?;
            }
            self.read_more()?;
        };
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let mut response =
            Response { status: status.ok_or_else(|| malformed(&head))?, head, body: String::new() };
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| malformed(&response.head))?;
        let length = if method == "HEAD" { 0 } else { length };
        while self.unread.len() < length {
            self.read_more()?;
        }
        response.body = self.unread.drain(..length).map(char::from).collect();
        Ok(response)
    }

    pub fn get(&mut self) -> io::Result<Response> {
        self.send(REQUEST)?;
        let response = self.receive()?;
        if response.status != 200 {
            return Err(malformed(&format!("{response:?}")));
        }
        Ok(response)
    }

    /// Whether the server has ended the connection, and sent nothing more.
    pub fn is_ended(&mut self) -> bool {
        self.unread.is_empty() && matches!(self.stream.read(&mut [0]), Ok(0))
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            len => {
                self.unread.extend_from_slice(&part[..len]);
                Ok(())
            }
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr) -> io::Result<Response> {
    Client::connect(address)?.get()
}
