//! Each shape of spilled bytes against a plain one, and what is said when the file fails.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

/// Rooms in which nothing, little and everything is in memory.
fn rooms() -> [Room; 3] {
    [0, 100, 1 << 20].map(Room::small)
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let record = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..12),
        1 => proptest::collection::vec(any::<u8>(), 100..300),
    ];
    proptest::collection::vec(record, 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn bytes_come_back(
        pieces in records(),
        changes in proptest::collection::vec((0.0..1.0, any::<[u8; 9]>()), 0..8),
        reads in proptest::collection::vec((0.0..1.1, 0..400_usize), 1..8),
    ) {
        for room in rooms() {
            let (mut spill, mut model) = (Spill::new(room), Vec::new());
            for piece in &pieces {
                prop_assert_eq!(spill.push(piece), model.len() as u64);
                model.extend_from_slice(piece);
            }
            prop_assert_eq!(spill.len(), model.len() as u64);
            prop_assert_eq!(spill.is_spilled(), model.len() > room.memory_len());
            let place = |part: f64, len: usize| (part * len as f64) as usize;
            for (at, bytes) in &changes {
                let at = place(*at, model.len());
                let len = bytes.len().min(model.len() - at);
                model[at..at + len].copy_from_slice(&bytes[..len]);
                spill.change(at as u64, &bytes[..len]);
            }
            for &(at, len) in &reads {
                let at = place(at, model.len()).min(model.len());
                let expected = model.get(at..).unwrap_or_default();
                let expected = &expected[..len.min(expected.len())];
                let mut read = vec![0; len];
                let len = spill.read(at as u64, &mut read);
                prop_assert_eq!(&read[..len], expected);
                let mut reader = SpillReader::new(&spill, at as u64, spill.len());
                let taken = reader.take(expected.len()).map(<[u8]>::to_vec);
                prop_assert_eq!(taken.as_deref(), Some(expected));
            }
            prop_assert!(room.space.check().is_ok());
        }
    }

    #[test]
    fn numbers_come_back(numbers in proptest::collection::vec(any::<u64>(), 0..40)) {
        for room in rooms() {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|&number| put_number(&mut bytes, number >> (number % 64)));
            let mut spill = Spill::new(room);
            spill.push(&bytes);
            let mut reader = SpillReader::new(&spill, 0, spill.len());
            for &number in &numbers {
                prop_assert_eq!(reader.number(), number >> (number % 64));
            }
            prop_assert!(reader.is_at_end());
        }
    }

    #[test]
    fn records_come_back_by_position(
        all in records(),
        questions in proptest::collection::vec(0..120_usize, 20),
    ) {
        for room in rooms() {
            let mut list = SpillList::new(room);
            for (at, record) in all.iter().enumerate() {
                list.push(record);
                prop_assert_eq!(list.with(at, <[u8]>::to_vec), Some(record.clone()));
            }
            prop_assert_eq!(list.len(), all.len());
            for &at in &questions {
                prop_assert_eq!(list.with(at, <[u8]>::to_vec), all.get(at).cloned());
                let mut walk = list.walk_from(at);
                let mut rest = all.iter().skip(at);
                while let Some(record) = walk.next() {
                    prop_assert_eq!(record, rest.next().unwrap());
                }
                prop_assert!(rest.next().is_none());
            }
        }
    }

    #[test]
    fn records_are_sorted(mut all in records(), shared_len in 0..12_usize) {
        for record in &mut all {
            record.splice(0..0, vec![b's'; shared_len]);
        }
        for room in rooms() {
            // As marked: records of odd length. Nothing is alike but what is equal.
            let mut sorter = SpillSorter::new(room, |record| (record.len() % 2 == 1, record));
            all.iter().for_each(|record| sorter.push(record));
            let sorted = sorter.finish();
            all.sort_by_key(|record| (record.len() % 2 == 1, record.clone()));
            all.dedup();
            prop_assert_eq!(sorted.len(), all.len());
            for (at, record) in all.iter().enumerate() {
                prop_assert_eq!(sorted.with(at, <[u8]>::to_vec), Some(record.clone()));
                let key = (record.len() % 2 == 1, &**record);
                let is_before = |other: &[u8]| (other.len() % 2 == 1, other) < key;
                prop_assert_eq!(sorted.partition_point(is_before), at);
            }
            prop_assert_eq!(sorted.partition_point(|_| true), all.len());
        }
    }

    #[test]
    fn a_map_keeps_the_first_value_unless_another_is_set(
        pairs in proptest::collection::vec((0..1500_u32, any::<u16>(), any::<bool>()), 0..2000),
    ) {
        for room in rooms() {
            let (mut map, mut model) = (SpillMap::new(room), HashMap::new());
            for &(key, value, sets) in &pairs {
                // Some keys are long, and some are the beginning of others.
                let key = vec![b'k'; key as usize % 200].into_iter().chain(key.to_le_bytes());
                let key: Vec<u8> = key.collect();
                let value = vec![b'v'; usize::from(value % 40)];
                if sets {
                    map.set(&key, &value);
                    model.insert(key, value);
                } else {
                    prop_assert_eq!(map.insert(&key, &value), model.get(&key).cloned());
                    model.entry(key).or_insert(value);
                }
            }
            for (key, value) in &model {
                prop_assert_eq!(map.get(key), Some(value.clone()));
            }
            let mut keys = std::collections::HashSet::new();
            map.each_key(|key| keys.extend([key.to_vec()]));
            prop_assert_eq!(keys, model.keys().cloned().collect());
            prop_assert!(!map.contains(b"no such key"));
        }
    }
}

