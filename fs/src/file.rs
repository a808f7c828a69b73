//! An open file: how it comes to be and how it ends. Reading and writing are in `position`, the rest in `attributes`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use runtime::fd::Fd;

use crate::OpenOptions;

/// An open file.
///
/// All methods take `&self`: several reads and writes may be in flight at once, by futures that are awaited together or by
/// tasks that share the file in an `Rc`. A file stays on the thread that opened it; [`into_std`](File::into_std) takes it
/// to another one.
///
/// Dropping it closes it in the background, after the operations in flight on it; [`close`](File::close) waits for that.
#[derive(Debug)]
pub struct File {
    pub(crate) fd: Fd,
}

impl File {
    /// Opens a file for reading. `open(2)`.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`. Opening a directory succeeds; reading it is `EISDIR`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing stays open.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let (result, buf) = fs::File::open("/proc/self/comm").await?.read(Vec::with_capacity(16)).await;
    ///     assert_eq!(result?, buf.len());
    ///     Ok(())
    /// }
    /// ```
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens a file for writing, made empty if it exists and created (`0666`, less the umask) if not. `open(2)`.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`: `EISDIR` for a directory.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing stays open; the file may have been created or emptied.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let dir = tempfile::tempdir()?;
    ///     let file = fs::File::create(dir.path().join("f")).await?;
    ///     file.write_all_at("text", 0).await.0
    /// }
    /// ```
    pub async fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).await
    }

    /// Creates a file that must not exist, for reading and writing. `open(2)` with `O_EXCL`.
    ///
    /// # Errors
    ///
    /// Those of `open(2)`: `EEXIST` if there is something of that name, even a dangling symbolic link.
    ///
    /// # Cancel safety
    ///
    /// As for [`create`](File::create).
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let dir = tempfile::tempdir()?;
    ///     fs::File::create_new(dir.path().join("lock")).await?;
    ///     let error = fs::File::create_new(dir.path().join("lock")).await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    ///     Ok(())
    /// }
    /// ```
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).await
    }

    /// Options to open a file with: [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over a file that `std` has opened.
    pub fn from_std(file: std::fs::File) -> Self {
        File { fd: Fd::new(file.into()) }
    }

    /// The file as `std` has it: for calls that block, or to take it to another core.
    ///
    /// # Errors
    ///
    /// Gives the file back while an operation is in flight on it.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::open("/dev/null").await?.into_std().expect("nothing is in flight");
    ///     let len = runtime::spawn_blocking(move || file.metadata()).await??.len();
    ///     assert_eq!(len, 0);
    ///     Ok(())
    /// }
    /// ```
    pub fn into_std(self) -> Result<std::fs::File, Self> {
        self.fd.try_into_owned().map(std::fs::File::from).map_err(File::from)
    }

    /// The shared descriptor, for operations of [`runtime::op`] that have no method here.
    pub fn into_fd(self) -> Fd {
        self.fd
    }

    /// Closes the file and reports what `close(2)` says: network file systems report there what they could not write. Waits
    /// first for operations in flight.
    ///
    /// # Errors
    ///
    /// Those of `close(2)`; the file is closed all the same.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file is closed in the background.
    pub async fn close(self) -> io::Result<()> {
        self.fd.close().await
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        File::from_std(file)
    }
}

impl From<OwnedFd> for File {
    fn from(owned: OwnedFd) -> Self {
        File { fd: Fd::new(owned) }
    }
}

impl From<Fd> for File {
    fn from(fd: Fd) -> Self {
        File { fd }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
