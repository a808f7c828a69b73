//! What is done to names in the file system: open, create, rename, remove.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use io_uring::{opcode, squeue, types};

use super::{Op, Request, SingleShot};
use crate::fd::Fd;
use crate::sys;

const WORKING_DIRECTORY: types::Fd = types::Fd(libc::AT_FDCWD);

/// How a file is opened: the arguments of `open(2)` besides the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenHow {
    /// `O_RDONLY`, `O_CREAT` and so on; `O_CLOEXEC` is always added.
    pub flags: i32,
    /// The permissions of a file that is created, before the umask.
    pub mode: u32,
}

/// An open; see [`open`].
#[derive(Debug)]
pub struct Open {
    path: CString,
    how: OpenHow,
}

/// Opens a file, close-on-exec. `open(2)`.
///
/// # Errors
///
/// Those of `open(2)`.
pub fn open(path: CString, how: OpenHow) -> Op<Open> {
    Op::new(Open { path, how })
}

// SAFETY: the path is owned, on the heap.
unsafe impl Request for Open {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        opcode::OpenAt::new(WORKING_DIRECTORY, self.path.as_ptr())
            .flags(self.how.flags | libc::O_CLOEXEC)
            .mode(self.how.mode)
            .build()
    }

    fn discard(&mut self, result: io::Result<u32>) {
        if let Ok(fd) = result {
            sys::close(fd as RawFd);
        }
    }
}

impl SingleShot for Open {
    type Output = io::Result<Fd>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        // SAFETY: the kernel has just given us this descriptor as the result of the request; nobody else owns it.
        result.map(|fd| Fd::new(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }
}

/// A removal; see [`remove_file`] and [`remove_dir`].
#[derive(Debug)]
pub struct Remove {
    path: CString,
    flags: i32,
}

/// Removes a name that is no directory. `unlink(2)`.
///
/// # Errors
///
/// Those of `unlink(2)`.
pub fn remove_file(path: CString) -> Op<Remove> {
    Op::new(Remove { path, flags: 0 })
}

/// Removes an empty directory. `rmdir(2)`.
///
/// # Errors
///
/// Those of `rmdir(2)`.
pub fn remove_dir(path: CString) -> Op<Remove> {
    Op::new(Remove { path, flags: libc::AT_REMOVEDIR })
}

// SAFETY: the path is owned, on the heap.
unsafe impl Request for Remove {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::UnlinkAt::new(WORKING_DIRECTORY, self.path.as_ptr()).flags(self.flags).build()
    }
}

impl SingleShot for Remove {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A rename; see [`rename`].
#[derive(Debug)]
pub struct Rename {
    from: CString,
    to: CString,
}

/// Gives a file another name, atomically replacing what had it. `rename(2)`.
///
/// # Errors
///
/// Those of `rename(2)`.
pub fn rename(from: CString, to: CString) -> Op<Rename> {
    Op::new(Rename { from, to })
}

// SAFETY: the paths are owned, on the heap.
unsafe impl Request for Rename {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::RenameAt::new(WORKING_DIRECTORY, self.from.as_ptr(), WORKING_DIRECTORY, self.to.as_ptr())
            .build()
    }
}

impl SingleShot for Rename {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A new directory; see [`create_dir`].
#[derive(Debug)]
pub struct CreateDir {
    path: CString,
    mode: u32,
}

/// Makes a directory with the permissions `mode`, less the umask. `mkdir(2)`.
///
/// # Errors
///
/// Those of `mkdir(2)`.
pub fn create_dir(path: CString, mode: u32) -> Op<CreateDir> {
    Op::new(CreateDir { path, mode })
}

// SAFETY: the path is owned, on the heap.
unsafe impl Request for CreateDir {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::MkDirAt::new(WORKING_DIRECTORY, self.path.as_ptr()).mode(self.mode).build()
    }
}

impl SingleShot for CreateDir {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A new symbolic link; see [`symlink`].
#[derive(Debug)]
pub struct Symlink {
    target: CString,
    link: CString,
}

/// Makes a symbolic link at `link` that points to `target`. `symlink(2)`.
///
/// # Errors
///
/// Those of `symlink(2)`.
pub fn symlink(target: CString, link: CString) -> Op<Symlink> {
    Op::new(Symlink { target, link })
}

// SAFETY: the paths are owned, on the heap.
unsafe impl Request for Symlink {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::SymlinkAt::new(WORKING_DIRECTORY, self.target.as_ptr(), self.link.as_ptr()).build()
    }
}

impl SingleShot for Symlink {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}

/// A further name of a file; see [`hard_link`].
#[derive(Debug)]
pub struct HardLink {
    original: CString,
    link: CString,
}

/// Gives the file `original` a further name, `link`; of a symbolic link, to the link itself. `link(2)`.
///
/// # Errors
///
/// Those of `link(2)`.
pub fn hard_link(original: CString, link: CString) -> Op<HardLink> {
    Op::new(HardLink { original, link })
}

// SAFETY: the paths are owned, on the heap.
unsafe impl Request for HardLink {
    fn prepare(&mut self) -> squeue::Entry {
        opcode::LinkAt::new(WORKING_DIRECTORY, self.original.as_ptr(), WORKING_DIRECTORY, self.link.as_ptr())
            .build()
    }
}

impl SingleShot for HardLink {
    type Output = io::Result<()>;

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        result.map(drop)
    }
}
