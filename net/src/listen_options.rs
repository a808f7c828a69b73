//! How a listener is bound: backlog, sharing of the address, buffer sizes.

use std::io;
use std::net::SocketAddr;

use runtime::op;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::{ToAddresses, resolve};
use crate::listener::TcpListener;

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
            let mut bound = self.bind_one(address);
            if matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
                // By a listener that was dropped just now, perhaps: a poller holds files until the end of the pass in which
                // it reported what it did with them. What it reports here comes from another pass, and that from a third,
                // in case it was serving another core's ring in the first.
                for _ in 0..2 {
                    let _ = op::nop().await;
                }
                bound = self.bind_one(address);
            }
            match bound {
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
