//! Subvolumes of btrfs that the source has no counterpart of: they go as directories do.

use std::fs;
use std::path::Path;

use super::btrfs;
use super::cell::kept;
use super::place::Place;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot, TempTree, report};

const TREES: [&str; 5] = ["empty", "filled", "above/below", "replaced", "over/below"];

/// The target has one in each place, with a directory and another subvolume in it.
fn fill(root: &Path) {
    for name in TREES {
        let at = root.join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        create(&at);
        if name == "empty" {
            continue;
        }
        fs::create_dir(at.join("dir")).unwrap();
        fs::write(at.join("dir/file"), name).unwrap();
        create(&at.join("dir/nested"));
        fs::write(at.join("dir/nested/file"), name).unwrap();
    }
}

fn create(at: &Path) {
    run_ok(
        "btrfs",
        &["-q", "subvolume", "create", &at.display().to_string()],
    );
}

fn source() -> TempTree {
    let trees = TempTree::new();
    for name in ["kept", "replaced", "over"] {
        trees.write(format!("source/{name}"), name);
    }
    trees
}

fn push(trees: &TempTree, place: &Place, more: &[&str]) -> Finished {
    let to = [
        trees.contents_of("source"),
        place.root.display().to_string(),
    ];
    Hasync::push(&["-ai", "--delete"]).args(more).args(to).run()
}

#[test]
fn subvolumes_go_as_directories_do() {
    for more in [&[][..], &["--atomic"]] {
        let place = match btrfs() {
            Ok(place) => place,
            Err(why) => return report(&format!("subvolumes are not removed: {why}")),
        };
        fill(&place.root);
        let trees = source();
        let dry = push(&trees, &place, &[more, &["-n"]].concat()).expect(0);
        let done = push(&trees, &place, more).expect(0);
        assert_eq!(dry.stdout_text(), done.stdout_text(), "{more:?} {done}");
        let diff = Snapshot::of(&trees.path("source")).diff(&Snapshot::of(&place.root));
        assert!(diff.is_empty(), "{more:?} {diff}{done}");
        let again = push(&trees, &place, more).expect(0);
        assert_eq!(again.stdout_text(), "", "{more:?} {again}");
    }
}

/// An undo brings them back, and what was in them.
#[test]
fn subvolumes_of_a_tree_come_back_by_an_undo() {
    let place = match btrfs() {
        Ok(place) => place,
        Err(why) => return report(&format!("subvolumes are not brought back: {why}")),
    };
    let pair = Pair::here("");
    let trees = source();
    for (node, path) in [(Foo0, trees.path("source")), (Foo1, place.root.clone())] {
        pair.set(node, "path = ", &format!("path = \"{}\"", path.display()));
    }
    let push = || pair.run(Foo0, &["push", "--tree", "html", "--no-brake"]);
    push().expect(0);
    for name in ["replaced", "over"] {
        fs::remove_file(place.root.join(name)).unwrap();
    }
    fill(&place.root);
    let before = kept(&place);
    trees.write("source/new", "new");
    let arrived = || Snapshot::of(&trees.path("source")).diff(&kept(&place));
    let done = push().expect(0);
    assert!(arrived().is_empty(), "{}{done}", arrived());
    place.remount();
    let undone = pair.run(Foo1, &["undo", "html"]).expect(0);
    let diff = before.diff(&kept(&place));
    assert!(diff.is_empty(), "{diff}{undone}");
}

/// Nothing in one can be removed, nor the subvolume with what is in it.
#[test]
fn a_subvolume_that_is_read_only_stays_and_is_named() {
    for more in [&[][..], &["--atomic"]] {
        let place = match btrfs() {
            Ok(place) => place,
            Err(why) => return report(&format!("subvolumes are not removed: {why}")),
        };
        fill(&place.root);
        let of = |name: &str| place.text(name);
        let [from, to] = ["target/filled", "target/above/snapshot"].map(of);
        run_ok("btrfs", &["-q", "subvolume", "snapshot", "-r", &from, &to]);
        let trees = source();
        let done = push(&trees, &place, more).expect(23);
        let named = |line: &&str| line.contains("snapshot") && line.contains("read-only");
        assert_eq!(done.stderr.lines().filter(named).count(), 1, "{done}");
        assert!(Path::new(&to).join("dir/file").exists(), "{done}");
        for gone in ["empty", "filled", "above/below"] {
            assert!(!place.root.join(gone).exists(), "{more:?} {gone} {done}");
        }
        run_ok("btrfs", &["property", "set", &to, "ro", "false"]);
        push(&trees, &place, more).expect(0);
        let diff = Snapshot::of(&trees.path("source")).diff(&Snapshot::of(&place.root));
        assert!(diff.is_empty(), "{more:?} {diff}{done}");
    }
}