#[test]
fn extents_are_used_again() {
    let room = Room::small(0);
    let mut first = Spill::new(room);
    first.push(&[1; 640]);
    let held = Spill::from_iter_of(room, 640);
    drop(first);
    let second = Spill::from_iter_of(room, 640);
    assert_eq!(room.space.len(), 1280);
    drop((held, second));
    assert_eq!(room.space.len(), 0);
}

impl Spill {
    fn from_iter_of(room: Room, len: usize) -> Self {
        let mut spill = Spill::new(room);
        spill.push(&vec![7; len]);
        spill
    }
}

#[test]
fn what_is_in_memory_needs_no_file() {
    let room = room_in(&["/nonexistent"], 1 << 20, 1000);
    let mut spill = Spill::new(room);
    spill.push(&[1; 1000]);
    assert!(room.space.check().is_ok());
    spill.push(&[1; 4096]);
    assert!(room.space.check().is_err());
}

/// Keeps adding until that fails: what is said then.
fn fill(room: Room) -> Error {
    let mut list = SpillList::new(room);
    let mut map = SpillMap::new(room);
    for number in 0..200_000_u32 {
        list.push(&number.to_le_bytes());
        map.insert(&number.to_le_bytes(), b"value");
        if let Err(e) = room.space.check() {
            // What is added from now on costs nothing, and nothing is read that is not there.
            (0..10_000_u32).for_each(|number| list.push(&number.to_le_bytes()));
            (0..list.len()).for_each(|at| drop(list.with(at, <[u8]>::to_vec)));
            assert!(map.get(b"none").is_none());
            return e;
        }
    }
    Error::new(ErrorKind::Usage, "nothing failed")
}

fn room_in(dirs: &[&str], len_max: u64, memory_len: usize) -> Room {
    let space = Box::leak(Box::new(Space::new(len_max, 4096)));
    space.set_dirs(dirs.iter().map(Into::into).collect());
    Room { space, memory_len }
}

#[test]
fn a_limit_is_no_space() {
    let temp = std::env::temp_dir();
    let e = fill(room_in(&[temp.to_str().unwrap()], 1 << 20, 1000));
    assert_eq!(e.kind, ErrorKind::NoSpace, "{e}");
    assert!(e.message.contains("more than"), "{e}");
}

#[test]
fn the_first_directory_that_takes_a_file_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let room = room_in(&["/nonexistent", temp.path().to_str().unwrap()], 1 << 20, 0);
    let mut spill = Spill::new(room);
    spill.push(&[1; 10_000]);
    assert!(room.space.check().is_ok());
    // Its file has no name.
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn no_directory_is_said_with_the_name_of_the_first() {
    let e = fill(room_in(
        &["/nonexistent/one", "/nonexistent/two"],
        1 << 20,
        1000,
    ));
    assert_eq!(e.kind, ErrorKind::FileIo, "{e}");
    assert!(e.message.contains("/nonexistent/one"), "{e}");
}

/// A disk that is always full, as far as writing to it goes.
#[test]
fn a_full_disk_is_no_space() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let room = room_in(&[], 1 << 20, 1000);
    room.space.use_file(
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap(),
    );
    let e = fill(room);
    assert_eq!(e.kind, ErrorKind::NoSpace, "{e}");
    assert!(e.message.contains("TMPDIR"), "{e}");
}
