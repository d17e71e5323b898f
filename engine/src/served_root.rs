//! A directory of `serve --root`, pinned for one session.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::fs::Root;
use crate::path::Shown;

/// A directory that is served, held open: what is mounted or planted in its place later does not
/// count. One that cannot be opened serves nothing, and others besides it still do.
#[derive(Clone, Debug)]
pub struct ServedRoot {
    path: PathBuf,
    held: Result<Arc<Root>, Error>,
}

impl ServedRoot {
    /// Opens the directory at an absolute path, following only symlinks of root and of this user.
    #[must_use]
    pub fn pin(path: PathBuf) -> Self {
        let held = Root::open(&path).map(Arc::new).map_err(|e| {
            let shown = Shown(path.as_os_str().as_encoded_bytes());
            Error::file(format_args!("open the served root {shown}"), &e)
        });
        ServedRoot { path, held }
    }

    /// Its path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub fn dir(&self) -> Result<BorrowedFd<'_>, Error> {
        let root = self.held.as_ref().map_err(Clone::clone)?;
        Ok(root.as_fd())
    }
}
