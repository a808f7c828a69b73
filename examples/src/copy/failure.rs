//! Why a copy did not come about: what was tried, on which path, what the kernel said.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a copy did not come about.
pub(crate) enum Failure {
    /// The kernel refused something.
    Io { what: &'static str, path: PathBuf, error: io::Error },
    /// It makes no sense, or is not what this program does.
    Refused(String),
    /// A signal came.
    Signal(i32),
    /// Another part of the copy has failed: that failure is the one to report.
    Elsewhere,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            _ => 1,
        }
    }

    /// Of two, the one that says more.
    pub(crate) fn or_better(self, other: Failure) -> Failure {
        if matches!(self, Failure::Elsewhere) { other } else { self }
    }

    /// The same, with a path inside of a temporary directory shown where it was to become visible.
    pub(crate) fn shown_in(self, temporary: &Path, target: &Path) -> Failure {
        match self {
            Failure::Io { what, path, error } => {
                let path = match path.strip_prefix(temporary) {
                    Ok(rest) if rest.as_os_str().is_empty() => target.to_path_buf(),
                    Ok(rest) => target.join(rest),
                    Err(_) => path,
                };
                Failure::Io { what, path, error }
            }
            other => other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Io { what, path, error } => write!(f, "can't {what} {}: {error}", path.display()),
            Failure::Refused(why) => f.write_str(why),
            Failure::Signal(number) => {
                write!(f, "ended by signal {number}; what was incomplete has been removed")
            }
            Failure::Elsewhere => f.write_str("another part of the copy has failed"),
        }
    }
}

/// Gives an error its place.
pub(crate) trait At<T> {
    /// `what` completes the sentence "can't ... PATH".
    fn at(self, what: &'static str, path: &Path) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io { what, path: path.to_path_buf(), error })
    }
}
