//! Names on the way through a tree, packed: in a directory of a million names each costs itself and
//! a byte or two.

use std::sync::Arc;

use crate::spill::{Spill, put_number, take_number};

/// Names in the order in which they were added, taken from the front. A clone has the same names,
/// and takes them by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Each with its length in front.
    bytes: Arc<Spill>,
    /// Where the first one is that has not been taken.
    at: u64,
}

/// Bytes that are read of a name at once: most are shorter.
const READ_LEN: usize = 260;

impl Names {
    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Adds a name. There must be no clone yet.
    pub(crate) fn push(&mut self, name: &[u8]) {
        debug_assert_eq!(Arc::strong_count(&self.bytes), 1, "names are shared");
        if let Some(bytes) = Arc::get_mut(&mut self.bytes) {
            let mut len = Vec::with_capacity(2);
            put_number(&mut len, name.len() as u64);
            bytes.push(&len);
            bytes.push(name);
        }
    }

    /// The name in front, without taking it, and how long it is with its length.
    fn first(&self) -> Option<(Vec<u8>, u64)> {
        let mut begin = [0; READ_LEN];
        let read = self.bytes.read(self.at, &mut begin);
        let mut rest = begin.get(..read).filter(|read| !read.is_empty())?;
        let len = usize::try_from(take_number(&mut rest)).ok()?;
        let before = read - rest.len();
        let mut name = rest.get(..len).unwrap_or(rest).to_vec();
        if name.len() < len {
            let read = name.len();
            name.resize(len, 0);
            let after = self.at + (before + read) as u64;
            self.bytes.read(after, name.get_mut(read..)?);
        }
        Some((name, (before + len) as u64))
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let first = self.first();
        // Where nothing can be read, nothing follows.
        let (name, len) = first.or_else(|| {
            self.at = self.bytes.len();
            None
        })?;
        self.at += len;
        Some(name)
    }

    /// Drops all names before `name`, and `name` itself, of names in canonical order.
    pub(crate) fn pass(&mut self, name: &[u8]) {
        while let Some((first, len)) = self.first().filter(|(first, _)| &**first <= name) {
            drop(first);
            self.at += len;
        }
    }
}

impl<N: AsRef<[u8]>> FromIterator<N> for Names {
    fn from_iter<I: IntoIterator<Item = N>>(all: I) -> Self {
        let mut names = Names::default();
        all.into_iter().for_each(|name| names.push(name.as_ref()));
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
