//! Setting owner, permissions and times without following a symlink: through a descriptor wherever
//! there can be one.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Stat, Uid, fchmod, fchown, fstat, futimens};

use super::attrs::Attrs;
use super::by_name::{set_held, stand_in, timestamps};
use super::held::Held;
use super::inode::Inode;
use super::xattrs::{Way, set_rights};
use crate::entry::Time;

/// Sets `attrs` on an open file or directory.
///
/// Owner first: a change of owner clears setuid, setgid and file capabilities, so these come after
/// it. They must therefore be given along with an owner when they matter. Each part is tried even
/// if one before it failed; the first error is returned.
pub(crate) fn set_fd_attrs(file: &File, attrs: &Attrs) -> io::Result<()> {
    let owner = match (attrs.uid, attrs.gid) {
        (None, None) => Ok(()),
        (uid, gid) => fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw)),
    };
    let set_mode = |mode| Ok(fchmod(file, Mode::from_raw_mode(mode))?);
    let rights = set_rights(&Way::Open(file.as_fd()), attrs, set_mode);
    let time = match attrs.has_times() {
        true => futimens(file, &timestamps(attrs)),
        false => Ok(()),
    };
    owner?;
    rights?;
    Ok(time?)
}

/// Closes what was written: a network or FUSE file system may say only then that it could not store
/// it.
pub(crate) fn close_written(file: File) -> io::Result<()> {
    match nix::unistd::close(file) {
        // Closed all the same.
        Err(nix::errno::Errno::EINTR) => Ok(()),
        result => Ok(result?),
    }
}

/// Does what changes the names in `dir` for hasync's own reasons: it keeps its time as far as this
/// user may set it.
pub(crate) fn keeping_time<T>(dir: impl AsFd, change: impl FnOnce() -> T) -> io::Result<T> {
    let time = |stat: &Stat| Time::found(stat.st_mtime, stat.st_mtime_nsec);
    let before = time(&fstat(&dir)?);
    let done = change();
    if time(&fstat(&dir)?) != before {
        let attrs = Attrs {
            mtime: Some(before),
            ..Attrs::default()
        };
        let _ = set_fd_attrs(&File::from(dir.as_fd().try_clone_to_owned()?), &attrs);
    }
    Ok(done)
}

/// Sets `attrs` on a file that was just made: owner and mode only if it has not come to have them,
/// since looking costs less than setting either. Returns the file's inode number.
pub(crate) fn set_new_attrs(file: &File, attrs: Attrs) -> io::Result<u64> {
    let made = fstat(file)?;
    let differs = |wanted: Option<u32>, made: u32| wanted.filter(|&wanted| wanted != made);
    let (uid, gid) = (
        differs(attrs.uid, made.st_uid),
        differs(attrs.gid, made.st_gid),
    );
    let is_owned = (uid, gid) == (None, None);
    // Another owner takes setuid and setgid away: then the mode is set in any case.
    let mode = attrs
        .mode
        .filter(|&mode| !is_owned || mode != made.st_mode & 0o7777);
    set_fd_attrs(
        file,
        &Attrs {
            uid,
            gid,
            mode,
            ..attrs
        },
    )?;
    Ok(made.st_ino)
}

/// Sets `attrs` on `name` in `dir`, on the link itself if it is a symlink (whose mode is left
/// alone: Linux has none). If it is to be the entry that was `judged`, no other is changed. In the
/// order, and with the errors, of [`set_fd_attrs`].
pub(crate) fn set_attrs(
    dir: impl AsFd,
    name: &CStr,
    judged: Option<&Inode>,
    attrs: &Attrs,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let is_symlink = judged.is_some_and(Inode::is_symlink);
    let attrs = Attrs {
        mode: attrs.mode.filter(|_| !is_symlink),
        ..attrs.clone()
    };
    let held = Held::new(dir, name, judged, &attrs)?;
    let Some(stand_in) = stand_in() else {
        return set_held(&held, dir, name, &attrs);
    };
    match held.open(dir, name) {
        Some(file) => set_fd_attrs(&file, &attrs),
        None => stand_in.set_attrs(dir, name, &held.inode, &attrs),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustix::fs::{AtFlags, statat};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn a_symlink_is_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), b"x").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        let before = std::fs::metadata(temp.path().join("file")).unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let attrs = Attrs {
            mode: Some(0o777),
            mtime: Some(Time { secs: 1, nanos: 2 }),
            ..Attrs::default()
        };
        let judged = |name: &CStr| {
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            Inode::of(&stat)
        };
        // Taken for a file that turned into a symlink meanwhile: refused, not followed.
        assert!(set_attrs(&dir, c"link", Some(&judged(c"file")), &attrs).is_err());
        assert!(set_attrs(&dir, c"link", None, &attrs).is_err());
        set_attrs(&dir, c"link", Some(&judged(c"link")), &attrs).unwrap();
        let after = std::fs::metadata(temp.path().join("file")).unwrap();
        assert_eq!(before.permissions().mode(), after.permissions().mode());
        assert_eq!(before.mtime(), after.mtime());
        let link = std::fs::symlink_metadata(temp.path().join("link")).unwrap();
        assert_eq!((link.mtime(), link.mtime_nsec()), (1, 2));
    }
}
