//! Copying a file by its name.

use std::io;
use std::path::Path;

use crate::{Copier, File, Metadata, OpenOptions};

/// Bytes in one read or write: larger ones leave the cache of a CPU core, smaller ones cost more requests.
const PIECE_BYTES: usize = 512 * 1024;
/// Reads and writes in flight.
const DEPTH: usize = 4;
/// Of the mode, what `chmod(2)` sets.
const PERMISSION_BITS: u32 = 0o7777;

/// Copies the contents and the permissions of a file, with several reads and writes in flight; gives the number of bytes.
/// Symbolic links are followed on both sides; an existing target is emptied first. Holes stay holes, roughly.
///
/// What the file holds when the copy begins is copied: bytes that others append meanwhile are not. A copy that fails leaves
/// the target with a part of the contents; write to another name and [`rename`](crate::rename) where that matters.
///
/// # Errors
///
/// Those of `open(2)`, `read(2)` and `write(2)`. `InvalidInput` if the source is no regular file, or if both paths lead to
/// the same file, which is then unchanged.
///
/// # Cancel safety
///
/// If the future is dropped, the target may hold any part of the contents.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let (from, to) = (dir.path().join("from"), dir.path().join("to"));
///     fs::write(&from, "text").await.0?;
///     assert_eq!(fs::copy(&from, &to).await?, 4);
///     assert_eq!(fs::read(&to).await?, b"text");
///     assert!(fs::copy(&from, &from).await.is_err());
///     Ok(())
/// }
/// ```
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let source = File::open(from).await?;
    let metadata = source.metadata().await?;
    if !metadata.is_file() {
        let error = format!("the source is a {}, not a regular file", metadata.file_type().name());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let target = open_target(to.as_ref(), &metadata).await?;

    // Files made by the kernel (in /proc) say that they are empty, and are read to their end, one piece after the other.
    let len = metadata.len();
    let end = if len == 0 { u64::MAX } else { len };
    let piece = usize::try_from(end).unwrap_or(usize::MAX).min(PIECE_BYTES);
    let depth = usize::try_from(len.div_ceil(piece as u64)).unwrap_or(usize::MAX).clamp(1, DEPTH);
    let mut copier = Copier::new((0..depth).map(|_| Vec::with_capacity(piece)).collect());
    copier.keep_holes(is_sparse(&metadata));
    Ok(copier.copy(&source, &target, 0..end, |_| ()).await?)
}

/// Opens the target and makes it empty, with the source's permissions; unless it is the source.
async fn open_target(path: &Path, source: &Metadata) -> io::Result<File> {
    let mode = source.mode() & PERMISSION_BITS;
    // Not truncated by opening: it could be the source under another name.
    let target = OpenOptions::new().write(true).create(true).mode(mode).open(path).await?;
    let metadata = target.metadata().await?;
    if metadata.is_same_file(source) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "source and target are the same file"));
    }
    if metadata.is_file() {
        if metadata.len() > 0 {
            target.set_len(0).await?;
        }
        if metadata.mode() & PERMISSION_BITS != mode {
            target.set_permissions(source.permissions()).await?;
        }
    }
    Ok(target)
}

/// Whether the file takes less space than its length.
fn is_sparse(metadata: &Metadata) -> bool {
    metadata.blocks() < metadata.len() / 512
}
