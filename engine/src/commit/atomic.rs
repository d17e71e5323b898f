//! What an atomic commit collects instead of carrying it out: the tree as it will be, laid over
//! the tree as it is, and in the end the journal of how one becomes the other.
//!
//! A new directory is filled where it is staged, whatever belongs into it, and takes its name with
//! everything in it by one rename.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, fstat, linkat};

use super::journal::{Journal, Op};
use super::roll::inode;
use super::{Commit, Intent, Staged};
use crate::entry::Time;
use crate::error::{Error, is_no_space};
use crate::fs::{Attrs, Listed, set_fd_attrs, stat};
use crate::path::RelPath;

/// The tree as it will be, where that differs from the tree on disk.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// New directories, each where it is staged. None is in another: what belongs into one is made
    /// there at once.
    dirs: BTreeMap<RelPath, Staged>,
    /// Other entries to be put in place, as far as the intents have been looked through.
    others: HashMap<RelPath, Staged>,
    indexed_len: usize,
    /// Times of directories from before anything in them was changed.
    pub(super) old_times: BTreeMap<RelPath, Time>,
    /// Metadata of the root, but for its time.
    pub(super) root_attrs: Option<Attrs>,
}

impl Pending {
    /// The staged directory that `dir` is, or is in, and the way from there.
    fn find(&self, dir: &RelPath) -> Option<(&Staged, RelPath)> {
        let (above, staged) = self.above(dir)?;
        Some((staged, dir.below(above)))
    }

    /// The closest one before it in the order of a walk, if `dir` is that or in it.
    fn above(&self, dir: &RelPath) -> Option<(&RelPath, &Staged)> {
        let before = self.dirs.range(..=dir).next_back();
        before.filter(|(above, _)| dir.is_within(above))
    }

    /// Opens a directory that is not in place yet; `None` if `dir` is none of these.
    pub(super) fn open(&self, dir: &RelPath) -> Option<io::Result<OwnedFd>> {
        let (staged, rest) = self.find(dir)?;
        let path = RelPath::root().join(&staged.name).join_path(&rest);
        Some(staged.stage.open_dir(&path))
    }

    /// Whether `dir` is one of these, or in one.
    pub(super) fn covers(&self, dir: &RelPath) -> bool {
        self.above(dir).is_some()
    }
}

impl Commit {
    /// Adds an intent to what is collected, or carries it out where nobody can see it yet.
    pub(super) fn collect(&mut self, intent: Intent) -> Result<(), Error> {
        let dir = intent.dir().clone();
        let inside = self.pending.as_ref().is_some_and(|p| p.covers(&dir));
        let intent = match intent {
            Intent::Link { first, dir, name } => {
                match self.stage_link(&first, &dir, &name, inside) {
                    Ok(Some(intent)) => intent,
                    Ok(None) => return Ok(()),
                    Err(e) => return self.not_done("link", &dir.join(&name), &e),
                }
            }
            intent if inside => {
                return match self.carry_out(&intent) {
                    Ok(()) => Ok(()),
                    Err((path, e)) => self.not_done(intent.verb(), &path, &e),
                };
            }
            intent => intent,
        };
        if let Intent::Place {
            staged,
            dir,
            name,
            is_dir: true,
            ..
        } = &intent
            && let Some(pending) = &mut self.pending
        {
            pending.dirs.insert(dir.join(name), staged.clone());
        }
        self.intents.push(intent);
        Ok(())
    }

    fn not_done(&mut self, verb: &str, path: &RelPath, e: &io::Error) -> Result<(), Error> {
        if is_no_space(e) {
            let shown = self.root.shown(path);
            return Err(Error::file(format_args!("{verb} {shown}"), e));
        }
        self.warn(verb, path, e);
        Ok(())
    }

