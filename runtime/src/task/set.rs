//! A set of tasks that are awaited in the order in which they finish.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, Stream, StreamExt};

use super::{JoinError, JoinHandle};

/// Tasks that are awaited in the order in which they finish, and aborted when the set is dropped.
///
/// # Examples
///
/// ```
/// use runtime::task::JoinSet;
///
/// #[runtime::main]
/// async fn main() {
///     let mut set = JoinSet::new();
///     for n in 0..10 {
///         set.spawn(async move { n });
///     }
///     let mut sum = 0;
///     while let Some(result) = set.join_next().await {
///         sum += result.unwrap();
///     }
///     assert_eq!(sum, 45);
/// }
/// ```
pub struct JoinSet<T> {
    handles: FuturesUnordered<JoinHandle<T>>,
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        JoinSet { handles: FuturesUnordered::new() }
    }

    /// Spawns a task on this core, as [`runtime::spawn`](crate::spawn) does, and adds it.
    pub fn spawn<F>(&mut self, future: F)
    where
        F: Future<Output = T> + 'static,
    {
        self.insert(crate::spawn(future));
    }

    /// Adds a task that runs already, on whichever core.
    pub fn insert(&mut self, handle: JoinHandle<T>) {
        self.handles.push(handle);
    }

    /// The result of the next task to finish, or `None` if the set is empty.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no result is lost: the next call gets it.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        self.handles.next().await
    }

    /// Waits for all tasks; the results in the order in which they finished.
    pub async fn join_all(mut self) -> Vec<Result<T, JoinError>> {
        let mut results = Vec::with_capacity(self.len());
        while let Some(result) = self.join_next().await {
            results.push(result);
        }
        results
    }

    /// A task that has finished already, if there is one.
    pub async fn try_join_next(&mut self) -> Option<Result<T, JoinError>> {
        poll_fn(|cx| Poll::Ready(self.poll_join_next(cx))).await
    }

    fn poll_join_next(&mut self, cx: &mut Context<'_>) -> Option<Result<T, JoinError>> {
        match Pin::new(&mut self.handles).poll_next(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => None,
        }
    }

    /// Aborts all tasks; they stay in the set until their results have been taken.
    pub fn abort_all(&self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }
}

impl<T> JoinSet<T> {
    /// How many tasks there are whose results have not been taken.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }
}

impl<T: 'static> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.handles.iter().for_each(JoinHandle::abort);
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}
