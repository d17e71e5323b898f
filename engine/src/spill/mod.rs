//! Bytes that grow with a tree: in memory as long as they are few, and beyond that in a file that
//! has no name. All of them share one file and its limit, so that it can be opened before a
//! receiver gives up the right to open any, and costs one descriptor.
//!
//! Whoever holds such bytes cannot do without them, and hardly anybody could say more about a file
//! that fails than that it did. So nothing here returns an error: the first one is kept, what is
//! added from then on is lost, and a session calls [`check`] before it believes what it read.

mod list;
mod map;
mod reader;
mod sorter;
mod space;
mod values;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

pub(crate) use list::{ListWalk, SpillList};
pub(crate) use map::SpillMap;
pub(crate) use reader::{SpillReader, put_number, take_number};
pub(crate) use sorter::SpillSorter;
pub(crate) use space::Space;
pub(crate) use values::SpillValues;

/// Bytes of one kind that are held in memory at most.
const MEMORY_LEN: usize = 8 << 20;

/// The same for the entries of one directory, which are gone through several times.
const DIRECTORY_MEMORY_LEN: usize = 32 << 20;

/// A full disk is more likely to be the end of it, but something has to be.
const SPACE_LEN_MAX: u64 = 64 << 30;

/// The file of this process.
static SHARED: Space = Space::new(SPACE_LEN_MAX, EXTENT_LEN);

/// Names directories for the file that holds what does not fit into memory, the best first. One of
/// them should be on a disk: `/tmp` often is not.
pub fn spill_into(dirs: Vec<PathBuf>) {
    SHARED.set_dirs(dirs);
}

/// Opens that file now rather than when it is needed, because it could not be opened then. If that
/// fails, whoever needs it is told.
pub fn open_spill() {
    let _ = SHARED.open();
}

/// Holds no more than so many bytes of one kind in memory. For tests of small trees.
#[cfg(debug_assertions)]
pub fn spill_from(memory_len: usize) {
    MEMORY_LEN_MAX.store(memory_len, Ordering::Relaxed);
}

/// What has gone wrong with the file, which ends the session that asks. It is said once.
pub(crate) fn check() -> Result<(), Error> {
    SHARED.check()
}

/// Below what is held in memory otherwise, where tests want less.
static MEMORY_LEN_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Where bytes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    space: &'static Space,
    /// Bytes that are held in memory at most.
    memory_len: usize,
}

impl Default for Room {
    fn default() -> Self {
        Room::shared(MEMORY_LEN)
    }
}

impl Room {
    /// For the entries of a directory.
    pub(crate) fn of_directory() -> Self {
        Room::shared(DIRECTORY_MEMORY_LEN)
    }

