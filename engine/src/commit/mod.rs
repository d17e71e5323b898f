//! The only door through which entries of the target become visible, change or vanish. It takes
//! [`Intent`]s, collects them, and carries them out in order.
//!
//! Order of durable effects: an entry is complete in staging, its content checked, before its
//! intent is added; intents are carried out in the order in which they were added; removals are
//! added only after everything else; times of directories come last, the root's at the very end;
//! then one flush per mounted file system; only then may the push be acknowledged.
//!
//! An *atomic* commit carries nothing out until everything is staged: it collects the tree as it
//! will be ([`atomic`]), writes down how to get there ([`journal`]), and does that in a way that
//! can be taken up again after a crash ([`roll`]). The order of its durable effects stands in
//! `generation/durable.rs`.

mod atomic;
mod journal;
mod roll;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fchmod, fstat, linkat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;

use crate::entry::Time;
use crate::error::{Error, describe, is_no_space};
use crate::fs::{Attrs, Reaper, Root, flush, is_absent, remove_tree, set_attrs, set_fd_attrs};
use crate::observer::Warning;
use crate::options::Options;
use crate::path::RelPath;
use crate::stage::{Stage, StageDir};
use crate::work;

pub(crate) use journal::{Inode, Journal, Op, SessionPlace, Slot, Waypoint, reversed};
pub(crate) use roll::{Roll, inode};

use atomic::Pending;

/// Intents collected before they are carried out together.
const BATCH_LEN: usize = 256;

/// One intended change of the target.
#[derive(Debug)]
pub(crate) enum Intent {
    /// Put a staged entry under its name, in place of whatever has it.
    ///
    /// Only with `over_tree` may that be a directory with entries.
    Place {
        staged: Staged,
        dir: RelPath,
        name: Vec<u8>,
        is_dir: bool,
        over_tree: bool,
        /// Length of the file that has the name, in bytes, as far as it is known.
        old_len: u64,
    },
    /// Make `name` another name of the entry at `first`.
    Link {
        first: RelPath,
        dir: RelPath,
        name: Vec<u8>,
    },
    /// Set metadata of an existing entry.
    SetAttrs {
        dir: RelPath,
        name: Vec<u8>,
        is_symlink: bool,
        attrs: Attrs,
    },
    /// Remove an entry, a directory with everything in it.
    Remove { dir: RelPath, name: Vec<u8> },
}

/// Replaced files from this length on are freed beside the commit.
const REAPED_LEN_MIN: u64 = 16 << 20;

/// An entry that was made in staging.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    pub(crate) stage: Arc<StageDir>,
    pub(crate) name: Vec<u8>,
}

impl Staged {
    /// Where it is in its session.
    pub(crate) fn slot(&self) -> Slot {
        self.stage.slot(&self.name)
    }
}

/// Collects intents and carries them out.
#[derive(Debug)]
pub(crate) struct Commit {
    root: Arc<Root>,
    stage: Stage,
    intents: Vec<Intent>,
    /// Times to give directories at the end: new ones, or their own where changes inside moved it.
    dir_times: BTreeMap<RelPath, Time>,
    /// Permissions to give directories at the end, where an unprivileged receiver needed more.
    dir_modes: BTreeMap<RelPath, u32>,
    keep_times: bool,
    privileged: bool,
    held_dir: Option<(RelPath, Arc<OwnedFd>)>,
    warnings: Vec<Warning>,
    flush: bool,
    reaper: Reaper,
    /// Set if nothing may be carried out before everything is known.
    pending: Option<Pending>,
}

impl Commit {
    pub(crate) fn new(root: Arc<Root>, options: &Options, privileged: bool) -> Self {
        let (keep_times, flush) = (options.times, options.fsync);
        Commit {
            stage: Stage::new(Arc::clone(&root)),
            root,
            intents: Vec::new(),
            dir_times: BTreeMap::new(),
            dir_modes: BTreeMap::new(),
            keep_times,
            privileged,
            held_dir: None,
            warnings: Vec::new(),
            flush,
            reaper: Reaper::default(),
            pending: options.atomic.then(Pending::default),
        }
    }

    /// Whether nothing is carried out before everything is known.
    pub(crate) fn is_atomic(&self) -> bool {
        self.pending.is_some()
    }

    /// The staging directory for entries of the target directory `dir`, and a free name in it.
    pub(crate) fn stage_for(&mut self, dir: &RelPath) -> Result<Staged, Error> {
        let staged = self.stage_near(dir);
        match staged {
            Ok(stage) => Ok(Staged {
                stage,
                name: self.stage.fresh_name(),
            }),
            Err(e) => {
                let dir = self.root.shown(dir);
                Err(Error::file(
                    format_args!("make a staging directory for {dir}"),
                    &e,
                ))
            }
        }
    }

