//! More names of one inode than the target's file system allows: a further inode takes the rest,
//! and the next push has nothing to do.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use halves::{push_ok, unflushed};
use hasync_engine::Options;

/// What ext4 allows.
const NAMES_MAX: usize = 65_000;

/// How many names each inode in a directory has.
fn groups(dir: &Path) -> Vec<usize> {
    let mut groups: BTreeMap<u64, usize> = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        *groups
            .entry(entry.unwrap().metadata().unwrap().ino())
            .or_default() += 1;
    }
    let mut counts: Vec<usize> = groups.into_values().collect();
    counts.sort_unstable();
    counts
}

#[test]
fn a_further_inode_takes_the_rest() {
    // Names without end here, and not there.
    let (here, there) = (
        tempfile::tempdir_in("/dev/shm").unwrap(),
        tempfile::tempdir_in("/tmp").unwrap(),
    );
    let (source, target) = (here.path().join("s"), there.path().join("t"));
    fs::create_dir_all(source.join("d")).unwrap();
    fs::write(source.join("d/00000"), "one content").unwrap();
    let count = NAMES_MAX + 300;
    for number in 1..count {
        fs::hard_link(
            source.join("d/00000"),
            source.join(format!("d/{number:05}")),
        )
        .unwrap();
    }
    if fs::metadata(there.path()).unwrap().dev() == fs::metadata(here.path()).unwrap().dev() {
        return;
    }
    for atomic in [false, true] {
        let options = Options {
            hard_links: true,
            atomic,
            ..unflushed()
        };
        fs::create_dir_all(target.join("d")).unwrap();
        push_ok(&source, &target, &options);
        let found = groups(&target.join("d"));
        assert_eq!(found.iter().sum::<usize>(), count);
        assert_eq!(found.len(), 2, "atomic {atomic}: {found:?}");
        for name in ["00000", "64999", "65299"] {
            assert_eq!(
                fs::read(target.join("d").join(name)).unwrap(),
                b"one content"
            );
        }
        let (summary, log) = push_ok(&source, &target, &options);
        assert_eq!((log.lines, summary.transferred_files), (Vec::new(), 0));
        fs::remove_dir_all(&target).unwrap();
    }
}
