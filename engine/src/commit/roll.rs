//! Carrying out a journal, from its beginning, however much of it had been carried out before.
//!
//! Each op looks where the entries that it moves are now. What has changed places already is left
//! alone, so that doing everything twice does nothing more.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, RenameFlags, fchmod, fstat, linkat, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use super::journal::{Inode, Op, SessionPlace, Slot};
use crate::entry::Time;
use crate::error::{Error, describe, is_no_space};
use crate::fs::{Attrs, Root, is_absent, set_attrs, set_fd_attrs};
use crate::generation::fail_point;
use crate::path::RelPath;
use crate::work;

/// Carries out journals below one root.
pub(crate) struct Roll<'a> {
    root: &'a Root,
    sessions: Vec<OwnedFd>,
    privileged: bool,
    /// The ops before were last carried out here; changes come directory by directory.
    held_dir: Option<(RelPath, Arc<OwnedFd>)>,
    held_slots: Option<(u32, RelPath, Arc<OwnedFd>)>,
}

/// An op that could not be carried out, in words.
pub(crate) type Failed = String;

impl<'a> Roll<'a> {
    /// Opens the staging directories.
    pub(crate) fn open(
        root: &'a Root,
        places: &[SessionPlace],
        privileged: bool,
    ) -> io::Result<Self> {
        let sessions = places
            .iter()
            .map(|place| root.open_reserved(&place.holder, &place.within.join(&place.name)))
            .collect::<io::Result<_>>()?;
        Ok(Roll {
            root,
            sessions,
            privileged,
            held_dir: None,
            held_slots: None,
        })
    }

    /// The staging directories: one at least on every file system that changes.
    pub(crate) fn sessions(&self) -> &[OwnedFd] {
        &self.sessions
    }

    /// Carries out `ops` in order, `again` if that was cut off. What cannot be done does not stop
    /// the rest.
    ///
    /// # Errors
    ///
    /// A full disk: the rest is left, to be carried out when there is space.
    pub(crate) fn forward(&mut self, ops: &[Op], again: bool) -> Result<Vec<Failed>, Error> {
        let mut failed = Vec::new();
        let mut lasts = None;
        for (at, op) in ops.iter().enumerate() {
            let result = self.carry_out(op);
            work::did(1);
            fail_point("op");
            let Err(e) = result else {
                continue;
            };
            if again
                && lasts
                    .get_or_insert_with(|| Lasts::of(ops))
                    .is_passed(op, at)
            {
                continue;
            }
            let shown = self.root.shown(&op.path());
            if is_no_space(&e) {
                return Err(Error::file(format_args!("change {shown}"), &e));
            }
            let verb = op.verb();
            failed.push(format!(
                "cannot {verb} {shown} on the target: {}",
                describe(&e)
            ));
        }
        Ok(failed)
    }

    fn carry_out(&mut self, op: &Op) -> io::Result<()> {
        match op {
            Op::Place {
                dir,
                name,
                slot,
                new,
                old,
            } => {
                let (dir, is_dir) = (self.open_dir(dir)?, |inode: &Inode| inode.is_dir());
                if is_dir(new) || old.as_ref().is_some_and(is_dir) {
                    self.root.moves(&op.path());
                }
                let (slots, slot_name) = self.slot(slot)?;
                change_places(&slots, &slot_name, &dir, name, new.number)?;
                keep_time(&dir, name, Some(new))?;
                keep_time(&slots, &slot_name, old.as_ref())
            }
            Op::Remove {
                dir,
                name,
                slot,
                old,
            } => {
                let dir = self.open_dir(dir)?;
                let (slots, slot_name) = self.slot(slot)?;
                if ino(&dir, name)? != Some(old.number) {
                    // Removed before; somebody else's new entry of that name is not ours to remove.
                    return Ok(());
                }
                if old.is_dir() {
                    self.root.moves(&op.path());
                }
                renameat(&dir, &**name, &slots, &*slot_name)?;
                keep_time(&slots, &slot_name, Some(old))
            }
            Op::SetAttrs {
                dir,
                name,
                is_symlink,
                ino: expected,
                new,
                ..
            } => {
                let dir = self.open_dir(dir)?;
                if ino(&dir, name)? != Some(*expected) {
                    return Err(io::Error::other("it was replaced meanwhile"));
                }
                let name = CString::new(&**name).map_err(|_| io::ErrorKind::InvalidInput)?;
                set_attrs(&dir, &name, *is_symlink, new)
            }
            Op::SetDirAttrs { dir, new, .. } => match self.root.open_dir(dir) {
                Ok(fd) => set_fd_attrs(&File::from(fd), new),
                // Among what was removed.
                Err(e) if is_absent(&e) => Ok(()),
                Err(e) => Err(e),
            },
        }
    }

