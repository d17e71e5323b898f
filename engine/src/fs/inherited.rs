//! What a new entry gets from the directory that it is made in, where the source does not say: the
//! group of a setgid directory, and the permissions that a default ACL leaves. Staging hands the
//! ACL itself on; the mode is set afterwards, and has to be the one that it asks for.

use std::os::fd::AsFd;

use super::handed_on::default_acl;

/// What a directory passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// The group of a setgid directory.
    pub(crate) gid: Option<u32>,
    /// The permissions that its default ACL leaves, whatever the umask is.
    pub(crate) perms: Option<u32>,
}

/// Version and entries of an ACL as an attribute.
const VERSION: [u8; 4] = 2_u32.to_le_bytes();

const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

impl Inherited {
    /// The permissions that the default ACL of `dir` leaves.
    pub(crate) fn perms_in(dir: impl AsFd) -> Option<u32> {
        perms_of(&default_acl(dir))
    }
}

/// The permissions of an ACL that stand in a mode: the group's are the mask, if there is one.
fn perms_of(acl: &[u8]) -> Option<u32> {
    let entries = acl.strip_prefix(&VERSION)?;
    let perms_of = |wanted: u16| {
        let mut entries = entries.chunks_exact(8);
        entries.find_map(|entry| match entry {
            &[a, b, c, d, ..] if u16::from_le_bytes([a, b]) == wanted => {
                Some(u32::from(u16::from_le_bytes([c, d])) & 0o7)
            }
            _ => None,
        })
    };
    let group = perms_of(MASK).or_else(|| perms_of(GROUP_OBJ))?;
    Some(perms_of(USER_OBJ)? << 6 | group << 3 | perms_of(OTHER)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_stands_for_the_group() {
        let acl = |entries: &[(u16, u16)]| {
            let entry = |&(tag, perms): &(u16, u16)| {
                [&tag.to_le_bytes()[..], &perms.to_le_bytes(), &[0; 4]].concat()
            };
            let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
            [&VERSION[..], &entries].concat()
        };
        let named = 0x02;
        for (entries, perms) in [
            (
                &[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 1)][..],
                Some(0o751),
            ),
            (
                &[
                    (USER_OBJ, 6),
                    (named, 7),
                    (GROUP_OBJ, 7),
                    (MASK, 4),
                    (OTHER, 0),
                ],
                Some(0o640),
            ),
            (&[(USER_OBJ, 7), (OTHER, 1)], None),
            (&[], None),
        ] {
            assert_eq!(perms_of(&acl(entries)), perms, "{entries:?}");
        }
        assert_eq!(perms_of(b""), None);
        assert_eq!(perms_of(&acl(&[(USER_OBJ, 7)])[1..]), None);
    }
}
