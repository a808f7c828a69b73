//! What executing another program in this process takes: the descriptors that it gets, and the call itself.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::check;

/// Gives the calling thread a copy of the descriptor table for itself. `unshare(2)`, `CLONE_FILES`.
pub(crate) fn unshare_descriptors() -> io::Result<()> {
    // SAFETY: takes no pointers. Descriptors that this thread owns are in its copy as well.
    check(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}

/// Another descriptor for the same file, with a number of at least `min`, close-on-exec. `fcntl(2)`, `F_DUPFD_CLOEXEC`.
pub(crate) fn duplicate_above(fd: BorrowedFd<'_>, min: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, min) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has `number` mean what `fd` means, across an exec. In a thread with a descriptor table of its own, where nobody uses what
/// the number meant. `dup2(2)`.
pub(crate) fn hand_over(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Has a descriptor stay open across an exec. `fcntl(2)`, `F_SETFD`.
pub(crate) fn keep_across_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop)
}

/// Takes over a descriptor that has come through the exec by which this program was started, and makes it close-on-exec.
///
/// # Errors
///
/// `EBADF` if it is not open; `InvalidInput` if it is close-on-exec, and so has not come that way: it has an owner here.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let flags = check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    if flags & libc::FD_CLOEXEC != 0 {
        let error = format!("descriptor {number} was opened by this program, not handed over to it");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open and nothing in this program has opened it: whoever did ran before in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A file in memory, close-on-exec. `memfd_create(2)`.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string, alive during the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Executes a program in this process; returns only if that fails. `execve(2)`.
pub(crate) fn execve(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: C strings and null-terminated arrays of them, alive during the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}
