//! Metadata of what is not opened. The entry is held, without being opened or followed, found to be
//! the one that was judged, and changed through what is held: whatever takes its name meanwhile
//! stays as it is.
//!
//! Those are calls that no rule about files covers: a process that can make them can change
//! whatever it can name. One that has given them up has another process make them.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, chownat, utimensat,
};
use rustix::io::Errno;

use super::attrs::Attrs;
use super::held::Held;
use super::inode::Inode;
use super::mode::set_mode;
use super::xattrs::{Way, proc_path, set_rights};
use crate::entry::Time;

/// Sets metadata by name for a process that has given that up.
pub trait ByName: fmt::Debug + Send + Sync {
    /// Sets `attrs` on `name` in `dir`, on the link itself if it is a symlink, which has no mode.
    /// No other entry than the one that was `judged` is changed.
    ///
    /// # Errors
    ///
    /// As the system calls have them, or why nobody makes them.
    fn set_attrs(
        &self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        judged: &Inode,
        attrs: &Attrs,
    ) -> io::Result<()>;
}

/// The calls as this process can make them itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnCalls;

/// A process gives up such calls as a whole, all of its threads and for good: it has one stand-in.
static STAND_IN: OnceLock<Arc<dyn ByName>> = OnceLock::new();

/// Has metadata set by `stand_in` from now on, wherever this process would set it by name. Only
/// the first one counts.
pub fn set_by_name_through(stand_in: Arc<dyn ByName>) {
    let _ = STAND_IN.set(stand_in);
}

/// Who makes such calls in place of this process, if it has given them up.
pub(super) fn stand_in() -> Option<&'static dyn ByName> {
    STAND_IN.get().map(|stand_in| &**stand_in)
}

/// Sets `attrs` on what is held, which has that name in `dir`. In the order, and with the
/// errors, of [`set_fd_attrs`](super::set_fd_attrs).
pub(super) fn set_held(
    held: &Held,
    dir: BorrowedFd<'_>,
    name: &CStr,
    attrs: &Attrs,
) -> io::Result<()> {
    let owner = match (attrs.uid, attrs.gid) {
        (None, None) => Ok(()),
        (uid, gid) => {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            chownat(&held.fd, c"", uid, gid, AtFlags::EMPTY_PATH)
        }
    };
    let path = proc_path(held.fd.as_fd());
    let rights = set_rights(&Way::Held(&path), attrs, |mode| {
        set_mode(dir, name, held, Mode::from_raw_mode(mode))
    });
    let time = match attrs.has_times() {
        true => set_times(held, attrs),
        false => Ok(()),
    };
    owner?;
    rights?;
    Ok(time?)
}

impl ByName for OwnCalls {
    fn set_attrs(
        &self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        judged: &Inode,
        attrs: &Attrs,
    ) -> io::Result<()> {
        let held = Held::new(dir, name, Some(judged), attrs)?;
        set_held(&held, dir, name, attrs)
    }
}

fn set_times(held: &Held, attrs: &Attrs) -> rustix::io::Result<()> {
    let times = timestamps(attrs);
    match utimensat(&held.fd, c"", &times, AtFlags::EMPTY_PATH) {
        // Before Linux 5.8; the way through `/proc` leads to a symlink itself.
        Err(Errno::INVAL | Errno::BADF) => {
            utimensat(CWD, held.proc_path(), &times, AtFlags::empty())
        }
        result => result,
    }
}

/// The time of the last access becomes now: servers of FUSE on old libraries ignore a call that
/// leaves one of the two as it is.
pub(super) fn timestamps(attrs: &Attrs) -> Timestamps {
    let of = |time: Option<Time>, otherwise| match time {
        Some(time) => Timespec {
            tv_sec: time.secs,
            tv_nsec: time.nanos.into(),
        },
        None => Timespec {
            tv_sec: 0,
            tv_nsec: otherwise,
        },
    };
    Timestamps {
        last_access: of(attrs.atime, UTIME_NOW),
        last_modification: of(attrs.mtime, UTIME_OMIT),
    }
}
