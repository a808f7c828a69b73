//! Tasks that a thread was about to queue when the process was forked: in the child they count as queued, which keeps every
//! later wake from queueing them, but that thread does not exist there.
//!
//! A task's waker and its [`Runnable`] are two ways to name its cell, by one pointer. So the runnable that was lost can be
//! made again from the waker that the core keeps for each of its tasks.
#![allow(unsafe_code, reason = "makes a runnable of a task's waker")]

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::ptr::NonNull;
use std::task::Waker;

use super::Runnable;

/// Wakes all tasks of a core, and queues those that were lost. To be called by the core, in a child of a fork, after
/// everything that was sent to it has been put into `queue`, which is where its tasks go that are woken on its thread.
/// `registered` has the core's tasks, `running` is the key of the one that is being polled.
pub(crate) fn wake_and_find(
    registered: Vec<(usize, Waker)>,
    running: Option<usize>,
    queue: &RefCell<VecDeque<Runnable>>,
) {
    let queued: HashSet<usize> = queue.borrow().iter().map(|task| task.metadata().key()).collect();
    for (key, waker) in registered {
        // The one that is being polled is queued when it returns.
        if queued.contains(&key) || running == Some(key) {
            continue;
        }
        let before = queue.borrow().len();
        waker.wake_by_ref();
        if queue.borrow().len() == before {
            // SAFETY: it does not run, and counts as queued, but is in no queue of this process: its runnable was lost.
            queue.borrow_mut().push_back(unsafe { find(&waker) });
        }
    }
}

/// # Safety
///
/// `waker` is of a task that has been woken and is not being polled, and whose runnable was lost without being dropped.
unsafe fn find(waker: &Waker) -> Runnable {
    let cell = NonNull::new(waker.data().cast_mut()).expect("a cell has an address");
    // SAFETY: that it is the runnable's pointer is tested below; the reference that the lost one held becomes this one's.
    unsafe { Runnable::from_raw(cell) }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::super::{Home, new_remote};
    use super::*;

    /// As a thread that vanishes while it is about to queue a task.
    struct Nowhere;

    impl Home for Nowhere {
        fn schedule(&self, task: Runnable) {
            std::mem::forget(task);
        }
        fn is_closing(&self) -> bool {
            false
        }
        fn is_here(&self) -> bool {
            true
        }
        fn is_lost(&self) -> bool {
            false
        }
        fn register(&self, _waker: &Waker) -> usize {
            0
        }
        fn deregister(&self, _key: usize) {}
        fn wake_registered(&self, _key: usize) {}
    }

    #[test]
    fn a_lost_task_runs_again_and_is_freed_once() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let future = poll_fn(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Poll::Pending,
            _ => Poll::Ready(7),
        });
        let (runnable, handle) = new_remote(move || future, Arc::new(Nowhere));
        let waker = runnable.waker();
        assert_eq!(waker.data(), runnable.into_raw().as_ptr().cast_const());
        // SAFETY: just turned into that pointer.
        unsafe { Runnable::from_raw(NonNull::new(waker.data().cast_mut()).unwrap()) }.run();
        waker.wake_by_ref();
        let queue = RefCell::default();
        wake_and_find(vec![(0, waker)], None, &queue);
        queue.borrow_mut().pop_front().unwrap().run();
        assert_eq!(futures::executor::block_on(handle).unwrap(), 7);
        assert_eq!((polls.load(Ordering::Relaxed), Arc::strong_count(&polls)), (2, 1));
    }
}
