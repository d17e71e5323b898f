//! Users and groups as they are told: each once, where it is met first, and no more of them than a
//! receiver takes.

use std::collections::HashSet;

use super::{NewId, Origin, ScannedDir, Scanner};
use crate::attributes::Attributes;
use crate::entry::Entry;
use crate::ids::{IDS_MAX, IdKind, name_of};
use crate::observer::Warning;
use crate::path::Shown;

/// An entry has a user and a group, besides those that its ACLs name.
const IDS_PER_ENTRY: usize = 2;

/// Those that have been told.
#[derive(Debug)]
pub(super) struct ToldIds {
    known: HashSet<(IdKind, u32)>,
    /// User and group of the last entry: those of the next are likely to be the same.
    last: Option<(u32, u32)>,
    max: usize,
}

impl ToldIds {
    /// None yet. Those of the root are told on their own.
    pub(super) fn besides(root: Option<&Entry>) -> Self {
        let of_root = root.map_or(0, |root| count(&root.attributes));
        ToldIds {
            known: HashSet::new(),
            last: None,
            max: IDS_MAX.saturating_sub(of_root),
        }
    }

    /// Whether all of an entry with these attributes may be new.
    fn have_room_for(&self, attributes: &Attributes) -> bool {
        self.known.len() + count(attributes) <= self.max
    }
}

/// How many ids an entry can have told.
fn count(attributes: &Attributes) -> usize {
    IDS_PER_ENTRY + attributes.ids().count()
}

impl ScannedDir {
    /// Whether an entry has an owner or a group that no system call could give it on the target: it
    /// is neither sent nor deleted.
    pub(super) fn is_owned_by_none(&mut self, entry: &Entry, origin: Option<&Origin>) -> bool {
        if entry.has_owners() {
            return false;
        }
        self.complete = false;
        let layer = self.layers.get(origin.map_or(0, |origin| origin.layer));
        let shown = layer.map_or_else(String::new, |layer| layer.shown(&entry.name));
        let message = format!(
            "cannot mirror {shown}: the number {} of its owner or group stands for none; chown it",
            u32::MAX
        );
        let vanished = false;
        self.warnings.push(Warning { vanished, message });
        true
    }
}

impl Scanner {
    /// Notes the names of ids on their first use, as many as a receiver takes.
    pub(super) fn announce_ids(
        &mut self,
        uid: u32,
        gid: u32,
        attributes: &Attributes,
        dir: &mut ScannedDir,
    ) {
        if attributes.is_empty() && self.told_ids.last == Some((uid, gid)) {
            return;
        }
        if !self.options.numeric_ids && !self.told_ids.have_room_for(attributes) {
            self.options.numeric_ids = true;
            let message = format!(
                "more than {IDS_MAX} users and groups: from {} on they are told by their numbers; \
                 push with --numeric-ids",
                Shown(&dir.path.shown())
            );
            dir.warnings.push(Warning {
                vanished: false,
                message,
            });
        }
        let wanted = [
            (self.options.owner, IdKind::User, uid),
            (self.options.group, IdKind::Group, gid),
        ];
        let named = attributes.ids().map(|(kind, id)| (true, kind, id));
        for (wanted, kind, id) in wanted.into_iter().chain(named) {
            let becomes = self.recast.becomes(kind, id);
            let is_told = becomes.is_some() || id != 0 && !self.options.numeric_ids;
            if !wanted || !is_told || !self.told_ids.known.insert((kind, id)) {
                continue;
            }
            let named = || name_of(kind, id).map(NewId::Named);
            let is = becomes.map(NewId::Mapped).or_else(named);
            dir.new_ids.extend(is.map(|is| (kind, id, is)));
        }
        self.told_ids.last = Some((uid, gid));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::attributes::AttributeKind;
    use crate::fs::Listed;

    #[test]
    fn those_that_acls_name_are_counted() {
        let naming = |access: u32, default: u32| {
            let named =
                |count| (0..count).flat_map(|id: u32| [&[0, 7][..], &id.to_le_bytes()].concat());
            let acl = |head: &[u8], count| head.iter().copied().chain(named(count)).collect();
            let all = vec![
                (AttributeKind::AccessAcl, acl(&[7], access)),
                (AttributeKind::DefaultAcl, acl(&[7, 7, 7, 7], default)),
            ];
            Attributes::of(all).unwrap()
        };
        let mut root = Listed::blank().entry;
        for (of_root, known, found, has_room) in [
            ((0, 0), IDS_MAX - 4, (0, 0), true),
            ((0, 0), IDS_MAX - 3, (0, 0), false),
            ((0, 0), IDS_MAX - 4, (1, 0), false),
            ((0, 0), IDS_MAX - 9, (2, 3), true),
            ((0, 0), IDS_MAX - 9, (3, 3), false),
            ((2, 1), IDS_MAX - 7, (0, 0), true),
            ((2, 1), IDS_MAX - 6, (0, 0), false),
        ] {
            root.attributes = naming(of_root.0, of_root.1);
            let mut told = ToldIds::besides(Some(&root));
            told.max -= known;
            let attributes = naming(found.0, found.1);
            assert_eq!(
                told.have_room_for(&attributes),
                has_room,
                "{of_root:?} {known} {found:?}"
            );
        }
        assert_eq!(ToldIds::besides(None).max, IDS_MAX);
    }
}
