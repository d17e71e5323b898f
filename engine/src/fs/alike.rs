//! Remembers from one push to the next which ACLs and extended attributes the entries of a
//! directory have. To ask each file costs as much as to stat it, and nearly all files of a
//! directory have the same: nothing, or one label.
//!
//! A directory is remembered if all its files had the same, and all its directories, with the inode
//! and the change time of each. On the file systems named here an inode gets a new change time with
//! every change of its attributes, and when a name is moved or made that leads to it. Such a time
//! counts only once it is so old that the next tick of the kernel's clock cannot be the same.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Statx, fstatfs};
use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Scope};
use crate::clock::now_ns;

/// How old a change time has to be, in seconds: ext4 with small inodes counts whole ones.
const SETTLED_S: i64 = 2;

/// Most directories that are remembered. In memory that is 11 MB twice, as known and as found.
const DIRS_MAX: usize = 1 << 17;
/// Most different attributes among them, and the longest, in bytes.
const VALUES_MAX: usize = 256;
const VALUE_LEN_MAX: usize = 4096;

/// Bytes of a print that are hashed at a time.
const HASHED_LEN: usize = 32 * 1024;

/// A directory, by device and inode.
type Dir = (u64, u64);

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    scope: Scope,
    values: Vec<Attributes>,
    dirs: HashMap<Dir, Remembered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    print: [u8; 16],
    /// Which values the files and the directories in it have.
    files: u32,
    dirs: u32,
}

/// What an earlier push has found, and what this one finds.
#[derive(Debug)]
pub(crate) struct Alike {
    before: Memory,
    now: Mutex<Memory>,
    settled_s: i64,
}

/// What the entries of a directory had when they were all alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Had {
    pub(super) files: Attributes,
    pub(super) dirs: Attributes,
}

impl Alike {
    /// Goes on from what was remembered of attributes in `scope`.
    pub(crate) fn new(before: Memory, scope: Scope) -> Self {
        let before = match before.scope == scope {
            true => before,
            false => Memory::default(),
        };
        let now = Memory {
            scope,
            values: before.values.clone(),
            dirs: HashMap::new(),
        };
        Alike {
            before,
            now: Mutex::new(now),
            settled_s: SETTLED_S,
        }
    }

    /// Gives up what is to be kept for the next push, if that is anything new.
    pub(crate) fn news(&self) -> Option<Memory> {
        let mut now = self.now();
        (now.dirs != self.before.dirs).then(|| std::mem::take(&mut *now).compact())
    }

    /// A print of the entries of `dir`, which are about to be examined.
    pub(super) fn print(&self, dir: Dir) -> Print {
        let now_s = now_ns() / 1_000_000_000;
        Print {
            dir,
            settled_s: now_s.saturating_sub(self.settled_s),
            bytes: Vec::new(),
            hasher: blake3::Hasher::new(),
            changed_s: i64::MIN,
            is_mixed: false,
            files: None,
            dirs: None,
        }
    }

    /// What the entries of a directory had, and their print.
    pub(super) fn of(&self, dir: Dir) -> Option<([u8; 16], Had)> {
        let known = self.before.dirs.get(&dir)?;
        let value = |at: u32| self.before.values.get(at as usize).cloned();
        let (files, dirs) = (value(known.files)?, value(known.dirs)?);
        Some((known.print, Had { files, dirs }))
    }

    /// The directory is as it was remembered.
    pub(super) fn still(&self, dir: Dir) {
        if let Some(known) = self.before.dirs.get(&dir) {
            self.now().dirs.insert(dir, *known);
        }
    }

    /// Remembers that the entries of a directory have these.
    pub(super) fn note(&self, dir: Dir, print: [u8; 16], had: &Had) {
        let mut now = self.now();
        let places = (now.place_of(&had.files), now.place_of(&had.dirs));
        if let (Some(files), Some(dirs)) = places
            && now.dirs.len() < DIRS_MAX
        {
            now.dirs.insert(dir, Remembered { print, files, dirs });
        }
    }

    fn now(&self) -> MutexGuard<'_, Memory> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn place_of(&mut self, value: &Attributes) -> Option<u32> {
        let known = self.values.iter().position(|known| known == value);
        let is_small = value.as_bytes().len() <= VALUE_LEN_MAX && self.values.len() < VALUES_MAX;
        let place = known.or_else(|| {
            is_small.then(|| {
                self.values.push(value.clone());
                self.values.len() - 1
            })
        });
        u32::try_from(place?).ok()
    }

    /// Drops the values that nothing has any more.
    fn compact(mut self) -> Self {
        let mut dirs = std::mem::take(&mut self.dirs);
        let values = std::mem::take(&mut self.values);
        dirs.retain(|_, known| {
            let mut moved = |at: u32| self.place_of(values.get(at as usize)?);
            let Some((files, dirs)) = moved(known.files).zip(moved(known.dirs)) else {
                return false;
            };
            (known.files, known.dirs) = (files, dirs);
            true
        });
        Memory { dirs, ..self }
    }
}

