//! A POSIX ACL as a value: what it says beyond permission bits, in one form for the comparison, for
//! the wire and for the journal. Users and groups in it are numbers of the side that holds it.
//!
//! An access ACL says three things that the mode says as well: what the owner, all others, and at
//! most the group class (its mask) may do. Those are left out here, and taken from the mode again
//! when the ACL is set, so that a change of mode is never one of an ACL.

use crate::ids::IdKind;

/// Version of the form in which the kernel has them.
const VERSION: u32 = 2;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The number of whoever is not named.
const NOBODY: u32 = u32::MAX;

/// Stands for the mask of a default ACL that has none.
const NO_MASK: u8 = 8;

/// A named user or group: kind, permissions, number.
const NAMED_LEN: usize = 1 + 1 + 4;

/// What comes before the named ones of an access ACL: permissions of the owning group.
pub(crate) const ACCESS_HEAD_LEN: usize = 1;

/// The same of a default ACL: of owner and owning group, the mask, and of all others.
pub(crate) const DEFAULT_HEAD_LEN: usize = 4;

/// What an ACL grants to a user or a group that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    /// 0 for a user, 1 for a group.
    kind: u8,
    id: u32,
    perms: u8,
}

impl Named {
    fn read(bytes: &[u8; NAMED_LEN]) -> Self {
        let [kind, perms, id @ ..] = *bytes;
        let id = u32::from_le_bytes(id);
        Named { kind, id, perms }
    }

    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind, self.perms]);
        out.extend_from_slice(&self.id.to_le_bytes());
    }

    fn id_kind(self) -> IdKind {
        match self.kind {
            0 => IdKind::User,
            _ => IdKind::Group,
        }
    }
}

/// All parts of an ACL as the kernel has it.
#[derive(Debug, Default)]
struct Parts {
    owner: u8,
    group: u8,
    mask: Option<u8>,
    other: u8,
    named: Vec<Named>,
}

impl Parts {
    /// `None` if it is none that this knows.
    fn parse(kernel: &[u8]) -> Option<Self> {
        let (version, rest) = kernel.split_first_chunk()?;
        let (entries, []) = rest.as_chunks::<8>() else {
            return None;
        };
        let mut parts = Parts::default();
        for [a, b, c, d, id @ ..] in entries {
            let (tag, perms) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
            let perms = u8::try_from(perms).ok().filter(|perms| *perms <= 7)?;
            let id = u32::from_le_bytes(*id);
            let named = |kind| Named { kind, id, perms };
            match tag {
                USER_OBJ => parts.owner = perms,
                GROUP_OBJ => parts.group = perms,
                MASK => parts.mask = Some(perms),
                OTHER => parts.other = perms,
                USER => parts.named.push(named(0)),
                GROUP => parts.named.push(named(1)),
                _ => return None,
            }
        }
        sort(&mut parts.named);
        (u32::from_le_bytes(*version) == VERSION).then_some(parts)
    }

    fn to_kernel(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        let mut put = |tag: u16, perms: u8, id: u32| {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&u16::from(perms).to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        };
        let of_kind = |kind| self.named.iter().filter(move |named| named.kind == kind);
        put(USER_OBJ, self.owner, NOBODY);
        of_kind(0).for_each(|named| put(USER, named.perms, named.id));
        put(GROUP_OBJ, self.group, NOBODY);
        of_kind(1).for_each(|named| put(GROUP, named.perms, named.id));
        if let Some(mask) = self.mask {
            put(MASK, mask, NOBODY);
        }
        put(OTHER, self.other, NOBODY);
        out
    }
}

/// Ascending by kind and number, none of them twice.
fn sort(named: &mut Vec<Named>) {
    named.sort_unstable();
    named.dedup_by_key(|named| (named.kind, named.id));
}

fn with_named(head: &[u8], named: &[Named]) -> Vec<u8> {
    let mut value = head.to_vec();
    named.iter().for_each(|named| named.put(&mut value));
    value
}

/// The value of an access ACL, from the kernel's form: `None` inside if it says no more than the
/// mode. `None` if it is no ACL.
pub(crate) fn access_value(kernel: &[u8]) -> Option<Option<Vec<u8>>> {
    let parts = Parts::parse(kernel)?;
    let is_more = parts.mask.is_some() || !parts.named.is_empty();
    Some(is_more.then(|| with_named(&[parts.group], &parts.named)))
}

/// The same of a default ACL, which always says something.
pub(crate) fn default_value(kernel: &[u8]) -> Option<Vec<u8>> {
    let parts = Parts::parse(kernel)?;
    let mask = parts.mask.unwrap_or(NO_MASK);
    let head = [parts.owner, parts.group, mask, parts.other];
    Some(with_named(&head, &parts.named))
}

/// The kernel's form of an access ACL on an entry of that mode.
pub(crate) fn access_to_kernel(value: &[u8], mode: u32) -> Vec<u8> {
    let (head, named) = split::<ACCESS_HEAD_LEN>(value);
    let of_class = |shift: u32| (mode >> shift & 7) as u8;
    let [group] = head;
    let parts = Parts {
        owner: of_class(6),
        group,
        mask: Some(of_class(3)),
        other: of_class(0),
        named,
    };
    parts.to_kernel()
}

