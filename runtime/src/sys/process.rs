//! Child processes, by descriptors that name them: a number can come to mean another process, a pidfd can't.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

use super::check;

fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor, close-on-exec, of the process that has the number `pid` now. `pidfd_open(2)`, Linux 5.3.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends a signal to a process. `pidfd_send_signal(2)`.
pub(crate) fn pidfd_send_signal(process: BorrowedFd<'_>, number: libc::c_int) -> io::Result<()> {
    let info: *const libc::siginfo_t = ptr::null();
    // SAFETY: no info is given: the kernel makes what kill(2) would.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, info, 0) };
    check_long(result).map(drop)
}

/// Reaps a child that has ended, without waiting; `None` if it runs still. `waitid(2)`.
pub(crate) fn reap(child: BorrowedFd<'_>) -> io::Result<Option<ExitStatus>> {
    // SAFETY: a struct of integers, some of them in a union: zero is a value of it.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG;
    // SAFETY: the kernel writes one struct.
    check(unsafe { libc::waitid(libc::P_PIDFD, child.as_raw_fd() as libc::id_t, &raw mut info, options) })?;
    // SAFETY: waitid(2) has filled the fields of a child, or left all zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    // As wait(2) encodes it.
    let wait_status = match info.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(ExitStatus::from_raw(wait_status)))
}

/// Waits until a process has ended, for so many milliseconds at most; whether it has. `poll(2)`.
pub(crate) fn wait_for_end(process: BorrowedFd<'_>, timeout_ms: libc::c_int) -> io::Result<bool> {
    let mut wanted = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel reads and writes one struct.
    Ok(check(unsafe { libc::poll(&raw mut wanted, 1, timeout_ms) })? > 0)
}
