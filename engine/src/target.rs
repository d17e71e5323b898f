//! Finding the target root that a destination means, within what the receiver's policy allows.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::digest::TimeStore;
use crate::entry::Time;
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, Root, set_fd_attrs, stat};
use crate::path::{RelPath, Shown, check_name};
use crate::policy::ServePolicy;

/// The target that a destination means.
#[derive(Debug)]
pub(crate) struct Target {
    /// `None` in a dry run whose target root does not exist.
    pub(crate) root: Option<Root>,
    pub(crate) created: bool,
    /// The name that a single source entry gets.
    pub(crate) rename: Option<Vec<u8>>,
}

/// Symlinks followed at most at the end of a destination.
const FOLLOW_MAX: usize = 8;

/// Opens the target root, making its last component if it is missing.
pub(crate) fn open_target(
    destination: &[u8],
    single: bool,
    dry_run: bool,
    policy: &ServePolicy,
) -> Result<Target, Error> {
    let path = resolve(destination, policy)?;
    let shown = Shown(path.as_os_str().as_bytes()).to_string();
    let names_dir = destination.ends_with(b"/") || destination.is_empty();
    match open_dir(&path, policy) {
        Ok(fd) => {
            let root = Some(Root::from_fd(fd, path));
            return Ok(Target {
                root,
                created: false,
                rename: None,
            });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Another non-directory is there: a single entry may replace it.
        Err(e) if is_errno(&e, Errno::NOTDIR) && single && !names_dir => {}
        Err(e) if is_errno(&e, Errno::NOTDIR) => {
            return Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "the target {shown} is not a directory; give a directory, or one file as source"
                ),
            ));
        }
        Err(e) => return Err(Error::file(format_args!("open the target {shown}"), &e)),
    }
    let (parent_path, name) = split(&path).ok_or_else(|| {
        Error::new(
            ErrorKind::FileIo,
            format!("the target {shown} does not exist"),
        )
    })?;
    let parent = open_dir(&parent_path, policy).map_err(|e| {
        let parent = Shown(parent_path.as_os_str().as_bytes());
        Error::file(
            format_args!("open {parent}, in which the target {shown} would be"),
            &e,
        )
    })?;
    if single && !names_dir {
        let root = Some(Root::from_fd(parent, parent_path));
        return Ok(Target {
            root,
            created: false,
            rename: Some(name),
        });
    }
    if dry_run {
        if statat(&parent, &*name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let e = Errno::EXIST.into();
            return Err(Error::file(format_args!("make the target {shown}"), &e));
        }
        return Ok(Target {
            root: None,
            created: true,
            rename: None,
        });
    }
    let made = mkdirat(&parent, &*name, Mode::from_raw_mode(0o777))
        .and_then(|()| openat(&parent, &*name, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty()));
    let fd = made.map_err(|e| Error::file(format_args!("make the target {shown}"), &e.into()))?;
    Ok(Target {
        root: Some(Root::from_fd(fd, path)),
        created: true,
        rename: None,
    })
}

const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// The path that a destination means, before anything is opened.
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
    let Some(first) = policy.roots.first() else {
        return Ok(if path.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            path
        });
    };
    let path = if path.is_relative() {
        first.join(path)
    } else {
        path
    };
    let climbs = path.components().any(|c| matches!(c, Component::ParentDir));
    if climbs || !policy.roots.iter().any(|root| path.starts_with(root)) {
        let shown = Shown(path.as_os_str().as_bytes());
        return Err(usage(format!(
            "the target {shown} is outside the roots that this receiver serves"
        )));
    }
    Ok(path)
}

