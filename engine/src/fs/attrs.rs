//! Which metadata to set.

use std::io;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::attributes::{AttributeKind, Attributes, Scope};
use crate::entry::Time;
use crate::keeps::Keeps;
use crate::namespaces::{CAPABILITY, Namespaces};
use crate::observer::{Differences, Kind};

/// Metadata to set; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attrs {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits: 0o7777.
    pub mode: Option<u32>,
    /// Time of the last change of content.
    pub mtime: Option<Time>,
    /// Time of the last access. If a time is set and this is not, it becomes now.
    pub atime: Option<Time>,
    /// ACLs and extended attributes.
    pub attributes: Option<Box<Assigned>>,
}

impl Attrs {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Attrs::default()
    }

    /// Whether a time is set.
    pub(crate) fn has_times(&self) -> bool {
        self.mtime.is_some() || self.atime.is_some()
    }

    /// As much of it as a file system keeps of an entry of that kind, and whether an ACL or an
    /// extended attribute is lost.
    pub(crate) fn kept(mut self, keeps: &Keeps, kind: Kind) -> (Self, Differences) {
        let lost = keeps.lost_of(kind);
        self.uid = self.uid.filter(|_| !lost.owner);
        self.gid = self.gid.filter(|_| !lost.group);
        self.mode = self.mode.filter(|_| !lost.perms);
        let mut gone = Differences::default();
        let assigned = self.attributes.take();
        self.attributes = assigned.and_then(|assigned| {
            let kept = Scope {
                acls: !lost.acl,
                xattrs: Namespaces::ALL.without(keeps.lost_xattrs_of(kind)),
            };
            gone = assigned.all.kinds_outside(kept);
            let scope = Scope {
                acls: assigned.scope.acls && kept.acls,
                xattrs: assigned.scope.xattrs.within(kept.xattrs),
            };
            Assigned::new(scope, &assigned.all)
        });
        (self, gone)
    }

    /// Whether the access ACL becomes another one, or none.
    pub(crate) fn assigns_acls(&self) -> bool {
        let assigned = self.attributes.as_ref();
        assigned.is_some_and(|assigned| assigned.scope.acls)
    }
}

/// ACLs and extended attributes to set: those in a scope become exactly these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    pub(crate) scope: Scope,
    pub(crate) all: Attributes,
}

impl Assigned {
    /// Those of `all` that are in the scope; `None` if that covers nothing.
    pub(crate) fn new(scope: Scope, all: &Attributes) -> Option<Box<Self>> {
        let all = || all.within(scope);
        (!scope.is_empty()).then(|| Box::new(Assigned { scope, all: all() }))
    }

    /// What an entry that has `others` has afterwards.
    pub(crate) fn put_into(&self, others: &Attributes) -> io::Result<Attributes> {
        let kept = others.outside(self.scope);
        Attributes::of(kept.chain(self.all.iter()).map(owned).collect())
    }

    /// Both, one after the other.
    pub(crate) fn after(&self, first: &Assigned) -> io::Result<Assigned> {
        Ok(Assigned {
            scope: self.scope.and(first.scope),
            all: self.put_into(&first.all)?,
        })
    }

    /// As bytes, for another process.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Scope { acls, xattrs } = self.scope;
        [&[u8::from(acls), xattrs.into()], self.all.as_bytes()].concat()
    }

    /// Takes back what [`to_bytes`](Self::to_bytes) gave, for an entry of that type and permission
    /// bits; `None` if it is nothing that can be set on one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], mode: u32) -> Option<Self> {
        let ([acls, xattrs], all) = bytes.split_first_chunk()?;
        let acls = match acls {
            0 => false,
            1 => true,
            _ => return None,
        };
        let xattrs = (*xattrs).try_into().ok()?;
        let scope = Scope { acls, xattrs };
        let all = Attributes::from_bytes(all);
        all.check(FileType::from_raw_mode(mode)).ok()?;
        Some(Assigned { scope, all })
    }

    /// Whether it gives a program rights, whoever runs it.
    #[must_use]
    pub fn lends_rights(&self) -> bool {
        self.all.extended().any(|(name, _)| name == CAPABILITY)
    }
}

fn owned((kind, value): (AttributeKind, &[u8])) -> (AttributeKind, Vec<u8>) {
    (kind, value.to_vec())
}