    fn stage_near(&mut self, dir: &RelPath) -> io::Result<Arc<StageDir>> {
        let fd = match self.touch(dir) {
            Err(_) if !self.intents.is_empty() && !self.is_atomic() => {
                // The directory itself may be among what has been collected.
                self.run().map_err(|e| io::Error::other(e.message))?;
                self.touch(dir)?
            }
            fd => fd?,
        };
        if self.stage.is_new(&fd)? {
            // Making `.hasync` changes the time of the directory that holds it.
            self.touch(&RelPath::root())?;
        }
        self.stage.for_dir(&fd, dir)
    }

    /// Adds an intent; carries out what has been collected when that is enough.
    pub(crate) fn add(&mut self, intent: Intent) -> Result<(), Error> {
        work::did(1);
        if self.is_atomic() {
            return self.collect(intent);
        }
        self.intents.push(intent);
        if self.intents.len() >= BATCH_LEN {
            self.run()
        } else {
            Ok(())
        }
    }

    /// The directory's time is about to change for hasync's own reasons: give it back at the end.
    pub(crate) fn spare_time(&mut self, dir: &RelPath) -> io::Result<()> {
        self.touch(dir).map(|_| ())
    }

    /// Time that the directory gets at the end.
    pub(crate) fn set_dir_time(&mut self, dir: RelPath, time: Time) {
        self.dir_times.insert(dir, time);
    }

    /// Metadata that the root gets, its time at the end.
    pub(crate) fn set_root_attrs(&mut self, attrs: Attrs) -> io::Result<()> {
        if let Some(time) = attrs.mtime {
            self.set_dir_time(RelPath::root(), time);
        }
        let now = Attrs {
            mtime: None,
            ..attrs
        };
        match &mut self.pending {
            _ if now.is_empty() => Ok(()),
            Some(pending) => {
                pending.root_attrs = Some(now);
                Ok(())
            }
            None => set_fd_attrs(&File::from(self.root.open_dir(&RelPath::root())?), &now),
        }
    }

    /// Permissions that the directory gets at the end.
    pub(crate) fn set_dir_mode(&mut self, dir: RelPath, mode: u32) {
        self.dir_modes.insert(dir, mode);
    }

    /// Carries out everything collected. Fails only when no further change can succeed; what went
    /// wrong with single entries is in [`take_warnings`](Self::take_warnings).
    ///
    /// An atomic commit carries nothing out until it is [sealed](Self::journal).
    pub(crate) fn run(&mut self) -> Result<(), Error> {
        if self.is_atomic() {
            return Ok(());
        }
        for intent in std::mem::take(&mut self.intents) {
            if let Err((path, e)) = self.carry_out(&intent) {
                if is_no_space(&e) {
                    return Err(Error::file(
                        format_args!("change {}", self.root.shown(&path)),
                        &e,
                    ));
                }
                self.warn(intent.verb(), &path, &e);
            }
        }
        Ok(())
    }

    /// What went wrong with single entries since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// Mode and group that a directory will have when everything is carried out.
    pub(crate) fn mode_and_group(&mut self, dir: &RelPath) -> io::Result<(u32, u32)> {
        let stat = fstat(self.open(dir)?)?;
        let place = dir.split();
        let intended = self.intents.iter().rev().find_map(|intent| match intent {
            Intent::SetAttrs {
                dir, name, attrs, ..
            } if place
                .as_ref()
                .is_some_and(|at| at.1 == name && at.0 == *dir) =>
            {
                Some(*attrs)
            }
            _ => None,
        });
        let intended = intended.unwrap_or_default();
        let mode = intended.mode.unwrap_or(stat.st_mode & 0o7777);
        Ok((mode, intended.gid.unwrap_or(stat.st_gid)))
    }

    /// Leaves what is staged for the next push, which is told where it belongs; `others` are
    /// entries that have not been added yet.
    pub(crate) fn leave_staged(
        &mut self,
        others: impl Iterator<Item = (Slot, RelPath)>,
    ) -> io::Result<()> {
        let placed = self.intents.iter().filter_map(|intent| match intent {
            Intent::Place {
                staged, dir, name, ..
            } => Some((staged.slot(), dir.join(name))),
            _ => None,
        });
        self.stage.leave(placed.chain(others))
    }

