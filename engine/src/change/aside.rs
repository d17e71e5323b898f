//! How an entry leaves its name for a slot, where it is kept: by a link or a rename where the file
//! system allows that, else piece by piece. It does not for a directory of a lower layer of an
//! overlay, for what does not belong to the project of its directory, or where a FUSE file system
//! joins several disks and leaves each name on its own. Then a directory is emptied into a new one,
//! and anything else is copied.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, Mode, OFlags, Stat, fchmod, fstat, linkat, mkdirat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::copy::copy;
use crate::entry::{Body, Time};
use crate::fail::fail_point;
use crate::fs::{
    Assigned, Attrs, DIR_FLAGS, FileDir, Inode, attributes_of, dir_id, flush_dir, has_name, names,
    numbers_hold, open_own, own_scope, replaced, set_attrs, set_fd_attrs, stat,
};
use crate::path::STAND_IN_NAME;

/// A name in an open directory.
type Place<'a> = (&'a OwnedFd, &'a [u8]);

/// Keeps in `aside` what has the name; returns whether there is anything. It still has the name
/// then, but for what can have one alone. Can be repeated.
pub(super) fn keep(from: Place<'_>, aside: Place<'_>) -> io::Result<bool> {
    let linked = linkat(from.0, from.1, aside.0, aside.1, AtFlags::empty());
    if linked.is_ok() {
        return Ok(true);
    }
    match Inode::at(from.0, from.1)? {
        // Nothing was there, or it was moved before this was cut off.
        None => Ok(Inode::at(aside.0, aside.1)?.is_some()),
        Some(there) if !there.is_dir() && linked == Err(Errno::EXIST) => Ok(true),
        Some(there) if !there.is_dir() && linked == Err(Errno::XDEV) => {
            check_mount(from.0, aside.0)?;
            copy_to(from, aside, aside).map(|()| true)
        }
        // What says that it has no name is not linked either, and stands there all the same.
        Some(_) => take_away(from, aside).map(|()| true),
    }
}

