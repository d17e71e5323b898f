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
    /// Of each: the length of its name, that, and the first path. Before those in another directory
    /// than the one before: a zero, and the path of that.
    others: SpillList,
    last_dir: Option<RelPath>,
}

impl PendingLinks {
    /// Adds a link that leads to a path that was checked.
    pub(super) fn push(&mut self, first: &RelPath, dir: &RelPath, name: &[u8]) {
        let mut record = Vec::new();
        // A path deep down is many times as long as what the sender says of a link there.
        if self.last_dir.as_ref() != Some(dir) {
            put_number(&mut record, 0);
            record.extend_from_slice(&dir.as_bytes());
            self.others.push(&record);
            record.clear();
            self.last_dir = Some(dir.clone());
        }
        put_number(&mut record, name.len() as u64);
        record.extend_from_slice(name);
        record.extend_from_slice(&first.as_bytes());
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
            dir: RelPath::root(),
        }
    }
}

/// A walk over links.
pub(super) struct LinkWalk<'a> {
    firsts: std::vec::IntoIter<PendingLink>,
    others: ListWalk<'a>,
    dir: RelPath,
}

impl Iterator for LinkWalk<'_> {
    type Item = PendingLink;

    fn next(&mut self) -> Option<PendingLink> {
        if let Some(first) = self.firsts.next() {
            return Some(first);
        }
        loop {
            let mut record = self.others.next()?;
            let len = usize::try_from(take_number(&mut record)).ok()?;
            if len == 0 {
                self.dir = RelPath::of(record);
                continue;
            }
            let (name, first) = record.split_at_checked(len)?;
            return Some(PendingLink {
                first: RelPath::of(first),
                dir: self.dir.clone(),
                name: name.to_vec(),
            });
        }
    }
}
