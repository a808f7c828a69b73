//! Signals as streams.
//!
//! A signal that somebody listens for loses its default action for the whole process, for good: the first `Ctrl-C` after
//! the last listener is gone does nothing. Several listeners, on several cores, each get every signal; signals that come
//! faster than a listener takes them are merged, as the kernel merges them.
//!
//! # Inside
//!
//! The handler counts deliveries, one counter for each signal, and adds to one event counter that the listeners of all
//! cores have under a multishot poll. A listener keeps the count that it has seen: another one is a signal. The event
//! counter is never read: each addition is an edge, and a poll that is armed anew is told at once that there has been
//! one, so no signal falls between a look at the count and the wait.
//!
//! **A fork** copies the counts and shares the event counter. So the handler adds to it only in the process for which it
//! was made (`owner`), and `after_fork` gives the child one of its own, under the same number; until then a signal is
//! only counted, and found by the listener when its poll, which was the parent's, has failed.
//!
//! **A forked worker** has none of its parent's listeners. What they listened for has its default action again in there,
//! by way of the handler, for as long as the worker does not listen itself: `SIGTERM` ends it.
//!
//! **An exec** keeps the mask of blocked signals, and what is pending for its thread. The image that makes way blocks what it
//! listened for, so that none of it ends the next image before that listens, and leaves pending what no listener has
//! received (`keep_pending`); [`signal()`] unblocks, and what is pending is delivered. So no signal falls between two images.

mod delivery;
mod handover;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::op::{OpStream, PollMany, poll_many_static};
use crate::{owner, sys};

use delivery::State;
pub(crate) use delivery::{after_fork, edges_number, keep_pending, listened};
pub(crate) use handover::{VARIABLE as HELD_BACK, describe_held_back, unblock_handed_over};

/// Which signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// `SIGINT`: `Ctrl-C` on a terminal.
    pub const INTERRUPT: Self = SignalKind(libc::SIGINT);
    /// `SIGTERM`: a request to end.
    pub const TERMINATE: Self = SignalKind(libc::SIGTERM);
    /// `SIGHUP`: the terminal is gone; by custom, a request to read the configuration again.
    pub const HANGUP: Self = SignalKind(libc::SIGHUP);
    /// `SIGQUIT`: `Ctrl-\` on a terminal.
    pub const QUIT: Self = SignalKind(libc::SIGQUIT);
    /// `SIGUSR1`.
    pub const USER1: Self = SignalKind(libc::SIGUSR1);
    /// `SIGUSR2`.
    pub const USER2: Self = SignalKind(libc::SIGUSR2);
    /// `SIGCHLD`: a child process has ended or stopped.
    pub const CHILD: Self = SignalKind(libc::SIGCHLD);
    /// `SIGWINCH`: the terminal has another size.
    pub const WINDOW_CHANGE: Self = SignalKind(libc::SIGWINCH);

    /// Any signal by its number (`signal(7)`).
    pub const fn from_raw(number: i32) -> Self {
        SignalKind(number)
    }

    /// The signal's number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Listens for a signal from now on. If the calling thread has the signal blocked, it is unblocked there.
///
/// # Errors
///
/// `InvalidInput` for signals that can't be caught or must not be (`SIGKILL`, `SIGSTOP`, `SIGSEGV`, `SIGILL`, `SIGFPE`)
/// and numbers that are none; `EMFILE` if there is no descriptor for the event counter that all listeners share.
///
/// # Examples
///
/// ```
/// use runtime::signal::{SignalKind, signal};
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let mut hangups = signal(SignalKind::HANGUP)?;
///     signal_hook::low_level::raise(SignalKind::HANGUP.as_raw())?;
///     hangups.recv().await
/// }
/// ```
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let Some(state) = State::of(kind.0).filter(|_| !signal_hook::consts::FORBIDDEN.contains(&kind.0)) else {
        let error = format!("signal {} can't be listened for", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    };
    let edges = delivery::set_up(kind.0, state)?;
    let generation = state.add_listener();
    let signal = Signal { kind, state, seen: state.count(), generation, edges, wait: None };
    // Only now: one that was held back is for this listener.
    sys::signal::unblock(&[kind.0])?;
    Ok(signal)
}

/// Waits for the next `SIGINT`.
///
/// # Errors
///
/// Those of [`signal()`].
pub async fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::INTERRUPT)?.recv().await
}

/// A listener for one signal, made by [`signal()`]. Also a [`Stream`].
pub struct Signal {
    kind: SignalKind,
    state: &'static State,
    /// The count at the last signal that was received.
    seen: u32,
    /// In which generation it has been counted as a listener.
    generation: u32,
    edges: BorrowedFd<'static>,
    /// Kept between polls, so that it is armed only once.
    wait: Option<Wait>,
}

/// A wait for the event counter to be added to.
struct Wait {
    edges: OpStream<PollMany>,
    /// The process that it belongs to.
    epoch: u64,
}

impl Signal {
    /// Waits for the next signal since the last one that was received.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when the runtime shuts down.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no signal is lost.
    pub async fn recv(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle();
        loop {
            let waited = self.wait.as_mut().map(|wait| wait.poll(cx));
            // Looked at after the wait was armed: whatever comes later is an edge.
            let count = self.state.count();
            if std::mem::replace(&mut self.seen, count) != count {
                self.state.set_received(count);
                return Poll::Ready(Ok(()));
            }
            match waited {
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(ended)) => {
                    self.wait = None;
                    ended?;
                }
                None => {
                    let edges = poll_many_static(self.edges, libc::POLLIN as u32);
                    self.wait = Some(Wait { edges, epoch: owner::epoch() });
                }
            }
        }
    }

    /// Makes a listener that has come through a fork one of this process.
    fn settle(&mut self) {
        if !delivery::is_present(self.generation) {
            self.generation = self.state.add_listener();
        }
        let epoch = owner::epoch();
        // Before the child has been adopted its own wait would not last either.
        if epoch != 0 && self.wait.as_ref().is_some_and(|wait| wait.epoch != epoch) {
            self.wait = None;
        }
    }
}

impl Wait {
    /// Takes all edges there are. Ready when no more will come: `Ok` if a new wait can be expected to do better.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.edges).poll_next(cx)) {
                Some(Ok(_)) => {}
                None => return Poll::Ready(Ok(())),
                // A fork has left the request to the parent.
                Some(Err(error))
                    if error.raw_os_error() == Some(libc::EOWNERDEAD) && self.epoch != owner::epoch() =>
                {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Stream for Signal {
    type Item = io::Result<()>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Some)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        if delivery::is_present(self.generation) {
            self.state.remove_listener();
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish()
    }
}
