//! POSIX ACLs in the form in which the kernel takes and gives them.

pub(crate) const ACCESS: &str = "system.posix_acl_access";
pub(crate) const DEFAULT: &str = "system.posix_acl_default";

pub(crate) const USER_OBJ: u16 = 0x01;
pub(crate) const USER: u16 = 0x02;
pub(crate) const GROUP_OBJ: u16 = 0x04;
pub(crate) const GROUP: u16 = 0x08;
pub(crate) const MASK: u16 = 0x10;
pub(crate) const OTHER: u16 = 0x20;

/// The number of whoever is not named.
pub(crate) const NOBODY: u32 = u32::MAX;

/// An ACL of these tags, permissions and numbers, in the order of the tags.
pub(crate) fn kernel(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let entry = |(tag, perms, id): &(u16, u16, u32)| {
        [
            &tag.to_le_bytes()[..],
            &perms.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    };
    let entries: Vec<u8> = entries.iter().flat_map(entry).collect();
    [&2_u32.to_le_bytes()[..], &entries].concat()
}
