//! Sparse files: a hole costs nothing, however long it is, and a file that the target cannot hold
//! is refused before it is read.

#![allow(missing_docs, clippy::unwrap_used)]

mod halves;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use halves::{push_some, unflushed};
use hasync_engine::Options;

/// Reading or writing two tebibytes would take the better part of an hour.
#[test]
fn a_hole_of_two_tebibytes_costs_nothing() {
    const LEN: u64 = 2 << 40;
    for sparse in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir(&source).unwrap();
        let options = Options {
            sparse,
            ..unflushed()
        };
        let path = source.join("sparse");
        let mut file = File::create(&path).unwrap();
        file.set_len(LEN).unwrap();
        file.write_all(b"begin").unwrap();
        for round in 0..3_u64 {
            // New, then grown, then changed in the middle, where the target has it already.
            file.write_all_at(b"middle", LEN / 2 + round).unwrap();
            if round == 1 {
                file.set_len(LEN + 5).unwrap();
            }
            let (summary, log) = push_some(&source, &target, &options);
            assert_eq!(
                (log.warnings.len(), summary.partial),
                (0, false),
                "{:?}",
                log.warnings
            );
            assert!(summary.sent_bytes < 100_000, "{summary:?}");
            let made = File::open(target.join("sparse")).unwrap();
            let found = made.metadata().unwrap();
            assert_eq!(found.len(), file.metadata().unwrap().len());
            assert!(found.blocks() * 512 < 1 << 20, "{} blocks", found.blocks());
            for (at, len) in [(0, 5), (LEN / 2 - 10, 30), (LEN - 100, 100)] {
                let (mut ours, mut theirs) = (vec![0; len], vec![1; len]);
                File::open(&path)
                    .unwrap()
                    .read_exact_at(&mut ours, at)
                    .unwrap();
                made.read_exact_at(&mut theirs, at).unwrap();
                assert_eq!(ours, theirs, "at {at}");
            }
        }
    }
}

/// A dense source in the place of one that was a hole, and the other way round.
#[test]
fn holes_give_way_to_data_and_data_to_holes() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    fs::create_dir(&source).unwrap();
    let path = source.join("file");
    let dense: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let lens = [
        (2 << 40, false),
        (3_000_000, true),
        (3 << 40, false),
        (9 << 20, false),
    ];
    for (len, is_dense) in lens {
        let file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        if is_dense {
            file.write_all_at(&dense, 0).unwrap();
        }
        let (summary, log) = push_some(&source, &target, &unflushed());
        assert!(!summary.partial, "{:?}", log.warnings);
        let made = File::open(target.join("file")).unwrap();
        assert_eq!(made.metadata().unwrap().len(), len);
        let mut content = vec![1; 3_000_000];
        made.read_exact_at(&mut content, 0).unwrap();
        assert!(
            content
                == if is_dense {
                    dense.clone()
                } else {
                    vec![0; 3_000_000]
                }
        );
    }
}

/// A file of a file system without a limit goes to one with one.
#[test]
fn a_file_that_the_target_cannot_hold_is_refused_before_it_is_read() {
    const LEN: u64 = 20 << 40;
    let (Ok(there), here) = (
        tempfile::tempdir_in("/dev/shm"),
        tempfile::tempdir().unwrap(),
    ) else {
        return;
    };
    let holds = tempfile::tempfile_in(here.path()).unwrap().set_len(LEN);
    let (source, target) = (there.path().join("s"), here.path().join("t"));
    fs::create_dir_all(source.join("new")).unwrap();
    fs::create_dir(&target).unwrap();
    let makes = |name: &str| File::create(source.join(name)).unwrap().set_len(LEN);
    if holds.is_ok() || makes("long").is_err() {
        return;
    }
    makes("new/long").unwrap();
    fs::write(source.join("good"), b"good").unwrap();
    for name in ["long", "extra"] {
        fs::write(target.join(name), b"old").unwrap();
    }
    let (summary, log) = push_some(&source, &target, &unflushed());
    assert!(
        summary.partial && summary.sent_bytes < 10_000,
        "{summary:?}"
    );
    assert_eq!(log.warnings.len(), 2, "{:?}", log.warnings);
    for line in &log.warnings {
        assert!(
            line.contains("long") && line.contains(&LEN.to_string()),
            "{line}"
        );
    }
    assert_eq!(fs::read(target.join("long")).unwrap(), b"old");
    assert_eq!(fs::read(target.join("good")).unwrap(), b"good");
    assert!(!target.join("extra").exists() && !target.join("new/long").exists());
}
