//! The door to the target for a push or an undo: it collects [`Op`]s, and has them carried out in
//! the order in which they came, or hands them over as a whole.

mod backup;
mod links;
mod metadata;
mod pending;
mod staging;
mod telling;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::fstat;

use self::backup::Backups;
pub(crate) use self::backup::Elsewhere;
use self::links::Links;
pub(crate) use self::links::{JudgedFirst, Link};
use self::pending::Pending;
use crate::change::dirs::{DirEnds, inode_of};
use crate::change::failed::{Failed, Lines, Told};
use crate::change::op::{Op, Over, Slot, Tree};
use crate::change::roll::Roll;
use crate::change::session::StageDir;
use crate::change::stage::Stage;
use crate::error::Error;
use crate::fs::{Attrs, Inherited, Inode, Root, WhichDir, flush};
use crate::options::Options;
use crate::path::RelPath;
use crate::path_set::PathSet;
use crate::spill::{self, SpillMap, SpillValues};
use crate::work;

/// Ops collected before they are carried out together.
const BATCH_LEN: usize = 256;

/// An entry that was made in staging.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) stage: Arc<StageDir>,
    pub(crate) name: Vec<u8>,
    /// Its inode's number, where whoever made it has seen that.
    pub(crate) number: Option<u64>,
}

impl Staged {
    /// Where it is in its session.
    pub(crate) fn slot(&self) -> Slot {
        self.stage.slot(&self.name)
    }
}

/// Collects ops and has them carried out.
#[derive(Debug)]
pub(crate) struct Commit {
    root: Arc<Root>,
    stage: Stage,
    roll: Roll,
    /// What has been collected to be carried out together.
    batch: Vec<Op>,
    dirs: DirEnds,
    links: Links,
    backups: Option<Backups>,
    /// Inodes with several names whose metadata were changed under one of them: device and number.
    changed_links: SpillMap,
    keep_times: bool,
    privileged: bool,
    told: Told,
    /// What should have been moved, or removed, and was not.
    unmoved: PathSet,
    warnings: Lines,
    flush: bool,
    /// Set if nothing may be carried out before everything is known.
    pending: Option<Pending>,
}

impl Commit {
    pub(crate) fn new(root: Arc<Root>, options: &Options) -> Self {
        Commit {
            stage: Stage::new(Arc::clone(&root), options.atomic),
            roll: Roll::new(Arc::clone(&root)),
            root,
            batch: Vec::new(),
            dirs: DirEnds::default(),
            links: Links::new(options),
            backups: Backups::new(options),
            changed_links: SpillMap::default(),
            keep_times: options.times,
            privileged: rustix::process::geteuid().is_root(),
            told: Told::default(),
            unmoved: PathSet::default(),
            warnings: Lines::default(),
            flush: options.fsync,
            pending: options.atomic.then(Pending::default),
        }
    }

    /// Whether nothing is carried out before everything is known.
    pub(crate) fn is_atomic(&self) -> bool {
        self.pending.is_some()
    }

    /// Puts a staged entry under its name, in place of what `over` allows.
    pub(super) fn put(
        &mut self,
        staged: &Staged,
        dir: RelPath,
        name: Vec<u8>,
        over: Over,
    ) -> Result<(), Error> {
        let (stage, staged_name) = (&staged.stage, &staged.name);
        self.links.note(&dir.join(&name), || match staged.number {
            None => Some(Inode::at(stage.fd(), staged_name).ok()??.number),
            number => number,
        });
        self.add(Op::Replace {
            dir,
            name,
            slot: staged.slot(),
            over,
        })
    }

