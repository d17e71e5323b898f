//! The entries of one directory, packed: 40 bytes each besides names and what few of them have.
//! A directory of a million names is held whole on both sides, so it is here that memory counts.

use std::cmp::Ordering;

use crate::attributes::Attributes;
use crate::entry::{Body, Entry, Sum, Time};
use crate::fs::Listed;
use crate::observer::Kind;

/// Entries by position. Their order is that in which they were added, until they are sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryList {
    records: Vec<Record>,
    /// Of each record in turn: its name, the target of a symlink, and what its flags tell of.
    bytes: Vec<u8>,
}

/// What all entries have.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Where in the bytes its name begins.
    at: u64,
    secs: i64,
    /// Length of a file or of a symlink's target, or a device number.
    size: u64,
    uid: u32,
    gid: u32,
    nanos: u32,
    mode: u16,
    /// A name is 255 bytes long at most.
    name_len: u8,
    /// A [`tag`] and flags.
    tag: u8,
}

const _: () = assert!(size_of::<Record>() == 40);

const TAG_MASK: u8 = 0x0f;
/// What is known of the inode follows.
const HAS_INODE: u8 = 0x10;
/// The sum of the content follows.
const HAS_SUM: u8 = 0x20;
/// The path of the first entry of the same inode follows, with its length in front.
const HAS_LINK: u8 = 0x40;
/// The attributes follow, with their length in front.
const HAS_ATTRIBUTES: u8 = 0x80;

/// Records that a list being taken apart holds on to besides those that are left.
const SPARE_LEN: usize = 1 << 16;

/// What was decided about an entry on its way through [`EntryList::revise`].
pub(crate) enum Revised {
    Kept,
    Changed,
    Dropped,
}

