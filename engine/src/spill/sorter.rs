//! Bringing records into an order of their own, however many there are: what fits into memory is
//! sorted there, and such runs are merged. Of records that stand alike one is kept: a name that
//! changes while its directory is read can come up twice.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::list::next_record;
use super::{Room, Spill, SpillList, SpillReader, put_number, put_record, take_number};

/// What records are ordered by: those without the mark come first, each kind by the bytes.
pub(crate) type Key = for<'a> fn(&'a [u8]) -> (bool, &'a [u8]);

/// Room for the records of most directories, and for where they begin: growing into it would take
/// longer than to sort them.
const BYTES_LEN: usize = 4 << 10;
const STARTS_LEN: usize = 128;

/// Records on their way into order.
#[derive(Debug)]
pub(crate) struct SpillSorter {
    room: Room,
    key: Key,
    /// Those of the run that is being collected, each with its length in front.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// Sorted runs, one after another.
    spilled: Spill,
    runs: Vec<Range<u64>>,
}

impl SpillSorter {
    pub(crate) fn new(room: Room, key: Key) -> Self {
        SpillSorter {
            room,
            key,
            bytes: Vec::with_capacity(BYTES_LEN),
            starts: Vec::with_capacity(STARTS_LEN),
            spilled: Spill::new(room),
            runs: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(record));
    }

    /// Adds the record that `put` writes.
    pub(crate) fn push_with(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push(self.bytes.len() as u32);
        put_record(&mut self.bytes, put);
        let held = self.bytes.len() + size_of_val(&*self.starts);
        if held > self.room.memory_len() {
            self.end_run();
        }
    }

    fn sort(&mut self) {
        let (bytes, key) = (&self.bytes, self.key);
        let key_at = |start: u32| key(record_at(bytes, start));
        let (Some(&first), Some(&last)) = (self.starts.first(), self.starts.last()) else {
            return;
        };
        // The names in a directory often begin alike.
        let (first, last) = (key_at(first).1, key_at(last).1);
        let alike = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let begin = first.get(..alike).unwrap_or_default();
        let head = |start: u32| head_of(key_at(start), begin);
        let mut keyed: Vec<(u64, u32)> = self.starts.iter().map(|&at| (head(at), at)).collect();
        let compare = |a: &(u64, u32), b: &(u64, u32)| {
            a.0.cmp(&b.0).then_with(|| key_at(a.1).cmp(&key_at(b.1)))
        };
        keyed.sort_unstable_by(compare);
        keyed.dedup_by(|b, a| compare(a, b).is_eq());
        self.starts.clear();
        self.starts.extend(keyed.iter().map(|&(_, start)| start));
    }

    fn end_run(&mut self) {
        self.sort();
        self.spilled.spill();
        let from = self.spilled.len();
        let mut len = Vec::new();
        for &start in &self.starts {
            let record = record_at(&self.bytes, start);
            len.clear();
            put_number(&mut len, record.len() as u64);
            self.spilled.push(&len);
            self.spilled.push(record);
        }
        self.runs.push(from..self.spilled.len());
        self.bytes.clear();
        self.starts.clear();
    }

    /// All records in order.
    pub(crate) fn finish(mut self) -> SpillList {
        if self.runs.is_empty() {
            self.sort();
            return SpillList::sorted(self.room, self.bytes, self.starts);
        }
        self.end_run();
        (self.bytes, self.starts) = (Vec::new(), Vec::new());
        let key = self.key;
        let mut heads = BinaryHeap::new();
        for run in &self.runs {
            let run = SpillReader::new(&self.spilled, run.start, run.end);
            let record = Vec::new();
            let mut head = Head { record, run, key };
            if head.advance() {
                heads.push(head);
            }
        }
        let mut sorted = SpillList::new(self.room);
        let mut last: Option<Vec<u8>> = None;
        while let Some(mut head) = heads.peek_mut() {
            let record = &head.record;
            if last.as_deref().is_none_or(|last| key(last) != key(record)) {
                sorted.push(record);
                last.get_or_insert_default().clone_from(record);
            }
            if !head.advance() {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        drop(heads);
        sorted
    }
}

/// The first record of a run that has not been merged.
struct Head<'a> {
    record: Vec<u8>,
    run: SpillReader<'a>,
    key: Key,
}

impl Head<'_> {
    /// Goes on to the next record; `false` if there is none.
    fn advance(&mut self) -> bool {
        self.record.clear();
        let next = next_record(&mut self.run);
        next.map(|next| self.record.extend_from_slice(next))
            .is_some()
    }
}

impl Ord for Head<'_> {
    /// The least comes out of a heap first.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.key)(&other.record).cmp(&(self.key)(&self.record))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

/// The mark of a key, whether it comes before, among or after all that begin like this, and what
/// follows the beginning: two that differ are ordered as their keys are.
fn head_of((mark, bytes): (bool, &[u8]), begin: &[u8]) -> u64 {
    let (order, own) = match bytes.strip_prefix(begin) {
        Some(own) => (Ordering::Equal, own),
        None => (bytes.cmp(begin), &[][..]),
    };
    let own = match own.first_chunk() {
        Some(long) => u64::from_be_bytes(*long),
        None => {
            (own.iter().chain(&[0; 8]).take(8)).fold(0, |all, &byte| all << 8 | u64::from(byte))
        }
    };
    let first = u64::from(mark) << 2 | (order as i8 + 1) as u64;
    own >> 8 | first << 56
}

fn record_at(bytes: &[u8], start: u32) -> &[u8] {
    let mut rest = bytes.get(start as usize..).unwrap_or_default();
    let len = usize::try_from(take_number(&mut rest)).unwrap_or(usize::MAX);
    rest.get(..len).unwrap_or_default()
}
