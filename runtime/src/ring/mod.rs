//! The kernel interface of one core: its submission and completion queues, and the poller that serves them.
//!
//! A [`Ring`] is only a carrier of requests. It knows no tasks, no wakers and no operations: it takes SQEs, makes sure that
//! the kernel sees them, and hands out CQEs. What a request means, and who owns the memory that it names, is the reactor's
//! business; that is why a ring can be replaced under waiting futures.
//!
//! There are two kinds, chosen when the ring is opened ([`setup`]) and never changed:
//!
//! - **polled** (`SQPOLL | SINGLE_ISSUER`): the process's [`Poller`] consumes the queue by itself. Publishing is a store,
//!   a fence and a look at `NEED_WAKEUP`; the system call is only needed to wake the poller, to wait, and to flush an
//!   overflowed completion queue.
//! - **entered** (`DEFER_TASKRUN | SINGLE_ISSUER`): the core submits in batches and runs completions itself, inside
//!   `io_uring_enter(2)`. `TASKRUN_FLAG` tells when there is something to run, so that looking costs no system call.
//!
//! **When the poller is dead** every enter fails with `EOWNERDEAD`, and its rings have set `NEED_WAKEUP`. So a ring whose
//! poller sleeps, or seems to, is entered once even if there is nothing to submit: a kernel that forks a new poller then does
//! so, any other says what is the matter. What such a ring has completed is still there to be taken: in the queue, and what
//! did not fit into it in the ring's fdinfo.
//!
//! **After a fork** the child has the ring's descriptor but, by `MADV_DONTFORK`, not its memory. Dropping a ring there closes
//! the descriptor and touches nothing else: its addresses may be somebody else's by now, and the lock of its poller may be
//! held by a thread that does not exist.
#![allow(unsafe_code, reason = "pushes SQEs, whose memory the reactor vouches for, and calls io_uring_enter")]

pub(crate) mod inherited;
mod overflow;
mod poller;
mod setup;

use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

pub(crate) use overflow::Overflowed;
pub(crate) use poller::Poller;
pub(crate) use setup::{RingConfig, io_uring_disabled};

use crate::owner::Owner;
use crate::{private, sys};

/// How a core's ring is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A kernel thread, the poller, submits what the core writes into its queue (`IORING_SETUP_SQPOLL`).
    Polled,
    /// The core submits in batches by itself (`IORING_SETUP_DEFER_TASKRUN`).
    Entered,
}

impl Mode {
    /// The name that options use: `"polled"` or `"entered"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Polled => "polled",
            Mode::Entered => "entered",
        }
    }
}

/// What a ring has done since it was opened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RingCounts {
    pub(crate) enters: u64,
    pub(crate) wakeups: u64,
    pub(crate) sqes: u64,
    pub(crate) cqes: u64,
    pub(crate) overflows: u64,
}

impl std::ops::AddAssign for RingCounts {
    fn add_assign(&mut self, other: Self) {
        let RingCounts { enters, wakeups, sqes, cqes, overflows } = other;
        self.enters += enters;
        self.wakeups += wakeups;
        self.sqes += sqes;
        self.cqes += cqes;
        self.overflows += overflows;
    }
}

/// Longer waits end early: added to its clock, the kernel might take them for the past.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A poller that dies wakes whoever waits for a completion only by what it cancels, and it cancels only what it has taken. While
/// there are requests that it has not taken, a wait ends after so long, to see whether it lives.
const UNTAKEN_LOOK: Duration = Duration::from_millis(20);

/// How often to look for room before sleeping.
const ROOM_LOOKS: usize = 64;

/// How long to wait for room at a time.
const ROOM_LOOK: Duration = Duration::from_micros(100);

fn at_most(timeout: Option<Duration>, most: Duration) -> Option<Duration> {
    Some(timeout.map_or(most, |timeout| timeout.min(most)))
}

/// How often a ring has to look dead before it is believed.
const LOOKS_AT_DEATH: usize = 4;

/// How many requests are collected before the poller gets to see them: as many as it takes at a time from a ring that it
/// shares. Each look at the queue's indices costs the core and the poller a cache line that the other one has written.
const BATCH: usize = 8;

/// One ring, used by the thread that opened it.
pub(crate) struct Ring {
    uring: ManuallyDrop<IoUring>,
    owner: Owner,
    /// Requests that are accepted, and have room in the queue, but are not in it yet.
    batch: Vec<squeue::Entry>,
    /// How many more the queue has room for, at least.
    room: usize,
    /// The poller that serves the ring; `None` if it is entered.
    poller: Option<Arc<Poller>>,
    /// It has been entered since its poller went to sleep.
    asked: bool,
    pub(crate) counts: RingCounts,
}

