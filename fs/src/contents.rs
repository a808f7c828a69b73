//! A file's whole contents in one call.

use std::io;
use std::path::Path;

use runtime::buf::IoBuf;

use crate::File;
use crate::system::is_interrupted;

/// A file that fits is read without asking for its size, which costs more than a read from the page cache.
const SMALL_BYTES: usize = 16 * 1024;
/// Large files are read in pieces: an entered ring copies from the page cache on the core, whose tasks wait meanwhile.
const PIECE_BYTES: usize = 1024 * 1024;

/// The contents of a file.
///
/// # Errors
///
/// Those of `open(2)` and `read(2)`: `EISDIR` for a directory; `OutOfMemory` if it is too large for a buffer.
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
///     assert_eq!(fs::read("/dev/null").await?, []);
///     Ok(())
/// }
/// ```
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let file = File::open(path).await?;
    let mut contents = Vec::with_capacity(SMALL_BYTES);
    loop {
        let len = contents.len();
        if len == contents.capacity() {
            make_room(&file, &mut contents).await?;
        }
        let (result, slice) = file.read(contents.slice(len..len + PIECE_BYTES)).await;
        contents = slice.into_inner();
        if is_interrupted(&result) {
            continue;
        }
        if result? == 0 {
            contents.shrink_to_fit();
            return Ok(contents);
        }
    }
}

/// Room for the rest of the file and a byte, so that its end is found without growing again; or, if the kernel does not
/// know where that is, as for a pipe or a file that grows, for as much as there is already.
async fn make_room(file: &File, contents: &mut Vec<u8>) -> io::Result<()> {
    let size = usize::try_from(file.metadata().await?.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let missing = match size.checked_sub(contents.len()) {
        Some(missing) => missing.saturating_add(1),
        None => contents.len(),
    };
    Ok(contents.try_reserve_exact(missing)?)
}

/// The contents of a file, as text.
///
/// # Errors
///
/// As for [`read()`]; `InvalidData` if it is not UTF-8.
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
///     assert!(fs::read_to_string("/proc/self/comm").await?.ends_with('\n'));
///     Ok(())
/// }
/// ```
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let contents = read(path).await?;
    String::from_utf8(contents)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Makes `contents` the contents of a file, which is created (`0666`, less the umask) if it does not exist; gives them back.
///
/// # Errors
///
/// Those of `open(2)` and `write(2)`: `ENOSPC`. The file may have been created, and hold some of the contents.
///
/// # Cancel safety
///
/// If the future is dropped, the file may hold any part of the contents.
///
/// # Examples
///
/// ```
/// #[runtime::main]
/// async fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let (result, text) = fs::write(dir.path().join("f"), String::from("text")).await;
///     result?;
///     assert_eq!(text, "text");
///     Ok(())
/// }
/// ```
pub async fn write<B: IoBuf>(path: impl AsRef<Path>, contents: B) -> (io::Result<()>, B) {
    match File::create(path).await {
        Ok(file) => file.write_all(contents).await,
        Err(error) => (Err(error), contents),
    }
}
