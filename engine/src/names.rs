//! Names on the way through a tree, packed: in a directory of a million names each costs itself and
//! a byte.

use std::collections::VecDeque;

/// Names in the order in which they were added, taken from the front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Each with its length in front.
    bytes: VecDeque<u8>,
}

impl Names {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a name, which is 255 bytes long at most.
    pub(crate) fn push(&mut self, name: &[u8]) {
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        self.bytes.push_back(len);
        self.bytes.extend(name.iter().take(len.into()));
    }

    /// The name in front, without taking it.
    fn first(&self) -> Option<impl Iterator<Item = u8>> {
        let &len = self.bytes.front()?;
        Some(self.bytes.iter().skip(1).take(len.into()).copied())
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let name: Vec<u8> = self.first()?.collect();
        self.bytes.drain(..=name.len());
        Some(name)
    }

    /// Drops all names before `name`, and `name` itself, of names in canonical order.
    pub(crate) fn pass(&mut self, name: &[u8]) {
        while self
            .first()
            .is_some_and(|first| first.le(name.iter().copied()))
        {
            self.pop();
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for Names {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(all: I) -> Self {
        let mut names = Names::default();
        all.into_iter().for_each(|name| names.push(name));
        names.bytes.shrink_to_fit();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Names {
        all.iter().map(|name| name.as_bytes()).collect()
    }

    #[test]
    fn names_come_back_in_order() {
        let mut names = names(&["", "a", "a-b", "ab"]);
        for name in ["", "a", "a-b", "ab"] {
            assert!(!names.is_empty());
            assert_eq!(names.pop().as_deref(), Some(name.as_bytes()));
        }
        assert!(names.is_empty() && names.pop().is_none());
    }

    #[test]
    fn passing_drops_what_is_not_beyond() {
        let all = ["a", "b", "bb", "d"];
        for (passed, left) in [("", 4), ("a", 3), ("aa", 3), ("bb", 1), ("c", 1), ("e", 0)] {
            let mut names = names(&all);
            names.pass(passed.as_bytes());
            let rest = std::iter::from_fn(|| names.pop()).count();
            assert_eq!(rest, left, "{passed}");
        }
    }
}