    /// Makes a hard link: at once in a directory that nobody can see yet, in staging otherwise.
    /// What is still to be done then is the intent returned.
    fn stage_link(
        &mut self,
        first: &RelPath,
        dir: &RelPath,
        name: &[u8],
        inside: bool,
    ) -> io::Result<Option<Intent>> {
        let (first_dir, first_name) = self.first_of(first)?;
        let link = |to: &OwnedFd, name: &[u8]| {
            linkat(&first_dir, &*first_name, to, name, AtFlags::empty())
        };
        let fd = self.touch(dir)?;
        if inside {
            link(&fd, name)?;
            return Ok(None);
        }
        if inode(&first_dir, &first_name)? == inode(&fd, name)? {
            return Ok(None);
        }
        let staged = self
            .stage_for(dir)
            .map_err(|e| io::Error::other(e.message))?;
        link(staged.stage.fd(), &staged.name)?;
        // A directory that was to go first gives way by changing places.
        let goes = |intent: &Intent| {
            let is_it = intent.dir() == dir && intent.name() == name;
            is_it && matches!(intent, Intent::Remove { .. })
        };
        if let Some(pending) = &mut self.pending {
            let indexed = self.intents.iter().take(pending.indexed_len);
            pending.indexed_len -= indexed.filter(|intent| goes(intent)).count();
        }
        self.intents.retain(|intent| !goes(intent));
        Ok(Some(Intent::Place {
            staged,
            dir: dir.clone(),
            name: name.to_vec(),
            is_dir: false,
            over_tree: true,
            old_len: 0,
        }))
    }

    /// Where the entry is that will be at `first`: its directory and its name there.
    fn first_of(&mut self, first: &RelPath) -> io::Result<(OwnedFd, Vec<u8>)> {
        let (dir, name) = first.split().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(pending) = &mut self.pending {
            if let Some(fd) = pending.open(&dir) {
                return Ok((fd?, name.to_vec()));
            }
            for intent in self.intents.iter().skip(pending.indexed_len) {
                if let Intent::Place {
                    staged, dir, name, ..
                } = intent
                {
                    pending.others.insert(dir.join(name), staged.clone());
                }
            }
            pending.indexed_len = self.intents.len();
            if let Some(staged) = pending.others.get(first) {
                return Ok((staged.stage.fd().try_clone()?, staged.name.clone()));
            }
        }
        Ok((self.root.open_dir(&dir)?, name.to_vec()))
    }

    /// Everything collected, as a journal; directories that are not in place yet get their times.
    pub(crate) fn journal(&mut self) -> Result<Journal, Error> {
        self.finish_staged_dirs()?;
        let mut ops = Vec::with_capacity(self.intents.len());
        for intent in std::mem::take(&mut self.intents) {
            match self.op(&intent) {
                Ok(op) => ops.extend(op),
                Err(e) => {
                    let path = intent.dir().join(intent.name());
                    self.not_done(intent.verb(), &path, &e)?;
                }
            }
        }
        self.dir_ops(&mut ops);
        self.held_dir = None;
        Ok(Journal {
            generation: None,
            sessions: self.stage.places(),
            ops,
            keep: false,
            pinned: false,
            waypoints: Vec::new(),
        })
    }

    fn op(&mut self, intent: &Intent) -> io::Result<Option<Op>> {
        let fd = self.open(intent.dir())?;
        Ok(match intent {
            Intent::Place {
                staged, dir, name, ..
            } => {
                let new = inode(staged.stage.fd(), &staged.name)?.ok_or(io::ErrorKind::NotFound)?;
                Some(Op::Place {
                    dir: dir.clone(),
                    name: name.clone(),
                    slot: staged.stage.slot(&staged.name),
                    new,
                    old: inode(&fd, name)?,
                })
            }
            Intent::Remove { dir, name } => {
                let Some(old) = inode(&fd, name)? else {
                    return Ok(None);
                };
                let staged = self
                    .stage_for(dir)
                    .map_err(|e| io::Error::other(e.message))?;
                Some(Op::Remove {
                    dir: dir.clone(),
                    name: name.clone(),
                    slot: staged.stage.slot(&staged.name),
                    old,
                })
            }
            Intent::SetAttrs {
                dir,
                name,
                is_symlink,
                attrs,
            } => {
                let c_name = CString::new(&**name).map_err(|_| io::ErrorKind::InvalidInput)?;
                let now = stat(&*fd, &c_name)?;
                Some(Op::SetAttrs {
                    dir: dir.clone(),
                    name: name.clone(),
                    is_symlink: *is_symlink,
                    ino: now.ino,
                    new: *attrs,
                    old: old_attrs(attrs, &now),
                })
            }
            Intent::Link { .. } => None,
        })
    }

