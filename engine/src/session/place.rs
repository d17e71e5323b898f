//! Where an announced directory is, told by what sets it apart from the one announced before:
//! directories come in canonical order, so that is little.

use crate::error::Error;
use crate::path::{PATH_LEN_MAX, RelPath, check_name};
use crate::refusal::Refusal;
use crate::wire::DirIndex;

/// The place of a directory, seen from the one announced before. All zero for the root, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// Directories that were left out in between: the receiver lacks them.
    pub(super) skipped: u64,
    /// Levels up to the parent; 0 if that is the one before.
    pub(super) up: u32,
    /// How many bytes of its name the name of the one before begins with, and the rest.
    pub(super) shared: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> Place<'a> {
    /// Where `path` is, which has number `index`, after `before`.
    pub(super) fn after(
        before: Option<&(DirIndex, RelPath)>,
        index: DirIndex,
        path: &'a RelPath,
    ) -> Self {
        let Some((before_index, before)) = before else {
            return Place {
                skipped: index,
                up: 0,
                shared: 0,
                rest: path.name(),
            };
        };
        let name = path.name();
        let same = before.name().iter().zip(name).take_while(|(a, b)| a == b);
        let shared = same.count().min(usize::from(u8::MAX));
        let levels = (before.depth() + 1).saturating_sub(path.depth());
        Place {
            skipped: index - before_index - 1,
            up: u32::try_from(levels).unwrap_or(u32::MAX),
            shared: shared as u8,
            rest: name.get(shared..).unwrap_or_default(),
        }
    }
}

/// The directories from the root down to the one announced last, as the receiver follows them.
#[derive(Debug, Default)]
pub(super) struct Trail {
    dirs: Vec<(DirIndex, RelPath)>,
    next: DirIndex,
}

impl Trail {
    /// All directories announced or left out so far are below this index.
    pub(super) fn next(&self) -> DirIndex {
        self.next
    }

    /// The path of the directory announced last, if that is its number and it is not the root.
    pub(super) fn last(&self, dir: DirIndex) -> Option<&RelPath> {
        let (index, path) = self.dirs.last()?;
        (*index == dir && !path.is_root()).then_some(path)
    }

    /// Goes on to the directory at `place`; gives its number and its path.
    pub(super) fn follow(&mut self, place: Place<'_>) -> Result<(DirIndex, RelPath), Error> {
        let index = self
            .next
            .checked_add(place.skipped)
            .filter(|&index| index < DirIndex::MAX)
            .ok_or_else(|| Error::peer(Refusal::DirNumber))?;
        let Some((_, before)) = self.dirs.last() else {
            if index != 0 {
                return Err(Error::peer(Refusal::DirBeforeRoot));
            }
            self.next = 1;
            self.dirs.push((0, RelPath::root()));
            return Ok((0, RelPath::root()));
        };
        let shared = before.name().get(..usize::from(place.shared));
        let dir = index;
        let shared = shared.ok_or_else(|| Error::peer(Refusal::DirShared { dir }))?;
        let name = [shared, place.rest].concat();
        let depth = self.dirs.len().saturating_sub(place.up as usize);
        let sibling = self.dirs.get(depth).filter(|_| depth > 0);
        if sibling.is_some_and(|(_, before)| *before.name() >= *name) {
            return Err(Error::peer(Refusal::DirOrder { dir }));
        }
        self.dirs.truncate(depth);
        let Some(&(parent, _)) = self.dirs.last() else {
            return Err(Error::peer(Refusal::DirAboveRoot { dir }));
        };
        let path = path_below(&mut self.dirs, index, parent, &name)?;
        self.next = index + 1;
        Ok((index, path))
    }
}

