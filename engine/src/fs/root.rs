//! The root of a tree, held open. Directories below it are opened with `openat2` beneath the root
//! and without symlinks, so that a parent swapped for a symlink leads nowhere; where `openat2` is
//! filtered (seccomp) or missing (before Linux 5.6), component by component with `O_NOFOLLOW`.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Stat, StatxFlags, fchmod, fstat, fsync, openat, openat2,
    statx, syncfs,
};
use rustix::io::Errno;

use super::deep::DeepDirs;
use super::walk::{Follow, open_dir};
use crate::path::{RESERVED_NAME, RelPath, Shown};
use crate::work;

/// A directory itself, to be read.
pub(crate) const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An intermediate directory: needs search permission only, not read permission.
pub(super) const PATH_FLAGS: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A tree's root directory.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    deep: DeepDirs,
    /// Its files are read without a trace, where that can be.
    is_quiet: bool,
}

impl Root {
    /// Opens the directory at `path`, following only symlinks of root and of this user.
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let fd = open_dir(path, Follow::Trusted)?;
        Ok(Root::from_fd(fd, path.to_owned()))
    }

    /// A root on a directory that is already open; `path` is for messages.
    pub(crate) fn from_fd(fd: OwnedFd, path: PathBuf) -> Root {
        Root {
            fd,
            path,
            deep: DeepDirs::default(),
            is_quiet: false,
        }
    }

    /// The same, whose files are read without a trace if that `is_quiet`.
    pub(crate) fn quietly(self, is_quiet: bool) -> Root {
        Root { is_quiet, ..self }
    }

    /// Whether its files are read without a trace, where that can be.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Lets these symlinks to directories below it be followed from now on.
    pub(crate) fn follow_below(&self, follow: Follow) {
        self.deep.set_follow(follow);
    }

    /// The symlinks that are followed below it.
    pub(crate) fn follow(&self) -> Option<Follow> {
        self.deep.follow()
    }

    /// The path as the user typed it, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The full path of what is at `rel`, quoted for a message.
    pub(crate) fn shown(&self, rel: &RelPath) -> String {
        Shown(self.path_of(rel).as_os_str().as_bytes()).to_string()
    }

    /// The full path of what is at `rel`: to be shown, not to be trusted.
    pub(crate) fn path_of(&self, rel: &RelPath) -> PathBuf {
        let mut path = self.path.clone();
        if !rel.is_root() {
            path.push(OsStr::from_bytes(&rel.as_bytes()));
        }
        path
    }

    /// The same of what is at `within` the `.hasync` of the directory `holder`.
    pub(crate) fn path_of_reserved(&self, holder: &RelPath, within: &RelPath) -> PathBuf {
        let mut path = self.path_of(holder);
        path.push(OsStr::from_bytes(RESERVED_NAME));
        path.push(OsStr::from_bytes(&within.as_bytes()));
        path
    }

    /// Opens the directory at `rel` for reading. A symlink anywhere on the way is `ELOOP` or
    /// `ENOTDIR`, unless it is one of those that are followed here.
    pub(crate) fn open_dir(&self, rel: &RelPath) -> io::Result<OwnedFd> {
        self.deep.open(&self.fd, rel)
    }

    /// What is at `rel` is about to change places with something else.
    pub(crate) fn moves(&self, rel: &RelPath) {
        self.deep.forget(rel);
    }

    /// Opens `within` the `.hasync` of the directory `holder`, which must be private.
    pub(crate) fn open_reserved(&self, holder: &RelPath, within: &RelPath) -> io::Result<OwnedFd> {
        // The root itself is not opened again: who may only look for its records could not.
        let reserved = if holder.is_root() {
            open_private(&self.fd, RESERVED_NAME)?
        } else {
            open_private(self.open_dir(holder)?, RESERVED_NAME)?
        };
        open_dir_below(&reserved, within)
    }
}

/// Opens a directory that only this user may have made and may change: anybody else's could be a
/// trap. Nor may anybody else open it, who could hold a lock on it then: its mode becomes 0700, as
/// far as the file system keeps modes.
pub(crate) fn open_private(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let fd = openat(dir, name, DIR_FLAGS, Mode::empty())?;
    let stat = fstat(&fd)?;
    if !is_private(&stat) {
        return Err(Errno::PERM);
    }
    if stat.st_mode & 0o777 != 0o700 {
        let _ = fchmod(&fd, Mode::RWXU);
    }
    Ok(fd)
}

/// Whether only this user can change what has this metadata.
pub(crate) fn is_private(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

/// Whether an error means that there is no directory of that name, but nothing or something else.
pub(crate) fn is_absent(e: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(e),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
    )
}

/// Whether what has the name `.hasync` is none of this user's, or nothing has it.
pub(crate) fn is_not_ours(e: &io::Error) -> bool {
    is_absent(e) || e.kind() == io::ErrorKind::PermissionDenied
}

