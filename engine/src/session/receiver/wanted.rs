//! The content asked for in one directory. Most of it is of files that the target does not have,
//! of which there is nothing to know.

use std::collections::HashMap;
use std::fs::File;

use super::deltas::PreparedCopy;
use crate::compare::Replaced;

/// Content asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What it replaces.
    pub(super) replaced: Option<Replaced>,
    /// What an interrupted push has left of it: a better basis than what it replaces.
    pub(super) basis: Option<File>,
    /// A non-empty directory is in the way, which goes with the deletions.
    pub(super) in_the_way: bool,
    /// The sender is told about the basis, and has not begun to send.
    pub(super) delta: bool,
    /// The basis has been, or is being, copied to be patched.
    pub(super) copy: Option<Box<PreparedCopy>>,
}

/// Content asked for and not arrived, by the position of its entry.
#[derive(Debug, Default)]
pub(super) struct WantedFiles {
    /// Of files that are new.
    new: Vec<bool>,
    new_count: usize,
    others: HashMap<u32, Wanted>,
}

impl Wanted {
    fn is_new(&self) -> bool {
        matches!(
            self,
            Wanted {
                replaced: None,
                basis: None,
                in_the_way: false,
                delta: false,
                copy: None,
            }
        )
    }
}

impl WantedFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in memory.
    pub(super) fn memory_len(&self) -> usize {
        self.new.len() + self.others.len() * size_of::<(u32, Wanted)>()
    }

    pub(super) fn insert(&mut self, number: u32, wanted: Wanted) {
        if !wanted.is_new() {
            self.others.insert(number, wanted);
            return;
        }
        let at = number as usize;
        if self.new.len() <= at {
            self.new.resize(at + 1, false);
        }
        if let Some(new) = self.new.get_mut(at) {
            self.new_count += usize::from(!std::mem::replace(new, true));
        }
    }

    /// How many files.
    pub(super) fn len(&self) -> usize {
        self.new_count + self.others.len()
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<u32> {
        let new = self.new.iter().position(|&new| new);
        let new = new.and_then(|at| u32::try_from(at).ok());
        let other = self.others.keys().min().copied();
        new.into_iter().chain(other).min()
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        let new = self.new.get(number as usize).copied().unwrap_or_default();
        new || self.others.contains_key(&number)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Wanted> {
        let new = self.new.get_mut(number as usize);
        if new.is_some_and(std::mem::take) {
            self.new_count -= 1;
            return Some(Wanted::default());
        }
        self.others.remove(&number)
    }

    /// What is known of the content of a file that the target has.
    pub(super) fn known(&self, number: u32) -> Option<&Wanted> {
        self.others.get(&number)
    }

    pub(super) fn known_mut(&mut self, number: u32) -> Option<&mut Wanted> {
        self.others.get_mut(&number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_asked_for_is_had_once() {
        let mut wanted = WantedFiles::default();
        assert!(wanted.is_empty() && wanted.remove(0).is_none());
        wanted.insert(7, Wanted::default());
        wanted.insert(7, Wanted::default());
        let delta = Wanted {
            delta: true,
            ..Wanted::default()
        };
        wanted.insert(3, delta);
        assert!(wanted.known(3).unwrap().delta && wanted.known(7).is_none());
        assert!(wanted.remove(7).unwrap().is_new() && wanted.remove(7).is_none());
        assert_eq!((wanted.len(), wanted.first()), (1, Some(3)));
        assert!(wanted.contains(3) && !wanted.contains(7));
        assert!(wanted.remove(3).unwrap().delta && wanted.remove(3).is_none());
        assert!(wanted.is_empty());
    }
}
