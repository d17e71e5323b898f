//! Removing a whole tree that is not mirrored any more, by descriptors: symlinks are removed, not
//! followed, no path longer than one component is used, and depth costs no descriptors.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, openat, unlinkat};
use rustix::io::Errno;

use super::root::{DirId, dir_id};
use crate::names::Names;
use crate::work;

/// A directory on the way down: who it is, and the names in it still to be removed.
struct Level {
    name: Vec<u8>,
    id: DirId,
    names: Names,
}

/// Removes `name` in `dir`, and everything below it when it is a directory. What is already gone
/// is fine.
///
/// Only one directory is held open at a time. The way back up is `..`, checked against the
/// directory that the way down came from, so that a directory moved meanwhile cannot lead the
/// removal elsewhere.
pub(crate) fn remove_tree(dir: impl AsFd, name: &[u8]) -> io::Result<()> {
    let dir = dir.as_fd();
    if remove_one(&dir, name)? {
        return Ok(());
    }
    let top = dir_id(dir)?;
    let mut held = open_dir(&dir, name)?;
    let mut levels = vec![level(name.to_vec(), &held)?];
    while let Some(current) = levels.last_mut() {
        if let Some(next) = current.names.pop() {
            if !remove_one(&held, &next)? {
                held = open_dir(&held, &next)?;
                levels.push(level(next, &held)?);
            }
            continue;
        }
        let done = std::mem::take(&mut current.name);
        levels.pop();
        let expected = levels.last().map_or(top, |parent| parent.id);
        held = open_dir(&held, b"..")?;
        if dir_id(&held)? != expected {
            return Err(io::Error::other(
                "a directory was moved while it was being removed",
            ));
        }
        match unlinkat(&held, &*done, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Removes a name that is not a directory with entries; `false` if it is one.
fn remove_one(dir: &impl AsFd, name: &[u8]) -> io::Result<bool> {
    work::did(1);
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // Linux says EISDIR for a directory, other file systems may follow POSIX and say EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // It was a file after all, which may not be removed.
        Err(Errno::NOTDIR) => Err(Errno::PERM.into()),
        Err(e) => Err(e.into()),
    }
}

fn level(name: Vec<u8>, dir: &OwnedFd) -> io::Result<Level> {
    let mut names = Names::default();
    for_each_name(dir, |name| names.push(name))?;
    Ok(Level {
        name,
        id: dir_id(dir)?,
        names,
    })
}

fn open_dir(dir: &impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

/// All names in a directory, hasync's own included.
pub(crate) fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for_each_name(dir, |name| names.push(name.to_vec()))?;
    Ok(names)
}

fn for_each_name(dir: &OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(record) = records.next() {
        let record = record?;
        let name = record.file_name().to_bytes();
        if name != b"." && name != b".." {
            take(name);
        }
    }
    Ok(())
}
