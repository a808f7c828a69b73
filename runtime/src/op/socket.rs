//! Sockets: accept, connect, receive, send, shut down.

use std::io;
use std::net::Shutdown as How;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::{cqueue, opcode, squeue, types};
use socket2::{SockAddr, SockAddrStorage, SockRef};

use super::read_write::{check_room, clamp_len, filled};
use super::{MultiShot, Op, OpStream, Request, SingleShot};
use crate::buf::{IoBuf, IoBufMut};
use crate::fd::Fd;
use crate::sys;

/// `IORING_RECVSEND_POLL_FIRST`: wait until the socket is ready before the first try.
const RECVSEND_POLL_FIRST: u16 = 1;

/// Takes over a descriptor that a request has just made.
fn received(fd: u32) -> Fd {
    // SAFETY: the kernel has just given us this descriptor as the result of the request; nobody else owns it.
    Fd::new(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A receive; see [`recv`].
#[derive(Debug)]
pub struct Recv<B> {
    fd: Fd,
    buf: B,
}

/// Receives into `buf` from its start up to its capacity; gives the number of bytes, 0 when the peer has finished, and the
/// buffer. `recv(2)`.
///
/// # Errors
///
/// Those of `recv(2)`; `InvalidInput` if the buffer has no room.
pub fn recv<B: IoBufMut>(fd: &Fd, buf: B) -> Op<Recv<B>> {
    Op::new(Recv { fd: fd.clone(), buf })
}

// SAFETY: the buffer is owned and stays put (IoBufMut's contract), the descriptor is held open.
unsafe impl<B: IoBufMut> Request for Recv<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        let len = clamp_len(self.buf.bytes_total());
        // The kernel need not look for data first where there was none left: it saves a receive that would fail.
        let ioprio = if self.fd.is_drained() { RECVSEND_POLL_FIRST } else { 0 };
        let fd = types::Fd(self.fd.as_raw_fd());
        opcode::Recv::new(fd, self.buf.stable_mut_ptr(), len).ioprio(ioprio).build()
    }
}

impl<B: IoBufMut> SingleShot for Recv<B> {
    type Output = (io::Result<usize>, B);

    fn check(&self) -> io::Result<()> {
        check_room(self.buf.bytes_total())
    }

    fn observe(&mut self, flags: u32) {
        self.fd.set_drained(!cqueue::sock_nonempty(flags));
    }

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        filled(self.buf, result)
    }
}

/// A send; see [`send`].
#[derive(Debug)]
pub struct Send<B> {
    fd: Fd,
    buf: B,
    all: bool,
    /// What rings that were replaced have sent of it.
    sent: usize,
}

/// Sends the initialised bytes of `buf`; gives the number of bytes sent and the buffer. With `all`, the kernel itself goes
/// on until everything is sent (`MSG_WAITALL`); fewer are then sent only if the connection breaks or a signal comes. A
/// broken connection is `EPIPE`, never a signal. `send(2)`.
///
/// # Errors
///
/// Those of `send(2)`.
pub fn send<B: IoBuf>(fd: &Fd, buf: B, all: bool) -> Op<Send<B>> {
    Op::new(Send { fd: fd.clone(), buf, all, sent: 0 })
}

// SAFETY: the buffer is owned and stays put (IoBuf's contract), the descriptor is held open.
unsafe impl<B: IoBuf> Request for Send<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        let len = clamp_len(self.buf.bytes_init() - self.sent);
        let flags = libc::MSG_NOSIGNAL | if self.all { libc::MSG_WAITALL } else { 0 };
        // SAFETY: no more has been sent than there is.
        let rest = unsafe { self.buf.stable_ptr().add(self.sent) };
        opcode::Send::new(types::Fd(self.fd.as_raw_fd()), rest, len).flags(flags).build()
    }

    /// Called back half sent, the rest is still to be sent.
    fn again(&mut self, result: i32) -> bool {
        let sent = usize::try_from(result).map_or(0, |sent| self.sent + sent);
        let rest = self.all && sent > self.sent && sent < self.buf.bytes_init();
        if rest {
            self.sent = sent;
        }
        rest
    }
}

impl<B: IoBuf> SingleShot for Send<B> {
    type Output = (io::Result<usize>, B);

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        (result.map(|len| self.sent + len as usize), self.buf)
    }
}

