//! The poller: the kernel thread (`iou-sqp-<pid>`) that submits for a group of rings. Every question about it has its
//! answer in this file: who creates it, who attaches, where it runs, how long it spins, whether it is really shared.
//!
//! **Life.** A [`Poller`] starts without a thread. The first ring opened on it creates the kernel thread, later ones attach
//! to any ring that is still a member: the ring that created the thread may close first (the kernel keeps the thread as
//! long as one ring uses it). Opening and leaving happen under one lock, so nobody attaches to a ring that is closing.
//! When the last member leaves, the thread ends and the next ring creates a new one. So it is when the group is *retired*:
//! its thread is dead, or has an identity that this process has given up (a poller keeps the credentials and the file
//! table that it was created with). Then the members are forgotten at once, and whoever opens the next ring creates the
//! thread that all others attach to. One poller, one fate: each member finds out by itself, and only the first one retires
//! the group.
//!
//! **Sharing is verified.** The kernel grants `ATTACH_WQ` also where it does not share (a ring of another process): it then
//! starts a second thread without a word. So `SqThread` in `/proc/self/fdinfo` of both rings is compared after every attach.
//!
//! **The thread's id** is that number too, except in a PID namespace, where fdinfo has the id outside of it. There the
//! poller is the thread of its name that was not there before.
//!
//! **Place.** The thread inherits the affinity of whoever creates it, which may be a pinned worker. It is therefore always
//! placed on purpose, after it was created, onto [`Poller::cpus`].

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::IoUring;

use super::inherited;
use super::setup::{self, RingConfig};
use crate::owner::ProcessLock;
use crate::sys;

/// How long `/proc` may take to show a new poller.
const PROC_PATIENCE: Duration = Duration::from_millis(200);

/// How often a new ring has to say that it has no poller before it is believed.
const DEAD_LOOKS: usize = 4;

/// Held while a poller is created.
static CREATING: ProcessLock = ProcessLock::new();

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
    #[cfg(test)]
    fn tid(&self) -> Option<libc::pid_t> {
        self.lock().tid
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Group> {
        // Every change of the group is complete before anything can panic.
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a ring on this poller: creates the kernel thread, or attaches to it and verifies that it is the same one.
    pub(super) fn open_ring(&self, config: &RingConfig) -> io::Result<IoUring> {
        let mut group = self.lock();
        let ring = match self.attach(config, &mut group)? {
            Some(ring) => ring,
            None => {
                let (ring, tid) = self.create(config)?;
                group.tid = tid;
                ring
            }
        };
        group.members.push(ring.as_raw_fd());
        Ok(ring)
    }

    /// Opens a ring on the thread of the other members, if there is one and it lives.
    fn attach(&self, config: &RingConfig, group: &mut Group) -> io::Result<Option<IoUring>> {
        let Some(&member) = group.members.last() else { return Ok(None) };
        match setup::polled(config, self.idle_ms, Some(member)) {
            Ok(ring) => {
                verify_shared(member, ring.as_raw_fd())?;
                Ok(Some(ring))
            }
            // It has died, and this core is the first to notice.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                group.retire();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the next ring create a new thread, if `ring` is a member: else that has been done already.
    pub(super) fn retire(&self, ring: RawFd) {
        let mut group = self.lock();
        if group.members.contains(&ring) {
            group.retire();
        }
    }

    /// Opens a ring with a poller of its own, and places the poller.
    fn create(&self, config: &RingConfig) -> io::Result<(IoUring, Option<libc::pid_t>)> {
        // One at a time in the process: what is new among the threads is then ours.
        let _alone = CREATING.lock()?;
        let before = pollers();
        let ring = match inherited::adopt(config) {
            Some(ring) => ring,
            None => setup::polled(config, self.idle_ms, None)?,
        };
        let tid = await_poller(ring.as_raw_fd(), &before);
        self.place(tid)?;
        Ok((ring, tid))
    }

    fn place(&self, tid: Option<libc::pid_t>) -> io::Result<()> {
        match tid {
            // Never a thread of another process that has the same number in some namespace.
            Some(tid) if !self.cpus.is_empty() && threads().contains(&tid) => {
                match sys::set_affinity(tid, &self.cpus) {
                    // It has died meanwhile, which the ring's first enter finds out.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                    placed => placed,
                }
            }
            _ => Ok(()),
        }
    }

    /// Has the next ring create a new thread; the members stay with the one that they have.
    pub(crate) fn retire_all(&self) {
        self.lock().retire();
    }

    /// To be called before the ring is closed.
    pub(super) fn leave(&self, ring: RawFd) {
        let mut group = self.lock();
        group.members.retain(|&member| member != ring);
        if group.members.is_empty() {
            group.tid = None;
        }
    }

    /// Where the thread runs, and how much of its time it has worked; nothing while there is none.
    pub(crate) fn in_use(&self) -> PollerUse {
        let group = self.lock();
        let info = group.members.first().and_then(|ring| read_fdinfo(*ring));
        let field = |name: &str| info.as_deref().and_then(|info| fdinfo_field::<i64>(info, name));
        let total = field("SqTotalTime").filter(|total| *total > 0);
        let work = field("SqWorkTime");
        PollerUse {
            tid: group.tid,
            cpu: field("SqThreadCpu").and_then(|cpu| usize::try_from(cpu).ok()),
            utilisation: total.zip(work).map(|(total, work)| (work as f64 / total as f64).clamp(0.0, 1.0)),
        }
    }
}

impl Group {
    fn retire(&mut self) {
        self.members.clear();
        self.tid = None;
    }
}

/// What a poller is doing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PollerUse {
    pub(crate) tid: Option<libc::pid_t>,
    pub(crate) cpu: Option<usize>,
    /// The share of its time that it has spent on requests, since it was created. Linux 6.8.
    pub(crate) utilisation: Option<f64>,
}

/// What `SqThread` is in a ring's fdinfo. `None` while the ring's lock is taken or its poller is dead (-1), and without
/// `/proc`.
pub(super) fn sq_thread(ring: RawFd) -> Option<libc::pid_t> {
    fdinfo_field(&read_fdinfo(ring)?, "SqThread").filter(|tid| *tid > 0)
}

fn read_fdinfo(ring: RawFd) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{ring}")).ok()
}

fn fdinfo_field<T: std::str::FromStr>(info: &str, name: &str) -> Option<T> {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    // Times have a unit behind the number.
    value.trim().trim_end_matches("us").trim_end().parse().ok()
}

/// This process's threads; empty without `/proc`.
fn threads() -> Vec<libc::pid_t> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The pollers among them.
fn pollers() -> Vec<libc::pid_t> {
    threads().into_iter().filter(|&tid| is_poller(tid)).collect()
}

fn is_poller(tid: libc::pid_t) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{tid}/comm"));
    name.is_ok_and(|name| name.starts_with("iou-sqp-"))
}

