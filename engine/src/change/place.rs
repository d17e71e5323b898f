//! How one name comes to stand for another entry: each way in one function, with its fallback where
//! the file system has no call for it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::aside::{adopt, keep};
use super::op::Tree;
use crate::fail::fail_point;
use crate::fs::{
    DIR_FLAGS, Inode, Stuck, has_name, is_bordered, numbers_hold, remove_tree, replaced,
    unless_open,
};

/// Gives the slot's entry the name, and removes what had it. The name is never absent: a rename
/// replaces like by like, an exchange swaps a directory with anything else.
pub(super) fn replace(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    over: &Tree,
) -> Result<(), Stuck> {
    // A plain rename replaces a non-directory by another, and an empty directory by a directory.
    match renameat(slots, slot, dir, name) {
        Err(Errno::ISDIR | Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY) => {}
        result => return Ok(result?),
    }
    match exchange(slots, slot, dir, name) {
        Err(Errno::XDEV) => return clear_and_place(slots, slot, dir, name, over),
        result => result?,
    }
    if *over != Tree::None {
        // What has to stay of it goes back where it was.
        return unless_open(remove_tree(slots, slot, over.which())).or_else(|stuck| {
            give_back(slots, slot, dir, name)?;
            Err(stuck)
        });
    }
    if let Err(e) = remove_one(slots, slot) {
        // Somebody put entries there since it was found empty: they go back where they were.
        if matches!(e, Errno::NOTEMPTY | Errno::EXIST) {
            give_back(slots, slot, dir, name)?;
        }
        return Err(e.into());
    }
    Ok(())
}

/// Whether a file system says so that it knows no other rename than the plain one.
fn is_unknown(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

fn exchange(slots: &OwnedFd, slot: &[u8], dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match renameat_with(slots, slot, dir, name, RenameFlags::EXCHANGE) {
        Err(e) if is_unknown(e) => {
            // A file system that cannot exchange: the name is absent between these two calls,
            // which only a change between directory and non-directory meets.
            let aside = [slot, b".old"].concat();
            renameat(dir, name, slots, &*aside)?;
            if Inode::at(dir, name).is_ok_and(|left| left.is_some()) {
                // Of a directory on several disks, those parts have stayed that are on another.
                renameat(slots, &*aside, dir, name)?;
                return Err(Errno::XDEV);
            }
            if let Err(e) = renameat(slots, slot, dir, name) {
                // The old entry must not go with the staging.
                let _ = renameat(slots, &*aside, dir, name);
                return Err(e);
            }
            renameat(slots, &*aside, slots, slot)
        }
        result => result,
    }
}

/// The same where a directory has the name that cannot be renamed, as those of a lower layer: it
/// is removed where it is, and the name is absent for as long as that takes.
fn clear_and_place(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    over: &Tree,
) -> Result<(), Stuck> {
    match over {
        Tree::None => remove_one(dir, name)?,
        Tree::Only(_) | Tree::Any => remove_tree(dir, name, over.which())?,
    }
    Ok(renameat(slots, slot, dir, name)?)
}

/// Removes what is not a directory with entries.
fn remove_one(dir: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        // Linux says EISDIR for a directory, other file systems may follow POSIX and say EPERM.
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(dir, name, AtFlags::REMOVEDIR),
        result => result,
    }
}

/// Gives the slot's entry the name, and the slot what had the name before; can be repeated.
pub(super) fn change_places(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    new: &Inode,
) -> io::Result<()> {
    let aside = [slot, b".old"].concat();
    if has_moved((slots, slot), (dir, name), new)? {
        // Done before, at least as far as the name goes.
        return match renameat(slots, &*aside, slots, slot) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        };
    }
    match renameat_with(slots, slot, dir, name, RenameFlags::EXCHANGE) {
        // Unless this was cut off when nothing had the name.
        Err(Errno::NOENT) if Inode::at(slots, &aside)?.is_none() => {
            moving_out((slots, slot), dir, || place_new(slots, slot, dir, name))
        }
        Err(Errno::NOENT) => replace_keeping(slots, slot, &aside, dir, name),
        Err(e) if e == Errno::XDEV || is_unknown(e) => {
            replace_keeping(slots, slot, &aside, dir, name)
        }
        result => Ok(result?),
    }
}

/// Whether an entry has left its slot for its name. Where numbers do not hold, another may have its
/// number by now, or look like it: what has both counts for more.
pub(super) fn has_moved(
    (slots, slot): (&OwnedFd, &[u8]),
    (dir, name): (&OwnedFd, &[u8]),
    new: &Inode,
) -> io::Result<bool> {
    let is_numbered = |found: &Inode| {
        let is_sure = || found.looks_like(new) || are_numbered(slots, dir);
        found.number == new.number && is_sure()
    };
    let staged = Inode::at(slots, slot)?;
    if staged.as_ref().is_some_and(is_numbered) {
        return Ok(false);
    }
    let placed = Inode::at(dir, name)?;
    if placed.as_ref().is_some_and(is_numbered) {
        return Ok(true);
    }
    match (staged, placed) {
        (Some(staged), _) if is_that(slots, dir, &staged, new) => Ok(false),
        (_, Some(placed)) if is_that(slots, dir, &placed, new) => Ok(true),
        _ => Err(io::Error::other("what was staged for it is gone")),
    }
}

