//! What the file system of a directory keeps, asked there and not guessed: its name says little
//! (a FUSE file system keeps whatever its server does), and the answer decides what is compared.
//!
//! An unnamed file is asked, which leaves no trace. Where there are no such files, a file in
//! `.hasync` is, and both are gone when the answer is there; what a crash leaves of that,
//! [`remove_asked`] removes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, linkat, mkdirat, mknodat, openat, renameat,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::attrs::{Assigned, Attrs};
use super::inode::Inode;
use super::lock::Lock;
use super::meta::{keeping_time, set_attrs, set_fd_attrs};
use super::remove::names;
use super::root::{DIR_FLAGS, is_private, open_private};
use super::xattrs::{attributes_at, attributes_of};
use crate::attributes::{AttributeKind, Attributes, Scope, extended_value};
use crate::entry::Time;
use crate::keeps::{Folds, Keeps, TimeStore};
use crate::namespaces::{CAPABILITY, Namespaces};
use crate::observer::Differences;
use crate::path::{RESERVED_NAME, STAND_IN_NAME};

/// How names of what is asked begin.
const ASKED: &str = "asked-";

/// A letter with its accent, and both one after the other.
const ACCENTED: &[u8] = "\u{e9}".as_bytes();
const APART: &[u8] = "e\u{301}".as_bytes();

/// How long it is waited for others who ask, or clean up after one.
const ASKING_WAIT: Duration = Duration::from_secs(10);

const OWN_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An odd second; with every decimal digit of the nanoseconds in use it tells the step.
const ODD: Time = Time {
    secs: 1_000_000_001,
    nanos: 123_456_789,
};

/// Where the times of file systems begin and end, outermost first: those that wrap instead of
/// stopping there give other times back. 2^35; ext4; exFAT and FAT; 32 bits, without sign and with.
const ENDS: [i64; 5] = [
    1 << 35,
    15_032_385_535,
    4_354_819_198,
    u32::MAX as i64,
    i32::MAX as i64,
];
/// -2^35; NTFS; 32 bits with sign and without; FAT and exFAT.
const BEGINNINGS: [i64; 5] = [-(1 << 35), -11_644_473_600, i32::MIN as i64, 0, 315_532_800];

/// What a file system keeps, and whether others are kept out of what is made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) keeps: Keeps,
    /// Nobody but this user can change what this user makes.
    pub(crate) is_private: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Abilities {
            keeps: Keeps::default(),
            is_private: true,
        }
    }
}

impl Abilities {
    /// Asks the file system of `dir`, and about these attributes; `None` if nothing can be found
    /// out there.
    pub(crate) fn of(dir: impl AsFd, scope: Scope) -> Option<Self> {
        let dir = dir.as_fd();
        let abilities = match unnamed(dir) {
            Ok(file) => of_unnamed(&Asked::Unnamed(file), scope),
            Err(_) => with_named(dir, scope),
        };
        // A file system that sets other times than it is told to says nothing about itself.
        abilities.ok().filter(|found| found.keeps.check().is_ok())
    }
}

/// Opens a directory as [`open_private`] does that needs not be private, but may not be a trap:
/// where a file system makes owners or modes up, what it says about them counts for nothing.
pub(crate) fn open_own(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    match open_private(&dir, name) {
        Err(Errno::PERM) => {
            let fd = openat(dir, name, DIR_FLAGS, Mode::empty())?;
            let made_up = makes_up_owners(&fd).is_ok_and(|made_up| made_up);
            made_up.then_some(fd).ok_or(Errno::PERM)
        }
        result => result,
    }
}

/// Whether what has the name is a directory that cannot be private, because the file system makes
/// owners or permissions up.
pub(crate) fn cannot_be_private(dir: impl AsFd, name: &[u8]) -> bool {
    open_private(&dir, name).is_err_and(|e| e == Errno::PERM) && open_own(dir, name).is_ok()
}

