//! An entry that is held without being opened: whatever takes its name meanwhile is not it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::attrs::Attrs;
use super::inode::Inode;

/// An entry that is held, neither opened nor followed.
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    pub(super) inode: Inode,
}

impl Held {
    /// Holds what has the name, if it is what was `judged` or is to have the owner of `attrs` now.
    pub(super) fn new(
        dir: BorrowedFd<'_>,
        name: &CStr,
        judged: Option<&Inode>,
        attrs: &Attrs,
    ) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty())?;
        let inode = Inode::held(&fd)?;
        match judged {
            Some(judged) if judged.is_dir() => judged.check_dir(&fd, attrs.uid)?,
            Some(judged) => judged.check(&inode, attrs.uid)?,
            None => {}
        }
        Ok(Held { fd, inode })
    }

    /// Opens what is held, which has that name in `dir`, if it is a regular file or a directory.
    /// Nothing else: a device acts, and who waits for a reader of a fifo would take this for one.
    /// Why it cannot be opened, if so, does not matter: its metadata may be changed all the same.
    pub(super) fn open(&self, dir: BorrowedFd<'_>, name: &CStr) -> Option<File> {
        if !matches!(
            self.inode.file_type(),
            FileType::RegularFile | FileType::Directory
        ) {
            return None;
        }
        // A file that somebody has a lease on is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(CWD, self.proc_path(), flags, Mode::empty());
        let opened = opened.or_else(|_| {
            let opened = openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
            let inode = Inode::of(&fstat(&opened)?);
            let is_it = inode.number == self.inode.number && inode.mode == self.inode.mode;
            is_it.then_some(opened).ok_or(Errno::STALE)
        });
        opened.ok().map(File::from)
    }

    /// A path that leads to what is held, where there is `/proc`.
    pub(super) fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}
