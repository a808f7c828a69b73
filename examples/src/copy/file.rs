//! Copying one file, or one symbolic link.

use std::io;
use std::ops::Range;
use std::path::Path;

use fs::{Copier, CopyError, File, Metadata, OpenOptions};
use runtime::buf::AlignedBuf;

use super::Job;
use super::compare::Compare;
use super::failure::{At, Failure};
use super::place::Place;

/// What `O_DIRECT` wants of buffers, offsets and lengths; no device in use wants more.
const ALIGN: usize = 4096;
/// A file up to this size is one read and one write.
const SMALL_BYTES: usize = 128 * 1024;
/// One read or write of a larger file, and how many of them are in flight. Of 256 KiB to 4 MiB and 2 to 8 nothing was
/// faster, from the page cache to ext4.
const PIECE_BYTES: usize = 1024 * 1024;
const DEPTH: usize = 4;
/// After so many bytes of a file the stop flag is looked at.
const STRETCH_BYTES: u64 = 64 * 1024 * 1024;
/// Of the mode, what `chmod(2)` sets, and the part of it that a file is created with.
const PERMISSION_BITS: u32 = 0o7777;
const CREATION_BITS: u32 = 0o777;
/// That the owner may read and write.
const OWNER_BITS: u32 = 0o600;

/// Buffers to copy with, used for one file after the other; allocated when first used.
pub(crate) struct Worker {
    piece_bytes: usize,
    depth: usize,
    copier: Option<Copier<AlignedBuf>>,
    compare: Compare,
}

impl Worker {
    /// For small files.
    pub(crate) fn small() -> Self {
        Self::new(SMALL_BYTES, 1)
    }

    /// For all others.
    pub(crate) fn large() -> Self {
        Self::new(PIECE_BYTES, DEPTH)
    }

    fn new(piece_bytes: usize, depth: usize) -> Self {
        Worker { piece_bytes, depth, copier: None, compare: Compare::new(piece_bytes) }
    }

    fn copier(&mut self) -> io::Result<&mut Copier<AlignedBuf>> {
        let copier = match self.copier.take() {
            Some(copier) => copier,
            None => {
                let buffers = (0..self.depth).map(|_| AlignedBuf::new(self.piece_bytes, ALIGN));
                Copier::new(buffers.collect::<io::Result<_>>()?)
            }
        };
        Ok(self.copier.insert(copier))
    }
}

/// Copies a regular file with its permissions.
pub(crate) async fn copy(
    job: &Job,
    worker: &mut Worker,
    source: &Path,
    place: &Place<'_>,
) -> Result<(), Failure> {
    job.stop.check()?;
    let from = File::open(source).await.at("open", source)?;
    let metadata = from.metadata().await.at("read", source)?;
    // To go past the page cache it is opened again, which a read-only file refuses.
    let reopened = if job.direct { OWNER_BITS } else { 0 };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(metadata.mode() & CREATION_BITS | reopened);
    let options = &options;
    let create = move |path| async move { options.open(path).await };
    let (to, path) = job.names.make(place, create).await?;

    let transfer = Transfer { job, source, path: &path, target: place.target(), from, to, metadata };
    let outcome = if transfer.metadata.len() > SMALL_BYTES as u64 {
        transfer.carry_out(&mut *job.large.lock().await).await
    } else {
        transfer.carry_out(worker).await
    };
    job.names.finish(place, &path, outcome).await?;
    job.report.finished_file();
    Ok(())
}

/// Copies a symbolic link, as a link.
pub(crate) async fn copy_link(job: &Job, source: &Path, place: &Place<'_>) -> Result<(), Failure> {
    job.stop.check()?;
    let leads_to = &fs::read_link(source).await.at("read", source)?;
    let ((), path) = job.names.make(place, |path| fs::symlink(leads_to, path)).await?;
    job.names.finish(place, &path, Ok(())).await?;
    job.report.finished_file();
    Ok(())
}

/// One file on its way.
struct Transfer<'a> {
    job: &'a Job,
    source: &'a Path,
    /// Where it is written.
    path: &'a Path,
    /// The name that it is to have.
    target: &'a Path,
    from: File,
    to: File,
    metadata: Metadata,
}

impl Transfer<'_> {
    async fn carry_out(self, worker: &mut Worker) -> Result<(), Failure> {
        self.copy_contents(worker.copier().at("allocate a buffer for", self.target)?).await?;
        self.copy_permissions().await?;
        if self.job.verify {
            worker.compare.files((&self.from, self.source), (&self.to, self.target), &self.job.stop).await?;
        }
        self.to.close().await.at("write", self.target)
    }

    /// Past the page cache as far as `O_DIRECT` goes, which is whole blocks; the rest through it.
    async fn copy_contents(&self, copier: &mut Copier<AlignedBuf>) -> Result<(), Failure> {
        let len = self.metadata.len();
        copier.keep_holes(self.metadata.blocks() < len / 512);
        let mut done = 0;
        if self.job.direct
            && let whole @ 1.. = len - len % ALIGN as u64
            && let Some((from, to)) = self.open_direct().await?
        {
            self.copy_range(copier, &from, &to, 0..whole).await?;
            done = whole;
        }
        // Files made by the kernel (in /proc) say that they are empty.
        let end = if len == 0 { u64::MAX } else { len };
        self.copy_range(copier, &self.from, &self.to, done..end).await
    }

    /// `None`: one of the file systems can't.
    async fn open_direct(&self) -> Result<Option<(File, File)>, Failure> {
        let (mut reading, mut writing) = (OpenOptions::new(), OpenOptions::new());
        reading.read(true).custom_flags(libc::O_DIRECT);
        writing.write(true).custom_flags(libc::O_DIRECT);
        let refused = |result: &io::Result<File>| matches!(result, Err(error) if error.raw_os_error() == Some(libc::EINVAL));

        let from = reading.open(self.source).await;
        if refused(&from) {
            self.job.report.direct_refused(self.source);
            return Ok(None);
        }
        let to = writing.open(self.path).await;
        if refused(&to) {
            self.job.report.direct_refused(self.target);
            return Ok(None);
        }
        Ok(Some((from.at("open", self.source)?, to.at("open", self.target)?)))
    }

    async fn copy_range(
        &self,
        copier: &mut Copier<AlignedBuf>,
        from: &File,
        to: &File,
        mut range: Range<u64>,
    ) -> Result<(), Failure> {
        while !range.is_empty() {
            self.job.stop.check()?;
            let stretch = range.start..range.end.min(range.start.saturating_add(STRETCH_BYTES));
            range.start = stretch.end;
            let wanted = stretch.end - stretch.start;
            let copied = copier.copy(from, to, stretch, |bytes| self.job.report.wrote(bytes)).await;
            let copied = copied.map_err(|error| match error {
                CopyError::Read(error) => {
                    Failure::Io { what: "read", path: self.source.to_path_buf(), error }
                }
                CopyError::Write(error) => {
                    Failure::Io { what: "write", path: self.target.to_path_buf(), error }
                }
            })?;
            if copied < wanted {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The file was created with what the umask left of them.
    async fn copy_permissions(&self) -> Result<(), Failure> {
        let has = self.to.metadata().await.at("look at", self.target)?.mode();
        if (has ^ self.metadata.mode()) & PERMISSION_BITS == 0 {
            return Ok(());
        }
        self.to.set_permissions(self.metadata.permissions()).await.at("set the permissions of", self.target)
    }
}