/// Opens a directory of the target path. Below a served root no symlink is followed; elsewhere the
/// last component may be one if root or this user owns it.
fn open_dir(path: &Path, policy: &ServePolicy) -> io::Result<OwnedFd> {
    let served = policy
        .roots
        .iter()
        .find_map(|root| Some((root, path.strip_prefix(root).ok()?)));
    if let Some((root, below)) = served {
        let rel = RelPath::parse(below.as_os_str().as_bytes())
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
        return Root::open(root)?.open_dir(&rel);
    }
    let mut path = path.to_owned();
    for _ in 0..FOLLOW_MAX {
        match openat(CWD, &path, DIR_FLAGS | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {}
            result => return Ok(result?),
        }
        let held = openat(
            CWD,
            trim_slashes(&path),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let link = fstat(&held)?;
        if FileType::from_raw_mode(link.st_mode) != FileType::Symlink {
            return Err(Errno::NOTDIR.into());
        }
        if link.st_uid != 0 && link.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is a symlink of another user, which is not followed",
            ));
        }
        let target = readlinkat(&held, c"", Vec::new())?;
        let parent = split(&path).map_or_else(|| PathBuf::from("."), |(parent, _)| parent);
        path = parent.join(OsString::from_vec(target.into_bytes()));
    }
    Err(Errno::LOOP.into())
}

fn trim_slashes(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let len = bytes
        .iter()
        .rposition(|&b| b != b'/')
        .map_or(1, |at| at + 1);
    PathBuf::from(OsString::from_vec(bytes[..len.min(bytes.len())].to_vec()))
}

/// The parent directory and the last component, if that is a name.
fn split(path: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let path = trim_slashes(path);
    let bytes = path.as_os_str().as_bytes();
    let (parent, name) = match bytes.iter().rposition(|&b| b == b'/') {
        Some(0) => (&b"/"[..], &bytes[1..]),
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"."[..], bytes),
    };
    check_name(name).ok()?;
    Some((
        PathBuf::from(OsString::from_vec(parent.to_vec())),
        name.to_vec(),
    ))
}

fn is_errno(e: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(e) == Some(errno)
}

/// Finds out what the file system of `root` can store as a time, with an unnamed file that leaves
/// no trace. Where that is not possible, nanoseconds and any year are assumed.
pub(crate) fn probe_times(root: &Root) -> TimeStore {
    probe(root).unwrap_or_default()
}

fn probe(root: &Root) -> io::Result<TimeStore> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat(root, ".", flags, Mode::RUSR | Mode::WUSR)?);
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
        Ok(Time {
            secs: stat.st_mtime,
            nanos: stat.st_mtime_nsec as u32,
        })
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

    fn served(root: &Path) -> ServePolicy {
        ServePolicy {
            roots: vec![root.to_owned()],
            ..ServePolicy::default()
        }
    }

    #[test]
    fn a_served_root_cannot_be_left() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::os::unix::fs::symlink(temp.path(), root.join("out")).unwrap();
        let open = |dest: &str| open_target(dest.as_bytes(), false, false, &served(&root));
        assert!(open("in").is_ok());
        assert!(open("").is_ok());
        assert!(open("new").unwrap().created);
        assert!(open(root.to_str().unwrap()).is_ok());
        for outside in ["..", "in/../..", "/etc", "out", "out/x", "/"] {
            assert!(open(outside).is_err(), "{outside}");
        }
        assert!(!temp.path().join("x").exists());
    }

    #[test]
    fn a_single_file_may_name_its_target() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"").unwrap();
        let policy = ServePolicy::default();
        let open = |name: &str, single| {
            let path = temp.path().join(name);
            open_target(path.as_os_str().as_bytes(), single, false, &policy)
        };
        assert_eq!(open("file", true).unwrap().rename.unwrap(), b"file");
        assert_eq!(open("new", true).unwrap().rename.unwrap(), b"new");
        assert!(open("file", false).is_err());
        assert!(open("file/", true).is_err());
        assert!(open("a/b", false).is_err());
        assert!(open("dir/", true).unwrap().created);
    }

    #[test]
    fn the_time_probe_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let root = Root::open(temp.path()).unwrap();
        let before = std::fs::metadata(temp.path()).unwrap().modified().unwrap();
        let store = probe_times(&root);
        assert!(store.granularity_ns >= 1 && store.min_secs < store.max_secs);
        assert_eq!(
            std::fs::metadata(temp.path()).unwrap().modified().unwrap(),
            before
        );
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
