//! Reading and writing at an offset: files, and whatever else `pread(2)` and `pwrite(2)` take.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};

use super::{Op, Request, SingleShot};
use crate::buf::{IoBuf, IoBufMut};
use crate::fd::Fd;

/// The kernel reads and writes at most this much in one request (`MAX_RW_COUNT` in `read(2)`).
pub(super) fn clamp_len(len: usize) -> u32 {
    const MAX_RW_COUNT: usize = 0x7fff_f000;
    len.min(MAX_RW_COUNT) as u32
}

/// A read that has nowhere to put anything would return 0, which means the end of the file: almost never what was meant.
pub(super) fn check_room(bytes: usize) -> io::Result<()> {
    if bytes > 0 {
        return Ok(());
    }
    let error = "the buffer has no room: give a Vec a capacity, or a slice a longer range";
    Err(io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The output of a read into one buffer.
pub(super) fn filled<B: IoBufMut>(mut buf: B, result: io::Result<u32>) -> (io::Result<usize>, B) {
    let result = result.map(|len| len as usize);
    if let Ok(len) = result {
        // SAFETY: the kernel has filled `len` bytes from the start, and was told that there are `bytes_total` at most.
        unsafe { buf.set_init(len) };
    }
    (result, buf)
}

/// A read at an offset; see [`read_at`].
#[derive(Debug)]
pub struct ReadAt<B> {
    fd: Fd,
    buf: B,
    offset: u64,
}

/// Reads into `buf` from its start up to its capacity, at `offset` bytes into the file; gives the number of bytes, 0 at the
/// end, and the buffer. An offset of `u64::MAX` reads at the file's own position and moves it: for pipes and terminals.
/// `pread(2)`.
///
/// # Errors
///
/// Those of `pread(2)`; `InvalidInput` if the buffer has no room.
pub fn read_at<B: IoBufMut>(fd: &Fd, buf: B, offset: u64) -> Op<ReadAt<B>> {
    Op::new(ReadAt { fd: fd.clone(), buf, offset })
}

// SAFETY: the buffer is owned and stays put (IoBufMut's contract), the descriptor is held open.
unsafe impl<B: IoBufMut> Request for ReadAt<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        let len = clamp_len(self.buf.bytes_total());
        opcode::Read::new(types::Fd(self.fd.as_raw_fd()), self.buf.stable_mut_ptr(), len)
            .offset(self.offset)
            .build()
    }
}

impl<B: IoBufMut> SingleShot for ReadAt<B> {
    type Output = (io::Result<usize>, B);

    fn check(&self) -> io::Result<()> {
        check_room(self.buf.bytes_total())
    }

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        filled(self.buf, result)
    }
}

/// A write at an offset; see [`write_at`].
#[derive(Debug)]
pub struct WriteAt<B> {
    fd: Fd,
    buf: B,
    offset: u64,
}

/// Writes the initialised bytes of `buf` at `offset` bytes into the file; gives the number of bytes written, which may be
/// fewer, and the buffer. An offset of `u64::MAX` writes at the file's own position and moves it. `pwrite(2)`.
///
/// # Errors
///
/// Those of `pwrite(2)`.
pub fn write_at<B: IoBuf>(fd: &Fd, buf: B, offset: u64) -> Op<WriteAt<B>> {
    Op::new(WriteAt { fd: fd.clone(), buf, offset })
}

// SAFETY: the buffer is owned and stays put (IoBuf's contract), the descriptor is held open.
unsafe impl<B: IoBuf> Request for WriteAt<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        let len = clamp_len(self.buf.bytes_init());
        opcode::Write::new(types::Fd(self.fd.as_raw_fd()), self.buf.stable_ptr(), len)
            .offset(self.offset)
            .build()
    }
}

impl<B: IoBuf> SingleShot for WriteAt<B> {
    type Output = (io::Result<usize>, B);

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        (result.map(|len| len as usize), self.buf)
    }
}

