//! The door to the target for a push or an undo: it collects [`Op`]s, and has them carried out in
//! the order in which they came, or hands them over as a whole.

mod backup;
mod links;
mod pending;
mod staging;
mod telling;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, Stat, fchmod, fstat, statat};

use self::backup::Backups;
pub(crate) use self::backup::Elsewhere;
use self::links::Links;
pub(crate) use self::links::{JudgedFirst, Link};
use self::pending::Pending;
use crate::attributes::Scope;
use crate::change::dirs::{DirEnds, inode_of};
use crate::change::failed::Told;
use crate::change::op::{Op, Over, Slot, Tree};
use crate::change::place::inode;
use crate::change::rights::narrowed;
use crate::change::roll::Roll;
use crate::change::session::StageDir;
use crate::change::stage::Stage;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::{
    Assigned, Attrs, Inherited, Inode, Listed, Root, attributes_of, flush, numbers_hold, replaced,
};
use crate::observer::Warning;
use crate::options::Options;
use crate::path::RelPath;
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
    unmoved: BTreeSet<RelPath>,
    warnings: Vec<Warning>,
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
            unmoved: BTreeSet::new(),
            warnings: Vec::new(),
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
            None => Some(inode(stage.fd(), staged_name).ok()??.number),
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

    /// Removes an entry; if it is a directory, as what goes as a `tree`.
    pub(crate) fn remove(&mut self, dir: RelPath, name: Vec<u8>, tree: Tree) -> Result<(), Error> {
        self.add(Op::Discard { dir, name, tree })
    }

    /// Sets metadata of an entry of `dir` that was `listed` so when that was decided; a directory
    /// gets them at the end.
    pub(crate) fn set_attrs(
        &mut self,
        dir: &RelPath,
        listed: &Listed,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let name = &listed.entry.name;
        match self.judged(dir, listed) {
            Err(cause) => self.not_done("set the metadata of", dir.join(name), cause),
            Ok(now) if listed.entry.is_dir() => self.set_dir_attrs(dir, &listed.entry, &now, attrs),
            Ok(now) => {
                if now.st_nlink > 1 {
                    self.changed_links.insert(&inode_key(&now), b"");
                }
                self.add(Op::SetAttrs {
                    dir: dir.clone(),
                    name: name.clone(),
                    inode: Inode::of(&now),
                    new: attrs,
                    old: Attrs::default(),
                })
            }
        }
    }

    /// The entry, if it is the one that was listed.
    fn judged(&mut self, dir: &RelPath, listed: &Listed) -> io::Result<Stat> {
        let fd = self.open(dir)?;
        let entry = &listed.entry;
        let mut now = statat(&fd, &*entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if entry.is_dir() && self.root.follow().is_some() && Inode::of(&now).is_symlink() {
            now = fstat(self.root.open_dir(&dir.join(&entry.name))?)?;
        }
        let inode = Inode::of(&now);
        let is_type = inode.file_type() == entry.body.file_type();
        // Its time has moved, or its mode for whoever is not root, with what was changed in it.
        let is_own = |changes: bool| changes && entry.is_dir();
        let is_as_listed = (now.st_uid, now.st_gid) == (entry.uid, entry.gid)
            && (is_own(!self.privileged) || now.st_mode & 0o7777 == entry.mode)
            && (is_own(true) || inode.time == entry.mtime)
            && (!matches!(entry.body, Body::File { .. }) || inode.len == Some(entry.len()))
            && (listed.ino == 0 || listed.ino == now.st_ino || !numbers_hold(&fd));
        if is_type && (is_as_listed || self.changed_links.contains(&inode_key(&now))) {
            return Ok(now);
        }
        Err(replaced())
    }

    fn set_dir_attrs(
        &mut self,
        dir: &RelPath,
        Entry {
            name, attributes, ..
        }: &Entry,
        now: &Stat,
        attrs: Attrs,
    ) -> Result<(), Error> {
        let (path, inode) = (dir.join(name), Inode::of(now));
        if let Some(time) = attrs.mtime {
            self.dirs.set_time(&path, &inode, time);
        }
        let rights = Attrs {
            mtime: None,
            ..attrs
        };
        if rights.is_empty() {
            return Ok(());
        }
        self.dirs.set_rights(&path, inode, rights.clone());
        if self.is_atomic() {
            return Ok(());
        }
        let before = now.st_mode & 0o7777;
        let old = Attrs {
            gid: Some(now.st_gid),
            mode: Some(before),
            attributes: Assigned::new(Scope::ALL, attributes),
            ..Attrs::default()
        };
        let more = if self.privileged { 0 } else { 0o700 };
        let mode = narrowed(&old, &rights).unwrap_or(before) | more;
        if mode == before {
            return Ok(());
        }
        if self.root.follow().is_some() {
            // A symlink may lead there. If this user may not change it, that is told at the end.
            let opened = self.root.open_dir(&path);
            let _ = opened.map(|fd| fchmod(&fd, Mode::from_raw_mode(mode)));
            return Ok(());
        }
        let new = Attrs {
            mode: Some(mode),
            ..Attrs::default()
        };
        self.add(Op::SetAttrs {
            dir: dir.clone(),
            name: name.to_vec(),
            inode,
            new,
            old,
        })
    }

    /// Metadata that the root gets at the end.
    pub(crate) fn set_root_attrs(&mut self, attrs: Attrs) -> Result<(), Error> {
        let root = RelPath::root();
        let opened = self.open(&root).and_then(|fd| Ok((fstat(&fd)?, fd)));
        let (now, fd) = opened.map_err(|e| Error::file("examine the target root", &e))?;
        if let Some(time) = attrs.mtime {
            self.dirs.set_time(&root, &Inode::of(&now), time);
        }
        let rights = Attrs {
            mtime: None,
            ..attrs
        };
        if rights.is_empty() {
            return Ok(());
        }
        self.dirs.set_rights(&root, Inode::of(&now), rights.clone());
        let scope = rights.attributes.as_ref().map(|assigned| assigned.scope);
        let attributes = attributes_of(&*fd, scope.unwrap_or_default());
        let old = Attrs {
            gid: Some(now.st_gid),
            mode: Some(now.st_mode & 0o7777),
            attributes: attributes
                .ok()
                .and_then(|all| Assigned::new(Scope::ALL, &all)),
            ..Attrs::default()
        };
        if !self.is_atomic()
            && let Some(mode) = narrowed(&old, &rights)
        {
            // If this user may not change it, that is told at the end.
            let _ = fchmod(&fd, Mode::from_raw_mode(mode));
        }
        Ok(())
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
        if matches!(op, Op::Discard { .. }) {
            // Nothing was staged for it, which notes the same. What cannot be opened says so next.
            let _ = self.touch(op.dir());
        }
        self.roll.carry_out(op).or_else(|failed| {
            if op.moves() {
                self.unmoved.insert(op.path());
            }
            self.failed(failed)
        })
    }

    /// What a directory passes on as the kernel does to what is made in it; staging would lose
    /// that. Permissions only `with_perms`.
    pub(crate) fn inherited(&mut self, dir: &RelPath, with_perms: bool) -> Inherited {
        let Ok(opened) = self.open(dir) else {
            return Inherited::default();
        };
        // The directory may be about to become setgid, or to be so no longer.
        let ends = fstat(&opened).map(|stat| self.dirs.mode_and_group(dir, &stat));
        let setgid = ends.ok().filter(|(mode, _)| mode & 0o2000 != 0);
        Inherited {
            gid: setgid.map(|(_, gid)| gid),
            perms: with_perms.then(|| Inherited::perms_in(opened)).flatten(),
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
        match self.pending.as_ref().and_then(|pending| pending.open(dir)) {
            Some(fd) => Ok(self.roll.hold(dir, fd?)),
            None => self.roll.open_dir(dir),
        }
    }
}

/// What tells an inode from all others.
fn inode_key(stat: &Stat) -> [u8; 16] {
    (u128::from(stat.st_dev) << 64 | u128::from(stat.st_ino)).to_be_bytes()
}