/// The kernel's form of an access ACL that says no more than the mode.
pub(crate) fn plain_to_kernel(mode: u32) -> Vec<u8> {
    let of_class = |shift: u32| (mode >> shift & 7) as u8;
    let parts = Parts {
        owner: of_class(6),
        group: of_class(3),
        other: of_class(0),
        ..Parts::default()
    };
    parts.to_kernel()
}

/// The kernel's form of a default ACL.
pub(crate) fn default_to_kernel(value: &[u8]) -> Vec<u8> {
    let ([owner, group, mask, other], named) = split::<DEFAULT_HEAD_LEN>(value);
    let parts = Parts {
        owner,
        group,
        mask: (mask != NO_MASK).then_some(mask),
        other,
        named,
    };
    parts.to_kernel()
}

/// What the owning group may do by an access ACL, whatever its mask says.
pub(crate) fn group_perms(value: &[u8]) -> u32 {
    value.first().copied().unwrap_or_default().into()
}

/// The same ACL with other numbers.
pub(crate) fn mapped(value: &[u8], head_len: usize, map: impl Fn(IdKind, u32) -> u32) -> Vec<u8> {
    let (head, named) = value.split_at_checked(head_len).unwrap_or_default();
    let mut named: Vec<Named> = all_named(named).collect();
    for named in &mut named {
        named.id = map(named.id_kind(), named.id);
    }
    sort(&mut named);
    with_named(head, &named)
}

/// Users and groups that an ACL names.
pub(crate) fn ids(value: &[u8], head_len: usize) -> impl Iterator<Item = (IdKind, u32)> {
    let named = value.get(head_len..).unwrap_or_default();
    all_named(named).map(|named| (named.id_kind(), named.id))
}

/// Appends an ACL with numbers of another kind, as a digest has it.
pub(crate) fn put_digested(
    value: &[u8],
    head_len: usize,
    map: impl Fn(IdKind, u32) -> u64,
    out: &mut Vec<u8>,
) {
    let (head, named) = value.split_at_checked(head_len).unwrap_or_default();
    let digested = |named: Named| (named.kind, map(named.id_kind(), named.id), named.perms);
    let mut named: Vec<(u8, u64, u8)> = all_named(named).map(digested).collect();
    named.sort_unstable();
    out.extend_from_slice(head);
    for (kind, id, perms) in named {
        out.extend_from_slice(&[kind, perms]);
        out.extend_from_slice(&id.to_le_bytes());
    }
}

/// Whether a peer's value is one that [`access_value`] or [`default_value`] can give.
pub(crate) fn is_canonical(value: &[u8], head_len: usize) -> bool {
    let Some((head, named)) = value.split_at_checked(head_len) else {
        return false;
    };
    let may_be_none = |at: usize| head_len == DEFAULT_HEAD_LEN && at == 2;
    let are_perms = |(at, perms): (usize, &u8)| *perms <= 7 || may_be_none(at) && *perms == NO_MASK;
    let mut heads = head.iter().enumerate();
    let all: Vec<Named> = all_named(named).collect();
    let is_one = |named: &Named| named.kind <= 1 && named.perms <= 7 && named.id != NOBODY;
    // Whom it names, the mask keeps in bounds.
    let lacks_mask = head_len == DEFAULT_HEAD_LEN && head.get(2) == Some(&NO_MASK);
    named.len() % NAMED_LEN == 0
        && heads.all(are_perms)
        && all.iter().all(is_one)
        && all.is_sorted_by(|a, b| (a.kind, a.id) < (b.kind, b.id))
        && (all.is_empty() || !lacks_mask)
}

fn all_named(bytes: &[u8]) -> impl Iterator<Item = Named> {
    let (named, _) = bytes.as_chunks::<NAMED_LEN>();
    named.iter().map(Named::read)
}

