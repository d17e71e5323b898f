//! What an entry has besides what `stat` tells: a list of kinds and values, in the one form that is
//! kept, travels and is hashed. An entry without any costs no memory, and one byte on the wire.

use std::io;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::acl;
use crate::ids::IdKind;
use crate::namespaces::Namespaces;
use crate::observer::Differences;
use crate::refusal::Refusal;

/// Longest value of one attribute in bytes: an extended attribute's of Linux, and its name.
pub(crate) const ATTRIBUTE_LEN_MAX: usize = 65_536 + 256;

/// Longest list of one entry in bytes: with the entry it fits a message.
pub(crate) const ATTRIBUTES_LEN_MAX: usize = 640 * 1024;

/// What one attribute is; the number is part of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AttributeKind {
    /// The access ACL, as far as the mode does not say it.
    AccessAcl = 1,
    /// The default ACL of a directory.
    DefaultAcl = 2,
    /// An extended attribute: the length of its name in one byte, the name, and its value.
    Extended = 3,
}

impl AttributeKind {
    fn of(number: u16) -> Option<Self> {
        let all = [Self::AccessAcl, Self::DefaultAcl, Self::Extended];
        all.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Bytes before the users and groups of an ACL.
    fn acl_head_len(self) -> Option<usize> {
        match self {
            Self::AccessAcl => Some(acl::ACCESS_HEAD_LEN),
            Self::DefaultAcl => Some(acl::DEFAULT_HEAD_LEN),
            Self::Extended => None,
        }
    }
}

/// Which attributes something is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scope {
    pub(crate) acls: bool,
    pub(crate) xattrs: Namespaces,
}

impl Scope {
    pub(crate) const ALL: Self = Scope {
        acls: true,
        xattrs: Namespaces::ALL,
    };

    pub(crate) fn is_empty(self) -> bool {
        !self.acls && self.xattrs.is_empty()
    }

    /// Both.
    pub(crate) fn and(self, other: Self) -> Self {
        Scope {
            acls: self.acls || other.acls,
            xattrs: self.xattrs.and(other.xattrs),
        }
    }

    /// As much of it as an entry of that type can have.
    pub(crate) fn of_type(self, file_type: FileType) -> Self {
        let is_open = matches!(file_type, FileType::RegularFile | FileType::Directory);
        Scope {
            acls: self.acls && file_type != FileType::Symlink,
            xattrs: match is_open {
                true => self.xattrs,
                false => self.xattrs.without(Namespaces::USER),
            },
        }
    }

    fn covers(self, kind: AttributeKind, value: &[u8]) -> bool {
        match kind {
            AttributeKind::AccessAcl | AttributeKind::DefaultAcl => self.acls,
            AttributeKind::Extended => {
                extended(value).is_some_and(|(name, _)| self.xattrs.contain(name))
            }
        }
    }
}

/// Bytes in front of a value: its kind and its length.
const HEADER_LEN: usize = 2 + 4;

/// The attributes of one entry: of each its kind (2 bytes), the length of its value (4) and the
/// value, ascending by kind and then by value, none of them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes(#[serde(with = "serde_bytes")] Vec<u8>);

