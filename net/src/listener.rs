//! Listening sockets: binding with options, accepting one by one or by a multishot request.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::lock::Mutex;
use runtime::fd::Fd;
use runtime::op::{self, Accept, AcceptMany, Op, OpStream};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::address::{ToAddresses, resolve};
use crate::stream::TcpStream;

/// How a listener is bound.
///
/// # Examples
///
/// One listener per core, between which the kernel spreads the connections:
///
/// ```
/// use net::ListenOptions;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let options = ListenOptions::new().reuse_port(true);
///     let first = options.bind("127.0.0.1:0").await?;
///     let address = first.local_addr()?;
///     for handle in runtime::on_every_core(move |_core| {
///         let options = options.clone();
///         async move { options.bind(address).await?.local_addr() }
///     }) {
///         assert_eq!(handle.await??, address);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ListenOptions {
    backlog: u32,
    reuse_address: bool,
    reuse_port: bool,
    only_v6: Option<bool>,
    recv_buffer_bytes: Option<usize>,
    send_buffer_bytes: Option<usize>,
}

impl ListenOptions {
    /// The defaults: a backlog of 4,096, `SO_REUSEADDR` on, everything else as the system has it.
    pub fn new() -> Self {
        ListenOptions {
            backlog: 4096,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            recv_buffer_bytes: None,
            send_buffer_bytes: None,
        }
    }

    /// How many connections may wait to be accepted; the kernel caps it at the sysctl `net.core.somaxconn`. `listen(2)`.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether an address may be bound while old connections of it linger. `SO_REUSEADDR`, `socket(7)`.
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Whether several listeners of this user may share the address, with the kernel spreading connections between them.
    /// `SO_REUSEPORT`, `socket(7)`.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Whether an IPv6 listener refuses IPv4. `IPV6_V6ONLY`, `ipv6(7)`.
    pub fn only_v6(mut self, on: bool) -> Self {
        self.only_v6 = Some(on);
        self
    }

    /// Receive buffer of accepted connections in bytes, which the kernel doubles. `SO_RCVBUF`, `socket(7)`.
    pub fn recv_buffer_bytes(mut self, bytes: usize) -> Self {
        self.recv_buffer_bytes = Some(bytes);
        self
    }

    /// Send buffer of accepted connections in bytes, which the kernel doubles. `SO_SNDBUF`, `socket(7)`.
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.send_buffer_bytes = Some(bytes);
        self
    }

    /// Binds and listens on the first of the addresses that can be bound.
    ///
    /// # Errors
    ///
    /// Those of `bind(2)`, `listen(2)` and the look-up, of the last address tried.
    pub async fn bind(&self, addresses: impl ToAddresses) -> io::Result<TcpListener> {
        let mut last = None;
        for address in resolve(addresses).await? {
            match self.bind_one(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
    }

    fn bind_one(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(self.reuse_address)?;
        socket.set_reuse_port(self.reuse_port)?;
        if let Some(only) = self.only_v6.filter(|_| address.is_ipv6()) {
            socket.set_only_v6(only)?;
        }
        if let Some(bytes) = self.recv_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(self.backlog).unwrap_or(i32::MAX))?;
        Ok(TcpListener::from_owned(socket.into()))
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A socket that accepts TCP connections.
///
/// Dropping it frees its port before the drop returns, unless an [`Incoming`] or an accept in flight still holds it: then as
/// soon as that has ended; [`close`](TcpListener::close) waits for that.
#[derive(Debug)]
pub struct TcpListener {
    fd: Fd,
    /// The accept in flight. It stays when the future that awaits it is dropped, for the next one: cancelled, it could take
    /// with it the connection that has just arrived, or the kernel's word that one has.
    accepting: Mutex<Option<Op<Accept>>>,
}

impl TcpListener {
    /// Binds and listens with the default [`ListenOptions`]. Port 0 lets the kernel choose; see
    /// [`local_addr`](TcpListener::local_addr).
    ///
    /// # Errors
    ///
    /// Those of `bind(2)`, `listen(2)` and the look-up of a name.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    ///     assert_ne!(listener.local_addr()?.port(), 0);
    ///     Ok(())
    /// }
    /// ```
    pub async fn bind(addresses: impl ToAddresses) -> io::Result<Self> {
        ListenOptions::new().bind(addresses).await
    }

    /// Takes over a listening socket, in blocking mode or not.
    pub fn from_std(listener: std::net::TcpListener) -> Self {
        Self::from_owned(listener.into())
    }

    fn from_owned(owned: OwnedFd) -> Self {
        TcpListener { fd: Fd::new_prompt(owned), accepting: Mutex::default() }
    }

    /// Accepts the next connection; gives it and its peer's address.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`. After `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` the connection still waits: free something,
    /// or wait a while, before the next try.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no connection is lost: the next call gets it. Several calls at the same time take turns.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut accepting = self.accepting.lock().await;
        let accepted = accepting.get_or_insert_with(|| op::accept(&self.fd)).await;
        *accepting = None;
        let (fd, address) = accepted?;
        let address = address.as_socket().ok_or_else(|| not_ip(&address))?;
        Ok((TcpStream::from_fd(fd), address))
    }

    /// The connections, by one multishot request for as long as the stream lives: cheaper than
    /// [`accept`](TcpListener::accept) again and again.
    pub fn incoming(&self) -> Incoming {
        Incoming { accepts: op::accept_many(&self.fd) }
    }

    /// The address that the listener is bound to.
    ///
    /// # Errors
    ///
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(self).local_addr()?;
        address.as_socket().ok_or_else(|| not_ip(&address))
    }

    /// Closes the listener, after the operations in flight on it have ended.
    ///
    /// # Errors
    ///
    /// Those of `close(2)`.
    pub async fn close(self) -> io::Result<()> {
        drop(self.accepting);
        self.fd.close().await
    }
}

pub(crate) fn not_ip(address: &SockAddr) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not an IP socket: family {}", address.family()))
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A stream of connections; made by [`TcpListener::incoming`].
///
/// An error is its last item: after `EMFILE`, say, make a new one when there are descriptors again.
///
/// # Cancel safety
///
/// Dropping the stream ends the request. Connections that it had accepted and that were not taken are closed.
///
/// # Examples
///
/// ```
/// use futures::StreamExt;
/// use net::{TcpListener, TcpStream};
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let _client = TcpStream::connect(listener.local_addr()?).await?;
///     let mut incoming = listener.incoming();
///     if let Some(stream) = incoming.next().await {
///         println!("{}", stream?.peer_addr()?);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Incoming {
    accepts: OpStream<AcceptMany>,
}

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = std::task::ready!(Pin::new(&mut self.accepts).poll_next(cx));
        Poll::Ready(accepted.map(|result| result.map(TcpStream::from_fd)))
    }
}
