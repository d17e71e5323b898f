//! One entry of a directory: what the two sides compare, and what the receiver makes.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::observer::Kind;
use crate::path::{NameError, check_name};

/// A point in time as file systems keep it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time {
    /// Seconds since the epoch.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Time {
    /// Checks what a peer sent: a second has so many nanoseconds, and beyond them are numbers with
    /// a meaning of their own to the kernel, such as now.
    pub(crate) fn check(self) -> Result<(), EntryError> {
        if self.nanos >= 1_000_000_000 {
            return Err(EntryError::Nanos(self.nanos));
        }
        Ok(())
    }
}

/// BLAKE3-256 of a whole file.
pub(crate) type Sum = [u8; 32];

/// One entry as it travels: name, metadata, and what its type adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(with = "serde_bytes")]
    pub(crate) name: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky: 0o7777.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) body: Body,
    /// Under `-H`: path of the first entry, in canonical order, of the same inode.
    #[serde(with = "serde_bytes")]
    pub(crate) link_to: Option<Vec<u8>>,
}

/// What the type of an entry adds to its metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// Length in bytes; under `-c` also the sum of the content.
    File {
        len: u64,
        sum: Option<Sum>,
    },
    Dir,
    /// The target, verbatim.
    Symlink {
        #[serde(with = "serde_bytes")]
        target: Vec<u8>,
    },
    /// Device numbers as `makedev` packs them.
    CharDevice {
        rdev: u64,
    },
    BlockDevice {
        rdev: u64,
    },
    Fifo,
    Socket,
    /// The source has this name, but the options leave its type out of the mirror: the target
    /// keeps what it has under it.
    Unmirrored(Kind),
}

impl Entry {
    pub(crate) fn kind(&self) -> Kind {
        match &self.body {
            Body::File { .. } => Kind::File,
            Body::Dir => Kind::Dir,
            Body::Symlink { .. } => Kind::Symlink,
            Body::CharDevice { .. } | Body::BlockDevice { .. } => Kind::Device,
            Body::Fifo | Body::Socket => Kind::Special,
            Body::Unmirrored(kind) => *kind,
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir)
    }

    pub(crate) fn is_unmirrored(&self) -> bool {
        matches!(self.body, Body::Unmirrored(_))
    }

    /// Length of a regular file's content; 0 for everything else.
    pub(crate) fn len(&self) -> u64 {
        if let Body::File { len, .. } = self.body {
            len
        } else {
            0
        }
    }

    /// The target of a symlink.
    pub(crate) fn symlink_target(&self) -> Option<&[u8]> {
        if let Body::Symlink { target } = &self.body {
            Some(target)
        } else {
            None
        }
    }

    /// Canonical order inside a directory: everything else by name, then directories by name.
    pub(crate) fn canonical_cmp(&self, other: &Entry) -> Ordering {
        self.is_dir()
            .cmp(&other.is_dir())
            .then_with(|| self.name.cmp(&other.name))
    }

    /// Checks an entry that a peer sent: name, link targets, permission bits, nanoseconds.
    pub(crate) fn check(&self) -> Result<(), EntryError> {
        check_name(&self.name).map_err(EntryError::Name)?;
        if self.mode & !0o7777 != 0 {
            return Err(EntryError::Mode(self.mode));
        }
        self.mtime.check()?;
        match &self.body {
            Body::Symlink { target } if target.is_empty() || target.contains(&0) => {
                Err(EntryError::LinkTarget)
            }
            Body::Dir if self.link_to.is_some() => Err(EntryError::LinkedDir),
            _ => Ok(()),
        }
    }
}

/// Why an entry from a peer is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryError {
    Name(NameError),
    Mode(u32),
    Nanos(u32),
    LinkTarget,
    LinkedDir,
}

impl std::fmt::Display for EntryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EntryError::Name(e) => write!(f, "{e}"),
            EntryError::Mode(mode) => write!(f, "permission bits {mode:#o} above 0o7777"),
            EntryError::Nanos(nanos) => write!(f, "{nanos} nanoseconds in a second"),
            EntryError::LinkTarget => {
                f.write_str("an empty symlink target, or one with a zero byte")
            }
            EntryError::LinkedDir => f.write_str("a hard-linked directory"),
        }
    }
}
