//! Backups: what is replaced or removed, and is no directory, is kept under another name. Its
//! backup is a link to it, made in staging and put in place like anything else before the name is
//! taken from it: whatever happens, it has one of the two names.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, linkat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

use super::{Commit, Staged};
use crate::attributes::Scope;
use crate::change::copy::copy;
use crate::change::op::{Op, Over};
use crate::change::place::{inode, is_full_dir};
use crate::error::Error;
use crate::fs::{Attrs, DIR_FLAGS, is_absent, own_scope, set_fd_attrs, stat};
use crate::links::is_unsafe;
use crate::options::{Backup, Options};
use crate::path::{RelPath, Shown};
use crate::spill::SpillMap;
use crate::umask::umask;

/// The backups of one push.
#[derive(Debug)]
pub(super) struct Backups {
    to: Backup,
    /// The directory that they go to; without one each stays beside what takes its place.
    dir: Option<RelPath>,
    /// Directories that are there, or will be when they are needed.
    made: SpillMap,
    /// Not of symlinks that may lead out of the tree.
    safe_links: bool,
    perms: bool,
    owner: bool,
    group: bool,
}

impl Backups {
    pub(super) fn new(options: &Options) -> Option<Self> {
        options.backup.clone().map(|to| Backups {
            dir: to.dir.as_deref().map(RelPath::of),
            to,
            made: SpillMap::default(),
            safe_links: options.safe_links,
            perms: options.perms,
            owner: options.owner,
            group: options.group,
        })
    }

    /// Where the backup of that entry goes.
    fn place(&self, dir: &RelPath, name: &[u8]) -> (RelPath, Vec<u8>) {
        let to = self.dir.as_ref().map(|to| to.join_path(dir));
        let name = [name, &self.to.suffix].concat();
        (to.unwrap_or_else(|| dir.clone()), name)
    }
}

impl Commit {
    /// Puts a staged entry under its name, in place of what `over` allows and once that is kept.
    pub(crate) fn place(
        &mut self,
        staged: &Staged,
        dir: RelPath,
        name: Vec<u8>,
        over: Over,
    ) -> Result<(), Error> {
        match self.back_up(&dir, &name)? {
            true => self.put(staged, dir, name, over),
            false => Ok(()),
        }
    }

    /// The same of a staged directory.
    pub(crate) fn place_dir(
        &mut self,
        staged: &Staged,
        fd: &OwnedFd,
        path: &RelPath,
        attrs: &Attrs,
        over: Over,
    ) -> Result<(), Error> {
        let (dir, name) = path.split().unwrap_or_default();
        match self.back_up(&dir, name)? {
            true => self.put_dir(staged, fd, path, attrs, over),
            false => Ok(()),
        }
    }

    /// Keeps what has this name before it is removed or replaced. `false` if that failed, which has
    /// been told, and it has to stay.
    pub(crate) fn back_up(&mut self, dir: &RelPath, name: &[u8]) -> Result<bool, Error> {
        if self.backups.is_none() {
            return Ok(true);
        }
        match self.stage_backup(dir, name) {
            Ok(None) => Ok(true),
            Ok(Some((staged, dir, name))) => {
                let (slot, over) = (staged.slot(), Over::default());
                let op = Op::Replace {
                    dir,
                    name,
                    slot,
                    over,
                };
                if self.is_atomic() {
                    return self.add(op).map(|()| true);
                }
                // At once: should it fail, nothing takes the name.
                match self.roll.carry_out(&op) {
                    Ok(()) => Ok(true),
                    Err(failed) => self.failed(failed).map(|()| false),
                }
            }
            Err(cause) => {
                self.not_done("back up", dir.join(name), cause)?;
                Ok(false)
            }
        }
    }

