//! Files that are put where a path leads, by a command line or a configuration: whole or not at
//! all, and through no symlink that somebody else has planted.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, fchown, linkat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid, test_kill_process};

use super::nearest::make_dir;
use super::{Follow, Landed, PathError, Place, Step, Walk, find_dir};
use crate::fs::remove::names;
use crate::fs::root::flush_dir;

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is put.
    Stays,
    /// It is replaced in one step; the new one gets its owner and mode.
    IsReplaced,
    /// It is replaced in one step, even if it is a symlink; the new one is this user's, with the
    /// mode that is asked for. With it goes what processes left that were killed while they did so.
    IsRenewed,
}

/// Makes the directory at `path`, and those above it that are missing, with this mode.
///
/// # Errors
///
/// Where and why the walk ended.
pub fn make_dirs(path: &Path, mode: u32) -> Result<(), PathError> {
    make_dir(path, Mode::from_raw_mode(mode)).map(drop)
}

/// Puts a file where `path` leads, whole and on disk, with this mode whatever the umask; `false` if
/// one is there that stays. Its directory must be there.
///
/// # Errors
///
/// If the path leads through another user's symlink, to something that is no file, or the file
/// system refuses.
pub fn put_file(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> io::Result<bool> {
    let (dir, name) = place_of(path, existing)?;
    let aside = aside_of(std::process::id());
    if existing == Existing::IsRenewed {
        sweep(&dir);
    }
    match unlinkat(&dir, &aside, AtFlags::empty()) {
        // Left by a process of the same number that was killed.
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let made = openat(&dir, &aside, flags | OFlags::CLOEXEC, PRIVATE)?;
    let replaced = (existing == Existing::IsReplaced).then_some((&dir, &*name));
    let put = fill(File::from(made), replaced, bytes, mode).and_then(|()| match existing {
        Existing::Stays => match linkat(&dir, &aside, &dir, &name, AtFlags::empty()) {
            Err(Errno::EXIST) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        },
        Existing::IsReplaced | Existing::IsRenewed => {
            Ok(renameat(&dir, &aside, &dir, &name).map(|()| true)?)
        }
    });
    if existing == Existing::Stays || put.is_err() {
        // It has its name, or is not wanted.
        let _ = unlinkat(&dir, &aside, AtFlags::empty());
    }
    if matches!(put, Ok(true)) {
        flush_dir(&dir)?;
    }
    put
}

/// What a process writes before that gets its name.
fn aside_of(process: impl std::fmt::Display) -> String {
    format!(".hasync-{process}.new")
}

/// Removes what dead processes left. What cannot be removed does no harm.
fn sweep(dir: &OwnedFd) {
    for name in names(dir).unwrap_or_default() {
        let number = name.strip_prefix(b".hasync-");
        let number = number.and_then(|rest| rest.strip_suffix(b".new"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let number = number.filter(|number| *number > 0);
        let is_dead = |process| test_kill_process(process) == Err(Errno::SRCH);
        if number.and_then(Pid::from_raw).is_some_and(is_dead) {
            let _ = unlinkat(dir, name, AtFlags::empty());
        }
    }
}

/// Writes a file, which gets the owner and mode of one that is `replaced`.
fn fill(
    mut file: File,
    replaced: Option<(&OwnedFd, &OsStr)>,
    bytes: &[u8],
    mode: u32,
) -> io::Result<()> {
    file.write_all(bytes)?;
    let old = replaced.and_then(|(dir, name)| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok());
    let mode = match old {
        Some(old) if FileType::from_raw_mode(old.st_mode) == FileType::RegularFile => {
            let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            fchown(&file, Some(uid), None)?;
            match fchown(&file, None, Some(gid)) {
                // Not one of this user's groups, whose permissions are not for another.
                Err(Errno::PERM) => old.st_mode & 0o5707,
                changed => changed.map(|()| old.st_mode & 0o7777)?,
            }
        }
        _ => mode,
    };
    fchmod(&file, Mode::from_raw_mode(mode))?;
    file.sync_all()
}

/// The directory that a file is put in, and its name there. What is replaced may be reached by a
/// symlink of root's or of this user's.
fn place_of(path: &Path, existing: Existing) -> io::Result<(OwnedFd, OsString)> {
    let judge = &mut |_: &Step<'_>| Ok(());
    if existing == Existing::IsReplaced {
        let mut walk = Walk::new(path, Follow::Trusted, judge)?;
        return match walk.run()? {
            Landed::Dir => Err(Errno::ISDIR.into()),
            Landed::Other(name, _) | Landed::Missing(name) => {
                Ok((walk.open_here()?, OsString::from_vec(name)))
            }
        };
    }
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(Errno::ISDIR.into());
    }
    let above = path.parent().unwrap_or(Path::new(""));
    match find_dir(above, Follow::Trusted, judge)? {
        Place::Dir(dir) => Ok((dir, name.to_owned())),
        Place::Other(_) => Err(Errno::NOTDIR.into()),
        Place::Missing(_) => Err(Errno::NOENT.into()),
    }
}

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    use super::*;
    use crate::fs::hold;

    const OTHER: Option<u32> = Some(4242);

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_file_is_there_whole_with_its_mode() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        assert!(put_file(&at("dir/file"), b"", 0o644, Existing::Stays).is_err());
        make_dirs(&at("dir/sub"), 0o700).unwrap();
        make_dirs(&at("dir/sub"), 0o755).unwrap();
        assert_eq!((mode(&at("dir")), mode(&at("dir/sub"))), (0o700, 0o700));
        let file = at("dir/file");
        assert!(put_file(&file, b"one", 0o646, Existing::Stays).unwrap());
        assert_eq!(mode(&file), 0o646);
        assert!(!put_file(&file, b"two", 0o600, Existing::Stays).unwrap());
        assert!(put_file(&file, b"three", 0o600, Existing::IsReplaced).unwrap());
        assert_eq!(
            (fs::read(&file).unwrap(), mode(&file)),
            (b"three".into(), 0o646)
        );
        symlink("dir/file", at("own")).unwrap();
        assert!(put_file(&at("own"), b"four", 0o600, Existing::IsReplaced).unwrap());
        assert!(at("own").is_symlink() && fs::read(&file).unwrap() == b"four");
        assert!(!put_file(&at("own"), b"five", 0o600, Existing::Stays).unwrap());
        assert!(put_file(&at("dir"), b"", 0o600, Existing::IsReplaced).is_err());
        assert!(put_file(&at("new/"), b"", 0o600, Existing::Stays).is_err());
        assert!(put_file(&at("own"), b"six", 0o604, Existing::IsRenewed).unwrap());
        assert_eq!(mode(&at("own")), 0o604);
        assert_eq!(fs::read(&file).unwrap(), b"four");
        assert_eq!(fs::read_dir(at("dir")).unwrap().count(), 2);
    }

    #[test]
    fn what_a_killed_process_left_goes_with_the_next_write() {
        let temp = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = aside_of(child.id());
        child.wait().unwrap();
        let others = [aside_of(1), aside_of("x"), aside_of(-1), "kept".to_owned()];
        for name in others.iter().chain([&dead]) {
            fs::write(temp.path().join(name), "left").unwrap();
        }
        for (existing, is_left) in [(Existing::Stays, true), (Existing::IsRenewed, false)] {
            assert!(put_file(&temp.path().join("file"), b"", 0o644, existing).unwrap());
            assert_eq!(temp.path().join(&dead).exists(), is_left, "{existing:?}");
        }
        assert!(others.iter().all(|name| temp.path().join(name).exists()));
    }

    #[test]
    fn nothing_is_put_through_a_planted_symlink() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        make_dirs(&at("victim/sub"), 0o755).unwrap();
        fs::write(at("victim/file"), "of root").unwrap();
        for (link, target) in [
            ("dir", "victim"),
            ("file", "victim/file"),
            ("new", "victim/new"),
        ] {
            symlink(target, at(link)).unwrap();
            lchown(at(link), OTHER, OTHER).unwrap();
        }
        for existing in [Existing::Stays, Existing::IsReplaced] {
            for name in ["dir/made", "dir/sub/made", "dir/./sub/../made", "dir/file"] {
                let put = put_file(&at(name), b"x", 0o644, existing);
                let why = put.unwrap_err().to_string();
                assert!(why.contains("is a symlink to"), "{name}: {why}");
            }
        }
        for name in ["file", "new", "dir"] {
            let put = put_file(&at(name), b"x", 0o644, Existing::IsReplaced);
            assert!(put.is_err(), "{name}");
            // Its own name is taken, wherever it leads.
            assert!(!put_file(&at(name), b"x", 0o644, Existing::Stays).unwrap());
        }
        for name in [
            "dir",
            "dir/",
            "dir/made",
            "dir/sub/made/deep",
            "new",
            "new/deep",
        ] {
            assert!(make_dirs(&at(name), 0o755).is_err(), "{name}");
        }
        assert_eq!(fs::read(at("victim/file")).unwrap(), b"of root");
        assert_eq!(fs::read_dir(at("victim")).unwrap().count(), 2);
        assert!(hold(&at("victim/sub")).is_ok());
    }
}
