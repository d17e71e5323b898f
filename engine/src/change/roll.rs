//! The executor: whatever changes in the target is carried out here, op by op, whether a plain push
//! feeds it as it goes, an atomic one from its journal, a recovery from what it finds, or an undo
//! from what was kept.
//!
//! A list can be carried out from its beginning, however much of it had been carried out before:
//! each op looks where the entries that it moves are now, and what has changed places already is
//! left alone, so that doing everything twice does nothing more.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat, openat, statat};
use rustix::io::Errno;

use super::aside::{keep_time, take_away};
use super::failed::{Failed, is_mount_point};
use super::failures::Failures;
use super::op::{Op, Ops, SessionPlace, Slot, Tree};
use super::place::{change_places, give_back_other, has_moved, is_at, place_new, replace};
use super::rights;
use crate::attributes::{Attributes, Scope};
use crate::entry::Time;
use crate::error::Error;
use crate::fail::fail_point;
use crate::fs::{
    Assigned, Attrs, Inode, Reaper, Root, Stuck, attributes_at, attributes_of, is_absent,
    remove_other, remove_tree, replaced, set_attrs, set_fd_attrs,
};
use crate::path::RelPath;
use crate::spill::SpillMap;
use crate::work;

/// Replaced files from this length on are freed beside the commit.
const REAPED_LEN_MIN: u64 = 16 << 20;

/// What an op that cannot be carried out means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    GoOn,
    /// All or nothing: they are not tried.
    Stop,
}

/// Carries out ops below one root.
#[derive(Debug)]
pub(crate) struct Roll {
    root: Arc<Root>,
    sessions: Vec<Arc<OwnedFd>>,
    privileged: bool,
    /// The list may have been carried out before.
    again: bool,
    /// The last directory and the last one of slots; changes come directory by directory.
    held_dir: Option<(RelPath, Arc<OwnedFd>)>,
    held_slots: Option<(u32, RelPath, Arc<OwnedFd>)>,
    reaper: Reaper,
}