    /// Makes a backup in staging, and says where it belongs; `None` if nothing is to be kept.
    fn stage_backup(
        &mut self,
        dir: &RelPath,
        name: &[u8],
    ) -> io::Result<Option<(Staged, RelPath, Vec<u8>)>> {
        let from = match self.open(dir) {
            Ok(from) => from,
            // In a directory that is not there yet nothing is.
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let old = inode(&from, name)?.filter(|old| !old.is_dir());
        let (Some(backups), Some(old)) = (&self.backups, old) else {
            return Ok(None);
        };
        if backups.safe_links && old.is_symlink() {
            let target = readlinkat(&*from, name, Vec::new())?;
            if is_unsafe(target.as_bytes(), dir.depth()) {
                return Ok(None);
            }
        }
        let (to, new_name) = backups.place(dir, name);
        self.make_way(&to)?;
        // A name that is too long for one is found out here, too.
        if is_full_dir(&*self.open(&to)?, &new_name)? {
            return Err(io::Error::other(
                "a directory that is not empty has the name of its backup; rename that",
            ));
        }
        let staged = self.try_stage(&to)?;
        link_or_copy((&from, name), &staged)?;
        Ok(Some((staged, to, new_name)))
    }

    /// Makes the directories that lead to a backup, like those that they keep something of.
    fn make_way(&mut self, to: &RelPath) -> io::Result<()> {
        let mut at = RelPath::root();
        for component in to.components() {
            let above = at.clone();
            at = at.join(component);
            if self.is_way(&at) {
                continue;
            }
            if inode(&*self.open(&above)?, component)?.is_some() {
                return Err(io::Error::other(format!(
                    "{} is no directory, and in the way of its backup; rename that",
                    Shown(&at.shown())
                )));
            }
            let attrs = self.attrs_of_way(&at, &above);
            let staged = self.try_stage(&above)?;
            mkdirat(&*staged.stage, &*staged.name, Mode::RWXU)?;
            let made = openat(&*staged.stage, &*staged.name, DIR_FLAGS, Mode::empty())?;
            let made = File::from(made);
            set_fd_attrs(&made, &attrs)?;
            let placed = self.put_dir(&staged, &made.into(), &at, &attrs, Over::default());
            placed
                .and_then(|()| self.run())
                .map_err(|e| io::Error::other(e.message))?;
            self.note_way(&at);
        }
        Ok(())
    }

    /// Whether a directory on the way to a backup is there, or will be.
    fn is_way(&mut self, at: &RelPath) -> bool {
        let is_noted = |backups: &Backups| backups.made.contains(&at.as_bytes());
        let is_there = self.backups.as_ref().is_some_and(is_noted) || self.open(at).is_ok();
        if is_there {
            self.note_way(at);
        }
        is_there
    }

    fn note_way(&mut self, at: &RelPath) {
        if let Some(backups) = &mut self.backups {
            backups.made.insert(&at.as_bytes(), b"");
        }
    }

    /// What a directory on the way to a backup gets: as much as is kept of what that in its place
    /// will have, or what a new one in `above` would.
    fn attrs_of_way(&mut self, at: &RelPath, above: &RelPath) -> Attrs {
        let backups = self.backups.as_ref();
        let kept = |is_kept: fn(&Backups) -> bool| backups.is_some_and(is_kept);
        let (perms, owner, group) = (kept(|b| b.perms), kept(|b| b.owner), kept(|b| b.group));
        let dir = backups.and_then(|backups| backups.dir.clone());
        let original = dir.filter(|dir| at.is_within(dir) && at != dir);
        let original = original.map(|dir| at.below(&dir));
        let listed = original.and_then(|original| {
            let now = stat(self.open(&original).ok()?, c".", Scope::default())
                .ok()?
                .attrs(Scope::default());
            let end = self.dirs.get(&original).map(|end| end.attrs);
            Some((now, end.unwrap_or_default()))
        });
        let (above_mode, above_gid) = self.mode_and_group(above).unwrap_or_default();
        let setgid = above_mode & 0o2000;
        let Some((now, end)) = listed else {
            return Attrs {
                gid: (setgid != 0).then_some(above_gid),
                mode: Some(0o777 & !umask() | setgid),
                ..Attrs::default()
            };
        };
        let setgid = if perms { 0 } else { setgid };
        Attrs {
            uid: end.uid.or(now.uid).filter(|_| owner && self.privileged),
            gid: end.gid.or(now.gid).filter(|_| group && self.privileged),
            mode: end.mode.or(now.mode).map(|mode| mode | setgid),
            ..Attrs::default()
        }
    }
}

/// Gives an entry a name in staging, or where it cannot have another, a copy of it.
fn link_or_copy((dir, name): (&std::sync::Arc<OwnedFd>, &[u8]), staged: &Staged) -> io::Result<()> {
    let link = linkat(
        dir,
        name,
        staged.stage.fd(),
        &*staged.name,
        AtFlags::empty(),
    );
    match link {
        // Another file system, one without links, one that has no more, somebody else's file.
        Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NOSYS) => {}
        result => return Ok(result?),
    }
    let c_name = std::ffi::CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let listed = stat(dir, &c_name, own_scope())?;
    let from = (std::sync::Arc::clone(dir), name.to_vec());
    copy(
        from,
        &listed,
        &listed.attrs(own_scope()),
        &staged.stage,
        &staged.name,
    )
}
