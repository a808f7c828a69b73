//! The pipes to a child's standard streams.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::buf::{IoBuf, IoBufMut};
use crate::fd::Fd;
use crate::op;

/// A pipe has no position.
const NO_OFFSET: u64 = u64::MAX;
/// The least room for a read that goes on to the end.
const ROOM_MIN: usize = 4096;

/// What all three have: the descriptor.
macro_rules! pipe {
    ($name:ident) => {
        impl $name {
            pub(super) fn new(fd: Fd) -> Self {
                $name { fd }
            }

            /// Closes the pipe and waits until that is done, after the operations in flight on it have ended.
            ///
            /// # Errors
            ///
            /// Those of `close(2)`.
            pub async fn close(self) -> io::Result<()> {
                self.fd.close().await
            }
        }

        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.fd.as_raw_fd()
            }
        }

        /// To make it a stream of another child, as `Stdio::from(OwnedFd)`. Gives the pipe back while an operation is in
        /// flight on it.
        impl TryFrom<$name> for OwnedFd {
            type Error = $name;

            fn try_from(pipe: $name) -> Result<OwnedFd, $name> {
                pipe.fd.try_into_owned().map_err($name::new)
            }
        }
    };
}

/// What those have that are read.
macro_rules! read_pipe {
    ($name:ident) => {
        pipe!($name);

        impl $name {
            /// Reads what the child has written, waiting for at least a byte, into `buf` from its start up to its
            /// capacity; gives the number of bytes, 0 when every process that had the pipe has closed it, and the
            /// buffer. A `Vec` is left with exactly that length. `read(2)`.
            ///
            /// # Errors
            ///
            /// Those of `read(2)`; `InvalidInput` if the buffer has no room.
            ///
            /// # Cancel safety
            ///
            /// If the future is dropped, bytes that have arrived may be lost with the buffer.
            pub async fn read<B: IoBufMut>(&self, buf: B) -> (io::Result<usize>, B) {
                op::read_at(&self.fd, buf, NO_OFFSET).await
            }

            /// Appends all that comes until the end to `buf`; gives the number of bytes, and the buffer.
            ///
            /// # Errors
            ///
            /// Those of `read(2)`; `OutOfMemory`. The buffer comes back with what was read before.
            ///
            /// # Cancel safety
            ///
            /// As for `read`.
            pub async fn read_to_end(&self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
                read_to_end(&self.fd, buf).await
            }
        }
    };
}

/// The writing end of a child's standard input. Dropping it closes it, and the child reads to the end.
#[derive(Debug)]
pub struct ChildStdin {
    fd: Fd,
}

/// The reading end of a child's standard output.
#[derive(Debug)]
pub struct ChildStdout {
    fd: Fd,
}

/// The reading end of a child's standard error.
#[derive(Debug)]
pub struct ChildStderr {
    fd: Fd,
}

pipe!(ChildStdin);
read_pipe!(ChildStdout);
read_pipe!(ChildStderr);

impl ChildStdin {
    /// Writes some of the initialised bytes of `buf`, as many as the pipe takes now but at least one; gives how many,
    /// and the buffer. `write(2)`.
    ///
    /// # Errors
    ///
    /// Those of `write(2)`: `EPIPE` if nobody reads the other end any more, which also raises `SIGPIPE`, which Rust
    /// programs ignore unless told otherwise.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, any number of the bytes may have been written.
    pub async fn write<B: IoBuf>(&self, buf: B) -> (io::Result<usize>, B) {
        op::write_at(&self.fd, buf, NO_OFFSET).await
    }

    /// Writes all initialised bytes of `buf`.
    ///
    /// # Errors
    ///
    /// Those of [`write`](ChildStdin::write); how many bytes had been written before is unknown.
    ///
    /// # Cancel safety
    ///
    /// As for [`write`](ChildStdin::write).
    pub async fn write_all<B: IoBuf>(&self, mut buf: B) -> (io::Result<()>, B) {
        let (total, mut written) = (buf.bytes_init(), 0);
        while written < total {
            let (result, slice) = self.write(buf.slice(written..)).await;
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

async fn read_to_end(fd: &Fd, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
    let start = buf.len();
    loop {
        let len = buf.len();
        if len == buf.capacity()
            && let Err(error) = buf.try_reserve(ROOM_MIN)
        {
            return (Err(error.into()), buf);
        }
        let (result, slice) = op::read_at(fd, buf.slice(len..), NO_OFFSET).await;
        buf = slice.into_inner();
        match result {
            Ok(0) => return (Ok(len - start), buf),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (Err(error), buf),
        }
    }
}