/// Whether an inode of that file system has a new change time whenever an attribute changes, or a
/// name that leads to it.
pub(super) fn tells_changes(dir: impl AsFd) -> bool {
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const F2FS: u32 = 0xf2f5_2010;
    const TMPFS: u32 = 0x0102_1994;
    fstatfs(dir).is_ok_and(|fs| match fs.f_type as u32 {
        EXT | XFS | BTRFS | F2FS => true,
        TMPFS => tmpfs_tells_changes(),
        _ => false,
    })
}

/// Before Linux 6.6 a new extended attribute may leave the change time as it was.
fn tmpfs_tells_changes() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    (number(), number()) >= (Some(6), Some(6))
}

/// The print of a directory's entries, and what they have.
#[derive(Debug)]
pub(super) struct Print {
    dir: Dir,
    /// What changed before this, in seconds since 1970, cannot change again unseen.
    settled_s: i64,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    /// The last change of any of them, in seconds since 1970.
    changed_s: i64,
    /// One is on another file system, or has what its neighbours have not.
    is_mixed: bool,
    files: Option<Attributes>,
    dirs: Option<Attributes>,
}

impl Print {
    /// Adds an entry, as it was examined.
    pub(super) fn add(&mut self, found: &Statx, is_dir: bool, attributes: &Attributes) {
        for number in [found.stx_ino, found.stx_ctime.tv_sec as u64] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        // Another mapping of ids shows other ids in ACLs too.
        let (nanos, mode) = (found.stx_ctime.tv_nsec, found.stx_mode.into());
        for number in [nanos, mode, found.stx_uid, found.stx_gid] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        if self.bytes.len() >= HASHED_LEN {
            self.hasher.update(&self.bytes);
            self.bytes.clear();
        }
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        let seen = match is_dir {
            true => &mut self.dirs,
            false => &mut self.files,
        };
        self.is_mixed |= device != self.dir.0;
        self.is_mixed |= seen.get_or_insert_with(|| attributes.clone()) != attributes;
        self.changed_s = self.changed_s.max(found.stx_ctime.tv_sec);
    }

