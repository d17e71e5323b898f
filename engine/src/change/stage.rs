//! Staging: where entries are made before they become visible. `.hasync/stage/<session>` in the
//! target root, mode 0700, locked for as long as the session lives. A directory that names cannot
//! be moved into from there gets a `.hasync` of its own, or the highest directory above it does
//! that has the same trouble: another mount, another project or key, a FUSE file system of several
//! branches.
//!
//! `.hasync` exists on disk from before the first change of a push until after its last one: an
//! interrupted push leaves at most that, and the next one removes it. If it is an atomic one whose
//! connection broke, the next one takes from there what it needs. The directory that holds it keeps
//! its time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};

use super::failed::Failed;
use super::op::{SessionPlace, Slot};
use super::session::{
    STAGE_NAME, Session, StageDir, in_the_way, lock_session, open_stage, remove_if_empty,
    remove_session, reopen,
};
use crate::fs::{HandedOn, Root, Stuck, dir_id, names, remove_asked, remove_own_tree};
use crate::path::{RESERVED_NAME, RelPath, STAND_IN_NAME};

/// All staging directories of one push, made when first needed.
#[derive(Debug)]
pub(crate) struct Stage {
    root: Arc<Root>,
    /// In the order of their numbers.
    sessions: Vec<Session>,
    /// The directory that was asked about last, and the answer: files come directory by directory.
    last: Option<(Arc<OwnedFd>, Arc<StageDir>)>,
    next_name: u64,
    /// What is in the way of a `.hasync` can be gone round: no journal has to be found there.
    goes_round: bool,
    /// What that was.
    in_the_way: Vec<String>,
}

impl Stage {
    /// That of an `atomic` push, or of a plain one.
    pub(crate) fn new(root: Arc<Root>, atomic: bool) -> Self {
        Stage {
            root,
            sessions: Vec::new(),
            last: None,
            next_name: 0,
            goes_round: !atomic,
            in_the_way: Vec::new(),
        }
    }

    /// The staging directory whose entries can be moved into the open directory `dir`, and get
    /// there what it hands on.
    pub(crate) fn for_dir(
        &mut self,
        dir: &Arc<OwnedFd>,
        path: &RelPath,
    ) -> io::Result<Arc<StageDir>> {
        if let Some((held, stage)) = &self.last
            && Arc::ptr_eq(held, dir)
        {
            return Ok(Arc::clone(stage));
        }
        let stage = self.find_for(dir, path)?;
        self.last = Some((Arc::clone(dir), Arc::clone(&stage)));
        Ok(stage)
    }

    fn find_for(&mut self, dir: &OwnedFd, path: &RelPath) -> io::Result<Arc<StageDir>> {
        let handed_on = HandedOn::by(dir);
        let of_mount = self.of_mount(dir_id(dir)?.mount, dir, path)?;
        let near = match self.sessions.get_mut(of_mount) {
            Some(session) if session.reaches(dir, &handed_on)? => session.handing_on(&handed_on.0),
            _ => Err(io::ErrorKind::CrossesDevices.into()),
        };
        near.or_else(|_| {
            let apart = self.apart(of_mount, dir, path)?;
            let apart = self
                .sessions
                .get_mut(apart)
                .ok_or(io::ErrorKind::NotFound)?;
            apart.handing_on(&handed_on.0)
        })
    }

    /// The session for most of a mount.
    fn of_mount(&mut self, mount: (u64, u64), dir: &OwnedFd, path: &RelPath) -> io::Result<usize> {
        if let Some(found) = self
            .sessions
            .iter()
            .position(|session| session.mount == mount)
        {
            return Ok(found);
        }
        // As high as it goes: a directory below may go itself, and cannot be moved into itself.
        let of_mount = |path: &RelPath| Ok(dir_id(self.root.open_dir(path)?)?.mount == mount);
        let holder_path = highest(path, of_mount);
        let holder = self.root.open_dir(&holder_path)?;
        match self.make(&holder, &holder_path, mount) {
            // An unprivileged receiver may have no right to that one, but to what is below it.
            Err(e) if holder_path != *path => self.make(&reopen(dir)?, path, mount).map_err(|_| e),
            made => made,
        }
    }

