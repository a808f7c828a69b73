//! All options of a ring in one place: which flags it gets, which sizes, and why.

use std::io;
use std::os::fd::RawFd;

use io_uring::IoUring;

/// What a ring is opened with.
#[derive(Debug, Clone)]
pub(crate) struct RingConfig {
    /// Entries of the submission queue; a power of two.
    pub(crate) entries: u32,
    /// Entries of the completion queue; a power of two, at least `entries`.
    pub(crate) cq_entries: u32,
}

fn builder(config: &RingConfig) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        // After a fork the child's copy of the queues would still drive the parent's ring: let it have none.
        .dontfork()
        .setup_cqsize(config.cq_entries)
        // One thread submits; for a polled ring the kernel does not check it, for an entered one it is a condition.
        .setup_single_issuer()
        // A request that fails to be prepared must not keep those behind it in the batch from being submitted.
        .setup_submit_all();
    builder
}

/// Opens a ring of these sizes that nobody is to use, for a look at its layout.
pub(super) fn plain(config: &RingConfig) -> io::Result<IoUring> {
    builder(config).build(config.entries)
}

/// Opens an entered ring.
pub(super) fn entered(config: &RingConfig) -> io::Result<IoUring> {
    builder(config).setup_defer_taskrun().setup_taskrun_flag().build(config.entries)
}

/// Opens a polled ring; `attach` is a ring whose poller is to serve it too, else a poller is created. Every ring sets the
/// idle time: the kernel takes the largest over a poller's rings, and 0 would mean a whole second.
pub(super) fn polled(config: &RingConfig, idle_ms: u32, attach: Option<RawFd>) -> io::Result<IoUring> {
    let mut builder = builder(config);
    builder.setup_sqpoll(idle_ms.max(1));
    if let Some(fd) = attach {
        builder.setup_attach_wq(fd);
    }
    builder.build(config.entries)
}

/// The sysctl `kernel.io_uring_disabled` (Linux 6.6): 0 everyone may, 1 the privileged and a group, 2 nobody.
pub(crate) fn io_uring_disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}