/// The kernel takes at most this many buffers in one request (`IOV_MAX`).
const IOVECS_MAX: usize = 1024;

fn iovec(ptr: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: ptr.cast_mut().cast(), iov_len: len }
}

/// A read into several buffers; see [`read_vectored_at`].
pub struct ReadVectored<B> {
    fd: Fd,
    bufs: Vec<B>,
    offset: u64,
    iovecs: Vec<libc::iovec>,
}

/// As [`read_at`], filling the buffers one after the other, the first 1,024 of them. Allocates the list that the kernel
/// reads. `preadv(2)`.
///
/// # Errors
///
/// Those of `preadv(2)`; `InvalidInput` if none of the buffers has room.
pub fn read_vectored_at<B: IoBufMut>(fd: &Fd, bufs: Vec<B>, offset: u64) -> Op<ReadVectored<B>> {
    Op::new(ReadVectored { fd: fd.clone(), bufs, offset, iovecs: Vec::new() })
}

// SAFETY: buffers and list are owned; the buffers' heap or inline addresses stay put because the Vec is not changed.
unsafe impl<B: IoBufMut> Request for ReadVectored<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        self.iovecs.clear();
        let bufs = self.bufs.iter_mut().take(IOVECS_MAX);
        self.iovecs.extend(bufs.map(|buf| iovec(buf.stable_mut_ptr(), buf.bytes_total())));
        let fd = types::Fd(self.fd.as_raw_fd());
        opcode::Readv::new(fd, self.iovecs.as_ptr(), self.iovecs.len() as u32).offset(self.offset).build()
    }
}

impl<B: IoBufMut> SingleShot for ReadVectored<B> {
    type Output = (io::Result<usize>, Vec<B>);

    fn check(&self) -> io::Result<()> {
        check_room(self.bufs.iter().take(IOVECS_MAX).map(IoBufMut::bytes_total).sum())
    }

    fn complete(mut self, result: io::Result<u32>) -> Self::Output {
        let Ok(len) = result else { return (result.map(|_| 0), self.bufs) };
        let mut left = len as usize;
        for buf in self.bufs.iter_mut().take(IOVECS_MAX) {
            let filled = left.min(buf.bytes_total());
            // SAFETY: the kernel fills the buffers in order, each up to the length it was told.
            unsafe { buf.set_init(filled) };
            left -= filled;
        }
        (Ok(len as usize), self.bufs)
    }
}

/// A write from several buffers; see [`write_vectored_at`].
pub struct WriteVectored<B> {
    fd: Fd,
    bufs: Vec<B>,
    offset: u64,
    iovecs: Vec<libc::iovec>,
}

/// As [`write_at`], writing the buffers one after the other, the first 1,024 of them. Allocates the list that the kernel
/// reads. `pwritev(2)`.
///
/// # Errors
///
/// Those of `pwritev(2)`.
pub fn write_vectored_at<B: IoBuf>(fd: &Fd, bufs: Vec<B>, offset: u64) -> Op<WriteVectored<B>> {
    Op::new(WriteVectored { fd: fd.clone(), bufs, offset, iovecs: Vec::new() })
}

// SAFETY: as for `ReadVectored`.
unsafe impl<B: IoBuf> Request for WriteVectored<B> {
    const WAITS: bool = true;

    fn prepare(&mut self) -> squeue::Entry {
        self.iovecs.clear();
        let bufs = self.bufs.iter().take(IOVECS_MAX);
        self.iovecs.extend(bufs.map(|buf| iovec(buf.stable_ptr(), buf.bytes_init())));
        let fd = types::Fd(self.fd.as_raw_fd());
        opcode::Writev::new(fd, self.iovecs.as_ptr(), self.iovecs.len() as u32).offset(self.offset).build()
    }
}

impl<B: IoBuf> SingleShot for WriteVectored<B> {
    type Output = (io::Result<usize>, Vec<B>);

    fn complete(self, result: io::Result<u32>) -> Self::Output {
        (result.map(|len| len as usize), self.bufs)
    }
}