/// The path of the directory `name` in `parent`, which must be among `ancestors`.
pub(super) fn path_below(
    ancestors: &mut Vec<(DirIndex, RelPath)>,
    dir: DirIndex,
    parent: DirIndex,
    name: &[u8],
) -> Result<RelPath, Error> {
    check_name(name).map_err(|error| Error::peer(Refusal::DirName { dir, error }))?;
    while ancestors.last().is_some_and(|&(index, _)| index != parent) {
        ancestors.pop();
    }
    let Some((_, above)) = ancestors.last() else {
        return Err(Error::peer(Refusal::DirParent { dir, parent }));
    };
    let path = above.join(name);
    if path.len() > PATH_LEN_MAX {
        let max = PATH_LEN_MAX;
        return Err(Error::peer(Refusal::PathLen { max }));
    }
    ancestors.push((dir, path.clone()));
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ROOT: Place<'_> = Place {
        skipped: 0,
        up: 0,
        shared: 0,
        rest: b"",
    };

    #[test]
    fn what_is_told_is_what_is_followed() {
        let long = "n".repeat(255);
        let paths = [
            (0, ""),
            (1, "a"),
            (2, "a/b"),
            (3, "a/b/c"),
            (4, "a/b/cc"),
            (7, "a/bb"),
            (8, "ab"),
            (9, &long),
            (10, &format!("{long}/{long}")),
            (11, &format!("{long}/x/y")[..257]),
            (1000, "z"),
        ];
        let mut trail = Trail::default();
        let mut before = None;
        for (index, path) in paths {
            let path = RelPath::parse(path.as_bytes()).unwrap();
            let place = Place::after(before.as_ref(), index, &path);
            assert_eq!(trail.follow(place).unwrap(), (index, path.clone()));
            assert_eq!(trail.next(), index + 1);
            before = Some((index, path));
        }
    }

    #[test]
    fn siblings_cost_the_end_of_their_name() {
        let before = (41, RelPath::parse(b"top/dir-0041").unwrap());
        let path = RelPath::parse(b"top/dir-0042").unwrap();
        let place = Place::after(Some(&before), 42, &path);
        let told = Place {
            skipped: 0,
            up: 1,
            shared: 7,
            rest: b"2",
        };
        assert_eq!(place, told);
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        let child = Place { rest: b"d", ..ROOT };
        for (first, second, words) in [
            (Place { skipped: 1, ..ROOT }, ROOT, "before the root"),
            (ROOT, ROOT, "empty name"),
            (ROOT, Place { up: 1, ..child }, "above the root"),
            (
                ROOT,
                Place {
                    up: u32::MAX,
                    ..child
                },
                "above the root",
            ),
            (ROOT, Place { shared: 1, ..child }, "more than there is"),
            (
                ROOT,
                Place {
                    skipped: u64::MAX,
                    ..child
                },
                "beyond all",
            ),
            (
                ROOT,
                Place {
                    skipped: u64::MAX - 1,
                    ..child
                },
                "beyond all",
            ),
            (
                ROOT,
                Place {
                    rest: b"..",
                    ..ROOT
                },
                "directory 1",
            ),
            (
                ROOT,
                Place {
                    rest: b"a/b",
                    ..ROOT
                },
                "directory 1",
            ),
            (
                ROOT,
                Place {
                    rest: b".hasync",
                    ..ROOT
                },
                "directory 1",
            ),
        ] {
            let mut trail = Trail::default();
            let result = trail.follow(first).and_then(|_| trail.follow(second));
            let message = result.unwrap_err().message;
            assert!(message.contains(words), "{message}");
        }
    }
    #[test]
    fn siblings_ascend() {
        let place = |up, rest| Place { up, rest, ..ROOT };
        for (places, ascend) in [
            (vec![place(0, b"b"), place(1, b"c"), place(1, b"ca")], true),
            (vec![place(0, b"b"), place(0, b"a"), place(2, b"c")], true),
            (vec![place(0, b"b"), place(1, b"b")], false),
            (vec![place(0, b"b"), place(1, b"a")], false),
            (vec![place(0, b"b"), place(0, b"x"), place(2, b"a")], false),
        ] {
            let mut trail = Trail::default();
            trail.follow(ROOT).unwrap();
            let followed = places
                .iter()
                .try_for_each(|&at| trail.follow(at).map(|_| ()));
            assert_eq!(followed.is_ok(), ascend, "{places:?}");
        }
    }
}
