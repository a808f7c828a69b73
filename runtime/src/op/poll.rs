//! Waiting until a descriptor is ready, without doing anything with it.
//!
//! Reads, receives and accepts wait by themselves: these are for descriptors on which something else is done once they
//! are ready, such as a pidfd, an event counter, or the socket of a library that does its own I/O.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::{opcode, squeue, types};

use super::{MultiShot, Op, OpStream, Request, SingleShot};
use crate::fd::Fd;

/// A wait for readiness; see [`poll`].
#[derive(Debug)]
pub struct PollOnce {
    fd: Fd,
    events: u32,
}

/// Waits until one of `events` (`libc::POLLIN` and the like) holds, at once if one does already; gives those that do.
/// `POLLERR` and `POLLHUP` are reported whether asked for or not. Takes nothing from the descriptor.
/// `io_uring_prep_poll_add(3)`, `poll(2)`.
///
/// # Errors
///
/// `EBADF` for a descriptor that can't be polled because it only names a path; `ENOMEM`.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::fd::OwnedFd;
///
/// use runtime::fd::Fd;
/// use runtime::op;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let (mut reader, mut writer) = std::io::pipe()?;
///     let fd = Fd::new(OwnedFd::from(reader.try_clone()?));
///     writer.write_all(b"?")?;
///     assert_eq!(op::poll(&fd, libc::POLLIN as u32).await? as i16, libc::POLLIN);
///     // It is still there.
///     let mut byte = [0];
///     reader.read_exact(&mut byte)?;
///     assert_eq!(byte, *b"?");
///     Ok(())
/// }
/// ```
pub fn poll(fd: &Fd, events: u32) -> Op<PollOnce> {
    Op::new(PollOnce { fd: fd.clone(), events })
}

// SAFETY: names no memory; the descriptor is held open.
unsafe impl Request for PollOnce {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        opcode::PollAdd::new(types::Fd(self.fd.as_raw_fd()), self.events).build()
    }
}

impl SingleShot for PollOnce {
    type Output = io::Result<u32>;

    fn complete(self, result: io::Result<u32>) -> io::Result<u32> {
        result
    }
}

/// Repeated waits for readiness; see [`poll_many`].
#[derive(Debug, Clone)]
pub struct PollMany {
    fd: Held,
    events: u32,
}

/// What keeps the descriptor open for as long as the request may be in flight.
#[derive(Debug, Clone)]
enum Held {
    Shared(Fd),
    /// It is never closed.
    Static(BorrowedFd<'static>),
}

impl Held {
    fn number(&self) -> RawFd {
        match self {
            Held::Shared(fd) => fd.as_raw_fd(),
            Held::Static(fd) => fd.as_raw_fd(),
        }
    }
}

/// Reports readiness again and again, with one request: which of `events` hold at the start, if any does, and from then
/// on whenever something happens to the descriptor. So it tells *edges*, not states: after an item the descriptor is to
/// be used up (read until `EAGAIN`), because what is left there is not reported again. Things that happen fast may be
/// merged into one item. `io_uring_prep_poll_multishot(3)`, Linux 5.13.
///
/// # Errors
///
/// As for [`poll`]; an error is the stream's last item.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::fd::OwnedFd;
///
/// use futures::StreamExt;
/// use runtime::fd::Fd;
/// use runtime::op;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let (mut reader, mut writer) = std::io::pipe()?;
///     let mut ready = op::poll_many(&Fd::new(OwnedFd::from(reader.try_clone()?)), libc::POLLIN as u32);
///     for _ in 0..3 {
///         writer.write_all(b"?")?;
///         let events = ready.next().await.expect("a poll ends with an error")?;
///         assert_eq!(events as i16, libc::POLLIN);
///         reader.read_exact(&mut [0])?;
///     }
///     Ok(())
/// }
/// ```
pub fn poll_many(fd: &Fd, events: u32) -> OpStream<PollMany> {
    OpStream::new(PollMany { fd: Held::Shared(fd.clone()), events })
}

/// As [`poll_many`], of a descriptor that is never closed.
pub(crate) fn poll_many_static(fd: BorrowedFd<'static>, events: u32) -> OpStream<PollMany> {
    OpStream::new(PollMany { fd: Held::Static(fd), events })
}

// SAFETY: names no memory; the descriptor is held open.
unsafe impl Request for PollMany {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        opcode::PollAdd::new(types::Fd(self.fd.number()), self.events).multi(true).build()
    }
}

impl MultiShot for PollMany {
    type Item = u32;

    fn item(&mut self, result: io::Result<u32>) -> io::Result<u32> {
        result
    }
}
