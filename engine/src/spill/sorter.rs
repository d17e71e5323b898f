//! Bringing records into an order of their own, however many there are: what fits into memory is
//! sorted there, and such runs are merged. Of records that stand alike one is kept: a name that
//! changes while its directory is read can come up twice.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::list::next_record;
use super::{Room, Spill, SpillList, SpillReader, put_number, take_number};

/// How two records stand to each other.
pub(crate) type Compare = fn(&[u8], &[u8]) -> Ordering;

/// Records on their way into order.
#[derive(Debug)]
pub(crate) struct SpillSorter {
    room: Room,
    compare: Compare,
    /// Those of the run that is being collected, each with its length in front.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// Sorted runs, one after another.
    spilled: Spill,
    runs: Vec<Range<u64>>,
}

impl SpillSorter {
    pub(crate) fn new(room: Room, compare: Compare) -> Self {
        SpillSorter {
            room,
            compare,
            bytes: Vec::new(),
            starts: Vec::new(),
            spilled: Spill::new(room),
            runs: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        let held = self.bytes.len() + size_of_val(&*self.starts);
        if held + record.len() > self.room.memory_len() {
            self.end_run();
        }
        self.starts.push(self.bytes.len() as u32);
        put_number(&mut self.bytes, record.len() as u64);
        self.bytes.extend_from_slice(record);
    }

    fn sort(&mut self) {
        let (bytes, compare) = (&self.bytes, self.compare);
        let record = |start: u32| record_at(bytes, start);
        self.starts
            .sort_unstable_by(|&a, &b| compare(record(a), record(b)));
        self.starts
            .dedup_by(|b, a| compare(record(*a), record(*b)).is_eq());
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
        let compare = self.compare;
        let mut heads = BinaryHeap::new();
        for run in &self.runs {
            let run = SpillReader::new(&self.spilled, run.start, run.end);
            let record = Vec::new();
            let mut head = Head {
                record,
                run,
                compare,
            };
            if head.advance() {
                heads.push(head);
            }
        }
        let mut sorted = SpillList::new(self.room);
        let mut last: Option<Vec<u8>> = None;
        while let Some(mut head) = heads.peek_mut() {
            let record = &head.record;
            if last
                .as_deref()
                .is_none_or(|last| compare(last, record).is_ne())
            {
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
    compare: Compare,
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
        (self.compare)(&other.record, &self.record)
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

fn record_at(bytes: &[u8], start: u32) -> &[u8] {
    let mut rest = bytes.get(start as usize..).unwrap_or_default();
    let len = usize::try_from(take_number(&mut rest)).unwrap_or(usize::MAX);
    rest.get(..len).unwrap_or_default()
}
