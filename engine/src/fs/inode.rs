//! Which entry it is: what tells, some time later, whether a name still stands for the entry that
//! was judged, and after a crash whether a change has been made already.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, fstat, fstatfs, statat, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::attrs::Attrs;
use crate::entry::Time;

/// An entry as it was when it was examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// Its number, which is used again, and which some file systems give out anew at any time; 0
    /// if it says nothing any more.
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

    /// What has that name in `dir`; `None` if nothing has.
    ///
    /// # Errors
    ///
    /// As the system call has them.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> io::Result<Option<Self>> {
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Inode::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
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

    /// The same of an open directory, whose times and permissions may have changed with what was
    /// done in it: where numbers do not hold, type and owner tell.
    pub(crate) fn check_dir(&self, dir: impl AsFd, new_uid: Option<u32>) -> io::Result<()> {
        let now = Inode::of(&fstat(&dir)?);
        let holds = now.number == self.number || numbers_hold(&dir);
        let number = if holds { self.number } else { now.number };
        Inode { number, ..*self }.check(&now, new_uid)
    }

    /// Whether it still has its name in `dir`, unchanged; `now` is what has that. Where numbers do
    /// not hold, the kernel may learn late of a change that was made under another name.
    pub(crate) fn is_still(&self, now: Option<&Inode>, dir: impl AsFd) -> bool {
        now.is_some_and(|now| now == self || !numbers_hold(dir) && now.looks_like(self))
    }

    /// What it is once it has been given those metadata: when, nobody knows.
    pub(crate) fn changed(&self, attrs: &Attrs) -> Inode {
        let mode = attrs.mode.filter(|_| !self.is_symlink());
        Inode {
            mode: mode.map_or(self.mode, |mode| self.mode & !0o7777 | mode),
            uid: attrs.uid.unwrap_or(self.uid),
            time: attrs.mtime.unwrap_or(self.time),
            ctime: Time::default(),
            ..*self
        }
    }

    /// What it is in a copy of its tree: there nothing has its number, but by chance.
    pub(crate) fn copied(self) -> Inode {
        Inode {
            number: 0,
            ctime: Time::default(),
            ..self
        }
    }

    /// Whether its number can tell it.
    pub(crate) fn is_numbered(&self) -> bool {
        self.number != 0
    }

    /// What that is here, if it is `found`.
    pub(crate) fn located(self, found: Inode, attrs: &Attrs) -> Inode {
        match !self.is_numbered() && found.may_be(&self, attrs) {
            true => found,
            false => self,
        }
    }

    /// Whether it can be a copy of that entry, once that has been given `attrs`, all of them or
    /// some. A directory's permissions and time move with what is done in it.
    pub(crate) fn may_be(&self, copied: &Inode, attrs: &Attrs) -> bool {
        let changed = copied.changed(attrs);
        let is_one = |is: &dyn Fn(&Inode) -> bool| is(copied) || is(&changed);
        // Another owner takes setuid and setgid away.
        let mode = |inode: &Inode| inode.mode & !0o6000;
        self.file_type() == copied.file_type()
            && self.len == copied.len
            && is_one(&|other| self.uid == other.uid)
            && (self.is_dir()
                || is_one(&|other| mode(self) == mode(other))
                    && is_one(&|other| self.time.is_kept_of(other.time)))
    }

    /// Whether it can be that entry, where numbers say nothing and names have changed since.
    pub(crate) fn looks_like(&self, other: &Inode) -> bool {
        let facts = |inode: &Inode| (inode.mode, inode.uid, inode.len);
        facts(self) == facts(other) && (self.is_dir() || self.time == other.time)
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
        // Of a change that was made, nobody knows when; a directory's time moves with what is in
        // it.
        let timed = self.ctime != Time::default();
        let facts = |inode: &Inode| {
            let time = (timed || !inode.is_dir()).then_some(inode.time);
            (inode.mode, inode.len, time, timed.then_some(inode.ctime))
        };
        let is_owned = now.uid == self.uid || Some(now.uid) == new_uid;
        let is_it = now.number == self.number || facts(now) == facts(self);
        if is_owned && is_it && now.file_type() == self.file_type() {
            return Ok(());
        }
        Err(replaced())
    }
}

/// What tells a directory from every copy of it, on whatever disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Birth {
    number: u64,
    /// When it was made, if the file system keeps that: a number is used again.
    time: Option<Time>,
}

impl Birth {
    pub(crate) fn of(dir: impl AsFd) -> io::Result<Self> {
        let mask = StatxFlags::INO | StatxFlags::BTIME;
        let found = statx(dir, "", AtFlags::EMPTY_PATH, mask)?;
        let is_kept = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let (secs, nanos) = (found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
        Ok(Birth {
            number: found.stx_ino,
            time: is_kept.then(|| Time::found(secs, nanos)),
        })
    }
}

/// A directory that was judged to go, with everything that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WhichDir {
    pub(crate) number: u64,
    pub(crate) uid: u32,
}

impl WhichDir {
    pub(crate) fn of(dir: impl AsFd) -> io::Result<Self> {
        Ok(WhichDir::of_stat(&fstat(dir)?))
    }

    pub(super) fn of_stat(stat: &Stat) -> Self {
        let (number, uid) = (stat.st_ino, stat.st_uid);
        WhichDir { number, uid }
    }

    /// Checks that what is `found` in `dir` is it. Where numbers do not hold, its owner tells.
    ///
    /// # Errors
    ///
    /// If it is another one.
    pub(crate) fn check(&self, found: &Inode, dir: impl AsFd) -> io::Result<()> {
        let is_numbered = found.number == self.number || !numbers_hold(dir);
        let is_it = found.is_dir() && found.uid == self.uid && is_numbered;
        is_it.then_some(()).ok_or_else(replaced)
    }

    /// The same of an open directory.
    ///
    /// # Errors
    ///
    /// If it is another one.
    pub(crate) fn check_open(&self, dir: impl AsFd) -> io::Result<()> {
        self.check(&Inode::held(&dir)?, dir)
    }
}

/// Whether an inode keeps its number in the file system of `dir` until it is removed. A FUSE file
/// system may forget it when nobody uses the inode, an overlay when it is mounted again or copies
/// the inode up; those of other systems make numbers up for what is in memory.
pub(crate) fn numbers_hold(dir: impl AsFd) -> bool {
    const FUSE: u32 = 0x6573_5546;
    const OVERLAY: u32 = 0x794c_7630;
    const AUFS: u32 = 0x6175_6673;
    const FAT: u32 = 0x4d44;
    const EXFAT: u32 = 0x2011_bab0;
    const CIFS: u32 = 0xff53_4d42;
    const SMB2: u32 = 0xfe53_4d42;
    const PLAN_9: u32 = 0x0102_1997;
    let made_up = [FUSE, OVERLAY, AUFS, FAT, EXFAT, CIFS, SMB2, PLAN_9];
    fstatfs(dir).is_ok_and(|fs| !made_up.contains(&(fs.f_type as u32)))
}

pub(crate) fn replaced() -> io::Error {
    io::Error::other("it was replaced, or given away, meanwhile; push again")
}
