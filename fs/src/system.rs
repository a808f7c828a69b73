//! What all functions on paths need: paths as the kernel takes them, and the way to a blocking thread.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The path as the kernel takes it.
///
/// # Errors
///
/// `InvalidInput` if it contains a NUL byte, where the kernel would end it.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the path contains a NUL byte"))
}

/// Runs `f` on a blocking thread. Dropping the future does not stop it.
pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    runtime::spawn_blocking(f).await?
}

/// Whether a system call was broken off by a signal, having done nothing, and is to be made again.
pub(crate) fn is_interrupted<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_byte_is_an_error_and_every_other_byte_is_kept() {
        assert_eq!(c_path(Path::new("a\0b")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(c_path(Path::new("a\u{fffd}b")).unwrap().as_bytes(), "a\u{fffd}b".as_bytes());
    }
}
