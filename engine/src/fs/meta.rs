//! Setting owner, permissions and times without following a symlink and without opening what must
//! not be opened (a fifo blocks, a device acts).

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use filetime::FileTime;
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, utimensat,
};
use serde::{Deserialize, Serialize};

use super::mode::set_mode;
use crate::entry::Time;

/// Metadata to set; `None` leaves a part as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attrs {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Permission bits: 0o7777.
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Option<Time>,
}

impl Attrs {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Attrs::default()
    }
}

/// Sets `attrs` on an open file or directory.
///
/// Owner first: a change of owner clears setuid and setgid, so the mode comes after it. A mode
/// must therefore be given along with an owner when those bits matter. Each part is tried even if
/// one before it failed; the first error is returned.
pub(crate) fn set_fd_attrs(file: &File, attrs: &Attrs) -> io::Result<()> {
    let owner = match (attrs.uid, attrs.gid) {
        (None, None) => Ok(()),
        (uid, gid) => fchown(file, uid.map(Uid::from_raw), gid.map(Gid::from_raw)),
    };
    let mode = attrs
        .mode
        .map_or(Ok(()), |mode| fchmod(file, Mode::from_raw_mode(mode)));
    let time = attrs.mtime.map_or(Ok(()), |time| {
        // `filetime` negates the seconds, which the smallest number does not survive.
        let mtime = FileTime::from_unix_time(time.secs.max(-i64::MAX), time.nanos);
        filetime::set_file_handle_times(file, None, Some(mtime))
    });
    owner?;
    mode?;
    time
}

/// Sets `attrs` on `name` in `dir`, on the link itself if it is a symlink (whose mode is left
/// alone: Linux has none). In the order, and with the errors, of [`set_fd_attrs`].
pub(crate) fn set_attrs(
    dir: impl AsFd,
    name: &CStr,
    is_symlink: bool,
    attrs: &Attrs,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let owner = match (attrs.uid, attrs.gid) {
        (None, None) => Ok(()),
        (uid, gid) => {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
    };
    let mode = attrs.mode.filter(|_| !is_symlink);
    let mode = mode.map_or(Ok(()), |mode| {
        set_mode(dir, name, Mode::from_raw_mode(mode))
    });
    let time = attrs.mtime.map_or(Ok(()), |time| {
        utimensat(dir, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
    });
    owner?;
    mode?;
    Ok(time?)
}

fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
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
        // Taken for a file that turned into a symlink meanwhile: refused, not followed.
        assert!(set_attrs(&dir, c"link", false, &attrs).is_err());
        set_attrs(&dir, c"link", true, &attrs).unwrap();
        let after = std::fs::metadata(temp.path().join("file")).unwrap();
        assert_eq!(before.permissions().mode(), after.permissions().mode());
        assert_eq!(before.mtime(), after.mtime());
        let link = std::fs::symlink_metadata(temp.path().join("link")).unwrap();
        assert_eq!((link.mtime(), link.mtime_nsec()), (1, 2));
    }
}
