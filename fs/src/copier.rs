//! The pipeline that moves bytes from one open file into another: several reads and writes in flight, in buffers that the
//! caller gives and gets back.
//!
//! Each buffer goes its own way ([`Run::lane`]): it takes the next piece of the range, reads it, writes it, takes the next.
//! While one waits for a write, others read. A failure stops all of them at their next piece; nothing is cancelled, so that
//! when the future is ready the kernel is done with both files and all buffers are back.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::Range;

use futures::stream::{FuturesUnordered, StreamExt};
use runtime::buf::IoBufMut;

use crate::File;
use crate::system::is_interrupted;

/// Copies from one open file into another, with as many reads and writes in flight as it has buffers.
///
/// [`copy`](crate::copy()) is made of it. Use it directly to choose the buffers (for `O_DIRECT`:
/// [`AlignedBuf`](runtime::buf::AlignedBuf)s), to use them for one file after the other, to copy a part of a file, or to show
/// progress.
///
/// # Examples
///
/// ```
/// use fs::{Copier, File};
///
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let (from, to) = (File::from_std(tempfile::tempfile()?), File::from_std(tempfile::tempfile()?));
///     from.write_all_at(vec![7; 100_000], 0).await.0?;
///
///     let mut copier = Copier::new(vec![vec![0; 16 * 1024]; 4]);
///     let copied = copier.copy(&from, &to, 0..100_000, |bytes| println!("{bytes} more bytes")).await?;
///     assert_eq!((copied, to.metadata().await?.len()), (100_000, 100_000));
///     Ok(())
/// }
/// ```
pub struct Copier<B> {
    buffers: Vec<B>,
    keep_holes: bool,
}

impl<B: IoBufMut> Copier<B> {
    /// A copier with these buffers; each is one read or write in flight, of its capacity.
    pub fn new(buffers: Vec<B>) -> Self {
        Copier { buffers, keep_holes: false }
    }

    /// Whether a buffer full of zeroes is skipped instead of written, which keeps the holes of a sparse file. Only for
    /// targets that hold nothing yet where the copy goes.
    pub fn keep_holes(&mut self, keep_holes: bool) -> &mut Self {
        self.keep_holes = keep_holes;
        self
    }

    /// The buffers; fewer than were given if the future of a copy was dropped.
    pub fn into_buffers(self) -> Vec<B> {
        self.buffers
    }

    /// Copies the bytes in `range` to the same place in another file, or as many as there are before the end of the file;
    /// gives how many that were. `progress` is told the length of each piece when it has been written.
    ///
    /// Both files must have offsets, which pipes and terminals ignore. If they are the same file, nothing changes.
    ///
    /// # Errors
    ///
    /// A [`CopyError`] that says which side failed: the errors of [`File::read_at`] and [`File::write_all_at`].
    /// `InvalidInput` if there is no buffer.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffers in flight are gone, and any part of the range may have been written or may yet
    /// be.
    pub async fn copy(
        &mut self,
        from: &File,
        to: &File,
        range: Range<u64>,
        progress: impl Fn(u64),
    ) -> Result<u64, CopyError> {
        let Some(piece) = self.buffers.iter().map(|buf| buf.bytes_total() as u64).min() else {
            return Err(CopyError::Read(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is no buffer to copy with",
            )));
        };
        let run = Run {
            from,
            to,
            end: range.end,
            keep_holes: self.keep_holes,
            progress,
            next: Cell::new(range.start),
            hole_to: Cell::new(range.start),
            written_to: Cell::new(range.start),
            copied: Cell::new(0),
            failed: RefCell::default(),
        };
        let pieces = range.end.saturating_sub(range.start).div_ceil(piece.max(1));
        // One lane needs no set of futures, which would be an allocation for each small file.
        if pieces <= 1 || self.buffers.len() == 1 {
            let buf = self.buffers.pop().expect("there is a buffer: seen above");
            self.buffers.push(run.lane(buf).await);
        } else {
            let lanes = usize::try_from(pieces).unwrap_or(usize::MAX).min(self.buffers.len());
            let rest = self.buffers.len() - lanes;
            let mut lanes: FuturesUnordered<_> =
                self.buffers.drain(rest..).map(|buf| run.lane(buf)).collect();
            while let Some(buf) = lanes.next().await {
                self.buffers.push(buf);
            }
        }
        run.finish().await
    }
}

