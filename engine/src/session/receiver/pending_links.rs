//! Hard links to be made once everything else is in place: as many as a tree has.

use crate::path::RelPath;
use crate::spill::{ListWalk, SpillList, put_number, take_number};

/// A hard link to be made.
pub(super) struct PendingLink {
    pub(super) first: RelPath,
    pub(super) dir: RelPath,
    pub(super) name: Vec<u8>,
}

/// Links in the order in which they are made.
#[derive(Default)]
pub(super) struct PendingLinks {
    /// First files of their groups themselves: others lead to them.
    firsts: Vec<PendingLink>,
    /// Of each: the length of the first path, that, and the path of the link.
    others: SpillList,
}

impl PendingLinks {
    /// Adds a link that leads to a path that was checked.
    pub(super) fn push(&mut self, first: &RelPath, dir: &RelPath, name: &[u8]) {
        let mut record = Vec::new();
        put_number(&mut record, first.len() as u64);
        record.extend_from_slice(&first.as_bytes());
        record.extend_from_slice(&dir.join(name).as_bytes());
        self.others.push(&record);
    }

    pub(super) fn push_first(&mut self, link: PendingLink) {
        self.firsts.push(link);
    }

    /// All of them.
    pub(super) fn walk(&mut self) -> LinkWalk<'_> {
        LinkWalk {
            firsts: std::mem::take(&mut self.firsts).into_iter(),
            others: self.others.walk_from(0),
        }
    }
}

/// A walk over links.
pub(super) struct LinkWalk<'a> {
    firsts: std::vec::IntoIter<PendingLink>,
    others: ListWalk<'a>,
}

impl Iterator for LinkWalk<'_> {
    type Item = PendingLink;

    fn next(&mut self) -> Option<PendingLink> {
        self.firsts.next().or_else(|| {
            let mut record = self.others.next()?;
            let len = usize::try_from(take_number(&mut record)).ok()?;
            let (first, path) = record.split_at_checked(len)?;
            let path = RelPath::of(path);
            let (dir, name) = path.split()?;
            let name = name.to_vec();
            let first = RelPath::of(first);
            Some(PendingLink { first, dir, name })
        })
    }
}
