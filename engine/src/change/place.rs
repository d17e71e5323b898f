//! How one name comes to stand for another entry: each way in one function, with its fallback where
//! the file system has no call for it.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use crate::fail::fail_point;
use crate::fs::{Attrs, Inode, remove_tree, set_attrs};

/// Gives the slot's entry the name, and removes what had it. The name is never absent: a rename
/// replaces like by like, an exchange swaps a directory with anything else.
pub(super) fn replace(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    over_tree: bool,
) -> io::Result<()> {
    // A plain rename replaces a non-directory by another, and an empty directory by a directory.
    match renameat(slots, slot, dir, name) {
        Err(Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY) => {}
        result => return Ok(result?),
    }
    exchange(slots, slot, dir, name)?;
    if over_tree {
        return remove_tree(slots, slot);
    }
    let removed = match unlinkat(slots, slot, AtFlags::empty()) {
        // Linux says EISDIR for a directory, other file systems may follow POSIX and say EPERM.
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(slots, slot, AtFlags::REMOVEDIR),
        result => result,
    };
    if let Err(e @ (Errno::NOTEMPTY | Errno::EXIST)) = removed {
        // Somebody put entries there since it was found empty: they go back where they were.
        exchange(slots, slot, dir, name)?;
        return Err(e.into());
    }
    Ok(removed?)
}

fn exchange(slots: &OwnedFd, slot: &[u8], dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match renameat_with(slots, slot, dir, name, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // A file system that cannot exchange: the name is absent between these two calls,
            // which only a change between directory and non-directory meets.
            let aside = [slot, b".old"].concat();
            renameat(dir, name, slots, &*aside)?;
            renameat(slots, slot, dir, name)?;
            Ok(renameat(slots, &*aside, slots, slot)?)
        }
        result => Ok(result?),
    }
}

/// Gives the slot's entry the name, and the slot what had the name before; can be repeated.
pub(super) fn change_places(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    new_ino: u64,
) -> io::Result<()> {
    let aside = [slot, b".old"].concat();
    if ino(slots, slot)? != Some(new_ino) {
        if ino(dir, name)? != Some(new_ino) {
            return Err(io::Error::other("what was staged for it is gone"));
        }
        // Done before, at least as far as the name goes.
        return match renameat(slots, &*aside, slots, slot) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        };
    }
    match renameat_with(slots, slot, dir, name, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => Ok(renameat_with(
            slots,
            slot,
            dir,
            name,
            RenameFlags::NOREPLACE,
        )?),
        Err(Errno::INVAL | Errno::NOSYS) => replace_keeping(slots, slot, &aside, dir, name),
        result => Ok(result?),
    }
}

/// The same on a file system that cannot exchange names. What is replaced is kept under a second
/// name first; only a directory, which can have one name alone, is absent between two renames.
fn replace_keeping(
    slots: &OwnedFd,
    slot: &[u8],
    aside: &[u8],
    dir: &OwnedFd,
    name: &[u8],
) -> io::Result<()> {
    let mut kept = true;
    match linkat(dir, name, slots, aside, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => {}
        // Nothing was there, or it was moved before this was cut off.
        Err(Errno::NOENT) => kept = ino(slots, aside)?.is_some(),
        Err(_) => renameat(dir, name, slots, aside)?,
    }
    fail_point("aside");
    let is_dir = inode(slots, slot)?.is_some_and(|inode| inode.is_dir());
    if is_dir && kept && ino(dir, name)? == ino(slots, aside)? {
        // A directory does not replace a file.
        unlinkat(dir, name, AtFlags::empty())?;
        fail_point("absent");
    }
    renameat(slots, slot, dir, name)?;
    fail_point("replaced");
    if kept {
        renameat(slots, aside, slots, slot)?;
    }
    Ok(())
}

/// Gives a directory that changed its place the time that it had: XFS counts the change of its
/// parent as one of its own.
pub(super) fn keep_time(dir: &OwnedFd, name: &[u8], moved: Option<&Inode>) -> io::Result<()> {
    let Some(moved) = moved.filter(|moved| moved.is_dir()) else {
        return Ok(());
    };
    let Some(now) = inode(dir, name)?.filter(|now| now.number == moved.number) else {
        return Ok(());
    };
    let attrs = Attrs {
        mtime: Some(moved.time),
        ..Attrs::default()
    };
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_attrs(dir, &name, Some(&now), &attrs)
}

/// The inode number of a name; `None` if there is nothing of that name.
pub(super) fn ino(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<u64>> {
    Ok(inode(dir, name)?.map(|inode| inode.number))
}

/// What has a name; `None` if nothing has.
pub(crate) fn inode(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<Inode>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Inode::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
