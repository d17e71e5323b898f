//! Records of any length by position.

use std::sync::{Mutex, PoisonError};

use super::{Room, Spill, SpillReader, put_record, take_number};

/// In the file, every so many records it is known where one begins.
const BLOCK_LEN: usize = 32;

/// Records in the order in which they were added, or in which they were sorted.
#[derive(Debug, Default)]
pub(crate) struct SpillList {
    room: Room,
    /// Each record with its length in front.
    bytes: Spill,
    starts: Starts,
    len: usize,
    /// The record that is being added to the file.
    added: Vec<u8>,
    /// The block of the file that was read last: there is likely to be another question about it.
    cache: Mutex<Block>,
}

/// Where records begin.
#[derive(Debug)]
enum Starts {
    /// In memory: of each.
    Each(Vec<u32>),
    /// In the file: of the first in each block.
    Blocks(Vec<u64>),
}

#[derive(Debug, Default)]
struct Block {
    number: Option<usize>,
    bytes: Vec<u8>,
}

impl Default for Starts {
    fn default() -> Self {
        Starts::Each(Vec::new())
    }
}

impl SpillList {
    pub(crate) fn new(room: Room) -> Self {
        SpillList {
            room,
            bytes: Spill::new(room),
            ..SpillList::default()
        }
    }

    /// Records that are in memory in another order: `starts` says where they are.
    pub(super) fn sorted(room: Room, bytes: Vec<u8>, starts: Vec<u32>) -> Self {
        SpillList {
            len: starts.len(),
            starts: Starts::Each(starts),
            bytes: Spill::from_memory(room, bytes),
            ..SpillList::new(room)
        }
    }

    pub(crate) fn room(&self) -> Room {
        self.room
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes in memory.
    pub(crate) fn memory_len(&self) -> usize {
        let starts = match &self.starts {
            Starts::Each(starts) => size_of_val(&**starts),
            Starts::Blocks(starts) => size_of_val(&**starts),
        };
        self.bytes.memory_len() + starts
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(record));
    }

    /// Adds the record that `put` writes.
    pub(crate) fn push_with(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.len += 1;
        match &mut self.starts {
            Starts::Each(starts) => {
                starts.push(self.bytes.push_record(put) as u32);
                if self.memory_len() > self.room.memory_len() {
                    self.spill();
                }
            }
            Starts::Blocks(starts) => {
                self.added.clear();
                put_record(&mut self.added, put);
                let at = self.bytes.push(&self.added);
                if self.len % BLOCK_LEN == 1 {
                    starts.push(at);
                }
                // The last block has become longer.
                let cache = self.cache.get_mut().unwrap_or_else(PoisonError::into_inner);
                cache.number = None;
            }
        }
    }

    /// Moves everything to the file, in order.
    fn spill(&mut self) {
        let mut spilled = Spill::new(self.room);
        spilled.spill();
        let mut starts = Vec::new();
        let mut walk = self.walk_from(0);
        let mut numbers = 0..;
        let mut added = Vec::new();
        while let Some((record, number)) = walk.next().zip(numbers.next()) {
            added.clear();
            put_record(&mut added, |bytes| bytes.extend_from_slice(record));
            let at = spilled.push(&added);
            if number % BLOCK_LEN == 0 {
                starts.push(at);
            }
        }
        self.bytes = spilled;
        self.starts = Starts::Blocks(starts);
    }

    /// Shows the record at `at`, if there is one.
    pub(crate) fn with<T>(&self, at: usize, see: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let starts = match &self.starts {
            Starts::Each(starts) => {
                let &start = starts.get(at)?;
                return self.in_memory(start).map(see);
            }
            Starts::Blocks(starts) => starts,
        };
        if at >= self.len {
            return None;
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let number = at / BLOCK_LEN;
        if cache.number != Some(number) {
            let &from = starts.get(number)?;
            let to = starts.get(number + 1).copied();
            let len = to.unwrap_or_else(|| self.bytes.len()).saturating_sub(from);
            cache.number = Some(number);
            cache.bytes.resize(usize::try_from(len).ok()?, 0);
            let read = self.bytes.read(from, &mut cache.bytes);
            cache.bytes.truncate(read);
        }
        let mut rest = &*cache.bytes;
        for _ in 0..at % BLOCK_LEN {
            take_record(&mut rest)?;
        }
        take_record(&mut rest).map(see)
    }

    /// The position of the first record that is not `before`, all of which are at the beginning.
    pub(crate) fn partition_point(&self, mut before: impl FnMut(&[u8]) -> bool) -> usize {
        let (mut from, mut to) = (0, self.len);
        while from < to {
            let middle = from + (to - from) / 2;
            match self.with(middle, &mut before) {
                Some(true) => from = middle + 1,
                _ => to = middle,
            }
        }
        from
    }

    fn in_memory(&self, start: u32) -> Option<&[u8]> {
        let mut rest = self.bytes.in_memory()?.get(start as usize..)?;
        take_record(&mut rest)
    }

    /// The records from the one at `first` on.
    pub(crate) fn walk_from(&self, first: usize) -> ListWalk<'_> {
        let mut reader = SpillReader::new(&self.bytes, 0, 0);
        let mut skipped = 0;
        if let Starts::Blocks(starts) = &self.starts {
            let end = self.bytes.len();
            let block = starts.get(first / BLOCK_LEN);
            let at = block.copied().unwrap_or(end);
            reader = SpillReader::new(&self.bytes, at, end);
            skipped = first % BLOCK_LEN;
        }
        let mut walk = ListWalk {
            list: self,
            next: first - skipped,
            reader,
        };
        for _ in 0..skipped {
            walk.next();
        }
        walk
    }

    /// Gives back what memory growing took in advance.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink();
        match &mut self.starts {
            Starts::Each(starts) => starts.shrink_to_fit(),
            Starts::Blocks(starts) => starts.shrink_to_fit(),
        }
    }
}

/// A walk over records in one buffer, which is why it is no iterator.
#[derive(Debug)]
pub(crate) struct ListWalk<'a> {
    list: &'a SpillList,
    next: usize,
    /// In the file.
    reader: SpillReader<'a>,
}

impl ListWalk<'_> {
    /// The position of the record that comes next.
    pub(crate) fn position(&self) -> usize {
        self.next
    }

    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let at = self.next;
        if at >= self.list.len {
            return None;
        }
        self.next += 1;
        match &self.list.starts {
            Starts::Each(starts) => self.list.in_memory(*starts.get(at)?),
            Starts::Blocks(_) => next_record(&mut self.reader),
        }
    }
}

/// The record that comes next, which is passed.
pub(super) fn next_record<'a>(reader: &'a mut SpillReader<'_>) -> Option<&'a [u8]> {
    if reader.is_at_end() {
        return None;
    }
    let len = usize::try_from(reader.number()).ok()?;
    reader.take(len)
}

fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(rest)).ok()?;
    let (record, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(record)
}
