//! The errors that callers can branch on: why a runtime could not be built.
//!
//! I/O errors are plain `io::Error`s with the raw errno kept; a type of our own exists only here, where what the kernel
//! refused decides what the user has to change.

use std::fmt;
use std::io;

/// What stood in the way of a [`BuildError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// An option has a value that can't work on this machine or contradicts another one.
    InvalidOption,
    /// The kernel has no io_uring (`ENOSYS`), or one that is too old for this runtime (before 6.1).
    KernelTooOld,
    /// `kernel.io_uring_disabled` forbids io_uring to this process.
    Disabled,
    /// A security policy (seccomp, an LSM) forbids io_uring to this process.
    Forbidden,
    /// The limit on locked memory (`RLIMIT_MEMLOCK`) or memory itself is exhausted.
    NoMemory,
    /// The limit on open files of the process or the system is exhausted.
    NoDescriptors,
    /// A worker thread could not be started or pinned.
    Thread,
    /// Another error of the kernel; see [`std::error::Error::source`].
    Other,
}

/// Why a runtime could not be built: what was tried, what the kernel said, and what to do about it.
///
/// # Examples
///
/// ```
/// use runtime::{BuildErrorKind, Builder};
///
/// let error = Builder::new().cores(0).build().unwrap_err();
/// assert_eq!(error.kind(), BuildErrorKind::InvalidOption);
/// assert!(error.to_string().contains("cores"));
/// ```
#[derive(Debug)]
pub struct BuildError {
    kind: BuildErrorKind,
    what: String,
    remedy: String,
    source: Option<io::Error>,
}

impl BuildError {
    /// What stood in the way, to branch on.
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }

    /// What the user or administrator can do about it, as one sentence.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }

    /// The raw errno of the refused system call, if a system call was refused.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(io::Error::raw_os_error)
    }

    pub(crate) fn invalid(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        BuildError {
            kind: BuildErrorKind::InvalidOption,
            what: what.into(),
            remedy: remedy.into(),
            source: None,
        }
    }

    pub(crate) fn thread(what: impl Into<String>, source: io::Error) -> Self {
        let remedy =
            "raise the limit on threads (ulimit -u, cgroup pids.max), or use fewer cores or no pinning";
        BuildError {
            kind: BuildErrorKind::Thread,
            what: what.into(),
            remedy: remedy.into(),
            source: Some(source),
        }
    }

    /// Explains a refused `io_uring_setup(2)` or one of the calls that follow it. `disabled` is the value of
    /// `kernel.io_uring_disabled`, which tells the administrator's refusal from a sandbox's.
    pub(crate) fn ring(what: impl Into<String>, source: io::Error, disabled: Option<u8>) -> Self {
        let (kind, remedy) = match source.raw_os_error() {
            Some(libc::ENOSYS) => (
                BuildErrorKind::KernelTooOld,
                "run Linux 6.1 or later built with CONFIG_IO_URING; in a container, let the seccomp profile pass io_uring",
            ),
            Some(libc::EINVAL) => (
                BuildErrorKind::KernelTooOld,
                "run Linux 6.1 or later (the kernel does not know a flag that this runtime needs), or lower `entries`",
            ),
            Some(libc::EPERM | libc::EACCES) if disabled.is_some_and(|value| value > 0) => (
                BuildErrorKind::Disabled,
                "set the sysctl kernel.io_uring_disabled to 0, or to 1 and add the process to kernel.io_uring_group",
            ),
            Some(libc::EPERM | libc::EACCES) => (
                BuildErrorKind::Forbidden,
                "let the seccomp profile or security module pass io_uring_setup, io_uring_enter and io_uring_register",
            ),
            Some(libc::ENOMEM) => (
                BuildErrorKind::NoMemory,
                "raise the limit on locked memory (ulimit -l, LimitMEMLOCK=), close other rings, or lower `entries` or `cores`",
            ),
            Some(libc::EMFILE) => (
                BuildErrorKind::NoDescriptors,
                "raise the limit on open files (ulimit -n, LimitNOFILE=) or close descriptors",
            ),
            Some(libc::ENFILE) => (BuildErrorKind::NoDescriptors, "raise the sysctl fs.file-max"),
            _ => (BuildErrorKind::Other, "see the system's error above"),
        };
        BuildError { kind, what: what.into(), remedy: remedy.into(), source: Some(source) }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        write!(f, " (remedy: {})", self.remedy)
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<BuildError> for io::Error {
    /// Keeps the kind's nearest relative; the [`BuildError`] is the inner error.
    fn from(error: BuildError) -> Self {
        let kind = match error.kind {
            BuildErrorKind::InvalidOption => io::ErrorKind::InvalidInput,
            BuildErrorKind::KernelTooOld => io::ErrorKind::Unsupported,
            BuildErrorKind::Disabled | BuildErrorKind::Forbidden => io::ErrorKind::PermissionDenied,
            BuildErrorKind::NoMemory => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, disabled: Option<u8>) -> BuildError {
        BuildError::ring("io_uring_setup was refused", io::Error::from_raw_os_error(errno), disabled)
    }

    #[test]
    fn every_refusal_names_its_cause_and_remedy() {
        let cases = [
            (libc::ENOSYS, None, BuildErrorKind::KernelTooOld, "6.1"),
            (libc::EPERM, Some(2), BuildErrorKind::Disabled, "kernel.io_uring_disabled"),
            (libc::EPERM, Some(0), BuildErrorKind::Forbidden, "seccomp"),
            (libc::EPERM, None, BuildErrorKind::Forbidden, "seccomp"),
            (libc::ENOMEM, None, BuildErrorKind::NoMemory, "ulimit -l"),
            (libc::EMFILE, None, BuildErrorKind::NoDescriptors, "ulimit -n"),
            (libc::EIO, None, BuildErrorKind::Other, "error above"),
        ];
        for (errno, disabled, kind, remedy) in cases {
            let error = refused(errno, disabled);
            assert_eq!(error.kind(), kind, "errno {errno}");
            assert_eq!(error.raw_os_error(), Some(errno));
            assert!(error.remedy().contains(remedy), "{error}");
        }
    }
}
