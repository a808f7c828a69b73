//! An open file: how it comes to be and ends, its size, space, permissions and metadata. Reading and writing are in
//! `position`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::fd::Fd;
use runtime::op;

use crate::system::{blocking, is_interrupted};
use crate::{Metadata, OpenOptions, Permissions};

/// Set once the kernel has turned out not to know `IORING_OP_FTRUNCATE`.
static NO_TRUNCATE_OP: AtomicBool = AtomicBool::new(false);

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

    /// Writes data and metadata to the device. `fsync(2)`.
    ///
    /// # Errors
    ///
    /// Those of `fsync(2)`: `EIO` and `ENOSPC` may report writes that seemed to succeed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the device may or may not have everything.
    pub async fn sync_all(&self) -> io::Result<()> {
        op::sync_all(&self.fd).await
    }

    /// Writes data to the device, and of the metadata what is needed to read it back. `fdatasync(2)`.
    ///
    /// # Errors
    ///
    /// As for [`sync_all`](File::sync_all).
    ///
    /// # Cancel safety
    ///
    /// As for [`sync_all`](File::sync_all).
    pub async fn sync_data(&self) -> io::Result<()> {
        op::sync_data(&self.fd).await
    }

    /// Size, times, owner and so on. `statx(2)`.
    ///
    /// # Errors
    ///
    /// Those of `statx(2)`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        op::statx(&self.fd).await.map(Metadata::new)
    }

    /// Makes the file `len` bytes long: what is beyond is cut off, what is missing reads as zeroes. `ftruncate(2)`; in the
    /// ring since Linux 6.9, before on a blocking thread.
    ///
    /// # Errors
    ///
    /// Those of `ftruncate(2)`: `EINVAL` if the file is not open for writing or `len` does not fit an `i64`, `EFBIG` if it is
    /// too much for the file system.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the size may have changed or may yet change.
    ///
    /// # Examples
    ///
    /// ```
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::from_std(tempfile::tempfile()?);
    ///     file.set_len(1 << 20).await?;
    ///     assert_eq!(file.metadata().await?.len(), 1 << 20);
    ///     Ok(())
    /// }
    /// ```
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        if !NO_TRUNCATE_OP.load(Ordering::Relaxed) {
            let result = loop {
                let result = op::truncate(&self.fd, len).await;
                if !is_interrupted(&result) {
                    break result;
                }
            };
            // The kernel says the same of an argument that it refuses and of a request that it does not know.
            if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EINVAL)) {
                return result;
            }
        }
        self.on_thread(move |file| file.set_len(len)).await?;
        NO_TRUNCATE_OP.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Reserves space for `len` bytes at `offset`, so that writing there can't fail for want of it; the file grows if need
    /// be. `fallocate(2)`.
    ///
    /// # Errors
    ///
    /// Those of `fallocate(2)`: `ENOSPC`; `EOPNOTSUPP` where the file system can't; `EINVAL` if `len` is 0.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the space may have been reserved.
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        op::allocate(&self.fd, offset, len).await
    }

    /// Changes who may read, write and execute the file. `fchmod(2)`, on a blocking thread.
    ///
    /// # Errors
    ///
    /// Those of `fchmod(2)`: `EPERM` if the file is somebody else's. `EMFILE`, because the thread needs a descriptor of its
    /// own.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped once polled, the change is made all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// #[runtime::main]
    /// async fn main() -> std::io::Result<()> {
    ///     let file = fs::File::from_std(tempfile::tempfile()?);
    ///     file.set_permissions(fs::Permissions::from_mode(0o640)).await?;
    ///     assert_eq!(file.metadata().await?.mode() & 0o777, 0o640);
    ///     Ok(())
    /// }
    /// ```
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.on_thread(move |file| file.set_permissions(permissions)).await
    }

    /// Does with the file, on a blocking thread, what there is no request for.
    async fn on_thread<T: Send + 'static>(
        &self,
        f: impl FnOnce(std::fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = std::fs::File::from(self.fd.as_fd().try_clone_to_owned()?);
        blocking(move || f(file)).await
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
