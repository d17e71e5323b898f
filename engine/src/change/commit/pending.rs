//! What an atomic commit collects instead of carrying it out: the tree as it will be, laid over
//! the tree as it is, and in the end the list of ops by which one becomes the other.
//!
//! A new directory is filled where it is staged, whatever belongs into it, and takes its name with
//! everything in it by one rename.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, fstat, statat};

use super::{Commit, Staged};
use crate::change::op::{Changes, Op, Ops};
use crate::change::place::is_empty_dir;
use crate::change::rights::taking_back;
use crate::change::session::StageDir;
use crate::error::Error;
use crate::fs::{Attrs, Inode, attributes_at, attributes_of, set_fd_attrs};
use crate::path::RelPath;
use crate::spill::{self, SpillMap};

/// The tree as it will be, where that differs from the tree on disk.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) ops: Ops,
    /// New directories, each where it is staged: the number of the staging directory and the name
    /// there. None is in another: what belongs into one is made there at once.
    dirs: SpillMap,
    /// How long their paths are: nothing else needs to be looked for.
    lens: HashSet<usize>,
    stages: Vec<Arc<StageDir>>,
    /// Positions of the ops that put other entries in place, as far as they were looked through.
    others: SpillMap,
    indexed_len: usize,
}

impl Pending {
    /// The staged directory that `dir` is or is in: where that is, and the way from there.
    fn above(&self, dir: &RelPath) -> Option<(&Arc<StageDir>, RelPath)> {
        let bytes = dir.as_bytes();
        let is_end = |at: usize| matches!(bytes.get(at), None | Some(b'/'));
        let (above_len, staged) = (0..=bytes.len())
            .filter(|at| is_end(*at) && self.lens.contains(at))
            .find_map(|at| Some((at, self.dirs.get(bytes.get(..at)?)?)))?;
        let (stage, name) = staged.split_first_chunk()?;
        let stage = self.stages.get(u32::from_le_bytes(*stage) as usize)?;
        let rest = bytes.get(above_len + 1..).unwrap_or_default();
        let path = RelPath::root().join(name).join_path(&RelPath::of(rest));
        Some((stage, path))
    }

    /// Opens a directory that is not in place yet; `None` if `dir` is none of these.
    pub(super) fn open(&self, dir: &RelPath) -> Option<io::Result<OwnedFd>> {
        let (stage, path) = self.above(dir)?;
        Some(stage.open_dir(&path))
    }

    /// Whether `dir` is one of these, or in one.
    pub(super) fn covers(&self, dir: &RelPath) -> bool {
        self.above(dir).is_some()
    }

    pub(super) fn add_dir(&mut self, path: &RelPath, staged: &Staged) {
        // They come directory by directory.
        let is_its = |stage: &Arc<StageDir>| Arc::ptr_eq(stage, &staged.stage);
        let number = self.stages.iter().rposition(is_its).unwrap_or_else(|| {
            self.stages.push(Arc::clone(&staged.stage));
            self.stages.len() - 1
        });
        let at = [&(number as u32).to_le_bytes()[..], &staged.name].concat();
        self.lens.insert(path.len());
        self.dirs.set(&path.as_bytes(), &at);
    }

    /// The op that puts an entry in place at `path`: the last one, if there are more.
    pub(super) fn placed_at(&mut self, path: &RelPath) -> Result<Option<Op>, Error> {
        for at in self.indexed_len..self.ops.len() {
            let op = self.ops.get(at)?;
            if op.slot().is_some() {
                self.others.set(&op.path().as_bytes(), &at.to_le_bytes());
            }
        }
        self.indexed_len = self.ops.len();
        let at = self.others.get(&path.as_bytes());
        let at = at.and_then(|at| at.try_into().ok().map(usize::from_le_bytes));
        at.map(|at| self.ops.get(at)).transpose()
    }
}

impl Commit {
    /// Everything collected, as a list that can be carried out, taken up again and led back.
    /// Directories that are not in place yet get their metadata.
    pub(crate) fn seal(&mut self) -> Result<Changes, Error> {
        self.finish_backups()?;
        self.finish_staged_dirs()?;
        self.drop_spare_links();
        let pending = self.pending.as_mut();
        let added = pending.map(|pending| std::mem::take(&mut pending.ops));
        let added = added.unwrap_or_default();
        let mut ops = Ops::default();
        for op in added.iter() {
            let op = op?;
            let (doing, path) = (op.verb(), op.path());
            match self.sealed(op) {
                Ok(op) => op.map_or(Ok(()), |op| ops.push(&op))?,
                Err(cause) => self.not_done(doing, path, cause)?,
            }
        }
        drop(added);
        self.dir_ops(&mut ops)?;
        self.roll.let_go();
        spill::check()?;
        Ok(Changes {
            sessions: self.stage.places(),
            ops,
        })
    }

