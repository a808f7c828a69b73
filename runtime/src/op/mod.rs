//! Operations: one struct for each kind of request, one function that makes a future of it.
//!
//! A future of an operation does nothing until it is polled. Its first poll moves the operation, with its buffers, paths,
//! addresses and a clone of its [`Fd`](crate::fd::Fd), into the reactor's table; from there on the kernel may touch them,
//! and the future holds only a key. When the last completion has come, the operation moves back and becomes the output.
//!
//! # Cancel safety
//!
//! Of all operations: if the future is dropped before its first poll, nothing happens. If it is dropped in flight, the
//! kernel is asked to cancel the request; whether it has had its effect by then is unknown (bytes may have been read or
//! written), its buffer is dropped once the kernel has let go of it, and a descriptor that it made is closed.
//!
//! # Errors
//!
//! Of all operations: the errors of the man page that each function names, with the raw errno kept; `ECANCELED` when the
//! runtime shuts down; an error of kind `Other` when awaited outside of a runtime. The buffer always comes back.
#![allow(
    unsafe_code,
    reason = "operations vouch for the memory that their SQEs name; futures for the type behind their key"
)]

mod file;
mod path;
mod poll;
mod read_write;
pub(crate) mod request;
mod socket;

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::Stream;
use io_uring::{opcode, squeue, types};

pub use file::{Allocate, Statx, Sync, Truncate, allocate, statx, statx_at, sync_all, sync_data, truncate};
pub use path::{
    CreateDir, HardLink, Open, OpenHow, Remove, Rename, Symlink, create_dir, hard_link, open, remove_dir,
    remove_file, rename, symlink,
};
pub(crate) use poll::poll_many_static;
pub use poll::{PollMany, PollOnce, poll, poll_many};
pub use read_write::{
    ReadAt, ReadVectored, WriteAt, WriteVectored, read_at, read_vectored_at, write_at, write_vectored_at,
};
pub use request::{MultiShot, Request, SingleShot};
pub use socket::{
    Accept, AcceptMany, Connect, Recv, Send, Shutdown, accept, accept_many, connect, recv, send, shutdown,
};

use crate::context;
use crate::reactor::{Key, Reactor};

/// A single-shot operation, as a future. See the [module](self) for what dropping it does.
#[must_use = "operations do nothing unless awaited"]
pub struct Op<O: SingleShot>(State<O>);

enum State<O> {
    Idle(O),
    Started(Rc<Reactor>, Key),
    Finished,
}

// The operation is never pinned inside the future: it moves into its slot before the kernel sees it.
impl<O: SingleShot> Unpin for Op<O> {}

impl<O: SingleShot> Op<O> {
    pub(crate) fn new(op: O) -> Self {
        Op(State::Idle(op))
    }

    /// Asks the kernel to cancel the request. Awaiting the operation then gives what became of it, and the buffer: its
    /// result if it was faster, else `ECANCELED`, and then nothing of it has been done. So, unlike dropping the future, this
    /// loses nothing. It takes as long as the kernel takes, which for a read or write of a file on a disk may be until it is
    /// done. Does nothing to an operation that has not been polled yet or that has ended. A connect that was cancelled
    /// goes on in the kernel, as `connect(2)` says of one that was interrupted.
    ///
    /// `io_uring_prep_cancel(3)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::{Future, poll_fn};
    /// use std::pin::Pin;
    /// use std::task::Poll;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let (reader, _writer) = std::io::pipe()?;
    ///     let reader = runtime::fd::Fd::new(reader.into());
    ///     let mut read = runtime::op::read_at(&reader, vec![7; 64], u64::MAX);
    ///     // Nothing has come, so this only starts it.
    ///     poll_fn(|cx| Poll::Ready(Pin::new(&mut read).poll(cx).is_pending())).await;
    ///     read.cancel();
    ///     let (result, buf) = read.await;
    ///     assert_eq!(result.unwrap_err().raw_os_error(), Some(125 /* ECANCELED */));
    ///     assert_eq!(buf, vec![7; 64]);
    ///     Ok(())
    /// }
    /// ```
    pub fn cancel(&self) {
        if let State::Started(reactor, key) = &self.0 {
            reactor.cancel(*key);
        }
    }
}

/// Why an operation could not be started, and the operation.
fn start<O: Request>(op: O) -> Result<(Rc<Reactor>, Key), (O, io::Error)> {
    let Some(reactor) = context::with_core(|core| Rc::clone(&core.reactor)) else {
        return Err((op, context::no_runtime()));
    };
    match reactor.start(op) {
        Ok(key) => Ok((reactor, key)),
        Err(op) => Err((op, io::Error::from_raw_os_error(libc::ECANCELED))),
    }
}

impl<O: SingleShot> Future for Op<O> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O::Output> {
        let state = &mut self.get_mut().0;
        if let State::Idle(_) = state {
            let State::Idle(op) = std::mem::replace(state, State::Finished) else {
                unreachable!("just seen")
            };
            if let Err(error) = op.check() {
                return Poll::Ready(op.complete(Err(error)));
            }
            match start(op) {
                Ok((reactor, key)) => *state = State::Started(reactor, key),
                Err((op, error)) => return Poll::Ready(op.complete(Err(error))),
            }
        }
        let State::Started(reactor, key) = state else {
            panic!("an operation was polled after it had finished")
        };
        // SAFETY: the key came from starting this operation, an `O`; it is used up when the operation comes back.
        let Poll::Ready((mut op, completion)) = (unsafe { reactor.poll_single::<O>(*key, cx) }) else {
            return Poll::Pending;
        };
        *state = State::Finished;
        op.observe(completion.flags);
        Poll::Ready(op.complete(completion.into_result()))
    }
}

