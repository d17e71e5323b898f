//! Hard links: how the target stands with those of the source, and those to be made once everything
//! else is in place, of which a tree may have millions.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use super::door::Door;
use super::removals::Ways;
use super::site::Site;
use crate::attributes::Scope;
use crate::change::{JudgedFirst, Link, Over};
use crate::compare::LinkState;
use crate::entry::Entry;
use crate::error::Error;
use crate::fs::{Inherited, Listed};
use crate::observer::Differences;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::source::stat_name;
use crate::spill::{ListWalk, SpillList, SpillMap, put_number, take_number};

/// The links of one push.
#[derive(Default)]
pub(super) struct Links {
    /// First paths that keep other content than the source's: nothing may be linked to them.
    refused: SpillMap,
    /// Entries that are as they should be, but for the first files of their groups, which are
    /// missing: of each the path of its first file.
    present: SpillMap,
    /// First files of their groups themselves: others lead to them.
    firsts: Vec<Pending>,
    /// Of each other one: the length of its name, that, what was judged, and the first path. Before
    /// those in another directory than the one before: a zero, and the path of that.
    others: SpillList,
    last_dir: Option<RelPath>,
    looked_in: Option<LookedIn>,
}

/// The directory that a first file was looked for in last: those of its neighbours are there too.
/// If this push makes another one of that path, it knows by itself what is in that.
struct LookedIn {
    dir: RelPath,
    /// `None` if there is none.
    fd: Option<OwnedFd>,
}

/// A hard link to be made.
pub(super) struct Pending {
    pub(super) first: RelPath,
    pub(super) judged: JudgedFirst,
    pub(super) dir: RelPath,
    pub(super) name: Vec<u8>,
}

impl Pending {
    /// Makes it, in place of what it may replace.
    pub(super) fn make(self, door: &mut Door, over: Over) -> Result<(), Error> {
        let Pending {
            first,
            judged,
            dir,
            name,
        } = self;
        door.link(Link {
            first,
            judged,
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
        &mut self,
        site: &mut Site,
        dir: &RelPath,
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
        let Some(local) = local else {
            return Ok(LinkState::Apart);
        };
        let Some(found) = self.look_at(&site.door, &first) else {
            return Ok(LinkState::Apart);
        };
        Ok(if (found.dev, found.ino) == (local.dev, local.ino) {
            LinkState::SameInode
        } else if site.rules.fields.at(dir).lost(entry.kind()).links
            || site.door.takes_no_name((&first, &found), (dir, local))
        {
            LinkState::Beyond
        } else {
            LinkState::Apart
        })
    }

    /// The sender is told that this entry is as it should be, and the first of its group is not.
    pub(super) fn note_present(&mut self, path: &RelPath, entry: &Entry) {
        if let Some(first) = &entry.link_to {
            self.present.insert(&path.as_bytes(), first);
        }
    }

    /// Whether the sender was told so of this entry and that first file.
    pub(super) fn is_present(&self, path: &RelPath, first: &RelPath) -> bool {
        let known = self.present.get(&path.as_bytes());
        known.is_some_and(|known| known == *first.as_bytes())
    }

    /// Makes an entry of `dir` in the end, if it is a link.
    pub(super) fn pend(&mut self, site: &Site, dir: &RelPath, entry: &Entry) -> Result<(), Error> {
        let Some(first) = &entry.link_to else {
            return Ok(());
        };
        let (first, name) = (parse(first)?, &entry.name);
        let judged = self.judge(site, &first, entry);
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
        put_number(&mut record, judged.file_type.as_raw_mode().into());
        // None is zero, which no inode has and no owner is then.
        put_number(&mut record, judged.number.unwrap_or(0));
        put_number(&mut record, judged.uid.map_or(0, |uid| u64::from(uid) + 1));
        record.extend_from_slice(&first.as_bytes());
        self.others.push(&record);
        Ok(())
    }

    /// What a link to `first` is to lead to, which is what the source has as `entry`.
    pub(super) fn judge(&mut self, site: &Site, first: &RelPath, entry: &Entry) -> JudgedFirst {
        let rules = &site.rules;
        // By the file system that it lies on, which may be mounted below the root.
        let dir = first.parent();
        let attrs = rules.made_attrs(&dir, entry, None, Inherited::default());
        let owner = Differences {
            owner: true,
            ..Differences::default()
        };
        let fields = rules.fields.at(&dir);
        let is_kept = fields.of(entry).counted(entry.kind(), owner).owner;
        JudgedFirst {
            number: self.look_at(&site.door, first).map(|found| found.ino),
            file_type: entry.body.file_type(),
            uid: attrs.uid.filter(|_| is_kept),
        }
    }

    /// What the target has at that path.
    fn look_at(&mut self, door: &Door, path: &RelPath) -> Option<Listed> {
        let (dir, name) = path.split()?;
        if self.looked_in.as_ref().is_none_or(|held| held.dir != dir) {
            let fd = door.open_dir(&dir).ok();
            self.looked_in = Some(LookedIn { dir, fd });
        }
        let fd = self.looked_in.as_ref()?.fd.as_ref()?;
        stat_name(fd, name, Scope::default()).ok()
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
        let (name, mut rest) = record.split_at_checked(len)?;
        let file_type = u32::try_from(take_number(&mut rest)).ok()?;
        let (number, uid) = (take_number(&mut rest), take_number(&mut rest));
        let judged = JudgedFirst {
            number: (number > 0).then_some(number),
            file_type: FileType::from_raw_mode(file_type),
            uid: uid.checked_sub(1).and_then(|uid| u32::try_from(uid).ok()),
        };
        return Some(Pending {
            first: RelPath::of(rest),
            judged,
            dir: dir.clone(),
            name: name.to_vec(),
        });
    }
}

/// Reads the path that a link leads to.
pub(super) fn parse(path: &[u8]) -> Result<RelPath, Error> {
    RelPath::parse(path).map_err(|error| Error::peer(Refusal::LinkTo { error }))
}
