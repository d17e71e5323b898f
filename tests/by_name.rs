//! A confined receiver cannot change metadata by name, and all of it arrives nevertheless: of each
//! kind of entry, new or there already, under sshd with a root and without, for a named tree and
//! behind the own server; as root and as another user.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::support::hasync::Reachable;
use crate::support::own_server::OwnServer;
use crate::support::pair::{Node, Pair};
use crate::support::{Hasync, Snapshot, Sshd, TempTree, need_root};

/// Kinds of entry, each with the mode that it has at first and later. What only root can make or
/// read on the source, other users have not.
const ENTRIES: [(&str, u32, u32, bool); 16] = [
    ("file", 0o644, 0o600, false),
    ("unreadable file", 0o000, 0o640, true),
    ("file that gets unreadable", 0o600, 0o000, true),
    ("write-only file", 0o200, 0o220, true),
    ("setuid file", 0o4755, 0o6711, false),
    ("dir", 0o755, 0o700, false),
    ("sticky dir", 0o1777, 0o2770, false),
    ("shut dir", 0o000, 0o100, true),
    ("dir that gets shut", 0o755, 0o000, true),
    ("link", 0o777, 0o777, false),
    ("dangling link", 0o777, 0o777, false),
    ("link to a dir", 0o777, 0o777, false),
    ("fifo", 0o600, 0o4666, false),
    ("socket", 0o666, 0o000, false),
    ("char device", 0o620, 0o606, true),
    ("block device", 0o660, 0o1600, true),
];

fn is_link(name: &str) -> bool {
    name.contains("link")
}

fn entries(as_root: bool) -> impl Iterator<Item = (&'static str, u32, u32)> {
    let entries = ENTRIES.iter().filter(move |entry| as_root || !entry.3);
    entries.map(|&(name, first, later, _)| (name, first, later))
}

/// Makes them in `dir` and in a directory below it.
fn fill(trees: &TempTree, dir: &str, as_root: bool) {
    for dir in [dir.to_owned(), format!("{dir}/a/b")] {
        for (name, ..) in entries(as_root) {
            let path = format!("{dir}/{name}");
            match name {
                "link" => trees.symlink("file", &path),
                "dangling link" => trees.symlink("/no/such", &path),
                "link to a dir" => trees.symlink("dir", &path),
                "fifo" => trees.fifo(&path),
                "socket" => trees.socket(&path),
                "char device" => trees.char_device(&path, 1, 3),
                "block device" => trees.block_device(&path, 7, 4095),
                name if name.contains("dir") => drop(trees.mkdir(&path)),
                name => trees.write(&path, name),
            }
        }
    }
}

/// Gives all of them the metadata of one state, `later` or not. A file keeps its time: else it
/// would be made anew.
fn set(trees: &TempTree, dir: &str, as_root: bool, later: bool) {
    let owner = match (as_root, later) {
        (true, true) => 3,
        (true, false) => 1,
        (false, _) => 65534,
    };
    for dir in [dir.to_owned(), format!("{dir}/a/b")] {
        for ((name, first, second), at) in entries(as_root).zip(1_400_000_000..) {
            let path = format!("{dir}/{name}");
            trees.chown(&path, owner, if as_root { owner + 1 } else { owner });
            if !is_link(name) {
                trees.chmod(&path, if later { second } else { first });
            }
            let moves_on = later && !name.contains("file");
            trees.mtime(&path, at + i64::from(moves_on) * 1000, 987_654_321);
        }
    }
}

/// Inode and time of the last reading of each regular file of the first push.
fn read_times(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let files = entries(true).filter(|(name, ..)| name.contains("file"));
    let found = files.filter_map(|(name, ..)| {
        let stat = dir.join(name).symlink_metadata().ok()?;
        let seen = (stat.ino(), stat.atime(), stat.atime_nsec());
        Some((dir.join(name), seen))
    });
    found.collect()
}