/// Flushes the file systems that the directories are on, each once.
pub(crate) fn flush<'a>(dirs: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    let _flushing = work::flushing();
    let mut flushed = Vec::new();
    for dir in dirs {
        // A network or FUSE file system may not know a directory any more that was removed.
        let dev = fstat(dir).ok().map(|stat| stat.st_dev);
        if dev.is_none() || !flushed.contains(&dev) {
            syncfs(dir)?;
            flushed.push(dev);
        }
    }
    Ok(())
}

/// Flushes a directory: the names in it. Some file systems have nothing of that to flush.
pub(crate) fn flush_dir(dir: impl AsFd) -> rustix::io::Result<()> {
    match fsync(dir) {
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}

/// Opens the directory at `rel` below the open directory `top`, as [`Root::open_dir`] does.
pub(crate) fn open_dir_below(top: &OwnedFd, rel: &RelPath) -> io::Result<OwnedFd> {
    DeepDirs::default().open(top, rel)
}

/// Opens a directory once more, with an offset of its own.
pub(super) fn open_itself(dir: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    openat(dir, ".", DIR_FLAGS, Mode::empty())
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Where `openat2` is filtered or missing, each call says so anew, which costs next to nothing; a
/// refusal that concerns one directory alone then stays one.
pub(super) fn open_beneath(
    at: &OwnedFd,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(at, path, flags, Mode::empty(), resolve) {
        // A rename elsewhere in the tree can disturb the walk; the kernel asks to try again.
        Err(Errno::AGAIN | Errno::NOSYS | Errno::PERM) => open_by_component(at, path, flags),
        result => result,
    }
}

fn open_by_component(at: &OwnedFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mut held: Option<OwnedFd> = None;
    let mut components = path.split(|&b| b == b'/').peekable();
    while let Some(component) = components.next() {
        let at = held.as_ref().unwrap_or(at);
        let last = components.peek().is_none();
        let fd = openat(
            at,
            component,
            if last { flags } else { PATH_FLAGS },
            Mode::empty(),
        )?;
        if last {
            return Ok(fd);
        }
        held = Some(fd);
    }
    Err(Errno::NOENT)
}

/// Which mounted file system a directory is on, and which directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DirId {
    /// Two directories can exchange names only if these are equal.
    pub(crate) mount: (u64, u64),
    pub(crate) ino: u64,
}

impl DirId {
    /// Whether both are on one mount. What is below a subvolume of btrfs is on the mount of the
    /// directory above it: names do not cross there, yet it goes as a directory does.
    pub(crate) fn shares_mount(self, other: DirId) -> bool {
        let ((dev, id), (other_dev, other_id)) = (self.mount, other.mount);
        id == other_id && (id != 0 || dev == other_dev)
    }
}

/// Identifies an open directory.
pub(crate) fn dir_id(dir: impl AsFd) -> io::Result<DirId> {
    let mask = StatxFlags::INO | StatxFlags::MNT_ID;
    let s = statx(dir, "", AtFlags::EMPTY_PATH, mask)?;
    let dev = rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor);
    // Before Linux 5.8 there is no mount id; the device alone misses bind mounts, whose EXDEV is
    // then met at the rename.
    let has_mnt_id = StatxFlags::from_bits_retain(s.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(DirId {
        mount: (dev, if has_mnt_id { s.stx_mnt_id } else { 0 }),
        ino: s.stx_ino,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn both_ways(root: &Root, path: &[u8]) -> [bool; 2] {
        [
            root.open_dir(&RelPath::parse(path).unwrap()).is_ok(),
            open_by_component(&root.fd, path, DIR_FLAGS).is_ok(),
        ]
    }

    #[test]
    fn symlinks_on_the_way_are_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", temp.path().join("to_a")).unwrap();
        std::os::unix::fs::symlink("/", temp.path().join("a/out")).unwrap();
        let root = Root::open(temp.path()).unwrap();
        assert_eq!(both_ways(&root, b"a/b"), [true, true]);
        assert_eq!(both_ways(&root, b"to_a/b"), [false, false]);
        assert_eq!(both_ways(&root, b"to_a"), [false, false]);
        assert_eq!(both_ways(&root, b"a/out"), [false, false]);
        assert_eq!(both_ways(&root, b"a/out/etc"), [false, false]);
    }

    #[test]
    fn paths_longer_than_path_max_open() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let mut rel = RelPath::root();
        let name = [b'n'; 200];
        for _ in 0..40 {
            let dir = root.open_dir(&rel).unwrap();
            rustix::fs::mkdirat(&dir, &name[..], Mode::RWXU).unwrap();
            rel = rel.join(&name);
        }
        assert!(rel.as_bytes().len() > 8000);
        assert!(root.open_dir(&rel).is_ok());
        super::super::remove_tree(&root, &name, None).unwrap();
    }
}
