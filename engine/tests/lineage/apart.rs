//! Two nodes that were promoted apart: what they can compare, what one of them can give up, and
//! what is kept of a former primary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hasync_engine::generation::Adopted;
use hasync_engine::{Comparison, Connection, ErrorKind, Ready, ServePolicy, Wish, serve};

use super::halves::{Log, options};
use super::{Node, mirrored, pair, push, refused};

/// Both nodes were promoted apart and have written.
fn diverged(temp: &Path) -> (Node, Node) {
    let (a, b) = mirrored(temp);
    b.tree.promote().unwrap();
    a.restart();
    a.write("file", "of a alone");
    b.write("file", "of b alone, which is longer");
    (a, b)
}

/// What differs as seen from one node, by path.
fn compared(from: &Node, to: &Node) -> (Comparison, Vec<String>) {
    let (ours, theirs) = pair();
    let policy = ServePolicy {
        ready: Some(Ready(Arc::new(|| Err("not well".to_owned())))),
        ..to.policy()
    };
    let half = std::thread::spawn(move || serve(theirs, &policy));
    let source = OsString::from(format!("{}/", from.tree.root.display()));
    let mut connection = Connection::open(ours);
    let mut log = Log::default();
    let asked = connection.ask(&from.tree, Wish::Nothing).unwrap();
    let found = connection
        .compare_tree(&[source], &from.tree, &options(), &mut log)
        .unwrap();
    drop(connection);
    half.join().unwrap().unwrap();
    let asked = [(asked.0, &found.here), (asked.1, &found.there)];
    for (mut asked, found) in asked {
        // What is free changes by itself.
        assert!(asked.space.unwrap().free_bytes <= asked.space.unwrap().total_bytes);
        asked.space = found.space;
        assert_eq!(asked, *found);
    }
    let mut paths: Vec<String> = log.lines.into_iter().map(|(_, path)| path).collect();
    paths.sort();
    (found, paths)
}

/// Everything below a directory that has a path, hasync's records included.
fn everything(dir: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let walk = walkdir::WalkDir::new(dir).sort_by_file_name();
    let seen = |entry: walkdir::DirEntry| {
        let mtime = entry.metadata().unwrap().modified().unwrap();
        (entry.into_path(), mtime)
    };
    walk.into_iter().map(|entry| seen(entry.unwrap())).collect()
}

#[test]
fn nodes_that_have_diverged_can_be_compared_from_either_side() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = diverged(temp.path());
    b.write("other", "x");
    let (found, paths) = compared(&a, &b);
    assert!(found.here.is_primary && found.there.is_primary);
    assert_eq!((found.here.epoch, found.there.epoch), (2.into(), 2.into()));
    assert!(!found.here.led_to(&found.there) && !found.there.led_to(&found.here));
    assert_eq!(paths, [".", "file", "other"]);
    // What one node has heard of the other it has heard now: nothing changes any more.
    let before = everything(temp.path());
    assert_eq!(compared(&b, &a).1, paths);
    assert_eq!(compared(&a, &b).1, paths);
    assert_eq!(everything(temp.path()), before);
    refused(&a, &b, ErrorKind::Fenced);

    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (found, paths) = compared(from, to);
        assert!(found.here.led_to(&found.there) && found.there.led_to(&found.here));
        assert_eq!(paths, Vec::<String>::new());
    }
}

#[test]
fn data_that_is_given_up_is_replaced_kept_and_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = diverged(temp.path());
    let (found, _) = compared(&a, &b);
    let adopted = |id| Adopted {
        node: "b".to_owned(),
        id,
    };
    let theirs = adopted(found.there.head.unwrap().id);
    a.tree.demote(false).unwrap();
    refused(&b, &a, ErrorKind::Diverged);
    // Of another node, or for another generation, it does not count.
    let other = Adopted {
        node: "c".to_owned(),
        id: theirs.id,
    };
    a.tree.adopt(other).unwrap();
    refused(&b, &a, ErrorKind::Diverged);
    a.tree.adopt(adopted(found.here.head.unwrap().id)).unwrap();
    refused(&b, &a, ErrorKind::Diverged);

    a.tree.adopt(theirs.clone()).unwrap();
    assert_eq!(a.tree.status().unwrap().adopted, Some(theirs));
    // Its promotion leads on from there.
    b.restart();
    let sealed = push(&b, &a).unwrap();
    assert!(sealed.changed && sealed.pinned);
    assert_eq!(a.read("file").unwrap(), "of b alone, which is longer");
    let status = a.tree.status().unwrap();
    assert_eq!(status.adopted, None);
    assert_eq!(status.pinned.len(), 1);
    assert!(!push(&b, &a).unwrap().changed);
    a.tree.undo(None, false).unwrap();
    assert_eq!(a.read("file").unwrap(), "of a alone");
}

#[test]
fn equal_data_that_is_given_up_gets_the_lineage_of_the_other() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    b.tree.promote().unwrap();
    a.restart();
    b.tree.demote(false).unwrap();
    refused(&a, &b, ErrorKind::Diverged);
    let head = a.tree.status().unwrap().head.unwrap();
    let node = "a".to_owned();
    b.tree.adopt(Adopted { node, id: head.id }).unwrap();
    let sealed = push(&a, &b).unwrap();
    assert!(sealed.changed && !sealed.pinned, "nothing was replaced");
    assert!(!push(&a, &b).unwrap().changed);
}

#[test]
fn what_a_former_primary_had_alone_outlives_every_prune() {
    let temp = tempfile::tempdir().unwrap();
    let (mut a, b) = mirrored(temp.path());
    a.tree.undo.keep = 1;
    b.tree.promote().unwrap();
    a.write("late", "nowhere else");
    a.tree.demote(false).unwrap();
    let first = push(&b, &a).unwrap();
    assert!(first.pinned);
    for round in 0..4 {
        b.write("file", &format!("round {round}, {}", "x".repeat(round)));
        assert!(!push(&b, &a).unwrap().pinned, "only the first");
    }
    let status = a.tree.status().unwrap();
    // To what is pinned there is no way back any more.
    assert_eq!(status.undo.len(), 1);
    assert_eq!(status.pinned.len(), 1);
    assert_eq!(status.pinned[0].generation.id, first.head.id);
    assert!(status.pinned[0].path.is_dir());
    let kept = |name: &str| {
        let undo = a.path(".hasync/trees/html/undo");
        everything(&undo)
            .iter()
            .any(|(path, _)| std::fs::read_to_string(path).is_ok_and(|content| content == name))
    };
    assert!(kept("nowhere else"));
    a.tree.forget(first.head.id).unwrap();
    assert!(!kept("nowhere else"));
    assert!(a.tree.status().unwrap().pinned.is_empty());
    assert!(a.tree.forget(first.head.id).is_err());
    assert_eq!(
        a.tree.status().unwrap().undo.len(),
        1,
        "the other one stays"
    );
}

#[test]
fn a_primary_that_handed_over_had_nothing_alone() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.tree.demote(true).unwrap();
    // Said again by somebody who does not know.
    a.tree.demote(false).unwrap();
    b.tree.promote().unwrap();
    b.write("file", "two is longer");
    assert!(!push(&b, &a).unwrap().pinned);
    // From then on it is a standby like any other.
    b.write("file", "three is longer still");
    assert!(!push(&b, &a).unwrap().pinned);
}
