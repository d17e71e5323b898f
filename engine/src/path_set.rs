//! Paths that are many at worst: whether one is among them, in one of them, or holds one.

use crate::path::RelPath;
use crate::spill::SpillMap;

/// A set of paths below one root, by their sums: whatever the depth, asking costs one walk down.
#[derive(Debug, Default)]
pub(crate) struct PathSet {
    /// Of each path, and of each directory above one, which of the two it is.
    marks: SpillMap,
    is_filled: bool,
}

/// It is one of these.
const OWN: u8 = 1;
/// One of these is in it.
const ABOVE: u8 = 2;

impl PathSet {
    pub(crate) fn insert(&mut self, path: &RelPath) {
        let mut ways = ways_to(path).peekable();
        while let Some(way) = ways.next() {
            let mark = if ways.peek().is_some() { ABOVE } else { OWN };
            let old = self.marks_of(&way);
            if old & mark == 0 {
                self.marks.set(&way, &[old | mark]);
            }
        }
        self.is_filled = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_filled
    }

    /// Whether the path is one of these.
    pub(crate) fn contains(&self, path: &RelPath) -> bool {
        self.is_filled && self.marks_of_last(path) & OWN != 0
    }

    /// Whether the path is one of these, or in one.
    pub(crate) fn covers(&self, path: &RelPath) -> bool {
        self.is_filled && ways_to(path).any(|way| self.marks_of(&way) & OWN != 0)
    }

    /// Whether one of these is in the directory at `path`.
    pub(crate) fn holds_any_in(&self, path: &RelPath) -> bool {
        self.is_filled && self.marks_of_last(path) & ABOVE != 0
    }

    fn marks_of_last(&self, path: &RelPath) -> u8 {
        ways_to(path).last().map_or(0, |way| self.marks_of(&way))
    }

    fn marks_of(&self, way: &[u8; 32]) -> u8 {
        let marks = self.marks.get(way);
        marks.and_then(|marks| marks.first().copied()).unwrap_or(0)
    }
}

/// Sums of the root, of each directory on the way to the path, and of itself.
fn ways_to(path: &RelPath) -> impl Iterator<Item = [u8; 32]> {
    let mut sum = blake3::Hasher::new();
    let root = *sum.finalize().as_bytes();
    let below = path.components().map(move |name| {
        sum.update(name).update(b"/");
        *sum.finalize().as_bytes()
    });
    std::iter::once(root).chain(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::of(text.as_bytes())
    }

    #[test]
    fn paths_in_and_above_those_of_a_set_are_known() {
        let mut set = PathSet::default();
        let seen = |set: &PathSet, text: &str| {
            let path = path(text);
            [
                set.contains(&path),
                set.covers(&path),
                set.holds_any_in(&path),
            ]
        };
        assert!(set.is_empty());
        assert_eq!(seen(&set, ""), [false; 3]);
        for inserted in ["a/b", "a/b/c/d", "e"] {
            set.insert(&path(inserted));
        }
        for (asked, expected) in [
            ("", [false, false, true]),
            ("a", [false, false, true]),
            ("a/b", [true, true, true]),
            ("a/bb", [false, false, false]),
            ("a/b/c", [false, true, true]),
            ("a/b/x", [false, true, false]),
            ("a/b/c/d", [true, true, false]),
            ("e", [true, true, false]),
            ("ea", [false, false, false]),
            ("b", [false, false, false]),
        ] {
            assert_eq!(seen(&set, asked), expected, "{asked:?}");
        }
        set.insert(&path(""));
        assert_eq!(seen(&set, ""), [true; 3]);
        assert!(!set.is_empty() && set.covers(&path("b")));
    }
}
