//! Directories: making and removing them.

use std::io;
use std::path::Path;

use runtime::op;

use crate::system::{blocking, c_path};

/// The permissions of a new directory, less the umask.
const MODE: u32 = 0o777;

/// Makes a directory with the permissions `0777` less the umask. `mkdir(2)`.
///
/// # Errors
///
/// Those of `mkdir(2)`: `EEXIST` if there is something of that name, `ENOENT` if its parent is missing.
///
/// # Cancel safety
///
/// If the future is dropped, the directory may have been made.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::create_dir(dir.path().join("a")).await?;
///     let error = fs::create_dir(dir.path().join("a")).await.unwrap_err();
///     assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
///     Ok(())
/// }
/// ```
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    op::create_dir(c_path(path.as_ref())?, MODE).await
}

/// Makes a directory and those above it that are missing; none of them need be. Several callers may make the same ones at
/// the same time.
///
/// # Errors
///
/// Those of `mkdir(2)`: `EEXIST` or `ENOTDIR` if something that is no directory is in the way. Directories above it may have
/// been made by then.
///
/// # Cancel safety
///
/// If the future is dropped, some of the directories may have been made.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::create_dir_all(dir.path().join("a/b/c")).await?;
///     fs::create_dir_all(dir.path().join("a/b/c")).await
/// }
/// ```
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    // Upwards to the first directory that is there or can be made, remembering those below; then down again.
    let mut missing = Vec::new();
    let mut next = path.as_ref();
    while !next.as_os_str().is_empty() {
        match create_unless_there(next).await {
            Ok(()) => break,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) => {
                missing.push(next);
                next = next.parent().ok_or(error)?;
            }
        }
    }
    for path in missing.into_iter().rev() {
        create_unless_there(path).await?;
    }
    Ok(())
}

/// Makes a directory; that it is there already, made by whomever, is as good.
async fn create_unless_there(path: &Path) -> io::Result<()> {
    match create_dir(path).await {
        // A file system may refuse for another reason what exists already: a read-only one does.
        Err(error) if error.kind() != io::ErrorKind::NotFound => match crate::metadata(path).await {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            _ => Err(error),
        },
        result => result,
    }
}

/// Removes an empty directory. `rmdir(2)`.
///
/// # Errors
///
/// Those of `rmdir(2)`: `ENOTEMPTY`, `ENOTDIR`, `ENOENT`.
///
/// # Cancel safety
///
/// If the future is dropped, the directory may have been removed.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::create_dir(dir.path().join("a")).await?;
///     fs::remove_dir(dir.path().join("a")).await
/// }
/// ```
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    op::remove_dir(c_path(path.as_ref())?).await
}

/// Removes a directory with everything in it, following no symbolic link. `std::fs::remove_dir_all` on a blocking thread.
///
/// # Errors
///
/// Those of `unlink(2)`, `rmdir(2)` and `open(2)`; some of the contents may be gone by then.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Cancel safety
///
/// If the future is dropped once polled, the directory is removed all the same.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::create_dir_all(dir.path().join("a/b/c")).await?;
///     fs::remove_dir_all(dir.path().join("a")).await
/// }
/// ```
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    blocking(move || std::fs::remove_dir_all(path)).await
}
