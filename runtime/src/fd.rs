//! The shared owner of a descriptor: operations hold it open, so that its number can't come to mean another file while the
//! kernel has yet to look at it.
//!
//! Under a poller, an SQE is consumed some time after it was written. A `close` in between, and an `open` that gets the same
//! number, would redirect it. So every operation holds a clone of the [`Fd`], and the descriptor is closed when the last
//! one is gone: through the ring if there is one on this thread, so that closing costs the core no system call.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{Mode, context, op};

/// A descriptor shared by its handle and the operations in flight on it. Cheap to clone; stays on its thread.
///
/// It is closed when the last clone is gone, asynchronously through the ring where there is one: a program that must
/// know that it has happened uses [`close`](Fd::close).
///
/// # Examples
///
/// ```
/// use runtime::fd::Fd;
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let fd = Fd::new(std::fs::File::open("/dev/zero")?.into());
///     let (result, buf) = runtime::op::read_at(&fd, vec![1; 4], 0).await;
///     assert_eq!((result?, buf), (4, vec![0; 4]));
///     fd.close().await
/// }
/// ```
#[derive(Clone)]
pub struct Fd(Rc<Inner>);

struct Inner {
    /// `None` only while it is being dropped or turned into something else.
    owned: Option<OwnedFd>,
    /// Not closed through the ring.
    prompt: bool,
    /// A socket whose last receive left nothing behind.
    drained: Cell<bool>,
    /// Somebody waits to be the last owner, and is woken when he is.
    closing: Cell<bool>,
    last_owner: RefCell<Option<Waker>>,
}

impl Fd {
    /// Takes over a descriptor. For sockets and pipes it does not matter whether it is in non-blocking mode: an operation
    /// waits in either.
    pub fn new(owned: OwnedFd) -> Self {
        Self::shared(owned, false)
    }

    fn shared(owned: OwnedFd, prompt: bool) -> Self {
        Fd(Rc::new(Inner {
            owned: Some(owned),
            prompt,
            drained: Cell::default(),
            closing: Cell::default(),
            last_owner: RefCell::default(),
        }))
    }

    /// Takes over a descriptor that is closed by a system call, before the drop of its last owner returns: one whose closing
    /// has an effect that the next statement may rely on, as a listener's frees its port. (Under a poller, an operation that
    /// has just completed may hold the file for another moment: [`close`](Fd::close) waits for that too.)
    pub fn new_prompt(owned: OwnedFd) -> Self {
        Self::shared(owned, true)
    }

    /// The descriptor itself, if neither a clone nor an operation in flight holds it too.
    ///
    /// # Errors
    ///
    /// Gives the `Fd` back if it is shared.
    pub fn try_into_owned(mut self) -> Result<OwnedFd, Self> {
        match Rc::get_mut(&mut self.0).and_then(|inner| inner.owned.take()) {
            Some(owned) => Ok(owned),
            None => Err(self),
        }
    }

    /// Whether the last receive from this socket left nothing behind, so that the next one has to wait most likely.
    pub(crate) fn is_drained(&self) -> bool {
        self.0.drained.get()
    }

    pub(crate) fn set_drained(&self, drained: bool) {
        self.0.drained.set(drained);
    }

    /// Closes the descriptor and reports what `close(2)` says. Waits first for its clones and for operations in flight. When
    /// it returns, the kernel has let go of the file (unless another descriptor names it): the other end of a pipe or
    /// connection has been told, the port of a listener is free.
    ///
    /// # Errors
    ///
    /// The errors of `close(2)`, after which the descriptor is closed all the same; `EBUSY` if another clone is being closed
    /// already.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the descriptor is closed as if the `Fd` had been dropped.
    pub async fn close(self) -> io::Result<()> {
        if self.0.closing.replace(true) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let mut closing = Closing(Some(self));
        let owned = poll_fn(|cx| closing.poll_last_owner(cx)).await;
        let result = op::close(owned).await;
        // A poller lets go of files at the end of its pass, after it has reported what closed or used them. It has done so
        // when it reports what it found in a later pass.
        if context::with_core(|core| core.reactor.mode()) == Some(Some(Mode::Polled)) {
            let _ = op::nop().await;
        }
        result
    }
}

/// An `Fd` that waits to be the last owner: every clone is gone, and every operation has ended.
struct Closing(Option<Fd>);

impl Closing {
    fn poll_last_owner(&mut self, cx: &Context<'_>) -> Poll<OwnedFd> {
        let fd = self.0.take().expect("polled after it was ready");
        let waker = cx.waker().clone();
        let old = fd.0.last_owner.replace(Some(waker));
        drop(old);
        match fd.try_into_owned() {
            Ok(owned) => Poll::Ready(owned),
            Err(fd) => {
                self.0 = Some(fd);
                Poll::Pending
            }
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(fd) = &self.0 {
            fd.0.closing.set(false);
            drop(fd.0.last_owner.take());
        }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) == 2
            && let Some(waker) = self.0.last_owner.take()
        {
            waker.wake();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.take()
            && !self.prompt
        {
            op::close_detached(owned);
        }
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.owned.as_ref().expect("an Fd that can be reached is open").as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<OwnedFd> for Fd {
    fn from(owned: OwnedFd) -> Self {
        Fd::new(owned)
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fd").field(&self.0.owned.as_ref().map(AsRawFd::as_raw_fd)).finish()
    }
}
