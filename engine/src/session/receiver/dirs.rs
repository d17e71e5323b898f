//! The directories of which something is awaited, by their numbers.

use super::begun::Begun;
use super::dir::{Asked, Dir, New, not_awaited};
use super::held::ByDir;
use super::shelf::Shelf;
use super::wanted::Wanted;
use crate::error::Error;
use crate::path::RelPath;
use crate::wire::DirIndex;

/// All of them, and the files whose content comes in the end.
#[derive(Default)]
pub(super) struct Dirs {
    open: ByDir<Dir>,
    pub(super) shelf: Shelf,
}

impl Dirs {
    /// Keeps a directory, unless nothing is awaited of it any more.
    pub(super) fn put(&mut self, dir: DirIndex, state: Dir) -> Result<(), Error> {
        if state.awaited() == 0 {
            return Ok(());
        }
        self.open.insert(dir, state)
    }

    pub(super) fn get(&self, dir: DirIndex) -> Option<&Dir> {
        self.open.get(dir)
    }

    /// Takes a directory of which something is awaited before the end.
    pub(super) fn take(&mut self, dir: DirIndex) -> Result<Dir, Error> {
        self.open.remove(dir).ok_or_else(|| not_awaited(dir))
    }

    /// Takes one whose entries are awaited.
    pub(super) fn take_asked(&mut self, dir: DirIndex) -> Result<Asked, Error> {
        match self.open.remove(dir) {
            Some(Dir::Asked(asked)) => Ok(asked),
            _ => Err(not_awaited(dir)),
        }
    }

    /// Takes one that is being made. `None` if that has not begun.
    pub(super) fn take_new(&mut self, dir: DirIndex) -> Result<Option<New>, Error> {
        match self.open.remove(dir) {
            None => Ok(None),
            Some(Dir::New(new)) => Ok(Some(new)),
            Some(_) => Err(not_awaited(dir)),
        }
    }

    /// Takes a directory whose content is awaited, in the end too.
    pub(super) fn take_for_content(&mut self, dir: DirIndex) -> Result<Dir, Error> {
        if let Some(state) = self.open.remove(dir) {
            return Ok(state);
        }
        // One at a time, or they would all be held again.
        let is_one_up = self
            .shelf
            .taken()
            .is_some_and(|taken| self.get(taken).is_some());
        let taken = if is_one_up {
            None
        } else {
            self.shelf.take(dir)
        };
        taken.map(Dir::Judged).ok_or_else(|| not_awaited(dir))
    }

    /// The content of these files comes in the end.
    pub(super) fn put_aside(&mut self, dir: DirIndex, numbers: &[u32]) -> Result<(), Error> {
        let mut state = self.take(dir)?;
        for &number in numbers {
            state.list().file(dir, number)?;
            let wanted = match &state {
                Dir::New(New { begun: None, .. }) => Some(Wanted::default()),
                Dir::New(_) | Dir::Judged(_) => state.list_mut().wanted.remove(number),
                Dir::Asked(_) => None,
            };
            let put = wanted.and_then(|wanted| self.shelf.put((dir, &state), number, wanted));
            put.ok_or_else(|| not_awaited(dir))?;
        }
        self.put(dir, state)
    }

    /// Those of which something is awaited before the end: how many things, and the first one.
    pub(super) fn awaited(&self) -> (usize, Option<&Dir>) {
        let count = self.open.iter().map(|(_, state)| state.awaited()).sum();
        let first = self.open.iter().min_by_key(|&(dir, _)| dir);
        (count, first.map(|(_, state)| state))
    }

    /// What is being made, with its path.
    pub(super) fn begun(&self) -> impl Iterator<Item = (&Begun, &RelPath)> {
        self.open.iter().filter_map(|(_, state)| match state {
            Dir::New(new) => Some((new.begun.as_ref()?, &new.list.path)),
            _ => None,
        })
    }
}
