//! The addresses and socket options of a connection: system calls that take no time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;

use crate::listener::not_ip;
use crate::stream::TcpStream;

impl TcpStream {
    /// This side's address. `getsockname(2)`.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket().local_addr()?;
        address.as_socket().ok_or_else(|| not_ip(&address))
    }

    /// The other side's address. `getpeername(2)`.
    ///
    /// # Errors
    ///
    /// Those of `getpeername(2)`: `ENOTCONN` once the connection is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket().peer_addr()?;
        address.as_socket().ok_or_else(|| not_ip(&address))
    }

    /// Whether small writes are sent at once instead of being collected. `TCP_NODELAY`, `tcp(7)`.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.socket().set_tcp_nodelay(on)
    }

    /// See [`set_nodelay`](TcpStream::set_nodelay).
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket().tcp_nodelay()
    }

    /// What closing does with bytes that have not been sent: `None` sends them in the background; a duration of zero drops
    /// them and resets the connection. `SO_LINGER`, `socket(7)`.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket().set_linger(linger)
    }

    /// Whether, and after how much silence, the kernel asks if the peer is still there. `SO_KEEPALIVE`, `TCP_KEEPIDLE`,
    /// `tcp(7)`.
    ///
    /// # Errors
    ///
    /// Those of `setsockopt(2)`.
    pub fn set_keepalive(&self, after: Option<Duration>) -> io::Result<()> {
        match after {
            Some(after) => self.socket().set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(after)),
            None => self.socket().set_keepalive(false),
        }
    }

    /// The error that is pending on the connection, which is cleared by that. `SO_ERROR`, `socket(7)`.
    ///
    /// # Errors
    ///
    /// Those of `getsockopt(2)`.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().take_error()
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }
}
