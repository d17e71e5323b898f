//! Metadata that directories get at the end: times, which every change inside moves, and rights,
//! which nobody gains before what is inside has its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Stat, fstat};
use serde::{Deserialize, Serialize};

use crate::entry::Time;
use crate::fs::{Attrs, Inode, WhichDir};
use crate::path::RelPath;
use crate::spill::{Room, SpillList, SpillMap, SpillSorter};
use crate::wire::{decode_record, encode};

/// What the directories of a target are still to get, by the key of their path: a push may touch
/// millions.
#[derive(Debug, Default)]
pub(super) struct DirEnds {
    ends: SpillMap,
}

/// What one directory is to get, as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct End {
    time: Option<DirTime>,
    /// Owner, group and mode.
    rights: Option<(Inode, Attrs)>,
    /// The time from before anything inside was changed, where an undo is to bring it back.
    old_time: Option<Time>,
    /// The one in which was found what is about to change.
    judged: Option<WhichDir>,
}

/// There is one for each directory that is touched: no more than it takes to know it again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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

/// All directories, children before parents, so that a parent without search permission comes last.
pub(super) struct DirPaths {
    sorted: SpillList,
    left: usize,
}

impl Iterator for DirPaths {
    type Item = RelPath;

    fn next(&mut self) -> Option<RelPath> {
        self.left = self.left.checked_sub(1)?;
        self.sorted.with(self.left, RelPath::of_sort_key)
    }
}

impl DirEnds {
    fn end(&self, dir: &RelPath) -> End {
        let found = self.ends.get(&dir.sort_key());
        found
            .and_then(|end| decode_record(&end))
            .unwrap_or_default()
    }

    fn set(&mut self, dir: &RelPath, end: &End) {
        let mut value = Vec::with_capacity(64);
        // What is in memory can be encoded.
        if encode(end, &mut value).is_ok() {
            self.ends.set(&dir.sort_key(), &value);
        }
    }

    pub(super) fn has_time(&self, dir: &RelPath) -> bool {
        self.end(dir).time.is_some()
    }

    /// The directory at `dir`, which is `now`, gets that time, whatever was said before.
    pub(super) fn set_time(&mut self, dir: &RelPath, now: &Inode, time: Time) {
        let (number, uid) = (now.number, now.uid);
        let time = Some(DirTime { number, uid, time });
        let end = self.end(dir);
        self.set(dir, &End { time, ..end });
    }

    /// It gets its own time back, unless it is to get another.
    pub(super) fn keep_time(&mut self, dir: &RelPath, now: &Inode) {
        if !self.has_time(dir) {
            self.set_time(dir, now, now.time);
        }
    }

    /// What is in the directory at `dir` was judged in that one.
    pub(super) fn set_judged(&mut self, dir: &RelPath, which: WhichDir) {
        let judged = Some(which);
        let end = self.end(dir);
        self.set(dir, &End { judged, ..end });
    }

    /// Checks that what is open is the directory in which was judged what is in `dir`.
    pub(super) fn check(&self, dir: &RelPath, open: impl AsFd) -> io::Result<()> {
        let judged = self.end(dir).judged;
        judged.map_or(Ok(()), |which| which.check_open(open))
    }

    pub(super) fn old_time(&self, dir: &RelPath) -> Option<Time> {
        self.end(dir).old_time
    }

    /// That is the time from before anything inside was changed.
    pub(super) fn set_old_time(&mut self, dir: &RelPath, time: Time) {
        let old_time = Some(time);
        let end = self.end(dir);
        self.set(dir, &End { old_time, ..end });
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
        let rights = Some((now, rights));
        let end = self.end(dir);
        self.set(dir, &End { rights, ..end });
    }

    /// It gets its own mode back, unless it is to get other rights.
    pub(super) fn keep_mode(&mut self, dir: &RelPath, now: Inode) {
        let end = self.end(dir);
        if end.rights.is_some() {
            return;
        }
        let mode = Attrs {
            mode: Some(now.mode & 0o7777),
            ..Attrs::default()
        };
        let rights = Some((now, mode));
        self.set(dir, &End { rights, ..end });
    }

    /// Mode and group that a directory, which is `now`, will have.
    pub(super) fn mode_and_group(&self, dir: &RelPath, now: &Stat) -> (u32, u32) {
        let rights = self.end(dir).rights;
        let (mode, gid) = rights.map_or((None, None), |(_, rights)| (rights.mode, rights.gid));
        (
            mode.unwrap_or(now.st_mode & 0o7777),
            gid.unwrap_or(now.st_gid),
        )
    }

    pub(super) fn paths(&self) -> DirPaths {
        let mut sorter = SpillSorter::new(Room::default(), |key| (false, key));
        self.ends.each_key(|key| sorter.push(key));
        let sorted = sorter.finish();
        let left = sorted.len();
        DirPaths { sorted, left }
    }

    pub(super) fn get(&self, dir: &RelPath) -> Option<DirEnd> {
        let End { time, rights, .. } = self.end(dir);
        let marked = time.map(|time| Inode {
            number: time.number,
            mode: FileType::Directory.as_raw_mode(),
            uid: time.uid,
            len: None,
            time: time.time,
            ctime: Time::default(),
        });
        let inode = rights.as_ref().map(|(inode, _)| *inode).or(marked)?;
        let attrs = rights.map(|(_, rights)| rights).unwrap_or_default();
        Some(DirEnd {
            inode,
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
