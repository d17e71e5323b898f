//! Which entry it is: what tells, some time later, whether a name still stands for the entry that
//! was judged, and after a crash whether a change has been made already.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat, fstat};
use serde::{Deserialize, Serialize};

use crate::entry::Time;

/// An entry as it was when it was examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// Its number, which is used again, and which some file systems give out anew at any time.
    pub number: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Length of what is not a directory.
    pub len: Option<u64>,
    /// Time of the last change of content.
    pub time: Time,
    /// Time of the last change of anything, which nobody can set.
    pub ctime: Time,
}

impl Inode {
    /// What a descriptor holds, opened or not.
    ///
    /// # Errors
    ///
    /// As the system call has them.
    pub fn held(fd: impl AsFd) -> io::Result<Self> {
        Ok(Inode::of(&fstat(fd)?))
    }

    pub(crate) fn of(stat: &Stat) -> Self {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Inode {
            number: stat.st_ino,
            mode: stat.st_mode,
            uid: stat.st_uid,
            len: (!is_dir).then_some(stat.st_size as u64),
            time: Time::found(stat.st_mtime, stat.st_mtime_nsec),
            ctime: Time::found(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.len.is_none()
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_symlink(&self) -> bool {
        self.file_type() == FileType::Symlink
    }

    /// Whether it is that entry, unchanged; a directory's time changes with what is in it.
    pub(crate) fn is_same(&self, other: &Inode) -> bool {
        self.number == other.number
            && self.len == other.len
            && (self.is_dir() || self.time == other.time)
    }

    /// Checks that `now` is the entry that was judged, whose owner may have become `new_uid`
    /// since, by an earlier attempt.
    ///
    /// Type and owner have to be the same, and the number, or else everything that can be told of
    /// an inode without it: a file system may number an entry anew each time it is looked up.
    ///
    /// # Errors
    ///
    /// If it is another one.
    pub fn check(&self, now: &Inode, new_uid: Option<u32>) -> io::Result<()> {
        let facts = |inode: &Inode| (inode.mode, inode.len, inode.time, inode.ctime);
        let is_owned = now.uid == self.uid || Some(now.uid) == new_uid;
        let is_it = now.number == self.number || facts(now) == facts(self);
        if is_owned && is_it && now.file_type() == self.file_type() {
            return Ok(());
        }
        Err(replaced())
    }
}

pub(crate) fn replaced() -> io::Error {
    io::Error::other("it was replaced, or given away, meanwhile; push again")
}
