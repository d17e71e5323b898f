//! Both halves in one process, over a pair of pipes: the engine without any transport.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use halves::{options, push_ok, run};
use hasync_engine::Options;

#[test]
fn first_copy_then_nothing_then_a_change() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    for dir in ["a", "a/deep", "b"] {
        std::fs::create_dir_all(source.join(dir)).unwrap();
        for number in 0..20 {
            let content = format!("{dir} {number}").repeat(number * 50);
            std::fs::write(source.join(dir).join(number.to_string()), content).unwrap();
        }
    }
    let big: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(source.join("big"), &big).unwrap();
    std::os::unix::fs::symlink("nowhere", source.join("link")).unwrap();

    let (first, _) = push_ok(&source, &target, &options());
    assert_eq!(first.transferred_files, 61);
    assert!(first.durable);
    assert_eq!(std::fs::read(target.join("big")).unwrap(), big);
    assert!(!target.join(".hasync").exists());

    let (second, log) = push_ok(&source, &target, &options());
    assert_eq!((second.dirs_exchanged, second.transferred_files), (0, 0));
    assert!(log.lines.is_empty(), "{:?}", log.lines);

    let mut changed = big;
    changed[5_000_000] ^= 1;
    std::fs::write(source.join("big"), &changed).unwrap();
    std::fs::remove_dir_all(source.join("b")).unwrap();
    let dry = Options {
        dry_run: true,
        ..options()
    };
    let (_, would) = push_ok(&source, &target, &dry);
    let (third, did) = push_ok(&source, &target, &options());
    assert_eq!(would.lines, did.lines);
    assert_eq!(std::fs::read(target.join("big")).unwrap(), changed);
    assert!(third.literal_bytes < 1_000_000, "{third:?}");
    assert_eq!(third.deleted.total(), 21);
    assert!(!target.join("b").exists());
    let (fourth, _) = push_ok(&source, &target, &options());
    assert_eq!(fourth.dirs_exchanged, 0);
}

#[test]
fn a_missing_source_deletes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("t");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("kept"), b"").unwrap();
    let source = temp.path().join("missing");
    let present = temp.path().join("present");
    std::fs::create_dir(&present).unwrap();
    let sources = [
        format!("{}/", present.display()),
        format!("{}/", source.display()),
    ];
    let (result, log) = run(&sources, &target, &options());
    assert!(result.unwrap().partial);
    assert_eq!(log.warnings.len(), 1);
    assert!(target.join("kept").exists());
}

#[test]
fn a_snapshot_that_links_to_an_older_one_sends_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir_all(source.join("daily.1")).unwrap();
    std::fs::write(source.join("daily.1/file"), vec![7; 200_000]).unwrap();
    let options = Options {
        hard_links: true,
        ..options()
    };
    push_ok(&source, &target, &options);
    // The new names come before the old ones, in a new directory and in the same.
    std::fs::create_dir(source.join("daily.0")).unwrap();
    for name in ["daily.0/file", "daily.1/a"] {
        std::fs::hard_link(source.join("daily.1/file"), source.join(name)).unwrap();
    }
    let (second, _) = push_ok(&source, &target, &options);
    assert_eq!(second.literal_bytes, 0);
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(target.join(name)).unwrap().ino()
    };
    assert_eq!(inode("daily.0/file"), inode("daily.1/file"));
    assert_eq!(inode("daily.1/a"), inode("daily.1/file"));
    let (third, log) = push_ok(&source, &target, &options);
    assert_eq!((third.dirs_exchanged, log.lines.len()), (0, 0));
    // A change of what all names share travels as a delta, once.
    std::fs::write(
        source.join("daily.1/file"),
        [&[7; 200_000][..], b"more"].concat(),
    )
    .unwrap();
    let (fourth, _) = push_ok(&source, &target, &options);
    assert!(fourth.literal_bytes < 50_000, "{fourth:?}");
    assert_eq!(
        std::fs::read(target.join("daily.0/file")).unwrap().len(),
        200_004
    );
    assert_eq!(inode("daily.1/a"), inode("daily.1/file"));
}

#[test]
fn linked_files_are_found_in_the_source_they_come_from() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("t");
    let mut sources = Vec::new();
    for source in ["one", "two"] {
        let dir = temp.path().join(source).join("shared");
        std::fs::create_dir_all(&dir).unwrap();
        let first = dir.join(format!("{source}-a"));
        std::fs::write(&first, source).unwrap();
        std::fs::hard_link(&first, dir.join(format!("{source}-b"))).unwrap();
        sources.push(format!("{}/", temp.path().join(source).display()));
    }
    let options = Options {
        hard_links: true,
        ..options()
    };
    let (result, log) = run(&sources, &target, &options);
    assert!(!result.unwrap().vanished);
    assert_eq!(log.warnings, Vec::<String>::new());
    for name in ["one-a", "one-b", "two-a", "two-b"] {
        let content = std::fs::read_to_string(target.join("shared").join(name)).unwrap();
        assert_eq!(content, name[..3]);
    }
}

#[test]
fn entries_that_share_a_cut_print_lose_nothing_below_them() {
    let temp = tempfile::tempdir().unwrap();
    let (source, target) = (temp.path().join("s"), temp.path().join("t"));
    std::fs::create_dir_all(&source).unwrap();
    for round in 0..12_u64 {
        // So many prints of two bytes that some are alike in almost every other round.
        for number in 0..200 {
            let path = source.join(format!("f{number}"));
            std::fs::write(&path, round.to_string()).unwrap();
            let time = filetime::FileTime::from_unix_time(1_600_000_000 + round as i64, 0);
            filetime::set_file_mtime(&path, time).unwrap();
        }
        std::fs::create_dir_all(source.join(format!("new-{round}/deep/er"))).unwrap();
        std::fs::write(source.join(format!("new-{round}/deep/er/file")), "x").unwrap();
        let _ = std::fs::remove_dir_all(source.join(format!("new-{}", round.wrapping_sub(2))));
        let atomic = Options {
            atomic: round % 2 == 1,
            ..options()
        };
        push_ok(&source, &target, &atomic);
        assert!(target.join(format!("new-{round}/deep/er/file")).exists());
        let (again, _) = push_ok(&source, &target, &options());
        assert_eq!(again.dirs_exchanged, 0);
    }
}
