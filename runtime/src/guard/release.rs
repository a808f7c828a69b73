//! Giving up descriptors that a worker has inherited and does not use.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::{signal, sys};

/// Descriptors that were open when this process, a worker, began.
static INHERITED: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// The standard streams come before these.
const FIRST: RawFd = 3;

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<RawFd> = numbers.collect();
    // The directory itself was among them, and is closed by now.
    numbers.retain(|number| sys::is_open(*number));
    Ok(numbers)
}

/// At the start of a worker, before it opens anything.
pub(super) fn remember_inherited() {
    // Without /proc there is nothing to remember, which `release_inherited` reports.
    let inherited = open_descriptors().unwrap_or_default();
    *INHERITED.lock().unwrap_or_else(PoisonError::into_inner) = inherited;
}

/// In a worker: gives up every descriptor that it has inherited, but the standard streams and those in `keep`; returns how
/// many. A connection of the parent's would else stay open as long as the worker lives, even if the parent closes it.
///
/// Descriptors that the worker has opened itself, its runtime's among them, are not touched. Those that are given up become
/// descriptors of `/dev/null` instead of being closed: their numbers may still be named by values that came along with the
/// memory, and must not come to mean another file. Call it first, before anything inherited has been closed.
///
/// # Errors
///
/// `Unsupported` in a process that is no worker; `InvalidInput` without `/proc`; those of `open(2)`.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
///
/// #[runtime::main(cores = 1)]
/// async fn main() -> std::io::Result<()> {
///     let (reader, writer) = std::io::pipe()?;
///     let mut worker = runtime::guard::fork_worker(async move {
///         runtime::guard::release_inherited(&[reader.as_fd()])?;
///         // ... `reader` still works, everything else is gone.
///         Ok::<(), std::io::Error>(())
///     })?;
///     drop(writer);
///     assert!(worker.wait().await?.success());
///     Ok(())
/// }
/// ```
pub fn release_inherited(keep: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let inherited = std::mem::take(&mut *INHERITED.lock().unwrap_or_else(PoisonError::into_inner));
    if inherited.is_empty() {
        let error =
            "this process has nothing to give up: it is no worker, has done so before, or has no /proc";
        return Err(io::Error::new(io::ErrorKind::Unsupported, error));
    }
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let kept = |number: &RawFd| keep.iter().any(|fd| fd.as_raw_fd() == *number);
    // That of the signals has been replaced by one of this process's own, under the same number.
    let own = signal::edges_number();
    let given_up =
        inherited.into_iter().filter(|number| *number >= FIRST && Some(*number) != own && !kept(number));
    let mut count = 0;
    for number in given_up {
        // Fails for what has been closed meanwhile.
        count += usize::from(sys::replace_open_fd(null.as_fd(), number).is_ok());
    }
    Ok(count)
}
