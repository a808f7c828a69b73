//! TCP connections: connecting, reading, writing, options.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use runtime::buf::{IoBuf, IoBufMut};
use runtime::fd::Fd;
use runtime::op::{self, Op, Recv, Send};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::address::{ToAddresses, resolve};
use crate::listener::check_tcp;
use crate::split::{ReadHalf, WriteHalf};

/// The kernel reads and writes sockets at their own position: there is no offset.
const NO_OFFSET: u64 = u64::MAX;

/// A TCP connection.
///
/// All methods take `&self`: reading and writing at the same time needs no split, only two futures or two clones of an
/// `Rc`. Dropping it closes it in the background; what was written is still delivered.
///
/// For socket options that have no method here, `socket2::SockRef::from(&stream)` has them all.
#[derive(Debug)]
pub struct TcpStream {
    fd: Fd,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    ///
    /// Those of `connect(2)` and of the look-up of a name, of the last address tried.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connection that is being made is given up.
    pub async fn connect(addresses: impl ToAddresses) -> io::Result<Self> {
        let mut last = None;
        for address in resolve(addresses).await? {
            match Self::connect_one(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::InvalidInput.into()))
    }

    async fn connect_one(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        let fd = Fd::new(socket.into());
        op::connect(&fd, address.into()).await?;
        Ok(TcpStream { fd })
    }

    /// Takes over a connection, in blocking mode or not.
    pub fn from_std(stream: std::net::TcpStream) -> Self {
        Self::from_fd(Fd::new(stream.into()))
    }

    pub(crate) fn from_fd(fd: Fd) -> Self {
        TcpStream { fd }
    }

    /// The connection as `std` has it, in blocking mode as accepted or connected: to hand it to another core or thread.
    ///
    /// # Errors
    ///
    /// Gives the stream back while an operation is in flight on it.
    pub fn into_std(self) -> Result<std::net::TcpStream, Self> {
        self.fd.try_into_owned().map(std::net::TcpStream::from).map_err(TcpStream::from_fd)
    }

    /// Reads what has arrived, waiting for at least a byte, into `buf` from its start up to its capacity; gives the number
    /// of bytes, 0 when the peer has finished, and the buffer. A `Vec` is left with exactly that length. `recv(2)`.
    ///
    /// # Errors
    ///
    /// Those of `recv(2)`; `InvalidInput` if the buffer has no room.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, bytes that have arrived may be lost with the buffer. To stop waiting without losing any,
    /// [`cancel`](Op::cancel) it and await it to its end: then either the bytes have come, or `ECANCELED` and none.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::future::{Either, select};
    /// use net::{TcpListener, TcpStream};
    ///
    /// /// What the peer sends, if it sends something before `stop` is ready.
    /// async fn read_until(stream: &TcpStream, stop: impl Future<Output = ()> + Unpin) -> std::io::Result<Option<Vec<u8>>> {
    ///     let mut read = stream.read(Vec::with_capacity(4096));
    ///     let (result, buf) = match select(&mut read, stop).await {
    ///         Either::Left((output, _)) => output,
    ///         Either::Right(_) => {
    ///             read.cancel();
    ///             read.await
    ///         }
    ///     };
    ///     match result {
    ///         Ok(_) => Ok(Some(buf)),
    ///         Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(None),
    ///         Err(error) => Err(error),
    ///     }
    /// }
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let _silent = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (stream, _) = listener.accept().await?;
    ///     assert_eq!(read_until(&stream, std::future::ready(())).await?, None);
    ///     Ok(())
    /// }
    /// ```
    pub fn read<B: IoBufMut>(&self, buf: B) -> Op<Recv<B>> {
        op::recv(&self.fd, buf)
    }

