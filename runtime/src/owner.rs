//! Who owns what this memory describes: the word that a fork wipes.
//!
//! A ring belongs to the process that opened it. After a fork the child has a copy of everything that describes it - slots,
//! indices, descriptors - and no errno tells it that the requests it writes are carried out by the *parent's* poller, in the
//! parent's memory. So ownership is not asked of the kernel but read from a page that the kernel wipes in the child
//! (`MADV_WIPEONFORK`): one word, the *epoch*.
//!
//! ```text
//! first use        epoch 1
//!   fork, parent   epoch 1                      unchanged
//!   fork, child    0 = nobody has looked yet    `adopt` makes it 2, the next number of this line of descent
//! ```
//!
//! Whoever holds something that a fork does not hand on keeps an [`Owner`], and asks it before each use: one load and a
//! comparison. The word is right in the child whatever made it (`fork`, `clone`, a library), at once, without a handler; a
//! child that shares the memory (`vfork`) shares the word, which is as it should be.
//!
//! What a fork copies may also be *locked*, by a thread that the child does not have. What is used before a child can have
//! replaced it is guarded by a [`ProcessLock`]: a holder of another process holds nothing.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::sys;

static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();
/// The last epoch that was given out in this line of descent; a fork copies it.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The present epoch: 0 in a child of a fork in which nobody has called [`adopt`], and before the first use of all.
/// Async-signal-safe.
pub(crate) fn epoch() -> u64 {
    WORD.get().map_or(0, |word| word.load(Ordering::Relaxed))
}

/// Makes this process an owner, if it is not one yet; returns its epoch.
///
/// # Errors
///
/// Those of `mmap(2)` and `madvise(2)`, at the very first use only.
pub(crate) fn adopt() -> io::Result<u64> {
    let word = match WORD.get() {
        Some(word) => word,
        None => {
            let page = sys::wipe_on_fork_word()?;
            WORD.get_or_init(|| page)
        }
    };
    let now = word.load(Ordering::Acquire);
    if now != 0 {
        return Ok(now);
    }
    let new = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // Another thread may have been faster.
    Ok(word.compare_exchange(0, new, Ordering::AcqRel, Ordering::Acquire).map_or_else(|now| now, |_| new))
}

/// Remembers which process something belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    word: &'static AtomicU64,
    epoch: u64,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    ///
    /// As for [`adopt`].
    pub(crate) fn this_process() -> io::Result<Self> {
        let epoch = adopt()?;
        let word = WORD.get().expect("adopting makes the word");
        Ok(Owner { word, epoch })
    }

    /// Whether this is still the process that it was then.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.word.load(Ordering::Relaxed) == self.epoch
    }
}

/// A lock for what is done once or rarely and takes long, such as creating a poller; whoever has to wait yields.
pub(crate) struct ProcessLock {
    /// The epoch of the process that holds it, or [`ProcessLock::FREE`].
    holder: AtomicU64,
}

impl ProcessLock {
    const FREE: u64 = 0;

    pub(crate) const fn new() -> Self {
        ProcessLock { holder: AtomicU64::new(Self::FREE) }
    }

    /// Waits until nobody in this process holds it.
    ///
    /// # Errors
    ///
    /// As for [`adopt`].
    pub(crate) fn lock(&self) -> io::Result<ProcessLocked<'_>> {
        let epoch = adopt()?;
        loop {
            let holder = self.holder.load(Ordering::Relaxed);
            let free = holder != epoch;
            if free
                && self.holder.compare_exchange(holder, epoch, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Ok(ProcessLocked(self));
            }
            thread::yield_now();
        }
    }
}

/// Frees the lock when it is dropped.
pub(crate) struct ProcessLocked<'a>(&'a ProcessLock);

impl Drop for ProcessLocked<'_> {
    fn drop(&mut self) {
        self.0.holder.store(ProcessLock::FREE, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_holds_the_lock() {
        static LOCK: ProcessLock = ProcessLock::new();
        static INSIDE: AtomicU64 = AtomicU64::new(0);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| {
                    for _ in 0..1000 {
                        let _locked = LOCK.lock().unwrap();
                        assert_eq!(INSIDE.fetch_add(1, Ordering::Relaxed), 0);
                        INSIDE.fetch_sub(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_holder_of_another_process_holds_nothing() {
        let lock = ProcessLock { holder: AtomicU64::new(u64::MAX) };
        drop(lock.lock().unwrap());
        assert_eq!(lock.holder.load(Ordering::Relaxed), ProcessLock::FREE);
    }
}
