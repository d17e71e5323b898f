//! The entries of one directory, packed: about 20 bytes each besides their names and what few of
//! them have. A directory of a million names is held whole on both sides, so it is here that memory
//! counts; what is more than that goes to a file.

mod record;

use std::cmp::Ordering;

use crate::entry::Entry;
use crate::fs::{Listed, WhichDir};
use crate::observer::Kind;
use crate::since::Meta;
use crate::spill::{ListWalk, Room, SpillList, SpillSorter};

use record::{Record, canonical_key, is_dir, name_of, pack};

/// Entries by position, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct EntryList {
    records: SpillList,
    /// The directory that they were found in, if they were found in one.
    pub(crate) found_in: Option<WhichDir>,
}

/// Entries on their way into canonical order.
#[derive(Debug)]
pub(crate) struct EntrySorter {
    records: SpillSorter,
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
            records: SpillSorter::new(room, canonical_key),
        }
    }

    /// Adds an entry, with its inode if that is wanted.
    pub(crate) fn push(&mut self, listed: &Listed, with_inode: bool) {
        let inode = with_inode.then_some(listed);
        self.records
            .push_with(|record| pack(&listed.entry, inode, record));
    }

    pub(crate) fn finish(self) -> EntryList {
        EntryList {
            records: self.records.finish(),
            found_in: None,
        }
    }
}

impl EntryList {
    fn new(room: Room) -> Self {
        EntryList {
            records: SpillList::new(room),
            found_in: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes in memory.
    pub(crate) fn memory_len(&self) -> usize {
        self.records.memory_len()
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        self.records.push_with(|record| pack(entry, None, record));
    }

    /// Adds an entry with its inode.
    pub(crate) fn push_listed(&mut self, listed: &Listed) {
        let pack = |record: &mut Vec<u8>| pack(&listed.entry, Some(listed), record);
        self.records.push_with(pack);
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

    /// Rows of directories, in a list in canonical order, that would come in another one if a slash
    /// were behind each name: the first and the last of each row.
    pub(crate) fn rows_of_siblings(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let (mut first, mut is_row) = (Vec::new(), false);
        let mut dirs = self.records.walk_from(self.dirs_at());
        while let Some(name) = dirs.next().map(name_of) {
            let more = name.strip_prefix(&*first).filter(|_| !first.is_empty());
            let goes_on = more.is_some_and(|more| more.first() < Some(&b'/'));
            match rows.last_mut().filter(|_| goes_on && is_row) {
                Some((_, last)) => name.clone_into(last),
                None if goes_on => rows.push((first.clone(), name.to_vec())),
                None => name.clone_into(&mut first),
            }
            is_row = goes_on;
        }
        rows
    }

    /// The type of the entry at `at`, and the length of a file's content or a symlink's target.
    pub(crate) fn kind_and_len(&self, at: usize) -> Option<(Kind, u64)> {
        self.with(at, |record| record.kind_and_len())
    }

    /// The regular file at `at`: its length, and its metadata.
    pub(crate) fn file(&self, at: usize) -> Option<(u64, Meta)> {
        self.with(at, |record| record.file()).flatten()
    }

    /// Whether the entry at `at` is another name of one before it.
    pub(crate) fn is_linked(&self, at: usize) -> bool {
        self.with(at, |record| record.is_linked()) == Some(true)
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
    #[cfg(test)]
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
                    revised.push_with(|record| pack(&listed.entry, Some(&listed), record));
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

    /// The names with their types, and with which directory each is if that is known: the last name
    /// first, whatever the types, of a list in canonical order.
    pub(crate) fn names_down(&self) -> impl Iterator<Item = (Vec<u8>, Kind, Option<WhichDir>)> {
        let dirs_at = self.dirs_at();
        let named = move |at: usize| {
            self.with(at, |record| {
                let (name, kind) = (record.name.to_vec(), record.kind_and_len().0);
                (name, kind, record.which_dir())
            })
        };
        let down = |from: usize, to: usize| (from..to).rev().filter_map(named).peekable();
        let (mut others, mut dirs) = (down(0, dirs_at), down(dirs_at, self.len()));
        std::iter::from_fn(move || match (others.peek(), dirs.peek()) {
            (Some((other, ..)), Some((dir, ..))) if other > dir => others.next(),
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

    /// Whether a directory from position `first` on has the name of something else, in a list in
    /// canonical order. So much else is `passed`: no directory that comes later has its name.
    pub(crate) fn repeats_a_name(&self, first: usize, passed: &mut usize) -> bool {
        let dirs_at = self.dirs_at();
        let mut dirs = self.records.walk_from(dirs_at.max(first));
        let mut others = Part {
            records: self.records.walk_from(*passed),
            end: dirs_at,
            next: None,
        };
        while let Some(dir) = dirs.next() {
            if others.find(name_of(dir)).is_some() {
                return true;
            }
        }
        *passed = others
            .next
            .map_or_else(|| others.records.position(), |(_, at)| at);
        false
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

#[cfg(test)]
mod tests;
