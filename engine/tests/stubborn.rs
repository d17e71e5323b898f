//! Entries of the target that cannot be changed: they are told once, with the cause, keep nothing
//! else from arriving, and leave no trace in the history. Files that change together do not change
//! at all then.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use halves::{options, push_some, push_tree, tree};
use hasync_engine::Options;
use hasync_engine::generation::Tree;

/// One thing that keeps an entry as it is, while it lives.
struct Stubborn {
    path: PathBuf,
    undo: &'static [&'static str],
}

fn run(words: &[&str], path: &Path) {
    let status = Command::new(words[0]).args(&words[1..]).arg(path).status();
    assert!(status.unwrap().success(), "{words:?} {}", path.display());
}

impl Stubborn {
    fn new(words: &[&str], path: PathBuf, undo: &'static [&'static str]) -> Self {
        run(words, &path);
        Stubborn { path, undo }
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        run(self.undo, &self.path);
    }
}

/// A case: how the target's entry is held, what the source does to it, and what is said.
struct Case {
    name: &'static str,
    hold: fn(&Path) -> Stubborn,
    change: fn(&Path),
    said: &'static str,
}

fn immutable(path: &Path) -> Stubborn {
    Stubborn::new(&["chattr", "+i"], path.to_owned(), &["chattr", "-i"])
}

fn append_only(path: &Path) -> Stubborn {
    Stubborn::new(&["chattr", "+a"], path.to_owned(), &["chattr", "-a"])
}

fn mounted(path: &Path) -> Stubborn {
    let text = path.display().to_string();
    Stubborn::new(&["mount", "--bind", &text], path.to_owned(), &["umount"])
}

fn dir_of(hold: fn(&Path) -> Stubborn) -> impl Fn(&Path) -> Stubborn {
    move |path| hold(path.parent().unwrap())
}

fn write(path: &Path) {
    let len = fs::metadata(path).map_or(0, |found| found.len());
    fs::write(path, vec![b'n'; len as usize + 1]).unwrap();
}

fn chmod(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
}

fn unlink(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn into_symlink(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink("elsewhere", path).unwrap();
}

fn into_dir(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

const CASES: [Case; 10] = [
    Case {
        name: "immutable, content",
        hold: immutable,
        change: write,
        said: "it is immutable",
    },
    Case {
        name: "immutable, mode",
        hold: immutable,
        change: chmod,
        said: "it is immutable",
    },
    Case {
        name: "immutable, symlink",
        hold: immutable,
        change: into_symlink,
        said: "it is immutable",
    },
    Case {
        name: "immutable, directory",
        hold: immutable,
        change: into_dir,
        said: "it is immutable",
    },
    Case {
        name: "append-only, content",
        hold: append_only,
        change: write,
        said: "it is append-only",
    },
    Case {
        name: "append-only, mode",
        hold: append_only,
        change: chmod,
        said: "it is append-only",
    },
    Case {
        name: "mount point, content",
        hold: mounted,
        change: write,
        said: "it is a mount point",
    },
    Case {
        name: "mount point, symlink",
        hold: mounted,
        change: into_symlink,
        said: "it is a mount point",
    },
    Case {
        name: "in an immutable directory, content",
        hold: |path| dir_of(immutable)(path),
        change: write,
        said: "its directory is immutable",
    },
    Case {
        name: "in an append-only directory, removed",
        hold: |path| dir_of(append_only)(path),
        change: unlink,
        said: "d/stuck",
    },
];

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("d")).unwrap();
    for name in ["free", "d/free", "d/stuck"] {
        fs::write(root.join(name), name).unwrap();
    }
}

#[test]
fn it_keeps_nothing_else_from_arriving_and_is_told_once() {
    if !is_root() {
        return;
    }
    for case in &CASES {
        for atomic in [false, true] {
            let temp = tempfile::tempdir_in("/tmp").unwrap();
            let (source, target) = (temp.path().join("s"), temp.path().join("t"));
            fill(&source);
            let options = Options {
                atomic,
                ..options()
            };
            push_some(&source, &target, &options);
            (case.change)(&source.join("d/stuck"));
            fs::write(source.join("free"), "changed").unwrap();
            let held = (case.hold)(&target.join("d/stuck"));
            for _ in 0..2 {
                let (summary, log) = push_some(&source, &target, &options);
                assert!(summary.partial, "{}", case.name);
                assert_eq!(log.warnings.len(), 1, "{}: {:?}", case.name, log.warnings);
                let line = &log.warnings[0];
                assert!(
                    line.contains("d/stuck") && line.contains(case.said),
                    "{line}"
                );
                assert_eq!(
                    fs::read(target.join("free")).unwrap(),
                    b"changed",
                    "{}",
                    case.name
                );
            }
            drop(held);
            let (summary, log) = push_some(&source, &target, &options);
            assert!(!summary.partial, "{}: {:?}", case.name, log.warnings);
            assert!(!target.join(".hasync").exists(), "{}", case.name);
        }
    }
}

