//! Listing a directory, in batches on blocking threads: io_uring has no request for `getdents64(2)`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use runtime::JoinHandle;

use crate::system::c_path;
use crate::{FileType, Metadata, symlink_metadata};

/// How many entries one visit to a blocking thread fetches.
const BATCH: usize = 512;

/// Lists a directory, without `.` and `..`, in no particular order. What is made or removed meanwhile may be missing or
/// listed. `getdents64(2)`, on blocking threads, many entries at a time.
///
/// # Errors
///
/// Those of `open(2)`: `ENOTDIR`, `ENOENT`. Errors of the listing itself are items of the stream.
///
/// # Panics
///
/// Outside of a runtime, as the stream does.
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
///     let dir = tempfile::tempdir()?;
///     fs::write(dir.path().join("f"), "").await.0?;
///     let mut entries = fs::read_dir(dir.path()).await?;
///     while let Some(entry) = entries.next_entry().await? {
///         assert!(entry.file_type().is_file());
///         assert_eq!(entry.path(), dir.path().join("f"));
///     }
///     Ok(())
/// }
/// ```
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path: Arc<Path> = path.as_ref().into();
    c_path(&path)?;
    let dir = Arc::clone(&path);
    // The first batch comes with the opening: most directories need no other.
    let batch =
        runtime::spawn_blocking(move || std::fs::read_dir(&dir).map(|listing| Batch::of(listing, &dir)));
    let Batch { entries, rest } = batch.await??;
    let state = rest.map_or(State::End, State::Idle);
    Ok(ReadDir { dir: path, entries, state })
}

/// Entries, and the rest of the listing if there is more.
struct Batch {
    entries: VecDeque<io::Result<DirEntry>>,
    rest: Option<std::fs::ReadDir>,
}

impl Batch {
    /// Blocks.
    fn of(mut listing: std::fs::ReadDir, dir: &Arc<Path>) -> Self {
        let mut entries = VecDeque::new();
        while entries.len() < BATCH {
            match listing.next() {
                None => return Batch { entries, rest: None },
                Some(entry) => entries.push_back(entry.and_then(|entry| DirEntry::of(&entry, dir))),
            }
        }
        Batch { entries, rest: Some(listing) }
    }
}

enum State {
    Idle(std::fs::ReadDir),
    Fetching(JoinHandle<Batch>),
    End,
}

/// The entries of a directory, made by [`read_dir`]. Also a [`Stream`].
pub struct ReadDir {
    dir: Arc<Path>,
    entries: VecDeque<io::Result<DirEntry>>,
    state: State,
}

impl ReadDir {
    /// The next entry, `None` after the last.
    ///
    /// # Errors
    ///
    /// Those of `getdents64(2)`, and of `lstat(2)` where the file system does not list what kind of file an entry is.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, no entry is lost.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        poll_fn(|cx| self.poll_entry(cx)).await.transpose()
    }

    fn poll_entry(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<DirEntry>>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Poll::Ready(Some(entry));
            }
            self.state = match std::mem::replace(&mut self.state, State::End) {
                State::End => return Poll::Ready(None),
                State::Idle(listing) => {
                    let dir = Arc::clone(&self.dir);
                    State::Fetching(runtime::spawn_blocking(move || Batch::of(listing, &dir)))
                }
                State::Fetching(mut batch) => match Pin::new(&mut batch).poll(cx) {
                    Poll::Pending => {
                        self.state = State::Fetching(batch);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Poll::Ready(Ok(Batch { entries, rest })) => {
                        self.entries = entries;
                        rest.map_or(State::End, State::Idle)
                    }
                },
            };
        }
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let entry = ready!(self.get_mut().poll_entry(cx));
        Poll::Ready(entry)
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    dir: Arc<Path>,
    name: OsString,
    file_type: FileType,
}

impl DirEntry {
    fn of(entry: &std::fs::DirEntry, dir: &Arc<Path>) -> io::Result<Self> {
        let file_type = entry.file_type()?.into();
        Ok(DirEntry { dir: Arc::clone(dir), name: entry.file_name(), file_type })
    }

    /// The directory's path as it was given to [`read_dir`], and the name.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The name alone.
    pub fn file_name(&self) -> OsString {
        self.name.clone()
    }

    /// What kind of file it is, of a symbolic link the link itself. Known from the listing: costs nothing.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// Size, times, owner and so on, of a symbolic link itself: as [`symlink_metadata`] of the path.
    ///
    /// # Errors
    ///
    /// Those of `statx(2)`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        symlink_metadata(self.path()).await
    }
}