impl<O: SingleShot> Drop for Op<O> {
    fn drop(&mut self) {
        if let State::Started(reactor, key) = &self.0 {
            reactor.abandon(*key);
        }
    }
}

impl<O: SingleShot> fmt::Debug for Op<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Idle(_) => "idle",
            State::Started(..) => "started",
            State::Finished => "finished",
        };
        f.debug_tuple("Op").field(&state).finish()
    }
}

/// A multishot operation, as a stream: armed by its first poll, it yields until it fails, which is its last item. If the
/// kernel ends it without an error of its own making, it is armed again.
///
/// # Cancel safety
///
/// Dropping the stream cancels the request; completions that have not been taken are undone (an accepted connection is
/// closed).
#[must_use = "operations do nothing unless polled"]
pub struct OpStream<O: MultiShot + Clone> {
    op: O,
    started: Option<(Rc<Reactor>, Key)>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Going,
    /// What has come is still given out, but nothing is started again.
    Stopping,
    Ended,
}

impl<O: MultiShot + Clone> Unpin for OpStream<O> {}

impl<O: MultiShot + Clone> OpStream<O> {
    pub(crate) fn new(op: O) -> Self {
        OpStream { op, started: None, phase: Phase::Going }
    }

    /// Asks the kernel to end the request. The stream gives what had come or comes until then, and ends without an error:
    /// unlike dropping it, this loses nothing.
    pub fn stop(&mut self) {
        if self.phase == Phase::Going {
            self.phase = Phase::Stopping;
        }
        if let Some((reactor, key)) = &self.started {
            reactor.cancel(*key);
        }
    }
}

impl<O: MultiShot + Clone> Stream for OpStream<O> {
    type Item = io::Result<O::Item>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let OpStream { op, started, phase } = self.get_mut();
        loop {
            let (reactor, key) = match started {
                Some(started) => started,
                None if *phase != Phase::Going => return Poll::Ready(None),
                None => match start(op.clone()) {
                    Ok(new) => started.insert(new),
                    Err((_, error)) => {
                        *phase = Phase::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            };
            // SAFETY: the key came from starting a clone of this operation, an `O`; after `None` it is abandoned.
            match unsafe { reactor.poll_multi::<O>(*key, cx) } {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(item))) => return Poll::Ready(Some(Ok(item))),
                Poll::Ready(Some(Err(error))) => {
                    // An error is the last that the request gives.
                    reactor.abandon(*key);
                    *started = None;
                    let asked_for =
                        *phase == Phase::Stopping && error.raw_os_error() == Some(libc::ECANCELED);
                    *phase = Phase::Ended;
                    return Poll::Ready(if asked_for { None } else { Some(Err(error)) });
                }
                Poll::Ready(None) => {
                    reactor.abandon(*key);
                    *started = None;
                }
            }
        }
    }
}

impl<O: MultiShot + Clone> Drop for OpStream<O> {
    fn drop(&mut self) {
        if let Some((reactor, key)) = &self.started {
            reactor.abandon(*key);
        }
    }
}

impl<O: MultiShot + Clone> fmt::Debug for OpStream<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpStream").finish_non_exhaustive()
    }
}

/// A request that does nothing: a round trip through the ring.
#[derive(Debug)]
pub struct Nop(());

/// Asks the kernel for nothing, to measure the way there and back.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     runtime::op::nop().await
/// }
/// ```
pub fn nop() -> Op<Nop> {
    Op::new(Nop(()))
}

// SAFETY: names no memory.
unsafe impl Request for Nop {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::Nop::new().build()
    }
}

impl SingleShot for Nop {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> io::Result<()> {
        result.map(drop)
    }
}

/// Closes a descriptor. `close(2)`.
#[derive(Debug)]
pub struct Close(Option<OwnedFd>);

/// Closes a descriptor and reports what `close(2)` says; it is closed whatever that is.
pub(crate) fn close(owned: OwnedFd) -> Op<Close> {
    Op::new(Close(Some(owned)))
}

/// Closes a descriptor in the background, or at once where there is no ring.
pub(crate) fn close_detached(owned: OwnedFd) {
    let mut close = Some(Close(Some(owned)));
    context::with_core(|core| {
        if let Some(op) = close.take() {
            close = core.reactor.start_detached(op).err();
        }
    });
    // What is left closes its descriptor by a system call.
    drop(close);
}

// SAFETY: names no memory but the descriptor, which the value owns until the kernel has closed it.
unsafe impl Request for Close {
    fn prepare(&mut self) -> squeue::Entry {
        let fd = self.0.as_ref().expect("a close is prepared before it completes").as_raw_fd();
        opcode::Close::new(types::Fd(fd)).build()
    }

    fn discard(&mut self, result: io::Result<u32>) {
        let _ = self.closed(result);
    }
}

impl Close {
    /// The kernel gives the number free even if it reports an error. Only if it was told not to begin, or never told of it
    /// (an error without an errno), is it still ours to close.
    fn closed(&mut self, result: io::Result<u32>) -> io::Result<()> {
        let begun = match &result {
            Ok(_) => true,
            Err(error) => !matches!(error.raw_os_error(), None | Some(libc::ECANCELED)),
        };
        if begun && let Some(owned) = self.0.take() {
            let _ = owned.into_raw_fd();
        }
        result.map(drop)
    }
}

impl SingleShot for Close {
    type Output = io::Result<()>;

    fn complete(mut self, result: io::Result<u32>) -> io::Result<()> {
        self.closed(result)
    }
}