    /// Puts a staged directory in place, complete but for its time, what is still to come into it,
    /// and the permissions of which an unprivileged receiver needs more until then.
    pub(super) fn put_dir(
        &mut self,
        staged: &Staged,
        fd: &OwnedFd,
        path: &RelPath,
        attrs: &Attrs,
        over: Over,
    ) -> Result<(), Error> {
        let made = inode_of(fd).map_err(|e| {
            let shown = self.root.shown(path);
            Error::file(format_args!("examine what was staged for {shown}"), &e)
        })?;
        if let Some(time) = attrs.mtime {
            self.dirs.set_time(path, &made, time);
        }
        if let Some(mode) = attrs.mode.filter(|mode| self.needs_more(*mode)) {
            let rights = Attrs {
                mode: Some(mode),
                ..Attrs::default()
            };
            self.dirs.set_rights(path, made, rights);
        }
        let (dir, name) = path.split().unwrap_or_default();
        let (dir, name) = (dir, name.to_vec());
        match &mut self.pending {
            Some(pending) if !pending.covers(&dir) => {
                pending.add_dir(path, staged);
                let slot = staged.slot();
                pending.ops.push(&Op::Replace {
                    dir,
                    name,
                    slot,
                    over,
                })
            }
            _ => self.put(staged, dir, name, over),
        }
    }

    /// Whether an unprivileged receiver needs more permissions than that to change what is in a
    /// directory.
    pub(crate) fn needs_more(&self, mode: u32) -> bool {
        !self.privileged && mode & 0o700 != 0o700
    }

    /// Removes an entry of a directory, which is that one if it is known which; if the entry is a
    /// directory, as what goes as a `tree`.
    pub(crate) fn remove(
        &mut self,
        (dir, within): (RelPath, Option<WhichDir>),
        name: Vec<u8>,
        tree: Tree,
    ) -> Result<(), Error> {
        self.add(Op::Discard {
            dir,
            name,
            tree,
            within,
        })
    }

    /// What is about to change in the directory at `dir` was found in that one.
    pub(crate) fn judged_in(&mut self, dir: &RelPath, which: WhichDir) {
        self.dirs.set_judged(dir, which);
    }

    /// Adds an op; carries out what has been collected when that is enough.
    fn add(&mut self, op: Op) -> Result<(), Error> {
        work::did(1);
        match &mut self.pending {
            None => {
                self.batch.push(op);
                if self.batch.len() < BATCH_LEN {
                    return Ok(());
                }
                self.run()
            }
            // Where nobody can see it yet.
            Some(pending) if pending.covers(op.dir()) => {
                if let Err(cause) = self.open(op.dir()) {
                    return self.not_done(op.verb(), op.path(), cause);
                }
                self.carry_out(&op)
            }
            Some(pending) => pending.ops.push(&op),
        }
    }

    /// The directory's time is about to change for hasync's own reasons: give it back at the end.
    pub(crate) fn spare_time(&mut self, dir: &RelPath) -> io::Result<()> {
        self.touch(dir).map(|_| ())
    }