/// Moves what has the name to the slot; can be repeated.
pub(crate) fn take_away(from: Place<'_>, slot: Place<'_>) -> io::Result<()> {
    if empty_into(from, slot)? {
        unlinkat(from.0, from.1, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Makes of a slot's entry one of the project of `dir`, into which nothing else can be moved: it
/// was kept before that got one, or an exchange has taken it out of there. Can be repeated.
pub(super) fn adopt(slot: Place<'_>, dir: &OwnedFd) -> io::Result<()> {
    let (home, name) = home_in(slot, dir)?;
    let own = [slot.1, b".own"].concat();
    if Inode::at(slot.0, slot.1)?.is_some_and(|found| found.is_dir()) {
        empty_into(slot, (&home, &own))?;
        // It replaces the empty one.
        renameat(&home, &*own, slot.0, slot.1)?;
    } else {
        copy_to(slot, slot, (&home, &own))?;
    }
    unlinkat(slot.0, &*name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// A directory beside the slot for what is to belong to the project of `dir`: it is made in there,
/// and moved here at once.
fn home_in((slots, slot): Place<'_>, dir: &OwnedFd) -> io::Result<(OwnedFd, Vec<u8>)> {
    let name = [slot, b".home"].concat();
    if Inode::at(slots, &name)?.is_none() {
        match mkdirat(dir, STAND_IN_NAME, Mode::RWXU) {
            Ok(()) => {}
            // That of one that was cut off is empty; a push may stage in any other.
            Err(Errno::EXIST) if !has_name(&open_own(dir, STAND_IN_NAME)?, |_| true)? => {}
            Err(e) => return Err(e.into()),
        }
        renameat(dir, STAND_IN_NAME, slots, &*name)?;
    }
    let home = openat(slots, &*name, DIR_FLAGS, Mode::empty())?;
    Ok((home, name))
}

/// Moves what has the name to the slot, but for a directory that cannot be moved as a whole: that
/// stays, empty, and `true` is returned.
fn empty_into(from: Place<'_>, slot: Place<'_>) -> io::Result<bool> {
    let noted = |depth: usize| [slot.1, format!(".time-{depth}").as_bytes()].concat();
    let mut levels = Vec::new();
    levels.extend(take(from, slot, (slot, &noted(0)))?);
    let mut depth_max = 0;
    loop {
        let depth = levels.len();
        depth_max = depth_max.max(depth);
        let Some(level) = levels.last_mut() else {
            break;
        };
        if let Some(next) = level.names.pop() {
            let (from, to) = ((&level.from, &*next), (&level.to, &*next));
            let moved = Inode::at(from.0, from.1)?;
            let below = take(from, to, (slot, &noted(depth)))?;
            if below.is_none() {
                keep_time(to.0, to.1, moved.as_ref())?;
            }
            fail_point("emptying");
            levels.extend(below);
            continue;
        }
        let Some(done) = levels.pop() else {
            break;
        };
        let attrs = Attrs {
            uid: Some(done.was.st_uid),
            gid: Some(done.was.st_gid),
            mode: Some(done.was.st_mode & 0o7777),
            mtime: Some(done.time),
            atime: None,
            attributes: Assigned::new(own_scope(), &attributes_of(&done.from, own_scope())?),
        };
        set_fd_attrs(&File::from(done.to), &attrs)?;
        if let Some(above) = levels.last() {
            unlinkat(&above.from, &*done.name, AtFlags::REMOVEDIR)?;
        }
    }
    for depth in 0..depth_max {
        let _ = unlinkat(slot.0, &*noted(depth), AtFlags::empty());
    }
    Ok(depth_max > 0)
}

/// Moves what can be moved at once. Returns a directory that is to be emptied.
fn take(
    from: Place<'_>,
    to: Place<'_>,
    (slot, noted): (Place<'_>, &[u8]),
) -> io::Result<Option<Level>> {
    match renameat(from.0, from.1, to.0, to.1) {
        Ok(()) => {
            // Of a directory on several disks, those parts may stay that are on another one.
            let left = Inode::at(from.0, from.1)?.filter(Inode::is_dir);
            if left.is_none() || numbers_hold(from.0) {
                return Ok(None);
            }
        }
        // Both are there if this was cut off before.
        Err(Errno::XDEV | Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    check_mount(from.0, to.0)?;
    match openat(from.0, from.1, DIR_FLAGS, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            copy_to(from, to, slot)?;
            if let Err(e) = unlinkat(from.0, from.1, AtFlags::empty()) {
                // It stays where it is, and only there.
                unlinkat(to.0, to.1, AtFlags::empty())?;
                return Err(e.into());
            }
            Ok(None)
        }
        opened => Level::enter(from.1, opened?, to, (slot.0, noted)).map(Some),
    }
}

/// Gives a directory that changed its place the time that it had: XFS counts the change of its
/// parent as one of its own.
pub(super) fn keep_time(dir: &OwnedFd, name: &[u8], moved: Option<&Inode>) -> io::Result<()> {
    let Some(moved) = moved.filter(|moved| moved.is_dir()) else {
        return Ok(());
    };
    let has_moved = |now: &Inode| now.is_dir() && now.time != moved.time;
    let Some(now) = Inode::at(dir, name)?.filter(has_moved) else {
        return Ok(());
    };
    let attrs = Attrs {
        mtime: Some(moved.time),
        ..Attrs::default()
    };
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_attrs(dir, &name, Some(&now), &attrs)
}

/// Nothing is copied from another mount, nor removed there: it came since the entry was judged.
fn check_mount(dir: &OwnedFd, slots: &OwnedFd) -> io::Result<()> {
    match dir_id(dir)?.shares_mount(dir_id(slots)?) {
        true => Ok(()),
        false => Err(Errno::XDEV.into()),
    }
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    was: Stat,
    /// The time that it had when nothing had been moved yet.
    time: Time,
    from: OwnedFd,
    to: OwnedFd,
    names: Vec<Vec<u8>>,
}

impl Level {
    /// `noted` is a name where its time can be noted.
    fn enter(name: &[u8], from: OwnedFd, to: Place<'_>, noted: Place<'_>) -> io::Result<Self> {
        let was = fstat(&from)?;
        match statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                note_time(noted, Inode::of(&was).time)?;
                mkdirat(to.0, to.1, Mode::from_raw_mode(FILLED_MODE))?;
            }
            // A part of it was moved at once.
            Ok(found) if found.st_mode & 0o7777 != FILLED_MODE => {
                note_time(noted, Inode::of(&found).time)?;
                let to = openat(to.0, to.1, DIR_FLAGS, Mode::empty())?;
                fchmod(to, Mode::from_raw_mode(FILLED_MODE))?;
            }
            // This was cut off before.
            found => drop(found?),
        }
        let time = Inode::at(noted.0, noted.1)?.map_or(Inode::of(&was).time, |noted| noted.time);
        Ok(Level {
            name: name.to_vec(),
            was,
            time,
            names: names(&from)?,
            from,
            to: openat(to.0, to.1, DIR_FLAGS, Mode::empty())?,
        })
    }
}

/// What a directory has as long as it is being filled.
pub(super) const FILLED_MODE: u32 = 0o1700;

/// Notes the time of a directory that loses it with the first name that leaves.
fn note_time((dir, name): Place<'_>, time: Time) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let noted = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    let attrs = Attrs {
        mtime: Some(time),
        ..Attrs::default()
    };
    set_fd_attrs(&File::from(noted), &attrs)
}

/// Makes a copy at `to` of what is not a directory: as a whole and on disk before it has that name,
/// since what it was made from goes next. It is made beside `slot`.
fn copy_to(from: Place<'_>, to: Place<'_>, slot: Place<'_>) -> io::Result<()> {
    let (slots, part) = (slot.0, [slot.1, b".part"].concat());
    let c_name = CString::new(from.1).map_err(|_| io::ErrorKind::InvalidInput)?;
    let found = stat(from.0, &c_name, own_scope())?;
    let before = Inode::at(from.0, from.1)?.ok_or_else(replaced)?;
    // One that was cut off.
    match unlinkat(slots, &*part, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    copy(from, &found, &found.attrs(own_scope()), slots, &part)?;
    if matches!(found.entry.body, Body::File { .. }) {
        FileDir::new(slots)?.open(&part)?.0.sync_all()?;
    }
    if !before.is_still(Inode::at(from.0, from.1)?.as_ref(), from.0) {
        return Err(replaced());
    }
    renameat(slots, &*part, to.0, to.1)?;
    Ok(flush_dir(to.0)?)
}