impl EntryList {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let record = self.pack(entry, None);
        self.records.push(record);
    }

    /// Adds an entry with its inode.
    pub(crate) fn push_listed(&mut self, listed: &Listed) {
        let record = self.pack(&listed.entry, Some(listed));
        self.records.push(record);
    }

    fn pack(&mut self, entry: &Entry, inode: Option<&Listed>) -> Record {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(&entry.name);
        let (mut tag, size) = match &entry.body {
            Body::File { len, .. } => (0, *len),
            Body::Dir => (1, 0),
            Body::Symlink { target } => {
                self.bytes.extend_from_slice(target);
                (2, target.len() as u64)
            }
            Body::CharDevice { rdev } => (3, *rdev),
            Body::BlockDevice { rdev } => (4, *rdev),
            Body::Fifo => (5, 0),
            Body::Socket => (6, 0),
            Body::Unmirrored(Kind::File) => (7, 0),
            Body::Unmirrored(Kind::Dir) => (8, 0),
            Body::Unmirrored(Kind::Symlink) => (9, 0),
            Body::Unmirrored(Kind::Device) => (10, 0),
            Body::Unmirrored(Kind::Special) => (11, 0),
        };
        if let Some(inode) = inode {
            tag |= HAS_INODE;
            self.bytes.extend_from_slice(&inode.dev.to_le_bytes());
            self.bytes.extend_from_slice(&inode.ino.to_le_bytes());
            self.bytes.extend_from_slice(&inode.nlink.to_le_bytes());
        }
        if let Body::File { sum: Some(sum), .. } = &entry.body {
            tag |= HAS_SUM;
            self.bytes.extend_from_slice(sum);
        }
        if let Some(first) = &entry.link_to {
            tag |= HAS_LINK;
            let len = first.len() as u64;
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(first);
        }
        if !entry.attributes.is_empty() {
            tag |= HAS_ATTRIBUTES;
            let attributes = entry.attributes.as_bytes();
            let len = attributes.len() as u64;
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(attributes);
        }
        Record {
            at,
            secs: entry.mtime.secs,
            size,
            uid: entry.uid,
            gid: entry.gid,
            nanos: entry.mtime.nanos,
            mode: (entry.mode & 0o7777) as u16,
            // Names are checked where they come in, from the kernel or from a peer.
            name_len: u8::try_from(entry.name.len()).unwrap_or(u8::MAX),
            tag,
        }
    }

    /// Puts the entry at `at` into `listed`, whose buffers it uses again. `false` if there is none.
    fn unpack(&self, at: usize, listed: &mut Listed) -> bool {
        let Some(record) = self.records.get(at) else {
            return false;
        };
        let mut rest = self.bytes.get(record.at as usize..).unwrap_or_default();
        let entry = &mut listed.entry;
        let name = take(&mut rest, record.name_len.into());
        entry.name.clear();
        entry.name.extend_from_slice(name);
        entry.mode = record.mode.into();
        (entry.uid, entry.gid) = (record.uid, record.gid);
        (entry.mtime.secs, entry.mtime.nanos) = (record.secs, record.nanos);
        let target = match record.tag & TAG_MASK {
            2 => take(&mut rest, record.size),
            _ => &[],
        };
        if record.tag & HAS_INODE != 0 {
            listed.dev = u64::from_le_bytes(take_array(&mut rest));
            listed.ino = u64::from_le_bytes(take_array(&mut rest));
            listed.nlink = u32::from_le_bytes(take_array(&mut rest));
        } else {
            (listed.dev, listed.ino, listed.nlink) = (0, 0, 0);
        }
        let sum: Option<Sum> = (record.tag & HAS_SUM != 0).then(|| take_array(&mut rest));
        entry.link_to = (record.tag & HAS_LINK != 0).then(|| {
            let len = u64::from_le_bytes(take_array(&mut rest));
            take(&mut rest, len).to_vec()
        });
        entry.attributes = if record.tag & HAS_ATTRIBUTES != 0 {
            let len = u64::from_le_bytes(take_array(&mut rest));
            Attributes::from_bytes(take(&mut rest, len))
        } else {
            Attributes::default()
        };
        entry.body = match record.tag & TAG_MASK {
            0 => Body::File {
                len: record.size,
                sum,
            },
            1 => Body::Dir,
            2 => Body::Symlink {
                target: target.to_vec(),
            },
            3 => Body::CharDevice { rdev: record.size },
            4 => Body::BlockDevice { rdev: record.size },
            5 => Body::Fifo,
            6 => Body::Socket,
            7 => Body::Unmirrored(Kind::File),
            8 => Body::Unmirrored(Kind::Dir),
            9 => Body::Unmirrored(Kind::Symlink),
            10 => Body::Unmirrored(Kind::Device),
            _ => Body::Unmirrored(Kind::Special),
        };
        true
    }

    pub(crate) fn get(&self, at: usize) -> Option<Entry> {
        self.get_listed(at).map(|listed| listed.entry)
    }

    /// The entry with its inode; zeros if it was added without.
    pub(crate) fn get_listed(&self, at: usize) -> Option<Listed> {
        let mut listed = Listed::blank();
        self.unpack(at, &mut listed).then_some(listed)
    }

    pub(crate) fn name(&self, at: usize) -> Option<&[u8]> {
        self.records.get(at).map(|record| record.name(&self.bytes))
    }

    /// The names of all directories, in a list in canonical order.
    pub(crate) fn dir_names(&self) -> impl Iterator<Item = &[u8]> {
        let dirs_at = self.records.partition_point(|record| !record.is_dir());
        let dirs = self.records.iter().skip(dirs_at);
        dirs.map(|record| record.name(&self.bytes))
    }

    /// The type of the entry at `at`, and the length of a file's content or a symlink's target.
    pub(crate) fn kind_and_len(&self, at: usize) -> Option<(Kind, u64)> {
        let record = self.records.get(at)?;
        Some(match record.tag & TAG_MASK {
            0 => (Kind::File, record.size),
            1 | 8 => (Kind::Dir, 0),
            2 => (Kind::Symlink, record.size),
            9 => (Kind::Symlink, 0),
            3 | 4 | 10 => (Kind::Device, 0),
            7 => (Kind::File, 0),
            _ => (Kind::Special, 0),
        })
    }

    /// The regular file at `at`: its length, and its time.
    pub(crate) fn file(&self, at: usize) -> Option<(u64, Time)> {
        let record = self.records.get(at)?;
        let mtime = Time {
            secs: record.secs,
            nanos: record.nanos,
        };
        (record.tag & TAG_MASK == 0).then_some((record.size, mtime))
    }

    /// Whether the entry at `at` is another name of one before it.
    pub(crate) fn is_linked(&self, at: usize) -> bool {
        let record = self.records.get(at);
        record.is_some_and(|record| record.tag & HAS_LINK != 0)
    }

    /// All entries, one after another, in one buffer.
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.walk_from(0)
    }

    pub(crate) fn walk_from(&self, first: usize) -> Walk<'_> {
        Walk {
            list: self,
            next: first,
            listed: Listed::blank(),
        }
    }

    /// All entries, each by itself.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The same with their inodes.
    pub(crate) fn iter_listed(&self) -> impl Iterator<Item = Listed> {
        (0..self.len()).filter_map(|at| self.get_listed(at))
    }

    /// Brings the entries into canonical order.
    pub(crate) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.records
            .sort_unstable_by(|a, b| a.canonical_cmp(b, bytes));
    }

    /// The position of the entry of that name, whatever its type, in a list in canonical order.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let dirs_at = self.records.partition_point(|record| !record.is_dir());
        let (others, dirs) = self.records.split_at_checked(dirs_at)?;
        let in_part = |part: &[Record]| {
            part.binary_search_by(|record| record.name(&self.bytes).cmp(name))
                .ok()
        };
        in_part(others).or_else(|| in_part(dirs).map(|at| dirs_at + at))
    }

    /// Lets `decide` look at every entry, and change or drop it.
    pub(crate) fn revise(&mut self, mut decide: impl FnMut(&mut Listed) -> Revised) {
        let mut listed = Listed::blank();
        let mut kept = 0;
        for at in 0..self.records.len() {
            self.unpack(at, &mut listed);
            let record = match decide(&mut listed) {
                Revised::Dropped => continue,
                Revised::Kept => self.records.get(at).copied(),
                // What it was before stays behind in the bytes, unused.
                Revised::Changed => Some(self.pack(&listed.entry, Some(&listed))),
            };
            if let Some((slot, record)) = self.records.get_mut(kept).zip(record) {
                *slot = record;
                kept += 1;
            }
        }
        self.records.truncate(kept);
    }

    /// Keeps the entries at `positions`, which ascend, alone. `Err` is a position that does not, or
    /// that there is not.
    pub(crate) fn keep(&mut self, positions: &[u32]) -> Result<(), u32> {
        let mut least = 0;
        for (kept, &at) in positions.iter().enumerate() {
            let record = self.records.get(at as usize).filter(|_| at >= least);
            let record = *record.ok_or(at)?;
            least = at.saturating_add(1);
            if let Some(slot) = self.records.get_mut(kept) {
                *slot = record;
            }
        }
        self.records.truncate(positions.len());
        self.records.shrink_to_fit();
        Ok(())
    }

    /// Keeps the entries for which `keeps`, asked by position, says so.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        let mut positions = 0..;
        self.records
            .retain(|_| positions.next().is_some_and(&mut keeps));
    }

    /// Brings the entries into the order of their names, whatever their types.
    pub(crate) fn sort_by_name(&mut self) {
        let bytes = &self.bytes;
        self.records
            .sort_unstable_by(|a, b| a.name(bytes).cmp(b.name(bytes)));
    }

    /// Takes the last entry off the list: its name and its type. Memory is given back on the way.
    pub(crate) fn pop_name(&mut self) -> Option<(&[u8], Kind)> {
        let (kind, _) = self.kind_and_len(self.len().checked_sub(1)?)?;
        let record = self.records.pop()?;
        if self.records.len() + SPARE_LEN <= self.records.capacity() {
            self.records.shrink_to_fit();
        }
        Some((record.name(&self.bytes), kind))
    }

    /// Whether an entry in canonical order would come after all that are there.
    pub(crate) fn may_be_followed_by(&self, entry: &Entry) -> bool {
        self.records.last().is_none_or(|last| {
            let order = last
                .is_dir()
                .cmp(&entry.is_dir())
                .then_with(|| last.name(&self.bytes).cmp(&entry.name));
            order == Ordering::Less
        })
    }

    /// Gives back what memory growing took in advance.
    pub(crate) fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }
}

