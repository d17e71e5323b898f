//! A change that could not be made: it keeps its cause through every layer, so that a full disk
//! stays a full disk, and says it in the words of who has to do something about it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, openat, statat, statx,
};
use rustix::io::Errno;

use crate::error::{Error, describe, is_no_space};
use crate::fs::{Root, Stuck};
use crate::path::RelPath;
use crate::path_set::PathSet;
use crate::spill::SpillValues;

/// What went wrong, each in one line.
pub(crate) type Lines = SpillValues<String>;

/// One change that could not be made.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What was to be done, such as `remove`.
    pub(crate) doing: &'static str,
    pub(crate) path: RelPath,
    pub(crate) cause: io::Error,
    /// The cause in other words than the system's.
    pub(crate) obstacle: Option<Obstacle>,
    /// Other entries of what was to be done as one that could not be changed either.
    pub(crate) others: u64,
}

/// Failures that have been told. Where entries of an immutable directory were told, that the
/// directory itself cannot be changed either goes without saying.
#[derive(Debug, Default)]
pub(crate) struct Told {
    immutable_dirs: PathSet,
}

impl Told {
    /// The line about a failure, unless it has been told.
    pub(crate) fn line(&mut self, failed: &Failed, root: &Root) -> Option<String> {
        if failed.obstacle == Some(Obstacle::DirImmutable) {
            let dir = failed.path.split();
            dir.inspect(|(dir, _)| self.immutable_dirs.insert(dir));
        }
        (!self.immutable_dirs.contains(&failed.path)).then(|| failed.line(root))
    }
}

/// What keeps an entry as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    MountPoint,
    /// It is on another mount than its replacement was made for.
    OtherMount,
    Immutable,
    AppendOnly,
    /// The directory that holds it is immutable or append-only.
    DirImmutable,
    /// The system swaps to it.
    Swap,
}

impl Failed {
    /// What was to be done to the entry at `path`, with everything below it, and to what of that it
    /// could not be.
    pub(crate) fn new(root: &Root, doing: &'static str, path: &RelPath, stuck: Stuck) -> Self {
        let path = path.join_path(&stuck.below);
        let dir = path.split().and_then(|(dir, _)| root.open_dir(&dir).ok());
        Failed {
            doing,
            obstacle: dir.and_then(|dir| Obstacle::find(dir, path.name(), &stuck.cause)),
            path,
            cause: stuck.cause,
            others: stuck.others,
        }
    }

    /// Nothing more can be changed.
    pub(crate) fn is_no_space(&self) -> bool {
        is_no_space(&self.cause)
    }

    /// One line about it.
    pub(crate) fn line(&self, root: &Root) -> String {
        let (doing, shown) = (self.doing, root.shown(&self.path));
        let why = match self.obstacle {
            None => describe(&self.cause),
            Some(Obstacle::MountPoint) => {
                "it is a mount point; unmount it, or exclude it".to_owned()
            }
            Some(Obstacle::OtherMount) => {
                format!("it is on another mount now; findmnt -T {shown}")
            }
            Some(Obstacle::Immutable) => format!("it is immutable; chattr -i {shown}"),
            Some(Obstacle::AppendOnly) => format!("it is append-only; chattr -a {shown}"),
            Some(Obstacle::DirImmutable) => {
                "its directory is immutable or append-only (lsattr -d tells)".to_owned()
            }
            Some(Obstacle::Swap) => format!("the system swaps to it; swapoff {shown}"),
        };
        let line = format!("cannot {doing} {shown} on the target: {why}");
        match self.others {
            0 => line,
            others => format!("{line}; {others} more beside or below it stay too"),
        }
    }

    /// The same, as what ends the push.
    pub(crate) fn into_error(self, root: &Root) -> Error {
        Error::file(
            format_args!("change {}", root.shown(&self.path)),
            &self.cause,
        )
    }
}

/// Whether something is mounted on `name` in `dir`.
pub(crate) fn is_mount_point(dir: impl AsFd, name: &[u8]) -> bool {
    flags_of(dir, name, AtFlags::SYMLINK_NOFOLLOW).contains(StatxAttributes::MOUNT_ROOT)
}

/// None where they cannot be told.
fn flags_of(dir: impl AsFd, name: &[u8], flags: AtFlags) -> StatxAttributes {
    let found = statx(dir, name, flags, StatxFlags::empty());
    found.map_or(StatxAttributes::empty(), |found| {
        StatxAttributes::from_bits_retain(found.stx_attributes.bits())
    })
}

impl Obstacle {
    /// What made a change of `name` in `dir` fail with `cause`, if that is known.
    fn find(dir: impl AsFd, name: &[u8], cause: &io::Error) -> Option<Self> {
        let flags = match Errno::from_io_error(cause) {
            // That it is another one than was judged, or that it is in use.
            None | Some(Errno::BUSY) => StatxAttributes::MOUNT_ROOT,
            Some(Errno::PERM | Errno::ACCESS) => {
                StatxAttributes::IMMUTABLE | StatxAttributes::APPEND
            }
            Some(Errno::XDEV) => return Some(Obstacle::OtherMount),
            Some(_) => return None,
        };
        let found = flags_of(&dir, name, AtFlags::SYMLINK_NOFOLLOW) & flags;
        if found.contains(StatxAttributes::MOUNT_ROOT) {
            return Some(Obstacle::MountPoint);
        }
        if found.contains(StatxAttributes::IMMUTABLE) {
            return Some(Obstacle::Immutable);
        }
        if found.contains(StatxAttributes::APPEND) {
            return Some(Obstacle::AppendOnly);
        }
        let of_dir = flags_of(&dir, b"", AtFlags::EMPTY_PATH);
        let sealed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        if (of_dir & flags).intersects(sealed) {
            return Some(Obstacle::DirImmutable);
        }
        is_swap(dir, name).then_some(Obstacle::Swap)
    }
}

/// Whether that is a file made to be swapped to, by the mark at the end of its first page.
fn is_swap(dir: impl AsFd, name: &[u8]) -> bool {
    const MARK: &[u8] = b"SWAPSPACE2";
    const PAGE_LENS: [u64; 3] = [4 << 10, 16 << 10, 64 << 10];
    let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_file) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty());
    opened.map(File::from).is_ok_and(|file| {
        let mut found = [0; MARK.len()];
        PAGE_LENS.iter().any(|len| {
            let read = file.read_exact_at(&mut found, len - MARK.len() as u64);
            read.is_ok() && found == MARK
        })
    })
}
