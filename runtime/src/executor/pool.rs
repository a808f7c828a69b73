//! Threads for closures that block: started on demand, up to a limit, ended when idle.
//!
//! A closure is a task like any other (so its handle, panics and aborts are the same), whose home is the pool instead of a
//! core. One lock guards the queue; it is held for a few instructions, by cores too, which is the price of a pool that
//! several of them share.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use crate::owner::Owner;
use crate::sys;
use crate::task::{self, Home, JoinHandle, Runnable};

/// How long a thread waits for work before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Threads that run closures which block.
pub(crate) struct Pool {
    /// In a child of a fork there are no threads, and the lock may be held for ever.
    owner: Owner,
    threads_max: usize,
    cpus: Vec<usize>,
    closing: AtomicBool,
    state: Mutex<State>,
    /// Work has come, or the pool closes.
    changed: Condvar,
    /// A thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Runnable>,
    threads: usize,
    idle: usize,
    /// Closures that run.
    running: usize,
}

impl Pool {
    /// A pool of at most `threads_max` threads, which may run on `cpus`: they must not inherit a core's pin.
    pub(crate) fn new(threads_max: usize, cpus: Vec<usize>, owner: Owner) -> Arc<Self> {
        Arc::new(Pool {
            owner,
            threads_max,
            cpus,
            closing: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so the state is whole even if a thread died holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on a thread of the pool. The handle has an error if the pool is closed, or has no thread and can't get one.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (task, handle) =
            task::new_remote(move || std::future::ready(f()), Arc::clone(self) as Arc<dyn Home>);
        // One critical section: else the idle thread that is to take the task might end in between.
        let mut state = self.lock();
        if self.is_closing() {
            return JoinHandle::refused(io::Error::other("the runtime is shutting down"));
        }
        if state.idle <= state.queue.len() && state.threads < self.threads_max {
            let pool = Arc::clone(self);
            match thread::Builder::new().name("repoll-blocking".into()).spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                // The threads that are there will get to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => return JoinHandle::refused(error),
            }
        }
        state.queue.push_back(task);
        drop(state);
        self.changed.notify_one();
        handle
    }

    fn work(&self) {
        // Fails only if the CPUs were taken away meanwhile: then the kernel has chosen others already.
        let _ = sys::set_affinity(0, &self.cpus);
        let mut state = self.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                state.running += 1;
                drop(state);
                task.run();
                if !self.owner.is_here() {
                    // The closure has forked, and this is the child's only thread.
                    return;
                }
                state = self.lock();
                state.running -= 1;
            } else if self.is_closing() {
                break;
            } else {
                state.idle += 1;
                let (guard, waited) =
                    self.changed.wait_timeout(state, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
                state = guard;
                state.idle -= 1;
                if waited.timed_out() && state.queue.is_empty() {
                    break;
                }
            }
        }
        state.threads -= 1;
        self.ended.notify_all();
    }

    /// How many closures run, or wait to, after waiting a moment for there to be none: one whose result has just been taken
    /// is still on its thread.
    pub(crate) fn busy(&self, moment: Duration) -> usize {
        let deadline = Instant::now() + moment;
        loop {
            let state = self.lock();
            let busy = state.queue.len() + state.running;
            drop(state);
            if busy == 0 || Instant::now() >= deadline {
                return busy;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets closures that have not begun end as aborted, and waits for those that run until `deadline`; returns how many
    /// are still running then. They go on by themselves.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        self.closing.store(true, Ordering::Release);
        let mut state = self.lock();
        self.changed.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.threads
    }
}

impl Home for Pool {
    /// A closure's future never waits, so nobody wakes it; a task that is dropped unfinished ends where it is.
    fn schedule(&self, task: Runnable) {
        task.run();
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn is_here(&self) -> bool {
        false
    }

    fn is_lost(&self) -> bool {
        !self.owner.is_here()
    }

    /// A closure's future never waits, so it is never registered.
    fn register(&self, _waker: &Waker) -> usize {
        unreachable!("a closure ends in its first poll")
    }

    fn deregister(&self, _key: usize) {}

    fn wake_registered(&self, _key: usize) {}
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::executor::block_on;

    use super::*;

    #[test]
    fn closures_run_and_their_panics_are_reported() {
        let pool = Pool::new(2, vec![0], Owner::this_process().unwrap());
        assert_eq!(block_on(pool.spawn(|| 7)).unwrap(), 7);
        assert!(block_on(pool.spawn(|| panic!("on purpose"))).unwrap_err().is_panic());
        assert_eq!(pool.shut_down(Instant::now() + Duration::from_secs(60)), 0);
    }

    #[test]
    fn at_the_limit_closures_queue_and_a_queued_one_can_be_aborted() {
        let pool = Pool::new(1, vec![0], Owner::this_process().unwrap());
        let (go, wait) = mpsc::channel::<()>();
        let running = pool.spawn(move || wait.recv());
        let (queued, aborted) = (pool.spawn(|| 1), pool.spawn(|| 2));
        aborted.abort();
        go.send(()).unwrap();
        assert!(block_on(running).unwrap().is_ok());
        assert_eq!(block_on(queued).unwrap(), 1);
        assert!(block_on(aborted).unwrap_err().is_aborted());
        assert_eq!(pool.lock().threads, 1);
        pool.shut_down(Instant::now() + Duration::from_secs(60));
    }

    #[test]
    fn shutdown_aborts_the_queue_refuses_more_and_leaves_a_stuck_thread_behind() {
        let pool = Pool::new(1, vec![0], Owner::this_process().unwrap());
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let stuck = pool.spawn(move || {
            started.send(()).unwrap();
            wait.recv()
        });
        has_started.recv().unwrap();
        let queued = pool.spawn(|| ());
        assert_eq!(pool.shut_down(Instant::now()), 1);
        assert!(block_on(pool.spawn(|| ())).unwrap_err().to_string().contains("shutting down"));
        drop(go);
        assert!(block_on(queued).unwrap_err().is_aborted());
        assert!(block_on(stuck).unwrap().is_err());
        assert_eq!(pool.shut_down(Instant::now() + Duration::from_secs(60)), 0);
    }
}
