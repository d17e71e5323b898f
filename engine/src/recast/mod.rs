//! What the entries of the source are told as, where that is not as they are found: permissions by
//! `--chmod`, owners by the maps, and less than there is where the receiver takes no more. It is
//! done where they are listed, so that digests, verdicts and content agree.

pub(crate) mod modes;
pub(crate) mod owners;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::attributes::{Attributes, Scope};
use crate::entry::Entry;
use crate::filter::{AttributeRules, Side};
use crate::ids::{IdKind, name_of};
use crate::observer::Kind;
use crate::options::Options;
use crate::policy::Powers;
use crate::since::Meta;
use modes::ModeChanges;
use owners::Resolved;

/// What is done to the metadata of one push's source.
#[derive(Debug)]
pub(crate) struct Recast {
    modes: ModeChanges,
    powers: Powers,
    /// What maps the users and the groups that count.
    users: Resolved,
    groups: Resolved,
    numeric_ids: bool,
    /// Which attributes are not told, by their names.
    attribute_rules: AttributeRules,
    ids: Mutex<Ids>,
}

/// Ids as they are told. All that become one id on the receiver are told by that of them which came
/// first, and which therefore stands for nobody else.
#[derive(Debug, Default)]
struct Ids {
    told: HashMap<(IdKind, u32), u32>,
    /// The first by what it becomes, and that by the first.
    firsts: HashMap<(IdKind, u32), u32>,
    becomes: HashMap<(IdKind, u32), u32>,
}

impl Recast {
    /// `accounts` are the numbers on the receiver of the names in the maps.
    pub(crate) fn new(options: &Options, powers: Powers, accounts: &[Option<u32>]) -> Self {
        let (users, groups) = options.owner_maps.resolve(accounts);
        Recast {
            modes: options.modes.clone(),
            powers,
            users,
            groups,
            numeric_ids: options.numeric_ids,
            attribute_rules: AttributeRules::of(&options.filters),
            ids: Mutex::default(),
        }
    }

    /// Changes an entry to what it is told as; returns whether that is something else.
    pub(crate) fn entry(&self, entry: &mut Entry) -> bool {
        let found = Meta::of_entry(entry);
        let told = self.meta(found, entry.kind());
        told.put_into(entry);
        let is_same = self.attribute_rules.is_empty() && !self.maps_any();
        let has_others = !entry.attributes.is_empty() && !is_same;
        if has_others {
            entry.attributes = self.attributes(std::mem::take(&mut entry.attributes));
        }
        told != found || has_others
    }

    /// Attributes as they are told: without those that rules leave out on either side, of which the
    /// receiver would set none, and with the users and groups that ACLs name mapped as owners are.
    pub(crate) fn attributes(&self, found: Attributes) -> Attributes {
        let told = match self.attribute_rules.is_empty() {
            true => found,
            false => found.without(|name| {
                let sides = [Side::Sender, Side::Receiver];
                sides.map(|side| self.attribute_rules.exclude(side, name)) != [false; 2]
            }),
        };
        match self.maps_any() {
            true => told.mapped(Scope::ALL, |kind, id| self.id(kind, id)),
            false => told,
        }
    }

    fn maps_any(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// The same of metadata alone.
    pub(crate) fn meta(&self, found: Meta, kind: Kind) -> Meta {
        Meta {
            mode: self.powers.mode(self.wanted_mode(found.mode, kind), kind),
            uid: self.id(IdKind::User, found.uid),
            gid: self.id(IdKind::Group, found.gid),
            ..found
        }
    }

    /// Whether a mode loses bits that the receiver takes from nobody.
    pub(crate) fn loses_bits(&self, mode: u32, kind: Kind) -> bool {
        let wanted = self.wanted_mode(mode, kind);
        self.powers.mode(wanted, kind) != wanted
    }

    fn wanted_mode(&self, mode: u32, kind: Kind) -> u32 {
        match kind {
            Kind::Symlink => mode,
            _ => self.modes.apply(mode, kind == Kind::Dir),
        }
    }

    /// The number on the receiver that an id stands for which is told, if it is mapped.
    pub(crate) fn becomes(&self, kind: IdKind, told: u32) -> Option<u32> {
        match self.rules(kind).is_empty() {
            true => None,
            false => self.ids().becomes.get(&(kind, told)).copied(),
        }
    }

    fn id(&self, kind: IdKind, id: u32) -> u32 {
        let rules = self.rules(kind);
        if rules.is_empty() {
            return id;
        }
        if let Some(told) = self.ids().told.get(&(kind, id)) {
            return *told;
        }
        let name = match self.numeric_ids {
            true => None,
            false => name_of(kind, id),
        };
        let becomes = rules.find(id, &name.unwrap_or_default());
        let ids = &mut *self.ids();
        let told = match becomes {
            None => id,
            Some(number) => *ids.firsts.entry((kind, number)).or_insert(id),
        };
        if let Some(number) = becomes {
            ids.becomes.insert((kind, told), number);
        }
        ids.told.insert((kind, id), told);
        told
    }

    fn rules(&self, kind: IdKind) -> &Resolved {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, Ids> {
        // What a thread that panicked has left is whole.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::Rights;
    use crate::recast::owners::{OwnerMap, OwnerMaps};

    #[test]
    fn ids_that_become_one_are_told_by_the_first_of_them() {
        let options = Options {
            owner_maps: OwnerMaps {
                users: OwnerMap::parse("0-99:7,4000:4001").unwrap(),
                ..OwnerMaps::default()
            },
            numeric_ids: true,
            ..Options::archive()
        };
        let powers = Powers::new(true, Rights::default());
        let recast = Recast::new(&options, powers, &[]);
        let told = |uid| {
            let found = Meta {
                uid,
                gid: uid,
                ..Meta::default()
            };
            let meta = recast.meta(found, Kind::File);
            assert_eq!(meta.gid, uid);
            (meta.uid, recast.becomes(IdKind::User, meta.uid))
        };
        for (uid, expected) in [
            (33, (33, Some(7))),
            (0, (33, Some(7))),
            (7, (33, Some(7))),
            (4000, (4000, Some(4001))),
            // Nobody else is told by their numbers.
            (4001, (4001, None)),
            (100, (100, None)),
            (33, (33, Some(7))),
        ] {
            assert_eq!(told(uid), expected, "{uid}");
        }
    }
}
