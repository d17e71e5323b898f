//! Metadata of entries that stay, and that are the ones that were judged.

use std::io;

use rustix::fs::{AtFlags, Mode, Stat, fchmod, fstat, statat};

use super::Commit;
use crate::attributes::Scope;
use crate::change::op::Op;
use crate::change::rights::narrowed;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::{Assigned, Attrs, Inode, Listed, attributes_of, numbers_hold, replaced};
use crate::path::RelPath;

impl Commit {
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
}

/// What tells an inode from all others.
fn inode_key(stat: &Stat) -> [u8; 16] {
    (u128::from(stat.st_dev) << 64 | u128::from(stat.st_ino)).to_be_bytes()
}
