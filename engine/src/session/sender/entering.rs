//! What is to be told of directories: not with the entries of the one above, but when the walk
//! enters them, as rsync has it.
//!
//! Memory: what is to be told of subdirectories that have not been entered yet, packed, and in a
//! file beyond that.

use super::bare::Bare;
use super::siblings::Siblings;
use crate::entries::EntryList;
use crate::entry::Entry;
use crate::observer::{Action, Differences};
use crate::path::RelPath;
use crate::spill::SpillValues;

/// What happens to a directory; nothing, if it is told only that it is as it should be.
pub(super) type Fate = Option<(Action, Differences)>;

/// A directory that is to be told of.
pub(super) struct Told {
    pub(super) path: RelPath,
    pub(super) entry: Entry,
    pub(super) fate: Fate,
}

/// Directories that are to be told of, on the way from the root down to the one entered last.
#[derive(Default)]
pub(super) struct Entering {
    levels: Vec<Level>,
    /// Those that are entered, but not on the target.
    pub(super) bare: Bare,
    /// What waits for siblings that are told first.
    pub(super) siblings: Siblings,
}

/// Subdirectories of one directory, in canonical order.
struct Level {
    dir: RelPath,
    entries: EntryList,
    fates: SpillValues<Fate>,
    /// How many have been told.
    told: usize,
}

impl Level {
    /// The first that has not been told.
    fn first(&self) -> Option<RelPath> {
        let name = self.entries.name(self.told)?;
        Some(self.dir.join(&name))
    }

    fn take(&mut self) -> Option<Told> {
        let entry = self.entries.get(self.told)?;
        // One that is lost ends the push, with whatever is said next.
        let fate = self.fates.get(self.told).ok()?;
        self.told += 1;
        let path = self.dir.join(&entry.name);
        Some(Told { path, entry, fate })
    }
}

impl Entering {
    /// A subdirectory of `dir`, which was entered last, is to be told of when it is entered.
    pub(super) fn expect(&mut self, dir: &RelPath, entry: &Entry, fate: Fate) {
        if self.levels.last().is_none_or(|level| level.dir != *dir) {
            self.levels.push(Level {
                dir: dir.clone(),
                entries: EntryList::default(),
                fates: SpillValues::default(),
                told: 0,
            });
        }
        if let Some(level) = self.levels.last_mut() {
            // What is in memory can be encoded.
            let _ = level.fates.push(&fate);
            level.entries.push(entry);
        }
    }

    /// The next that is to be told of before anything in `dir` is: `dir` itself, and those before
    /// it that are never entered.
    pub(super) fn next_until(&mut self, dir: &RelPath) -> Option<Told> {
        while let Some(level) = self.levels.last_mut() {
            match level.first() {
                Some(first) if first <= *dir => return level.take(),
                Some(_) if dir.is_within(&level.dir) => return None,
                Some(_) => return level.take(),
                None if dir.is_within(&level.dir) && level.dir != *dir => return None,
                None => drop(self.levels.pop()),
            }
        }
        None
    }

    /// The next of all that are left: there is nothing more to be entered.
    pub(super) fn next(&mut self) -> Option<Told> {
        while let Some(level) = self.levels.last_mut() {
            if let Some(told) = level.take() {
                return Some(told);
            }
            self.levels.pop();
        }
        None
    }
}