/// Whether the file system of a directory says of what this user makes that it is another's, or
/// that others may change it.
///
/// The file that is asked has its name for a moment at most, and is asked by what is held: nobody
/// can put another in its place.
fn makes_up_owners(dir: impl AsFd) -> io::Result<bool> {
    let dir = dir.as_fd();
    let stat = match unnamed(dir) {
        Ok(file) => fstat(&file)?,
        Err(_) => {
            let name = random_name()?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let stat = openat(dir, &name, flags | OFlags::CLOEXEC, OWN_FILE).and_then(fstat);
            // Somebody who cleans up may have done so.
            let _ = unlinkat(dir, &name, AtFlags::empty());
            stat?
        }
    };
    Ok(!is_private(&stat))
}

fn unnamed(dir: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(openat(dir, ".", flags, OWN_FILE)?))
}

/// Local file systems have unnamed files, and keep everything that `stat` tells. The kernel ends
/// their times where they end.
fn of_unnamed(file: &Asked<'_>, scope: Scope) -> io::Result<Abilities> {
    let odd = file.stored(ODD)?;
    if !is_private(&odd) {
        return of_any(file, scope);
    }
    let time_store = TimeStore {
        granularity_ns: step(&odd),
        min_secs: file.stored(at(i64::MIN))?.st_mtime,
        max_secs: file.stored(at(i64::MAX))?.st_mtime,
    };
    let mut keeps = Keeps {
        time_store,
        ..Keeps::default()
    };
    (keeps.lost.acl, keeps.lost_xattrs) = lost_attributes(file, scope)?;
    Ok(Abilities {
        keeps,
        is_private: true,
    })
}

fn of_any(file: &Asked<'_>, scope: Scope) -> io::Result<Abilities> {
    file.stored(ODD)?;
    let odd = file.renamed()?;
    let keeps = |secs: &&i64| file.stored(at(**secs)).is_ok_and(|s| s.st_mtime == **secs);
    let whole = TimeStore::default();
    let time_store = TimeStore {
        granularity_ns: step(&odd),
        min_secs: *BEGINNINGS.iter().find(keeps).unwrap_or(&whole.min_secs),
        max_secs: *ENDS.iter().find(keeps).unwrap_or(&whole.max_secs),
    };
    // First, since another owner takes a capability away.
    let (acl, lost_xattrs) = lost_attributes(file, scope)?;
    let lost = Differences { acl, ..lost(file)? };
    Ok(Abilities {
        keeps: Keeps {
            time_store,
            lost,
            lost_xattrs,
            folds: Folds::default(),
        },
        is_private: is_private(&odd),
    })
}

/// Whether symlinks have no metadata of their own: it is set on what they lead to.
fn has_bare_symlinks(dir: BorrowedFd<'_>) -> io::Result<bool> {
    let name = random_name()?;
    // Where there are none at all, that is told when one is to be made.
    if symlinkat(c"none", dir, &name).is_err() {
        return Ok(false);
    }
    let attrs = Attrs {
        mtime: Some(ODD),
        ..Attrs::default()
    };
    let set = set_attrs(dir, &name, None, &attrs);
    let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW);
    unlinkat(dir, &name, AtFlags::empty())?;
    Ok(set.is_err() || (stat?.st_mtime - ODD.secs).abs() > 1)
}

/// What of owner, group and permissions is not as it is set. Only root sets owners.
fn lost(file: &Asked<'_>) -> io::Result<Differences> {
    let mut lost = Differences::default();
    for mode in [0o640, 0o604] {
        let mode_alone = Attrs {
            mode: Some(mode),
            ..Attrs::default()
        };
        let _ = file.set(&mode_alone);
        lost.perms |= file.stat()?.st_mode & 0o7777 != mode;
    }
    if geteuid().is_root() {
        for id in [1, 2] {
            let owner_alone = Attrs {
                uid: Some(id),
                gid: Some(id),
                ..Attrs::default()
            };
            let _ = file.set(&owner_alone);
            let stat = file.stat()?;
            lost.owner |= stat.st_uid != id;
            lost.group |= stat.st_gid != id;
        }
    }
    Ok(lost)
}

