//! Files for the repoll runtime: owned-buffer I/O on io_uring.
//!
//! [`File`] reads, writes and changes an open file; [`OpenOptions`] says how to open it; the functions of this module work
//! on paths, under the names that `std::fs` gives them. Buffers go in by value and come back with the result, so the kernel
//! never holds a pointer into memory that the caller may free:
//!
//! ```
//! use fs::File;
//!
//! #[runtime::main]
//! async fn main() -> std::io::Result<()> {
//!     let dir = tempfile::tempdir()?;
//!     let file = File::options().read(true).write(true).create_new(true).open(dir.path().join("greeting")).await?;
//!     let (result, _) = file.write_all_at("hello world", 0).await;
//!     result?;
//!     let (result, buf) = file.read_at(Vec::with_capacity(5), 6).await;
//!     assert_eq!((result?, buf), (5, b"world".to_vec()));
//!     file.close().await
//! }
//! ```
//!
//! # What runs where
//!
//! Opening, reading, writing, syncing, sizes, metadata, and making, renaming and removing names are requests in the core's
//! ring. What io_uring has no request for runs on the runtime's blocking threads: listing directories, following a path
//! to its end ([`canonicalize`], [`read_link`]), permissions, removing a whole tree, and the size of a file before Linux
//! 6.9. These functions panic outside of a runtime, as [`runtime::spawn_blocking`] does.
//!
//! # Errors
//!
//! `std::io::Error` with the raw errno kept, as the man page that each function names lists them; a path with a NUL byte is
//! `InvalidInput`; awaiting a request outside of a runtime is an error of kind `Other`. Errors do not name the path.
//!
//! # Cancel safety
//!
//! Dropping a future before its first poll does nothing. Dropped in flight, a request is cancelled if it has not begun; a
//! buffer that it owns is dropped when the kernel has let go of it, a descriptor that it makes is closed. Whether a name was
//! made or bytes were written by then is unknown. What has begun on a blocking thread is carried out.
#![forbid(unsafe_code)]

mod attributes;
mod contents;
mod copier;
mod copy;
mod dir;
mod file;
mod metadata;
mod names;
mod open_options;
mod position;
mod read_dir;
mod system;

pub use contents::{read, read_to_string, write};
pub use copier::{Copier, CopyError};
pub use copy::copy;
pub use dir::{create_dir, create_dir_all, remove_dir, remove_dir_all};
pub use file::File;
pub use metadata::{FileType, Metadata};
pub use names::{
    canonicalize, hard_link, metadata, read_link, remove_file, rename, set_permissions, symlink,
    symlink_metadata, try_exists,
};
pub use open_options::OpenOptions;
pub use read_dir::{DirEntry, ReadDir, read_dir};
/// The permissions of a file, as `std` has them: `std::os::unix::fs::PermissionsExt` gives their bits.
pub use std::fs::Permissions;
