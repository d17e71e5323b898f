//! What a file system keeps of an entry's metadata. Both halves compare by it, so that what cannot
//! be kept is no difference.

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizerBorrowed;
use serde::{Deserialize, Serialize};

use crate::entry::Time;
use crate::error::Error;
use crate::namespaces::Namespaces;
use crate::observer::{Differences, Kind};
use crate::refusal::Refusal;

/// What one file system keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keeps {
    pub(crate) time_store: TimeStore,
    /// What it does not keep at all, of permissions, owner, group, ACLs and hard links. `time` is
    /// that of symlinks: those have no metadata of their own then.
    pub(crate) lost: Differences,
    /// Nor extended attributes in these namespaces.
    pub(crate) lost_xattrs: Namespaces,
    /// Which spellings of a name are one: no matter of the sender's.
    #[serde(skip)]
    pub(crate) folds: Folds,
}

/// Which spellings of a name a file system takes for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folds {
    /// Small letters and large ones.
    pub(crate) case: bool,
    /// A letter with its accent, and both one after the other.
    pub(crate) form: bool,
}

impl Folds {
    /// What all spellings of a name have in common, or nearly: the file system may know better.
    pub(crate) fn fold(self, name: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(name) else {
            return name.to_vec();
        };
        // Letter by letter: where a letter stands does not matter to a file system. Letters that
        // become two are one with those only where forms do not count either.
        let text = match self.case {
            true => Cow::Owned(
                text.chars()
                    .flat_map(|letter| self.fold_case(letter))
                    .collect(),
            ),
            false => Cow::Borrowed(text),
        };
        match self.form {
            true => DecomposingNormalizerBorrowed::new_nfd()
                .normalize(&text)
                .into_owned(),
            false => text.into_owned(),
        }
        .into_bytes()
    }

    fn fold_case(self, letter: char) -> impl Iterator<Item = char> {
        let large = move |small: char| {
            let large = small.to_uppercase();
            match self.form || large.len() == 1 {
                true => large.collect(),
                false => vec![small],
            }
        };
        let small = letter.to_lowercase();
        small.flat_map(large).flat_map(char::to_lowercase)
    }
}

impl Keeps {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let others = Differences {
            perms: false,
            owner: false,
            group: false,
            time: false,
            acl: false,
            links: false,
            ..self.lost
        };
        if others.any() {
            let lost = self.lost.into();
            return Err(Error::peer(Refusal::Lost { lost }));
        }
        self.time_store.check()
    }

    /// What it does not keep of an entry of this kind.
    pub(crate) fn lost_of(&self, kind: Kind) -> Differences {
        let Differences {
            perms,
            owner,
            group,
            time,
            acl,
            ..
        } = self.lost;
        let bare = time && kind == Kind::Symlink;
        Differences {
            perms: perms || bare,
            owner: owner || bare,
            group: group || bare,
            time: bare,
            acl: acl || kind == Kind::Symlink,
            ..Differences::default()
        }
    }

    /// Of which namespaces it keeps nothing that an entry of this kind has.
    pub(crate) fn lost_xattrs_of(&self, kind: Kind) -> Namespaces {
        match kind {
            Kind::Symlink if self.lost.time => Namespaces::ALL,
            Kind::File | Kind::Dir => self.lost_xattrs,
            _ => self.lost_xattrs.and(Namespaces::USER),
        }
    }
}

/// What is lost, by the words of `lossy` in the configuration.
pub fn lost_words(lost: Differences) -> Vec<&'static str> {
    let owners = (lost.owner || lost.group).then_some("owners");
    owners
        .into_iter()
        .chain(lost.perms.then_some("modes"))
        .chain(lost.acl.then_some("acls"))
        .chain(lost.xattr.then_some("xattrs"))
        .chain(lost.links.then_some("links"))
        .collect()
}

/// The coarsest step of a file system's times, that of FAT, in nanoseconds. All others are powers
/// of ten, up to a second.
const STEP_NS_MAX: u32 = 2_000_000_000;

/// What the receiving file system can store as a time. Both sides compare times as it stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeStore {
    /// Smallest step in nanoseconds: a power of ten up to a second, or [`STEP_NS_MAX`].
    pub(crate) granularity_ns: u32,
    pub(crate) min_secs: i64,
    pub(crate) max_secs: i64,
}

