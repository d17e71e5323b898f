//! The part of a verdict that ACLs and extended attributes have.

use super::Judge;
use crate::attributes::{AttributeKind, Attributes, Scope};
use crate::entry::{Body, Entry};
use crate::fs::{Assigned, Listed};
use crate::ids::IdMap;
use crate::namespaces::Namespaces;
use crate::observer::{Differences, Kind};

impl Judge<'_> {
    /// Whether an ACL differs, and whether an extended attribute does.
    pub(super) fn attributes_differ(
        &self,
        ids: &IdMap,
        entry: &Entry,
        local: &Listed,
    ) -> (bool, bool) {
        let scope = self.scope(entry);
        if scope.is_empty() {
            return (false, false);
        }
        let wanted = self.attributes(ids, entry, scope);
        let there = self.fields.compared(&local.entry.attributes).within(scope);
        let acls = [AttributeKind::AccessAcl, AttributeKind::DefaultAcl];
        let acl_differs = |kind: &AttributeKind| wanted.acl(*kind) != there.acl(*kind);
        let xattr_differs = !wanted.extended().eq(there.extended());
        (acls.iter().any(acl_differs), xattr_differs)
    }

    /// Whether an entry is given an ACL, and whether an extended attribute.
    pub(super) fn attributes_given(&self, ids: &IdMap, entry: &Entry) -> (bool, bool) {
        let given = self.attributes(ids, entry, self.scope(entry));
        let has_acl = given.acl(AttributeKind::AccessAcl).is_some();
        (has_acl, given.extended().next().is_some())
    }

    /// What has to be set of an entry that stays.
    pub(super) fn changed_attributes(
        &self,
        ids: &IdMap,
        entry: &Entry,
        local: &Listed,
        differences: Differences,
    ) -> Option<Box<Assigned>> {
        let scope = self.scope(entry);
        let is_owned = differences.owner || differences.group;
        let changed = Scope {
            acls: scope.acls && differences.acl,
            xattrs: match (differences.xattr, is_owned && entry.kind() == Kind::File) {
                (true, _) => scope.xattrs,
                // A change of owner takes capabilities away.
                (false, true) => scope.xattrs.within(Namespaces::CAPABILITY),
                (false, false) => Namespaces::NONE,
            },
        };
        let wanted = self.attributes(ids, entry, changed);
        Assigned::new(
            changed,
            &self.with_left_alone(wanted, &local.entry.attributes),
        )
    }

    /// The wanted attributes, and those of the target that rules about names let stay.
    fn with_left_alone(&self, wanted: Attributes, there: &Attributes) -> Attributes {
        let left = there.without(|name| !self.fields.is_left_alone(name));
        let left = left
            .iter()
            .filter(|(kind, _)| *kind == AttributeKind::Extended);
        let mut left = left.peekable();
        if left.peek().is_none() {
            return wanted;
        }
        let both = left.chain(wanted.iter());
        let both = both.map(|(kind, value)| (kind, value.to_vec())).collect();
        Attributes::of_here(both)
    }

    /// What an entry gets that is made anew.
    pub(super) fn made_attributes(&self, ids: &IdMap, entry: &Entry) -> Option<Box<Assigned>> {
        let scope = self.scope(entry);
        Assigned::new(scope, &self.attributes(ids, entry, scope))
    }

    /// The attributes that count.
    fn scope(&self, entry: &Entry) -> Scope {
        match entry.body {
            Body::Way => Scope::default(),
            _ => self.fields.of(entry).attributes_of(entry.kind()),
        }
    }

    /// Those that the entry is to have, in the numbers of this side.
    fn attributes(&self, ids: &IdMap, entry: &Entry, scope: Scope) -> Attributes {
        entry
            .attributes
            .mapped(scope, |kind, id| ids.local(kind, id))
    }
}
