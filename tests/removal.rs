//! Removals that do not succeed, or not wholly: what can go goes, what is listed as deleted is
//! gone, and the message names the entry at fault.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root};

/// Entries that cannot be changed, for as long as this lives.
struct Immutable(Vec<String>);

impl Immutable {
    fn new(trees: &TempTree, names: &[&str]) -> Self {
        let paths: Vec<String> = names.iter().map(|name| trees.text(name)).collect();
        for path in &paths {
            run_ok("chattr", &["+i", path]);
        }
        Immutable(paths)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        for path in &self.0 {
            // It may have been moved on its way out.
            let _ = Command::new("chattr").args(["-i", path]).output();
        }
    }
}

/// What a push to `target` listed as deleted.
fn listed(done: &Finished) -> BTreeSet<String> {
    let lines = done.stdout_text();
    let deleted = lines
        .lines()
        .filter_map(|line| line.strip_prefix("*deleting"));
    deleted
        .map(|path| path.trim().trim_end_matches('/').to_owned())
        .collect()
}

/// All paths of a tree.
fn paths(root: &Path) -> BTreeSet<String> {
    let all = Snapshot::of(root).entries.into_keys();
    let all = all.map(|path| String::from_utf8(path).unwrap());
    all.filter(|path| !path.is_empty() && !path.starts_with(".hasync"))
        .collect()
}

/// One tree that goes: what is immutable in it, what the source has instead of it, and what the
/// message names. An atomic push takes the whole away, or nothing.
struct Case {
    immutable: &'static [&'static str],
    instead: Option<&'static str>,
    named: &'static str,
}

const FILES: [&str; 6] = ["d/a/1", "d/a/2", "d/b/3", "d/b/deep/4", "d/5", "e/6"];

const CASES: [Case; 7] = [
    Case {
        immutable: &["d/a/1"],
        instead: None,
        named: "d/a/1",
    },
    Case {
        immutable: &["d/b/deep/4"],
        instead: None,
        named: "d/b/deep/4",
    },
    Case {
        immutable: &["d/b/deep"],
        instead: None,
        named: "d/b/deep/4",
    },
    Case {
        immutable: &["d/a/1", "d/b/3", "d/5"],
        instead: None,
        named: "2 more",
    },
    Case {
        immutable: &["d"],
        instead: None,
        named: "/d",
    },
    Case {
        immutable: &["d/a/1"],
        instead: Some("d"),
        named: "d/a/1",
    },
    Case {
        immutable: &["d/a/1", "d/a"],
        instead: Some("d"),
        named: "d/a/",
    },
];

#[test]
fn what_is_listed_as_deleted_is_gone() {
    need_root();
    for case in &CASES {
        for atomic in [&[][..], &["--atomic"]] {
            let trees = TempTree::within(Path::new("/tmp"));
            trees.write("source/kept", "kept");
            for name in FILES {
                trees.write(format!("target/{name}"), name);
            }
            if let Some(instead) = case.instead {
                trees.write(format!("source/{instead}"), "instead");
            }
            let before = paths(&trees.path("target"));
            let names: Vec<String> = case
                .immutable
                .iter()
                .map(|n| format!("target/{n}"))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let immutable = Immutable::new(&trees, &names);
            let push = || {
                let to = [trees.contents_of("source"), trees.text("target")];
                Hasync::push(&["-ai", "--delete"])
                    .args(atomic)
                    .args(to)
                    .run()
            };
            let done = push().expect(23);
            let after = paths(&trees.path("target"));
            let gone: BTreeSet<String> = before
                .iter()
                .filter(|path| {
                    !after.contains(*path)
                        || case.instead == Some(path)
                            && trees.path(format!("target/{path}")).is_file()
                })
                .filter(|path| case.instead != Some(path))
                .cloned()
                .collect();
            assert_eq!(listed(&done), gone, "{:?} {done}", case.immutable);
            assert!(gone.contains("e/6") && gone.contains("e"), "{done}");
            let lines: Vec<&str> = done
                .stderr
                .lines()
                .filter(|l| l.contains("cannot"))
                .collect();
            assert!(lines.len() == 1, "{:?} {done}", case.immutable);
            if atomic.is_empty() {
                assert!(lines[0].contains(case.named), "{:?} {done}", case.immutable);
                // All that can go is gone.
                let stays = |path: &String| {
                    case.immutable
                        .iter()
                        .any(|held| held.starts_with(path.as_str()) || path.starts_with(held))
                };
                assert!(
                    after.iter().all(|path| path == "kept" || stays(path)),
                    "{done}"
                );
            }
            drop(immutable);
            for entry in walkdir::WalkDir::new(trees.path("target")) {
                let _ = Command::new("chattr")
                    .arg("-i")
                    .arg(entry.unwrap().path())
                    .output();
            }
            push().expect(0);
            let source = Snapshot::of(&trees.path("source"));
            let diff = source.diff(&Snapshot::of(&trees.path("target")));
            assert!(diff.is_empty(), "{:?} {diff}", case.immutable);
        }
    }
}

/// Where nothing can be made in a directory, the cause is said, and what is below it arrives.
#[test]
fn a_directory_that_lets_nothing_in_is_named() {
    need_root();
    for (flag, more) in [("+i", &[][..]), ("+i", &["--atomic"])] {
        let trees = TempTree::within(Path::new("/tmp"));
        for name in ["source/file", "source/other", "source/dir/file"] {
            trees.write(name, "new");
        }
        trees.mkdir("target/dir");
        run_ok("chattr", &[flag, &trees.text("target")]);
        let push = || {
            let to = [trees.contents_of("source"), trees.text("target")];
            Hasync::push(&["-rt"]).args(more).args(to).run()
        };
        let done = push();
        run_ok("chattr", &["-i", &trees.text("target")]);
        assert!(done.stderr.contains("its directory is immutable"), "{done}");
        if more.is_empty() {
            assert_eq!(trees.read("target/dir/file"), b"new", "{done}");
            let named = done.stderr.lines().filter(|l| l.contains(".hasync"));
            assert_eq!(named.count(), 1, "{done}");
        }
        push().expect(0);
        let litter = Snapshot::of(&trees.path("target")).litter();
        assert!(litter.is_empty(), "{litter:?}");
    }
}
