//! ACLs and attributes that are met on the way, and not mirrored: no call is made to find them.

use std::ops::AddAssign;

use crate::namespaces::Namespaces;

/// How many entries have some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotMirrored {
    /// ACLs.
    pub acls: u64,
    /// File capabilities.
    pub capabilities: u64,
    /// Other extended attributes.
    pub others: u64,
}

impl NotMirrored {
    /// What an entry has of it that has attributes of these names.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut found = NotMirrored::default();
        for name in names {
            match Namespaces::of(name) {
                _ if name.starts_with(b"system.posix_acl_") => found.acls = 1,
                Namespaces::CAPABILITY => found.capabilities = 1,
                Namespaces::NONE => {}
                _ => found.others = 1,
            }
        }
        found
    }
}

impl AddAssign for NotMirrored {
    fn add_assign(&mut self, other: Self) {
        self.acls += other.acls;
        self.capabilities += other.capabilities;
        self.others += other.others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_once_for_each_kind() {
        let of = |names: &[&str]| NotMirrored::of(names.iter().map(|name| name.as_bytes()));
        let counts = |found: NotMirrored| (found.acls, found.capabilities, found.others);
        let both = ["system.posix_acl_access", "system.posix_acl_default"];
        for (names, expected) in [
            (&[][..], (0, 0, 0)),
            (&both, (1, 0, 0)),
            (&["security.capability"], (0, 1, 0)),
            (&["security.selinux", "trusted.x", "user.x"], (0, 0, 1)),
            (
                &[
                    "system.nfs4_acl",
                    "user.rsync.%stat",
                    "trusted.SGI_ACL_FILE",
                ],
                (0, 0, 0),
            ),
        ] {
            assert_eq!(counts(of(names)), expected, "{names:?}");
        }
        let mut sum = of(&both);
        sum += of(&["system.posix_acl_default", "security.capability"]);
        assert_eq!(counts(sum), (2, 1, 0));
    }
}
