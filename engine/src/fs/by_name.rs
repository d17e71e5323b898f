//! Metadata of what is not opened: symlinks, sockets, devices and fifos, and what this process may
//! not open. It is set by name, without following a symlink.
//!
//! That is a call that no rule about files covers: a process that can make it can change whatever
//! it can name. One that has given the call up has another process make it.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_NOW, Uid, chownat, utimensat};

use super::attrs::Attrs;
use super::mode::set_mode;
use crate::entry::Time;

/// Sets metadata by name for a process that has given that up.
pub trait ByName: fmt::Debug + Send + Sync {
    /// Sets `attrs` on `name` in `dir`, on the link itself if it is a symlink, which has no mode.
    ///
    /// # Errors
    ///
    /// As the system calls have them, or why nobody makes them.
    fn set_attrs(&self, dir: BorrowedFd<'_>, name: &CStr, attrs: &Attrs) -> io::Result<()>;
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

/// Sets `attrs` on `name` in `dir`, by whoever can.
pub(super) fn set_by_name(dir: BorrowedFd<'_>, name: &CStr, attrs: &Attrs) -> io::Result<()> {
    match STAND_IN.get() {
        Some(stand_in) => stand_in.set_attrs(dir, name, attrs),
        None => OwnCalls.set_attrs(dir, name, attrs),
    }
}

impl ByName for OwnCalls {
    /// In the order, and with the errors, of [`set_fd_attrs`](super::set_fd_attrs).
    fn set_attrs(&self, dir: BorrowedFd<'_>, name: &CStr, attrs: &Attrs) -> io::Result<()> {
        let owner = match (attrs.uid, attrs.gid) {
            (None, None) => Ok(()),
            (uid, gid) => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        let mode = attrs.mode.map_or(Ok(()), |mode| {
            set_mode(dir, name, Mode::from_raw_mode(mode))
        });
        let time = attrs.mtime.map_or(Ok(()), |time| {
            utimensat(dir, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
        });
        owner?;
        mode?;
        Ok(time?)
    }
}

/// The time of the last access becomes now: servers of FUSE on old libraries ignore a call that
/// leaves one of the two as it is.
pub(super) fn timestamps(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}