    /// The staging, once a journal answers for what is in it.
    pub(crate) fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    /// Carries out the rest, sets the times of directories, flushes, and removes the staging.
    /// Returns whether everything was flushed.
    pub(crate) fn finish(&mut self) -> Result<bool, Error> {
        self.run()?;
        self.held_dir = None;
        // Held until the flush: their descriptors were opened before the first staged byte.
        let mounts = self.stage.mounts();
        self.stage
            .remove()
            .map_err(|e| Error::file("remove the staging directory", &e))?;
        self.finish_dirs();
        if self.flush {
            // The root too when nothing was staged: an interrupted push before this one may have
            // left changes that are in place but not on disk.
            let others = mounts.iter().map(|mount| mount.as_fd());
            flush(others.chain([self.root.as_fd()]))
                .map_err(|e| Error::file("flush the target to disk", &e))?;
        }
        Ok(self.flush)
    }

    fn finish_dirs(&mut self) {
        // Children before parents, so that a parent without search permission comes last.
        let mut paths: Vec<RelPath> = self
            .dir_times
            .keys()
            .chain(self.dir_modes.keys())
            .cloned()
            .collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths.into_iter().rev() {
            let attrs = Attrs {
                mode: self.dir_modes.get(&path).copied(),
                mtime: self.dir_times.get(&path).copied(),
                ..Attrs::default()
            };
            let result = self
                .root
                .open_dir(&path)
                .and_then(|fd| set_fd_attrs(&File::from(fd), &attrs));
            match result {
                // Removed or replaced after its time was noted, or never made.
                Err(e) if is_absent(&e) => {}
                Err(e) => self.warn("set the times of", &path, &e),
                Ok(()) => {}
            }
        }
    }

    fn carry_out(&mut self, intent: &Intent) -> Result<(), (RelPath, io::Error)> {
        let (dir, name) = (intent.dir(), intent.name());
        let at = |e: io::Error| (dir.join(name), e);
        match intent {
            Intent::Place {
                staged,
                is_dir,
                over_tree,
                old_len,
                ..
            } => {
                let fd = self.touch(dir).map_err(at)?;
                if *is_dir || *over_tree {
                    self.root.moves(&dir.join(name));
                }
                let old = (*old_len >= REAPED_LEN_MIN).then(|| {
                    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(&*fd, name, flags, Mode::empty())
                });
                place(staged, &fd, name, *is_dir, *over_tree).map_err(at)?;
                if let Some(Ok(old)) = old {
                    self.reaper.reap(old);
                }
                Ok(())
            }
            Intent::Link { first, .. } => {
                let fd = self.touch(dir).map_err(at)?;
                self.link(first, &fd, dir, name).map_err(at)
            }
            Intent::SetAttrs {
                is_symlink, attrs, ..
            } => {
                let fd = self.open(dir).map_err(at)?;
                let c_name = std::ffi::CString::new(name)
                    .map_err(|_| at(io::ErrorKind::InvalidInput.into()))?;
                set_attrs(fd, &c_name, *is_symlink, attrs).map_err(at)
            }
            Intent::Remove { .. } => {
                let fd = self.touch(dir).map_err(at)?;
                self.root.moves(&dir.join(name));
                remove_tree(fd, name).map_err(at)
            }
        }
    }

    fn link(
        &mut self,
        first: &RelPath,
        dir: &OwnedFd,
        dir_path: &RelPath,
        name: &[u8],
    ) -> io::Result<()> {
        let Some((first_dir, first_name)) = first.split() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let first_dir = self.root.open_dir(&first_dir)?;
        match linkat(&first_dir, first_name, dir, name, AtFlags::empty()) {
            Err(Errno::EXIST) => {}
            result => return Ok(result?),
        }
        let inode = |dir: &OwnedFd, name| {
            statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| (s.st_dev, s.st_ino))
        };
        if inode(&first_dir, first_name)? == inode(dir, name)? {
            return Ok(());
        }
        let staged = self
            .stage_for(dir_path)
            .map_err(|e| io::Error::other(e.message))?;
        linkat(
            &first_dir,
            first_name,
            &staged.stage,
            &*staged.name,
            AtFlags::empty(),
        )?;
        place(&staged, dir, name, false, false)?;
        // Renaming one name of an inode over another does nothing and leaves the first.
        match unlinkat(&staged.stage, &*staged.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a directory whose contents are about to change, noting what the change would spoil.
    fn touch(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        let fd = self.open(dir)?;
        if let Some(pending) = &mut self.pending {
            if !pending.covers(dir) {
                self.note_old(dir, &fd)?;
            }
            return Ok(fd);
        }
        let needs_time = self.keep_times && !self.dir_times.contains_key(dir);
        if needs_time || !self.privileged {
            let stat = fstat(&fd)?;
            if needs_time {
                let time = Time::found(stat.st_mtime, stat.st_mtime_nsec);
                self.dir_times.insert(dir.clone(), time);
            }
            let mode = stat.st_mode & 0o7777;
            if !self.privileged && mode & 0o300 != 0o300 {
                self.dir_modes.entry(dir.clone()).or_insert(mode);
                // If it is somebody else's directory, the change itself will say so.
                let _ = fchmod(&fd, Mode::from_raw_mode(mode | 0o700));
            }
        }
        Ok(fd)
    }

    /// Notes what the changes to come would spoil about a directory.
    fn note_old(&mut self, dir: &RelPath, fd: &OwnedFd) -> io::Result<()> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        if pending.old_times.contains_key(dir) {
            return Ok(());
        }
        let stat = fstat(fd)?;
        let time = Time::found(stat.st_mtime, stat.st_mtime_nsec);
        pending.old_times.insert(dir.clone(), time);
        if self.keep_times {
            self.dir_times.entry(dir.clone()).or_insert(time);
        }
        let mode = stat.st_mode & 0o7777;
        if !self.privileged && mode & 0o300 != 0o300 {
            self.dir_modes.entry(dir.clone()).or_insert(mode);
        }
        Ok(())
    }

