//! The entries of one directory, packed: about 20 bytes each besides their names and what few of
//! them have. A directory of a million names is held whole on both sides, so it is here that memory
//! counts; what is more than that goes to a file.

use std::cmp::Ordering;

use crate::attributes::Attributes;
use crate::entry::{Body, Entry, Sum, Time};
use crate::fs::Listed;
use crate::observer::Kind;
use crate::spill::{ListWalk, Room, SpillList, SpillSorter, put_number, take_number};

/// Entries by position, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct EntryList {
    records: SpillList,
}

/// Entries on their way into canonical order.
#[derive(Debug)]
pub(crate) struct EntrySorter {
    records: SpillSorter,
    packed: Vec<u8>,
}

/// What was decided about an entry on its way through [`EntryList::revise`].
pub(crate) enum Revised {
    Kept,
    Changed,
    Dropped,
}

impl EntrySorter {
    pub(crate) fn new(room: Room) -> Self {
        EntrySorter {
            records: SpillSorter::new(room, canonical_cmp),
            packed: Vec::new(),
        }
    }

    /// Adds an entry, with its inode if that is wanted.
    pub(crate) fn push(&mut self, listed: &Listed, with_inode: bool) {
        self.packed.clear();
        let inode = with_inode.then_some(listed);
        pack(&listed.entry, inode, &mut self.packed);
        self.records.push(&self.packed);
    }

    pub(crate) fn finish(self) -> EntryList {
        EntryList {
            records: self.records.finish(),
        }
    }
}

impl EntryList {
    fn new(room: Room) -> Self {
        EntryList {
            records: SpillList::new(room),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let mut packed = Vec::with_capacity(64);
        pack(entry, None, &mut packed);
        self.records.push(&packed);
    }

    /// Adds an entry with its inode.
    pub(crate) fn push_listed(&mut self, listed: &Listed) {
        let mut packed = Vec::with_capacity(64);
        pack(&listed.entry, Some(listed), &mut packed);
        self.records.push(&packed);
    }

    /// The entry at `at` as it is packed.
    pub(crate) fn packed(&self, at: usize) -> Option<Vec<u8>> {
        self.records.with(at, <[u8]>::to_vec)
    }

    /// Adds what [`packed`](Self::packed) has given.
    pub(crate) fn push_packed(&mut self, packed: &[u8]) {
        self.records.push(packed);
    }

    fn with<T>(&self, at: usize, see: impl FnOnce(Record<'_>) -> T) -> Option<T> {
        self.records.with(at, |record| see(Record::parse(record)))
    }

    pub(crate) fn get(&self, at: usize) -> Option<Entry> {
        self.get_listed(at).map(|listed| listed.entry)
    }

    /// The entry with its inode; zeros if it was added without.
    pub(crate) fn get_listed(&self, at: usize) -> Option<Listed> {
        let mut listed = Listed::blank();
        self.with(at, |record| record.unpack(&mut listed))?;
        Some(listed)
    }

    pub(crate) fn name(&self, at: usize) -> Option<Vec<u8>> {
        self.with(at, |record| record.name.to_vec())
    }

    /// Where directories begin, in a list in canonical order.
    fn dirs_at(&self) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.records.with(middle, is_dir) {
                Some(false) => from = middle + 1,
                Some(true) | None => to = middle,
            }
        }
        from
    }

    /// The names of all directories, in a list in canonical order.
    pub(crate) fn dir_names(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut dirs = self.records.walk_from(self.dirs_at());
        std::iter::from_fn(move || dirs.next().map(|record| name_of(record).to_vec()))
    }

    /// The type of the entry at `at`, and the length of a file's content or a symlink's target.
    pub(crate) fn kind_and_len(&self, at: usize) -> Option<(Kind, u64)> {
        self.with(at, |record| record.kind_and_len())
    }

    /// The regular file at `at`: its length, and its time.
    pub(crate) fn file(&self, at: usize) -> Option<(u64, Time)> {
        let found = self.with(at, |record| {
            (record.tag & TAG_MASK == 0).then_some((record.size, record.mtime))
        });
        found.flatten()
    }

    /// Whether the entry at `at` is another name of one before it.
    pub(crate) fn is_linked(&self, at: usize) -> bool {
        self.with(at, |record| record.tag & HAS_LINK != 0) == Some(true)
    }

