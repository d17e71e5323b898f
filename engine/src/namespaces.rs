//! Extended attributes by who may read and set them: which of them a push is about.

use serde::{Deserialize, Serialize};

/// Some namespaces of extended attributes. What belongs to none is never mirrored: the system's,
/// of which ACLs are told by themselves, those in which rsync keeps what it could not set, and the
/// names by which XFS shows ACLs once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub(crate) struct Namespaces(u8);

impl Namespaces {
    pub(crate) const NONE: Self = Namespaces(0);
    /// `user.`, on files and directories alone.
    pub(crate) const USER: Self = Namespaces(1);
    /// File capabilities: `security.capability`.
    pub(crate) const CAPABILITY: Self = Namespaces(2);
    /// Labels and the like: `security.`, but for those.
    pub(crate) const SECURITY: Self = Namespaces(4);
    /// `trusted.`, and whatever a file system has of its own.
    pub(crate) const TRUSTED: Self = Namespaces(8);
    pub(crate) const ALL: Self = Namespaces(15);

    /// The one that a name is in.
    pub(crate) fn of(name: &[u8]) -> Self {
        match name {
            name if name.starts_with(b"system.") => Self::NONE,
            name if name.starts_with(b"user.rsync.%") => Self::NONE,
            b"trusted.SGI_ACL_FILE" | b"trusted.SGI_ACL_DEFAULT" => Self::NONE,
            name if name.starts_with(b"user.") => Self::USER,
            CAPABILITY => Self::CAPABILITY,
            name if name.starts_with(b"security.") => Self::SECURITY,
            _ => Self::TRUSTED,
        }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Namespaces(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Namespaces(self.0 & !other.0)
    }

    pub(crate) fn within(self, other: Self) -> Self {
        Namespaces(self.0 & other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn contain(self, name: &[u8]) -> bool {
        !self.within(Self::of(name)).is_empty()
    }
}

/// What gives a program rights, whoever runs it.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

impl From<Namespaces> for u8 {
    fn from(namespaces: Namespaces) -> u8 {
        namespaces.0
    }
}

impl TryFrom<u8> for Namespaces {
    type Error = String;

    fn try_from(bits: u8) -> Result<Self, String> {
        match bits & !Self::ALL.0 {
            0 => Ok(Namespaces(bits)),
            _ => Err(format!("namespaces {bits:#x} that nobody knows")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_one_or_in_none() {
        for (name, namespace) in [
            (&b"user.x"[..], Namespaces::USER),
            (b"user.", Namespaces::USER),
            (b"user.rsync.x", Namespaces::USER),
            (b"user.rsync.%stat", Namespaces::NONE),
            (b"security.capability", Namespaces::CAPABILITY),
            (b"security.capability2", Namespaces::SECURITY),
            (b"security.selinux", Namespaces::SECURITY),
            (b"trusted.x", Namespaces::TRUSTED),
            (b"trusted.SGI_ACL_FILE", Namespaces::NONE),
            (b"trusted.SGI_ACL_DEFAULT", Namespaces::NONE),
            (b"trusted.SGI_ACL_FILE2", Namespaces::TRUSTED),
            (b"btrfs.compression", Namespaces::TRUSTED),
            (b"system.posix_acl_access", Namespaces::NONE),
            (b"system.nfs4_acl", Namespaces::NONE),
        ] {
            assert_eq!(Namespaces::of(name), namespace, "{}", name.escape_ascii());
            let is_one = namespace != Namespaces::NONE;
            assert_eq!(Namespaces::ALL.contain(name), is_one);
            assert!(!Namespaces::ALL.without(namespace).contain(name));
        }
        assert!(Namespaces::try_from(16).is_err() && Namespaces::try_from(15).is_ok());
    }
}
