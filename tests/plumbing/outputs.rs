//! The output file: complete under its name or not there, with the right permissions, and no
//! litter beside it however the run ends.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::{names, shell, small_delta, verb};
use crate::support::hasync::Reachable;
use crate::support::loopfs::LoopFs;
use crate::support::mountns;
use crate::support::process::Running;
use crate::support::{Hasync, Rng, TempTree, await_that, need_root};

/// A run without `/proc`, and with it the way to name a file made without a name: what file systems
/// without `O_TMPFILE` need too.
fn without_proc(arguments: &[&str], trees: &TempTree) -> Hasync {
    let (verb, files) = arguments.split_first().unwrap();
    Hasync::new()
        .arg(verb)
        .args(files.iter().map(|file| trees.text(file)))
        .under(&mountns::without_proc())
}

#[test]
fn a_file_is_patched_in_its_place() {
    need_root();
    let trees = small_delta();
    trees.chown("basis", 65534, 65534);
    trees.chmod("basis", 0o4750);
    let before = std::fs::metadata(trees.path("basis")).unwrap();
    verb(&trees, "patch", &["basis", "delta", "basis"]).expect(0);
    assert!(trees.read("basis") == trees.read("new"));
    let after = std::fs::metadata(trees.path("basis")).unwrap();
    assert_ne!(after.ino(), before.ino(), "replaced, not written to");
    assert_eq!(
        (after.uid(), after.gid(), after.mode()),
        (before.uid(), before.gid(), before.mode())
    );
    assert_eq!(names(&trees), ["basis", "delta", "new"]);
}

#[test]
fn a_new_file_has_the_permissions_of_the_umask() {
    let trees = small_delta();
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let line = format!("rm -f result; umask {umask}; hasync patch basis delta result");
        shell(&trees, &line).expect(0);
        let metadata = std::fs::metadata(trees.path("result")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{umask}");
    }
}

#[test]
fn an_owner_that_cannot_be_kept_stops_the_patch() {
    need_root();
    let reachable = Reachable::new();
    let trees = small_delta();
    trees.write("shared/output", "old");
    trees.chown("shared", 65534, 65534);
    let files = ["basis", "delta", "shared/output"].map(|file| trees.text(file));
    Hasync::new()
        .arg("patch")
        .args(files)
        .by_nobody(&reachable)
        .run()
        .expect_error(11, &["owner", "not permitted"]);
    assert_eq!(trees.read("shared/output"), b"old");
    assert_eq!(std::fs::read_dir(trees.path("shared")).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_of_its_own_is_not_replaced() {
    let trees = small_delta();
    trees.mkdir("dir");
    trees.fifo("fifo");
    trees.symlink("basis", "link");
    trees.symlink("nowhere", "dangling");
    let before = names(&trees);
    for (output, word) in [
        ("dir", "directory"),
        ("dir/", "directory"),
        ("dir/..", "directory"),
        ("fifo", "not a regular file"),
        ("link", "symlink"),
        ("dangling", "symlink"),
        ("delta", "would replace the input"),
    ] {
        verb(&trees, "patch", &["basis", "delta", output]).expect_error(1, &[word]);
    }
    verb(&trees, "patch", &["basis", "delta", "/dev/null"]).expect_error(1, &["not a regular"]);
    verb(&trees, "signature", &["basis", "basis"]).expect_error(1, &["would replace"]);
    verb(&trees, "signature", &["basis", "s"]).expect(0);
    for output in ["s", "new"] {
        verb(&trees, "delta", &["s", "new", output]).expect_error(1, &["would replace"]);
    }
    std::fs::remove_file(trees.path("s")).unwrap();
    assert_eq!(names(&trees), before);
}

#[test]
fn a_full_disk_keeps_what_was_there() {
    let disk = LoopFs::new("ext4", 8);
    let trees = TempTree::new();
    let mut rng = Rng::new(5);
    trees.write("basis", rng.bytes(100_000));
    trees.write("new", rng.bytes(20 << 20));
    verb(&trees, "signature", &["basis", "s"]).expect(0);
    verb(&trees, "delta", &["s", "new", "d"]).expect(0);
    for (name, files) in [("patch", ["basis", "d"]), ("delta", ["s", "new"])] {
        let output = disk.path("output");
        std::fs::write(&output, "old").unwrap();
        let run = |output: &Path| {
            let files = files.map(|file| trees.text(file));
            Hasync::new().arg(name).args(files).arg(output).run()
        };
        run(&output).expect_error(82, &["output\"", "no space"]);
        assert_eq!(std::fs::read(&output).unwrap(), b"old");
        run(&disk.path("fresh")).expect_error(82, &["fresh\"", "no space"]);
        let left: Vec<_> = std::fs::read_dir(disk.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "lost+found")
            .collect();
        assert_eq!(left, ["output"]);
    }
    let line = "hasync patch basis d >/dev/full";
    shell(&trees, line).expect_error(82, &["standard output", "no space"]);
}

#[test]
fn works_where_a_file_needs_a_name_from_the_start() {
    need_root();
    let trees = small_delta();
    for output in ["result", "basis"] {
        without_proc(&["patch", "basis", "delta", output], &trees)
            .run()
            .expect(0);
        assert!(trees.read(output) == trees.read("new"));
    }
    let before = names(&trees);
    without_proc(&["patch", "basis", "delta", "x"], &trees)
        .run()
        .expect_error(3, &["5008 bytes"]);
    assert_eq!(names(&trees), before);
}

#[test]
fn a_signal_leaves_nothing_behind() {
    need_root();
    let trees = small_delta();
    trees.fifo("fifo");
    trees.write("output", "old");
    let before = names(&trees);
    let arguments = ["patch", "basis", "fifo", "output"];
    let plain = Hasync::new()
        .arg("patch")
        .args(arguments[1..].iter().map(|file| trees.text(file)));
    for (patch, has_name) in [(plain, false), (without_proc(&arguments, &trees), true)] {
        let running = patch.start();
        // Opening it for writing waits until the other end has opened it for reading.
        let writer = std::fs::OpenOptions::new()
            .write(true)
            .open(trees.path("fifo"))
            .unwrap();
        await_that("SIGTERM is blocked", || blocks_sigterm(running.id()));
        if has_name {
            await_that("a file is made", || names(&trees).len() > before.len());
        }
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &running.id().to_string()]);
        Running::start(kill).finish().expect(0);
        running
            .finish()
            .expect_error(20, &["interrupted by SIGTERM"]);
        drop(writer);
        assert_eq!(names(&trees), before);
        assert_eq!(trees.read("output"), b"old");
    }
}

/// Whether a process has begun to heed signals itself.
fn blocks_sigterm(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask & (1 << 14) != 0
}
