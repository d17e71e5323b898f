//! What is known of files whose content comes in the end: first files of link groups, of which a
//! tree may have millions. They are put aside when the sender says so, and taken up again directory
//! by directory, in the order in which they were put aside.

use super::dir::{Announced, Dir, Judged};
use super::wanted::{Wanted, decode, encode};
use crate::fs::Inherited;
use crate::path::RelPath;
use crate::spill::{SpillList, put_number, take_number};
use crate::wire::DirIndex;

/// Files put aside.
#[derive(Default)]
pub(super) struct Shelf {
    /// Of a directory its number, what becomes of it and its path; then, of each file in it, what
    /// is known of its content, its number among that, and its entry.
    records: SpillList,
    /// The record that comes next.
    next: usize,
    /// The file that was put aside last.
    last: Option<(DirIndex, u32)>,
    /// The directory that was taken up last.
    taken: Option<DirIndex>,
    /// Files that have not been taken up.
    count: usize,
}

const DIR: u64 = 0;
const FILE: u64 = 1;

impl Shelf {
    /// How many files have not been taken up.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The directory that was taken up last.
    pub(super) fn taken(&self) -> Option<DirIndex> {
        self.taken
    }

    /// Puts a file of a directory aside. `None` if it is none, or not in order.
    pub(super) fn put(
        &mut self,
        (dir, state): (DirIndex, &Dir),
        number: u32,
        wanted: Wanted,
    ) -> Option<()> {
        let last = self.last.filter(|(last, _)| *last == dir);
        if last.is_some_and(|(_, last)| last >= number) {
            return None;
        }
        let list = state.list();
        let packed = list.entries.packed(list.position(number)?)?;
        let mut record = Vec::new();
        if last.is_none() {
            let failed = u64::from(state.drops());
            // None is zero.
            let one_up = |id: Option<u32>| id.map_or(0, |id| u64::from(id) + 1);
            let Inherited { gid, perms } = list.inherited;
            for number in [DIR, dir, failed, one_up(gid), one_up(perms)] {
                put_number(&mut record, number);
            }
            record.extend_from_slice(&list.path.as_bytes());
            self.records.push(&record);
            record.clear();
        }
        let known = encode(number, wanted);
        put_number(&mut record, FILE);
        put_number(&mut record, known.len() as u64);
        record.extend_from_slice(&known);
        record.extend_from_slice(&packed);
        self.records.push(&record);
        self.last = Some((dir, number));
        self.count += 1;
        Some(())
    }

    /// Takes up what was put aside of a directory, if it is the next.
    pub(super) fn take(&mut self, dir: DirIndex) -> Option<Judged> {
        let parse = |mut record: &[u8]| {
            let (kind, index) = (take_number(&mut record), take_number(&mut record));
            let is_lost = take_number(&mut record) != 0;
            let mut one_down = || Some(take_number(&mut record).checked_sub(1)? as u32);
            let (gid, perms) = (one_down(), one_down());
            let mut list = Announced::new(RelPath::of(record));
            list.inherited = Inherited { gid, perms };
            (kind == DIR && index == dir).then_some(Judged { list, is_lost })
        };
        let mut judged = self.records.with(self.next, parse).flatten()?;
        let list = &mut judged.list;
        let mut numbers = Vec::new();
        let mut files = self.records.walk_from(self.next + 1);
        while let Some(mut record) = files.next() {
            if take_number(&mut record) != FILE {
                break;
            }
            let known_len = take_number(&mut record) as usize;
            let (known, packed) = record.split_at_checked(known_len)?;
            let (number, wanted) = decode(known);
            let number = u32::try_from(number).ok()?;
            numbers.push(number);
            list.entries.push_packed(packed);
            list.wanted.insert(number, wanted);
        }
        self.next += 1 + numbers.len();
        self.count -= numbers.len();
        list.numbers = Some(numbers);
        self.taken = Some(dir);
        Some(judged)
    }
}
