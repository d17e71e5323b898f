//! Hard links: how the target stands with those of the source, and those to be made once everything
//! else is in place, of which a tree may have millions.

use super::door::Door;
use super::removals::Ways;
use super::site::Site;
use crate::change::{Link, Over};
use crate::compare::LinkState;
use crate::entry::Entry;
use crate::error::Error;
use crate::fs::Listed;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::spill::{ListWalk, SpillList, SpillMap, put_number, take_number};

/// The links of one push.
#[derive(Default)]
pub(super) struct Links {
    /// First paths that keep other content than the source's: nothing may be linked to them.
    refused: SpillMap,
    /// First files of their groups themselves: others lead to them.
    firsts: Vec<Pending>,
    /// Of each other one: the length of its name, that, and the first path. Before those in another
    /// directory than the one before: a zero, and the path of that.
    others: SpillList,
    last_dir: Option<RelPath>,
}

/// A hard link to be made.
pub(super) struct Pending {
    pub(super) first: RelPath,
    pub(super) dir: RelPath,
    pub(super) name: Vec<u8>,
}

impl Pending {
    /// Makes it, in place of what it may replace.
    pub(super) fn make(self, door: &mut Door, over: Over) -> Result<(), Error> {
        let Pending { first, dir, name } = self;
        door.link(Link {
            first,
            judged: None,
            dir,
            name,
            over,
        })
    }
}

impl Links {
    /// Lets nothing be linked to what is at this path.
    pub(super) fn refuse(&mut self, path: &RelPath) {
        self.refused.insert(&path.as_bytes(), b"");
    }

    /// How the target stands with the hard link that the source's entry is.
    pub(super) fn state(
        &self,
        door: &Door,
        entry: &Entry,
        local: Option<&Listed>,
    ) -> Result<LinkState, Error> {
        let Some(first) = &entry.link_to else {
            return Ok(LinkState::NotLinked);
        };
        let first = parse(first)?;
        if self.refused.contains(&first.as_bytes()) {
            return Ok(LinkState::NotLinked);
        }
        let inode = first.split().and_then(|(dir, name)| {
            let listed = door.look(&dir, name).ok()?;
            Some((listed.dev, listed.ino))
        });
        let same = local.is_some_and(|local| inode == Some((local.dev, local.ino)));
        Ok(if same {
            LinkState::SameInode
        } else {
            LinkState::Apart
        })
    }

    /// Makes an entry of `dir` in the end, if it is a link.
    pub(super) fn pend(&mut self, dir: &RelPath, entry: &Entry) -> Result<(), Error> {
        let Some(first) = &entry.link_to else {
            return Ok(());
        };
        let (first, name) = (parse(first)?, &entry.name);
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
        Ok(())
    }

    /// Makes a first file of a group before those that lead to it.
    pub(super) fn pend_first(&mut self, link: Pending) {
        self.firsts.push(link);
    }

    /// Makes all of them, now that what they lead to is in place.
    pub(super) fn carry_out(self, site: &mut Site, ways: &Ways) -> Result<(), Error> {
        let mut dir = RelPath::root();
        let mut records = self.others.walk_from(0);
        let others = std::iter::from_fn(|| next_link(&mut records, &mut dir));
        for link in self.firsts.into_iter().chain(others) {
            if let Some(over) = ways.over(&link.dir.join(&link.name)) {
                link.make(&mut site.door, over)?;
            }
        }
        site.door.run()
    }
}

/// The link that comes next. Those in one directory follow it.
fn next_link(records: &mut ListWalk<'_>, dir: &mut RelPath) -> Option<Pending> {
    loop {
        let mut record = records.next()?;
        let len = usize::try_from(take_number(&mut record)).ok()?;
        if len == 0 {
            *dir = RelPath::of(record);
            continue;
        }
        let (name, first) = record.split_at_checked(len)?;
        return Some(Pending {
            first: RelPath::of(first),
            dir: dir.clone(),
            name: name.to_vec(),
        });
    }
}

/// Reads the path that a link leads to.
pub(super) fn parse(path: &[u8]) -> Result<RelPath, Error> {
    RelPath::parse(path).map_err(|error| Error::peer(Refusal::LinkTo { error }))
}
