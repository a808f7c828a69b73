//! Where things run: as the runtime places them, the core on the first usable CPU, the poller on another. The bare loop is
//! placed in the same way, or the two would not be compared but their places.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread pinned as a core is, until this is dropped.
pub(crate) struct Pinned {
    before: CpuSet,
    /// The CPU for the poller.
    pub(crate) poller: u32,
}

impl Pinned {
    pub(crate) fn new() -> Self {
        let before = sched_getaffinity(None).unwrap();
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| before.is_set(cpu));
        let core = usable.next().expect("this runs on a CPU");
        let poller = usable.next().unwrap_or(core) as u32;
        let mut cpus = CpuSet::new();
        cpus.set(core);
        sched_setaffinity(None, &cpus).unwrap();
        Pinned { before, poller }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.before).unwrap();
    }
}
