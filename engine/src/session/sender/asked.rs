//! Rows of small records, of which a directory may have millions: the verdicts on its entries, the
//! files of it that were asked for, and those whose bases are to be described.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::reading::{FileSource, Key};
use crate::error::Error;
use crate::session::window::HeldDir;
use crate::spill::{SpillList, SpillValues, put_number, take_number};
use crate::wire::{DirIndex, Verdict};

/// Verdicts in the order of their entries.
#[derive(Default)]
pub(super) struct Verdicts {
    all: SpillValues<Verdict>,
    last: Option<u32>,
}

impl Verdicts {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a verdict; `false` if it is not on an entry after the last.
    pub(super) fn push(&mut self, verdict: &Verdict) -> Result<bool, Error> {
        if self.last.is_some_and(|last| last >= verdict.entry) {
            return Ok(false);
        }
        self.last = Some(verdict.entry);
        self.all.push(verdict)?;
        Ok(true)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Result<Verdict, Error>> {
        self.all.iter()
    }
}

/// Files in the order in which they were asked for.
#[derive(Default)]
pub(super) struct AskedFiles {
    /// Never without files.
    dirs: VecDeque<AskedDir>,
}

struct AskedDir {
    held: Arc<HeldDir>,
    /// Of each file its position, and the number by which the receiver knows it.
    rows: SpillList,
    /// The first that has not been taken.
    next: usize,
}

impl AskedFiles {
    pub(super) fn push_back(&mut self, file: &FileSource) {
        let (held, at) = file.place();
        let last = self.dirs.back();
        if !last.is_some_and(|last| Arc::ptr_eq(&last.held, held)) {
            self.dirs.push_back(AskedDir {
                held: Arc::clone(held),
                rows: SpillList::default(),
                next: 0,
            });
        }
        if let Some(last) = self.dirs.back_mut() {
            let mut row = Vec::with_capacity(16);
            put_number(&mut row, at as u64);
            put_number(&mut row, file.number().into());
            last.rows.push(&row);
        }
    }

    /// Takes as many files of the first directory as there are, or `max`.
    pub(super) fn take(&mut self, max: usize) -> Vec<FileSource> {
        let Some(first) = self.dirs.front_mut() else {
            return Vec::new();
        };
        let mut rows = first.rows.walk_from(first.next);
        let mut files = Vec::new();
        for _ in 0..max {
            let Some(mut row) = rows.next() else {
                break;
            };
            let at = take_number(&mut row) as usize;
            let number = take_number(&mut row) as u32;
            files.extend(FileSource::new(&first.held, at, number));
        }
        first.next = rows.position();
        if first.next >= first.rows.len() {
            drop(rows);
            self.dirs.pop_front();
        }
        files
    }
}

/// Files that the receiver has a basis of, and has not begun to describe.
#[derive(Default)]
pub(super) struct ExpectedFiles {
    dirs: HashMap<DirIndex, ExpectedDir>,
    count: usize,
}

struct ExpectedDir {
    held: Arc<HeldDir>,
    /// Of each file its number, ascending, and its position.
    rows: SpillList,
    is_taken: Vec<bool>,
    left: usize,
}

impl ExpectedFiles {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a file after those before it in the same directory.
    pub(super) fn push(&mut self, file: &FileSource) {
        let (held, at) = file.place();
        let dir = self.dirs.entry(file.dir()).or_insert_with(|| ExpectedDir {
            held: Arc::clone(held),
            rows: SpillList::default(),
            is_taken: Vec::new(),
            left: 0,
        });
        let mut row = Vec::with_capacity(16);
        put_number(&mut row, file.number().into());
        put_number(&mut row, at as u64);
        dir.rows.push(&row);
        dir.is_taken.push(false);
        dir.left += 1;
        self.count += 1;
    }

    /// Takes a file, if it is one of these.
    pub(super) fn take(&mut self, (index, number): Key) -> Option<FileSource> {
        let dir = self.dirs.get_mut(&index)?;
        let file = dir.take(number)?;
        self.count -= 1;
        if dir.left == 0 {
            self.dirs.remove(&index);
        }
        Some(file)
    }
}

impl ExpectedDir {
    fn take(&mut self, number: u32) -> Option<FileSource> {
        let wanted = u64::from(number);
        let row = self
            .rows
            .partition_point(|mut row| take_number(&mut row) < wanted);
        let parse = |mut row: &[u8]| (take_number(&mut row), take_number(&mut row));
        let (found, at) = self.rows.with(row, parse)?;
        let is_taken = self.is_taken.get_mut(row)?;
        if found != wanted || std::mem::replace(is_taken, true) {
            return None;
        }
        self.left -= 1;
        FileSource::new(&self.held, at as usize, number)
    }
}
