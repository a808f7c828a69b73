//! Copying a directory with everything in it: one task walks, up to [`WORKERS`] others copy files.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fs::{FileType, Permissions};
use runtime::task::JoinSet;

use super::Job;
use super::failure::{At, Failure};
use super::file::{self, Worker};
use super::place::{Place, remove};

/// Files in flight.
const WORKERS: usize = 64;
/// Of a directory whose contents are being copied: whatever the source's, we must be able to write into it, and nobody
/// else needs to look before it is complete.
const MODE_MEANWHILE: u32 = 0o700;
const PERMISSION_BITS: u32 = 0o7777;

/// Copies a tree to a name that does not exist: it appears when it is complete.
pub(crate) async fn create(job: &Rc<Job>, source: &Path, target: &Path) -> Result<(), Failure> {
    job.stop.check()?;
    let ((), temporary) = job.names.make(&Place::Staged(target), fs::create_dir).await?;
    let result = async {
        let permissions = protect(source, &temporary).await?;
        fill(job, source, &temporary, false).await?;
        job.stop.check()?;
        fs::rename(&temporary, target).await.at("create", target)?;
        fs::set_permissions(target, permissions).await.at("set the permissions of", target)
    };
    let result = result.await.map_err(|failure| failure.shown_in(&temporary, target));
    if result.is_err() && fs::symlink_metadata(&temporary).await.is_ok() {
        remove(fs::remove_dir_all(&temporary).await, &temporary);
    }
    result
}

/// Copies a tree into a directory that exists, file by file.
pub(crate) async fn merge(job: &Rc<Job>, source: &Path, target: &Path) -> Result<(), Failure> {
    fill(job, source, target, true).await
}

/// Keeps others out of a new directory for now; gives the permissions that it is to have in the end.
async fn protect(source: &Path, target: &Path) -> Result<Permissions, Failure> {
    let mode = fs::metadata(source).await.at("read", source)?.mode() & PERMISSION_BITS;
    let meanwhile = Permissions::from_mode(MODE_MEANWHILE);
    fs::set_permissions(target, meanwhile).await.at("set the permissions of", target)?;
    Ok(Permissions::from_mode(mode))
}

/// Copies the contents of `source` into `target`, both directories. `staged`: what is there is visible already, so that
/// each file has to appear by itself.
async fn fill(job: &Rc<Job>, source: &Path, target: &Path, staged: bool) -> Result<(), Failure> {
    let mut walk = Walk { job, staged, pending: Vec::new(), made: Vec::new(), crew: Crew::default() };
    walk.pending.push((source.to_path_buf(), target.to_path_buf()));
    let walked = walk.run().await;
    if walked.is_err() {
        job.stop.because_of_failure();
    }
    let worked = walk.crew.finish(job).await;
    match (walked, worked) {
        (Err(first), Err(second)) => return Err(first.or_better(second)),
        (walked, worked) => walked.and(worked)?,
    }
    // The innermost first: an outer one may then become unwritable.
    for (path, permissions) in walk.made.into_iter().rev() {
        fs::set_permissions(&path, permissions).await.at("set the permissions of", &path)?;
    }
    Ok(())
}

struct Walk<'a> {
    job: &'a Rc<Job>,
    staged: bool,
    /// Directories whose targets exist, and whose contents are to be copied.
    pending: Vec<(PathBuf, PathBuf)>,
    /// Directories that we have made, and what their permissions are to be.
    made: Vec<(PathBuf, Permissions)>,
    crew: Crew,
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        while let Some((source, target)) = self.pending.pop() {
            let mut entries = fs::read_dir(&source).await.at("list", &source)?;
            while let Some(entry) = entries.next_entry().await.at("list", &source)? {
                self.job.stop.check()?;
                let (source, target) = (entry.path(), target.join(entry.file_name()));
                self.copy(entry.file_type(), source, target).await?;
            }
        }
        Ok(())
    }

    async fn copy(&mut self, kind: FileType, source: PathBuf, target: PathBuf) -> Result<(), Failure> {
        if kind.is_dir() {
            return self.make_dir(source, target).await;
        }
        if !kind.is_file() && !kind.is_symlink() {
            self.job.report.skip(&source, kind.name());
            return Ok(());
        }
        let (job, staged, mut worker) = (Rc::clone(self.job), self.staged, self.crew.hire().await?);
        self.crew.0.spawn(async move {
            let place = if staged { Place::Staged(&target) } else { Place::Plain(&target) };
            let result = async {
                if staged {
                    check_replaceable(&target).await?;
                }
                if kind.is_symlink() {
                    file::copy_link(&job, &source, &place).await
                } else {
                    file::copy(&job, &mut worker, &source, &place).await
                }
            };
            let result = result.await;
            if result.is_err() {
                job.stop.because_of_failure();
            }
            (worker, result)
        });
        Ok(())
    }

    async fn make_dir(&mut self, source: PathBuf, target: PathBuf) -> Result<(), Failure> {
        match fs::create_dir(&target).await {
            Ok(()) => {
                let permissions = protect(&source, &target).await?;
                self.made.push((target.clone(), permissions));
            }
            Err(error) if self.staged && error.kind() == io::ErrorKind::AlreadyExists => {
                let kind = fs::symlink_metadata(&target).await.at("look at", &target)?.file_type();
                if !kind.is_dir() {
                    let (source, target, kind) = (source.display(), target.display(), kind.name());
                    return Err(Failure::Refused(format!(
                        "{source} is a directory, but {target} is a {kind}"
                    )));
                }
            }
            Err(error) => return Err(error).at("create", &target),
        }
        self.pending.push((source, target));
        Ok(())
    }
}

/// Files and links may be replaced, nothing else.
async fn check_replaceable(target: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(target).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            let kind = result.at("look at", target)?.file_type();
            if kind.is_file() || kind.is_symlink() {
                return Ok(());
            }
            let (target, kind) = (target.display(), kind.name());
            Err(Failure::Refused(format!("{target} is a {kind}: only files and links are replaced")))
        }
    }
}

/// The tasks that copy files. Each gives its worker back, for the next one.
#[derive(Default)]
struct Crew(JoinSet<(Worker, Result<(), Failure>)>);

impl Crew {
    /// A worker that is free; waits for one if all are busy.
    async fn hire(&mut self) -> Result<Worker, Failure> {
        if self.0.len() < WORKERS {
            return Ok(Worker::small());
        }
        let (worker, result) = self.next().await.expect("there are tasks: counted above");
        result.map(|()| worker)
    }

    /// Waits for all of them; the first failure that says something.
    async fn finish(&mut self, job: &Job) -> Result<(), Failure> {
        let mut outcome: Result<(), Failure> = Ok(());
        while let Some((_, result)) = self.next().await {
            outcome = match (outcome, result) {
                (Err(first), Err(second)) => Err(first.or_better(second)),
                (outcome, result) => outcome.and(result),
            };
        }
        outcome.and_then(|()| job.stop.check())
    }

    async fn next(&mut self) -> Option<(Worker, Result<(), Failure>)> {
        match self.0.join_next().await? {
            Ok(finished) => Some(finished),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("nobody aborts the tasks: {error}"),
            },
        }
    }
}