    /// Reads until `buf` is full to its capacity. To read fewer bytes, give a [`slice`](IoBuf::slice).
    ///
    /// # Errors
    ///
    /// Those of `recv(2)`; `UnexpectedEof` if the peer finishes before. The buffer comes back with what was read.
    ///
    /// # Cancel safety
    ///
    /// As for [`read`](TcpStream::read).
    pub async fn read_exact<B: IoBufMut>(&self, mut buf: B) -> (io::Result<()>, B) {
        let total = buf.bytes_total();
        let mut filled = 0;
        while filled < total {
            let (result, slice) = self.read(buf.slice(filled..)).await;
            buf = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buf),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    /// As [`read`](TcpStream::read), filling the buffers one after the other. `readv(2)`.
    ///
    /// # Errors
    ///
    /// Those of `readv(2)`; `InvalidInput` if none of the buffers has room.
    pub async fn read_vectored<B: IoBufMut>(&self, bufs: Vec<B>) -> (io::Result<usize>, Vec<B>) {
        op::read_vectored_at(&self.fd, bufs, NO_OFFSET).await
    }

    /// Writes some of the initialised bytes of `buf`, as many as the connection takes now but at least one; gives how many,
    /// and the buffer. `send(2)`.
    ///
    /// # Errors
    ///
    /// Those of `send(2)`: `EPIPE` if the connection is broken, without a signal.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, any number of the bytes may have been sent. If it is [cancelled](Op::cancel) and awaited, it
    /// says how many; `ECANCELED` means none.
    pub fn write<B: IoBuf>(&self, buf: B) -> Op<Send<B>> {
        op::send(&self.fd, buf, false)
    }

    /// Writes all initialised bytes of `buf`.
    ///
    /// # Errors
    ///
    /// Those of `send(2)`; how many bytes had been sent before is unknown.
    ///
    /// # Cancel safety
    ///
    /// As for [`write`](TcpStream::write).
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> (io::Result<()>, B) {
        let total = buf.bytes_init();
        // The kernel goes on by itself until all is sent, so this is nearly always the only request.
        let (mut result, mut buf) = op::send(&self.fd, buf, true).await;
        let mut sent = 0;
        loop {
            match result {
                Ok(len) if sent + len >= total => return (Ok(()), buf),
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(len) => sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buf),
            }
            let (next, slice) = op::send(&self.fd, buf.slice(sent..), true).await;
            (result, buf) = (next, slice.into_inner());
        }
    }

    /// As [`write`](TcpStream::write), from several buffers one after the other. `writev(2)`.
    ///
    /// # Errors
    ///
    /// Those of `writev(2)`. A broken connection also raises `SIGPIPE`, which Rust programs ignore unless told otherwise.
    pub async fn write_vectored<B: IoBuf>(&self, bufs: Vec<B>) -> (io::Result<usize>, Vec<B>) {
        op::write_vectored_at(&self.fd, bufs, NO_OFFSET).await
    }

    /// Ends one direction or both: after `Shutdown::Write` the peer reads to the end. `shutdown(2)`.
    ///
    /// # Errors
    ///
    /// Those of `shutdown(2)`: `ENOTCONN` if the peer has reset the connection.
    pub async fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        op::shutdown(&self.fd, how).await
    }

    /// Closes the connection and waits until that is done, after the operations in flight on it have ended.
    ///
    /// # Errors
    ///
    /// Those of `close(2)`.
    pub async fn close(self) -> io::Result<()> {
        self.fd.close().await
    }

    /// Two halves, for two tasks; dropping the writing half ends the writing direction.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        crate::split::split(self)
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<std::net::TcpStream> for TcpStream {
    fn from(stream: std::net::TcpStream) -> Self {
        TcpStream::from_std(stream)
    }
}

/// Takes over a connection that came as a mere descriptor: handed over by another process, or by the image that this one
/// was before ([`runtime::guard::inherited_connections`]).
///
/// # Errors
///
/// `InvalidInput` if it is not a TCP socket, or one that listens; those of `getsockopt(2)` (`ENOTSOCK`). The descriptor is
/// closed then.
impl TryFrom<OwnedFd> for TcpStream {
    type Error = io::Error;

    fn try_from(owned: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&owned);
        check_tcp(&socket)?;
        if socket.is_listener()? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket that listens, not a connection",
            ));
        }
        socket.set_cloexec(true)?;
        Ok(TcpStream::from_std(owned.into()))
    }
}

impl TryFrom<TcpStream> for OwnedFd {
    type Error = TcpStream;

    fn try_from(stream: TcpStream) -> Result<OwnedFd, TcpStream> {
        stream.fd.try_into_owned().map_err(TcpStream::from_fd)
    }
}
