//! One entry of a directory: what the two sides compare, and what the receiver makes.

use std::cmp::Ordering;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::ids::check_id;
use crate::observer::Kind;
use crate::path::{RelPath, check_name};
use crate::refusal::Refusal;

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
    /// The last nanosecond of a second.
    const NANOS_MAX: u32 = 999_999_999;

    /// A time as a file system gives it, which may be damaged: nanoseconds that no second has
    /// stand for its last one, here as on the peer, which refuses them.
    pub(crate) fn found(secs: i64, nanos: impl TryInto<u32>) -> Self {
        let nanos = nanos.try_into().unwrap_or(u32::MAX).min(Self::NANOS_MAX);
        Time { secs, nanos }
    }

    /// Whether it is what a copy may have kept of that time: the second, if not all of it.
    pub(crate) fn is_kept_of(self, time: Time) -> bool {
        self == time || self.nanos == 0 && self.secs == time.secs
    }

    /// Checks what a peer sent: a second has so many nanoseconds, and beyond them are numbers with
    /// a meaning of their own to the kernel, such as now.
    pub(crate) fn check(self) -> Result<(), Refusal> {
        match self.nanos {
            ..=Self::NANOS_MAX => Ok(()),
            nanos => Err(Refusal::Nanos { nanos }),
        }
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
    /// With `atimes`, but of no directory: the time of the last access.
    pub(crate) atime: Option<Time>,
    pub(crate) body: Body,
    /// Under `-H`: path of the first entry, in canonical order, of the same inode.
    #[serde(with = "serde_bytes")]
    pub(crate) link_to: Option<Vec<u8>>,
    pub(crate) attributes: Attributes,
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
    /// The source has nothing of this name, and the target shall have nothing either
    /// (`--delete-missing-args`).
    Gone,
    /// A directory that only leads to what is mirrored (`--no-implied-dirs`): made if it is
    /// missing, and otherwise as it is.
    Way,
}

impl Body {
    /// The type as the system has it.
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Body::File { .. } => FileType::RegularFile,
            Body::Dir | Body::Way => FileType::Directory,
            Body::Symlink { .. } => FileType::Symlink,
            Body::CharDevice { .. } => FileType::CharacterDevice,
            Body::BlockDevice { .. } => FileType::BlockDevice,
            Body::Fifo => FileType::Fifo,
            Body::Socket => FileType::Socket,
            Body::Unmirrored(_) | Body::Gone => FileType::Unknown,
        }
    }
}

impl Entry {
    pub(crate) fn kind(&self) -> Kind {
        match &self.body {
            Body::File { .. } | Body::Gone => Kind::File,
            Body::Dir | Body::Way => Kind::Dir,
            Body::Symlink { .. } => Kind::Symlink,
            Body::CharDevice { .. } | Body::BlockDevice { .. } => Kind::Device,
            Body::Fifo | Body::Socket => Kind::Special,
            Body::Unmirrored(kind) => *kind,
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        matches!(self.body, Body::Dir | Body::Way)
    }

    /// Whether nothing is made for it.
    pub(crate) fn is_unmirrored(&self) -> bool {
        matches!(self.body, Body::Unmirrored(_) | Body::Gone)
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

    /// Whether there is a user and a group of its numbers, as a peer expects.
    pub(crate) fn has_owners(&self) -> bool {
        [self.uid, self.gid]
            .into_iter()
            .all(|id| check_id(id).is_ok())
    }

    /// Checks an entry that a peer sent: name, link targets, permission bits, owners, nanoseconds,
    /// attributes.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        check_name(&self.name).map_err(|error| Refusal::EntryName { error })?;
        if self.mode & !0o7777 != 0 {
            let mode = self.mode;
            return Err(Refusal::Mode { mode });
        }
        [self.uid, self.gid].into_iter().try_for_each(check_id)?;
        self.mtime.check()?;
        self.attributes.check(self.body.file_type())?;
        self.atime.map_or(Ok(()), Time::check)?;
        let first = self.link_to.as_deref().map(RelPath::parse).transpose();
        first.map_err(|error| Refusal::LinkTo { error })?;
        match &self.body {
            Body::Symlink { target } if target.is_empty() || target.contains(&0) => {
                Err(Refusal::LinkTarget)
            }
            Body::Dir | Body::Way if self.link_to.is_some() => Err(Refusal::LinkedDir),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_time_becomes_one_that_a_peer_takes() {
        for (nanos, expected) in [
            (0_i64, 0),
            (999_999_999, 999_999_999),
            (1_000_000_000, 999_999_999),
            ((1 << 30) - 1, 999_999_999),
            (-1, 999_999_999),
            (i64::MAX, 999_999_999),
        ] {
            let time = Time::found(-1, nanos);
            assert_eq!((time.secs, time.nanos), (-1, expected));
            assert!(time.check().is_ok());
        }
    }
}
