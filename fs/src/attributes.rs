//! What is done to an open file besides reading and writing: syncing, metadata, size, space, permissions.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::op;

use crate::system::{blocking, is_interrupted};
use crate::{File, Metadata, Permissions};

/// Set once the kernel has turned out not to know `IORING_OP_FTRUNCATE`.
static NO_TRUNCATE_OP: AtomicBool = AtomicBool::new(false);

impl File {
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
