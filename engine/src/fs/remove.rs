//! Removing a whole tree that is not mirrored any more, by descriptors: symlinks are removed, not
//! followed, no path longer than one component is used, and depth costs no descriptors. What cannot
//! be removed stays, with the directories above it, and keeps nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, RawDir, fchmod, fstat, openat, unlinkat};
use rustix::io::Errno;

use super::inode::{WhichDir, replaced};
use super::root::{DIR_FLAGS, DirId, dir_id};
use crate::names::Names;
use crate::path::RelPath;
use crate::work;

/// A directory on the way down: who it is, and the names in it still to be removed.
struct Level {
    name: Vec<u8>,
    id: DirId,
    names: Names,
    /// Something below has to stay.
    is_stuck: bool,
}

/// What has to stay of what was to be removed.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// The first entry that does, below what was to be removed: the path of that itself is empty.
    pub(crate) below: RelPath,
    pub(crate) cause: io::Error,
    /// Entries that do besides, but for the directories above them.
    pub(crate) others: u64,
}

impl From<io::Error> for Stuck {
    fn from(cause: io::Error) -> Self {
        Stuck {
            below: RelPath::root(),
            cause,
            others: 0,
        }
    }
}

impl From<Errno> for Stuck {
    fn from(cause: Errno) -> Self {
        io::Error::from(cause).into()
    }
}

/// Removes `name` in `dir`, and everything below it when it is a directory: that one alone, if it
/// is known `which`. What is already gone is fine.
///
/// Only one directory is held open at a time. The way back up is `..`, checked against the
/// directory that the way down came from, so that a directory moved meanwhile cannot lead the
/// removal elsewhere.
pub(crate) fn remove_tree(
    dir: impl AsFd,
    name: &[u8],
    which: Option<&WhichDir>,
) -> Result<(), Stuck> {
    let mut removal = Removal::default();
    let result = removal.run(dir, name, which);
    removal.stuck.map_or(result.map_err(Stuck::from), Err)
}

/// Removes `name` in `dir` if it is no directory. What is already gone is fine.
pub(crate) fn remove_other(dir: impl AsFd, name: &[u8]) -> Result<(), Stuck> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // Linux says EISDIR for a directory, other file systems may follow POSIX and say EPERM.
        Err(Errno::ISDIR | Errno::PERM) if open_dir(&dir, name).is_ok() => Err(replaced().into()),
        Err(e) => Err(cause(name, e.into()).into()),
    }
}

/// The same of hasync's own. What somebody has open on a file system that keeps it under another
/// name until then is left: it goes with the next attempt.
pub(crate) fn remove_own_tree(dir: impl AsFd, name: &[u8]) -> Result<(), Stuck> {
    unless_open(remove_tree(dir, name, None))
}

/// Takes what is still open somewhere for removed.
pub(crate) fn unless_open(removed: Result<(), Stuck>) -> Result<(), Stuck> {
    match removed {
        Err(stuck) if stuck.cause.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        result => result,
    }
}

/// Whether a file system that cannot remove what is open has given it this name until it is
/// closed: NFS, or FUSE.
fn is_silly(name: &[u8]) -> bool {
    let prefixes = [&b".nfs"[..], b".fuse_hidden"].into_iter();
    let number = prefixes
        .filter_map(|prefix| name.strip_prefix(prefix))
        .next();
    number.is_some_and(|number| number.len() >= 8 && number.iter().all(u8::is_ascii_hexdigit))
}

/// Why the entry of that name cannot be removed.
fn cause(name: &[u8], e: io::Error) -> io::Error {
    if is_silly(name) { still_open() } else { e }
}

fn still_open() -> io::Error {
    let what = "it is open somewhere; it can be removed when it is closed";
    io::Error::new(io::ErrorKind::ResourceBusy, what)
}

/// A removal on its way.
#[derive(Default)]
struct Removal {
    levels: Vec<Level>,
    stuck: Option<Stuck>,
}

