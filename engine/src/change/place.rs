//! How one name comes to stand for another entry: each way in one function, with its fallback where
//! the file system has no call for it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Mode, RenameFlags, Stat, fstat, linkat, mkdirat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::op::Tree;
use crate::fail::fail_point;
use crate::fs::{
    Assigned, Attrs, DIR_FLAGS, Inode, Stuck, attributes_of, has_name, names, numbers_hold,
    own_scope, remove_tree, replaced, set_attrs, set_fd_attrs, unless_open,
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
            exchange(slots, slot, dir, name)?;
            Err(stuck)
        });
    }
    if let Err(e) = remove_one(slots, slot) {
        // Somebody put entries there since it was found empty: they go back where they were.
        if matches!(e, Errno::NOTEMPTY | Errno::EXIST) {
            exchange(slots, slot, dir, name)?;
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
        Err(Errno::NOENT) => Ok(place_new(slots, slot, dir, name)?),
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
        let is_sure = || found.looks_like(new) || numbers_hold(slots);
        found.number == new.number && is_sure()
    };
    let staged = inode(slots, slot)?;
    if staged.as_ref().is_some_and(is_numbered) {
        return Ok(false);
    }
    let placed = inode(dir, name)?;
    if placed.as_ref().is_some_and(is_numbered) {
        return Ok(true);
    }
    match (staged, placed) {
        (Some(staged), _) if is_that(slots, &staged, new) => Ok(false),
        (_, Some(placed)) if is_that(dir, &placed, new) => Ok(true),
        _ => Err(io::Error::other("what was staged for it is gone")),
    }
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
    let Some(found) = inode(slots, slot)?.filter(Inode::is_dir) else {
        return Ok(());
    };
    if judged.is_some_and(|judged| is_that(slots, &found, judged)) {
        return Ok(());
    }
    exchange(slots, slot, dir, name)?;
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

/// The same on a file system that cannot exchange names. What is replaced is kept under a second
/// name first; only what can have one name alone, as a directory, is absent between two renames.
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
        // Nothing was there, or it was moved before this was cut off. What says that it has no
        // name is not linked either, and stands there all the same.
        Err(Errno::NOENT) if inode(dir, name)?.is_none() => kept = inode(slots, aside)?.is_some(),
        Err(_) => take_away(dir, name, slots, aside)?,
    }
    fail_point("aside");
    let is_dir = inode(slots, slot)?.is_some_and(|inode| inode.is_dir());
    if is_dir && kept && inode(dir, name)?.is_some_and(|old| !old.is_dir()) {
        // A directory does not replace a file.
        unlinkat(dir, name, AtFlags::empty())?;
        fail_point("absent");
    }
    if let Err(e) = renameat(slots, slot, dir, name) {
        if kept {
            // The old entry must not go with the staging.
            let _ = renameat(slots, aside, dir, name);
        }
        return Err(e.into());
    }
    fail_point("replaced");
    if kept {
        renameat(slots, aside, slots, slot)?;
    }
    Ok(())
}

/// Moves what has the name to the slot; can be repeated. A directory that cannot be renamed, as
/// those of a lower layer, is emptied into a new one, entry by entry.
pub(super) fn take_away(
    dir: &OwnedFd,
    name: &[u8],
    slots: &OwnedFd,
    slot: &[u8],
) -> io::Result<()> {
    let e = match renameat(dir, name, slots, slot) {
        // Both are there if this was cut off before.
        Err(e @ (Errno::XDEV | Errno::NOTEMPTY | Errno::EXIST)) => e,
        result => return Ok(result?),
    };
    // Those that are emptied, the names in each that are left, and where they go.
    let mut levels = vec![Level::enter((dir, name), (slots, slot), e)?];
    while let Some(level) = levels.last_mut() {
        if let Some(next) = level.names.pop() {
            match renameat(&level.from, &*next, &level.to, &*next) {
                Err(e @ (Errno::XDEV | Errno::NOTEMPTY | Errno::EXIST)) => {
                    let (from, to) = ((&level.from, &*next), (&level.to, &*next));
                    let below = Level::enter(from, to, e)?;
                    levels.push(below);
                }
                result => result?,
            }
            continue;
        }
        let Some(done) = levels.pop() else {
            break;
        };
        let attrs = Attrs {
            uid: Some(done.was.st_uid),
            gid: Some(done.was.st_gid),
            mode: Some(done.was.st_mode & 0o7777),
            mtime: Some(Inode::of(&done.was).time),
            atime: None,
            attributes: Assigned::new(own_scope(), &attributes_of(&done.from, own_scope())?),
        };
        set_fd_attrs(&File::from(done.to), &attrs)?;
        let above = levels.last().map_or(dir, |above| &above.from);
        unlinkat(above, &*done.name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    was: Stat,
    from: OwnedFd,
    to: OwnedFd,
    names: Vec<Vec<u8>>,
}

impl Level {
    /// `e` is why it cannot be renamed, which is final for anything but a directory.
    fn enter(
        (from, name): (&OwnedFd, &[u8]),
        (to, new): (&OwnedFd, &[u8]),
        e: Errno,
    ) -> io::Result<Self> {
        let from = match openat(from, name, DIR_FLAGS, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(e.into()),
            opened => opened?,
        };
        match mkdirat(to, new, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(Level {
            name: name.to_vec(),
            was: fstat(&from)?,
            names: names(&from)?,
            from,
            to: openat(to, new, DIR_FLAGS, Mode::empty())?,
        })
    }
}

/// Gives a directory that changed its place the time that it had: XFS counts the change of its
/// parent as one of its own.
pub(super) fn keep_time(dir: &OwnedFd, name: &[u8], moved: Option<&Inode>) -> io::Result<()> {
    let Some(moved) = moved.filter(|moved| moved.is_dir()) else {
        return Ok(());
    };
    let has_moved = |now: &Inode| now.is_dir() && now.time != moved.time;
    let Some(now) = inode(dir, name)?.filter(has_moved) else {
        return Ok(());
    };
    let attrs = Attrs {
        mtime: Some(moved.time),
        ..Attrs::default()
    };
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_attrs(dir, &name, Some(&now), &attrs)
}

/// Whether a name stands for that entry, wherever it was when it was noted.
pub(super) fn is_at(dir: &OwnedFd, name: &[u8], wanted: &Inode) -> io::Result<bool> {
    Ok(inode(dir, name)?.is_some_and(|found| is_that(dir, &found, wanted)))
}

/// Whether what was found in `dir` is that entry.
fn is_that(dir: &OwnedFd, found: &Inode, wanted: &Inode) -> bool {
    found.number == wanted.number || !numbers_hold(dir) && found.looks_like(wanted)
}

/// Whether the name stands for that directory, and nothing is in it.
pub(super) fn is_empty_dir(dir: &OwnedFd, name: &[u8], wanted: &Inode) -> bool {
    openat(dir, name, DIR_FLAGS, Mode::empty()).is_ok_and(|held| {
        let is_wanted = Inode::held(&held).is_ok_and(|found| is_that(dir, &found, wanted));
        is_wanted && has_name(&held, |_| true).is_ok_and(|has_entries| !has_entries)
    })
}

/// Whether a directory with entries has that name.
pub(super) fn is_full_dir(dir: &OwnedFd, name: &[u8]) -> io::Result<bool> {
    if !inode(dir, name)?.is_some_and(|there| there.is_dir()) {
        return Ok(false);
    }
    has_name(&openat(dir, name, DIR_FLAGS, Mode::empty())?, |_| true)
}

/// What has a name; `None` if nothing has.
pub(crate) fn inode(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<Inode>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Inode::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
