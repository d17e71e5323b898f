//! What a directory hands on to what is made in it: a default ACL, flags such as no copy-on-write,
//! a security label, a hint how to lay files out. What is staged elsewhere and moved in would lack
//! it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    FallocateFlags, IFlags, Mode, OFlags, XattrFlags, fallocate, fgetxattr, fremovexattr,
    fsetxattr, fstat, ioctl_getflags, ioctl_setflags, openat,
};
use rustix::io::Errno;

/// The attribute that holds a directory's default ACL.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// The attribute that holds a label of SELinux.
const LABEL: &str = "security.selinux";

/// Longest attribute that is passed on, in bytes: of a default ACL 8,191 entries.
const LEN_MAX: usize = 1 << 16;

/// Flags that are handed on, and that another directory can be given: those with a name here, no
/// compression and direct access.
const FLAGS: IFlags = IFlags::SYNC
    .union(IFlags::NODUMP)
    .union(IFlags::NOATIME)
    .union(IFlags::NOCOW)
    .union(IFlags::COMPRESSED)
    .union(IFlags::DIRSYNC)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOTAIL)
    .union(IFlags::from_bits_retain(0x0200_0400))
    .union(FOLDED);

/// Names that differ in case, or in the form of letters, are one.
const FOLDED: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// Flags of a directory into which nothing may be renamed from outside of its project, or of what
/// is encrypted with its key.
const BORDERS: IFlags = IFlags::PROJECT_INHERIT.union(IFlags::from_bits_retain(0x800));

/// What one directory hands on, but for what only itself can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HandedOn {
    acl: Vec<u8>,
    label: Vec<u8>,
    flags: u32,
}

impl HandedOn {
    /// What `dir` hands on, and whether its flags say that it may not be entered from elsewhere.
    pub(crate) fn by(dir: impl AsFd) -> (Self, bool) {
        let dir = dir.as_fd();
        // What a file system does not know it does not hand on.
        let flags = ioctl_getflags(dir).unwrap_or(IFlags::empty());
        let handed_on = HandedOn {
            acl: attribute(dir, DEFAULT_ACL),
            label: attribute(dir, LABEL),
            flags: (flags & FLAGS).bits(),
        };
        (handed_on, flags.intersects(BORDERS))
    }

    /// The same without a default ACL.
    pub(crate) fn without_acl(self) -> Self {
        HandedOn {
            acl: Vec::new(),
            ..self
        }
    }

    /// The same without a label, if `made` got none when it was made: such a kernel labels nothing.
    pub(crate) fn labelled_as(self, made: &HandedOn) -> Self {
        match made.label.is_empty() {
            true => HandedOn {
                label: Vec::new(),
                ..self
            },
            false => self,
        }
    }

    /// Whether what is made there gets no default ACL.
    pub(crate) fn has_no_acl(&self) -> bool {
        self.acl.is_empty()
    }

    /// Makes an empty directory hand the same on.
    pub(crate) fn give_to(&self, dir: impl AsFd) -> io::Result<()> {
        let dir = dir.as_fd();
        let (now, _) = HandedOn::by(dir);
        for (name, new, old) in [
            (DEFAULT_ACL, &self.acl, &now.acl),
            (LABEL, &self.label, &now.label),
        ] {
            match new.is_empty() {
                _ if new == old => {}
                true => fremovexattr(dir, name)?,
                false => fsetxattr(dir, name, new, XattrFlags::empty())?,
            }
        }
        if self.flags != now.flags {
            let others = ioctl_getflags(dir)? - FLAGS;
            ioctl_setflags(dir, others | IFlags::from_bits_retain(self.flags))?;
        }
        Ok(())
    }
}

/// Whether flags of a directory say that it may not be entered from elsewhere.
pub(crate) fn is_bordered(dir: impl AsFd) -> bool {
    ioctl_getflags(dir).is_ok_and(|flags| flags.intersects(BORDERS))
}

/// Whether a directory folds names, which one may that is in another that does not.
pub(crate) fn folds_names(dir: impl AsFd) -> bool {
    ioctl_getflags(dir).is_ok_and(|flags| flags.contains(FOLDED))
}

/// The default ACL of a directory as the kernel has it; empty if there is none.
pub(super) fn default_acl(dir: impl AsFd) -> Vec<u8> {
    attribute(dir.as_fd(), DEFAULT_ACL)
}

/// Takes the default ACL from a directory that was just made in another.
pub(crate) fn drop_default_acl(dir: impl AsFd) {
    // Without one, or on a file system without any, this fails.
    let _ = fremovexattr(dir, DEFAULT_ACL);
}

/// Whether `dir`, on XFS, hands on that files grow in larger steps than a block: no call that is
/// safe here tells, but a new file does.
pub(crate) fn hints_at_extents(dir: impl AsFd) -> bool {
    let asked = || -> rustix::io::Result<bool> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(openat(dir, ".", flags, Mode::RUSR | Mode::WUSR)?);
        fallocate(&file, FallocateFlags::empty(), 0, 1)?;
        let stat = fstat(&file)?;
        Ok(stat.st_blocks * 512 > stat.st_blksize)
    };
    asked().unwrap_or(false)
}

/// An attribute as the kernel has it; empty if there is none.
fn attribute(dir: BorrowedFd<'_>, name: &str) -> Vec<u8> {
    let mut value = Vec::with_capacity(256);
    let mut read = fgetxattr(dir, name, rustix::buffer::spare_capacity(&mut value));
    if read == Err(Errno::RANGE) {
        value.reserve(LEN_MAX);
        read = fgetxattr(dir, name, rustix::buffer::spare_capacity(&mut value));
    }
    // A file system without such attributes is one whose directories have none.
    if read.is_err() {
        value.clear();
    }
    value
}
