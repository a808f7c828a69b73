//! The handle of a spawned task, and the error of one that did not finish.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use super::Task;
use crate::executor::{self, Waiter};

/// Awaits the output of a spawned task.
///
/// Awaiting gives `Ok(output)`, or a [`JoinError`] if the task panicked, was aborted or could not be started. Dropping
/// the handle detaches the task: it goes on, and its output is dropped when it ends.
///
/// # Cancel safety
///
/// If a future that awaits `&mut handle` is dropped, nothing is lost: the output waits in the handle.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() {
///     let handle = runtime::spawn(async { 6 * 7 });
///     assert_eq!(handle.await.unwrap(), 42);
///
///     let stuck = runtime::spawn(std::future::pending::<()>());
///     stuck.abort();
///     assert!(stuck.await.unwrap_err().is_aborted());
/// }
/// ```
pub struct JoinHandle<T>(State<T>);

enum State<T> {
    /// With the place where a fork finds the waker, if the task is not one of the core that awaits it.
    Spawned(Task<T>, Option<Arc<Waiter>>),
    /// Never started; `None` once the error has been given out.
    Refused(Option<JoinError>),
    Detached,
}

impl<T> JoinHandle<T> {
    pub(super) fn new(task: Task<T>) -> Self {
        JoinHandle(State::Spawned(task, None))
    }

    pub(crate) fn refused(why: io::Error) -> Self {
        JoinHandle(State::Refused(Some(JoinError(Cause::Refused(why)))))
    }

    /// Asks the task to end: its future is dropped on its own core before it is polled again, and awaiting the handle gives
    /// a [`JoinError`] that [`is_aborted`](JoinError::is_aborted). A task that has finished already keeps its output. A
    /// closure that runs on a blocking thread can't be stopped: only one that has not begun yet.
    pub fn abort(&self) {
        if let State::Spawned(task, _) = &self.0 {
            task.metadata().abort();
        }
    }

    /// Whether awaiting the handle would give the result at once.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            State::Spawned(task, _) => task.is_finished() || task.metadata().home.is_lost(),
            State::Refused(_) | State::Detached => true,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If polled again after it gave the result.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            State::Spawned(task, waiter) => match Pin::new(&mut *task).poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(outcome.take()),
                Poll::Pending if task.metadata().home.is_here() => Poll::Pending,
                Poll::Pending if task.metadata().home.is_lost() => Poll::Ready(Err(JoinError(Cause::Lost))),
                Poll::Pending => {
                    executor::wait_elsewhere(waiter, cx);
                    Poll::Pending
                }
            },
            State::Refused(error) => {
                Poll::Ready(Err(error.take().expect("JoinHandle polled after its result")))
            }
            State::Detached => unreachable!("detached by Drop only"),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let State::Spawned(task, _) = std::mem::replace(&mut self.0, State::Detached) {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

/// Why a task has no output.
pub struct JoinError(Cause);

enum Cause {
    Aborted,
    /// In a mutex because a panic's payload need not be Sync, and errors should be.
    Panicked(Mutex<Box<dyn Any + Send>>),
    Refused(io::Error),
    Lost,
}

impl JoinError {
    pub(super) fn aborted() -> Self {
        JoinError(Cause::Aborted)
    }

    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        JoinError(Cause::Panicked(Mutex::new(payload)))
    }

    /// Whether the task was ended by [`JoinHandle::abort`] or by the shutdown of its core.
    pub fn is_aborted(&self) -> bool {
        matches!(self.0, Cause::Aborted)
    }

    /// Whether the task was left behind in the process that forked this one: it runs there, on a thread that this process does
    /// not have.
    pub fn is_lost(&self) -> bool {
        matches!(self.0, Cause::Lost)
    }

    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panicked(_))
    }

    /// The payload of the task's panic, to go on with in [`std::panic::resume_unwind`].
    ///
    /// # Errors
    ///
    /// Gives the error back if the task did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.0 {
            Cause::Panicked(payload) => {
                Ok(payload.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
            }
            cause => Err(JoinError(cause)),
        }
    }

    fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
        payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Aborted => f.write_str("the task was aborted"),
            Cause::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match Self::panic_message(&**payload) {
                    Some(message) => write!(f, "the task panicked: {message}"),
                    None => f.write_str("the task panicked"),
                }
            }
            Cause::Refused(why) => write!(f, "the task could not be started: {why}"),
            Cause::Lost => f.write_str(
                "the task was left behind by a fork: its thread exists in the process that forked this one",
            ),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Cause::Refused(why) => Some(why),
            _ => None,
        }
    }
}

impl From<JoinError> for io::Error {
    /// A refused task keeps its `io::Error`; else the [`JoinError`] is the inner error.
    fn from(error: JoinError) -> Self {
        match error.0 {
            Cause::Refused(why) => why,
            cause => io::Error::other(JoinError(cause)),
        }
    }
}