    /// Opens a directory whose entries are to change.
    fn open_dir(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        if let Some((held, fd)) = &self.held_dir
            && held == dir
        {
            return Ok(Arc::clone(fd));
        }
        let fd = Arc::new(self.root.open_dir(dir)?);
        if !self.privileged {
            let mode = fstat(&fd)?.st_mode & 0o7777;
            if mode & 0o300 != 0o300 {
                // Its own permissions are among what is set at the end. If it is somebody else's,
                // the change itself will say so.
                let _ = fchmod(&fd, Mode::from_raw_mode(mode | 0o700));
            }
        }
        self.held_dir = Some((dir.clone(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// The directory of a slot, and its name there.
    fn slot(&mut self, slot: &Slot) -> io::Result<(Arc<OwnedFd>, Vec<u8>)> {
        let (dir, name) = slot.path.split().ok_or(io::ErrorKind::InvalidData)?;
        let name = name.to_vec();
        if let Some((session, held, fd)) = &self.held_slots
            && *session == slot.session
            && *held == dir
        {
            return Ok((Arc::clone(fd), name));
        }
        let session = self
            .sessions
            .get(slot.session as usize)
            .ok_or(io::ErrorKind::InvalidData)?;
        let fd = Arc::new(crate::fs::open_dir_below(session, &dir)?);
        self.held_slots = Some((slot.session, dir, Arc::clone(&fd)));
        Ok((fd, name))
    }
}

/// The last op that moves each path. A journal over several commits may move it more than once:
/// when that is carried out again, an op before the last finds what a later one has made.
struct Lasts(HashMap<RelPath, usize>);

impl Lasts {
    fn of(ops: &[Op]) -> Self {
        let moves = |op: &Op| matches!(op, Op::Place { .. } | Op::Remove { .. });
        let ops = ops.iter().enumerate().filter(|(_, op)| moves(op));
        Lasts(ops.map(|(at, op)| (op.path(), at)).collect())
    }

    /// Whether an op after this one moves its path, or a directory above.
    fn is_passed(&self, op: &Op, at: usize) -> bool {
        let mut path = op.path();
        loop {
            if self.0.get(&path).is_some_and(|last| *last > at) {
                return true;
            }
            match path.split() {
                Some((above, _)) => path = above,
                None => return false,
            }
        }
    }
}

impl Op {
    fn verb(&self) -> &'static str {
        match self {
            Op::Place { .. } => "put in place",
            Op::Remove { .. } => "remove",
            Op::SetAttrs { .. } => "set the metadata of",
            Op::SetDirAttrs { .. } => "set the times of",
        }
    }
}

/// Gives the slot's entry the name, and the slot what had the name before.
fn change_places(
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

/// Gives a directory that changed its place the time that it had: XFS counts the change of its
/// parent as one of its own.
fn keep_time(dir: &OwnedFd, name: &[u8], moved: Option<&Inode>) -> io::Result<()> {
    let Some(moved) = moved.filter(|moved| moved.is_dir()) else {
        return Ok(());
    };
    if ino(dir, name)? != Some(moved.number) {
        return Ok(());
    }
    let attrs = Attrs {
        mtime: Some(moved.time),
        ..Attrs::default()
    };
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    set_attrs(dir, &name, false, &attrs)
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
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        fail_point("absent");
    }
    renameat(slots, slot, dir, name)?;
    fail_point("replaced");
    if kept {
        renameat(slots, aside, slots, slot)?;
    }
    Ok(())
}

/// The inode number of a name; `None` if there is nothing of that name.
fn ino(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<u64>> {
    Ok(inode(dir, name)?.map(|inode| inode.number))
}

/// What has a name; `None` if nothing has.
pub(crate) fn inode(dir: &OwnedFd, name: &[u8]) -> io::Result<Option<Inode>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let time = Time::found(stat.st_mtime, stat.st_mtime_nsec);
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            Ok(Some(Inode {
                number: stat.st_ino,
                time,
                len: (!is_dir).then_some(stat.st_size as u64),
            }))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