    /// Opens a directory, where it is now; the last one is kept open, since changes come directory
    /// by directory.
    pub(crate) fn open(&mut self, dir: &RelPath) -> io::Result<Arc<OwnedFd>> {
        if let Some((held, fd)) = &self.held_dir
            && held == dir
        {
            return Ok(Arc::clone(fd));
        }
        let staged = self.pending.as_ref().and_then(|p| p.open(dir));
        let fd = Arc::new(staged.unwrap_or_else(|| self.root.open_dir(dir))?);
        self.held_dir = Some((dir.clone(), Arc::clone(&fd)));
        Ok(fd)
    }

    fn warn(&mut self, verb: &str, path: &RelPath, e: &io::Error) {
        let message = format!(
            "cannot {verb} {} on the target: {}",
            self.root.shown(path),
            describe(e)
        );
        self.warnings.push(Warning {
            vanished: false,
            message,
        });
    }
}

impl Intent {
    /// The directory that holds the entry.
    fn dir(&self) -> &RelPath {
        match self {
            Intent::Place { dir, .. }
            | Intent::Link { dir, .. }
            | Intent::SetAttrs { dir, .. }
            | Intent::Remove { dir, .. } => dir,
        }
    }

    fn name(&self) -> &[u8] {
        match self {
            Intent::Place { name, .. }
            | Intent::Link { name, .. }
            | Intent::SetAttrs { name, .. }
            | Intent::Remove { name, .. } => name,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Intent::Place { .. } => "put in place",
            Intent::Link { .. } => "link",
            Intent::SetAttrs { .. } => "set the metadata of",
            Intent::Remove { .. } => "remove",
        }
    }
}

/// Puts a staged entry under its name. The name is never absent: a rename replaces like by like,
/// an exchange swaps a directory with anything else, and what was swapped out is removed after.
fn place(
    staged: &Staged,
    dir: &OwnedFd,
    name: &[u8],
    is_dir: bool,
    over_tree: bool,
) -> io::Result<()> {
    let (stage, staged_name) = (&*staged.stage, &*staged.name);
    // A plain rename replaces a non-directory by another, and an empty directory by a directory.
    match renameat(stage, staged_name, dir, name) {
        Err(Errno::ISDIR) if !is_dir => {}
        Err(Errno::NOTDIR | Errno::EXIST | Errno::NOTEMPTY) if is_dir => {}
        result => return Ok(result?),
    }
    exchange(stage, staged_name, dir, name)?;
    if over_tree {
        return remove_tree(stage, staged_name);
    }
    let flags = if is_dir {
        AtFlags::empty()
    } else {
        AtFlags::REMOVEDIR
    };
    match unlinkat(stage, staged_name, flags) {
        Err(e @ (Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR)) => {
            // Somebody put entries there since it was found empty: they go back where they were.
            exchange(stage, staged_name, dir, name)?;
            Err(e.into())
        }
        result => Ok(result?),
    }
}

fn exchange(stage: &StageDir, staged: &[u8], dir: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match renameat_with(stage, staged, dir, name, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            // A file system that cannot exchange: the name is absent between these two calls,
            // which only a change between directory and non-directory meets.
            let aside = [staged, b".old"].concat();
            renameat(dir, name, stage, &*aside)?;
            renameat(stage, staged, dir, name)?;
            Ok(renameat(stage, &*aside, stage, staged)?)
        }
        result => Ok(result?),
    }
}