impl Ring {
    /// Opens a ring: polled by `poller` if there is one, else entered.
    pub(crate) fn open(config: &RingConfig, poller: Option<&Arc<Poller>>) -> io::Result<Self> {
        let owner = Owner::this_process()?;
        let uring = ManuallyDrop::new(match poller {
            Some(poller) => poller.open_ring(config)?,
            None => setup::entered(config)?,
        });
        private::note(uring.as_raw_fd());
        Ok(Ring {
            owner,
            room: uring.params().sq_entries() as usize,
            batch: Vec::with_capacity(BATCH),
            poller: poller.cloned(),
            asked: false,
            counts: RingCounts::default(),
            uring,
        })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Another descriptor of this ring, close-on-exec.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring is open as long as this value.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }.try_clone_to_owned()
    }

    pub(crate) fn mode(&self) -> Mode {
        if self.poller.is_some() { Mode::Polled } else { Mode::Entered }
    }

    /// Accepts a request for the queue; returns `false` if the queue is full. It is in the queue after the next
    /// [`publish`](Ring::publish) or [`wait`](Ring::wait) at the latest, and the poller may take it at once.
    ///
    /// # Safety
    ///
    /// All memory that the entry names stays valid, and its buffers untouched, until the request's last CQE.
    pub(crate) unsafe fn try_push(&mut self, entry: squeue::Entry) -> bool {
        if !self.has_room() {
            return false;
        }
        self.room -= 1;
        self.batch.push(entry);
        self.counts.sqes += 1;
        if self.batch.len() == BATCH {
            self.write_batch();
        }
        true
    }

    /// Whether a request would find room.
    pub(crate) fn has_room(&mut self) -> bool {
        if self.room == 0 {
            let queue = self.uring.submission();
            self.room = queue.capacity() - queue.len() - self.batch.len();
        }
        self.room > 0
    }

    /// Writes the batch into the queue; returns how many requests are there that the kernel has not taken.
    fn write_batch(&mut self) -> usize {
        let mut queue = self.uring.submission();
        for entry in self.batch.drain(..) {
            // SAFETY: whoever pushed the entry vouches for its memory.
            let pushed = unsafe { queue.push(&entry) };
            pushed.expect("every request in the batch has room");
        }
        let len = queue.len();
        self.room = queue.capacity() - len;
        len
    }

    /// Makes the kernel see what was pushed, and completes what it has ready, without waiting.
    pub(crate) fn publish(&mut self) -> io::Result<()> {
        let queued = self.write_batch();
        let mut flags = self.wakeup(queued);
        let (overflow, taskrun) = self.pending();
        let submit = if self.poller.is_some() { 0 } else { queued as u32 };
        // An overflowed completion queue and deferred task work are both served by GETEVENTS only.
        flags.set(EnterFlags::GETEVENTS, overflow || taskrun || submit > 0);
        if flags.is_empty() && !self.must_ask(queued) {
            return Ok(());
        }
        self.counts.overflows += u64::from(overflow);
        self.enter(submit, 0, flags, None)
    }

    /// The flag that wakes the poller, if it sleeps over `queued` requests.
    fn wakeup(&mut self, queued: usize) -> EnterFlags {
        let wake = self.poller.is_some() && queued > 0 && self.needs_wakeup();
        if wake { EnterFlags::SQ_WAKEUP } else { EnterFlags::empty() }
    }

    fn needs_wakeup(&mut self) -> bool {
        let queue = self.uring.submission();
        // It has the full fence that must stand between the tail's store and the flag's load.
        let needed = queue.need_wakeup();
        // Dropping it would store the tail again, which the poller is reading.
        mem::forget(queue);
        needed
    }

    /// Whether the poller has gone to sleep since the ring was last entered: it may be dead. Asked only when nothing is
    /// `queued`, which costs an enter anyway.
    fn must_ask(&mut self, queued: usize) -> bool {
        if self.poller.is_none() || queued > 0 {
            return false;
        }
        let asleep = self.needs_wakeup();
        let ask = asleep && !self.asked;
        self.asked = asleep;
        ask
    }

    /// Whether completions wait in the kernel: because the queue has overflowed, or because task work is deferred.
    fn pending(&mut self) -> (bool, bool) {
        let queue = self.uring.submission();
        let pending = (queue.cq_overflow(), queue.taskrun());
        mem::forget(queue);
        pending
    }

    fn has_cqes(&mut self) -> bool {
        let queue = self.uring.completion();
        let has = !queue.is_empty();
        // Dropping it would store the head again, which the kernel is reading.
        mem::forget(queue);
        has
    }

    /// Whether [`reap`](Ring::reap) or [`publish`](Ring::publish) would find a completion: looks, calls nothing.
    pub(crate) fn has_completions(&mut self) -> bool {
        self.has_cqes() || self.pending() != (false, false)
    }

    /// Publishes and waits until `want` completions are there, or as many as the queue has room for; until `timeout`
    /// (`None`: for ever) has passed, or a signal arrives.
    pub(crate) fn wait(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if want == 1 && self.has_cqes() {
            return self.publish();
        }
        let queued = self.write_batch();
        let submit = if self.poller.is_some() { 0 } else { queued as u32 };
        self.counts.overflows += u64::from(self.pending().0);
        let flags = EnterFlags::GETEVENTS | self.wakeup(queued);
        let timeout = if submit < queued as u32 { at_most(timeout, UNTAKEN_LOOK) } else { timeout };
        // The kernel does not cut it down everywhere.
        let want = want.min(self.uring.params().cq_entries() as usize) as u32;
        self.enter(submit, want, flags, timeout)
    }

    /// Waits until the queue has room again: polled, for the poller to consume; entered, by submitting.
    pub(crate) fn wait_for_room(&mut self) -> io::Result<()> {
        if self.poller.is_none() {
            return self.publish();
        }
        let queued = self.write_batch();
        let wakeup = self.wakeup(queued);
        if !wakeup.is_empty() {
            self.enter(0, 0, wakeup, None)?;
        }
        // A poller that is awake takes a moment.
        for _ in 0..ROOM_LOOKS {
            if self.has_room() || self.has_cqes() {
                return Ok(());
            }
            thread::yield_now();
        }
        // Not SQ_WAIT: the death of the poller would not end that, nor can a timeout.
        self.enter(0, 1, EnterFlags::GETEVENTS, Some(ROOM_LOOK))
    }

    fn enter(
        &mut self,
        submit: u32,
        want: u32,
        flags: EnterFlags,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        self.counts.enters += 1;
        self.counts.wakeups += u64::from(flags.contains(EnterFlags::SQ_WAKEUP));
        let submitter = self.uring.submitter();
        let result = match timeout {
            Some(timeout) => {
                let timespec = Timespec::from(timeout.min(WAIT_MAX));
                let args = SubmitArgs::new().timespec(&timespec);
                let flags = flags | EnterFlags::EXT_ARG;
                // SAFETY: the flags and counts fit together as io_uring_enter(2) asks; with EXT_ARG the argument is a
                // `SubmitArgs`, alive during the call.
                unsafe { submitter.enter(submit, want, flags.bits(), Some(&args)) }
            }
            // SAFETY: as above; without EXT_ARG a missing argument means an unchanged signal mask.
            None => unsafe { submitter.enter::<libc::sigset_t>(submit, want, flags.bits(), None) },
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The time is up; a signal came; the completion queue must be emptied first (EBUSY) or memory is short
                // for now (EAGAIN): the caller's next turn does what there is to do.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Hands every CQE that is in the queue to `each`.
    pub(crate) fn reap(&mut self, mut each: impl FnMut(cqueue::Entry)) {
        if !self.has_cqes() {
            return;
        }
        for cqe in self.uring.completion() {
            self.counts.cqes += 1;
            each(cqe);
        }
    }
}

impl Ring {
    /// What has been accepted for the queue but is not in it: nobody but this process knows of it.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = u64> {
        self.batch.iter().map(squeue::Entry::get_user_data)
    }

    /// Whether the ring's poller is really dead, after an enter said so: the kernel is asked again, because one that forks
    /// a new poller has done it by now, and so is fdinfo, because there are kernels (before 5.14) that say so for nothing.
    pub(crate) fn is_dead(&mut self) -> bool {
        let dead = |error: &io::Error| error.raw_os_error() == Some(libc::EOWNERDEAD);
        self.poller.is_some()
            && self.enter(0, 0, EnterFlags::empty(), None).is_err_and(|error| dead(&error))
            // The rings of a dead poller have NEED_WAKEUP set, for ever. One that lives clears it before it takes the
            // locks for which fdinfo may fail to name it.
            && (0..LOOKS_AT_DEATH).all(|_| {
                thread::yield_now();
                self.needs_wakeup() && poller::sq_thread(self.fd()).is_none() && self.needs_wakeup()
            })
    }

    /// What a dead ring has completed without room in its queue, which only an enter could move there.
    ///
    /// # Errors
    ///
    /// If there is something, and `/proc` can't tell.
    pub(crate) fn overflowed(&mut self) -> io::Result<Vec<Overflowed>> {
        let (overflow, _) = self.pending();
        if overflow { overflow::read(self.fd()) } else { Ok(Vec::new()) }
    }

    /// From now on rings of this one's poller get a new one: this one is dead, or is somebody else's by its identity.
    pub(crate) fn retire_poller(&self) {
        if let Some(poller) = &self.poller {
            poller.retire(self.fd());
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            // See above: the descriptor is this process's, the rest is not. It may have been closed already.
            if private::take(self.fd()) && sys::is_anonymous(self.fd(), "[io_uring]") {
                sys::close(self.fd());
            }
            mem::forget(self.poller.take());
            return;
        }
        private::take(self.fd());
        if let Some(poller) = &self.poller {
            poller.leave(self.fd());
        }
        // SAFETY: dropped once, here, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
    }
}
