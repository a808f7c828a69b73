//! Listening sockets: accepting one by one, stopping without losing a connection, taking over an inherited socket.
//!
//! **A connection is never lost between two owners.** The kernel takes a connection out of the listener's queue at a moment
//! of its own choosing, so an accept that is given up may have one already. Therefore an accept stays in flight when its
//! future is dropped, for the next call ([`TcpListener::accept`]); and whoever wants to hand the listener to somebody else -
//! another process, the next image of this one - asks for the outcome of what is in flight ([`TcpListener::stop`],
//! [`Incoming::stop`]). What has not been accepted waits in the queue of the socket, for whoever accepts next.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::lock::Mutex;
use runtime::fd::Fd;
use runtime::op::{self, Accept, Op};
use runtime::task::yield_now;
use socket2::{Domain, SockAddr, SockRef, Type};

use crate::address::ToAddresses;
use crate::incoming::Incoming;
use crate::listen_options::ListenOptions;
use crate::stream::TcpStream;

/// A socket that accepts TCP connections.
///
/// Dropping it frees its port before the drop returns, unless an [`Incoming`] or an accept in flight still holds it: then as
/// soon as that has ended; [`close`](TcpListener::close) waits for that. Under a poller, the last accept may hold it for
/// another moment after its end: `close` and the next [`bind`](TcpListener::bind) wait for that too.
#[derive(Debug)]
pub struct TcpListener {
    fd: Fd,
    /// The accept in flight. It stays when the future that awaits it is dropped, for the next one: cancelled, it could take
    /// with it the connection that has just arrived, or the kernel's word that one has.
    accepting: RefCell<Option<Op<Accept>>>,
    /// Whose turn it is to await that.
    turn: Mutex<()>,
    /// No accept is started.
    stopped: Cell<bool>,
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

    pub(crate) fn from_owned(owned: OwnedFd) -> Self {
        TcpListener {
            fd: Fd::new_prompt(owned),
            accepting: RefCell::default(),
            turn: Mutex::default(),
            stopped: Cell::default(),
        }
    }

    /// The listening sockets that whoever started this program has handed over under `name`: the image that it was before
    /// ([`runtime::guard::Upgrade`]), or a service manager (`systemd.socket(5)`, `FileDescriptorName=`). None, if there are
    /// none; each can be taken once.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a descriptor of that name is not a listening TCP socket. All of that name are closed then.
    ///
    /// # Examples
    ///
    /// A server that starts by itself, under socket activation, and again after an upgrade:
    ///
    /// ```
    /// use net::TcpListener;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = match TcpListener::inherited("http")?.pop() {
    ///         Some(listener) => listener,
    ///         None => TcpListener::bind("127.0.0.1:0").await?,
    ///     };
    ///     println!("listening on {}", listener.local_addr()?);
    ///     Ok(())
    /// }
    /// ```
    pub fn inherited(name: &str) -> io::Result<Vec<Self>> {
        let mut listeners = Vec::new();
        for owned in runtime::guard::inherited(name) {
            check_listening(&owned).map_err(|error| {
                let (fd, kind) = (owned.as_raw_fd(), io::ErrorKind::InvalidInput);
                io::Error::new(kind, format!("descriptor {fd}, inherited as {name:?}: {error}"))
            })?;
            listeners.push(Self::from_owned(owned));
        }
        Ok(listeners)
    }