    /// All entries, one after another, in one buffer.
    pub(crate) fn walk(&self) -> Walk<'_> {
        self.walk_from(0)
    }

    pub(crate) fn walk_from(&self, first: usize) -> Walk<'_> {
        Walk {
            records: self.records.walk_from(first),
            listed: Listed::blank(),
        }
    }

    /// All entries, each by itself.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.iter_listed().map(|listed| listed.entry)
    }

    /// The same with their inodes.
    pub(crate) fn iter_listed(&self) -> impl Iterator<Item = Listed> {
        let mut walk = self.walk();
        std::iter::from_fn(move || walk.next_listed().cloned())
    }

    /// Finds the entries of names that are asked for in canonical order, in a list that is so too.
    pub(crate) fn finder(&self) -> Finder<'_> {
        let dirs_at = self.dirs_at();
        let part = |from, to| Part {
            records: self.records.walk_from(from),
            end: to,
            next: None,
        };
        Finder {
            asked_dirs: false,
            parts: [part(0, dirs_at), part(dirs_at, self.len())],
            list: self,
            dirs_at,
        }
    }

    /// The first so many records, to be followed by others.
    fn copy_until(&self, end: usize) -> SpillList {
        let mut copy = SpillList::new(self.records.room());
        let mut walk = self.records.walk_from(0);
        while walk.position() < end
            && let Some(record) = walk.next()
        {
            copy.push(record);
        }
        copy
    }

    /// Lets `decide` look at every entry, and change or drop it.
    pub(crate) fn revise(&mut self, mut decide: impl FnMut(&mut Listed) -> Revised) {
        let mut listed = Listed::blank();
        let mut packed = Vec::new();
        // Most lists stay as they are.
        let mut revised: Option<SpillList> = None;
        let mut walk = self.records.walk_from(0);
        loop {
            let at = walk.position();
            let Some(record) = walk.next() else {
                break;
            };
            Record::parse(record).unpack(&mut listed);
            let fate = decide(&mut listed);
            if matches!(fate, Revised::Kept) && revised.is_none() {
                continue;
            }
            let revised = revised.get_or_insert_with(|| self.copy_until(at));
            match fate {
                Revised::Kept => revised.push(record),
                Revised::Dropped => {}
                Revised::Changed => {
                    packed.clear();
                    pack(&listed.entry, Some(&listed), &mut packed);
                    revised.push(&packed);
                }
            }
        }
        drop(walk);
        if let Some(revised) = revised {
            self.records = revised;
        }
    }

    /// Keeps the entries at `positions`, which ascend, alone. `Err` is a position that does not, or
    /// that there is not.
    pub(crate) fn keep(&mut self, positions: &[u32]) -> Result<(), u32> {
        let mut kept = SpillList::new(self.records.room());
        let mut least = 0;
        for &at in positions {
            let there = (at >= least).then(|| self.records.with(at as usize, |r| kept.push(r)));
            there.flatten().ok_or(at)?;
            least = at.saturating_add(1);
        }
        self.records = kept;
        Ok(())
    }

    /// Keeps the entries for which `keeps`, asked by position, says so.
    pub(crate) fn retain(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        let mut kept = SpillList::new(self.records.room());
        let mut walk = self.records.walk_from(0);
        loop {
            let at = walk.position();
            match walk.next() {
                Some(record) if keeps(at) => kept.push(record),
                Some(_) => {}
                None => break,
            }
        }
        drop(walk);
        self.records = kept;
    }

    /// The names with their types, the last name first, whatever the types, of a list in canonical
    /// order.
    pub(crate) fn names_down(&self) -> impl Iterator<Item = (Vec<u8>, Kind)> {
        let dirs_at = self.dirs_at();
        let named = move |at: usize| {
            self.with(at, |record| (record.name.to_vec(), record.kind_and_len().0))
        };
        let down = |from: usize, to: usize| (from..to).rev().filter_map(named).peekable();
        let (mut others, mut dirs) = (down(0, dirs_at), down(dirs_at, self.len()));
        std::iter::from_fn(move || match (others.peek(), dirs.peek()) {
            (Some((other, _)), Some((dir, _))) if other > dir => others.next(),
            (_, Some(_)) => dirs.next(),
            _ => others.next(),
        })
    }

    /// Whether an entry in canonical order would come after all that are there.
    pub(crate) fn may_be_followed_by(&self, entry: &Entry) -> bool {
        let Some(last) = self.len().checked_sub(1) else {
            return true;
        };
        let order = self.records.with(last, |last| {
            let types = is_dir(last).cmp(&entry.is_dir());
            types.then_with(|| name_of(last).cmp(&entry.name))
        });
        order == Some(Ordering::Less)
    }

    /// Gives back what memory growing took in advance.
    pub(crate) fn shrink(&mut self) {
        self.records.shrink();
    }
}