impl Attributes {
    /// Takes back what [`as_bytes`](Self::as_bytes) gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Attributes(bytes.to_vec())
    }

    /// All of these, in whatever order.
    ///
    /// # Errors
    ///
    /// If they are more than an entry can carry.
    pub(crate) fn of(all: Vec<(AttributeKind, Vec<u8>)>) -> io::Result<Self> {
        let attributes = Attributes::of_here(all);
        if attributes.0.len() > ATTRIBUTES_LEN_MAX {
            return Err(io::Error::other(format!(
                "its extended attributes have more than {} KiB together",
                ATTRIBUTES_LEN_MAX / 1024
            )));
        }
        Ok(attributes)
    }

    /// The same of those that stay on this side, and may be more.
    pub(crate) fn of_here(mut all: Vec<(AttributeKind, Vec<u8>)>) -> Self {
        all.sort_unstable();
        let mut attributes = Attributes::default();
        all.iter()
            .for_each(|(kind, value)| attributes.put(*kind, value));
        attributes
    }

    fn put(&mut self, kind: AttributeKind, value: &[u8]) {
        self.0.extend_from_slice(&(kind as u16).to_le_bytes());
        let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(value);
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AttributeKind, &[u8])> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (kind, value, tail) = first(rest)?;
            rest = tail;
            Some((AttributeKind::of(kind)?, value))
        })
    }

    /// The ACL of that kind.
    pub(crate) fn acl(&self, wanted: AttributeKind) -> Option<&[u8]> {
        let mut all = self.iter();
        all.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }

    /// Names and values of the extended attributes.
    pub(crate) fn extended(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter()
            .filter_map(|(kind, value)| (kind == AttributeKind::Extended).then_some(value))
            .filter_map(extended)
    }

    /// Those that `scope` does not cover.
    pub(crate) fn outside(&self, scope: Scope) -> impl Iterator<Item = (AttributeKind, &[u8])> {
        self.iter()
            .filter(move |(kind, value)| !scope.covers(*kind, value))
    }

    /// Whether there is an ACL that `scope` does not cover, and an extended attribute.
    pub(crate) fn kinds_outside(&self, scope: Scope) -> Differences {
        let mut found = Differences::default();
        for (kind, _) in self.outside(scope) {
            match kind {
                AttributeKind::Extended => found.xattr = true,
                AttributeKind::AccessAcl | AttributeKind::DefaultAcl => found.acl = true,
            }
        }
        found
    }

    /// Those that `scope` covers.
    pub(crate) fn within(&self, scope: Scope) -> Self {
        self.revised(scope, |_, value| value.to_vec())
    }

    /// All but the extended attributes whose names `is_out` accepts.
    pub(crate) fn without(&self, is_out: impl Fn(&[u8]) -> bool) -> Self {
        let mut kept = Attributes::default();
        for (kind, value) in self.iter() {
            let name = match kind {
                AttributeKind::Extended => extended(value).map(|(name, _)| name),
                AttributeKind::AccessAcl | AttributeKind::DefaultAcl => None,
            };
            if !name.is_some_and(&is_out) {
                kept.put(kind, value);
            }
        }
        kept
    }

    /// Those that `scope` covers, ACLs with the numbers of the other side.
    pub(crate) fn mapped(&self, scope: Scope, map: impl Fn(IdKind, u32) -> u32) -> Self {
        self.revised(scope, |kind, value| match kind.acl_head_len() {
            Some(head_len) => acl::mapped(value, head_len, &map),
            None => value.to_vec(),
        })
    }

    fn revised(&self, scope: Scope, revise: impl Fn(AttributeKind, &[u8]) -> Vec<u8>) -> Self {
        let mut revised = Attributes::default();
        for (kind, value) in self
            .iter()
            .filter(|(kind, value)| scope.covers(*kind, value))
        {
            revised.put(kind, &revise(kind, value));
        }
        revised
    }

    /// Users and groups that the ACLs name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (IdKind, u32)> {
        self.iter().flat_map(|(kind, value)| {
            let head_len = kind.acl_head_len();
            let acl = head_len.map(|head_len| acl::ids(value, head_len));
            acl.into_iter().flatten()
        })
    }

    /// Appends those that `scope` covers as a digest has them: users and groups as `map` says.
    pub(crate) fn put_digested(
        &self,
        scope: Scope,
        map: impl Fn(IdKind, u32) -> u64,
        out: &mut Vec<u8>,
    ) {
        for (kind, value) in self
            .iter()
            .filter(|(kind, value)| scope.covers(*kind, value))
        {
            out.extend_from_slice(&(kind as u16).to_le_bytes());
            let len_at = out.len();
            out.extend_from_slice(&[0; 4]);
            match kind.acl_head_len() {
                Some(head_len) => acl::put_digested(value, head_len, &map, out),
                None => out.extend_from_slice(value),
            }
            let len = u32::try_from(out.len() - len_at - 4).unwrap_or(u32::MAX);
            if let Some(place) = out.get_mut(len_at..len_at + 4) {
                place.copy_from_slice(&len.to_le_bytes());
            }
        }
    }

    /// A number that tells them from others, and is 0 for none.
    pub(crate) fn fingerprint(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let hash = blake3::hash(&self.0);
        hash.as_bytes()
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first))
    }

    /// Checks what a peer sent of an entry of that type.
    pub(crate) fn check(&self, file_type: FileType) -> Result<(), Refusal> {
        let max = ATTRIBUTES_LEN_MAX;
        if self.0.len() > max {
            return Err(Refusal::AttributesLen { max });
        }
        let mut rest = &*self.0;
        let (mut last, mut unknown) = (None, None);
        while !rest.is_empty() {
            let (kind, value, tail) = first(rest).ok_or(Refusal::AttributesCut)?;
            let max = ATTRIBUTE_LEN_MAX;
            if value.len() > max {
                return Err(Refusal::AttributesLen { max });
            }
            if last.is_some_and(|last| last >= (kind, value)) {
                return Err(Refusal::AttributesOrder);
            }
            match AttributeKind::of(kind) {
                None => unknown = unknown.or(Some(Refusal::AttributeKind { kind })),
                Some(known) => check_one(known, value, file_type)?,
            }
            last = Some((kind, value));
            rest = tail;
        }
        let twice = |kind| self.iter().filter(|(found, _)| *found == kind).count() > 1;
        if twice(AttributeKind::AccessAcl) || twice(AttributeKind::DefaultAcl) {
            return Err(Refusal::AttributesOrder);
        }
        unknown.map_or(Ok(()), Err)
    }
}