    pub(super) fn value(&mut self) -> [u8; 16] {
        let hash = self.hasher.update(&self.bytes).finalize();
        self.bytes.clear();
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    /// What its entries have, if they are all alike and nothing can change without being seen.
    pub(super) fn had(&mut self) -> Option<Had> {
        let is_settled = self.changed_s < self.settled_s;
        (is_settled && !self.is_mixed).then(|| Had {
            files: self.files.take().unwrap_or_default(),
            dirs: self.dirs.take().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, File};
    use std::io;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use rustix::fs::{XattrFlags, lremovexattr, lsetxattr};
    use rustix::time::{ClockId, clock_gettime};

    use super::super::dir::{Inodes, Wanted, list};
    use super::*;
    use crate::entry::Entry;

    /// What a change of a directory is called, and what makes it.
    type Change = (&'static str, fn(&Path) -> io::Result<()>);

    fn changes() -> [Change; 15] {
        [
            ("nothing", |_| Ok(())),
            ("nothing again", |_| Ok(())),
            ("one gets an attribute", |dir| {
                set(&dir.join("a"), "user.x", b"1")
            }),
            ("it gets another value", |dir| {
                set(&dir.join("a"), "user.x", b"2")
            }),
            ("it loses it", |dir| {
                Ok(lremovexattr(dir.join("a"), "user.x")?)
            }),
            ("all get one but the symlink, which goes", |dir| {
                fs::remove_file(dir.join("link"))?;
                let mut all = ["a", "b", "c", "sub"].into_iter();
                all.try_for_each(|name| set(&dir.join(name), "user.all", b"same"))
            }),
            ("nothing once more", |_| Ok(())),
            ("two change their names", |dir| {
                set(&dir.join("a"), "user.all", b"other")?;
                fs::rename(dir.join("a"), dir.join("between"))?;
                fs::rename(dir.join("b"), dir.join("a"))?;
                fs::rename(dir.join("between"), dir.join("b"))
            }),
            ("one is written anew", |dir| {
                fs::write(dir.join("new"), "x")?;
                fs::rename(dir.join("new"), dir.join("a"))
            }),
            ("one gets an ACL", |dir| {
                set(&dir.join("b"), "system.posix_acl_access", &acl())
            }),
            ("its mask changes by its mode", |dir| {
                fs::set_permissions(dir.join("b"), fs::Permissions::from_mode(0o640))
            }),
            ("another name leads to one", |dir| {
                set(&dir.join("../outside"), "user.x", b"of another")?;
                fs::hard_link(dir.join("../outside"), dir.join("c2"))
            }),
            ("it gets one by its other name", |dir| {
                set(&dir.join("../outside"), "user.y", b"unseen")
            }),
            ("a directory gets one", |dir| {
                set(&dir.join("sub"), "user.x", b"1")
            }),
            ("all is gone", |dir| {
                fs::read_dir(dir)?.try_for_each(|entry| {
                    let path = entry?.path();
                    fs::remove_file(&path).or_else(|_| fs::remove_dir(&path))
                })
            }),
        ]
    }

    fn set(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
        Ok(lsetxattr(path, name, value, XattrFlags::empty())?)
    }

    /// One that gives the user 1000 more than the mode does.
    fn acl() -> Vec<u8> {
        let none = u32::MAX;
        let entries = [
            (1, 6, none),
            (2, 7, 1000),
            (4, 4, none),
            (16, 7, none),
            (32, 4, none),
        ];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            acl.extend_from_slice(&u16::to_le_bytes(tag));
            acl.extend_from_slice(&u16::to_le_bytes(rights));
            acl.extend_from_slice(&u32::to_le_bytes(id));
        }
        acl
    }

    /// Time passes, as the change times of old kernels count it.
    fn await_tick() {
        let now = || clock_gettime(ClockId::RealtimeCoarse);
        let before = now();
        while now() == before {
            std::thread::yield_now();
        }
    }

    fn entries(dir: &File, alike: Option<&Alike>) -> Vec<Entry> {
        let wanted = Wanted {
            inodes: Inodes::None,
            with_atimes: false,
            scope: Scope::ALL,
            alike,
            look_through: None,
        };
        rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0)).unwrap();
        let listing = list(dir.as_fd(), wanted, &mut |_, _| false).unwrap();
        let mut walk = listing.entries.walk();
        let mut all = Vec::new();
        while let Some(entry) = walk.next() {
            all.push(entry.clone());
        }
        all
    }

    fn impatient(memory: Memory) -> Alike {
        Alike {
            settled_s: -10,
            ..Alike::new(memory, Scope::ALL)
        }
    }

    #[test]
    fn whatever_changes_is_seen() {
        for place in ["/dev/shm".into(), std::env::temp_dir()] {
            let temp = tempfile::tempdir_in(place).unwrap();
            fs::write(temp.path().join("outside"), "").unwrap();
            let path = temp.path().join("dir");
            fs::create_dir_all(path.join("sub")).unwrap();
            for name in ["a", "b", "c"] {
                fs::write(path.join(name), name).unwrap();
            }
            symlink("a", path.join("link")).unwrap();
            let dir = File::open(&path).unwrap();
            if !tells_changes(&dir) {
                let alike = impatient(Memory::default());
                entries(&dir, Some(&alike));
                assert_eq!(alike.news(), None);
                continue;
            }
            let (mut memory, mut hits) = (Memory::default(), 0);
            for (change, make) in changes() {
                await_tick();
                make(&path).unwrap();
                await_tick();
                let alike = impatient(memory.clone());
                assert_eq!(entries(&dir, Some(&alike)), entries(&dir, None), "{change}");
                let was_known = !memory.dirs.is_empty();
                match alike.news() {
                    Some(news) => memory = news,
                    None => hits += usize::from(was_known),
                }
            }
            assert!(hits >= 2, "{hits}");
        }
    }

    #[test]
    fn what_changed_just_now_is_not_trusted_yet() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("a"), "").unwrap();
        let dir = File::open(temp.path()).unwrap();
        let patient = Alike::new(Memory::default(), Scope::ALL);
        entries(&dir, Some(&patient));
        assert_eq!(patient.news(), None);
        let impatient = impatient(Memory::default());
        entries(&dir, Some(&impatient));
        assert_eq!(impatient.news().is_some(), tells_changes(&dir));
    }

    #[test]
    fn another_scope_knows_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = File::open(temp.path()).unwrap();
        let all = impatient(Memory::default());
        entries(&dir, Some(&all));
        let memory = all.news().unwrap_or_default();
        let acls = Scope {
            acls: true,
            ..Scope::default()
        };
        assert_eq!(Alike::new(memory, acls).before, Memory::default());
    }

    #[test]
    fn values_that_nothing_has_are_dropped() {
        let all = impatient(Memory::default());
        let had = |value: &[u8]| Had {
            files: Attributes::from_bytes(value),
            dirs: Attributes::default(),
        };
        for value in 0..=255 {
            all.note((1, value.into()), [0; 16], &had(&[value]));
        }
        let full = all.news().unwrap();
        assert_eq!((full.values.len(), full.dirs.len()), (VALUES_MAX, 255));
        let next = impatient(full);
        next.still((1, 7));
        let kept = next.news().unwrap();
        assert_eq!((kept.values.len(), kept.dirs.len()), (2, 1));
        let again = impatient(kept);
        assert_eq!(again.of((1, 7)), Some(([0; 16], had(&[7]))));
    }
}
