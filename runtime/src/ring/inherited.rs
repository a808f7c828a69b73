//! A ring that has come through an exec: whether it can be used decides the kernel.
//!
//! An exec kills the poller of its rings. The kernel that this project began with forks a new one as soon as such a ring is
//! entered; released kernels answer `EOWNERDEAD`. So an upgrade hands its ring over, with all requests called back, and the next
//! image enters it: it is adopted if that works, and closed if not.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use io_uring::IoUring;

use super::setup::{self, RingConfig};
use crate::sys;

/// Which descriptor it is: `process:descriptor:entries:cq_entries`.
pub(crate) const VARIABLE: &str = "REPOLL_RING";

/// The variable's value for a ring of this process, which keeps its id.
pub(crate) fn describe(ring: i32, config: &RingConfig) -> String {
    format!("{}:{ring}:{}:{}", std::process::id(), config.entries, config.cq_entries)
}

/// The ring that was handed over to this process, if there is one that the kernel serves and that is as wanted. Each is
/// looked at once.
pub(super) fn adopt(config: &RingConfig) -> Option<IoUring> {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if LOOKED.swap(true, Ordering::Relaxed) {
        return None;
    }
    let (ring, as_wanted) = take(&std::env::var(VARIABLE).ok()?, config)?;
    match if as_wanted { open(ring, config) } else { Err(io::ErrorKind::InvalidInput.into()) } {
        Ok(uring) => Some(uring),
        Err(error) => {
            log_discarded(&error);
            None
        }
    }
}

/// The descriptor that the variable names, and whether its sizes are these.
fn take(variable: &str, config: &RingConfig) -> Option<(OwnedFd, bool)> {
    let mut numbers = variable.split(':').map(|number| number.parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    let (pid, ring, entries, cq_entries) = (number()?, number()?, number()?, number()?);
    if pid != std::process::id() || !sys::is_anonymous(ring as i32, "[io_uring]") {
        return None;
    }
    let as_wanted = (entries, cq_entries) == (config.entries, config.cq_entries);
    Some((sys::exec::take_inherited(ring as i32).ok()?, as_wanted))
}

/// Enters the ring, and maps its queues if the kernel goes on serving it.
fn open(ring: OwnedFd, config: &RingConfig) -> io::Result<IoUring> {
    sys::enter_ring(ring.as_raw_fd())?;
    // The layout is the kernel's; a ring of the same sizes has the same one.
    let like_it = setup::plain(config)?;
    // SAFETY: the descriptor is a ring of that layout, and given up to the value.
    let mut uring = unsafe { IoUring::from_fd(ring.into_raw_fd(), like_it.params().clone()) }?;
    // What is left in the queue was the former image's: its numbers mean other requests here.
    uring.completion().for_each(drop);
    if uring.submission().cq_overflow() || !uring.submission().is_empty() {
        return Err(io::Error::other("it has requests of the former image"));
    }
    Ok(uring)
}

fn log_discarded(_error: &io::Error) {
    #[cfg(feature = "log")]
    log::info!("the ring that was handed over is not used: {_error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RingConfig = RingConfig { entries: 8, cq_entries: 16 };

    /// As an exec leaves it.
    fn inherited() -> i32 {
        let ring = setup::polled(&CONFIG, 5, None).unwrap();
        let fd = ring.as_raw_fd();
        std::mem::forget(ring);
        sys::exec::keep_across_exec(fd).unwrap();
        fd
    }

    #[test]
    fn a_ring_that_the_kernel_serves_is_adopted() {
        let (fd, described) = (inherited(), |fd| describe(fd, &CONFIG));
        let (ring, as_wanted) = take(&described(fd), &CONFIG).unwrap();
        assert!(as_wanted);
        let mut uring = open(ring, &CONFIG).unwrap();
        let nop = io_uring::opcode::Nop::new().build().user_data(7);
        // SAFETY: names no memory.
        unsafe { uring.submission().push(&nop) }.unwrap();
        // SAFETY: wakes the poller and waits; there are no further arguments.
        let entered = unsafe {
            let flags = io_uring::EnterFlags::SQ_WAKEUP | io_uring::EnterFlags::GETEVENTS;
            uring.submitter().enter::<libc::sigset_t>(1, 1, flags.bits(), None)
        };
        entered.unwrap();
        assert_eq!(uring.completion().next().unwrap().user_data(), 7);
    }

    #[test]
    fn what_is_no_ring_or_of_somebody_else_is_left_alone() {
        let file = std::fs::File::open("/dev/null").unwrap();
        sys::exec::keep_across_exec(file.as_raw_fd()).unwrap();
        assert!(take(&describe(file.as_raw_fd(), &CONFIG), &CONFIG).is_none());
        let fd = inherited();
        let of_another = describe(fd, &CONFIG).replacen(&std::process::id().to_string(), "1", 1);
        assert!(take(&of_another, &CONFIG).is_none());
        assert!(take("", &CONFIG).is_none() && take("1:2", &CONFIG).is_none());
        // One of other sizes is taken, to be closed.
        let (_ring, as_wanted) = take(&describe(fd, &CONFIG), &RingConfig { entries: 16, ..CONFIG }).unwrap();
        assert!(!as_wanted);
    }
}
