//! Where a path from a held directory leads, symlinks and all.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, openat};
use rustix::io::Errno;

use super::{Follow, HELD_DIR, Judge, Landed, PathError, Walk};

/// What a path from a held directory leads to.
#[derive(Debug)]
pub(crate) enum Led {
    /// A directory, open for reading.
    Dir(OwnedFd),
    /// Something else, by its name in its directory.
    Other(OwnedFd, Vec<u8>),
}

/// Follows a path from a held directory, whatever symlinks are on it and at its end.
pub(crate) fn follow_from(start: impl AsFd, path: &[u8], follow: Follow) -> Result<Led, PathError> {
    let (here, path) = (Path::new(""), Path::new(OsStr::from_bytes(path)));
    let opened = openat(start, ".", HELD_DIR, Mode::empty());
    let opened = opened.map_err(|e| PathError::new(path.to_owned(), e.into()))?;
    let judge: &mut Judge<'_> = &mut |_| Ok(());
    let mut walk = Walk::begin(opened, here, path, follow, judge)?;
    match walk.run()? {
        Landed::Dir => walk.open_here().map(Led::Dir),
        Landed::Other(name, _) => Ok(Led::Other(walk.at, name)),
        Landed::Missing(name) => Err(walk.failed(&name, Errno::NOENT)),
    }
}
