//! Connections as a stream, by one multishot request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use runtime::fd::Fd;
use runtime::op::{self, AcceptMany, OpStream};

use crate::stream::TcpStream;

/// A stream of connections; made by [`TcpListener::incoming`](crate::TcpListener::incoming).
///
/// An error is its last item: after `EMFILE`, say, make a new one when there are descriptors again.
///
/// # Cancel safety
///
/// Dropping the stream ends the request. Connections that it had accepted and that were not taken are closed; to lose none,
/// [`stop`](Incoming::stop) it and take what still comes.
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

impl Incoming {
    pub(crate) fn new(listener: &Fd) -> Self {
        Incoming { accepts: op::accept_many(listener) }
    }

    /// Accepts no more. The stream yields the connections that had been accepted by the time the kernel has ended the
    /// request, and then ends; whoever connects after that waits in the queue of the socket until somebody accepts again.
    /// So no connection is lost if the stream is used to its end:
    ///
    /// ```
    /// use futures::StreamExt;
    /// use net::{TcpListener, TcpStream};
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let mut incoming = listener.incoming();
    ///     let _client = TcpStream::connect(listener.local_addr()?).await?;
    ///     incoming.stop();
    ///     let mut accepted = 0;
    ///     while let Some(stream) = incoming.next().await {
    ///         stream?;
    ///         accepted += 1;
    ///     }
    ///     if accepted == 0 {
    ///         listener.accept().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn stop(&mut self) {
        self.accepts.stop();
    }
}

impl Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = std::task::ready!(Pin::new(&mut self.accepts).poll_next(cx));
        Poll::Ready(accepted.map(|result| result.map(TcpStream::from_fd)))
    }
}