    /// A session for a directory that the one of its mount does not reach.
    fn apart(&mut self, of_mount: usize, dir: &OwnedFd, path: &RelPath) -> io::Result<usize> {
        let mount = dir_id(dir)?.mount;
        let mut others = self.sessions.iter().enumerate();
        let reached = others.find(|(at, session)| {
            *at != of_mount
                && session.mount == mount
                && path.is_within(&session.holder_path)
                && session.crosses_into(dir).is_ok_and(|crosses| crosses)
        });
        if let Some((reached, _)) = reached {
            return Ok(reached);
        }
        let holder_path = self.highest_apart(mount, path);
        if holder_path != *path {
            let holder = self.root.open_dir(&holder_path)?;
            if let Ok(made) = self.make(&holder, &holder_path, mount) {
                let session = self.sessions.get(made).ok_or(io::ErrorKind::NotFound)?;
                if session.crosses_into(dir)? {
                    return Ok(made);
                }
            }
        }
        self.make(&reopen(dir)?, path, mount)
    }

    /// The highest directory on the way to `path` that the session of the mount does not reach:
    /// what is below it most often belongs together.
    fn highest_apart(&self, mount: (u64, u64), path: &RelPath) -> RelPath {
        let session = self.sessions.iter().find(|session| session.mount == mount);
        let is_apart = |path: &RelPath| -> io::Result<bool> {
            let dir = self.root.open_dir(path)?;
            let is_reached = match session {
                Some(session) => session.reaches(&dir, &HandedOn::by(&dir))?,
                None => false,
            };
            Ok(dir_id(&dir)?.mount == mount && !is_reached)
        };
        highest(path, is_apart)
    }

    fn make(&mut self, holder: &OwnedFd, path: &RelPath, mount: (u64, u64)) -> io::Result<usize> {
        let number = self.sessions.len();
        let make = |reserved| {
            let holder = holder.try_clone()?;
            Session::make(holder, path.clone(), reserved, mount, number as u32)
        };
        let session = make(RESERVED_NAME).or_else(|e| {
            let Some(said) = in_the_way(&self.root, path, holder, &e) else {
                return Err(e);
            };
            let stand_in = self.goes_round.then(|| make(STAND_IN_NAME).ok()).flatten();
            let Some(stand_in) = stand_in else {
                return Err(io::Error::new(e.kind(), said));
            };
            self.in_the_way.push(said);
            Ok(stand_in)
        })?;
        self.sessions.push(session);
        Ok(number)
    }

    /// What was found in the way of a `.hasync` since the last call, and gone round.
    pub(super) fn take_in_the_way(&mut self) -> Vec<String> {
        std::mem::take(&mut self.in_the_way)
    }

    /// Where the sessions are, in the order of their numbers.
    pub(crate) fn places(&self) -> Vec<SessionPlace> {
        let place = |session: &Session| SessionPlace {
            holder: session.holder_path.clone(),
            within: RelPath::root().join(STAGE_NAME),
            name: session.name.clone(),
        };
        self.sessions.iter().map(place).collect()
    }

    /// Leaves the sessions as they are: a journal answers for them now.
    pub(crate) fn forget(&mut self) {
        self.sessions.clear();
        self.last = None;
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The directories of the sessions, in the order of their numbers: one at least for every mount
    /// that was staged on, to flush it by.
    pub(crate) fn sessions(&self) -> Vec<Arc<OwnedFd>> {
        let fd = |session: &Session| Arc::clone(session.plain.fd());
        self.sessions.iter().map(fd).collect()
    }

    /// Leaves what is staged in the target root's own session for the next push: `left` says what,
    /// and where it belongs, which `note` writes down there, as paths in the session and in the
    /// tree. All other sessions are removed.
    pub(crate) fn leave(
        &mut self,
        left: impl Iterator<Item = (Slot, RelPath)>,
        note: impl FnOnce(&OwnedFd, &mut dyn Iterator<Item = (RelPath, RelPath)>) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_own = |session: &Session| session.holder_path.is_root();
        let Some(own) = self.sessions.iter().position(is_own) else {
            return Ok(());
        };
        let session = self.sessions.swap_remove(own);
        let of_session = |(slot, path): (Slot, RelPath)| {
            (slot.session == own as u32).then_some((slot.path, path))
        };
        let mut left = left.filter_map(of_session).peekable();
        match left.peek() {
            None => self.sessions.push(session),
            Some(_) => note(session.plain.fd(), &mut left)?,
        }
        // What cannot be removed, the next push removes, or says so.
        self.remove();
        Ok(())
    }

    /// A name that no other entry of this session's staging has.
    pub(crate) fn fresh_name(&mut self) -> Vec<u8> {
        self.next_name += 1;
        format!("{}", self.next_name).into_bytes()
    }

    /// Removes this session's staging, and `.hasync` itself where nothing else needs it. Returns
    /// what could not be.
    pub(crate) fn remove(&mut self) -> Vec<Failed> {
        self.last = None;
        let root = &self.root;
        let sessions = self.sessions.drain(..);
        let removed = sessions.filter_map(|session| {
            let removed = remove_session(&session.holder, session.reserved, &session.name);
            let path = session.holder_path.join(session.reserved);
            let failed = |stuck| Failed::new(root, "remove", &path, stuck);
            removed.map_err(failed).err()
        });
        removed.collect()
    }
}

/// The highest directory on the way to `path` of which that is true, else `path` itself.
fn highest(path: &RelPath, is: impl Fn(&RelPath) -> io::Result<bool>) -> RelPath {
    let bytes = path.as_bytes();
    let ends = (0..bytes.len()).filter(|&at| at == 0 || bytes.get(at) == Some(&b'/'));
    let mut ways = ends.map(|end| RelPath::of(bytes.get(..end).unwrap_or_default()));
    let found = ways.find(|path| is(path).is_ok_and(|is| is));
    found.unwrap_or_else(|| path.clone())
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After an error: give the space back. What cannot be removed, the next push removes.
        self.remove();
    }
}

