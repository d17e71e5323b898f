//! Opening what a path leads to, to read it or to hold it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, fcntl_setfl};
use rustix::io::Errno;

use super::{Follow, HELD, Judge, Landed, PathError, Step, Walk};

/// Opens the file that a path names for reading, following only symlinks of root and of this user,
/// and only if `judge` has nothing against any step of the way.
///
/// # Errors
///
/// Where and why the walk ended.
pub fn open_file(path: &Path, judge: &mut Judge<'_>) -> Result<File, PathError> {
    let mut walk = Walk::new(path, Follow::Trusted, judge)?;
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    match walk.run()? {
        Landed::Dir => Err(walk.failed(b"", Errno::ISDIR)),
        Landed::Missing(name) => Err(walk.failed(&name, Errno::NOENT)),
        Landed::Other(name, judged) if is_file(&judged) => {
            // A FIFO that has taken its place is not waited for.
            let opened = walk.open(&name, &judged, flags | OFlags::NONBLOCK)?;
            let waits = fcntl_setfl(&opened, OFlags::empty());
            waits.map_err(|e| walk.failed(&name, e))?;
            Ok(File::from(opened))
        }
        Landed::Other(name, judged) => walk.open(&name, &judged, flags).map(File::from),
    }
}

/// Judges that a file has to be a regular one: whatever else is there, nobody waits for it.
///
/// # Errors
///
/// It is something else.
pub fn only_files(step: &Step<'_>) -> Result<(), String> {
    match FileType::from_raw_mode(step.mode) {
        FileType::RegularFile | FileType::Directory | FileType::Symlink => Ok(()),
        _ => Err("is no regular file".to_owned()),
    }
}

/// Holds what a path names without opening it, following only symlinks of root and of this user.
///
/// # Errors
///
/// Where and why the walk ended.
pub fn hold(path: &Path) -> Result<OwnedFd, PathError> {
    let judge: &mut Judge<'_> = &mut |_| Ok(());
    let mut walk = Walk::new(path, Follow::Trusted, judge)?;
    match walk.run()? {
        Landed::Dir => Ok(walk.at),
        Landed::Missing(name) => Err(walk.failed(&name, Errno::NOENT)),
        Landed::Other(name, judged) => walk.open(&name, &judged, HELD),
    }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
