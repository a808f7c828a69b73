//! What is to be copied to where: the target's name, as `cp` finds it, and what is refused before anything is touched.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs::Metadata;

use super::failure::{At, Failure};

/// What is to be copied.
pub(crate) enum Kind {
    File {
        len: u64,
    },
    /// `exists`: the target does, and is a directory.
    Tree {
        exists: bool,
    },
}

/// What is to be copied to where.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
}

/// Finds out what `source` is and which name `destination` means for it.
///
/// # Errors
///
/// Where there is nothing to copy, or the copy would overwrite or contain itself, or something else than a file is in the
/// way.
pub(crate) async fn plan(source: &Path, destination: &Path) -> Result<Plan, Failure> {
    let metadata = fs::metadata(source).await.at("read", source)?;
    let mut target = destination.to_path_buf();
    let mut existing = existing(&target).await?;
    if let (Some(name), true) = (source.file_name(), existing.as_ref().is_some_and(Metadata::is_dir)) {
        target.push(name);
        existing = self::existing(&target).await?;
    }
    if let Some(existing) = &existing
        && identity(existing) == identity(&metadata)
    {
        let what = metadata.file_type().name();
        return refuse(format!("{} and {} are the same {what}", source.display(), target.display()));
    }
    let kind = if metadata.is_file() {
        check_file(&target, existing.as_ref())?;
        if existing.is_some() {
            // The file that a link leads to is replaced, not the link.
            target = fs::canonicalize(&target).await.at("find", &target)?;
        }
        Kind::File { len: metadata.len() }
    } else if metadata.is_dir() {
        check_tree(source, &metadata, &target, existing.as_ref()).await?;
        Kind::Tree { exists: existing.is_some() }
    } else {
        let kind = metadata.file_type().name();
        return refuse(format!("{} is a {kind}: only files and directories are copied", source.display()));
    };
    Ok(Plan { kind, source: source.to_path_buf(), target })
}

fn refuse<T>(why: String) -> Result<T, Failure> {
    Err(Failure::Refused(why))
}

/// Tells files apart.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

async fn existing(path: &Path) -> Result<Option<Metadata>, Failure> {
    match fs::metadata(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.at("look at", path).map(Some),
    }
}

fn check_file(target: &Path, existing: Option<&Metadata>) -> Result<(), Failure> {
    match existing {
        None if target.as_os_str().as_bytes().ends_with(b"/") => {
            refuse(format!("{} is no directory", target.display()))
        }
        Some(existing) if !existing.is_file() => {
            let kind = existing.file_type().name();
            refuse(format!("{} is a {kind}: only files are replaced", target.display()))
        }
        _ => Ok(()),
    }
}

async fn check_tree(
    source: &Path,
    metadata: &Metadata,
    target: &Path,
    existing: Option<&Metadata>,
) -> Result<(), Failure> {
    if existing.is_some_and(|existing| !existing.is_dir()) {
        return refuse(format!("{} is no directory, but {} is", target.display(), source.display()));
    }
    let inside = if existing.is_some() { target } else { parent(target) };
    let inside = fs::canonicalize(inside).await.at("find", inside)?;
    // By identity, not by name: a mount may show the source under another one.
    for ancestor in inside.ancestors() {
        if identity(&fs::metadata(ancestor).await.at("look at", ancestor)?) == identity(metadata) {
            let (source, target) = (source.display(), target.display());
            return refuse(format!("{source} can't be copied into itself, to {target}"));
        }
    }
    Ok(())
}

/// The directory that `path` is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        // The root is in itself.
        None => path,
    }
}
