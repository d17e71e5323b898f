//! The source that every situation is tried with, in two versions: the same entries at the top and
//! in the directory `special`, of which the situation may make something.

use std::path::Path;

use super::place::Keeps;
use crate::support::TempTree;
use crate::support::temptree::set_mtime;

/// Directories that hold the same entries.
const DIRS: [&str; 2] = ["", "special"];

/// Which version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    First,
    /// With everything changed that a push can change.
    Second,
}

/// Makes `source` that version, of what the target can hold at all.
pub(super) fn make(trees: &TempTree, version: Version, keeps: Keeps) {
    let source = trees.path("source");
    if source.exists() {
        std::fs::remove_dir_all(&source).unwrap();
    }
    for dir in DIRS {
        let at = Path::new("source").join(dir);
        let name = |name: &str| at.join(name);
        common(trees, &at);
        match version {
            Version::First => {
                trees.write(name("small"), "small, first");
                trees.write(name("large"), pattern(1));
                trees.write(name("goes"), "not in the second");
                trees.write(name("gone/sub/file"), "nor this");
                trees.write(name("file-next"), "a directory in the second");
                trees.write(name("dir-next/file"), "a file in the second");
                trees.write(name("moved/before"), "renamed");
            }
            Version::Second => {
                trees.write(name("small"), "small, and second");
                trees.write(name("large"), pattern(2));
                trees.write(name("file-next/deep/file"), "below what was a file");
                trees.write(name("dir-next"), "what was a directory");
                trees.write(name("moved/after"), "renamed");
                trees.write(name("new/deep/er"), "new");
            }
        }
        let (small, other) = ("small", "large");
        if keeps.symlinks {
            let to = if version == Version::First {
                small
            } else {
                other
            };
            trees.symlink(to, name("symlink"));
            trees.symlink("elsewhere/\u{fc}", name("dir/dangling"));
        }
        trees.hard_link(name("same"), name("dir/same-again"));
        if version == Version::Second {
            trees.hard_link(name("small"), name("dir/small-again"));
        }
        if keeps.specials {
            trees.fifo(name("fifo"));
        }
        let (mode, owner) = match version {
            Version::First => (0o640, 1000),
            Version::Second => (0o604, 1001),
        };
        trees.chmod(name("attributes"), mode);
        trees.chown(name("attributes"), owner, owner + 1);
        trees.chmod(name("dir"), 0o2750);
        trees.chmod(name("same"), 0o4711);
    }
    age(&source, version);
}

/// What both versions have, in the directory `at`.
fn common(trees: &TempTree, at: &Path) {
    let name = |name: &str| at.join(name);
    trees.write(name("same"), "the same in both");
    trees.write(name("empty"), "");
    trees.write(name("attributes"), "new attributes alone");
    trees.write(name("touched"), "a new time alone");
    trees.write(name("dir/inner/file"), "deep down");
    trees.mkdir(name("bare"));
}

/// Times long ago, of odd seconds and with nanoseconds.
fn age(source: &Path, version: Version) {
    let changed = ["large", "touched", "dir/inner"];
    let secs = |path: &Path| match version {
        Version::Second if changed.iter().any(|name| path.ends_with(name)) => 100_003,
        _ => 1,
    };
    for entry in walkdir::WalkDir::new(source).contents_first(true) {
        let entry = entry.unwrap();
        if entry.file_name() == "dir" {
            std::os::unix::fs::lchown(entry.path(), Some(1002), Some(1003)).unwrap();
        }
        set_mtime(
            entry.path(),
            1_500_000_000 + secs(entry.path()),
            123_456_789,
        );
    }
}

/// Content of more than one block.
fn pattern(version: u32) -> Vec<u8> {
    let word = |n: u32| (n.wrapping_mul(2_654_435_761) ^ version).to_le_bytes();
    (0..80_000).flat_map(word).collect()
}
