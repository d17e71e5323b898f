//! Directories in which some files have changed: what is told about them finds every change, and
//! costs little.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::path::Path;

use halves::push_ok;
use hasync_engine::{Action, Options};

fn options() -> Options {
    Options {
        fsync: false,
        ..halves::options()
    }
}

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let key = blake3::hash(&seed.to_le_bytes());
    blake3::Hasher::new_keyed(key.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn assert_same(source: &Path, target: &Path) {
    let contents = |root: &Path| {
        let files = std::fs::read_dir(root).unwrap().flatten();
        let content = |file: std::fs::DirEntry| {
            let content = std::fs::read(file.path()).unwrap();
            (file.file_name(), content)
        };
        let mut contents: Vec<_> = files.map(content).collect();
        contents.sort();
        contents
    };
    assert!(contents(source) == contents(target));
}

/// With 256 entries on each side of which half have changed, two that share their first two bytes
/// are met in a quarter of the pushes.
#[test]
fn entries_whose_prints_begin_alike_are_told_apart() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir(&source).unwrap();
    for round in 0..40 {
        for file in 0..256 {
            let path = source.join(format!("{file:03}"));
            match (file + round) % 4 {
                0 => std::fs::write(path, format!("{file} {}", "x".repeat(round))).unwrap(),
                1 => {
                    let _ = std::fs::remove_file(path);
                }
                _ => {}
            }
        }
        push_ok(&source, &target, &options());
        assert_same(&source, &target);
        let (again, _) = push_ok(&source, &target, &options());
        assert_eq!(again.dirs_exchanged, 0);
    }
}

#[test]
fn of_what_was_appended_to_only_the_end_travels() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir(&source).unwrap();
    let lens = [600, 1024, 4095, 4096, 5000, 70_000, 1_000_000];
    for len in lens {
        std::fs::write(source.join(len.to_string()), noise(len, len)).unwrap();
    }
    push_ok(&source, &target, &options());
    for len in lens {
        let longer = [noise(len, len), noise(1, 100)].concat();
        std::fs::write(source.join(len.to_string()), longer).unwrap();
    }
    let (summary, _) = push_ok(&source, &target, &options());
    assert_eq!(summary.literal_bytes, 100 * lens.len() as u64);
    assert!(summary.received_bytes < 1_000, "{summary:?}");
    assert_same(&source, &target);
}

#[test]
fn files_that_grew_otherwise_travel_as_they_must() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir(&source).unwrap();
    // By the length of the old file: is a delta worth it?
    let lens = [
        (100, false),
        (600, false),
        (4095, false),
        (9000, true),
        (200_000, true),
    ];
    for (len, _) in lens {
        std::fs::write(source.join(len.to_string()), noise(len, len)).unwrap();
    }
    push_ok(&source, &target, &options());
    for (len, is_delta) in lens {
        let longer = [noise(2, 10), noise(len, len)].concat();
        std::fs::write(source.join(len.to_string()), longer).unwrap();
        let (summary, log) = push_ok(&source, &target, &options());
        assert_eq!(log.lines, [(Action::Transfer, len.to_string())]);
        assert_eq!(summary.literal_bytes < len as u64, is_delta, "{summary:?}");
        assert_same(&source, &target);
    }
}

#[test]
fn a_directory_of_many_names_is_compared_in_parts() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir(&source).unwrap();
    let name = |file: usize| source.join(format!("{file:06}"));
    for file in 0..100_000 {
        std::fs::File::create(name(file)).unwrap();
    }
    push_ok(&source, &target, &options());
    for file in [0, 50_000, 99_999] {
        std::fs::write(name(file), "changed").unwrap();
        std::fs::remove_file(name(file / 2 + 10)).unwrap();
    }
    let (summary, _) = push_ok(&source, &target, &options());
    assert_eq!((summary.transferred_files, summary.deleted.total()), (3, 3));
    assert!(summary.received_bytes < 700_000, "{summary:?}");
    assert_same(&source, &target);
}