    /// The same op, with all that it takes to know what it finds and to keep what it replaces.
    fn sealed(&mut self, op: Op) -> io::Result<Option<Op>> {
        let fd = self.open(op.dir())?;
        Ok(match op {
            Op::Replace {
                dir,
                name,
                slot,
                over,
            } => {
                let (slots, slot_name) = self.roll.slot(&slot)?;
                let new = Inode::at(&slots, &slot_name)?.ok_or(io::ErrorKind::NotFound)?;
                let old = Inode::at(&fd, &name)?;
                if let Some(old) = old.as_ref().filter(|old| old.is_dir())
                    && !is_empty_dir(&fd, &name, old)
                {
                    over.tree.check(old, &fd)?;
                }
                Some(Op::Place {
                    dir,
                    name,
                    slot,
                    new,
                    old,
                })
            }
            Op::Discard {
                dir,
                name,
                tree,
                within,
            } => match Inode::at(&fd, &name)? {
                None => None,
                Some(old) => {
                    within.map_or(Ok(()), |within| within.check_open(&fd))?;
                    tree.check(&old, &fd)?;
                    let slot = self.try_stage(&dir)?.slot();
                    Some(Op::Remove {
                        dir,
                        name,
                        slot,
                        old,
                    })
                }
            },
            Op::SetAttrs {
                dir,
                name,
                inode,
                new,
                ..
            } => {
                let now = statat(&fd, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
                inode.check(&Inode::of(&now), new.uid)?;
                let inode = Inode::of(&now);
                let read = |scope| attributes_at(&fd, &name, &inode, scope);
                Some(Op::SetAttrs {
                    old: taking_back(&new, &now, read)?,
                    dir,
                    name,
                    inode,
                    new,
                })
            }
            op => Some(op),
        })
    }

    /// Metadata of the directories that are in place.
    fn dir_ops(&mut self, ops: &mut Ops) -> Result<(), Error> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let mut changing = SpillMap::default();
        for op in ops.iter() {
            let op = op?;
            if op.moves() {
                changing.insert(&op.dir().as_bytes(), b"");
            }
        }
        for dir in self.dirs.paths() {
            if pending.covers(&dir) {
                continue;
            }
            // One that was removed or replaced after its time was noted is left alone.
            let Ok((now, fd)) = self
                .root
                .open_dir(&dir)
                .and_then(|fd| Ok((fstat(&fd)?, fd)))
            else {
                continue;
            };
            let inode = Inode::of(&now);
            let end = self.dirs.get(&dir);
            let new = match &end {
                Some(end) if end.inode.check_dir(&fd, end.attrs.uid).is_err() => continue,
                Some(end) => end.attrs.clone(),
                None => Attrs::default(),
            };
            let mtime = self.dirs.old_time(&dir).unwrap_or(inode.time);
            let old = match taking_back(&new, &now, |scope| attributes_of(&fd, scope)) {
                Ok(old) => Attrs {
                    mtime: Some(mtime),
                    ..old
                },
                Err(cause) => {
                    self.not_done("read the metadata of", dir, cause)?;
                    continue;
                }
            };
            let same = new.mtime.is_none_or(|time| time == inode.time)
                && new.mode.is_none_or(|mode| mode == now.st_mode & 0o7777)
                && new.uid.is_none_or(|uid| uid == now.st_uid)
                && new.gid.is_none_or(|gid| gid == now.st_gid)
                && new.attributes == old.attributes;
            if same && !changing.contains(&dir.as_bytes()) {
                continue;
            }
            ops.push(&Op::SetDirAttrs {
                dir,
                inode,
                new,
                old,
            })?;
        }
        self.dirs.clear();
        Ok(())
    }

    /// Gives the directories that are not in place yet the metadata that they wait for.
    fn finish_staged_dirs(&mut self) -> Result<(), Error> {
        for dir in self.dirs.paths() {
            let fd = self.pending.as_ref().and_then(|pending| pending.open(&dir));
            let (Some(fd), Some(end)) = (fd, self.dirs.get(&dir)) else {
                continue;
            };
            let set = fd.and_then(|fd| set_fd_attrs(&File::from(fd), &end.attrs));
            if let Err(cause) = set {
                self.not_done("set the metadata of", dir, cause)?;
            }
        }
        Ok(())
    }
}
