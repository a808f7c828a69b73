//! The poller: the kernel thread (`iou-sqp-<pid>`) that submits for a group of rings. Every question about it has its
//! answer in this file: who creates it, who attaches, where it runs, how long it spins, whether it is really shared.
//!
//! **Life.** A [`Poller`] starts without a thread. The first ring opened on it creates the kernel thread, later ones attach
//! to any ring that is still a member: the ring that created the thread may close first (the kernel keeps the thread as
//! long as one ring uses it). Opening and leaving happen under one lock, so nobody attaches to a ring that is closing.
//! When the last member leaves, the thread ends and the next ring creates a new one.
//!
//! **Sharing is verified.** The kernel grants `ATTACH_WQ` also where it does not share (a ring of another process): it then
//! starts a second thread without a word. So the thread's id is read back from `/proc/self/fdinfo` after every attach.
//!
//! **Place.** The thread inherits the affinity of whoever creates it, which may be a pinned worker. It is therefore always
//! placed on purpose, after it was created, onto [`Poller::cpus`].

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::IoUring;

use super::setup::{self, RingConfig};
use crate::sys;

/// How long fdinfo may take to name a new poller.
const FDINFO_PATIENCE: Duration = Duration::from_millis(200);

/// A poller and the rings that it serves. Shared by the cores of a group.
#[derive(Debug)]
pub(crate) struct Poller {
    idle_ms: u32,
    /// The CPUs that it may run on; empty: wherever the scheduler wants.
    cpus: Vec<usize>,
    group: Mutex<Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// The kernel thread's id, `None` while there is none or `/proc` can't tell.
    tid: Option<libc::pid_t>,
    /// Open rings of the group; any of them can be attached to.
    members: Vec<RawFd>,
}

impl Poller {
    pub(crate) fn new(idle_ms: u32, cpus: Vec<usize>) -> Self {
        Poller { idle_ms, cpus, group: Mutex::default() }
    }

    /// The kernel thread's id, while it lives and `/proc` is mounted.
    pub(crate) fn tid(&self) -> Option<libc::pid_t> {
        self.lock().tid
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Group> {
        // Every change of the group is complete before anything can panic.
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a ring on this poller: creates the kernel thread, or attaches to it and verifies that it is the same one.
    pub(super) fn open_ring(&self, config: &RingConfig) -> io::Result<IoUring> {
        let mut group = self.lock();
        let attach = group.members.last().copied();
        let ring = setup::polled(config, self.idle_ms, attach)?;
        let tid = poller_tid(ring.as_raw_fd());
        match (attach, group.tid, tid) {
            (Some(_), Some(shared), Some(own)) if shared != own => {
                return Err(io::Error::other(format!(
                    "the kernel started a second poller (thread {own}) instead of sharing thread {shared}"
                )));
            }
            (Some(_), ..) => {}
            (None, ..) => {
                group.tid = tid;
                self.place(tid)?;
            }
        }
        group.members.push(ring.as_raw_fd());
        Ok(ring)
    }

    fn place(&self, tid: Option<libc::pid_t>) -> io::Result<()> {
        match tid {
            Some(tid) if !self.cpus.is_empty() => sys::set_affinity(tid, &self.cpus),
            _ => Ok(()),
        }
    }

    /// To be called before the ring is closed.
    pub(super) fn leave(&self, ring: RawFd) {
        let mut group = self.lock();
        group.members.retain(|&member| member != ring);
        if group.members.is_empty() {
            group.tid = None;
        }
    }
}

/// The id of the kernel thread that polls `ring`, from `/proc/self/fdinfo`. Asks again while the answer is not one: -1
/// stands there while the ring's lock is taken, and the creator's own id until the new thread has run for the first time.
fn poller_tid(ring: RawFd) -> Option<libc::pid_t> {
    let deadline = Instant::now() + FDINFO_PATIENCE;
    loop {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{ring}")).ok()?;
        let tid = info.lines().find_map(|line| line.strip_prefix("SqThread:"))?.trim().parse().ok()?;
        if is_poller(tid) {
            return Some(tid);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

fn is_poller(tid: libc::pid_t) -> bool {
    tid > 0
        && std::fs::read_to_string(format!("/proc/self/task/{tid}/comm"))
            .is_ok_and(|name| name.starts_with("iou-sqp-"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Ring;
    use super::*;

    const CONFIG: RingConfig = RingConfig { entries: 8, cq_entries: 16 };

    #[test]
    fn rings_share_one_verified_poller_that_outlives_its_creator() {
        let poller = Arc::new(Poller::new(5, Vec::new()));
        let first = Ring::open(&CONFIG, Some(&poller)).unwrap();
        let second = Ring::open(&CONFIG, Some(&poller)).unwrap();
        let tid = poller.tid().expect("/proc is mounted");
        assert_eq!(poller_tid(second.uring.as_raw_fd()), Some(tid));
        drop(first);
        let third = Ring::open(&CONFIG, Some(&poller)).unwrap();
        assert_eq!(poller_tid(third.uring.as_raw_fd()), Some(tid));
        drop((second, third));
        assert_eq!(poller.tid(), None);
        let fourth = Ring::open(&CONFIG, Some(&poller)).unwrap();
        assert_eq!(poller_tid(fourth.uring.as_raw_fd()), poller.tid());
    }

    #[test]
    fn the_poller_runs_where_it_was_placed_not_where_its_creator_was_pinned() {
        let cpus = sys::affinity(0).unwrap();
        let last = *cpus.last().unwrap();
        let pinned = thread::spawn(move || {
            sys::set_affinity(0, &cpus[..1]).unwrap();
            let poller = Arc::new(Poller::new(5, vec![last]));
            let _ring = Ring::open(&CONFIG, Some(&poller)).unwrap();
            sys::affinity(poller.tid().unwrap()).unwrap()
        });
        assert_eq!(pinned.join().unwrap(), [last]);
    }

    #[test]
    fn a_second_poller_behind_our_back_is_an_error() {
        let poller = Arc::new(Poller::new(5, Vec::new()));
        let _ring = Ring::open(&CONFIG, Some(&poller)).unwrap();
        poller.lock().tid = Some(1);
        assert!(Ring::open(&CONFIG, Some(&poller)).err().unwrap().to_string().contains("second poller"));
    }

    #[test]
    fn a_poller_on_a_cpu_that_is_not_there_is_an_error() {
        let poller = Arc::new(Poller::new(5, vec![8000]));
        assert_eq!(Ring::open(&CONFIG, Some(&poller)).err().unwrap().raw_os_error(), Some(libc::EINVAL));
    }
}