    /// Carries out everything collected. Fails only when no further change can succeed; what went
    /// wrong with single entries is in [`take_warnings`](Self::take_warnings).
    ///
    /// An atomic commit carries nothing out until it is [sealed](Self::seal).
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        if self.is_atomic() {
            return Ok(());
        }
        let mut ops = std::mem::take(&mut self.batch).into_iter();
        while let Some(op) = ops.next() {
            if let Err(e) = self.carry_out(&op) {
                // The others may fit, when this is called again.
                self.batch = ops.collect();
                return Err(e);
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), Error> {
        let opened = match op {
            // Nothing was staged for it, which notes the same.
            Op::Discard { .. } => self.touch(op.dir()).map(drop),
            Op::SetDirAttrs { .. } => Ok(()),
            _ => self.open(op.dir()).map(drop),
        };
        let opened = opened.map_err(|e| Failed::new(&self.root, op.verb(), &op.path(), e.into()));
        let done = opened.and_then(|()| self.roll.carry_out(op));
        done.or_else(|failed| {
            if op.moves() {
                self.unmoved.insert(&op.path());
            }
            self.failed(failed)
        })
    }

    /// What a directory passes on as the kernel does to what is made in it; staging would lose
    /// that.
    pub(crate) fn inherited(&mut self, dir: &RelPath) -> Inherited {
        let Ok(opened) = self.open(dir) else {
            return Inherited::default();
        };
        // The directory may be about to become setgid, or to be so no longer.
        let ends = fstat(&opened).map(|stat| self.dirs.mode_and_group(dir, &stat));
        let setgid = ends.ok().filter(|(mode, _)| mode & 0o2000 != 0);
        Inherited {
            gid: setgid.map(|(_, gid)| gid),
            perms: Inherited::perms_in(opened),
        }
    }

    /// Leaves what is staged for the next push, which is told where it belongs; `others` are
    /// entries that have not been added yet.
    pub(crate) fn leave_staged(
        &mut self,
        others: impl Iterator<Item = (Slot, RelPath)>,
        note: impl FnOnce(&OwnedFd, &mut dyn Iterator<Item = (RelPath, RelPath)>) -> io::Result<()>,
    ) -> io::Result<()> {
        let staged = |op: Op| Some((op.slot()?.clone(), op.path()));
        let ops = self.pending.as_ref().map(|pending| &pending.ops);
        // What cannot be read any more is not left.
        let placed = ops
            .into_iter()
            .flat_map(SpillValues::iter)
            .map_while(Result::ok);
        self.stage
            .leave(placed.filter_map(staged).chain(others), note)
    }

    /// The staging, once a journal answers for what is in it.
    pub(crate) fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    /// Carries out the rest, sets the metadata of directories, flushes, and removes the staging.
    /// Returns whether everything was flushed.
    pub(crate) fn finish(&mut self) -> Result<bool, Error> {
        self.run()?;
        self.finish_backups()?;
        self.end()
    }

    /// The same where nothing is left to be carried out, and what is kept outside of the target is
    /// on disk.
    pub(crate) fn end(&mut self) -> Result<bool, Error> {
        self.roll.let_go();
        // Held until the flush: their descriptors were opened before the first staged byte.
        let mounts = self.stage.sessions();
        self.remove_stage()?;
        self.finish_dirs()?;
        if self.flush {
            // The root too when nothing was staged: an interrupted push before this one may have
            // left changes that are in place but not on disk.
            let others = mounts.iter().map(|mount| mount.as_fd());
            flush(others.chain([self.root.as_fd()]))
                .map_err(|e| Error::file("flush the target to disk", &e))?;
        }
        Ok(self.flush)
    }

    fn finish_dirs(&mut self) -> Result<(), Error> {
        for dir in self.dirs.paths() {
            let Some(end) = self.dirs.get(&dir) else {
                continue;
            };
            self.carry_out(&Op::SetDirAttrs {
                dir,
                inode: end.inode,
                new: end.attrs,
                old: Attrs::default(),
            })?;
        }
        spill::check()
    }

    /// Opens a directory whose contents are about to change, noting what the change would spoil.
    fn touch(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let fd = self.open(dir)?;
        let is_noted = match &self.pending {
            Some(pending) => self.dirs.old_time(dir).is_some() || pending.covers(dir),
            None => self.privileged && (!self.keep_times || self.dirs.has_time(dir)),
        };
        if is_noted {
            return Ok(fd);
        }
        let now = inode_of(&fd)?;
        if self.is_atomic() {
            self.dirs.set_old_time(dir, now.time);
        }
        if self.keep_times {
            self.dirs.keep_time(dir, &now);
        }
        if !self.privileged && now.mode & 0o300 != 0o300 {
            self.dirs.keep_mode(dir, now);
            if !self.is_atomic() {
                return self.roll.writable(dir);
            }
        }
        Ok(fd)
    }

    /// Opens a directory, where it is now.
    pub(crate) fn open(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = self.roll.held(dir) {
            return Ok(fd);
        }
        let fd = match self.pending.as_ref().and_then(|pending| pending.open(dir)) {
            Some(fd) => return Ok(self.roll.hold(dir, fd?)),
            None => self.roll.open_dir(dir)?,
        };
        if let Err(e) = self.dirs.check(dir, &fd) {
            self.roll.let_go();
            return Err(e);
        }
        Ok(fd)
    }
}
