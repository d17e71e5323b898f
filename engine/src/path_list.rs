//! Paths with their kinds, packed: a million entries on their way out are held at once. Of each
//! path only what sets it apart from the one before is kept, so that a list in the order of a walk
//! takes a few bytes and the end of the name for each.

use crate::fs::WhichDir;
use crate::observer::Kind;
use crate::spill::{Spill, SpillReader, put_number};

/// Paths in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct PathList {
    /// Of each path in turn: a tag; how many bytes it has in common with the one before, and how
    /// many follow, both as LEB128; those; which directory it is or is in, if that is known.
    bytes: Spill,
    len: u64,
    last: Vec<u8>,
}

/// Where in the list a walk may begin, or end.
pub(crate) type Mark = u64;

const KINDS: [Kind; 5] = [
    Kind::File,
    Kind::Dir,
    Kind::Symlink,
    Kind::Device,
    Kind::Special,
];

const MARKED: u8 = 0x80;
const IS_KNOWN: u8 = 0x40;

impl PathList {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a path, if it is known with which directory it is; of what is none, which it is in.
    pub(crate) fn push(&mut self, path: &[u8], kind: Kind, which: Option<WhichDir>, marked: bool) {
        let known = if which.is_some() { IS_KNOWN } else { 0 };
        self.push_with(path, kind, known | if marked { MARKED } else { 0 });
        if let Some(WhichDir { number, uid }) = which {
            let mut known = Vec::with_capacity(12);
            put_number(&mut known, number);
            put_number(&mut known, uid.into());
            self.bytes.push(&known);
        }
    }

    fn push_with(&mut self, path: &[u8], kind: Kind, flags: u8) {
        let same = self.last.iter().zip(path).take_while(|(a, b)| a == b);
        let shared = same.count();
        let rest = path.get(shared..).unwrap_or_default();
        let mut begin = vec![code_of(kind) | flags];
        put_number(&mut begin, shared as u64);
        put_number(&mut begin, rest.len() as u64);
        self.bytes.push(&begin);
        self.bytes.push(rest);
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        self.len += 1;
    }

    /// Marks this place in the list.
    pub(crate) fn mark(&mut self) -> Mark {
        // What follows must not lean on what a walk from here has not seen.
        self.last.clear();
        self.bytes.len()
    }

    /// All paths in order.
    pub(crate) fn walk(&self) -> PathWalk<'_> {
        self.walk_between(0, self.bytes.len())
    }

    /// The paths that were added between two marks.
    pub(crate) fn walk_between(&self, from: Mark, to: Mark) -> PathWalk<'_> {
        PathWalk {
            rest: SpillReader::new(&self.bytes, from, to),
            path: Vec::new(),
            which: None,
        }
    }
}

/// A walk over paths in one buffer, which is why it is no iterator. It begins before the first.
pub(crate) struct PathWalk<'a> {
    rest: SpillReader<'a>,
    path: Vec<u8>,
    which: Option<WhichDir>,
}

impl PathWalk<'_> {
    /// Goes on to the next path: its kind, and whether it was marked.
    pub(crate) fn advance(&mut self) -> Option<(Kind, bool)> {
        let &tag = self.rest.take(1)?.first()?;
        let kind = kind_of_code(tag & !(MARKED | IS_KNOWN))?;
        let shared = usize::try_from(self.rest.number()).ok()?;
        let len = usize::try_from(self.rest.number()).ok()?;
        let end = self.rest.take(len)?;
        self.path.truncate(shared);
        self.path.extend_from_slice(end);
        self.which = (tag & IS_KNOWN != 0).then(|| WhichDir {
            number: self.rest.number(),
            uid: self.rest.number() as u32,
        });
        Some((kind, tag & MARKED != 0))
    }

    /// Which directory has that path, or holds what has, if that is known.
    pub(crate) fn which(&self) -> Option<WhichDir> {
        self.which
    }

    /// The path that the walk is at.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }
}

/// One byte that stands for a kind, below 64.
pub(crate) fn code_of(kind: Kind) -> u8 {
    let code = KINDS.iter().position(|&known| known == kind);
    code.unwrap_or_default() as u8
}

pub(crate) fn kind_of_code(code: u8) -> Option<Kind> {
    KINDS.get(usize::from(code)).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    type Listing = (Vec<u8>, Kind, bool, Option<WhichDir>);

    fn all(mut walk: PathWalk<'_>) -> Vec<Listing> {
        let mut found = Vec::new();
        while let Some((kind, marked)) = walk.advance() {
            found.push((walk.path().to_vec(), kind, marked, walk.which()));
        }
        found
    }

    fn listing() -> impl Strategy<Value = Listing> {
        let path = proptest::collection::vec(proptest::sample::select(&b"ab/"[..]), 0..400);
        let kind = proptest::sample::select(&KINDS[..]);
        let which = proptest::option::of((any::<u64>(), any::<u32>()));
        (path, kind, any::<bool>(), which).prop_map(|(path, kind, marked, which)| {
            let which = which.map(|(number, uid)| WhichDir { number, uid });
            (path, kind, marked, which)
        })
    }

    proptest! {
        #[test]
        fn what_is_added_is_walked(
            before in proptest::collection::vec(listing(), 0..6),
            between in proptest::collection::vec(listing(), 0..6),
            after in proptest::collection::vec(listing(), 0..6),
        ) {
            let mut list = PathList::default();
            let add = |list: &mut PathList, listings: &[Listing]| {
                for (path, kind, marked, which) in listings {
                    list.push(path, *kind, *which, *marked);
                }
                list.mark()
            };
            let from = add(&mut list, &before);
            let to = add(&mut list, &between);
            add(&mut list, &after);
            prop_assert_eq!(&all(list.walk_between(from, to)), &between);
            let whole = [before, between, after].concat();
            prop_assert_eq!(list.len(), whole.len() as u64);
            prop_assert_eq!(all(list.walk()), whole);
        }
    }

    #[test]
    fn names_of_a_directory_take_their_ends() {
        let mut list = PathList::default();
        for number in 0..10_000 {
            let path = format!("srv/html/directory/picture-{number:06}.jpeg");
            list.push(path.as_bytes(), Kind::File, None, true);
        }
        assert!(list.bytes.len() < 10_000 * 12, "{}", list.bytes.len());
    }
}
