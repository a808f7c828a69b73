//! Signals as streams.
//!
//! A signal that somebody listens for loses its default action for the whole process, for good: the first `Ctrl-C` after
//! the last listener is gone does nothing. Several listeners, on several cores, each get every signal; signals that come
//! faster than a listener takes them are merged, as the kernel merges them.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};

use crate::fd::Fd;
use crate::op::{Op, Recv, recv};

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

/// Listens for a signal from now on.
///
/// # Errors
///
/// `InvalidInput` for signals that can't be caught or must not be (`SIGKILL`, `SIGSTOP`, `SIGSEGV`, `SIGILL`, `SIGFPE`)
/// and numbers that are none; `EMFILE` if there is no descriptor for the listener.
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
    if signal_hook::consts::FORBIDDEN.contains(&kind.0) || kind.0 < 1 {
        let error = format!("signal {} can't be listened for", kind.0);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let (sender, receiver) = UnixStream::pair()?;
    let id = pipe::register(kind.0, sender)?;
    Ok(Signal { kind, id, fd: Fd::new(OwnedFd::from(receiver)), wait: None })
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
    id: SigId,
    fd: Fd,
    /// Kept between polls, so that a wait that is dropped loses no signal.
    wait: Option<Op<Recv<[u8; 64]>>>,
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
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wait = self.wait.get_or_insert_with(|| recv(&self.fd, [0; 64]));
        let (result, _) = std::task::ready!(Pin::new(wait).poll(cx));
        self.wait = None;
        Poll::Ready(result.map(drop))
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
        unregister(self.id);
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal").field("kind", &self.kind).finish()
    }
}
