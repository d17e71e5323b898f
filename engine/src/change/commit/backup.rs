//! Backups: what is replaced or removed, and is no directory, is kept under another name. Its
//! backup is a link to it, made in staging and put in place like anything else before the name is
//! taken from it: wherever hasync is stopped, it has one of the two names. Only a power cut may
//! take a backup on another file system, which is flushed at the end.
//!
//! Backups outside of the target have a commit of their own, which is carried out at once. An
//! atomic push that comes to nothing may therefore leave backups of entries that stayed.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, fstat, linkat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

use super::{Commit, Staged};
use crate::attributes::Scope;
use crate::change::copy::copy;
use crate::change::op::{Op, Over};
use crate::change::place::is_full_dir;
use crate::error::Error;
use crate::fs::{
    Abilities, Assigned, Attrs, DIR_FLAGS, Inherited, Inode, Root, is_absent, own_scope,
    set_fd_attrs, stat,
};
use crate::keeps::Keeps;
use crate::links::is_unsafe;
use crate::observer::{Differences, Kind};
use crate::options::{BackupPlace, Options};
use crate::path::{RelPath, Shown};
use crate::spill::SpillMap;
use crate::umask::umask;

/// The backups of one push.
#[derive(Debug)]
pub(super) struct Backups {
    suffix: Vec<u8>,
    /// The directory that they go to; without one each stays beside what takes its place.
    dir: Option<RelPath>,
    is_elsewhere: bool,
    home: Home,
    /// Directories that are there, or will be when they are needed.
    made: SpillMap,
    /// Not of symlinks that may lead out of the tree.
    safe_links: bool,
    perms: bool,
    owner: bool,
    group: bool,
    /// The attributes that the push mirrors.
    asked: Differences,
    /// What the file systems keep that backups are copied to, by their device.
    keeps: HashMap<u64, Keeps>,
    /// That there are attributes which these do not keep has been told.
    lost_is_known: bool,
}

/// A directory for backups that is not in the target, as far as it is there.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) held: Arc<Root>,
    /// What is still to be made in it.
    pub(crate) rest: RelPath,
}

/// The tree that backups are kept in.
#[derive(Debug, Default)]
enum Home {
    #[default]
    Target,
    /// Another, to be made when it is needed.
    Asked(Elsewhere),
    Made(Box<Commit>),
}

impl Home {
    /// Makes what is still to be made of it.
    fn make(&mut self, flush: bool) -> io::Result<()> {
        let Home::Asked(Elsewhere { held, rest }) = self else {
            return Ok(());
        };
        let mut at = RelPath::root();
        for name in rest.components() {
            match mkdirat(held.open_dir(&at)?, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => at = at.join(name),
                Err(e) => return Err(e.into()),
            }
        }
        let root = Root::from_fd(held.open_dir(&at)?, held.path_of(&at));
        let options = Options {
            fsync: flush,
            ..Options::default()
        };
        *self = Home::Made(Box::new(Commit::new(Arc::new(root), &options)));
        Ok(())
    }

    /// The commit to it; `target` is that of the push.
    fn commit<'a>(&'a mut self, target: &'a mut Commit) -> &'a mut Commit {
        match self {
            Home::Made(commit) => commit,
            Home::Target | Home::Asked(_) => target,
        }
    }
}

impl Backups {
    pub(super) fn new(options: &Options) -> Option<Self> {
        let backup = options.backup.as_ref()?;
        Some(Backups {
            suffix: backup.suffix.clone(),
            dir: match &backup.place {
                BackupPlace::Beside => None,
                BackupPlace::Below(dir) => Some(RelPath::of(dir)),
                BackupPlace::Elsewhere(_) => Some(RelPath::root()),
            },
            is_elsewhere: matches!(backup.place, BackupPlace::Elsewhere(_)),
            home: Home::Target,
            made: SpillMap::default(),
            safe_links: options.safe_links && options.links,
            perms: options.perms,
            owner: options.owner,
            group: options.group,
            asked: Differences {
                acl: options.acls,
                xattr: options.xattrs,
                ..Differences::default()
            },
            keeps: HashMap::new(),
            lost_is_known: false,
        })
    }

    /// Where the backup of that entry goes.
    fn place(&self, dir: &RelPath, name: &[u8]) -> (RelPath, Vec<u8>) {
        let to = self.dir.as_ref().map(|to| to.join_path(dir));
        let name = [name, &self.suffix].concat();
        (to.unwrap_or_else(|| dir.clone()), name)
    }

    /// What the file system of a directory keeps of what is copied into it.
    fn keeps_in(&mut self, dir: BorrowedFd<'_>) -> io::Result<Keeps> {
        let asked = || Abilities::of(dir, own_scope()).unwrap_or_default().keeps;
        Ok(*self.keeps.entry(fstat(dir)?.st_dev).or_insert_with(asked))
    }

