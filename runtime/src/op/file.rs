//! What is done to an open file besides reading and writing: sync, size, metadata.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};

use super::{Op, Request, SingleShot};
use crate::fd::Fd;

/// A sync; see [`sync_all`] and [`sync_data`].
#[derive(Debug)]
pub struct Sync {
    fd: Fd,
    flags: types::FsyncFlags,
}

/// Writes a file's data and metadata to its device. `fsync(2)`.
///
/// # Errors
///
/// Those of `fsync(2)`.
pub fn sync_all(fd: &Fd) -> Op<Sync> {
    Op::new(Sync { fd: fd.clone(), flags: types::FsyncFlags::empty() })
}

/// Writes a file's data to its device, and of the metadata what is needed to read it back. `fdatasync(2)`.
///
/// # Errors
///
/// Those of `fdatasync(2)`.
pub fn sync_data(fd: &Fd) -> Op<Sync> {
    Op::new(Sync { fd: fd.clone(), flags: types::FsyncFlags::DATASYNC })
}

// SAFETY: names no memory; the file is held open.
unsafe impl Request for Sync {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::Fsync::new(types::Fd(self.fd.as_raw_fd())).flags(self.flags).build()
    }
}

impl SingleShot for Sync {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A change of size; see [`truncate`].
#[derive(Debug)]
pub struct Truncate {
    fd: Fd,
    len: u64,
}

/// Makes a file `len` bytes long. `ftruncate(2)`, in a ring since Linux 6.9.
///
/// # Errors
///
/// Those of `ftruncate(2)`; `EINVAL` also on kernels before 6.9, where a blocking thread has to do it.
pub fn truncate(fd: &Fd, len: u64) -> Op<Truncate> {
    Op::new(Truncate { fd: fd.clone(), len })
}

// SAFETY: names no memory; the file is held open.
unsafe impl Request for Truncate {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::Ftruncate::new(types::Fd(self.fd.as_raw_fd()), self.len).build()
    }
}

impl SingleShot for Truncate {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A reservation of space; see [`allocate`].
#[derive(Debug)]
pub struct Allocate {
    fd: Fd,
    offset: u64,
    len: u64,
}

/// Reserves space for `len` bytes at `offset`, growing the file if need be. `fallocate(2)`.
///
/// # Errors
///
/// Those of `fallocate(2)`: `ENOSPC` if there is not that much, `EOPNOTSUPP` on file systems that can't.
pub fn allocate(fd: &Fd, offset: u64, len: u64) -> Op<Allocate> {
    Op::new(Allocate { fd: fd.clone(), offset, len })
}

// SAFETY: names no memory; the file is held open.
unsafe impl Request for Allocate {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::Fallocate::new(types::Fd(self.fd.as_raw_fd()), self.len).offset(self.offset).build()
    }
}

impl SingleShot for Allocate {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A look at metadata; see [`statx`] and [`statx_at`].
pub struct Statx {
    /// `None`: the path is relative to the working directory.
    fd: Option<Fd>,
    path: CString,
    flags: i32,
    result: Box<libc::statx>,
}

/// The metadata of an open file. `statx(2)`.
///
/// # Errors
///
/// Those of `statx(2)`.
pub fn statx(fd: &Fd) -> Op<Statx> {
    new_statx(Some(fd.clone()), CString::default(), libc::AT_EMPTY_PATH)
}

/// The metadata of the file at `path`; of a symbolic link itself unless `follow`. `statx(2)`.
///
/// # Errors
///
/// Those of `statx(2)`.
pub fn statx_at(path: CString, follow: bool) -> Op<Statx> {
    new_statx(None, path, if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW })
}

fn new_statx(fd: Option<Fd>, path: CString, flags: i32) -> Op<Statx> {
    // SAFETY: all-zero bytes are a valid `statx`, which consists of integers.
    let result = Box::new(unsafe { std::mem::zeroed() });
    Op::new(Statx { fd, path, flags, result })
}

// SAFETY: path and result are owned, on the heap; the file is held open.
unsafe impl Request for Statx {
    fn prepare(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.fd.as_ref().map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd));
        opcode::Statx::new(fd, self.path.as_ptr(), (&raw mut *self.result).cast())
            .flags(self.flags)
            .mask(libc::STATX_BASIC_STATS | libc::STATX_BTIME)
            .build()
    }
}

impl SingleShot for Statx {
    type Output = io::Result<Box<libc::statx>>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(|_| self.result)
    }
}
