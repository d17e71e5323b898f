//! Rows of small records, of which a directory may have millions: the verdicts on its entries, and
//! the files of it that were asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::reading::FileSource;
use crate::error::Error;
use crate::session::window::HeldDir;
use crate::spill::{SpillList, put_number, take_number};
use crate::wire::{Verdict, decode_record, encode};

/// Verdicts in the order of their entries.
#[derive(Default)]
pub(super) struct Verdicts {
    rows: SpillList,
    last: Option<u32>,
}

impl Verdicts {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Adds a verdict; `false` if it is not on an entry after the last.
    pub(super) fn push(&mut self, verdict: &Verdict) -> Result<bool, Error> {
        if self.last.is_some_and(|last| last >= verdict.entry) {
            return Ok(false);
        }
        self.last = Some(verdict.entry);
        let mut row = Vec::with_capacity(16);
        encode(verdict, &mut row)?;
        self.rows.push(&row);
        Ok(true)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Verdict> {
        let mut rows = self.rows.walk_from(0);
        std::iter::from_fn(move || decode_record(rows.next()?))
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
