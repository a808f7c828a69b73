//! One connection: read, answer, send, until the client ends it or it is brought to rest.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, FutureExt, Shared, select};
use net::TcpStream;
use runtime::buf::IoBuf;
use runtime::op::{Op, SingleShot};
use runtime::time::timeout;

use super::request;

/// How much is read at a time.
const READ_BYTES: usize = 8 * 1024;
/// More requests are answered only when less than this waits to be sent.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take to end a connection after its last answer. It must have time to read that: closing a connection
/// on which unread bytes have come resets it, and destroys what the client has not read.
const LINGER: Duration = Duration::from_secs(2);

/// Ready when connections have to come to rest; for ever from then on.
pub(crate) type Stop = Shared<oneshot::Receiver<()>>;

/// A connection at rest: nothing is in flight, and here is all that is known about it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What the client has sent and was not answered.
    pub(crate) received: Vec<u8>,
    /// What the client was answered and was not sent.
    pub(crate) unsent: Vec<u8>,
    /// After what is unsent, nothing is answered any more.
    pub(crate) is_ending: bool,
}

/// How a step of a connection ended.
enum Step {
    Done,
    Stopped,
    /// The client has ended it, or it is broken.
    Over,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Refused only for a connection that is broken already, which the first read finds out.
        let _ = stream.set_nodelay(true);
        Connection { stream, received: Vec::new(), unsent: Vec::new(), is_ending: false }
    }

    /// Answers requests with `text` until the connection ends, or comes to rest because of `stop`: then it is given back.
    pub(crate) async fn serve(mut self, text: &str, stop: &Stop) -> Option<Self> {
        loop {
            self.answer(text);
            let step = if !self.unsent.is_empty() {
                self.send(stop).await
            } else if self.is_ending {
                self.linger(stop).await
            } else {
                self.receive(stop).await
            };
            match step {
                Step::Done => {}
                Step::Stopped => return Some(self),
                Step::Over => return None,
            }
        }
    }

    /// Whether a request has begun, or an answer has not been sent.
    pub(crate) fn is_busy(&self) -> bool {
        !self.received.is_empty() || !self.unsent.is_empty()
    }

    /// Answers what has come, and nothing that comes later.
    pub(crate) fn end(&mut self, text: &str) {
        self.answer(text);
        self.is_ending = true;
    }

    /// Answers all requests that have come as a whole.
    fn answer(&mut self, text: &str) {
        let mut answered = 0;
        while !self.is_ending && answered < self.received.len() && self.unsent.len() < UNSENT_BYTES_MAX {
            let Some(answer) = request::answer(&self.received[answered..], text, &mut self.unsent) else {
                break;
            };
            answered += answer.request_bytes;
            self.is_ending = answer.is_last;
        }
        self.received.drain(..answered);
    }

    async fn send(&mut self, stop: &Stop) -> Step {
        let unsent = std::mem::take(&mut self.unsent);
        let (is_stopped, (result, unsent)) = unless_stopped(self.stream.write(unsent), stop).await;
        self.unsent = unsent;
        if let Ok(sent) = result {
            self.unsent.drain(..sent);
        }
        Step::of(is_stopped, &result)
    }

    async fn receive(&mut self, stop: &Stop) -> Step {
        let mut received = std::mem::take(&mut self.received);
        received.reserve(READ_BYTES);
        let end = received.len();
        let read = self.stream.read(received.slice(end..end + READ_BYTES));
        let (is_stopped, (result, slice)) = unless_stopped(read, stop).await;
        self.received = slice.into_inner();
        Step::of(is_stopped, &result)
    }

    /// Ends the writing direction, and waits for the client to end the other one.
    async fn linger(&mut self, stop: &Stop) -> Step {
        if self.stream.shutdown(Shutdown::Write).await.is_err() {
            return Step::Over;
        }
        let until_the_end = async {
            loop {
                // What still comes is not answered.
                self.received.clear();
                match self.receive(stop).await {
                    Step::Done => {}
                    end => return end,
                }
            }
        };
        timeout(LINGER, until_the_end).await.unwrap_or(Step::Over)
    }
}

impl Step {
    fn of(is_stopped: bool, result: &io::Result<usize>) -> Step {
        match result {
            // The client has finished, or nothing could be sent.
            Ok(0) => Step::Over,
            Ok(_) if is_stopped => Step::Stopped,
            Ok(_) => Step::Done,
            Err(error) if is_stopped && error.raw_os_error() == Some(libc::ECANCELED) => Step::Stopped,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Done,
            Err(_) => Step::Over,
        }
    }
}

/// Awaits an operation, but cancels it when `stop` is ready: says whether it is, and how the operation has ended, definitively.
async fn unless_stopped<O: SingleShot>(mut op: Op<O>, stop: &Stop) -> (bool, O::Output) {
    match select(&mut op, stop.clone()).await {
        Either::Left((output, _)) => (stop.peek().is_some(), output),
        Either::Right(_) => {
            op.cancel();
            (true, op.await)
        }
    }
}

/// A `Stop`, and what makes it ready by being dropped.
pub(crate) fn stop() -> (oneshot::Sender<()>, Stop) {
    let (stopper, stop) = oneshot::channel();
    (stopper, stop.shared())
}