/// Undoes an exchange.
fn give_back(slots: &OwnedFd, slot: &[u8], dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    moving_out((slots, slot), dir, || exchange(slots, slot, dir, name))
}

/// Gives back a directory that came into the slot, and is not the one that was judged: somebody has
/// put it there since, with what is in it.
pub(super) fn give_back_other(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
    judged: Option<&Inode>,
) -> io::Result<()> {
    let Some(found) = Inode::at(slots, slot)?.filter(Inode::is_dir) else {
        return Ok(());
    };
    if judged.is_some_and(|judged| is_that(slots, dir, &found, judged)) {
        return Ok(());
    }
    give_back(slots, slot, dir, name)?;
    Err(replaced())
}

/// Gives the slot's entry a name that nothing has.
pub(super) fn place_new(
    slots: &OwnedFd,
    slot: &[u8],
    dir: &OwnedFd,
    name: &[u8],
) -> rustix::io::Result<()> {
    match renameat_with(slots, slot, dir, name, RenameFlags::NOREPLACE) {
        // The kernel has looked whether there is anything before it asks a file system that knows
        // no such call.
        Err(e) if is_unknown(e) => renameat(slots, slot, dir, name),
        result => result,
    }
}

/// Moves the slot's entry out by `change`, as a copy where it is not of the project of `dir`.
fn moving_out(
    (slots, slot): (&OwnedFd, &[u8]),
    dir: &OwnedFd,
    change: impl Fn() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match change() {
        Err(Errno::XDEV) if is_bordered(dir) => {
            adopt((slots, slot), dir)?;
            Ok(change()?)
        }
        result => Ok(result?),
    }
}

/// The same on a file system that cannot exchange names. What is replaced is kept under a second
/// name, or as a copy, first; only what can have one name alone, as a directory, is absent between
/// two renames.
fn replace_keeping(
    slots: &OwnedFd,
    slot: &[u8],
    aside: &[u8],
    dir: &OwnedFd,
    name: &[u8],
) -> io::Result<()> {
    let kept = keep((dir, name), (slots, aside))?;
    fail_point("aside");
    let is_dir = Inode::at(slots, slot)?.is_some_and(|inode| inode.is_dir());
    if is_dir && kept && Inode::at(dir, name)?.is_some_and(|old| !old.is_dir()) {
        // A directory does not replace a file.
        unlinkat(dir, name, AtFlags::empty())?;
        fail_point("absent");
    }
    if let Err(e) = moving_out((slots, slot), dir, || renameat(slots, slot, dir, name)) {
        if kept {
            // The old entry must not go with the staging.
            let _ = renameat(slots, aside, dir, name);
        }
        return Err(e);
    }
    fail_point("replaced");
    if kept {
        renameat(slots, aside, slots, slot)?;
    }
    Ok(())
}

/// Whether a name stands for that entry, which is on its way between those slots and `dir`.
pub(super) fn is_at(
    (slots, dir): (&OwnedFd, &OwnedFd),
    (at, name): (&OwnedFd, &[u8]),
    wanted: &Inode,
) -> io::Result<bool> {
    Ok(Inode::at(at, name)?.is_some_and(|found| is_that(slots, dir, &found, wanted)))
}

/// Whether what was found in either is that entry.
fn is_that(slots: &OwnedFd, dir: &OwnedFd, found: &Inode, wanted: &Inode) -> bool {
    found.number == wanted.number || found.looks_like(wanted) && !are_numbered(slots, dir)
}

/// Whether an inode keeps its number on its way between those slots and `dir`: it does not where it
/// may be moved by a copy.
fn are_numbered(slots: &OwnedFd, dir: &OwnedFd) -> bool {
    numbers_hold(dir) && !is_bordered(slots) && !is_bordered(dir)
}

/// Whether the name stands for that directory, and nothing is in it.
pub(super) fn is_empty_dir(dir: &OwnedFd, name: &[u8], wanted: &Inode) -> bool {
    openat(dir, name, DIR_FLAGS, Mode::empty()).is_ok_and(|held| {
        let is_wanted = Inode::held(&held).is_ok_and(|found| is_that(dir, dir, &found, wanted));
        is_wanted && has_name(&held, |_| true).is_ok_and(|has_entries| !has_entries)
    })
}

/// Whether a directory with entries has that name.
pub(super) fn is_full_dir(dir: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    if !Inode::at(dir, name)?.is_some_and(|there| there.is_dir()) {
        return Ok(false);
    }
    has_name(&openat(dir, name, DIR_FLAGS, Mode::empty())?, |_| true)
}
