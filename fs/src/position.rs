//! Reading and writing an open file: at an offset, or at the position that the kernel keeps.

use std::io;

use runtime::buf::{IoBuf, IoBufMut};
use runtime::op;

use crate::File;

/// To an operation this offset means the file's own position.
const OWN_POSITION: u64 = u64::MAX;

/// An offset that the caller gave. The one that would mean the file's own position becomes its neighbour, which the kernel
/// refuses with `EINVAL` as it does all offsets that do not fit an `i64`.
fn given(offset: u64) -> u64 {
    offset.min(OWN_POSITION - 1)
}

impl File {
    /// Reads into `buf`, from its start up to its capacity, at `offset` bytes into the file; gives the number of bytes, which
    /// may be fewer than there are and is 0 at the end, and the buffer. A `Vec` is left with exactly that length.
    /// A pipe or terminal ignores the offset. `pread(2)`.
    ///
    /// # Errors
    ///
    /// Those of `pread(2)`: `EISDIR` for a directory, `EBADF` if the file is not open for reading, `EINVAL` if the offset
    /// does not fit an `i64` or `O_DIRECT` finds something unaligned; `InvalidInput` if the buffer has no room.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffer is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::open("/dev/zero").await?;
    ///     let (result, buf) = file.read_at(vec![1; 3], 0).await;
    ///     assert_eq!((result?, buf), (3, vec![0; 3]));
    ///     Ok(())
    /// }
    /// ```
    pub async fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        op::read_at(&self.fd, buf, given(offset)).await
    }

    /// Reads until `buf` is full *to its capacity*, starting at `offset` bytes into the file. To read fewer bytes, give a
    /// [`slice`](IoBuf::slice). A buffer without room is full already.
    ///
    /// # Errors
    ///
    /// As for [`read_at`](File::read_at); `UnexpectedEof` if the file ends before. A `Vec` comes back with what was read.
    /// Reads that a signal interrupts are repeated.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffer is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::buf::IoBuf;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::open("/dev/zero").await?;
    ///     let (result, slice) = file.read_exact_at(vec![1; 4].slice(..2), 0).await;
    ///     result?;
    ///     assert_eq!(slice.get_ref()[..2], [0, 0]);
    ///     Ok(())
    /// }
    /// ```
    pub async fn read_exact_at<B: IoBufMut>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        self.fill(buf, |filled| given(offset.saturating_add(filled))).await
    }

    /// As [`read_at`](File::read_at), filling the buffers one after the other, the first 1,024 of them. Allocates a list.
    /// `preadv(2)`.
    ///
    /// # Errors
    ///
    /// As for [`read_at`](File::read_at); `InvalidInput` if none of the buffers has room.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffers are gone.
    pub async fn read_vectored_at<B: IoBufMut>(
        &self,
        bufs: Vec<B>,
        offset: u64,
    ) -> (io::Result<usize>, Vec<B>) {
        op::read_vectored_at(&self.fd, bufs, given(offset)).await
    }

    /// Writes the initialised bytes of `buf` at `offset` bytes into the file; gives the number of bytes written, which may be
    /// fewer, and the buffer. A file opened for appending takes them at its end, whatever the offset. `pwrite(2)`.
    ///
    /// # Errors
    ///
    /// Those of `pwrite(2)`: `ENOSPC` and `EDQUOT` if there is no space, `EBADF` if the file is not open for writing, `EFBIG`
    /// beyond the largest file, `EINVAL` if the offset does not fit an `i64` or `O_DIRECT` finds something unaligned.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, any number of the bytes may have been written, or may yet be.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::from_std(tempfile::tempfile()?);
    ///     let (result, text) = file.write_at("text", 10).await;
    ///     assert_eq!((result?, text), (4, "text"));
    ///     Ok(())
    /// }
    /// ```
    pub async fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        op::write_at(&self.fd, buf, given(offset)).await
    }

    /// Writes all initialised bytes of `buf`, starting at `offset` bytes into the file.
    ///
    /// # Errors
    ///
    /// As for [`write_at`](File::write_at); `WriteZero` if the file takes no more without saying why. Some of the bytes may
    /// have been written before. Writes that a signal interrupts are repeated.
    ///
    /// # Cancel safety
    ///
    /// As for [`write_at`](File::write_at).
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::from_std(tempfile::tempfile()?);
    ///     let (result, buf) = file.write_all_at(vec![7; 100], 0).await;
    ///     result?;
    ///     assert_eq!(buf.len(), 100);
    ///     Ok(())
    /// }
    /// ```
    pub async fn write_all_at<B: IoBuf>(&self, buf: B, offset: u64) -> (io::Result<()>, B) {
        self.drain(buf, |written| given(offset.saturating_add(written))).await
    }

    /// As [`write_at`](File::write_at), writing the buffers one after the other, the first 1,024 of them. Allocates a list.
    /// `pwritev(2)`.
    ///
    /// # Errors
    ///
    /// As for [`write_at`](File::write_at).
    ///
    /// # Cancel safety
    ///
    /// As for [`write_at`](File::write_at).
    pub async fn write_vectored_at<B: IoBuf>(
        &self,
        bufs: Vec<B>,
        offset: u64,
    ) -> (io::Result<usize>, Vec<B>) {
        op::write_vectored_at(&self.fd, bufs, given(offset)).await
    }

    /// Reads at the file's own position and moves it on; for what has no other, as pipes and terminals, and for reading a
    /// file from start to end. The kernel keeps the position, which starts at 0 and is shared by all descriptors of the
    /// open file; reads that are in flight at the same time take theirs in no particular order. `read(2)`.
    ///
    /// # Errors
    ///
    /// As for [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffer is gone, and the position may have moved past bytes that nobody has seen.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::from_std(tempfile::tempfile()?);
    ///     file.write_all_at("abcdef", 0).await.0?;
    ///     let (result, buf) = file.read(Vec::with_capacity(4)).await;
    ///     assert_eq!((result?, &buf[..]), (4, &b"abcd"[..]));
    ///     let (result, buf) = file.read(buf).await;
    ///     assert_eq!((result?, &buf[..]), (2, &b"ef"[..]));
    ///     Ok(())
    /// }
    /// ```
    pub async fn read<B: IoBufMut>(&self, buf: B) -> (io::Result<usize>, B) {
        op::read_at(&self.fd, buf, OWN_POSITION).await
    }

    /// Writes at the file's own position and moves it on; see [`read`](File::read) for that position. `write(2)`.
    ///
    /// # Errors
    ///
    /// As for [`write_at`](File::write_at); `EPIPE` for a pipe that nobody reads.
    ///
    /// # Cancel safety
    ///
    /// As for [`write_at`](File::write_at); the position may have moved.
    pub async fn write<B: IoBuf>(&self, buf: B) -> (io::Result<usize>, B) {
        op::write_at(&self.fd, buf, OWN_POSITION).await
    }

    /// As [`read_exact_at`](File::read_exact_at), at the file's own position; see [`read`](File::read).
    ///
    /// # Errors
    ///
    /// As for [`read_exact_at`](File::read_exact_at).
    ///
    /// # Cancel safety
    ///
    /// As for [`read`](File::read).
    pub async fn read_exact<B: IoBufMut>(&self, buf: B) -> (io::Result<()>, B) {
        self.fill(buf, |_| OWN_POSITION).await
    }

    /// As [`write_all_at`](File::write_all_at), at the file's own position; see [`read`](File::read).
    ///
    /// # Errors
    ///
    /// As for [`write_all_at`](File::write_all_at), and `EPIPE`.
    ///
    /// # Cancel safety
    ///
    /// As for [`write`](File::write).
    pub async fn write_all<B: IoBuf>(&self, buf: B) -> (io::Result<()>, B) {
        self.drain(buf, |_| OWN_POSITION).await
    }

    /// Reads until `buf` is full; `offset` gives the place for what comes after so many bytes.
    async fn fill<B: IoBufMut>(&self, mut buf: B, offset: impl Fn(u64) -> u64) -> (io::Result<()>, B) {
        let total = buf.bytes_total();
        let mut filled = 0;
        while filled < total {
            let (result, slice) = op::read_at(&self.fd, buf.slice(filled..), offset(filled as u64)).await;
            buf = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::UnexpectedEof.into()), buf),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    /// Writes until all of `buf` is written; `offset` as for `fill`.
    async fn drain<B: IoBuf>(&self, mut buf: B, offset: impl Fn(u64) -> u64) -> (io::Result<()>, B) {
        let total = buf.bytes_init();
        let mut written = 0;
        while written < total {
            let (result, slice) = op::write_at(&self.fd, buf.slice(written..), offset(written as u64)).await;
            buf = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buf),
                Ok(len) => written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }
}