/// Has `push` make `target` equal to `source` when all is new, when all has other metadata, and
/// when nothing has changed.
#[track_caller]
fn check(case: &str, trees: &TempTree, as_root: bool, push: &dyn Fn() -> Hasync, target: &Path) {
    let there = || {
        let mut snapshot = Snapshot::of(target);
        snapshot
            .entries
            .retain(|path, _| !path.is_empty() && !path.starts_with(b".hasync"));
        snapshot
    };
    let here = || {
        let mut snapshot = Snapshot::of(&trees.path("source"));
        snapshot.entries.retain(|path, _| !path.is_empty());
        snapshot
    };
    fill(trees, "source", as_root);
    let mut before = BTreeMap::new();
    for later in [false, true] {
        set(trees, "source", as_root, later);
        let done = push().run().expect(0);
        assert_eq!(done.stderr, "", "{case}, later {later}: {done}");
        // They were changed where they are, and nobody has read them.
        if later {
            assert_eq!(before, read_times(target), "{case}");
        }
        let diff = here().diff(&there());
        assert_eq!(diff, "", "{case}, later {later}");
        before = read_times(target);
        assert!(!before.is_empty(), "{case}");
    }
    let unchanged = there();
    push().run().expect(0);
    there().assert_untouched_since(&unchanged);
}

/// The far side's program, which runs with `more` behind its words.
fn far_side(launcher: &str, program: &Path, more: &str) -> (TempTree, PathBuf) {
    let dir = TempTree::within(Path::new("/tmp"));
    let line = format!("exec {launcher} {} \"$@\" {more}", program.display());
    dir.write("hasync", format!("#!/bin/sh\n{line}\n"));
    let file = dir.path("hasync");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    (dir, file)
}

#[test]
fn under_sshd_with_a_root_and_without() {
    need_root();
    let sshd = Sshd::start();
    for is_bound in [false, true] {
        let trees = TempTree::new();
        let target = trees.mkdir("root/target");
        let more = format!("--root '{}'", trees.text("root"));
        let more = if is_bound { &*more } else { "" };
        let (_dir, program) = far_side("", &Hasync::program(), more);
        let push = || {
            let source = trees.contents_of("source");
            sshd.push_with(&program, &["-a"], &source, &target)
        };
        let case = format!("sshd, with a root {is_bound}");
        check(&case, &trees, true, &push, &target);
    }
}

#[test]
fn as_another_user() {
    need_root();
    let sshd = Sshd::start();
    let reachable = Reachable::new();
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let (_dir, program) = far_side(nobody, &reachable.program(), "");
    let trees = TempTree::within(Path::new("/tmp"));
    let target = trees.mkdir("target");
    trees.chown("target", 65534, 65534);
    let push = || {
        let source = trees.contents_of("source");
        sshd.push_with(&program, &["-rlptD"], &source, &target)
    };
    trees.mkdir("source");
    trees.chown("source", 65534, 65534);
    trees.mkdir("source/a/b");
    for dir in ["source/a", "source/a/b"] {
        trees.chown(dir, 65534, 65534);
    }
    check("nobody", &trees, false, &push, &target);
    // What it owns and may not open there.
    for mode in [0o000, 0o200] {
        trees.chmod("target/file", mode);
        push().run().expect(0);
        let now = trees.path("target/file").metadata().unwrap().mode();
        assert_eq!(now & 0o7777, 0o600, "{mode:o}");
    }
}

#[test]
fn of_a_named_tree() {
    need_root();
    let pair = Pair::here("");
    let trees = TempTree::new();
    let html = pair.path(Node::Foo0, "html");
    std::fs::remove_dir(&html).unwrap();
    trees.mkdir("source");
    std::os::unix::fs::symlink(trees.path("source"), &html).unwrap();
    let push = || pair.on(Node::Foo0, &["push", "--tree", "html"]);
    let target = pair.path(Node::Foo1, "html");
    check("a named tree", &trees, true, &push, &target);
}

#[test]
fn behind_the_own_server() {
    need_root();
    let trees = TempTree::new();
    let root = trees.mkdir("root");
    let server = OwnServer::with(&["--root", &trees.text("root")]);
    let push = || server.push(&["-a"], &trees.contents_of("source"), &root);
    check("the own server", &trees, true, &push, &root);
}