    /// Metadata of the directories that are in place.
    fn dir_ops(&mut self, ops: &mut Vec<Op>) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let changing: BTreeSet<RelPath> = ops.iter().filter_map(Op::changed_dir).cloned().collect();
        let mut paths: BTreeSet<&RelPath> = pending.old_times.keys().collect();
        paths.extend(self.dir_times.keys());
        paths.extend(self.dir_modes.keys());
        let root = RelPath::root();
        paths.extend(pending.root_attrs.map(|_| &root));
        // Children before parents, so that a parent without search permission comes last.
        for path in paths.into_iter().rev() {
            let mut new = Attrs {
                mode: self.dir_modes.get(path).copied(),
                mtime: self.dir_times.get(path).copied(),
                ..pending
                    .root_attrs
                    .filter(|_| path.is_root())
                    .unwrap_or_default()
            };
            if let Some(mode) = pending.root_attrs.and_then(|attrs| attrs.mode)
                && path.is_root()
            {
                new.mode = Some(mode);
            }
            if pending.covers(path) {
                continue;
            }
            let now = match self.root.open_dir(path).and_then(|fd| Ok(fstat(&fd)?)) {
                Ok(now) => now,
                // Removed or replaced after its time was noted.
                Err(_) => continue,
            };
            let now_time = Time::found(now.st_mtime, now.st_mtime_nsec);
            let mode_matters = new.mode.is_some() || new.uid.is_some() || new.gid.is_some();
            let old = Attrs {
                uid: new.uid.map(|_| now.st_uid),
                gid: new.gid.map(|_| now.st_gid),
                mode: mode_matters.then_some(now.st_mode & 0o7777),
                mtime: Some(pending.old_times.get(path).copied().unwrap_or(now_time)),
            };
            let same = new.mtime.is_none_or(|time| time == now_time)
                && new.mode.is_none_or(|mode| mode == now.st_mode & 0o7777)
                && new.uid.is_none_or(|uid| uid == now.st_uid)
                && new.gid.is_none_or(|gid| gid == now.st_gid);
            if same && !changing.contains(path) {
                continue;
            }
            ops.push(Op::SetDirAttrs {
                dir: path.clone(),
                new,
                old,
            });
        }
    }

    /// Gives the directories that are not in place yet the metadata that they wait for.
    fn finish_staged_dirs(&mut self) -> Result<(), Error> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let paths: BTreeSet<&RelPath> =
            self.dir_times.keys().chain(self.dir_modes.keys()).collect();
        let mut failed = Vec::new();
        // Children before parents, so that a parent without search permission comes last.
        for path in paths.into_iter().rev() {
            let Some(fd) = pending.open(path) else {
                continue;
            };
            let attrs = Attrs {
                mode: self.dir_modes.get(path).copied(),
                mtime: self.dir_times.get(path).copied(),
                ..Attrs::default()
            };
            if let Err(e) = fd.and_then(|fd| set_fd_attrs(&File::from(fd), &attrs)) {
                failed.push((path.clone(), e));
            }
        }
        failed
            .into_iter()
            .try_for_each(|(path, e)| self.not_done("set the times of", &path, &e))
    }
}

/// What takes `new` back from an entry that is `now`. A change of owner takes permission bits with
/// it, which have to come back too.
fn old_attrs(new: &Attrs, now: &Listed) -> Attrs {
    let mode_matters = new.mode.is_some() || new.uid.is_some() || new.gid.is_some();
    Attrs {
        uid: new.uid.map(|_| now.entry.uid),
        gid: new.gid.map(|_| now.entry.gid),
        mode: mode_matters.then_some(now.entry.mode),
        mtime: new.mtime.map(|_| now.entry.mtime),
    }
}

impl Op {
    /// The directory whose entries, and so whose time, the op changes.
    fn changed_dir(&self) -> Option<&RelPath> {
        match self {
            Op::Place { dir, .. } | Op::Remove { dir, .. } => Some(dir),
            Op::SetAttrs { .. } | Op::SetDirAttrs { .. } => None,
        }
    }
}