impl<B> fmt::Debug for Copier<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier")
            .field("buffers", &self.buffers.len())
            .field("keep_holes", &self.keep_holes)
            .finish()
    }
}

/// One copy. Shared by its lanes, on one thread.
struct Run<'a, F> {
    from: &'a File,
    to: &'a File,
    end: u64,
    keep_holes: bool,
    progress: F,
    /// Where the next piece begins; at the end once there is nothing more to take.
    next: Cell<u64>,
    /// The end of the furthest hole.
    hole_to: Cell<u64>,
    /// The furthest byte that was written.
    written_to: Cell<u64>,
    copied: Cell<u64>,
    /// The first failure.
    failed: RefCell<Option<CopyError>>,
}

impl<F: Fn(u64)> Run<'_, F> {
    /// The way of one buffer: piece after piece, until there is none or something failed.
    async fn lane<B: IoBufMut>(&self, mut buf: B) -> B {
        while self.next.get() < self.end {
            let offset = self.next.get();
            let len = (self.end - offset).min(buf.bytes_total() as u64);
            self.next.set(offset + len);
            // It fits: a buffer is not larger than memory.
            let len = len as usize;
            let (result, back) = self.read(buf, offset, len).await;
            buf = back;
            match result {
                Ok(0) => self.stop(),
                Ok(filled) => {
                    let (result, back) = self.write(buf, offset, filled).await;
                    buf = back;
                    match result {
                        Ok(()) => self.advance(filled as u64),
                        Err(error) => self.fail(CopyError::Write(error)),
                    }
                    if filled < len {
                        self.stop();
                    }
                }
                Err(error) => self.fail(CopyError::Read(error)),
            }
        }
        buf
    }

    /// Reads a piece; less than `len` only at the end of the file.
    async fn read<B: IoBufMut>(&self, mut buf: B, offset: u64, len: usize) -> (io::Result<usize>, B) {
        let mut filled = 0;
        // A read of no bytes, for a buffer without room, is an error that the caller should see.
        loop {
            let (result, slice) = self.from.read_at(buf.slice(filled..len), offset + filled as u64).await;
            buf = slice.into_inner();
            if is_interrupted(&result) {
                continue;
            }
            match result {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) => return (Err(error), buf),
            }
            if filled == len {
                break;
            }
        }
        (Ok(filled), buf)
    }

    /// Writes a piece, or leaves a hole for it.
    async fn write<B: IoBufMut>(&self, buf: B, offset: u64, filled: usize) -> (io::Result<()>, B) {
        let end = offset + filled as u64;
        if self.keep_holes && is_zero(&buf.as_bytes()[..filled]) {
            self.hole_to.set(self.hole_to.get().max(end));
            return (Ok(()), buf);
        }
        let (result, slice) = self.to.write_all_at(buf.slice(..filled), offset).await;
        self.written_to.set(self.written_to.get().max(end));
        (result, slice.into_inner())
    }

    fn advance(&self, bytes: u64) {
        self.copied.set(self.copied.get() + bytes);
        (self.progress)(bytes);
    }

    fn stop(&self) {
        self.next.set(self.end);
    }

    fn fail(&self, error: CopyError) {
        self.stop();
        self.failed.borrow_mut().get_or_insert(error);
    }

    /// What became of it; a hole at the end gets its length.
    async fn finish(self) -> Result<u64, CopyError> {
        if let Some(error) = self.failed.into_inner() {
            return Err(error);
        }
        let end = self.hole_to.get();
        if end > self.written_to.get() && self.to.metadata().await.map_err(CopyError::Write)?.len() < end {
            self.to.set_len(end).await.map_err(CopyError::Write)?;
        }
        Ok(self.copied.get())
    }
}

/// Whether all bytes are 0: the first is, and each is like its neighbour, which compares many at a time.
fn is_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && rest == &bytes[..rest.len()],
    }
}

/// Which side of a copy failed, and how.
#[derive(Debug)]
pub enum CopyError {
    /// The source could not be read.
    Read(io::Error),
    /// The target could not be written.
    Write(io::Error),
}

impl CopyError {
    /// The error itself.
    pub fn into_inner(self) -> io::Error {
        match self {
            CopyError::Read(error) | CopyError::Write(error) => error,
        }
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::Read(error) => write!(f, "reading the source: {error}"),
            CopyError::Write(error) => write!(f, "writing the target: {error}"),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CopyError::Read(error) | CopyError::Write(error) => Some(error),
        }
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        error.into_inner()
    }
}