/// Whether ACLs, and which namespaces of those in `scope`, are not as they are set.
fn lost_attributes(file: &Asked<'_>, scope: Scope) -> io::Result<(bool, Namespaces)> {
    let is_kept = |kind: AttributeKind, value: Vec<u8>| -> io::Result<bool> {
        let all = Attributes::of(vec![(kind, value)])?;
        let attributes = Assigned::new(scope, &all);
        let _ = file.set(&Attrs {
            attributes,
            ..Attrs::default()
        });
        // One that does not even list them has none.
        Ok(file.attributes(scope).is_ok_and(|found| found == all))
    };
    let lost_acls = scope.acls && !is_kept(AttributeKind::AccessAcl, ASKED_ACL.to_vec())?;
    let mut lost = Namespaces::NONE;
    for (namespace, name, value) in ASKED_XATTRS {
        let is_asked = !scope.xattrs.within(namespace).is_empty();
        let value = extended_value(name, value);
        if is_asked && !is_kept(AttributeKind::Extended, value)? {
            lost = lost.and(namespace);
        }
    }
    Ok((lost_acls, lost))
}

/// A user of whom the owning group has the rights.
const ASKED_ACL: [u8; 7] = [4, 0, 4, 1, 0, 0, 0];

/// One of each namespace; the capability is none, in the form of Linux 2.6.25.
const ASKED_XATTRS: [(Namespaces, &[u8], &[u8]); 4] = [
    (Namespaces::USER, b"user.hasync", b"x"),
    (
        Namespaces::CAPABILITY,
        CAPABILITY,
        b"\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ),
    (Namespaces::SECURITY, b"security.hasync", b"x"),
    (Namespaces::TRUSTED, b"trusted.hasync", b"x"),
];

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

/// The file that is asked.
enum Asked<'a> {
    Unnamed(File),
    /// Not opened: a FUSE file system removes what is open under another name.
    Named(BorrowedFd<'a>, CString),
}

impl Asked<'_> {
    fn set(&self, attrs: &Attrs) -> io::Result<()> {
        match self {
            Asked::Unnamed(file) => set_fd_attrs(file, attrs),
            Asked::Named(dir, name) => set_attrs(dir, name, None, attrs),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(match self {
            Asked::Unnamed(file) => fstat(file)?,
            Asked::Named(dir, name) => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?,
        })
    }

    fn attributes(&self, scope: Scope) -> io::Result<Attributes> {
        match self {
            Asked::Unnamed(file) => attributes_of(file, scope),
            Asked::Named(dir, name) => {
                attributes_at(dir, name.to_bytes(), &Inode::of(&self.stat()?), scope)
            }
        }
    }

    /// What it is after it has had another name, as what is put in place has.
    fn renamed(&self) -> io::Result<Stat> {
        if let Asked::Named(dir, name) = self {
            let other = random_name()?;
            renameat(dir, name, dir, &other)?;
            renameat(dir, &other, dir, name)?;
        }
        self.stat()
    }

    /// What it is once it has been given a time.
    fn stored(&self, time: Time) -> io::Result<Stat> {
        let mtime = Some(time);
        self.set(&Attrs {
            mtime,
            ..Attrs::default()
        })?;
        self.stat()
    }
}

/// The step of its times in nanoseconds, by what became of [`ODD`].
fn step(odd: &Stat) -> u32 {
    let odd = Time::found(odd.st_mtime, odd.st_mtime_nsec);
    match (odd.secs, odd.nanos) {
        (secs, 0) if secs == ODD.secs => 1_000_000_000,
        (secs, nanos) if secs == ODD.secs => {
            let mut step = 1;
            while step < 1_000_000_000 && nanos / (step * 10) * (step * 10) == nanos {
                step *= 10;
            }
            step
        }
        _ => 2_000_000_000,
    }
}

/// Asks a file in the `.hasync` of `dir`, whose time stays as it is.
fn with_named(dir: BorrowedFd<'_>, scope: Scope) -> io::Result<Abilities> {
    keeping_time(dir, || {
        let asked = with_named_in(dir, RESERVED_NAME, scope);
        asked.or_else(|e| with_named_in(dir, STAND_IN_NAME, scope).map_err(|_| e))
    })?
}

/// The same in what is called `reserved` there.
fn with_named_in(dir: BorrowedFd<'_>, reserved: &[u8], scope: Scope) -> io::Result<Abilities> {
    let made = match mkdirat(dir, reserved, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(e) => return Err(e.into()),
    };
    let asked = open_own(dir, reserved).map_err(io::Error::from);
    let asked = asked.and_then(|reserved| {
        let locked = Lock::take(reserved, Instant::now() + ASKING_WAIT)?;
        ask_in(locked.map_err(|_| Errno::WOULDBLOCK)?.as_fd(), scope)
    });
    if made {
        // Another session may have put something there meanwhile.
        let _ = unlinkat(dir, reserved, AtFlags::REMOVEDIR);
    }
    asked
}

/// Removes what was asked by somebody who was killed before the answer, from what is called
/// `reserved` in `dir`.
pub(crate) fn remove_asked(dir: impl AsFd, reserved: &[u8]) {
    let Some(reserved) = open_own(dir, reserved).ok().and_then(Lock::try_take) else {
        return;
    };
    let all = names(&reserved).unwrap_or_default().into_iter();
    for name in all.filter(|name| name.starts_with(ASKED.as_bytes())) {
        let _ = unlinkat(&*reserved, name, AtFlags::empty());
    }
}

/// Asks a new file and a new symlink of a directory of this user's, and removes them.
fn ask_in(reserved: BorrowedFd<'_>, scope: Scope) -> io::Result<Abilities> {
    let name = random_name()?;
    let make = |name: &CStr| mknodat(reserved, name, FileType::RegularFile, OWN_FILE, 0);
    let accented = CString::new([name.to_bytes(), ACCENTED].concat())?;
    // Not everywhere may a name be of other letters than those of ASCII.
    let name = match make(&accented) {
        Ok(()) => accented,
        Err(_) => make(&name).map(|()| name)?,
    };
    let asked = of_any(&Asked::Named(reserved, name.clone()), scope);
    let is_there = |name: &[u8]| statat(reserved, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let apart = name.to_bytes().strip_suffix(ACCENTED);
    let folds = Folds {
        case: is_there(&name.to_bytes().to_ascii_uppercase()),
        form: apart.is_some_and(|begin| is_there(&[begin, APART].concat())),
    };
    let has_links = has_links(reserved, &name);
    unlinkat(reserved, &name, AtFlags::empty())?;
    let mut abilities = asked?;
    abilities.keeps.folds = folds;
    abilities.keeps.lost.time = has_bare_symlinks(reserved)?;
    abilities.keeps.lost.links = !has_links?;
    Ok(abilities)
}

/// Whether the file of that name can have another one, and both are seen to be one file.
fn has_links(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let other = random_name()?;
    match linkat(dir, name, dir, &other, AtFlags::empty()) {
        Ok(()) => {
            let number = |name| Ok(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino);
            let numbers: io::Result<_> = number(name).and_then(|one| Ok((one, number(&other)?)));
            unlinkat(dir, &other, AtFlags::empty())?;
            let (one, other) = numbers?;
            Ok(one == other)
        }
        Err(e) => Ok(!means_no_links(e)),
    }
}

/// Whether a link fails with that where there are none: the kernel takes a file without names for
/// one that is gone. The owner or a flag of the file may be why, too.
pub(crate) fn means_no_links(why: Errno) -> bool {
    matches!(
        why,
        Errno::PERM | Errno::NOENT | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::MLINK
    )
}

fn random_name() -> io::Result<CString> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(CString::new(format!(
        "{ASKED}{:016x}",
        u64::from_le_bytes(random)
    ))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::Root;

    #[test]
    fn asking_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let state = || {
            let stat = fstat(&root).unwrap();
            (
                stat.st_mtime,
                stat.st_mtime_nsec,
                std::fs::read_dir(temp.path()).unwrap().count(),
            )
        };
        let before = state();
        let found = Abilities::of(&root, Scope::ALL).unwrap();
        assert!(found.is_private && !found.keeps.lost.any());
        let named = with_named(root.as_fd(), Scope::ALL).unwrap();
        let step = |found: Abilities| found.keeps.time_store.granularity_ns;
        assert_eq!(step(named), step(found));
        assert!(named.is_private && !named.keeps.lost.any());
        assert_eq!(state(), before);
        assert!(!makes_up_owners(&root).unwrap());
        assert!(open_own(&root, b"none").is_err());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
