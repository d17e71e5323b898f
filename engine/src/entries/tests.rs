//! Entries come back as they were, whatever is in memory and whatever is not.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::attributes::Attributes;
use crate::entry::Body;
use crate::entry::Time;

fn body() -> impl Strategy<Value = Body> {
    let sum = proptest::option::of(any::<[u8; 32]>());
    let kinds = [
        Kind::File,
        Kind::Dir,
        Kind::Symlink,
        Kind::Device,
        Kind::Special,
    ];
    prop_oneof![
        (any::<u64>(), sum).prop_map(|(len, sum)| Body::File { len, sum }),
        Just(Body::Dir),
        proptest::collection::vec(1..=255_u8, 1..300).prop_map(|target| Body::Symlink { target }),
        any::<u64>().prop_map(|rdev| Body::CharDevice { rdev }),
        any::<u64>().prop_map(|rdev| Body::BlockDevice { rdev }),
        Just(Body::Fifo),
        Just(Body::Socket),
        proptest::sample::select(kinds.to_vec()).prop_map(Body::Unmirrored),
    ]
}

fn listed() -> impl Strategy<Value = Listed> {
    let name = prop_oneof![
        proptest::collection::vec(1..=255_u8, 1..5),
        proptest::collection::vec(1..=255_u8, 255),
    ];
    let link = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let attributes = proptest::collection::vec(any::<u8>(), 0..20);
    let ids = (0..0o10000_u32, any::<u32>(), any::<u32>());
    let time = (any::<i64>(), 0..1_000_000_000_u32);
    let inode = (any::<u64>(), any::<u64>(), any::<u32>());
    (name, body(), (link, attributes), ids, time, inode).prop_map(
        |(
            name,
            body,
            (link_to, attributes),
            (mode, uid, gid),
            (secs, nanos),
            (dev, ino, nlink),
        )| Listed {
            entry: Entry {
                name,
                mode,
                uid,
                gid,
                mtime: Time { secs, nanos },
                atime: (nlink % 2 == 1).then_some(Time { secs, nanos: 7 }),
                body,
                link_to,
                attributes: Attributes::from_bytes(&attributes),
            },
            dev,
            ino,
            nlink,
        },
    )
}

fn same(list: &EntryList, entries: &[Listed]) -> bool {
    let key = |l: &Listed| (l.dev, l.ino, l.nlink);
    list.len() == entries.len()
        && list
            .iter_listed()
            .zip(entries)
            .all(|(a, b)| a.entry == b.entry && key(&a) == key(b))
}

/// Rooms in which nothing, little and everything is in memory.
fn rooms() -> [Room; 3] {
    [0, 600, 1 << 20].map(Room::small)
}

fn sorted(room: Room, all: &[Listed]) -> EntryList {
    let mut sorter = EntrySorter::new(room);
    all.iter().for_each(|listed| sorter.push(listed, true));
    sorter.finish()
}

