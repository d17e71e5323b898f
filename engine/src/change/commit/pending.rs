//! What an atomic commit collects instead of carrying it out: the tree as it will be, laid over
//! the tree as it is, and in the end the list of ops by which one becomes the other.
//!
//! A new directory is filled where it is staged, whatever belongs into it, and takes its name with
//! everything in it by one rename.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, fstat, statat};

use super::{Commit, Staged};
use crate::change::op::{Changes, Op};
use crate::change::place::{inode, is_empty_dir};
use crate::change::rights::taking_back;
use crate::error::Error;
use crate::fs::{Attrs, Inode, attributes_at, attributes_of, replaced, set_fd_attrs};
use crate::path::RelPath;

/// The tree as it will be, where that differs from the tree on disk.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// New directories, each where it is staged. None is in another: what belongs into one is made
    /// there at once.
    dirs: BTreeMap<RelPath, Staged>,
    /// Positions of the ops that put other entries in place, as far as they were looked through.
    others: HashMap<RelPath, usize>,
    indexed_len: usize,
}

impl Pending {
    /// The closest staged directory before it in the order of a walk, if `dir` is that or in it.
    fn above(&self, dir: &RelPath) -> Option<(&RelPath, &Staged)> {
        let before = self.dirs.range(..=dir).next_back();
        before.filter(|(above, _)| dir.is_within(above))
    }

    /// Opens a directory that is not in place yet; `None` if `dir` is none of these.
    pub(super) fn open(&self, dir: &RelPath) -> Option<io::Result<OwnedFd>> {
        let (above, staged) = self.above(dir)?;
        let rest = dir.below(above);
        let path = RelPath::root().join(&staged.name).join_path(&rest);
        Some(staged.stage.open_dir(&path))
    }

    /// Whether `dir` is one of these, or in one.
    pub(super) fn covers(&self, dir: &RelPath) -> bool {
        self.above(dir).is_some()
    }

    pub(super) fn add_dir(&mut self, path: RelPath, staged: Staged) {
        self.dirs.insert(path, staged);
    }

    /// Position of the op that puts an entry in place at `path`.
    pub(super) fn placed_at(&mut self, ops: &[Op], path: &RelPath) -> Option<usize> {
        for (at, op) in ops.iter().enumerate().skip(self.indexed_len) {
            if op.slot().is_some() {
                self.others.insert(op.path(), at);
            }
        }
        self.indexed_len = ops.len();
        self.others.get(path).copied()
    }
}

impl Commit {
    /// Everything collected, as a list that can be carried out, taken up again and led back.
    /// Directories that are not in place yet get their metadata.
    pub(crate) fn seal(&mut self) -> Result<Changes, Error> {
        self.finish_staged_dirs()?;
        self.drop_spare_links();
        let mut ops = Vec::with_capacity(self.ops.len());
        for op in std::mem::take(&mut self.ops) {
            let (doing, path) = (op.verb(), op.path());
            match self.sealed(op) {
                Ok(op) => ops.extend(op),
                Err(cause) => self.not_done(doing, path, cause)?,
            }
        }
        self.dir_ops(&mut ops)?;
        self.roll.let_go();
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
                let new = inode(&slots, &slot_name)?.ok_or(io::ErrorKind::NotFound)?;
                let old = inode(&fd, &name)?;
                let dir_there = old.as_ref().filter(|old| old.is_dir());
                if !over.tree && dir_there.is_some_and(|old| !is_empty_dir(&fd, &name, old)) {
                    // None with entries was judged there.
                    return Err(replaced());
                }
                Some(Op::Place {
                    dir,
                    name,
                    slot,
                    new,
                    old,
                })
            }
            Op::Discard { dir, name, tree } => match inode(&fd, &name)? {
                None => None,
                Some(old) if old.is_dir() && !tree => return Err(replaced()),
                Some(old) => {
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
    fn dir_ops(&mut self, ops: &mut Vec<Op>) -> Result<(), Error> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let changing: BTreeSet<RelPath> = ops
            .iter()
            .filter(|op| op.moves())
            .map(|op| op.dir().clone())
            .collect();
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
            let mtime = self.dirs.old_times.get(&dir).copied().unwrap_or(inode.time);
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
            if same && !changing.contains(&dir) {
                continue;
            }
            ops.push(Op::SetDirAttrs {
                dir,
                inode,
                new,
                old,
            });
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