    /// Accepts the next connection; gives it and its peer's address.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`. After `EMFILE`, `ENFILE`, `ENOBUFS` and `ENOMEM` the connection still waits: free something,
    /// or wait a while, before the next try. `ECANCELED` once the listener was told to [`stop`](TcpListener::stop).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no connection is lost: the next call gets it. Several calls at the same time take turns.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let turn = self.turn.lock().await;
        loop {
            let is_kept = self.accepting.borrow().is_some();
            if !is_kept && self.stopped.get() {
                drop(turn);
                // A loop that goes on after errors must let others run.
                yield_now().await;
                return Err(io::Error::from_raw_os_error(libc::ECANCELED));
            }
            if !is_kept {
                self.accepting.replace(Some(op::accept(&self.fd)));
            }
            match self.accepted().await {
                Err(error) if is_of_the_past(&error) && (is_kept || self.stopped.get()) => {}
                accepted => return accepted,
            }
        }
    }

    /// The outcome of the accept in flight.
    async fn accepted(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, address) = poll_fn(|cx| self.poll_accepted(cx)).await?;
        let address = address.as_socket().ok_or_else(|| not_ip(&address))?;
        Ok((TcpStream::from_fd(fd), address))
    }

    fn poll_accepted(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Fd, SockAddr)>> {
        // Not borrowed while it is polled: that clones and drops wakers, which is code of others.
        let mut accept = self.accepting.take().expect("whoever has the turn has started an accept");
        let accepted = Pin::new(&mut accept).poll(cx);
        if accepted.is_pending() {
            self.accepting.replace(Some(accept));
        }
        accepted
    }

    /// Accepts no more by [`accept`](TcpListener::accept), so that the listener can be handed to somebody else without a
    /// connection being lost. Calls that wait get `ECANCELED`, or the connection that had come after all, and so do later ones
    /// until [`resume`](TcpListener::resume). If nobody waits, but a call that was dropped had come to a connection, this gives
    /// it. When this is done, nothing more is taken from the queue of the socket.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`, of an accept that had failed before it could be ended. The listener has stopped then too.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no connection is lost: the next call of this, or of `accept`, gets it.
    ///
    /// # Examples
    ///
    /// ```
    /// use net::{TcpListener, TcpStream};
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = std::rc::Rc::new(TcpListener::bind("127.0.0.1:0").await?);
    ///     let accepting = std::rc::Rc::clone(&listener);
    ///     let accepts = runtime::spawn(async move {
    ///         while let Ok((stream, _peer)) = accepting.accept().await {
    ///             drop(runtime::spawn(async move { stream.write_all("hello").await.0 }));
    ///         }
    ///     });
    ///     assert!(listener.stop().await?.is_none());
    ///     accepts.await?;
    ///     // This one waits until somebody accepts again.
    ///     let _client = TcpStream::connect(listener.local_addr()?).await?;
    ///     listener.resume();
    ///     listener.accept().await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn stop(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.stopped.set(true);
        if let Some(accept) = &*self.accepting.borrow() {
            accept.cancel();
        }
        // Those who wait come first.
        let _turn = self.turn.lock().await;
        if self.accepting.borrow().is_none() {
            return Ok(None);
        }
        match self.accepted().await {
            Err(error) if is_of_the_past(&error) => Ok(None),
            accepted => accepted.map(Some),
        }
    }

    /// Accepts again after a [`stop`](TcpListener::stop).
    pub fn resume(&self) {
        self.stopped.set(false);
    }

    /// The connections, by one multishot request for as long as the stream lives: cheaper than
    /// [`accept`](TcpListener::accept) again and again. But where several processes or cores accept from one listening socket,
    /// the kernel wakes always the same one of those that wait with a multishot request, and the others get nothing: call
    /// `accept` there, or give each a listener of its own ([`ListenOptions::reuse_port`]).
    pub fn incoming(&self) -> Incoming {
        Incoming::new(&self.fd)
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

/// Whether an accept that was kept failed for a reason that no longer counts: it was cancelled, or it was begun by the
/// process that this one was forked from.
fn is_of_the_past(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EOWNERDEAD))
}

/// Refuses what is not a listening TCP socket; keeps it from programs that are started.
fn check_listening(owned: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(owned);
    check_tcp(&socket)?;
    if !socket.is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket that does not listen"));
    }
    socket.set_cloexec(true)
}

pub(crate) fn check_tcp(socket: &SockRef<'_>) -> io::Result<()> {
    let (domain, kind) = (socket.domain()?, socket.r#type()?);
    if kind != Type::STREAM || !matches!(domain, Domain::IPV4 | Domain::IPV6) {
        let error = format!("not a TCP socket: {domain:?}, {kind:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    Ok(())
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
