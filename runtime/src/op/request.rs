//! What an operation is to the reactor: memory that the kernel may touch, and the SQE that names it.

use std::io;

use io_uring::squeue;

/// One request to the kernel together with all memory that the kernel may touch because of it.
///
/// The reactor moves the value into a slot, whose address does not change until the last CQE, and calls
/// [`prepare`](Request::prepare) there; again for each ring that the request is submitted on. The value *is* the request:
/// nothing else is needed to submit it anew after a ring was replaced.
///
/// # Safety
///
/// The entry that `prepare` returns names only memory that is owned by the value (inside it or behind it) and that stays
/// valid and unchanged until the value is moved or dropped, and descriptors that the value keeps open. `prepare` neither
/// panics nor calls into the runtime, and can be called again.
pub unsafe trait Request: 'static {
    /// Whether it may wait for something that need not come soon: data, a peer, room. When its ring is replaced, such a request
    /// is cancelled and submitted again on the new ring; any other is waited for. `ECANCELED` and `EINTR` must mean that
    /// nothing of it has been done.
    const WAITS: bool = false;

    /// Whether its results are accepted connections, which must not be dropped when another program takes over.
    const ACCEPTS: bool = false;

    /// The entry that describes the request, without user data.
    fn prepare(&mut self) -> squeue::Entry;

    /// Whether, after this result (an errno if it is negative), it is to be prepared and submitted again: because it had begun on
    /// a ring that was replaced. Asked of errors, and of what was called back.
    fn again(&mut self, result: i32) -> bool {
        let _ = result;
        false
    }

    /// Takes a result that nobody awaits, because the future was dropped while the request was in flight: a descriptor
    /// that the kernel made is closed.
    fn discard(&mut self, result: io::Result<u32>) {
        let _ = result;
    }
}

/// A request with exactly one completion.
pub trait SingleShot: Request {
    /// What awaiting the operation gives: the result, and the buffer if there is one.
    type Output;

    /// Refuses a request that can't be meant, before it is submitted.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Sees the completion's flags before [`complete`](SingleShot::complete).
    fn observe(&mut self, flags: u32) {
        let _ = flags;
    }

    /// Makes the output of the request's result.
    fn complete(self, result: io::Result<u32>) -> Self::Output;
}

/// A request that completes again and again until it fails or is cancelled.
pub trait MultiShot: Request {
    /// What each completion gives.
    type Item;

    /// Makes an item of one completion.
    fn item(&mut self, result: io::Result<u32>) -> io::Result<Self::Item>;
}

/// What the kernel said of a request, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

impl Completion {
    pub(crate) fn into_result(self) -> io::Result<u32> {
        u32::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}