impl Default for EntryList {
    fn default() -> Self {
        EntryList::new(Room::of_directory())
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
    records: ListWalk<'a>,
    listed: Listed,
}

impl Walk<'_> {
    pub(crate) fn next(&mut self) -> Option<&Entry> {
        self.next_listed().map(|listed| &listed.entry)
    }

    fn next_listed(&mut self) -> Option<&Listed> {
        let record = self.records.next()?;
        Record::parse(record).unpack(&mut self.listed);
        Some(&self.listed)
    }
}

/// See [`EntryList::finder`].
pub(crate) struct Finder<'a> {
    list: &'a EntryList,
    dirs_at: usize,
    /// What is no directory, and directories: an entry may have become the other.
    parts: [Part<'a>; 2],
    /// The names asked for are those of directories by now, and begin anew.
    asked_dirs: bool,
}

/// One of the two ascending parts of a list.
struct Part<'a> {
    records: ListWalk<'a>,
    end: usize,
    /// The first name that has not been passed, and its position.
    next: Option<(Vec<u8>, usize)>,
}

impl Finder<'_> {
    /// The position of the entry of that name, whatever its type.
    pub(crate) fn find(&mut self, asked: &Entry) -> Option<usize> {
        if asked.is_dir() && !std::mem::replace(&mut self.asked_dirs, true) {
            for (part, from) in self.parts.iter_mut().zip([0, self.dirs_at]) {
                part.records = self.list.records.walk_from(from);
                part.next = None;
            }
        }
        let mut parts = self.parts.iter_mut();
        parts.find_map(|part| part.find(&asked.name))
    }
}

impl Part<'_> {
    fn find(&mut self, name: &[u8]) -> Option<usize> {
        loop {
            if let Some((next, at)) = &self.next {
                match next.as_slice().cmp(name) {
                    Ordering::Less => self.next = None,
                    Ordering::Equal => return Some(*at),
                    Ordering::Greater => return None,
                }
            }
            let at = self.records.position();
            if at >= self.end {
                return None;
            }
            self.next = Some((name_of(self.records.next()?).to_vec(), at));
        }
    }
}

const TAG_MASK: u8 = 0x0f;
/// What is known of the inode follows.
const HAS_INODE: u8 = 0x10;
/// The sum of the content follows.
const HAS_SUM: u8 = 0x20;
/// The path of the first entry of the same inode follows.
const HAS_LINK: u8 = 0x40;
/// The attributes follow.
const HAS_ATTRIBUTES: u8 = 0x80;

/// Above the mode: the time is before 1970 or after 2106, and has eight bytes.
const HAS_FAR_TIME: u16 = 0x8000;

/// An entry as it is packed. Numbers are LEB128 where small ones are likely.
struct Record<'a> {
    /// A type and flags.
    tag: u8,
    name: &'a [u8],
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: Time,
    /// Length of a file or of a symlink's target, or a device number.
    size: u64,
    /// The target of a symlink, and what the flags tell of.
    rest: &'a [u8],
}

fn pack(entry: &Entry, inode: Option<&Listed>, out: &mut Vec<u8>) {
    let (mut tag, size) = match &entry.body {
        Body::File { len, .. } => (0, *len),
        Body::Dir => (DIR_TAG, 0),
        Body::Symlink { target } => (2, target.len() as u64),
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
    let sum = match &entry.body {
        Body::File { sum, .. } => sum.as_ref(),
        _ => None,
    };
    let near = u32::try_from(entry.mtime.secs);
    let flags = [
        (inode.is_some(), HAS_INODE),
        (sum.is_some(), HAS_SUM),
        (entry.link_to.is_some(), HAS_LINK),
        (!entry.attributes.is_empty(), HAS_ATTRIBUTES),
    ];
    for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
        tag |= flag;
    }
    out.push(tag);
    put_bytes(out, &entry.name);
    let far = if near.is_err() { HAS_FAR_TIME } else { 0 };
    out.extend_from_slice(&((entry.mode & 0o7777) as u16 | far).to_le_bytes());
    put_number(out, entry.uid.into());
    put_number(out, entry.gid.into());
    match near {
        Ok(secs) => out.extend_from_slice(&secs.to_le_bytes()),
        Err(_) => out.extend_from_slice(&entry.mtime.secs.to_le_bytes()),
    }
    out.extend_from_slice(&entry.mtime.nanos.to_le_bytes());
    put_number(out, size);
    out.extend_from_slice(entry.symlink_target().unwrap_or_default());
    if let Some(inode) = inode {
        put_number(out, inode.dev);
        put_number(out, inode.ino);
        put_number(out, inode.nlink.into());
    }
    out.extend_from_slice(sum.map_or(&[], |sum| &sum[..]));
    if let Some(first) = &entry.link_to {
        put_bytes(out, first);
    }
    if !entry.attributes.is_empty() {
        put_bytes(out, entry.attributes.as_bytes());
    }
}

