//! A directory that is made where its path leads, with what is missing above it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
        /// The way on from there to the directory.
        rest: PathBuf,
    },
}

/// Finds as much of a path to a directory as there is, where each part is found by `walk`.
pub(crate) fn nearest<E: From<PathError>>(
    path: &Path,
    mut walk: impl FnMut(&Path) -> Result<Result<Place, PathError>, E>,
) -> Result<Nearest, E> {
    // Made by somebody else meanwhile, it is looked for once more.
    for _ in 0..ATTEMPTS_MAX {
        for part in path.ancestors() {
            let refused = |why: &str| {
                let cause = PathCause::Refused(why.to_owned());
                Err(PathError::new(part.to_owned(), cause).into())
            };
            match walk(part)? {
                Ok(Place::Dir(fd)) if part == path => return Ok(Nearest::Dir(fd)),
                Ok(Place::Dir(_)) => break,
                Ok(Place::Missing(spot)) if !spot.is_symlink => {
                    let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
                    let rest = rest.to_owned();
                    return Ok(Nearest::Missing { spot, rest });
                }
                Ok(Place::Missing(_)) => return refused("is a symlink to nothing"),
                Ok(Place::Other(_)) => return refused("is not a directory"),
                Err(e) if e.is_missing() => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Err(comes_and_goes(path).into())
}

/// Opens the directory at `path`, making what is missing with this mode, as the umask lets it.
/// Only symlinks of root and of this user are followed.
pub(crate) fn make_dir(path: &Path, mode: Mode) -> Result<OwnedFd, PathError> {
    for _ in 0..ATTEMPTS_MAX {
        let walk =
            |part: &Path| Ok::<_, PathError>(find_dir(part, Follow::Trusted, &mut |_| Ok(())));
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
