//! What is known of files whose content comes in the end: first files of link groups, of which a
//! tree may have millions. They are put aside when the sender says so, and taken up again directory
//! by directory, in the order in which they were put aside.

use super::Receiver;
use super::content::file_entry;
use super::dirs::{DirState, Phase};
use super::verdicts::not_awaited;
use super::wanted::Wanted;
use crate::error::Error;
use crate::path::RelPath;
use crate::spill::{SpillList, put_number, take_number};
use crate::wire::DirIndex;

/// Files put aside.
#[derive(Default)]
pub(super) struct Shelf {
    /// Of a directory its number, what becomes of it and its path; then, of each file in it, its
    /// number and its entry.
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

    /// Puts a file of a directory aside. `None` if it is none, or not in order.
    fn put(&mut self, dir: DirIndex, state: &DirState, number: u32) -> Option<()> {
        let last = self.last.filter(|(last, _)| *last == dir);
        if last.is_some_and(|(_, last)| last >= number) {
            return None;
        }
        let packed = state.entries.packed(number as usize)?;
        let mut record = Vec::new();
        if last.is_none() {
            let failed = u64::from(matches!(state.phase, Phase::Failed));
            let group = state.inherited_gid.map_or(0, |gid| u64::from(gid) + 1);
            for number in [DIR, dir, failed, group] {
                put_number(&mut record, number);
            }
            record.extend_from_slice(&state.path.as_bytes());
            self.records.push(&record);
            record.clear();
        }
        put_number(&mut record, FILE);
        put_number(&mut record, number.into());
        record.extend_from_slice(&packed);
        self.records.push(&record);
        self.last = Some((dir, number));
        self.count += 1;
        Some(())
    }

    /// Takes up what was put aside of a directory, if it is the next.
    fn take(&mut self, dir: DirIndex) -> Option<DirState> {
        let parse = |mut record: &[u8]| {
            let (kind, index) = (take_number(&mut record), take_number(&mut record));
            let failed = take_number(&mut record) != 0;
            let group = take_number(&mut record).checked_sub(1);
            let path = RelPath::of(record);
            let phase = if failed {
                Phase::Dropped
            } else {
                Phase::Judged
            };
            let inherited_gid = group.map(|gid| gid as u32);
            (kind == DIR && index == dir).then(|| DirState {
                inherited_gid,
                ..DirState::new(path, phase)
            })
        };
        let mut state = self.records.with(self.next, parse).flatten()?;
        let mut numbers = Vec::new();
        let mut files = self.records.walk_from(self.next + 1);
        while let Some(mut record) = files.next() {
            if take_number(&mut record) != FILE {
                break;
            }
            let number = take_number(&mut record) as u32;
            numbers.push(number);
            state.entries.push_packed(record);
            state.wanted.insert(number, Wanted::default());
        }
        self.next += 1 + numbers.len();
        self.count -= numbers.len();
        state.numbers = Some(numbers);
        self.taken = Some(dir);
        Some(state)
    }
}

impl Receiver {
    /// The content of these files comes in the end.
    pub(super) fn later(&mut self, dir: DirIndex, numbers: &[u32]) -> Result<(), Error> {
        let mut state = self.dirs.remove(dir).ok_or_else(|| not_awaited(dir))?;
        for &number in numbers {
            file_entry(&state, dir, number)?;
            let is_due = match state.phase {
                Phase::Failed => true,
                // Whatever else is known of a file is held until it comes.
                Phase::Judged if state.wanted.known(number).is_some() => continue,
                Phase::New { .. } | Phase::Judged => state.wanted.remove(number).is_some(),
                Phase::Differs { .. } | Phase::Resumed | Phase::Dropped => false,
            };
            let put = is_due.then(|| self.shelf.put(dir, &state, number));
            put.flatten().ok_or_else(|| not_awaited(dir))?;
        }
        self.keep_if_awaited(dir, state)
    }

    /// Takes a directory whose content is awaited.
    pub(super) fn take_dir(&mut self, dir: DirIndex) -> Result<DirState, Error> {
        if let Some(state) = self.dirs.remove(dir) {
            return Ok(state);
        }
        // One at a time, or they would all be held again.
        let taken = self
            .shelf
            .taken
            .filter(|taken| self.dirs.get(*taken).is_some());
        let state = match taken {
            Some(_) => None,
            None => self.shelf.take(dir),
        };
        state.ok_or_else(|| not_awaited(dir))
    }
}
