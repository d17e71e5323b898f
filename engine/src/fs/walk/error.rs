//! Why a path could not be followed to its end, and where on it.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, describe};
use crate::ids::{IdKind, name_of};
use crate::path::Shown;

/// A path that could not be followed.
#[derive(Debug)]
pub struct PathError {
    /// The component that it ended at, by the path that it was reached by.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: PathCause,
}

/// What is wrong with a component of a path.
#[derive(Debug)]
pub enum PathCause {
    /// A call failed.
    Io(io::Error),
    /// A symlink that is not followed.
    Symlink {
        /// Who owns it.
        owner: u32,
        /// What it says.
        target: PathBuf,
        /// Why it is not followed.
        rule: &'static str,
    },
    /// It was judged, and this is the objection.
    Refused(String),
}

impl PathError {
    pub(super) fn new(path: PathBuf, cause: PathCause) -> Self {
        PathError { path, cause }
    }

    /// Whether there is nothing of that name.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(&self.cause, PathCause::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it is about a symlink that is not followed.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        matches!(self.cause, PathCause::Symlink { .. })
    }
}

impl From<Errno> for PathCause {
    fn from(e: Errno) -> Self {
        PathCause::Io(e.into())
    }
}

impl From<PathError> for Error {
    fn from(e: PathError) -> Self {
        Error::new(ErrorKind::FileIo, e.to_string())
    }
}

impl From<PathError> for io::Error {
    fn from(e: PathError) -> Self {
        match e.cause {
            PathCause::Io(e) => e,
            _ => io::Error::new(io::ErrorKind::PermissionDenied, e),
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match &self.cause {
            PathCause::Io(e) => write!(f, "{path}: {}", describe(e)),
            PathCause::Refused(why) => write!(f, "{path} {why}"),
            PathCause::Symlink {
                owner,
                target,
                rule,
            } => {
                let (target, owner) = (shown(target), Owner(*owner));
                write!(
                    f,
                    "{path} is a symlink to {target} of {owner}: {rule}; give the path that it \
                     leads to"
                )
            }
        }
    }
}

impl std::error::Error for PathError {}

/// A user by name and number.
struct Owner(u32);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name_of(IdKind::User, self.0) {
            Some(name) => write!(f, "user {} (uid {})", Shown(&name), self.0),
            None => write!(f, "uid {}", self.0),
        }
    }
}

fn shown(path: &Path) -> impl fmt::Display {
    Shown(path.as_os_str().as_bytes())
}
