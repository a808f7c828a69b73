//! Where a new file is written, and how it gets its name.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::{At, Failure};
use super::plan::parent;

/// How a new file gets its name.
pub(crate) enum Place<'a> {
    /// It is written under a temporary name, and renamed when it is complete.
    Staged(&'a Path),
    /// It is written under this name: the directory that it is in has a temporary one.
    Plain(&'a Path),
}

impl Place<'_> {
    /// The name that the file is to have.
    pub(crate) fn target(&self) -> &Path {
        match self {
            Place::Staged(target) | Place::Plain(target) => target,
        }
    }
}

/// Gives out temporary names.
#[derive(Default)]
pub(crate) struct Names(Cell<u64>);

impl Names {
    fn next(&self, directory: &Path) -> PathBuf {
        let number = self.0.replace(self.0.get() + 1);
        directory.join(format!(".copy-{}-{number}.tmp", std::process::id()))
    }

    /// Has `make` make something new at `place`; gives it, and the name that it has for now.
    pub(crate) async fn make<T, F: Future<Output = io::Result<T>>>(
        &self,
        place: &Place<'_>,
        make: impl Fn(PathBuf) -> F,
    ) -> Result<(T, PathBuf), Failure> {
        loop {
            let path = match place {
                Place::Plain(target) => target.to_path_buf(),
                Place::Staged(target) => self.next(parent(target)),
            };
            match make(path.clone()).await {
                // Another process with our number, in another container or before a crash, may have left it.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && matches!(place, Place::Staged(_)) => {}
                result => return result.at("create", place.target()).map(|made| (made, path)),
            }
        }
    }

    /// Ends what [`make`](Names::make) began: the file at `path` gets its name if it is complete, else it is removed.
    pub(crate) async fn finish(
        &self,
        place: &Place<'_>,
        path: &Path,
        outcome: Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Place::Staged(target) = place else { return outcome };
        let outcome = match outcome {
            Ok(()) => fs::rename(path, target).await.at("replace", target),
            failed => failed,
        };
        if outcome.is_err() {
            remove(fs::remove_file(path).await, path);
        }
        outcome
    }
}

/// Says so if a temporary name could not be removed: the failure that led here is reported by itself.
#[allow(clippy::print_stderr, reason = "the user has to remove it")]
pub(crate) fn remove(result: io::Result<()>, path: &Path) {
    if let Err(error) = result {
        eprintln!("copy: can't remove the temporary {}: {error}", path.display());
    }
}
