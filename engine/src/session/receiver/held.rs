//! What the receiver holds for directories about which something is awaited. A sender can announce
//! any number of them with a few bytes each, so that it is counted what they take.

use std::collections::HashMap;

use crate::error::Error;
use crate::path::RelPath;
use crate::refusal::Refusal;
use crate::wire::DirIndex;

/// What all that is held of one kind may take, in bytes. An honest sender is far below: it is not
/// more than so many entries ahead, and one large directory goes to a file.
pub(super) const HELD_LEN_MAX: usize = 48 << 20;

/// What knows how many bytes it takes, about.
pub(super) trait InMemory {
    fn memory_len(&self) -> usize;
}

/// Values by the numbers of directories.
#[derive(Debug)]
pub(super) struct ByDir<T> {
    all: HashMap<DirIndex, T>,
    len: usize,
}

impl<T> Default for ByDir<T> {
    fn default() -> Self {
        ByDir {
            all: HashMap::new(),
            len: 0,
        }
    }
}

impl<T: InMemory> ByDir<T> {
    pub(super) fn insert(&mut self, dir: DirIndex, value: T) -> Result<(), Error> {
        self.len += value.memory_len();
        if let Some(before) = self.all.insert(dir, value) {
            self.len -= before.memory_len();
        }
        check_len(self.len)
    }

    pub(super) fn remove(&mut self, dir: DirIndex) -> Option<T> {
        let value = self.all.remove(&dir)?;
        self.len -= value.memory_len();
        Some(value)
    }

    pub(super) fn get(&self, dir: DirIndex) -> Option<&T> {
        self.all.get(&dir)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (DirIndex, &T)> {
        self.all.iter().map(|(&dir, value)| (dir, value))
    }
}

/// Refuses to hold more than is awaited of an honest sender.
pub(super) fn check_len(len: usize) -> Result<(), Error> {
    if len > HELD_LEN_MAX {
        let max = HELD_LEN_MAX;
        return Err(Error::peer(Refusal::TooMuchAwaited { max }));
    }
    Ok(())
}

impl InMemory for RelPath {
    fn memory_len(&self) -> usize {
        RelPath::memory_len(self)
    }
}
