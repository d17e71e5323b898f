//! What could not be carried out of one list of ops. There may be millions, each of which is told.

use super::failed::{Failed, Lines, Told};
use super::op::Op;
use crate::error::Error;
use crate::fs::Root;
use crate::path_set::PathSet;
use crate::spill::SpillValues;

/// What could not be carried out.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    told: Told,
    /// Positions in the list, ascending.
    at: SpillValues<usize>,
    /// Each in words, unless that goes without saying.
    pub(crate) lines: Lines,
    /// Where something was to be put or removed, and was not.
    pub(crate) unmoved: PathSet,
    /// The first of these.
    pub(crate) first_unmoved: Option<Failed>,
    /// The first for which there was no space.
    pub(crate) first_full: Option<Failed>,
}

impl Failures {
    /// The op at that position of the list has failed.
    pub(super) fn add(
        &mut self,
        root: &Root,
        (at, op): (usize, &Op),
        failed: Failed,
    ) -> Result<(), Error> {
        self.at.push(&at)?;
        self.tell(root, &failed)?;
        if op.moves() {
            self.unmoved.insert(&failed.path);
        }
        if failed.is_no_space() {
            self.first_full.get_or_insert(failed);
        } else if op.moves() {
            self.first_unmoved.get_or_insert(failed);
        }
        Ok(())
    }

    /// Something has failed, and is told.
    pub(super) fn tell(&mut self, root: &Root, failed: &Failed) -> Result<(), Error> {
        let line = self.told.line(failed, root);
        line.map_or(Ok(()), |line| self.lines.push(&line))
    }

    /// Strikes the op at that position off, unless what it builds on was carried out: neither the
    /// entry nor one above or below it has failed.
    pub(super) fn hold_up(&mut self, (at, op): (usize, &Op)) -> Result<bool, Error> {
        let is_held_up = op.moves() && {
            let path = op.path();
            self.unmoved.covers(&path) || self.unmoved.holds_any_in(&path)
        };
        if is_held_up {
            self.at.push(&at)?;
        }
        Ok(is_held_up)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// Positions of the ops, ascending.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Result<usize, Error>> {
        self.at.iter()
    }
}