fn split<const HEAD_LEN: usize>(value: &[u8]) -> ([u8; HEAD_LEN], Vec<Named>) {
    match value.split_first_chunk() {
        Some((head, named)) => (*head, all_named(named).collect()),
        None => ([0; HEAD_LEN], Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An ACL in the kernel's form.
    fn kernel(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for (tag, perms, id) in entries {
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&perms.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    const PLAIN: [(u16, u16, u32); 3] = [
        (USER_OBJ, 6, NOBODY),
        (GROUP_OBJ, 4, NOBODY),
        (OTHER, 0, NOBODY),
    ];

    #[test]
    fn what_is_read_is_set_again_in_the_order_that_the_kernel_has() {
        let full = kernel(&[
            (USER_OBJ, 7, NOBODY),
            (USER, 6, 3),
            (USER, 0, 1000),
            (GROUP_OBJ, 5, NOBODY),
            (GROUP, 4, 7),
            (MASK, 6, NOBODY),
            (OTHER, 1, NOBODY),
        ]);
        let access = access_value(&full).unwrap().unwrap();
        assert_eq!(access_to_kernel(&access, 0o2761), full);
        assert!(is_canonical(&access, ACCESS_HEAD_LEN));
        assert_eq!(group_perms(&access), 5);
        let default = default_value(&full).unwrap();
        assert_eq!(default_to_kernel(&default), full);
        assert!(is_canonical(&default, DEFAULT_HEAD_LEN));
        let plain = kernel(&PLAIN);
        assert_eq!(access_value(&plain), Some(None));
        let default = default_value(&plain).unwrap();
        assert_eq!(default_to_kernel(&default), plain);
        assert!(is_canonical(&default, DEFAULT_HEAD_LEN));
    }

    #[test]
    fn a_mask_alone_is_more_than_a_mode() {
        let masked = kernel(&[
            (USER_OBJ, 6, NOBODY),
            (GROUP_OBJ, 6, NOBODY),
            (MASK, 4, NOBODY),
            (OTHER, 0, NOBODY),
        ]);
        let value = access_value(&masked).unwrap().unwrap();
        assert_eq!(value, [6]);
        assert_eq!(access_to_kernel(&value, 0o640), masked);
        // Another mode is no other ACL.
        assert_ne!(access_to_kernel(&value, 0o660), masked);
    }

    #[test]
    fn numbers_change_and_order_with_them() {
        let acl = kernel(&[
            (USER_OBJ, 6, NOBODY),
            (USER, 4, 1),
            (USER, 6, 2),
            (GROUP_OBJ, 6, NOBODY),
            (MASK, 7, NOBODY),
            (OTHER, 0, NOBODY),
        ]);
        let value = access_value(&acl).unwrap().unwrap();
        let map = |kind, id: u32| match kind {
            IdKind::User => 10 - id,
            IdKind::Group => id,
        };
        let other = mapped(&value, ACCESS_HEAD_LEN, map);
        assert!(is_canonical(&other, ACCESS_HEAD_LEN));
        assert_eq!(mapped(&other, ACCESS_HEAD_LEN, map), value);
        let ids: Vec<_> = ids(&other, ACCESS_HEAD_LEN).collect();
        assert_eq!(ids, [(IdKind::User, 8), (IdKind::User, 9)]);
        // Two that become one.
        let one = mapped(&value, ACCESS_HEAD_LEN, |_, _| 5);
        assert!(is_canonical(&one, ACCESS_HEAD_LEN) && one.len() == 1 + NAMED_LEN);
        let digest = |value: &[u8], map: &dyn Fn(IdKind, u32) -> u64| {
            let mut out = Vec::new();
            put_digested(value, ACCESS_HEAD_LEN, map, &mut out);
            out
        };
        let same = |_: IdKind, id: u32| u64::from(id);
        let back = |kind, id| u64::from(map(kind, id));
        assert_eq!(digest(&value, &same), digest(&other, &back));
        assert_ne!(digest(&value, &same), digest(&other, &same));
    }

    #[test]
    fn what_no_kernel_gives_is_none() {
        let cut = &kernel(&PLAIN)[..11];
        let version = [&3_u32.to_le_bytes()[..], &kernel(&PLAIN)[4..]].concat();
        let tag = kernel(&[(3, 0, 0)]);
        let perms = kernel(&[(USER, 8, 0)]);
        for bad in [b"", cut, &version, &tag, &perms] {
            assert_eq!(access_value(bad), None);
            assert_eq!(default_value(bad), None);
        }
    }

    #[test]
    fn a_peer_says_it_canonically() {
        let user = |id: u8, perms: u8| [0, perms, id, 0, 0, 0];
        let group = |id: u8| [1, 7, id, 0, 0, 0];
        let all = |head: &[u8], named: &[[u8; 6]]| [head, named.as_flattened()].concat();
        let nobody = [0, 7, 255, 255, 255, 255];
        for (value, taken) in [
            (all(&[7], &[]), true),
            (all(&[7], &[user(1, 7), user(2, 0), group(1)]), true),
            (all(&[], &[]), false),
            (all(&[8], &[]), false),
            (all(&[7], &[user(2, 7), user(1, 7)]), false),
            (all(&[7], &[user(1, 7), user(1, 6)]), false),
            (all(&[7], &[group(1), user(1, 7)]), false),
            (all(&[7], &[user(1, 8)]), false),
            (all(&[7], &[[2, 7, 1, 0, 0, 0]]), false),
            (all(&[7], &[nobody]), false),
            (all(&[7, 0], &[]), false),
        ] {
            assert_eq!(is_canonical(&value, ACCESS_HEAD_LEN), taken, "{value:?}");
        }
        for (value, taken) in [
            (all(&[7, 7, 8, 7], &[]), true),
            (all(&[7, 7, 7, 7], &[user(1, 7)]), true),
            (all(&[7, 7, 8, 7], &[user(1, 7)]), false),
            (all(&[7, 8, 7, 7], &[]), false),
            (all(&[7, 7, 9, 7], &[]), false),
            (all(&[7, 7, 7], &[]), false),
        ] {
            assert_eq!(is_canonical(&value, DEFAULT_HEAD_LEN), taken, "{value:?}");
        }
    }
}