impl Removal {
    /// Fails if the way is lost; what could not be removed is in `stuck`.
    fn run(&mut self, dir: impl AsFd, name: &[u8], which: Option<&WhichDir>) -> io::Result<()> {
        let dir = dir.as_fd();
        let top = dir_id(dir)?;
        let entered = match which {
            Some(which) => self.enter(&dir, top, name, which),
            None => self.go_down(&dir, top, name),
        };
        let Some(mut held) = entered.map_err(|e| cause(name, e))? else {
            return Ok(());
        };
        while let Some(current) = self.levels.last_mut() {
            if let Some(next) = current.names.pop() {
                let here = current.id;
                match self.go_down(&held, here, &next) {
                    Ok(Some(below)) => held = below,
                    Ok(None) => {}
                    Err(e) => self.stay(&next, cause(&next, e)),
                }
                continue;
            }
            let Some(done) = self.levels.pop() else {
                break;
            };
            let above = open_dir(&held, b"..")?;
            let emptied = std::mem::replace(&mut held, above);
            if dir_id(&held)? != self.levels.last().map_or(top, |parent| parent.id) {
                return Err(io::Error::other(
                    "a directory was moved while it was being removed",
                ));
            }
            if done.is_stuck {
                self.mark_stuck();
                continue;
            }
            match unlinkat(&held, &*done.name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) if holds_silly(&emptied) => {
                    self.stay(&done.name, still_open());
                }
                Err(e) => self.stay(&done.name, e.into()),
            }
        }
        Ok(())
    }

    /// Opens the directory that has the name, if it is that one.
    fn enter(
        &mut self,
        dir: &impl AsFd,
        here: DirId,
        name: &[u8],
        which: &WhichDir,
    ) -> io::Result<Option<OwnedFd>> {
        match open_dir(dir, name) {
            Ok(opened) => {
                which.check_open(&opened)?;
                self.descend(here, name, opened).map(Some)
            }
            Err(e) => match Errno::from_io_error(&e) {
                Some(Errno::NOENT) => Ok(None),
                Some(Errno::NOTDIR | Errno::LOOP) => Err(replaced()),
                // It may be empty, which is not known without the right to read it.
                Some(Errno::ACCESS) => {
                    unlinkat(dir, name, AtFlags::REMOVEDIR).map_err(|_| e)?;
                    Ok(None)
                }
                _ => Err(e),
            },
        }
    }

    /// Removes the name, or opens the directory that has it.
    fn go_down(
        &mut self,
        dir: &impl AsFd,
        here: DirId,
        name: &[u8],
    ) -> io::Result<Option<OwnedFd>> {
        let below = match remove_one(dir, name) {
            Ok(true) => return Ok(None),
            Ok(false) => open_dir(dir, name)?,
            // It may be the directory above that lets nothing go; what is in this one still can.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                open_dir(dir, name).map_err(|_| e)?
            }
            Err(e) => return Err(e),
        };
        self.descend(here, name, below).map(Some)
    }

    /// Goes on in a directory that was opened, unless something is mounted there.
    fn descend(&mut self, here: DirId, name: &[u8], below: OwnedFd) -> io::Result<OwnedFd> {
        if !dir_id(&below)?.shares_mount(here) {
            return Err(Errno::BUSY.into());
        }
        self.levels.push(level(name.to_vec(), &below)?);
        Ok(below)
    }

    /// Something of that name in the directory that the removal is in has to stay.
    fn stay(&mut self, name: &[u8], cause: io::Error) {
        match &mut self.stuck {
            Some(stuck) => stuck.others += 1,
            None => {
                let ways = self.levels.iter().map(|level| &*level.name).chain([name]);
                // The first is the one that was to be removed.
                let below = ways
                    .skip(1)
                    .fold(RelPath::root(), |path, name| path.join(name));
                self.stuck = Some(Stuck {
                    below,
                    cause,
                    others: 0,
                });
            }
        }
        self.mark_stuck();
    }

    /// The directory that the removal is in stays, and so do those above it when their turn comes.
    fn mark_stuck(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.is_stuck = true;
        }
    }
}

/// Whether there is nothing in a directory but what is open somewhere.
fn holds_silly(dir: &OwnedFd) -> bool {
    let names = open_dir(dir, b".").and_then(|dir| names(&dir));
    names.is_ok_and(|names| !names.is_empty() && names.iter().all(|name| is_silly(name)))
}