fn listings() -> impl Strategy<Value = Vec<Listed>> {
    proptest::collection::vec(listed(), 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn entries_come_back(mut all in listings()) {
        for room in rooms() {
            let mut list = EntryList::new(room);
            all.iter().for_each(|listed| list.push_listed(listed));
            prop_assert!(same(&list, &all));
            prop_assert!(list.get(all.len()).is_none());
        }
        all.sort_by(|a, b| a.entry.canonical_cmp(&b.entry));
        let mut names = HashSet::new();
        all.retain(|listed| names.insert(listed.entry.name.clone()));
        for room in rooms() {
            let shuffled: Vec<Listed> = all.iter().rev().cloned().collect();
            let list = sorted(room, &shuffled);
            prop_assert!(same(&list, &all));
            let mut finder = list.finder();
            for (at, Listed { entry, .. }) in all.iter().enumerate() {
                prop_assert_eq!(&list.get(at).unwrap(), entry);
                prop_assert_eq!(list.name(at), Some(entry.name.clone()));
                let len = entry.len() + entry.symlink_target().map_or(0, <[u8]>::len) as u64;
                prop_assert_eq!(list.kind_and_len(at), Some((entry.kind(), len)));
                prop_assert_eq!(list.is_linked(at), entry.link_to.is_some());
                let found = finder.find(entry).unwrap();
                prop_assert_eq!(list.name(found), Some(entry.name.clone()));
            }
            for first in [1, 33, 40] {
                let mut walk = list.walk_from(first);
                let mut rest = all.iter().skip(first);
                while let Some(entry) = walk.next() {
                    prop_assert_eq!(entry, &rest.next().unwrap().entry);
                }
                prop_assert!(rest.next().is_none());
            }
            let dirs = all.iter().filter(|listed| listed.entry.is_dir());
            let dirs: Vec<Vec<u8>> = dirs.map(|dir| dir.entry.name.clone()).collect();
            prop_assert_eq!(list.dir_names().collect::<Vec<_>>(), dirs);
            let named = |listed: &Listed| {
                let which = WhichDir { number: listed.ino, uid: listed.entry.uid };
                let which = (listed.entry.body == Body::Dir).then_some(which);
                (listed.entry.name.clone(), listed.entry.kind(), which)
            };
                let mut down: Vec<_> = all.iter().map(named).collect();
            down.sort_by(|a, b| b.0.cmp(&a.0));
            prop_assert_eq!(list.names_down().collect::<Vec<_>>(), down);
        }
    }

    #[test]
    fn names_are_found_whatever_their_types(all in listings(), there in listings()) {
        for room in rooms() {
            let list = sorted(room, &there);
            let asked = sorted(room, &all);
            let mut finder = list.finder();
            let mut walk = asked.walk();
            while let Some(entry) = walk.next() {
                let found = finder.find(entry).and_then(|at| list.name(at));
                let expected = there.iter().find(|listed| listed.entry.name == entry.name);
                prop_assert_eq!(found.as_ref(), expected.map(|listed| &listed.entry.name));
            }
        }
    }

    #[test]
    fn entries_are_revised(all in listings(), fates: [u8; 10]) {
        for room in rooms() {
            let mut list = EntryList::new(room);
            all.iter().for_each(|listed| list.push_listed(listed));
            let mut fate = fates.iter().cycle();
            list.revise(|listed| match fate.next().unwrap() % 3 {
                0 => Revised::Kept,
                1 => {
                    listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                    Revised::Changed
                }
                _ => Revised::Dropped,
            });
            let mut expected = all.clone();
            let mut fate = fates.iter().cycle();
            expected.retain_mut(|listed| {
                let fate = fate.next().unwrap() % 3;
                if fate == 1 {
                    listed.entry.link_to = Some(b"a longer path/than before".to_vec());
                }
                fate != 2
            });
            prop_assert!(same(&list, &expected));
            list.retain(|at| at % 3 == 1);
            let every_third = expected.iter().skip(1).step_by(3);
                let every_third: Vec<Listed> = every_third.cloned().collect();
            prop_assert!(same(&list, &every_third));
        }
    }
}

#[test]
fn positions_are_taken_in_order() {
    let entry = |name: &[u8]| {
        let mut listed = Listed::blank();
        listed.entry.name = name.to_vec();
        listed.entry
    };
    let list = || EntryList::from_iter([entry(b"a"), entry(b"b"), entry(b"c")]);
    for (positions, wrong) in [(&[3][..], 3), (&[1, 1], 1), (&[2, 0], 0)] {
        assert_eq!(list().keep(positions).unwrap_err(), wrong);
    }
    let mut kept = list();
    kept.keep(&[0, 2]).unwrap();
    assert_eq!((kept.len(), kept.name(1)), (2, Some(b"c".to_vec())));
    assert!(kept.may_be_followed_by(&entry(b"d")) && !kept.may_be_followed_by(&entry(b"c")));
}