    fn shared(memory_len: usize) -> Self {
        Room {
            space: &SHARED,
            memory_len: memory_len.min(MEMORY_LEN_MAX.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn memory_len(&self) -> usize {
        self.memory_len
    }

    /// A room of its own with short extents, for tests.
    #[cfg(test)]
    pub(crate) fn small(memory_len: usize) -> Self {
        let space = Box::leak(Box::new(Space::new(SPACE_LEN_MAX, 64)));
        space.set_dirs(vec![std::env::temp_dir()]);
        Room { space, memory_len }
    }
}

/// The unit in which bytes go to the file.
const EXTENT_LEN: usize = 16 << 10;

/// Bytes that are added at the end and read anywhere.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    room: Room,
    /// Where in the file the first bytes are.
    extents: Vec<u32>,
    /// What comes after them.
    tail: Vec<u8>,
    /// They are in the file, but for less than an extent of them.
    is_spilled: bool,
    is_broken: bool,
}

impl Spill {
    pub(crate) fn new(room: Room) -> Self {
        Spill::from_memory(room, Vec::new())
    }

    /// Bytes that are there already, and few enough.
    fn from_memory(room: Room, tail: Vec<u8>) -> Self {
        Spill {
            room,
            tail,
            extents: Vec::new(),
            is_spilled: false,
            is_broken: false,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.begin_of_tail() + self.tail.len() as u64
    }

    /// Bytes in memory.
    pub(crate) fn memory_len(&self) -> usize {
        self.tail.len()
    }

    pub(crate) fn is_spilled(&self) -> bool {
        self.is_spilled
    }

    /// All bytes, if they are in memory.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        (!self.is_spilled).then_some(&self.tail)
    }

    fn begin_of_tail(&self) -> u64 {
        self.extents.len() as u64 * self.room.space.extent_len() as u64
    }

    /// So many zeros: in memory, if there is room for them.
    fn zeros(room: Room, len: usize) -> Self {
        if len <= room.memory_len {
            return Spill::from_memory(room, vec![0; len]);
        }
        let mut spill = Spill::new(room);
        spill.is_spilled = true;
        let zeros = vec![0; room.space.extent_len()];
        for at in (0..len).step_by(zeros.len()) {
            spill.push(zeros.get(..len - at).unwrap_or(&zeros));
        }
        spill
    }

    /// Adds the record that `put` writes to those in memory, of which nothing goes to the file yet.
    fn push_record(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let at = self.len();
        put_record(&mut self.tail, put);
        at
    }

    /// Adds bytes. Returns where they begin.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> u64 {
        let at = self.len();
        if self.is_broken {
            return at;
        }
        self.tail.extend_from_slice(bytes);
        self.is_spilled |= self.tail.len() > self.room.memory_len;
        if self.is_spilled {
            self.spill();
        }
        at
    }

    /// Moves the bytes to the file, but for less than an extent.
    pub(crate) fn spill(&mut self) {
        self.is_spilled = true;
        let space = self.room.space;
        let mut whole = self.tail.chunks_exact(space.extent_len());
        let extents: Option<Vec<u32>> = whole.by_ref().map(|bytes| space.put(bytes)).collect();
        let rest = whole.remainder().len();
        match extents {
            Some(extents) if extents.is_empty() => {}
            Some(extents) => {
                self.extents.extend(extents);
                self.tail.drain(..self.tail.len() - rest);
                self.tail.shrink_to(2 * space.extent_len());
            }
            None => {
                self.is_broken = true;
                self.tail = Vec::new();
            }
        }
    }

    /// Reads bytes from `at` on; less than are asked for if there are no more. Returns how many.
    pub(crate) fn read(&self, at: u64, buffer: &mut [u8]) -> usize {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let len = match self.place(at + read as u64) {
                Place::Tail(from) => {
                    let bytes = self.tail.get(from..).unwrap_or_default();
                    let len = bytes.len().min(rest.len());
                    if let Some((to, from)) = rest.get_mut(..len).zip(bytes.get(..len)) {
                        to.copy_from_slice(from);
                    }
                    len
                }
                Place::File { at, left } => {
                    let len = left.min(rest.len());
                    let part = rest.get_mut(..len).unwrap_or_default();
                    if !self.room.space.read(at, part) {
                        return read;
                    }
                    len
                }
            };
            if len == 0 {
                break;
            }
            read += len;
        }
        read
    }

    /// Changes bytes that are there already.
    pub(crate) fn change(&mut self, at: u64, mut bytes: &[u8]) {
        let mut at = at;
        while !bytes.is_empty() {
            let len = match self.place(at) {
                Place::Tail(from) => {
                    let old = self.tail.get_mut(from..).unwrap_or_default();
                    let len = old.len().min(bytes.len());
                    if let Some((old, new)) = old.get_mut(..len).zip(bytes.get(..len)) {
                        old.copy_from_slice(new);
                    }
                    len
                }
                Place::File { at, left } => {
                    let len = left.min(bytes.len());
                    let space = self.room.space;
                    space.change(at, bytes.get(..len).unwrap_or_default());
                    len
                }
            };
            if len == 0 {
                return;
            }
            at += len as u64;
            bytes = bytes.get(len..).unwrap_or_default();
        }
    }

    fn place(&self, at: u64) -> Place {
        let len = self.room.space.extent_len() as u64;
        let number = usize::try_from(at / len).unwrap_or(usize::MAX);
        let within = at % len;
        match self.extents.get(number) {
            Some(&extent) => Place::File {
                at: u64::from(extent) * len + within,
                left: (len - within) as usize,
            },
            None => {
                let from = at.saturating_sub(self.begin_of_tail());
                Place::Tail(usize::try_from(from).unwrap_or(usize::MAX))
            }
        }
    }

    /// Gives back what memory growing took in advance.
    pub(crate) fn shrink(&mut self) {
        self.tail.shrink_to_fit();
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.room.space.give_back(&self.extents);
    }
}

/// Bytes of most records.
const RECORD_LEN: usize = 128;

/// Adds the record that `put` writes, with its length in front.
fn put_record(bytes: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let at = bytes.len();
    bytes.reserve(RECORD_LEN);
    bytes.push(0);
    put(bytes);
    let len = bytes.len().saturating_sub(at + 1);
    match (u8::try_from(len), bytes.get_mut(at)) {
        (Ok(short @ ..0x80), Some(head)) => *head = short,
        _ => {
            let mut head = Vec::new();
            put_number(&mut head, len as u64);
            bytes.splice(at..=at, head);
        }
    }
}

/// Where a byte is.
enum Place {
    Tail(usize),
    /// Where in the file, and how many there follow it.
    File {
        at: u64,
        left: usize,
    },
}

#[cfg(test)]
mod tests;
