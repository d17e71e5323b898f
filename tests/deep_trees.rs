//! Trees as deep as anybody can make them in a moment: what they cost grows with their depth, and
//! what lies deeper than a path may be is left as it is, on either side.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::support::{Finished, Hasync, TempTree};

/// Longest path in bytes.
const PATH_LEN_MAX: usize = 64 << 10;

fn open(path: &Path) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// Opens the directory that is so many levels down a chain of directories with this name, making
/// what is not there.
fn down(root: &Path, name: &str, levels: usize) -> OwnedFd {
    std::fs::create_dir_all(root).unwrap();
    (0..levels).fold(open(root), |dir, _| {
        let _ = mkdirat(&dir, name, Mode::RWXU);
        enter(&dir, name).unwrap()
    })
}

fn enter(dir: &OwnedFd, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).ok()
}

/// How many levels there are of a chain.
fn levels(root: &Path, name: &str) -> usize {
    let below = |dir: &OwnedFd| enter(dir, name);
    std::iter::successors(below(&open(root)), below).count()
}

fn put(dir: &OwnedFd, name: &str) {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::RUSR | Mode::WUSR).unwrap();
}

fn has(dir: &OwnedFd, name: &str) -> bool {
    openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// A source and a target, which go down too deep for whoever removes by recursion.
struct Deep(TempTree);

impl Deep {
    fn new() -> Self {
        Deep(TempTree::new())
    }

    fn push(&self, options: &[&str]) -> Finished {
        self.push_under(&[], options)
    }

    fn push_under(&self, launcher: &[&str], options: &[&str]) -> Finished {
        let trees = [self.0.contents_of("source"), self.0.contents_of("target")];
        Hasync::push(options).args(trees).under(launcher).run()
    }

    fn source(&self) -> PathBuf {
        self.0.path("source")
    }

    fn target(&self) -> PathBuf {
        self.0.path("target")
    }
}

impl Drop for Deep {
    fn drop(&mut self) {
        for tree in [self.source(), self.target()] {
            let _ = std::process::Command::new("rm")
                .arg("-rf")
                .arg(tree)
                .status();
        }
    }
}

/// Calls that open something, of a push of so many levels under strace, for each of its ways: a
/// first copy, an unchanged push, one that deletes as many levels as it keeps, and a dry run.
fn opens(count: usize) -> [usize; 4] {
    let deep = Deep::new();
    let traced = |options: &[&str]| {
        let log = deep.0.text("calls");
        let strace = [
            "strace",
            "-f",
            "-c",
            "-e",
            "trace=openat,openat2",
            "-o",
            &log,
        ];
        deep.push_under(&strace, options).expect(0);
        let log = String::from_utf8(deep.0.read("calls")).unwrap();
        let calls = |line: &str| line.split_whitespace().nth(3)?.parse::<usize>().ok();
        let lines = log.lines().filter(|line| line.contains("openat"));
        lines.filter_map(calls).sum()
    };
    down(&deep.source(), "d", count);
    let first = traced(&["-a"]);
    assert_eq!(levels(&deep.target(), "d"), count);
    let unchanged = traced(&["-a"]);
    down(&deep.target(), "e", count);
    let told = traced(&["-an", "--delete"]);
    assert_eq!(levels(&deep.target(), "e"), count);
    let deleted = traced(&["-a", "--delete"]);
    assert_eq!(levels(&deep.target(), "e"), 0);
    assert_eq!(levels(&deep.target(), "d"), count);
    [first, unchanged, told, deleted]
}

#[test]
fn what_is_opened_grows_with_the_depth() {
    let (few, many) = (opens(500), opens(2_000));
    for (few, many) in few.into_iter().zip(many) {
        let per_level = (many - few) / 1_500;
        assert!(per_level <= 16, "{few} and {many} opened");
    }
}

#[test]
fn a_tree_ten_thousand_levels_deep_is_mirrored_with_few_descriptors() {
    const LEVELS: usize = 10_000;
    let deep = Deep::new();
    put(&down(&deep.source(), "d", LEVELS), "file");
    let few = ["prlimit", "--nofile=256", "--stack=1048576"];
    for options in [
        &["-a"][..],
        &["-a"],
        &["-a", "--delete"],
        &["-an", "--delete"],
    ] {
        deep.push_under(&few, options).expect(0);
        assert!(has(&down(&deep.target(), "d", LEVELS), "file"));
        // Below what is mirrored, and beside it.
        down(&deep.target(), "d", LEVELS + 6_000);
        down(&deep.target(), "e", LEVELS + 6_000);
    }
    deep.push_under(&few, &["-a", "--delete"]).expect(0);
    assert_eq!(levels(&deep.target(), "e"), 0);
    assert_eq!(levels(&deep.target(), "d"), LEVELS);
}

#[test]
fn an_atomic_push_makes_and_removes_deep_trees() {
    const LEVELS: usize = 4_000;
    let deep = Deep::new();
    put(&down(&deep.source(), "d", LEVELS), "file");
    deep.push(&["-a", "--atomic"]).expect(0);
    assert!(has(&down(&deep.target(), "d", LEVELS), "file"));
    put(&down(&deep.source(), "d", LEVELS), "another");
    down(&deep.source(), "new", LEVELS);
    down(&deep.target(), "e", LEVELS);
    deep.push(&["-a", "--atomic", "--delete"]).expect(0);
    assert!(has(&down(&deep.target(), "d", LEVELS), "another"));
    assert_eq!(levels(&deep.target(), "new"), LEVELS);
    assert_eq!(levels(&deep.target(), "e"), 0);
}

/// Levels of long names that a path has at most, in a name of which it ends at its limit.
const LONG_LEVELS: usize = PATH_LEN_MAX / 256;

#[test]
fn what_is_too_deep_is_said_and_left_and_the_rest_is_mirrored() {
    let name = "d".repeat(255);
    let deep = Deep::new();
    // Without its last slash the path of the last level has just room.
    down(&deep.source(), &name, LONG_LEVELS + 3);
    put(&down(&deep.source(), &name, LONG_LEVELS), "file");
    put(&open(&deep.source()), "other");
    for _ in 0..2 {
        let pushed = deep.push(&["-a", "--delete"]).expect(23);
        assert_eq!(
            pushed.stderr.matches("cannot mirror all").count(),
            1,
            "{pushed}"
        );
        assert!(pushed.stderr.len() < 5_000, "{pushed}");
        assert_eq!(levels(&deep.target(), &name), LONG_LEVELS);
        assert!(has(&open(&deep.target()), "other"));
    }
    // Nobody knows what belongs there.
    let last = down(&deep.target(), &name, LONG_LEVELS);
    put(&last, "own");
    deep.push(&["-a", "--delete"]).expect(23);
    assert!(has(&last, "own"));
}

#[test]
fn what_is_too_deep_on_the_target_stays() {
    let name = "d".repeat(255);
    let deep = Deep::new();
    put(&down(&deep.source(), "kept", 1), "file");
    down(&deep.target(), &name, LONG_LEVELS + 3);
    put(&down(&deep.target(), "goes", 1), "file");
    let pushed = deep.push(&["-a", "--delete"]).expect(23);
    assert!(
        pushed.stderr.contains("cannot delete directory"),
        "{pushed}"
    );
    assert_eq!(levels(&deep.target(), &name), LONG_LEVELS + 3);
    assert_eq!(levels(&deep.target(), "goes"), 0);
    assert!(has(&down(&deep.target(), "kept", 1), "file"));
}