/// Removes a name that is not a directory with entries; `false` if it is one.
fn remove_one(dir: &impl AsFd, name: &[u8]) -> io::Result<bool> {
    work::did(1);
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        // Linux says EISDIR for a directory, other file systems may follow POSIX and say EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // It was a file after all, which may not be removed.
        Err(Errno::NOTDIR) => Err(Errno::PERM.into()),
        Err(e) => Err(e.into()),
    }
}

fn level(name: Vec<u8>, dir: &OwnedFd) -> io::Result<Level> {
    let mut names = Names::default();
    for_each_name(dir, |name| names.push(name))?;
    // Whoever is not root needs permissions to change what is in it. If it is somebody else's, the
    // change itself says so.
    if !rustix::process::geteuid().is_root() && fstat(dir)?.st_mode & 0o300 != 0o300 {
        let _ = fchmod(dir, Mode::RWXU);
    }
    Ok(Level {
        name,
        id: dir_id(dir)?,
        names,
        is_stuck: false,
    })
}

fn open_dir(dir: &impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, DIR_FLAGS, Mode::empty())?)
}

/// All names in a directory, hasync's own included.
pub(crate) fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for_each_name(dir, |name| names.push(name.to_vec()))?;
    Ok(names)
}

fn for_each_name(dir: &OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    has_name(dir, |name| {
        take(name);
        false
    })?;
    Ok(())
}

/// Whether a directory has a name that is `wanted`; no other is looked at once there is one.
pub(crate) fn has_name(dir: &OwnedFd, mut wanted: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(record) = records.next() {
        let record = record?;
        let name = record.file_name().to_bytes();
        if name != b"." && name != b".." && wanted(name) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// What is left in a directory, by its paths.
    fn left(dir: &Path) -> Vec<String> {
        let entries = walkdir::WalkDir::new(dir).min_depth(1).sort_by_file_name();
        let path = |entry: walkdir::Result<walkdir::DirEntry>| {
            let entry = entry.unwrap();
            entry
                .path()
                .strip_prefix(dir)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        entries.into_iter().map(path).collect()
    }

    #[test]
    fn what_cannot_be_removed_keeps_nothing_else() {
        let files = ["t/a/1", "t/a/2", "t/a/b/3", "t/c/4", "t/d/5", "t/e"];
        for (immutable, append_only, expected) in [
            (&[][..], &[][..], &[][..]),
            (&["t/a/1"], &[], &["t", "t/a", "t/a/1"]),
            (
                &["t/a/b/3", "t/e"],
                &[],
                &["t", "t/a", "t/a/b", "t/a/b/3", "t/e"],
            ),
            (&["t/c"], &[], &["t", "t/c", "t/c/4"]),
            (&[], &["t/c"], &["t", "t/c", "t/c/4"]),
            (
                &["t/a/2"],
                &["t/d/5"],
                &["t", "t/a", "t/a/2", "t/d", "t/d/5"],
            ),
            (&["t"], &[], &["t", "t/a", "t/c", "t/d", "t/e"]),
        ] {
            // Where the flags are known, which is not everywhere.
            let temp = tempfile::tempdir_in("/tmp").unwrap();
            for file in files {
                let path = temp.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            let set = |how: &str, names: &[&str]| {
                names.iter().for_each(|name| {
                    let mut chattr = Command::new("chattr");
                    let status = chattr.arg(how).arg(temp.path().join(name)).status();
                    assert!(status.unwrap().success(), "{how} {name}");
                });
            };
            set("+i", immutable);
            set("+a", append_only);
            let result = remove_tree(std::fs::File::open(temp.path()).unwrap(), b"t", None);
            set("-i", immutable);
            set("-a", append_only);
            assert_eq!(left(temp.path()), expected, "{immutable:?} {append_only:?}");
            let cause = result.err().and_then(|e| Errno::from_io_error(&e.cause));
            let expected = (!expected.is_empty()).then_some(Errno::PERM);
            assert_eq!(cause, expected, "{immutable:?} {append_only:?}");
        }
    }
}
