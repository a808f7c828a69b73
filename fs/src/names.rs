//! Names in the file system: what they stand for, making, changing and removing them.

use std::io;
use std::path::{Path, PathBuf};

use runtime::op;

use crate::system::{blocking, c_path};
use crate::{Metadata, Permissions};

/// Size, times, owner and so on of the file at `path`, following symbolic links. `statx(2)`.
///
/// # Errors
///
/// Those of `statx(2)`: `ENOENT`, also for a dangling symbolic link.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     assert!(fs::metadata("/dev/null").await?.file_type().is_char_device());
///     Ok(())
/// }
/// ```
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    op::statx_at(c_path(path.as_ref())?, true).await.map(Metadata::new)
}

/// As [`metadata`], but of a symbolic link itself. `statx(2)` with `AT_SYMLINK_NOFOLLOW`.
///
/// # Errors
///
/// Those of `statx(2)`.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     assert!(fs::symlink_metadata("/proc/self").await?.is_symlink());
///     Ok(())
/// }
/// ```
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    op::statx_at(c_path(path.as_ref())?, false).await.map(Metadata::new)
}

/// Whether there is a file at `path`, following symbolic links: a dangling one is none.
///
/// # Errors
///
/// Those of `statx(2)` that leave the question open: `EACCES`, `ELOOP`, `ENOTDIR`.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     assert!(fs::try_exists("/dev/null").await?);
///     assert!(!fs::try_exists("/dev/no such device").await?);
///     Ok(())
/// }
/// ```
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a file another name, atomically replacing what had it. `rename(2)`.
///
/// # Errors
///
/// Those of `rename(2)`: `EXDEV` if the names are on different file systems, `ENOTEMPTY` or `EISDIR` if a directory is in
/// the way.
///
/// # Cancel safety
///
/// If the future is dropped, the file has one name or the other.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let (draft, page) = (dir.path().join("draft"), dir.path().join("page"));
///     fs::write(&draft, "text").await.0?;
///     fs::rename(&draft, &page).await?;
///     assert_eq!(fs::read_to_string(page).await?, "text");
///     Ok(())
/// }
/// ```
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    op::rename(c_path(from.as_ref())?, c_path(to.as_ref())?).await
}

/// Removes a name that is no directory; the file goes with its last name and descriptor. `unlink(2)`.
///
/// # Errors
///
/// Those of `unlink(2)`: `EISDIR`, `ENOENT`.
///
/// # Cancel safety
///
/// If the future is dropped, the name may be gone.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::write(dir.path().join("f"), "").await.0?;
///     fs::remove_file(dir.path().join("f")).await
/// }
/// ```
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    op::remove_file(c_path(path.as_ref())?).await
}

/// Makes a symbolic link at `link` that points to `target`, which need not exist. `symlink(2)`.
///
/// # Errors
///
/// Those of `symlink(2)`: `EEXIST` if there is something at `link`.
///
/// # Cancel safety
///
/// If the future is dropped, the link may have been made.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let link = dir.path().join("link");
///     fs::symlink("some/where", &link).await?;
///     assert_eq!(fs::read_link(&link).await?.to_str(), Some("some/where"));
///     Ok(())
/// }
/// ```
pub async fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    op::symlink(c_path(target.as_ref())?, c_path(link.as_ref())?).await
}

/// Gives a file a further name, `link`; of a symbolic link, to the link itself. `link(2)`.
///
/// # Errors
///
/// Those of `link(2)`: `EEXIST` if there is something at `link`, `EXDEV` on another file system, `EPERM` for a directory.
///
/// # Cancel safety
///
/// If the future is dropped, the name may have been made.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     fs::write(dir.path().join("a"), "text").await.0?;
///     fs::hard_link(dir.path().join("a"), dir.path().join("b")).await?;
///     assert_eq!(fs::metadata(dir.path().join("b")).await?.nlink(), 2);
///     Ok(())
/// }
/// ```
pub async fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> io::Result<()> {
    op::hard_link(c_path(original.as_ref())?, c_path(link.as_ref())?).await
}

/// What a symbolic link points to. `readlink(2)`, on a blocking thread.
///
/// # Errors
///
/// Those of `readlink(2)`: `EINVAL` if there is something else at `path`.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     assert_eq!(fs::read_link("/proc/self/cwd").await?, std::env::current_dir()?);
///     Ok(())
/// }
/// ```
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_path_buf();
    blocking(move || std::fs::read_link(path)).await
}

/// The absolute path of a file that exists, without symbolic links, `.` and `..`. `realpath(3)`, on a blocking thread.
///
/// # Errors
///
/// Those of `realpath(3)`: `ENOENT`, `ELOOP`.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     assert_eq!(fs::canonicalize("/dev/../dev/./null").await?.to_str(), Some("/dev/null"));
///     Ok(())
/// }
/// ```
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref().to_path_buf();
    blocking(move || std::fs::canonicalize(path)).await
}

/// Changes who may read, write and execute the file at `path`, following symbolic links. `chmod(2)`, on a blocking thread.
///
/// # Errors
///
/// Those of `chmod(2)`: `EPERM` if the file is somebody else's.
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
///     let dir = tempfile::tempdir()?;
///     fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).await
/// }
/// ```
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref().to_path_buf();
    blocking(move || std::fs::set_permissions(path, permissions)).await
}
