//! The content asked for in one directory. Most of it is of files that the target does not have,
//! of which there is nothing to know.

use crate::compare::Replaced;
use crate::path_list::{code_of, kind_of_code};
use crate::spill::{SpillList, put_number, take_number};

/// What is known of a file whose content is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What it replaces.
    pub(super) replaced: Option<Replaced>,
    /// A non-empty directory is in the way, which goes with the deletions.
    pub(super) in_the_way: bool,
    /// A delta is asked for.
    pub(super) delta: bool,
    /// Its basis is what an interrupted push has left of it, rather than what it replaces.
    pub(super) is_left: bool,
}

/// Content asked for and not arrived, by the number of its entry.
#[derive(Debug, Default)]
pub(super) struct WantedFiles {
    marks: Vec<Mark>,
    count: usize,
    /// What is known, ascending by number: a directory may have millions of files that change.
    known: Option<Box<SpillList>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    NotWanted,
    New,
    Known,
    /// The same, but by now all of it is asked for, whatever was at first.
    Whole,
}

impl WantedFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes in memory.
    pub(super) fn memory_len(&self) -> usize {
        let known = self.known.as_ref();
        self.marks.len() + known.map_or(0, |known| size_of::<SpillList>() + known.memory_len())
    }

    /// Asks for the content of a file, whose number is above all before.
    pub(super) fn insert(&mut self, number: u32, wanted: Wanted) {
        let mark = if wanted == Wanted::default() {
            Mark::New
        } else {
            self.known
                .get_or_insert_default()
                .push(&encode(number, wanted));
            Mark::Known
        };
        self.marks.resize(number as usize, Mark::NotWanted);
        self.marks.push(mark);
        self.count += 1;
    }

    /// How many files.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<u32> {
        let first = self.marks.iter().position(|&mark| mark != Mark::NotWanted);
        first.and_then(|at| u32::try_from(at).ok())
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.mark(number) != Mark::NotWanted
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<Wanted> {
        let wanted = self.get(number)?;
        *self.marks.get_mut(number as usize)? = Mark::NotWanted;
        self.count -= 1;
        Some(wanted)
    }

    /// What is known of the content of a file that is asked for.
    pub(super) fn get(&self, number: u32) -> Option<Wanted> {
        match self.mark(number) {
            Mark::NotWanted => None,
            Mark::New => Some(Wanted::default()),
            Mark::Known => self.find(number),
            Mark::Whole => self.find(number).map(|wanted| Wanted {
                delta: false,
                ..wanted
            }),
        }
    }

    /// Asks for all of a file of which a delta was asked for.
    pub(super) fn ask_for_whole(&mut self, number: u32) {
        let mark = self.marks.get_mut(number as usize);
        if let Some(mark) = mark.filter(|mark| **mark == Mark::Known) {
            *mark = Mark::Whole;
        }
    }

    fn mark(&self, number: u32) -> Mark {
        self.marks.get(number as usize).copied().unwrap_or_default()
    }

    fn find(&self, number: u32) -> Option<Wanted> {
        let known = self.known.as_ref()?;
        let number = u64::from(number);
        let at = known.partition_point(|mut record| take_number(&mut record) < number);
        let (found, wanted) = known.with(at, decode)?;
        (found == number).then_some(wanted)
    }
}

const FLAGS: u32 = 4;

/// The number, then flags and mode in one, and what is replaced.
pub(super) fn encode(number: u32, wanted: Wanted) -> Vec<u8> {
    let Wanted {
        replaced,
        in_the_way,
        delta,
        is_left,
    } = wanted;
    let flags = [replaced.is_some(), in_the_way, delta, is_left];
    let flags = flags
        .into_iter()
        .fold(0, |bits, flag| bits << 1 | u64::from(flag));
    let mode = replaced.map_or(0, |replaced| u64::from(replaced.mode));
    let mut record = Vec::with_capacity(16);
    put_number(&mut record, number.into());
    put_number(&mut record, mode << FLAGS | flags);
    if let Some(replaced) = replaced {
        put_number(&mut record, replaced.len);
        record.push(code_of(replaced.kind));
    }
    record
}

/// Takes back what [`encode`] gave.
pub(super) fn decode(mut record: &[u8]) -> (u64, Wanted) {
    let (number, bits) = (take_number(&mut record), take_number(&mut record));
    let flag = |at: u32| bits >> at & 1 == 1;
    let replaced = || {
        let len = take_number(&mut record);
        let kind = kind_of_code(*record.first()?)?;
        let mode = (bits >> FLAGS) as u32;
        Some(Replaced { kind, mode, len })
    };
    let wanted = Wanted {
        replaced: flag(3).then(replaced).flatten(),
        in_the_way: flag(2),
        delta: flag(1),
        is_left: flag(0),
    };
    (number, wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::observer::Kind;

    #[test]
    fn what_is_asked_for_is_had_once() {
        let mut wanted = WantedFiles::default();
        assert!(wanted.is_empty() && wanted.remove(0).is_none());
        let delta = Wanted {
            delta: true,
            ..Wanted::default()
        };
        wanted.insert(3, delta);
        wanted.insert(7, Wanted::default());
        assert_eq!(
            (wanted.get(3), wanted.get(7)),
            (Some(delta), Some(Wanted::default()))
        );
        wanted.ask_for_whole(3);
        assert_eq!(wanted.get(3), Some(Wanted::default()));
        assert_eq!(wanted.remove(7), Some(Wanted::default()));
        assert_eq!(wanted.remove(7), None);
        assert_eq!((wanted.len(), wanted.first()), (1, Some(3)));
        assert!(wanted.contains(3) && !wanted.contains(7) && !wanted.contains(0));
        assert!(wanted.remove(3).is_some() && wanted.remove(3).is_none());
        assert!(wanted.is_empty());
    }

    #[test]
    fn what_is_known_of_millions_takes_little_memory() {
        let of = |number: u32| Wanted {
            replaced: (!number.is_multiple_of(5)).then(|| Replaced {
                kind: Kind::File,
                mode: number % 0o10000,
                len: u64::from(number) << 20,
            }),
            in_the_way: number.is_multiple_of(3),
            delta: number.is_multiple_of(2),
            is_left: number.is_multiple_of(7),
        };
        let mut wanted = WantedFiles::default();
        let numbers = || (0..2_000_000).step_by(2);
        for number in numbers() {
            wanted.insert(number, of(number));
        }
        // A byte for each of them, and what is held of a kind before it goes to a file.
        assert!(wanted.memory_len() < (2 << 20) + (9 << 20));
        for number in numbers().step_by(997) {
            assert_eq!(wanted.get(number), Some(of(number)));
            assert_eq!(wanted.get(number + 1), None);
        }
    }
}