impl Roll {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Roll {
            root,
            sessions: Vec::new(),
            privileged: rustix::process::geteuid().is_root(),
            again: false,
            held_dir: None,
            held_slots: None,
            reaper: Reaper::default(),
        }
    }

    /// Opens the staging directories of what was staged by another process, or kept.
    pub(crate) fn open(root: &Arc<Root>, places: &[SessionPlace]) -> io::Result<Self> {
        let mut roll = Roll::new(Arc::clone(root));
        for place in places {
            let session = root.open_reserved(&place.holder, &place.within.join(&place.name))?;
            roll.sessions.push(Arc::new(session));
        }
        Ok(roll)
    }

    /// The staging directories: one at least on every file system that changes.
    pub(crate) fn sessions(&self) -> &[Arc<OwnedFd>] {
        &self.sessions
    }

    /// The staging directories from now on: those that there were, and more.
    pub(super) fn set_sessions(&mut self, sessions: Vec<Arc<OwnedFd>>) {
        self.sessions = sessions;
    }

    /// Carries out `ops` in order, `again` if that was cut off. Returns what could not be.
    ///
    /// # Errors
    ///
    /// A full disk: the rest is left, to be carried out when there is space.
    pub(crate) fn forward(
        &mut self,
        ops: &Ops,
        again: bool,
        on_failure: OnFailure,
    ) -> Result<Failures, Error> {
        self.again = again;
        self.narrow(ops)?;
        let mut failures = Failures::default();
        let mut lasts = None;
        for (at, op) in ops.iter().enumerate() {
            let op = op?;
            if failures.hold_up((at, &op))? {
                continue;
            }
            let result = self.carry_out(&op);
            work::did(1);
            fail_point("op");
            let Err(failed) = result else {
                continue;
            };
            if again && lasts.is_none() {
                lasts = Some(Lasts::of(ops)?);
            }
            if lasts.as_ref().is_some_and(|lasts| lasts.is_passed(&op, at)) {
                continue;
            }
            if self.is_carried_out(&op) {
                // What was to be done after that has failed, and may not fail again. Whether or
                // not, it changes nothing about where the entry is.
                let again = self.carry_out(&op).err();
                again.map_or(Ok(()), |failed| failures.tell(&self.root, &failed))?;
                continue;
            }
            if failed.is_no_space() && on_failure == OnFailure::GoOn {
                return Err(failed.into_error(&self.root));
            }
            failures.add(&self.root, (at, &op), failed)?;
            if on_failure == OnFailure::Stop {
                break;
            }
        }
        Ok(failures)
    }

    /// Directories that some are to lose their rights to lose them before anything else changes:
    /// what is about to be put into them is not for those. They gain theirs at the end.
    fn narrow(&mut self, ops: &Ops) -> Result<(), Error> {
        // Parents before children.
        for op in ops.iter_back() {
            if let Op::SetDirAttrs {
                dir,
                inode,
                new,
                old,
            } = op?
                && let Some(mode) = rights::narrowed(&old, &new)
            {
                // One that is none of those any more, or not yet there, has no such rights to lose.
                let _ = self.root.open_dir(&dir).and_then(|fd| {
                    let inode = inode.located(Inode::held(&fd)?, &new);
                    inode.check_dir(&fd, new.uid)?;
                    let mode = (fstat(&fd)?.st_mode & mode & 0o7777) | (mode & 0o1000);
                    Ok(fchmod(&fd, Mode::from_raw_mode(mode))?)
                });
            }
        }
        Ok(())
    }

    /// Carries out one op.
    pub(crate) fn carry_out(&mut self, op: &Op) -> Result<(), Failed> {
        let done = self.try_op(op);
        done.map_err(|stuck| Failed::new(&self.root, op.verb(), &op.path(), stuck))
    }

    /// Removes what could not be put in place, if it is still where it was staged: nothing leads
    /// to it any more. What is left of it goes with its session.
    pub(crate) fn drop_unplaced(&mut self, op: &Op) {
        if let Op::Place { slot, new, .. } = op
            && new.is_numbered()
            && let Ok((slots, slot)) = self.slot(slot)
            && is_at((&slots, &slots), (&slots, &slot), new).unwrap_or(false)
        {
            let _ = remove_tree(&*slots, &slot, None);
        }
    }

    /// Whether the entries are where an op was to bring them, as far as that can be told.
    fn is_carried_out(&mut self, op: &Op) -> bool {
        let op = match self.located(op, self.again) {
            Ok(Some(op)) => op,
            // Either way both are kept as if it were.
            Ok(None) => return true,
            Err(_) => return false,
        };
        let mut look = || match &*op {
            Op::Place {
                dir,
                name,
                slot,
                new,
                ..
            } => {
                let (dir, (slots, slot)) = (self.open_dir(dir)?, self.slot(slot)?);
                has_moved((&slots, &slot), (&dir, name), new)
            }
            Op::Remove { dir, slot, old, .. } => {
                let (dir, (slots, slot)) = (self.open_dir(dir)?, self.slot(slot)?);
                is_at((&slots, &dir), (&slots, &slot), old)
            }
            _ => Ok(false),
        };
        look().unwrap_or(false)
    }

    fn try_op(&mut self, op: &Op) -> Result<(), Stuck> {
        if op.moves() {
            self.root.moves(&op.path());
        }
        let op = self.located(op, self.again)?;
        let op = op.ok_or_else(|| {
            io::Error::other(
                "what it was to change places with looks the same, and the tree was copied since \
                 that was begun: compare it with what `hasync kept` lists",
            )
        })?;
        match &*op {
            Op::Place {
                dir,
                name,
                slot,
                new,
                old,
            } => {
                let (dir, (slots, slot)) = (self.writable(dir)?, self.slot(slot)?);
                change_places(&slots, &slot, &dir, name, new)?;
                give_back_other(&slots, &slot, &dir, name, old.as_ref())?;
                keep_time(&dir, name, Some(new))?;
                Ok(keep_time(&slots, &slot, old.as_ref())?)
            }
            Op::Remove {
                dir,
                name,
                slot,
                old,
            } => {
                let (dir, (slots, slot)) = (self.writable(dir)?, self.slot(slot)?);
                if !is_at((&slots, &dir), (&dir, name), old)? {
                    if is_mount_point(&dir, name) {
                        return Err(io::Error::from(Errno::BUSY).into());
                    }
                    // Removed before; somebody else's new entry of that name is not ours to remove.
                    return Ok(());
                }
                take_away((&dir, name), (&slots, &slot))?;
                if !is_at((&slots, &dir), (&slots, &slot), old)? {
                    // It took the name since: it goes back, as far as that is free.
                    place_new(&slots, &slot, &dir, name)?;
                    return Err(replaced().into());
                }
                Ok(keep_time(&slots, &slot, Some(old))?)
            }
            Op::Replace {
                dir,
                name,
                slot,
                over,
            } => {
                let (dir, (slots, slot)) = (self.writable(dir)?, self.slot(slot)?);
                let old = (over.len >= REAPED_LEN_MIN).then(|| {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(&*dir, &**name, flags, Mode::empty())
                });
                replace(&slots, &slot, &dir, name, &over.tree)?;
                if let Some(Ok(old)) = old {
                    self.reaper.reap(old);
                }
                Ok(())
            }
            Op::Discard {
                dir,
                name,
                tree,
                within,
            } => {
                let dir = self.writable(dir)?;
                within.map_or(Ok(()), |within| within.check_open(&dir))?;
                match tree {
                    Tree::None => remove_other(&*dir, name),
                    tree => remove_tree(&*dir, name, tree.which()),
                }
            }
            Op::SetAttrs {
                dir,
                name,
                inode,
                new,
                ..
            } => {
                let dir = self.open_dir(dir)?;
                let c_name = CString::new(&**name).map_err(io::Error::from)?;
                let result = set_attrs(&*dir, &c_name, Some(inode), new);
                Ok(result.or_else(|e| {
                    // Led back, or carried out again: what has not been changed needs no change.
                    let now = statat(&*dir, &c_name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
                    let is_it = inode.check(&Inode::of(&now), new.uid).is_ok();
                    let read = |scope| attributes_at(&*dir, name, inode, scope);
                    (is_it && has(&now, new, read)).then_some(()).ok_or(e)
                })?)
            }
            Op::SetDirAttrs {
                dir, inode, new, ..
            } => Ok(self.set_dir_attrs(dir, inode, new)?),
        }
    }

    fn set_dir_attrs(&self, dir: &RelPath, judged: &Inode, attrs: &Attrs) -> io::Result<()> {
        match self.root.open_dir(dir) {
            Ok(fd) => {
                judged.check_dir(&fd, attrs.uid)?;
                let (now, fd) = (fstat(&fd)?, File::from(fd));
                // Where nothing may be changed, nothing may have to be.
                let read = |scope| attributes_of(&fd, scope);
                set_fd_attrs(&fd, attrs).or_else(|e| has(&now, attrs, read).then_some(()).ok_or(e))
            }
            // Among what was removed.
            Err(e) if is_absent(&e) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Opens a directory, where it is now.
    pub(super) fn open_dir(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        match &self.held_dir {
            Some((held, fd)) if held == dir => Ok(Arc::clone(fd)),
            _ => {
                let fd = self.root.open_dir(dir)?;
                Ok(self.hold(dir, fd))
            }
        }
    }

    /// Counts an open directory as the one at `dir`: it may not be in place yet.
    pub(super) fn hold(&mut self, dir: &RelPath, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        self.held_dir = Some((dir.clone(), Arc::clone(&fd)));
        fd
    }

    /// The directory that was opened last, if it is that one.
    pub(super) fn held(&self, dir: &RelPath) -> Option<Arc<OwnedFd>> {
        let (held, fd) = self.held_dir.as_ref()?;
        (held == dir).then(|| Arc::clone(fd))
    }

    pub(super) fn let_go(&mut self) {
        (self.held_dir, self.held_slots) = (None, None);
    }

    /// Opens a directory whose entries are to change.
    pub(super) fn writable(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let fd = self.open_dir(dir)?;
        if !self.privileged {
            let mode = fstat(&fd)?.st_mode & 0o7777;
            if mode & 0o300 != 0o300 {
                // Its own permissions are among what is set at the end. If it is somebody else's,
                // the change itself will say so.
                let _ = fchmod(&fd, Mode::from_raw_mode(mode | 0o700));
            }
        }
        Ok(fd)
    }

    /// The directory of a slot, and its name there.
    pub(super) fn slot(&mut self, slot: &Slot) -> io::Result<(Arc<OwnedFd>, Vec<u8>)> {
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

/// Whether an entry has those metadata; `read` tells its attributes in a scope.
fn has(now: &Stat, attrs: &Attrs, read: impl FnOnce(Scope) -> io::Result<Attributes>) -> bool {
    let is_as_read = |wanted: &Assigned| {
        let scope = wanted.scope.of_type(FileType::from_raw_mode(now.st_mode));
        read(scope).is_ok_and(|found| found == wanted.all)
    };
    let is_symlink = Inode::of(now).is_symlink();
    attrs.uid.is_none_or(|uid| uid == now.st_uid)
        && attrs.gid.is_none_or(|gid| gid == now.st_gid)
        && attrs
            .mode
            .is_none_or(|mode| is_symlink || mode == now.st_mode & 0o7777)
        && attrs.mtime.is_none_or(|time| time == Inode::of(now).time)
        && attrs.attributes.as_deref().is_none_or(is_as_read)
        && attrs
            .atime
            .is_none_or(|time| time == Time::found(now.st_atime, now.st_atime_nsec))
}

/// The last op that moves each path. A journal over several commits may move it more than once:
/// when that is carried out again, an op before the last finds what a later one has made.
struct Lasts(SpillMap);

impl Lasts {
    fn of(ops: &Ops) -> Result<Self, Error> {
        let mut lasts = SpillMap::default();
        for (at, op) in ops.iter().enumerate() {
            let op = op?;
            let key = match op {
                Op::SetAttrs { .. } => Self::key_of_attrs(&op),
                Op::SetDirAttrs { .. } => continue,
                _ => op.path().as_bytes().into_owned(),
            };
            lasts.set(&key, &at.to_le_bytes());
        }
        Ok(Lasts(lasts))
    }

    /// No path has a zero in it.
    fn key_of_attrs(op: &Op) -> Vec<u8> {
        [&*op.path().as_bytes(), &[0]].concat()
    }

    /// Whether an op after this one moves its path, or a directory above. In a copy of the tree an
    /// entry is not known by metadata either that an op after this one changes.
    fn is_passed(&self, op: &Op, at: usize) -> bool {
        let is_after = |key: &[u8]| {
            let last = self.0.get(key);
            let last = last.and_then(|last| last.try_into().ok().map(usize::from_le_bytes));
            last.is_some_and(|last| last > at)
        };
        if !op.is_numbered() && !op.moves() && is_after(&Self::key_of_attrs(op)) {
            return true;
        }
        let mut path = op.path();
        loop {
            if is_after(&path.as_bytes()) {
                return true;
            }
            match path.split() {
                Some((above, _)) => path = above,
                None => return false,
            }
        }
    }
}
