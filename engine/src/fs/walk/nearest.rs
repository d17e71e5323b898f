//! A directory that is made where its path leads, with what is missing above it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;

use super::{Follow, PathCause, PathError, Place, Spot, find_dir};

/// What is there of the path to a directory.
#[derive(Debug)]
pub(crate) enum Nearest {
    /// The directory itself.
    Dir(OwnedFd),
    /// The first that is missing.
    Missing {
        spot: Spot,
        /// It is the directory itself, and none above it.
        is_last: bool,
    },
}

/// Finds as much of a path to a directory as there is, where each part is found by `walk`.
pub(crate) fn nearest(
    path: &Path,
    mut walk: impl FnMut(&Path) -> Result<Place, PathError>,
) -> Result<Nearest, PathError> {
    // Made by somebody else meanwhile, it is looked for once more.
    for _ in 0..ATTEMPTS_MAX {
        for part in path.ancestors() {
            let failed = |cause| Err(PathError::new(part.to_owned(), cause));
            match walk(part) {
                Ok(Place::Dir(fd)) if part == path => return Ok(Nearest::Dir(fd)),
                Ok(Place::Dir(_)) => break,
                Ok(Place::Missing(spot)) if !spot.is_symlink => {
                    let is_last = part == path;
                    return Ok(Nearest::Missing { spot, is_last });
                }
                Ok(Place::Missing(_)) => {
                    return failed(PathCause::Refused("is a symlink to nothing".to_owned()));
                }
                Ok(Place::Other(_)) => return failed(Errno::NOTDIR.into()),
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(e),
            }
        }
    }
    Err(comes_and_goes(path))
}

/// Opens the directory at `path`, making what is missing with this mode, as the umask lets it.
/// Only symlinks of root and of this user are followed.
pub(crate) fn make_dir(path: &Path, mode: Mode) -> Result<OwnedFd, PathError> {
    for _ in 0..ATTEMPTS_MAX {
        let walk = |part: &Path| find_dir(part, Follow::Trusted, &mut |_| Ok(()));
        match nearest(path, walk)? {
            Nearest::Dir(fd) => return Ok(fd),
            Nearest::Missing { spot, .. } => match mkdirat(&spot.dir, &*spot.name, mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(PathError::new(path.to_owned(), e.into())),
            },
        }
    }
    Err(comes_and_goes(path))
}

fn comes_and_goes(path: &Path) -> PathError {
    PathError::new(
        path.to_owned(),
        PathCause::Io(io::ErrorKind::NotFound.into()),
    )
}

/// How often a path is looked for that comes and goes.
const ATTEMPTS_MAX: usize = 100;