/// An accept; see [`accept`].
pub struct Accept {
    fd: Fd,
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// Accepts one connection; gives its descriptor (close-on-exec) and the peer's address. `accept4(2)`.
///
/// # Errors
///
/// Those of `accept4(2)`: among them `EMFILE`, after which the connection is still in the queue.
pub fn accept(listener: &Fd) -> Op<Accept> {
    let storage = SockAddrStorage::zeroed();
    let len = storage.size_of();
    Op::new(Accept { fd: listener.clone(), storage, len })
}

// SAFETY: the address and its length are inside the value, which stays put in its slot.
unsafe impl Request for Accept {
    const WAITS: bool = true;
    const ACCEPTS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        self.len = self.storage.size_of();
        opcode::Accept::new(types::Fd(self.fd.as_raw_fd()), (&raw mut self.storage).cast(), &raw mut self.len)
            .flags(libc::SOCK_CLOEXEC)
            .build()
    }

    fn discard(&mut self, result: io::Result<u32>) {
        if let Ok(fd) = result {
            sys::close(fd as RawFd);
        }
    }
}

impl SingleShot for Accept {
    type Output = io::Result<(Fd, SockAddr)>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        let fd = received(result?);
        // SAFETY: the kernel has written an address of that length into the storage, which was zeroed before.
        Ok((fd, unsafe { SockAddr::new(self.storage, self.len) }))
    }
}

/// A multishot accept; see [`accept_many`].
#[derive(Debug, Clone)]
pub struct AcceptMany {
    fd: Fd,
}

/// Accepts connections for as long as the stream lives, with one request; gives their descriptors (close-on-exec).
/// `io_uring_prep_multishot_accept(3)`, Linux 5.19.
///
/// # Errors
///
/// Those of `accept4(2)`; an error is the stream's last item.
pub fn accept_many(listener: &Fd) -> OpStream<AcceptMany> {
    OpStream::new(AcceptMany { fd: listener.clone() })
}

// SAFETY: names no memory; the listener is held open.
unsafe impl Request for AcceptMany {
    const WAITS: bool = true;
    const ACCEPTS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        opcode::AcceptMulti::new(types::Fd(self.fd.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build()
    }

    fn discard(&mut self, result: io::Result<u32>) {
        if let Ok(fd) = result {
            sys::close(fd as RawFd);
        }
    }
}

impl MultiShot for AcceptMany {
    type Item = Fd;

    fn item(&mut self, result: io::Result<u32>) -> io::Result<Fd> {
        result.map(received)
    }
}

/// A connect; see [`connect`].
pub struct Connect {
    fd: Fd,
    address: SockAddr,
    /// It has begun, on a ring that was replaced: what is left is to wait until it has ended.
    begun: bool,
}

/// Connects a socket. `connect(2)`.
///
/// # Errors
///
/// Those of `connect(2)`.
pub fn connect(socket: &Fd, address: SockAddr) -> Op<Connect> {
    Op::new(Connect { fd: socket.clone(), address, begun: false })
}

// SAFETY: the address is inside the value, which stays put in its slot.
unsafe impl Request for Connect {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.fd.as_raw_fd());
        if self.begun {
            return opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
        }
        opcode::Connect::new(fd, self.address.as_ptr().cast(), self.address.len()).build()
    }

    /// A connect can't be taken back: what was cancelled is only the wait for it, and a second one is told so.
    fn again(&mut self, result: i32) -> bool {
        let waits_now = !self.begun && result == -libc::EALREADY;
        self.begun |= waits_now;
        waits_now
    }
}

impl SingleShot for Connect {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result?;
        if self.begun
            && let Some(error) = SockRef::from(&self.fd).take_error()?
        {
            return Err(error);
        }
        Ok(())
    }
}

/// A shutdown; see [`shutdown`].
#[derive(Debug)]
pub struct Shutdown {
    fd: Fd,
    how: How,
}

/// Shuts down one or both directions of a connection. `shutdown(2)`.
///
/// # Errors
///
/// Those of `shutdown(2)`.
pub fn shutdown(socket: &Fd, how: How) -> Op<Shutdown> {
    Op::new(Shutdown { fd: socket.clone(), how })
}

// SAFETY: names no memory; the socket is held open.
unsafe impl Request for Shutdown {
    fn prepare(&mut self) -> squeue::Entry {
        let how = match self.how {
            How::Read => libc::SHUT_RD,
            How::Write => libc::SHUT_WR,
            How::Both => libc::SHUT_RDWR,
        };
        opcode::Shutdown::new(types::Fd(self.fd.as_raw_fd()), how).build()
    }
}

impl SingleShot for Shutdown {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}