impl Default for TimeStore {
    fn default() -> Self {
        TimeStore {
            granularity_ns: 1,
            min_secs: i64::MIN,
            max_secs: i64::MAX,
        }
    }
}

impl TimeStore {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self {
            granularity_ns,
            min_secs,
            max_secs,
        } = *self;
        let mut steps = (0..=9).map(|zeros| 10_u32.pow(zeros));
        let is_step = granularity_ns == STEP_NS_MAX || steps.any(|step| granularity_ns == step);
        if is_step && min_secs <= max_secs {
            return Ok(());
        }
        Err(Error::peer(Refusal::TimeStore {
            granularity_ns,
            min_secs,
            max_secs,
        }))
    }

    /// `time` as the file system would give it back.
    pub(crate) fn stored(&self, time: Time) -> Time {
        // Of its first and its last second the kernel keeps no part.
        let secs = time.secs.clamp(self.min_secs, self.max_secs);
        if secs == self.min_secs || secs == self.max_secs {
            return Time { secs, nanos: 0 };
        }
        match self.granularity_ns {
            0 | 1 => time,
            step @ 2..1_000_000_000 => Time {
                secs: time.secs,
                nanos: time.nanos / step * step,
            },
            step => {
                let step_secs = i64::from(step / 1_000_000_000).max(1);
                Time {
                    secs: time.secs.div_euclid(step_secs) * step_secs,
                    nanos: 0,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_folded_as_file_systems_do() {
        let cases: [(&[&str], bool, bool); 6] = [
            (&["README", "readme", "ReadMe"], true, true),
            (
                &[
                    "\u{39f}\u{394}\u{39f}\u{3a3}",
                    "\u{3bf}\u{3b4}\u{3bf}\u{3c2}",
                    "\u{3bf}\u{3b4}\u{3bf}\u{3c3}",
                ],
                true,
                true,
            ),
            (&["\u{212a}", "K", "k"], true, true),
            (&["stra\u{df}e", "STRASSE", "STRA\u{1e9e}E"], false, true),
            (&["\u{fb01}", "fi", "FI"], false, true),
            (&["\u{e4}", "a\u{308}", "\u{c4}"], false, true),
        ];
        for (names, by_case, by_both) in cases {
            for (form, expected) in [(false, by_case), (true, by_both)] {
                let folds = Folds { case: true, form };
                let keys: Vec<_> = names
                    .iter()
                    .map(|name| folds.fold(name.as_bytes()))
                    .collect();
                let is_one = keys.iter().all(|key| *key == keys[0]);
                assert_eq!(is_one, expected, "{names:?} {form}");
            }
            let exact = Folds::default();
            assert_ne!(
                exact.fold(names[0].as_bytes()),
                exact.fold(names[1].as_bytes())
            );
        }
    }

    #[test]
    fn times_are_compared_as_they_are_kept() {
        let store = |granularity_ns| TimeStore {
            granularity_ns,
            min_secs: -9,
            max_secs: 9,
        };
        for (step, time, kept) in [
            (1, (8, 999_999_999), (8, 999_999_999)),
            (1, (9, 0), (9, 0)),
            (1, (9, 1), (9, 0)),
            (1, (10, 5), (9, 0)),
            (1, (-9, 1), (-9, 0)),
            (1, (-10, 5), (-9, 0)),
            (1, (-8, 5), (-8, 5)),
            (100, (8, 1_234), (8, 1_200)),
            (100, (9, 1_234), (9, 0)),
            (1_000_000_000, (8, 5), (8, 0)),
            (2_000_000_000, (7, 5), (6, 0)),
            (2_000_000_000, (9, 5), (9, 0)),
            (2_000_000_000, (-7, 5), (-8, 0)),
        ] {
            let [time, kept] = [time, kept].map(|(secs, nanos)| Time { secs, nanos });
            let stored = store(step).stored(time);
            assert_eq!(stored, kept, "{step} {time:?}");
            assert_eq!(store(step).stored(stored), stored, "{step} {time:?}");
        }
    }
}