#[test]
fn it_leaves_no_trace_in_the_history() {
    if !is_root() {
        return;
    }
    for case in &CASES {
        let temp = tempfile::tempdir_in("/tmp").unwrap();
        let (a, b) = (
            tree(temp.path(), "a", "data", 0),
            tree(temp.path(), "b", "data", 2),
        );
        fill(&a.root);
        push_named(&a, &b, 0);
        fs::write(a.root.join("free"), "second").unwrap();
        push_named(&a, &b, 0);
        fs::write(a.root.join("free"), "third, and stuck").unwrap();
        (case.change)(&a.root.join("d/stuck"));
        let held = (case.hold)(&b.root.join("d/stuck"));
        let stuck = fs::symlink_metadata(b.root.join("d/stuck")).unwrap().len();
        let head = push_named(&a, &b, 1);
        for _ in 0..4 {
            assert_eq!(
                push_named(&a, &b, 1),
                head,
                "{}: no further generation",
                case.name
            );
        }
        // What was really done is still kept, and leads back, with it in the way or not.
        let undone = b.undo(None, false).unwrap();
        assert_eq!(undone.failed.count, 0, "{}", case.name);
        assert_eq!(
            fs::read(b.root.join("free")).unwrap(),
            b"second",
            "{}",
            case.name
        );
        assert_eq!(
            fs::symlink_metadata(b.root.join("d/stuck")).unwrap().len(),
            stuck
        );
        b.undo(None, false).unwrap();
        assert_eq!(fs::read(b.root.join("free")).unwrap(), b"third, and stuck");
        drop(held);
    }
}

/// Pushes, and gives the head; so many warnings are expected.
fn push_named(from: &Tree, to: &Tree, warnings: usize) -> String {
    let (result, log) = push_tree(from, &[], to, &options());
    assert_eq!(log.warnings.len(), warnings, "{:?}", log.warnings);
    let summary = result.unwrap();
    assert_eq!(summary.partial, warnings > 0);
    summary.sealed.unwrap().head.id.to_string()
}

#[test]
fn files_that_change_together_do_not_change_at_all() {
    if !is_root() {
        return;
    }
    for hold in [immutable, append_only, mounted] {
        let temp = tempfile::tempdir_in("/tmp").unwrap();
        let files = ["group", "gshadow", "passwd", "shadow"];
        let group = |node| Tree {
            files: files.map(OsString::from).to_vec(),
            ..tree(temp.path(), node, "data", 2)
        };
        let (a, b) = (group("a"), group("b"));
        for name in files {
            fs::write(a.root.join(name), "first").unwrap();
        }
        let head = push_named(&a, &b, 0);
        for name in files {
            fs::write(a.root.join(name), "second, which is longer").unwrap();
        }
        let times = |root: &Path| {
            files.map(|name| fs::metadata(root.join(name)).unwrap().modified().unwrap())
        };
        let before = times(&b.root);
        let held = hold(&b.root.join("passwd"));
        for _ in 0..2 {
            let (result, log) = push_tree(&a, &[], &b, &options());
            let summary = result.unwrap();
            assert!(summary.partial);
            assert_eq!(summary.sealed.unwrap().head.id.to_string(), head);
            assert_eq!(log.warnings.len(), 2, "{:?}", log.warnings);
            assert!(log.warnings[0].contains("passwd"), "{:?}", log.warnings);
            for name in files {
                assert_eq!(fs::read(b.root.join(name)).unwrap(), b"first", "{name}");
            }
            assert_eq!(times(&b.root), before);
        }
        drop(held);
        push_named(&a, &b, 0);
        for name in files {
            assert_eq!(
                fs::read(b.root.join(name)).unwrap(),
                b"second, which is longer"
            );
        }
    }
}