/// Removes what interrupted sessions left in the `.hasync` of directory `dir` of `root`; sessions
/// still running hold their lock and are left alone, and so are those `needed` by interrupted
/// commits. Returns what could not be removed. What another user may have put there is no business
/// of ours.
pub(crate) fn clean_leftovers(
    root: &Root,
    dir: &RelPath,
    needed: impl FnOnce() -> io::Result<Vec<Vec<u8>>>,
) -> io::Result<Vec<Failed>> {
    let holder = root.open_dir(dir)?;
    let needed = needed()?;
    let mut failed = Vec::new();
    // The two may be one.
    for reserved in [RESERVED_NAME, STAND_IN_NAME] {
        let path = dir.join(reserved).join(STAGE_NAME);
        let mut stuck = |session: &[u8], stuck| {
            failed.push(Failed::new(root, "remove", &path.join(session), stuck));
        };
        // What is in the way is said when it matters.
        let _ = clean_in(&holder, reserved, &needed, &mut stuck);
    }
    Ok(failed)
}

/// The same in what is called `reserved` in `holder`; of sessions that have to stay, `failed` is
/// told.
fn clean_in(
    holder: &OwnedFd,
    reserved: &[u8],
    needed: &[Vec<u8>],
    failed: &mut dyn FnMut(&[u8], Stuck),
) -> io::Result<()> {
    remove_asked(holder, reserved);
    let stage = match open_stage(holder, reserved) {
        Ok(stage) => stage,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Killed between two steps of making or removing it.
            return Ok(unlinkat(holder, reserved, AtFlags::REMOVEDIR)?);
        }
        Err(e) => return Err(e),
    };
    for session in names(&stage)? {
        if needed.contains(&session) {
            continue;
        }
        if lock_session(&stage, &session).is_some() {
            if let Err(stuck) = remove_own_tree(&stage, &session) {
                failed(&session, stuck);
            }
        } else {
            // What is no directory was asked what the place can do.
            let _ = unlinkat(&stage, session, AtFlags::empty());
        }
    }
    remove_if_empty(holder, reserved)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn leftovers_go_and_running_sessions_stay() {
        let temp = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(temp.path()).unwrap());
        let dir = Arc::new(root.open_dir(&RelPath::root()).unwrap());
        let mut running = Stage::new(Arc::clone(&root), false);
        running.for_dir(&dir, &RelPath::root()).unwrap();
        let session = running.sessions.first().unwrap().name.clone();
        let left = temp.path().join(".hasync/stage/dead");
        std::fs::create_dir_all(left.join("deep/er")).unwrap();
        let clean = || clean_leftovers(&root, &RelPath::root(), || Ok(Vec::new())).unwrap();
        assert!(clean().is_empty());
        assert!(!left.exists());
        let session = String::from_utf8(session).unwrap();
        assert!(temp.path().join(".hasync/stage").join(session).exists());
        assert!(running.remove().is_empty());
        assert!(!temp.path().join(".hasync").exists());
        assert!(clean().is_empty());
    }
}