/// The value of an extended attribute of that name, as it is kept.
pub(crate) fn extended_value(name: &[u8], value: &[u8]) -> Vec<u8> {
    let name_len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[name_len], name, value].concat()
}

/// The name of an extended attribute, and its value.
fn extended(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name_len, rest) = value.split_first()?;
    rest.split_at_checked(usize::from(*name_len))
}

fn check_one(kind: AttributeKind, value: &[u8], file_type: FileType) -> Result<(), Refusal> {
    let is_right = match kind {
        AttributeKind::AccessAcl => {
            file_type != FileType::Symlink && acl::is_canonical(value, acl::ACCESS_HEAD_LEN)
        }
        AttributeKind::DefaultAcl => {
            file_type == FileType::Directory && acl::is_canonical(value, acl::DEFAULT_HEAD_LEN)
        }
        AttributeKind::Extended => extended(value)
            .is_some_and(|(name, _)| !name.contains(&0) && Namespaces::ALL.contain(name)),
    };
    is_right
        .then_some(())
        .ok_or(Refusal::AttributeValue { kind: kind as u16 })
}

/// The first of some attributes: its kind, its value, and those after it.
fn first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[a, b, len @ ..], rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let len = u32::from_le_bytes(len) as usize;
    let (value, rest) = rest.split_at_checked(len)?;
    Some((u16::from_le_bytes([a, b]), value, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attributes(all: &[(u16, &[u8])]) -> Attributes {
        let one = |&(kind, value): &(u16, &[u8])| {
            let len = (value.len() as u32).to_le_bytes();
            [&kind.to_le_bytes()[..], &len, value].concat()
        };
        Attributes(all.iter().flat_map(one).collect())
    }

    #[test]
    fn only_the_canonical_form_is_taken() {
        let named = |name: &str, len: usize| {
            let value = vec![b'x'; len.saturating_sub(name.len() + 1)];
            extended_value(name.as_bytes(), &value)
        };
        let [a, b] = ["user.a", "user.b"].map(|name| named(name, 0));
        let long = named("user.a", ATTRIBUTE_LEN_MAX);
        let longer = named("user.a", ATTRIBUTE_LEN_MAX + 1);
        let too_long = |max| Err(Refusal::AttributesLen { max });
        let value = |kind| Err(Refusal::AttributeValue { kind });
        let default = &[7, 7, 8, 7][..];
        let check = |all: &[(u16, &[u8])]| attributes(all).check(FileType::Directory);
        for (all, expected) in [
            (&[][..], Ok(())),
            (&[(1, &[7][..])], Ok(())),
            (&[(1, &[7]), (2, default), (3, &a), (3, &b)], Ok(())),
            (&[(3, &long)], Ok(())),
            (&[(3, &longer)], too_long(ATTRIBUTE_LEN_MAX)),
            (&[(3, &a), (3, &a)], Err(Refusal::AttributesOrder)),
            (&[(3, &b), (3, &a)], Err(Refusal::AttributesOrder)),
            (&[(2, default), (1, &[7])], Err(Refusal::AttributesOrder)),
            (&[(1, &[6]), (1, &[7])], Err(Refusal::AttributesOrder)),
            (&[(1, &[])], value(1)),
            (&[(2, &[7])], value(2)),
            (&[(3, &[])], value(3)),
            (&[(3, b"\x07user.a")], value(3)),
            (&[(3, b"\x0csystem.posix")], value(3)),
            (&[(3, b"\x06user\0x")], value(3)),
            (
                &[(1, &[7]), (4, b"")],
                Err(Refusal::AttributeKind { kind: 4 }),
            ),
        ] {
            assert_eq!(check(all), expected, "{:?}", all.first());
        }
        let on = |file_type, all: &[(u16, &[u8])]| attributes(all).check(file_type);
        assert_eq!(on(FileType::Symlink, &[(1, &[7])]), value(1));
        assert_eq!(on(FileType::RegularFile, &[(2, default)]), value(2));
        assert_eq!(on(FileType::Symlink, &[(3, &a)]), Ok(()));
        let named = |n: u8| named(&format!("user.{n:03}"), ATTRIBUTE_LEN_MAX);
        let values: Vec<Vec<u8>> = (0..10).map(named).collect();
        let full: Vec<_> = values.iter().map(|value| (3, &**value)).collect();
        assert_eq!(check(&full[..9]), Ok(()));
        assert_eq!(check(&full), too_long(ATTRIBUTES_LEN_MAX));
        let kept = |count: usize| {
            let kinds = values
                .iter()
                .map(|value| (AttributeKind::Extended, value.clone()));
            Attributes::of(kinds.rev().take(count).collect())
        };
        assert_eq!(kept(9).unwrap().check(FileType::RegularFile), Ok(()));
        assert!(kept(10).is_err());
    }

    #[test]
    fn cut_ones_are_refused() {
        let value = extended_value(b"user.a", b"");
        let whole = attributes(&[(1, &[7]), (3, &value)]);
        for len in 1..whole.0.len() {
            let cut = Attributes::from_bytes(&whole.as_bytes()[..len]);
            // Between two attributes it is a whole list.
            let expected = if len == HEADER_LEN + 1 {
                Ok(())
            } else {
                Err(Refusal::AttributesCut)
            };
            assert_eq!(cut.check(FileType::RegularFile), expected, "{len}");
        }
        assert_eq!(Attributes::default().check(FileType::Symlink), Ok(()));
    }

    #[test]
    fn a_scope_covers_what_it_names_and_no_more() {
        let names = ["user.a", "security.capability", "security.x", "trusted.x"];
        let mut all: Vec<_> = names
            .iter()
            .map(|name| {
                (
                    AttributeKind::Extended,
                    extended_value(name.as_bytes(), b"v"),
                )
            })
            .collect();
        all.push((AttributeKind::AccessAcl, vec![7]));
        all.push((AttributeKind::DefaultAcl, vec![7, 7, 8, 7]));
        let all = Attributes::of(all).unwrap();
        let scope = |acls, xattrs| Scope { acls, xattrs };
        let of = |scope: Scope| {
            let within = all.within(scope);
            let names = within.extended().map(|(name, _)| name.to_vec());
            let names: Vec<String> = names.map(|name| String::from_utf8(name).unwrap()).collect();
            (
                within.acl(AttributeKind::AccessAcl).is_some(),
                names.join(" "),
            )
        };
        for (scope, acls, names) in [
            (scope(true, Namespaces::NONE), true, ""),
            (scope(false, Namespaces::USER), false, "user.a"),
            (
                scope(false, Namespaces::ALL.without(Namespaces::CAPABILITY)),
                false,
                "user.a trusted.x security.x",
            ),
            (
                Scope::ALL.of_type(FileType::Symlink),
                false,
                "trusted.x security.x security.capability",
            ),
            (
                Scope::ALL.of_type(FileType::Fifo),
                true,
                "trusted.x security.x security.capability",
            ),
            (
                Scope::ALL,
                true,
                "user.a trusted.x security.x security.capability",
            ),
        ] {
            // By the length of the name first, as its byte comes first.
            let mut found = of(scope);
            let mut names: Vec<&str> = names.split(' ').collect();
            let mut sorted: Vec<&str> = found.1.split(' ').collect();
            names.sort_unstable();
            sorted.sort_unstable();
            assert_eq!((found.0, sorted), (acls, names), "{scope:?}");
            found.1.clear();
        }
    }
}
