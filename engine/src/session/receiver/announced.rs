//! Directories that have been announced as entries and not been made: of each directory those in
//! it, in the order in which they will come.

use std::collections::BTreeMap;

use super::held::check_len;
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::error::Error;
use crate::path::RelPath;

/// New directories, by the directory that they are in.
#[derive(Debug, Default)]
pub(super) struct AnnouncedDirs {
    all: BTreeMap<RelPath, Siblings>,
    memory_len: usize,
}

#[derive(Debug)]
struct Siblings {
    /// The directory that they are in is new too.
    in_new: bool,
    /// In the order of their names.
    entries: EntryList,
    taken: Vec<bool>,
    left: usize,
    /// The one that is likely to be asked for.
    next: usize,
}

impl AnnouncedDirs {
    /// Adds a directory after those before it in the same one.
    pub(super) fn add(&mut self, dir: &RelPath, entry: &Entry, in_new: bool) -> Result<(), Error> {
        let siblings = self.all.entry(dir.clone()).or_insert_with(|| {
            self.memory_len += size_of::<Siblings>() + dir.memory_len();
            Siblings::new(in_new)
        });
        let before = siblings.memory_len();
        siblings.entries.push(entry);
        siblings.taken.push(false);
        siblings.left += 1;
        // What goes to a file takes less than before.
        self.memory_len = self.memory_len + siblings.memory_len() - before;
        check_len(self.memory_len)
    }

    /// Takes the one at `path`, if it was announced.
    pub(super) fn take(&mut self, path: &RelPath) -> Option<Entry> {
        let (dir, name) = path.split()?;
        let siblings = self.all.get_mut(&dir)?;
        let at = siblings.find(name)?;
        let entry = siblings.take(at);
        self.drop_if_spent(&dir);
        entry
    }

    /// Shows all that are left, each directory before those in it.
    pub(super) fn drain(
        self,
        mut see: impl FnMut(&RelPath, &Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (dir, siblings) in self.all {
            let mut walk = siblings.entries.walk();
            for taken in siblings.taken {
                if let Some(entry) = walk.next().filter(|_| !taken) {
                    see(&dir.join(&entry.name), entry)?;
                }
            }
        }
        Ok(())
    }

    /// How many there are in directories that are new, and the path of the first.
    pub(super) fn in_new(&self) -> Option<(usize, RelPath)> {
        let mut all = self.all.iter().filter(|(_, siblings)| siblings.in_new);
        let (dir, first) = all.next()?;
        let at = first.taken.iter().position(|taken| !taken)?;
        let name = first.entries.name(at)?;
        let count = all.map(|(_, siblings)| siblings.left).sum::<usize>() + first.left;
        Some((count, dir.join(&name)))
    }

    fn drop_if_spent(&mut self, dir: &RelPath) {
        let spent = self.all.get(dir).filter(|siblings| siblings.left == 0);
        if let Some(siblings) = spent {
            let own = size_of::<Siblings>() + dir.memory_len();
            self.memory_len -= siblings.memory_len() + own;
            self.all.remove(dir);
        }
    }
}

impl Siblings {
    fn new(in_new: bool) -> Self {
        Siblings {
            in_new,
            entries: EntryList::default(),
            taken: Vec::new(),
            left: 0,
            next: 0,
        }
    }

    fn memory_len(&self) -> usize {
        self.entries.memory_len() + self.taken.len()
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let is_it = |at: usize| self.entries.name(at).is_some_and(|found| found == name);
        if is_it(self.next) {
            return Some(self.next);
        }
        let (mut from, mut to) = (0, self.entries.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if &*self.entries.name(middle)? < name {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        is_it(from).then_some(from)
    }

    fn take(&mut self, at: usize) -> Option<Entry> {
        let taken = self.taken.get_mut(at)?;
        if std::mem::replace(taken, true) {
            return None;
        }
        self.left -= 1;
        self.next = at + 1;
        self.entries.get(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fs::Listed;

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.into(),
            ..Listed::blank().entry
        }
    }

    fn path(path: &str) -> RelPath {
        RelPath::of(path.as_bytes())
    }

    #[test]
    fn what_is_announced_is_taken_once() {
        let mut dirs = AnnouncedDirs::default();
        for (dir, name, in_new) in [
            ("", "a", false),
            ("", "b", false),
            ("", "c", false),
            ("a", "x", true),
            ("a", "y", true),
        ] {
            dirs.add(&path(dir), &entry(name), in_new).unwrap();
        }
        assert_eq!(dirs.in_new(), Some((2, path("a/x"))));
        for (wanted, is_there) in [("c", true), ("a", true), ("a", false), ("d", false)] {
            assert_eq!(dirs.take(&path(wanted)).is_some(), is_there, "{wanted}");
        }
        assert!(dirs.take(&path("a/x")).is_some() && dirs.take(&path("b/x")).is_none());
        assert_eq!(dirs.in_new(), Some((1, path("a/y"))));
        let mut rest = Vec::new();
        dirs.drain(|path, _| {
            rest.push(path.clone());
            Ok(())
        })
        .unwrap();
        assert_eq!(rest, [path("b"), path("a/y")]);
    }
}
