//! One system call per function, no policy: what `std`, `io-uring` and `socket2` do not offer.
//!
//! Every function returns `io::Result` with the raw errno kept; none retries, logs or decides. What belongs to child
//! processes and to signals has a file of its own.
#![allow(unsafe_code, reason = "calls into libc")]

pub(crate) mod exec;
pub(crate) mod process;
pub(crate) mod signal;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU64;

/// CPUs that an affinity mask can name: 8,192, the largest `NR_CPUS` that distributions build with.
const CPUS_MAX: usize = 8192;
const WORD_BITS: usize = u64::BITS as usize;
type CpuMask = [u64; CPUS_MAX / WORD_BITS];

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The CPUs that the thread `tid` may run on, ascending; 0 is the calling thread. `sched_getaffinity(2)`.
pub(crate) fn affinity(tid: libc::pid_t) -> io::Result<Vec<usize>> {
    let mut mask: CpuMask = [0; CPUS_MAX / WORD_BITS];
    // SAFETY: the kernel writes at most `size_of_val(&mask)` bytes into `mask`, which has room for them.
    check(unsafe { libc::sched_getaffinity(tid, size_of_val(&mask), mask.as_mut_ptr().cast()) })?;
    Ok((0..CPUS_MAX).filter(|cpu| mask[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1 == 1).collect())
}

/// Restricts the thread `tid` (0: the calling one) to `cpus`. `sched_setaffinity(2)`.
pub(crate) fn set_affinity(tid: libc::pid_t, cpus: &[usize]) -> io::Result<()> {
    let mut mask: CpuMask = [0; CPUS_MAX / WORD_BITS];
    for &cpu in cpus {
        let word = mask.get_mut(cpu / WORD_BITS).ok_or(io::ErrorKind::InvalidInput)?;
        *word |= 1 << (cpu % WORD_BITS);
    }
    // SAFETY: the kernel reads at most `size_of_val(&mask)` bytes of `mask`.
    check(unsafe { libc::sched_setaffinity(tid, size_of_val(&mask), mask.as_ptr().cast()) }).map(drop)
}

/// A new event counter at 0, non-blocking and close-on-exec. `eventfd(2)`.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds 1 to an event counter, which wakes whoever polls it. Never blocks; fails only if `fd` is no eventfd or the
/// counter is full, which needs 2^64 calls.
pub(crate) fn eventfd_add(fd: BorrowedFd<'_>) -> io::Result<()> {
    let one = 1_u64;
    // SAFETY: the kernel reads 8 bytes of `one`.
    let written = unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes a descriptor that the kernel has handed over and nothing in Rust owns yet. `close(2)`.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller received `fd` from the kernel as a new descriptor and gives it up with this call. The result
    // is of no use: Linux frees the number whatever close(2) returns.
    unsafe { libc::close(fd) };
}

/// Has the number of `old` mean what `new` means, close-on-exec; what it meant is closed. `dup3(2)`.
pub(crate) fn replace_fd(new: BorrowedFd<'_>, old: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers. Whoever owns the number goes on owning it.
    check(unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) }).map(drop)
}

/// In a child of a fork: gives the number of an event counter, which it shares with its parent, to one of its own. If the child
/// has closed it that is as well.
///
/// # Errors
///
/// Those of `eventfd(2)`; that the child has opened something else under that number.
pub(crate) fn renew_eventfd(old: BorrowedFd<'_>) -> io::Result<()> {
    let number = old.as_raw_fd();
    if is_open(number) && !is_anonymous(number, "[eventfd]") {
        let error =
            format!("descriptor {number} was the runtime's; it has been closed and means another file now");
        return Err(io::Error::other(error));
    }
    let new = eventfd()?;
    if new.as_raw_fd() == number {
        // The lowest number that is free; it has its owner already.
        std::mem::forget(new);
        return Ok(());
    }
    replace_fd(new.as_fd(), old)
}

/// As [`replace_fd`], for a number that nothing in this program owns; `EBADF` if it is not open.
pub(crate) fn replace_open_fd(new: BorrowedFd<'_>, old: RawFd) -> io::Result<()> {
    if !is_open(old) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: takes no pointers. Whoever names the number goes on naming an open file.
    check(unsafe { libc::dup3(new.as_raw_fd(), old, libc::O_CLOEXEC) }).map(drop)
}

/// Whether there is a descriptor of that number. `fcntl(2)`, `F_GETFD`.
pub(crate) fn is_open(number: RawFd) -> bool {
    // SAFETY: takes no pointers.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Whether a number means an anonymous file of that kind, `[eventfd]` say; where `/proc` can't tell, it is taken to.
pub(crate) fn is_anonymous(number: RawFd, kind: &str) -> bool {
    match std::fs::read_link(format!("/proc/self/fd/{number}")) {
        Ok(target) => target.to_str() == Some(&format!("anon_inode:{kind}")),
        Err(_) => is_open(number),
    }
}

/// Locks an open file, or fails with `EWOULDBLOCK` if another open file has it. The lock is shared by all copies of the
/// descriptor, also those of forked children, and ends with the last of them. `flock(2)`.
pub(crate) fn try_lock(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forked {
    /// With the child's id.
    Parent(libc::pid_t),
    Child,
}

/// A copy of this process with a copy of this thread. Locks that other threads hold stay locked in it; the C library sees to
/// its own, the allocator's among them. `fork(2)`.
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: takes no pointers. The child has this thread alone, so nothing there is touched by two threads.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Enters a ring without submitting or waiting: the kernel says whether it serves it. `io_uring_enter(2)`.
pub(crate) fn enter_ring(ring: RawFd) -> io::Result<()> {
    let none: *const libc::sigset_t = ptr::null();
    // SAFETY: there is nothing to submit and nothing to wait for, and no signal mask.
    let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, 0, 0, 0, none, 0) };
    if entered < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the process at once: nothing is dropped, flushed or called. `_exit(2)`.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::_exit(code) }
}

/// A word that is 0 now and that a fork sets to 0 in the child, whatever it is in the parent. Never freed. `madvise(2)`,
/// `MADV_WIPEONFORK`, Linux 4.14.
pub(crate) fn wipe_on_fork_word() -> io::Result<&'static AtomicU64> {
    let (len, prot) = (size_of::<AtomicU64>(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new anonymous mapping, placed by the kernel; it takes nothing that anybody has.
    let page =
        unsafe { libc::mmap(ptr::null_mut(), len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is ours.
    if let Err(error) = check(unsafe { libc::madvise(page, len, libc::MADV_WIPEONFORK) }) {
        // SAFETY: the mapping is ours, and nobody has seen it.
        unsafe { libc::munmap(page, len) };
        return Err(error);
    }
    // SAFETY: the mapping is at least a word long, zeroed, aligned to a page, and never unmapped; only atomics look at it.
    Ok(unsafe { AtomicU64::from_ptr(page.cast()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_round_trips() {
        let all = affinity(0).unwrap();
        assert!(!all.is_empty());
        set_affinity(0, &all[..1]).unwrap();
        assert_eq!(affinity(0).unwrap(), all[..1]);
        set_affinity(0, &all).unwrap();
        assert_eq!(affinity(0).unwrap(), all);
    }

    #[test]
    fn a_cpu_beyond_the_mask_is_an_error_not_a_panic() {
        assert_eq!(set_affinity(0, &[CPUS_MAX]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
