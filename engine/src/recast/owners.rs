//! Owners by rsync's `--usermap`, `--groupmap` and `--chown`: whom the source has is found by name
//! or number as the source has them, and becomes somebody of the receiver's.

use crate::filter::matches_whole;
use crate::ids::IdKind;

/// Rules of which the first that fits counts: `FROM:TO,...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerMap(Vec<(Whom, To)>);

/// The maps of one push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerMaps {
    /// `--usermap`, or the user of `--chown`.
    pub users: OwnerMap,
    /// `--groupmap`, or the group of `--chown`.
    pub groups: OwnerMap,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Whom {
    /// All between these numbers, both included.
    Numbers(u32, u32),
    /// Who has this name, or one that the pattern matches; without a name it is empty.
    Name(String),
}

/// What they become.
#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Number(u32),
    /// Who has this name on the receiver.
    Name(String),
}

impl OwnerMap {
    /// Reads `FROM:TO,...`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(rule)
            .collect::<Result<_, _>>()
            .map(OwnerMap)
    }

    /// Everybody becomes `to`.
    ///
    /// # Errors
    ///
    /// It is a number that nobody can have.
    pub fn all_to(to: &str) -> Result<Self, String> {
        Ok(OwnerMap(vec![(Whom::Name("*".to_owned()), target(to)?)]))
    }

    /// Whether nobody becomes anybody else.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, to)| match to {
            To::Name(name) => Some(&**name),
            To::Number(_) => None,
        })
    }

    /// The rules with numbers alone; a name without one is that of nobody, and its rule is none.
    fn resolve(&self, numbers: &mut impl Iterator<Item = Option<u32>>) -> Resolved {
        let resolved = self.0.iter().filter_map(|(whom, to)| {
            let number = match to {
                To::Number(number) => Some(*number),
                To::Name(_) => numbers.next().flatten(),
            };
            Some((whom.clone(), number?))
        });
        Resolved(resolved.collect())
    }
}

fn rule(text: &str) -> Result<(Whom, To), String> {
    let (from, to) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} has no colon between whom and what they become"))?;
    if to.is_empty() {
        return Err(format!("{text:?} does not say what they become"));
    }
    let whom = match from.split_once('-') {
        _ if !from.starts_with(|c: char| c.is_ascii_digit()) => Whom::Name(from.to_owned()),
        Some((least, most)) => Whom::Numbers(number(least)?, number(most)?),
        None => Whom::Numbers(number(from)?, number(from)?),
    };
    Ok((whom, target(to)?))
}

fn target(to: &str) -> Result<To, String> {
    match to.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(To::Number(number(to)?)),
        false => Ok(To::Name(to.to_owned())),
    }
}

/// The number of a user or group. The largest is that of nobody: to the kernel it means no change.
fn number(text: &str) -> Result<u32, String> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| are_digits && *number < u32::MAX);
    number.ok_or_else(|| format!("{text:?} is no number of a user or group"))
}

impl OwnerMaps {
    /// The names that the receiver is asked for.
    pub(crate) fn names(&self) -> Vec<(IdKind, String)> {
        let of = |kind, map: &OwnerMap| -> Vec<(IdKind, String)> {
            map.names().map(|name| (kind, name.to_owned())).collect()
        };
        [
            of(IdKind::User, &self.users),
            of(IdKind::Group, &self.groups),
        ]
        .concat()
    }

    /// The rules for users and for groups, with the answers for [`names`](Self::names).
    pub(super) fn resolve(&self, numbers: &[Option<u32>]) -> (Resolved, Resolved) {
        let mut numbers = numbers.iter().copied();
        let users = self.users.resolve(&mut numbers);
        (users, self.groups.resolve(&mut numbers))
    }
}

/// Rules by which ids become numbers of the receiver.
#[derive(Debug, Default)]
pub(super) struct Resolved(Vec<(Whom, u32)>);

impl Resolved {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What becomes of who has that id, and that name if any.
    pub(super) fn find(&self, id: u32, name: &[u8]) -> Option<u32> {
        let fits = |whom: &Whom| match whom {
            Whom::Numbers(least, most) => (least..=most).contains(&&id),
            Whom::Name(pattern) if pattern.contains(['*', '?', '[']) => {
                matches_whole(pattern.as_bytes(), name)
            }
            Whom::Name(wanted) => wanted.as_bytes() == name,
        };
        let mut rules = self.0.iter();
        rules.find(|(whom, _)| fits(whom)).map(|(_, to)| *to)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whoever_fits_first_is_mapped() {
        for (map, id, name, becomes) in [
            ("0:1", 0, "root", Some(1)),
            ("root:5", 0, "root", Some(5)),
            ("1-2:99", 2, "bin", Some(99)),
            ("1-2:99", 3, "sys", None),
            ("2-1:99", 1, "daemon", None),
            ("-2:99", 2, "bin", None),
            ("d*:7", 1, "daemon", Some(7)),
            ("[bd]*:7", 2, "bin", Some(7)),
            ("[bd]*:7", 33, "www-data", None),
            ("?in:7", 2, "bin", Some(7)),
            (":7", 5000, "", Some(7)),
            (":7", 1, "daemon", None),
            (":7,*:8", 1, "daemon", Some(8)),
            ("*:8", 5000, "", Some(8)),
            ("1:2,1:3", 1, "daemon", Some(2)),
            ("+1:5", 1, "daemon", None),
        ] {
            let maps = OwnerMaps {
                users: OwnerMap::parse(map).unwrap(),
                ..OwnerMaps::default()
            };
            let found = maps.resolve(&[]).0.find(id, name.as_bytes());
            assert_eq!(found, becomes, "{map} {id} {name}");
        }
    }

    #[test]
    fn names_are_the_receivers_and_who_is_unknown_there_is_nobody() {
        let maps = OwnerMaps {
            users: OwnerMap::parse("1:web,2:5,3:none").unwrap(),
            groups: OwnerMap::all_to("b:c").unwrap(),
        };
        let names = [
            ("web", IdKind::User),
            ("none", IdKind::User),
            ("b:c", IdKind::Group),
        ];
        let names = names.map(|(name, kind)| (kind, name.to_owned()));
        assert_eq!(maps.names(), names);
        let (users, groups) = maps.resolve(&[Some(33), None, Some(44)]);
        assert_eq!(
            [1, 2, 3].map(|id| users.find(id, b"")),
            [Some(33), Some(5), None]
        );
        assert_eq!(groups.find(9, b"any"), Some(44));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for text in [
            "",
            "1-2",
            "1:",
            "1-:99",
            "1x:5",
            "1:2,",
            "1:99999999999",
            "1:4294967295",
            "1--2:3",
        ] {
            assert!(OwnerMap::parse(text).is_err(), "{text:?}");
        }
        assert!(OwnerMap::all_to("4294967295").is_err());
    }
}