/// Waits until `found` gives something, for a moment; `None` at once without `/proc`.
fn patiently<T>(ring: RawFd, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    if !std::fs::exists(format!("/proc/self/fdinfo/{ring}")).unwrap_or(false) {
        return None;
    }
    let deadline = Instant::now() + PROC_PATIENCE;
    loop {
        match found() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_micros(50)),
            found => return found,
        }
    }
}

/// The id of the poller that was just created for `ring`, when those in `before` were there already. The new thread takes its
/// name when it runs for the first time; until then fdinfo has its creator's id.
fn await_poller(ring: RawFd, before: &[libc::pid_t]) -> Option<libc::pid_t> {
    let mut dead = 0;
    let found = patiently(ring, || {
        let named = sq_thread(ring).filter(|tid| !before.contains(tid) && is_poller(*tid));
        let found = named.or_else(|| pollers().into_iter().find(|tid| !before.contains(tid)));
        dead += usize::from(is_unserved(ring));
        // Whoever waits for a thread that has died at once waits in vain.
        if found.is_none() && dead < DEAD_LOOKS { None } else { Some(found) }
    });
    found.flatten()
}

/// Whether fdinfo says that a ring has no poller; or that it is busy just now.
fn is_unserved(ring: RawFd) -> bool {
    read_fdinfo(ring).and_then(|info| fdinfo_field(&info, "SqThread")) == Some(-1)
}

fn verify_shared(member: RawFd, ring: RawFd) -> io::Result<()> {
    let (mut last, mut dead) = (None, 0);
    let same = patiently(ring, || {
        dead += usize::from(is_unserved(ring));
        if dead == DEAD_LOOKS {
            last = None;
            return Some(());
        }
        last = Some((sq_thread(member)?, sq_thread(ring)?));
        last.filter(|(shared, own)| shared == own).map(drop)
    });
    match (same, last) {
        (None, Some((shared, own))) => Err(io::Error::other(format!(
            "the kernel started a second poller (thread {own}) instead of sharing thread {shared}"
        ))),
        // Shared; or /proc can't tell, and then there is nothing to hold against it.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Ring;
    use super::*;

    const CONFIG: RingConfig = RingConfig { entries: 8, cq_entries: 16 };

    fn tid_of(ring: &Ring) -> Option<libc::pid_t> {
        patiently(ring.uring.as_raw_fd(), || sq_thread(ring.uring.as_raw_fd()))
    }

    #[test]
    fn rings_share_one_verified_poller_that_outlives_its_creator() {
        let poller = Arc::new(Poller::new(5, Vec::new()));
        let first = Ring::open(&CONFIG, Some(&poller)).unwrap();
        let second = Ring::open(&CONFIG, Some(&poller)).unwrap();
        let tid = poller.tid().expect("/proc is mounted");
        assert_eq!(tid_of(&second), Some(tid));
        drop(first);
        let third = Ring::open(&CONFIG, Some(&poller)).unwrap();
        assert_eq!(tid_of(&third), Some(tid));
        drop((second, third));
        assert_eq!(poller.tid(), None);
        let fourth = Ring::open(&CONFIG, Some(&poller)).unwrap();
        assert_eq!(tid_of(&fourth), poller.tid());
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
        let (one, other) = (Arc::new(Poller::new(5, Vec::new())), Arc::new(Poller::new(5, Vec::new())));
        let first = Ring::open(&CONFIG, Some(&one)).unwrap();
        let second = Ring::open(&CONFIG, Some(&other)).unwrap();
        let error = verify_shared(first.uring.as_raw_fd(), second.uring.as_raw_fd()).unwrap_err();
        assert!(error.to_string().contains("second poller"), "{error}");
    }

    #[test]
    fn a_poller_on_a_cpu_that_is_not_there_is_an_error() {
        let poller = Arc::new(Poller::new(5, vec![8000]));
        assert_eq!(Ring::open(&CONFIG, Some(&poller)).err().unwrap().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(poller.tid(), None);
    }
}
