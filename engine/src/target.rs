//! Finding the target root that a destination means, within what the receiver's policy allows.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FsWord, Mode, OFlags, fstat, fstatfs, mkdirat, openat};

use crate::digest::TimeStore;
use crate::entry::Time;
use crate::error::{Error, ErrorKind};
use crate::fs::{
    Attrs, Follow, Place, Root, Spot, Step, find_dir, find_dir_beneath, set_fd_attrs, stat,
};
use crate::generation::Tree;
use crate::path::{RESERVED_NAME, Shown, check_name};
use crate::policy::ServePolicy;
use crate::source::gives_contents;

/// The target that a destination means.
#[derive(Debug)]
pub(crate) struct Target {
    /// `None` in a dry run whose target root does not exist.
    pub(crate) root: Option<Arc<Root>>,
    pub(crate) created: bool,
    /// The name that a single source entry gets.
    pub(crate) rename: Option<Vec<u8>>,
}

/// What a destination leads to. Nothing has been changed, and its path is not followed again.
#[derive(Debug)]
pub(crate) struct Found {
    /// For messages.
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Dir(Arc<Root>),
    Other(Spot),
    Missing(Spot),
}

impl Found {
    /// Follows a destination as the sender gave it.
    pub(crate) fn destination(destination: &[u8], policy: &ServePolicy) -> Result<Self, Error> {
        Found::at(resolve(destination, policy)?, policy)
    }

    /// Follows the path of a named tree.
    pub(crate) fn tree(tree: &Tree, policy: &ServePolicy) -> Result<Self, Error> {
        Found::at(tree.root.clone(), policy)
    }

    /// Below a served root no symlink is followed; elsewhere those of root and of this user are.
    fn at(path: PathBuf, policy: &ServePolicy) -> Result<Self, Error> {
        let mut judge = refuse_reserved;
        let place = match policy.root_of(&path) {
            Some((root, below)) => find_dir_beneath(root.dir()?, root.path(), below, &mut judge),
            None if policy.roots.is_empty() => find_dir(&path, Follow::Trusted, &mut judge),
            None => return Err(outside(&path)),
        };
        let place = place.map_err(|e| {
            let shown = Shown(path.as_os_str().as_bytes());
            let message = format!("cannot open the target {shown}: {e}");
            Error::new(ErrorKind::FileIo, message)
        })?;
        let what = match place {
            Place::Dir(fd) => What::Dir(Arc::new(Root::from_fd(fd, path.clone()))),
            Place::Other(spot) => What::Other(spot),
            Place::Missing(spot) => What::Missing(spot),
        };
        Ok(Found { path, what })
    }

    /// Its path as it was given, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself, or the one that it would be in.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        match &self.what {
            What::Dir(root) => root.as_fd(),
            What::Other(spot) | What::Missing(spot) => spot.dir.as_fd(),
        }
    }

    /// The name in it of what is no directory yet.
    pub(crate) fn missing(&self) -> Option<&[u8]> {
        match &self.what {
            What::Dir(_) => None,
            What::Other(spot) | What::Missing(spot) => Some(&spot.name),
        }
    }

    /// The directory, if it is one.
    pub(crate) fn root(&self) -> Option<&Arc<Root>> {
        match &self.what {
            What::Dir(root) => Some(root),
            What::Other(_) | What::Missing(_) => None,
        }
    }

    /// Makes it the target: a missing directory is made, unless this is a dry run, and `single`
    /// entries may be given another name, if the destination does not say that it `names_dir`.
    pub(crate) fn into_target(
        self,
        single: bool,
        names_dir: bool,
        dry_run: bool,
    ) -> Result<Target, Error> {
        let shown = Shown(self.path.as_os_str().as_bytes());
        let refused = |why: &str| {
            let message = format!("the target {shown} {why}");
            Err(Error::new(ErrorKind::FileIo, message))
        };
        let (root, created) = match self.what {
            What::Dir(root) => (Some(root), false),
            // Another non-directory may be there: the entry replaces it.
            What::Other(spot) | What::Missing(spot) if single && !names_dir => {
                check_target_name(&spot.name, shown)?;
                return Ok(Target {
                    root: Some(Arc::new(Root::from_fd(spot.dir, spot.dir_path))),
                    created: false,
                    rename: Some(spot.name),
                });
            }
            What::Other(_) => {
                return refused("is not a directory; give a directory, or one file as source");
            }
            What::Missing(spot) if spot.is_symlink => {
                return refused("is a symlink to nothing; make the directory that it leads to");
            }
            What::Missing(_) if dry_run => (None, true),
            What::Missing(spot) => (Some(Arc::new(make(&spot, &self.path)?)), true),
        };
        Ok(Target {
            root,
            created,
            rename: None,
        })
    }
}

