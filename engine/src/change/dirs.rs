//! Metadata that directories get at the end: times, which every change inside moves, and rights,
//! which nobody gains before what is inside has its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat, fstat};

use crate::entry::Time;
use crate::fs::{Attrs, Inode};
use crate::path::RelPath;

/// What the directories of a target are still to get.
#[derive(Debug, Default)]
pub(super) struct DirEnds {
    times: BTreeMap<RelPath, DirTime>,
    /// Owner, group and mode.
    rights: BTreeMap<RelPath, (Inode, Attrs)>,
    /// Times from before anything inside was changed, where an undo is to bring them back.
    pub(super) old_times: BTreeMap<RelPath, Time>,
}

/// There is one for each directory that is touched: no more than it takes to know it again.
#[derive(Clone, Copy, Debug)]
struct DirTime {
    number: u64,
    uid: u32,
    time: Time,
}

/// What one directory gets.
pub(super) struct DirEnd {
    /// Which one it is.
    pub(super) inode: Inode,
    pub(super) attrs: Attrs,
}

impl DirEnds {
    pub(super) fn has_time(&self, dir: &RelPath) -> bool {
        self.times.contains_key(dir)
    }

    /// The directory at `dir`, which is `now`, gets that time, whatever was said before.
    pub(super) fn set_time(&mut self, dir: &RelPath, now: &Inode, time: Time) {
        let (number, uid) = (now.number, now.uid);
        self.times
            .insert(dir.clone(), DirTime { number, uid, time });
    }

    /// It gets its own time back, unless it is to get another.
    pub(super) fn keep_time(&mut self, dir: &RelPath, now: &Inode) {
        if !self.has_time(dir) {
            self.set_time(dir, now, now.time);
        }
    }

    pub(super) fn set_rights(&mut self, dir: &RelPath, now: Inode, rights: Attrs) {
        let rights = Attrs {
            // With another group or ACL to come, the group has no permissions until the end: they
            // come back then.
            mode: rights.mode.or_else(|| {
                let is_narrowed = rights.gid.is_some() || rights.assigns_acls();
                is_narrowed.then_some(now.mode & 0o7777)
            }),
            ..rights
        };
        self.rights.insert(dir.clone(), (now, rights));
    }

    /// It gets its own mode back, unless it is to get other rights.
    pub(super) fn keep_mode(&mut self, dir: &RelPath, now: Inode) {
        let mode = Attrs {
            mode: Some(now.mode & 0o7777),
            ..Attrs::default()
        };
        self.rights.entry(dir.clone()).or_insert((now, mode));
    }

    /// Mode and group that a directory, which is `now`, will have.
    pub(super) fn mode_and_group(&self, dir: &RelPath, now: &Stat) -> (u32, u32) {
        let rights = self.rights.get(dir).map(|(_, rights)| rights);
        let (mode, gid) = rights.map_or((None, None), |rights| (rights.mode, rights.gid));
        (
            mode.unwrap_or(now.st_mode & 0o7777),
            gid.unwrap_or(now.st_gid),
        )
    }

    /// All directories, children before parents, so that a parent without search permission comes
    /// last.
    pub(super) fn paths(&self) -> Vec<RelPath> {
        let paths = self.times.keys().chain(self.rights.keys());
        let paths: BTreeSet<&RelPath> = paths.chain(self.old_times.keys()).collect();
        paths.into_iter().rev().cloned().collect()
    }

    pub(super) fn get(&self, dir: &RelPath) -> Option<DirEnd> {
        let (time, rights) = (self.times.get(dir), self.rights.get(dir));
        let attrs = rights.map(|(_, rights)| rights.clone());
        let attrs = attrs.unwrap_or_default();
        let marked = time.map(|time| Inode {
            number: time.number,
            mode: FileType::Directory.as_raw_mode(),
            uid: time.uid,
            len: None,
            time: time.time,
            ctime: Time::default(),
        });
        Some(DirEnd {
            inode: rights.map(|(inode, _)| *inode).or(marked)?,
            attrs: Attrs {
                mtime: time.map(|time| time.time),
                ..attrs
            },
        })
    }

    pub(super) fn clear(&mut self) {
        *self = DirEnds::default();
    }
}

/// What an open directory is.
pub(super) fn inode_of(dir: &OwnedFd) -> io::Result<Inode> {
    Ok(Inode::of(&fstat(dir)?))
}