const DIR_TAG: u8 = 1;

fn is_dir(record: &[u8]) -> bool {
    record.first().is_some_and(|tag| tag & TAG_MASK == DIR_TAG)
}

fn name_of(record: &[u8]) -> &[u8] {
    let mut rest = record.get(1..).unwrap_or_default();
    take_bytes(&mut rest)
}

/// As [`Entry::canonical_cmp`].
fn canonical_cmp(a: &[u8], b: &[u8]) -> Ordering {
    let types = is_dir(a).cmp(&is_dir(b));
    types.then_with(|| name_of(a).cmp(name_of(b)))
}

impl<'a> Record<'a> {
    fn parse(record: &'a [u8]) -> Self {
        let mut rest = record;
        let [tag] = take_array(&mut rest);
        let name = take_bytes(&mut rest);
        let mode = u16::from_le_bytes(take_array(&mut rest));
        let uid = take_number(&mut rest) as u32;
        let gid = take_number(&mut rest) as u32;
        let secs = match mode & HAS_FAR_TIME {
            0 => u32::from_le_bytes(take_array(&mut rest)).into(),
            _ => i64::from_le_bytes(take_array(&mut rest)),
        };
        let nanos = u32::from_le_bytes(take_array(&mut rest));
        let size = take_number(&mut rest);
        Record {
            tag,
            name,
            mode: mode & !HAS_FAR_TIME,
            uid,
            gid,
            mtime: Time { secs, nanos },
            size,
            rest,
        }
    }

    fn kind_and_len(&self) -> (Kind, u64) {
        match self.tag & TAG_MASK {
            0 => (Kind::File, self.size),
            DIR_TAG | 8 => (Kind::Dir, 0),
            2 => (Kind::Symlink, self.size),
            9 => (Kind::Symlink, 0),
            3 | 4 | 10 => (Kind::Device, 0),
            7 => (Kind::File, 0),
            _ => (Kind::Special, 0),
        }
    }