/// Nothing is pushed into what hasync keeps for itself.
fn refuse_reserved(step: &Step<'_>) -> Result<(), String> {
    let name = step.path.file_name().map(OsStr::as_bytes);
    if name == Some(RESERVED_NAME) {
        return Err("is where hasync keeps its own files; nothing is pushed there".to_owned());
    }
    Ok(())
}

fn make(spot: &Spot, path: &Path) -> Result<Root, Error> {
    let shown = Shown(path.as_os_str().as_bytes());
    check_target_name(&spot.name, shown)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = mkdirat(&spot.dir, &*spot.name, Mode::from_raw_mode(0o777))
        .and_then(|()| openat(&spot.dir, &*spot.name, flags, Mode::empty()));
    let fd = made.map_err(|e| Error::file(format_args!("make the target {shown}"), &e.into()))?;
    Ok(Root::from_fd(fd, path.to_owned()))
}

fn check_target_name(name: &[u8], shown: Shown<'_>) -> Result<(), Error> {
    check_name(name)
        .map_err(|e| Error::new(ErrorKind::Usage, format!("the target {shown} has {e}")))
}

/// Whether a destination as it was typed can only be a directory.
pub(crate) fn names_dir(destination: &[u8]) -> bool {
    destination.is_empty() || gives_contents(destination)
}

/// The path that a destination means, before anything is opened: below a served root, if there
/// are any.
fn resolve(destination: &[u8], policy: &ServePolicy) -> Result<PathBuf, Error> {
    let usage = |message: String| Error::new(ErrorKind::Usage, message);
    if destination.contains(&0) {
        return Err(usage("the target path holds a zero byte".to_owned()));
    }
    let typed = PathBuf::from(OsString::from_vec(destination.to_vec()));
    let path = match (typed.strip_prefix("~"), &policy.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        (Ok(_), None) => {
            let shown = Shown(typed.as_os_str().as_bytes());
            return Err(usage(format!(
                "the target {shown} is in a home directory, which the receiving user does not \
                 have; write the path from /"
            )));
        }
        (Err(_), _) => typed,
    };
    match policy.roots.first() {
        Some(first) if path.is_relative() => Ok(first.path().join(path)),
        None if path.as_os_str().is_empty() => Ok(PathBuf::from(".")),
        _ => Ok(path),
    }
}

fn outside(path: &Path) -> Error {
    let shown = Shown(path.as_os_str().as_bytes());
    let message = format!("the target {shown} is outside the roots that this receiver serves");
    Error::new(ErrorKind::Usage, message)
}

/// Finds out what the file system of `dir` can store as a time, with an unnamed file that leaves
/// no trace. Where there are no such files, its type tells, or it stays unknown.
pub(crate) fn probe_times(dir: impl AsFd) -> Option<TimeStore> {
    let dir = dir.as_fd();
    // A file system that sets other times than it is told to says nothing about itself.
    let is_sound = |store: &TimeStore| store.check().is_ok();
    probe(dir)
        .ok()
        .filter(is_sound)
        .or_else(|| known_times(fstatfs(dir).ok()?.f_type))
}

/// The times of file systems that have no unnamed files, by their numbers in Linux's `magic.h`.
fn known_times(kind: FsWord) -> Option<TimeStore> {
    const FAT: FsWord = 0x4d44;
    const EXFAT: FsWord = 0x2011_bab0;
    let granularity_ns = match kind {
        FAT => 2_000_000_000,
        EXFAT => 10_000_000,
        _ => return None,
    };
    // The years 1980 to 2107, up to the last even second.
    Some(TimeStore {
        granularity_ns,
        min_secs: 315_532_800,
        max_secs: 4_354_819_198,
    })
}

fn probe(dir: BorrowedFd<'_>) -> io::Result<TimeStore> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)?);
    let store = |secs, nanos| -> io::Result<Time> {
        let time = Time { secs, nanos };
        set_fd_attrs(
            &file,
            &Attrs {
                mtime: Some(time),
                ..Attrs::default()
            },
        )?;
        let stat = fstat(&file)?;
        Ok(Time::found(stat.st_mtime, stat.st_mtime_nsec))
    };
    // An odd second with every decimal digit of the nanoseconds in use tells the step.
    let odd = store(1_000_000_001, 123_456_789)?;
    let granularity_ns = match (odd.secs, odd.nanos) {
        (1_000_000_001, 0) => 1_000_000_000,
        (1_000_000_001, nanos) => {
            let mut step = 1;
            while step < 1_000_000_000 && nanos / (step * 10) * (step * 10) == nanos {
                step *= 10;
            }
            step
        }
        _ => 2_000_000_000,
    };
    let min_secs = store(i64::MIN, 0)?.secs;
    let max_secs = store(i64::MAX, 0)?.secs;
    Ok(TimeStore {
        granularity_ns,
        min_secs,
        max_secs,
    })
}