impl Record {
    fn is_dir(&self) -> bool {
        self.tag & TAG_MASK == 1
    }

    fn name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes.get(self.at as usize..).unwrap_or_default();
        take(&mut rest, self.name_len.into())
    }

    /// As [`Entry::canonical_cmp`].
    fn canonical_cmp(&self, other: &Record, bytes: &[u8]) -> Ordering {
        self.is_dir()
            .cmp(&other.is_dir())
            .then_with(|| self.name(bytes).cmp(other.name(bytes)))
    }
}

impl FromIterator<Entry> for EntryList {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut list = EntryList::default();
        entries.into_iter().for_each(|entry| list.push(&entry));
        list
    }
}

/// A walk over all entries in one buffer, which is why it is no iterator.
pub(crate) struct Walk<'a> {
    list: &'a EntryList,
    next: usize,
    listed: Listed,
}

impl Walk<'_> {
    pub(crate) fn next(&mut self) -> Option<&Entry> {
        let there = self.list.unpack(self.next, &mut self.listed);
        self.next += 1;
        there.then_some(&self.listed.entry)
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> &'a [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let (taken, left) = rest.split_at_checked(len).unwrap_or_default();
    *rest = left;
    taken
}

fn take_array<const LEN: usize>(rest: &mut &[u8]) -> [u8; LEN] {
    take(rest, LEN as u64)
        .first_chunk()
        .copied()
        .unwrap_or([0; LEN])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn body() -> impl Strategy<Value = Body> {
        let sum = proptest::option::of(any::<[u8; 32]>());
        let kinds = [
            Kind::File,
            Kind::Dir,
            Kind::Symlink,
            Kind::Device,
            Kind::Special,
        ];
        prop_oneof![
            (any::<u64>(), sum).prop_map(|(len, sum)| Body::File { len, sum }),
            Just(Body::Dir),
            proptest::collection::vec(1..=255_u8, 1..300)
                .prop_map(|target| Body::Symlink { target }),
            any::<u64>().prop_map(|rdev| Body::CharDevice { rdev }),
            any::<u64>().prop_map(|rdev| Body::BlockDevice { rdev }),
            Just(Body::Fifo),
            Just(Body::Socket),
            proptest::sample::select(kinds.to_vec()).prop_map(Body::Unmirrored),
        ]
    }

    fn listed() -> impl Strategy<Value = Listed> {
        let name = prop_oneof![
            proptest::collection::vec(1..=255_u8, 1..5),
            proptest::collection::vec(1..=255_u8, 255),
        ];
        let link = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
        let attributes = proptest::collection::vec(any::<u8>(), 0..20);
        let ids = (0..0o10000_u32, any::<u32>(), any::<u32>());
        let time = (any::<i64>(), 0..1_000_000_000_u32);
        let inode = (any::<u64>(), any::<u64>(), any::<u32>());
        (name, body(), (link, attributes), ids, time, inode).prop_map(
            |(
                name,
                body,
                (link_to, attributes),
                (mode, uid, gid),
                (secs, nanos),
                (dev, ino, nlink),
            )| Listed {
                entry: Entry {
                    name,
                    mode,
                    uid,
                    gid,
                    mtime: Time { secs, nanos },
                    body,
                    link_to,
                    attributes: Attributes::from_bytes(&attributes),
                },
                dev,
                ino,
                nlink,
            },
        )
    }

    fn same(list: &EntryList, entries: &[Listed]) -> bool {
        let key = |l: &Listed| (l.dev, l.ino, l.nlink);
        list.len() == entries.len()
            && list
                .iter_listed()
                .zip(entries)
                .all(|(a, b)| a.entry == b.entry && key(&a) == key(b))
    }

    proptest! {
        #[test]
        fn entries_come_back(mut all in proptest::collection::vec(listed(), 0..12)) {
            let mut list = EntryList::default();
            all.iter().for_each(|listed| list.push_listed(listed));
            prop_assert!(same(&list, &all));
            prop_assert!(list.get(all.len()).is_none());
            all.sort_by(|a, b| a.entry.canonical_cmp(&b.entry));
            all.dedup_by(|a, b| a.entry.name == b.entry.name);
            let list_of_all = EntryList::from_iter(all.iter().rev().map(|l| l.entry.clone()));
            let mut sorted = list_of_all;
            sorted.sort();
            for (at, Listed { entry, .. }) in all.iter().enumerate() {
                prop_assert_eq!(&sorted.get(at).unwrap(), entry);
                prop_assert_eq!(sorted.name(at), Some(&*entry.name));
                let len = entry.len() + entry.symlink_target().map_or(0, <[u8]>::len) as u64;
                prop_assert_eq!(sorted.kind_and_len(at), Some((entry.kind(), len)));
                prop_assert_eq!(sorted.is_linked(at), entry.link_to.is_some());
                let found = sorted.find(&entry.name).unwrap();
                prop_assert_eq!(sorted.name(found), Some(&*entry.name));
            }
            let mut walk = sorted.walk_from(1);
            let mut rest = all.iter().skip(1);
            while let Some(entry) = walk.next() {
                let expected = rest.next().unwrap();
                prop_assert_eq!(entry, &expected.entry);
            }
            prop_assert!(rest.next().is_none());
        }

        #[test]
        fn entries_are_revised(all in proptest::collection::vec(listed(), 0..12), fates: [u8; 12]) {
            let mut list = EntryList::default();
            all.iter().for_each(|listed| list.push_listed(listed));
            let mut fate = fates.iter();
            list.revise(|listed| match fate.next().unwrap() % 3 {
                0 => Revised::Kept,
                1 => {
                    listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                    Revised::Changed
                }
                _ => Revised::Dropped,
            });
            let mut expected = all;
            let mut fate = fates.iter();
            expected.retain_mut(|listed| {
                let fate = fate.next().unwrap() % 3;
                if fate == 1 {
                    listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                }
                fate != 2
            });
            prop_assert!(same(&list, &expected));
        }
    }

    #[test]
    fn positions_are_taken_in_order() {
        let entry = |name: &[u8]| {
            let mut listed = Listed::blank();
            listed.entry.name = name.to_vec();
            listed.entry
        };
        let list = EntryList::from_iter([entry(b"a"), entry(b"b"), entry(b"c")]);
        for (positions, wrong) in [(&[3][..], 3), (&[1, 1], 1), (&[2, 0], 0)] {
            assert_eq!(list.clone().keep(positions).unwrap_err(), wrong);
        }
        let mut kept = list.clone();
        kept.keep(&[0, 2]).unwrap();
        assert_eq!((kept.len(), kept.name(1)), (2, Some(&b"c"[..])));
        assert!(list.may_be_followed_by(&entry(b"d")) && !list.may_be_followed_by(&entry(b"c")));
    }
}