    /// The commit that backups have for themselves.
    pub(super) fn own_commit(&mut self) -> Option<&mut Commit> {
        match &mut self.home {
            Home::Made(commit) => Some(commit),
            Home::Target | Home::Asked(_) => None,
        }
    }
}

impl Commit {
    /// Keeps backups there, if they are not kept in the target.
    pub(crate) fn keeping(mut self, elsewhere: Option<Elsewhere>) -> Self {
        match (&mut self.backups, elsewhere) {
            (Some(backups), Some(elsewhere)) => backups.home = Home::Asked(elsewhere),
            // In a new target there is nothing to be kept.
            (Some(backups), None) if backups.is_elsewhere => self.backups = None,
            _ => {}
        }
        self
    }

    /// Brings to an end what is kept outside of the target.
    pub(super) fn finish_backups(&mut self) -> Result<(), Error> {
        let own = self.backups.as_mut().and_then(Backups::own_commit);
        own.map_or(Ok(()), |own| own.finish().map(|_| ()))
    }

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
        let Some(backups) = &mut self.backups else {
            return Ok(true);
        };
        let mut home = std::mem::take(&mut backups.home);
        let kept = self.keep(&mut home, dir, name);
        if let Some(backups) = &mut self.backups {
            backups.home = home;
        }
        kept
    }

    fn keep(&mut self, home: &mut Home, dir: &RelPath, name: &[u8]) -> Result<bool, Error> {
        let op = match self.stage_backup(home, dir, name) {
            Ok(None) => return Ok(true),
            Ok(Some(op)) => op,
            Err(cause) => {
                self.not_done("back up", dir.join(name), cause)?;
                return Ok(false);
            }
        };
        let commit = home.commit(self);
        if commit.is_atomic() {
            return commit.add(op).map(|()| true);
        }
        // At once: should it fail, nothing takes the name.
        match commit.roll.carry_out(&op) {
            Ok(()) => Ok(true),
            Err(failed) => commit.failed(failed).map(|()| false),
        }
    }

    /// Makes a backup in staging, and says how it gets where it belongs; `None` if nothing is to be
    /// kept.
    fn stage_backup(
        &mut self,
        home: &mut Home,
        dir: &RelPath,
        name: &[u8],
    ) -> io::Result<Option<Op>> {
        let from = match self.open(dir) {
            Ok(from) => from,
            // In a directory that is not there yet nothing is.
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let old = Inode::at(&from, name)?.filter(|old| !old.is_dir());
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
        home.make(self.flush)?;
        self.make_way(home, &to)?;
        let commit = home.commit(self);
        // A name that is too long for one is found out here, too.
        if is_full_dir(&*commit.open(&to)?, &new_name)? {
            return Err(io::Error::other(
                "a directory that is not empty has the name of the backup; rename that directory",
            ));
        }
        let staged = commit.try_stage(&to)?;
        if !is_linked((&from, name), &staged)? {
            self.copy_to(home, (&from, name), &staged, &to.join(&new_name))?;
        }
        Ok(Some(Op::Replace {
            dir: to,
            name: new_name,
            slot: staged.slot(),
            over: Over::default(),
        }))
    }

    /// Makes a copy of an entry in staging, with all that is kept where it is to be.
    fn copy_to(
        &mut self,
        home: &mut Home,
        (dir, name): (&Arc<OwnedFd>, &[u8]),
        staged: &Staged,
        at: &RelPath,
    ) -> io::Result<()> {
        let c_name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let listed = stat(dir, &c_name, own_scope())?;
        let (attrs, kind) = (listed.attrs(own_scope()), listed.entry.kind());
        let attrs = self.kept_of(home, (attrs, kind), staged, at)?;
        copy((&**dir, name), &listed, &attrs, &staged.stage, &staged.name)
    }

    /// What of it is kept where a backup is made; says once that attributes which are mirrored are
    /// not.
    fn kept_of(
        &mut self,
        home: &mut Home,
        (attrs, kind): (Attrs, Kind),
        staged: &Staged,
        at: &RelPath,
    ) -> io::Result<Attrs> {
        let Some(backups) = &mut self.backups else {
            return Ok(attrs);
        };
        let keeps = backups.keeps_in(staged.stage.fd().as_fd())?;
        let (kept, lost) = attrs.kept(&keeps, kind);
        let asked = backups.asked;
        let is_lost = lost.acl && asked.acl || lost.xattr && asked.xattr;
        if is_lost && !std::mem::replace(&mut backups.lost_is_known, true) {
            let shown = home.commit(self).root.shown(at);
            self.tell_lost_in_backups(&shown)
                .map_err(|e| io::Error::other(e.message))?;
        }
        Ok(kept)
    }

    /// Makes the directories that lead to a backup, like those that they keep something of.
    fn make_way(&mut self, home: &mut Home, to: &RelPath) -> io::Result<()> {
        let mut at = RelPath::root();
        for component in to.components() {
            let above = at.clone();
            at = at.join(component);
            if self.is_way(home, &at) {
                continue;
            }
            let original = self.original_of(&at);
            let commit = home.commit(self);
            if Inode::at(&*commit.open(&above)?, component)?.is_some() {
                return Err(io::Error::other(format!(
                    "{} is not a directory and is in the way of a backup; rename it",
                    Shown(&at.shown())
                )));
            }
            let inherited = commit.inherited(&above);
            let attrs = self.attrs_of_way(original, inherited)?;
            let staged = home.commit(self).try_stage(&above)?;
            let attrs = self.kept_of(home, (attrs, Kind::Dir), &staged, &at)?;
            let commit = home.commit(self);
            mkdirat(&*staged.stage, &*staged.name, Mode::RWXU)?;
            let made = openat(&*staged.stage, &*staged.name, DIR_FLAGS, Mode::empty())?;
            let made = File::from(made);
            set_fd_attrs(&made, &attrs)?;
            let placed = commit.put_dir(&staged, &made.into(), &at, &attrs, Over::default());
            placed
                .and_then(|()| commit.run())
                .map_err(|e| io::Error::other(e.message))?;
            self.note_way(&at);
        }
        Ok(())
    }

    /// Whether a directory on the way to a backup is there, or will be.
    fn is_way(&mut self, home: &mut Home, at: &RelPath) -> bool {
        let is_noted = |backups: &Backups| backups.made.contains(&at.as_bytes());
        let is_there =
            self.backups.as_ref().is_some_and(is_noted) || home.commit(self).open(at).is_ok();
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

    /// What the directory has now, and will have at the end, that the one at `at` on the way to a
    /// backup stands for.
    fn original_of(&mut self, at: &RelPath) -> Option<(Attrs, Attrs)> {
        let backups = self.backups.as_ref()?;
        let dir = backups.dir.clone()?;
        let scope = Scope {
            acls: backups.asked.acl,
            ..Scope::default()
        };
        if !at.is_within(&dir) || *at == dir {
            return None;
        }
        let original = at.below(&dir);
        let now = stat(self.open(&original).ok()?, c".", scope).ok()?;
        let end = self.dirs.get(&original).map(|end| end.attrs);
        Some((now.attrs(scope), end.unwrap_or_default()))
    }

    /// What a directory on the way to a backup gets: as much as is kept of what its original has,
    /// or what a new one inherits.
    fn attrs_of_way(
        &self,
        original: Option<(Attrs, Attrs)>,
        inherited: Inherited,
    ) -> io::Result<Attrs> {
        let setgid = if inherited.gid.is_some() { 0o2000 } else { 0 };
        let backups = self.backups.as_ref();
        let kept = |is_kept: fn(&Backups) -> bool| backups.is_some_and(is_kept);
        let (perms, owner, group) = (kept(|b| b.perms), kept(|b| b.owner), kept(|b| b.group));
        let Some((now, end)) = original else {
            return Ok(Attrs {
                gid: inherited.gid,
                mode: Some(inherited.perms.unwrap_or(0o777 & !umask()) | setgid),
                ..Attrs::default()
            });
        };
        let setgid = if perms { 0 } else { setgid };
        Ok(Attrs {
            uid: end.uid.or(now.uid).filter(|_| owner && self.privileged),
            gid: end.gid.or(now.gid).filter(|_| group && self.privileged),
            mode: end.mode.or(now.mode).map(|mode| mode | setgid),
            attributes: match (now.attributes, end.attributes) {
                // What else the original will have is not the backup's.
                (Some(now), Some(end)) => Assigned::new(now.scope, &end.after(&now)?.all),
                (now, _) => now,
            },
            ..Attrs::default()
        })
    }
}

/// Gives an entry another name, in staging; `false` if it cannot have one there.
fn is_linked((dir, name): (&OwnedFd, &[u8]), staged: &Staged) -> io::Result<bool> {
    let to = (staged.stage.fd(), &*staged.name);
    match linkat(dir, name, to.0, to.1, AtFlags::empty()) {
        // Another file system, one without links, one that has no more or counts none, somebody
        // else's file.
        Err(
            Errno::XDEV
            | Errno::PERM
            | Errno::OPNOTSUPP
            | Errno::MLINK
            | Errno::NOSYS
            | Errno::NOENT,
        ) => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}