/// Metadata of the root itself.
pub(crate) fn root_listed(root: &Root) -> io::Result<crate::fs::Listed> {
    let dot: CString = c".".to_owned();
    stat(root, &dot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::served_root::ServedRoot;

    fn served(root: &Path) -> ServePolicy {
        ServePolicy {
            roots: vec![ServedRoot::pin(root.to_owned())],
            ..ServePolicy::default()
        }
    }

    fn open(destination: &[u8], single: bool, policy: &ServePolicy) -> Result<Target, Error> {
        Found::destination(destination, policy)?.into_target(single, names_dir(destination), false)
    }

    #[test]
    fn a_served_root_cannot_be_left() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::os::unix::fs::symlink(temp.path(), root.join("out")).unwrap();
        let policy = served(&root);
        let open = |dest: &str| open(dest.as_bytes(), false, &policy);
        assert!(open("in").is_ok());
        assert!(open("").is_ok());
        assert!(open("new").unwrap().created);
        assert!(open(root.to_str().unwrap()).is_ok());
        for outside in [
            "..",
            "in/../..",
            "/etc",
            "out",
            "out/",
            "out/x",
            "/",
            ".hasync",
            "in/.hasync/x",
        ] {
            assert!(open(outside).is_err(), "{outside}");
        }
        assert!(!temp.path().join("x").exists());
    }

    #[test]
    fn a_root_is_what_it_was_when_the_session_began() {
        let temp = tempfile::tempdir().unwrap();
        let [root, other] = ["root", "other"].map(|name| temp.path().join(name));
        // One that is not there serves nothing, nor does what is above it, even when it comes.
        let absent = served(&root);
        std::fs::create_dir(&root).unwrap();
        for destination in ["", "x", root.to_str().unwrap()] {
            for single in [false, true] {
                let e = open(destination.as_bytes(), single, &absent).unwrap_err();
                assert!(e.message.contains("open the served root"), "{e}");
            }
        }
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        let policy = served(&root);
        std::fs::rename(&root, &other).unwrap();
        std::os::unix::fs::symlink("/", &root).unwrap();
        assert!(open(b"new", false, &policy).unwrap().created);
        assert!(other.join("new").exists());
    }

    #[test]
    fn of_nested_roots_the_inner_one_counts() {
        let temp = tempfile::tempdir().unwrap();
        let inner = temp.path().join("link");
        std::os::unix::fs::symlink("/", &inner).unwrap();
        let mut policy = served(temp.path());
        assert!(open(b"link/etc", false, &policy).is_err());
        policy.roots.push(ServedRoot::pin(inner));
        assert!(open(b"link/etc", false, &policy).is_ok());
    }

    #[test]
    fn a_single_file_may_name_its_target() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("none", temp.path().join("dangling")).unwrap();
        let open = |name: &str, single| {
            let path = temp.path().join(name);
            open(path.as_os_str().as_bytes(), single, &ServePolicy::default())
        };
        for name in ["file", "new", "link", "dangling"] {
            assert_eq!(open(name, true).unwrap().rename.unwrap(), name.as_bytes());
        }
        for (name, single) in [
            ("file", false),
            ("file/", true),
            ("file/.", true),
            ("a/b", false),
            ("a/b", true),
            ("link", false),
            ("dangling", false),
            ("dangling/", true),
            (".hasync", true),
        ] {
            assert!(open(name, single).is_err(), "{name}");
        }
        assert!(open("dir/", true).unwrap().created);
        assert!(open("dir2/.", true).unwrap().created);
    }

    #[test]
    fn what_fat_stores_comes_back() {
        let time = |secs, nanos| Time { secs, nanos };
        let (fat, exfat) = (
            known_times(0x4d44).unwrap(),
            known_times(0x2011_bab0).unwrap(),
        );
        for store in [fat, exfat] {
            store.check().unwrap();
            assert_eq!(store.stored(time(0, 5)), time(315_532_800, 0));
            assert_eq!(store.stored(time(1 << 33, 5)), time(4_354_819_198, 0));
        }
        assert_eq!(fat.stored(time(1_600_000_001, 5)), time(1_600_000_000, 0));
        let odd = time(1_600_000_001, 19_999_999);
        assert_eq!(exfat.stored(odd), time(1_600_000_001, 10_000_000));
        assert!(known_times(0xef53).is_none());
    }

    #[test]
    fn the_time_probe_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let before = std::fs::metadata(temp.path()).unwrap().modified().unwrap();
        let store = probe_times(&root).unwrap();
        assert!(store.granularity_ns >= 1 && store.min_secs < store.max_secs);
        assert_eq!(
            std::fs::metadata(temp.path()).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
