//! Opening a log, or another list that grows, where its path leads.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::{Follow, Landed, PathError, Step, Walk};

/// Opens a log to add to, following only symlinks of root and of this user; one that is missing is
/// made with this mode. Nothing waits for the reader of a FIFO: without one, this fails.
///
/// # Errors
///
/// Where and why the walk ended, or if the file has other names: one of them may be anybody's.
pub fn open_log(path: &Path, mode: u32) -> Result<File, PathError> {
    let mut judge = |_: &Step<'_>| Ok(());
    let mut walk = Walk::new(path, Follow::Trusted, &mut judge)?;
    let (Landed::Missing(name) | Landed::Other(name, _)) = walk.run()? else {
        return Err(walk.failed(b"", Errno::ISDIR));
    };
    let mut flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK;
    flags |= OFlags::NOCTTY | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !walk.has_jumped);
    let log = openat(&walk.at, &*name, flags, Mode::from_raw_mode(mode))
        .map_err(|e| walk.failed(&name, e))?;
    let stat = fstat(&log).map_err(|e| walk.failed(&name, e))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1 {
        return Err(walk.refused(
            &name,
            "has other names, and may be another's file".to_owned(),
        ));
    }
    Ok(File::from(log))
}