    /// Puts the entry into `listed`, whose buffers it uses again.
    fn unpack(self, listed: &mut Listed) {
        let Record { tag, mut rest, .. } = self;
        let entry = &mut listed.entry;
        entry.name.clear();
        entry.name.extend_from_slice(self.name);
        entry.mode = self.mode.into();
        (entry.uid, entry.gid) = (self.uid, self.gid);
        entry.mtime = self.mtime;
        let target = match tag & TAG_MASK {
            2 => take(&mut rest, self.size),
            _ => &[],
        };
        (listed.dev, listed.ino, listed.nlink) = match tag & HAS_INODE {
            0 => (0, 0, 0),
            _ => {
                let (dev, ino) = (take_number(&mut rest), take_number(&mut rest));
                (dev, ino, take_number(&mut rest) as u32)
            }
        };
        let sum: Option<Sum> = (tag & HAS_SUM != 0).then(|| take_array(&mut rest));
        entry.link_to = (tag & HAS_LINK != 0).then(|| take_bytes(&mut rest).to_vec());
        entry.attributes = match tag & HAS_ATTRIBUTES {
            0 => Attributes::default(),
            _ => Attributes::from_bytes(take_bytes(&mut rest)),
        };
        entry.body = match tag & TAG_MASK {
            0 => Body::File {
                len: self.size,
                sum,
            },
            DIR_TAG => Body::Dir,
            2 => Body::Symlink {
                target: target.to_vec(),
            },
            3 => Body::CharDevice { rdev: self.size },
            4 => Body::BlockDevice { rdev: self.size },
            5 => Body::Fifo,
            6 => Body::Socket,
            7 => Body::Unmirrored(Kind::File),
            8 => Body::Unmirrored(Kind::Dir),
            9 => Body::Unmirrored(Kind::Symlink),
            10 => Body::Unmirrored(Kind::Device),
            _ => Body::Unmirrored(Kind::Special),
        };
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = take_number(rest);
    take(rest, len)
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
    use std::collections::HashSet;

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

    /// Rooms in which nothing, little and everything is in memory.
    fn rooms() -> [Room; 3] {
        [0, 600, 1 << 20].map(Room::small)
    }

    fn sorted(room: Room, all: &[Listed]) -> EntryList {
        let mut sorter = EntrySorter::new(room);
        all.iter().for_each(|listed| sorter.push(listed, true));
        sorter.finish()
    }

    fn listings() -> impl Strategy<Value = Vec<Listed>> {
        proptest::collection::vec(listed(), 0..100)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn entries_come_back(mut all in listings()) {
            for room in rooms() {
                let mut list = EntryList::new(room);
                all.iter().for_each(|listed| list.push_listed(listed));
                prop_assert!(same(&list, &all));
                prop_assert!(list.get(all.len()).is_none());
            }
            all.sort_by(|a, b| a.entry.canonical_cmp(&b.entry));
            let mut names = HashSet::new();
            all.retain(|listed| names.insert(listed.entry.name.clone()));
            for room in rooms() {
                let shuffled: Vec<Listed> = all.iter().rev().cloned().collect();
                let list = sorted(room, &shuffled);
                prop_assert!(same(&list, &all));
                let mut finder = list.finder();
                for (at, Listed { entry, .. }) in all.iter().enumerate() {
                    prop_assert_eq!(&list.get(at).unwrap(), entry);
                    prop_assert_eq!(list.name(at), Some(entry.name.clone()));
                    let len = entry.len() + entry.symlink_target().map_or(0, <[u8]>::len) as u64;
                    prop_assert_eq!(list.kind_and_len(at), Some((entry.kind(), len)));
                    prop_assert_eq!(list.is_linked(at), entry.link_to.is_some());
                    let found = finder.find(entry).unwrap();
                    prop_assert_eq!(list.name(found), Some(entry.name.clone()));
                }
                for first in [1, 33, 40] {
                    let mut walk = list.walk_from(first);
                    let mut rest = all.iter().skip(first);
                    while let Some(entry) = walk.next() {
                        prop_assert_eq!(entry, &rest.next().unwrap().entry);
                    }
                    prop_assert!(rest.next().is_none());
                }
                let dirs = all.iter().filter(|listed| listed.entry.is_dir());
                let dirs: Vec<Vec<u8>> = dirs.map(|dir| dir.entry.name.clone()).collect();
                prop_assert_eq!(list.dir_names().collect::<Vec<_>>(), dirs);
                let mut down: Vec<_> = all.iter().map(|l| (l.entry.name.clone(), l.entry.kind())).collect();
                down.sort_by(|a, b| b.0.cmp(&a.0));
                prop_assert_eq!(list.names_down().collect::<Vec<_>>(), down);
            }
        }

        #[test]
        fn names_are_found_whatever_their_types(all in listings(), there in listings()) {
            for room in rooms() {
                let list = sorted(room, &there);
                let asked = sorted(room, &all);
                let mut finder = list.finder();
                let mut walk = asked.walk();
                while let Some(entry) = walk.next() {
                    let found = finder.find(entry).and_then(|at| list.name(at));
                    let expected = there.iter().find(|listed| listed.entry.name == entry.name);
                    prop_assert_eq!(found.as_ref(), expected.map(|listed| &listed.entry.name));
                }
            }
        }

        #[test]
        fn entries_are_revised(all in listings(), fates: [u8; 10]) {
            for room in rooms() {
                let mut list = EntryList::new(room);
                all.iter().for_each(|listed| list.push_listed(listed));
                let mut fate = fates.iter().cycle();
                list.revise(|listed| match fate.next().unwrap() % 3 {
                    0 => Revised::Kept,
                    1 => {
                        listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                        Revised::Changed
                    }
                    _ => Revised::Dropped,
                });
                let mut expected = all.clone();
                let mut fate = fates.iter().cycle();
                expected.retain_mut(|listed| {
                    let fate = fate.next().unwrap() % 3;
                    if fate == 1 {
                        listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                    }
                    fate != 2
                });
                prop_assert!(same(&list, &expected));
                list.retain(|at| at % 3 == 1);
                let every_third: Vec<Listed> = expected.iter().skip(1).step_by(3).cloned().collect();
                prop_assert!(same(&list, &every_third));
            }
        }
    }

    #[test]
    fn positions_are_taken_in_order() {
        let entry = |name: &[u8]| {
            let mut listed = Listed::blank();
            listed.entry.name = name.to_vec();
            listed.entry
        };
        let list = || EntryList::from_iter([entry(b"a"), entry(b"b"), entry(b"c")]);
        for (positions, wrong) in [(&[3][..], 3), (&[1, 1], 1), (&[2, 0], 0)] {
            assert_eq!(list().keep(positions).unwrap_err(), wrong);
        }
        let mut kept = list();
        kept.keep(&[0, 2]).unwrap();
        assert_eq!((kept.len(), kept.name(1)), (2, Some(b"c".to_vec())));
        assert!(kept.may_be_followed_by(&entry(b"d")) && !kept.may_be_followed_by(&entry(b"c")));
    }
}
