//! What leads two nodes together again without anybody's word, and what goes on beside a push: the
//! same promises as the exploration of the rules has, on real records.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use hasync_engine::generation::{
    Adopted, Command, GenerationKind, NodeRole, Reconciled, Sealed, Tree, ways_out,
};
use hasync_engine::{
    Change, Connection, Error, ErrorKind, Note, Observer, Ready, ServePolicy, Warning, serve,
};

use super::halves::options;
use super::{Node, mirrored, pair, push, refused};

/// Does something to a tree when the push under way has found its first change.
struct Meanwhile<'a>(&'a Tree, Option<fn(&Tree)>);

impl Observer for Meanwhile<'_> {
    fn change(&mut self, _change: &Change<'_>) {
        if let Some(act) = self.1.take() {
            act(self.0);
        }
    }
    fn warn(&mut self, _warning: &Warning) {}
    fn note(&mut self, _note: &Note<'_>) {}
}

/// Pushes while something is done to the sender's records: before the receiver has answered, or
/// when content is under way.
fn push_beside(from: &Node, to: &Node, act: fn(&Tree), is_early: bool) -> Result<(), Error> {
    let (ours, theirs) = pair();
    let tree = from.tree.clone();
    let early = Ready(Arc::new(move || {
        act(&tree);
        Ok(())
    }));
    let policy = ServePolicy {
        ready: is_early.then_some(early),
        ..to.policy()
    };
    let half = std::thread::spawn(move || serve(theirs, &policy));
    let source = OsString::from(format!("{}/", from.tree.root.display()));
    let mut log = Meanwhile(&from.tree, (!is_early).then_some(act));
    let mut connection = Connection::open(ours);
    let result = connection.push_tree(&[source], &from.tree, &options(), &mut log);
    drop(connection);
    let _ = half.join().unwrap();
    result.map(|_| ())
}

#[test]
fn what_is_decided_beside_a_push_is_not_undone_by_it() {
    let demote: fn(&Tree) = |tree| drop(tree.demote(false).unwrap());
    let hand_over: fn(&Tree) = |tree| drop(tree.demote(true).unwrap());
    let restart: fn(&Tree) = |tree| {
        tree.demote(false).unwrap();
        tree.promote().unwrap();
    };
    let adopt: fn(&Tree) = |tree| {
        let id = tree.status().unwrap().head.unwrap().id;
        let node = "b".to_owned();
        tree.adopt(Adopted { node, id }).unwrap();
    };
    for (name, act, role) in [
        ("demote", demote, NodeRole::Standby),
        ("hand over", hand_over, NodeRole::Standby),
        ("adopt", adopt, NodeRole::Standby),
        ("restart", restart, NodeRole::Primary),
    ] {
        for is_early in [true, false] {
            let temp = tempfile::tempdir().unwrap();
            let (a, b) = mirrored(temp.path());
            a.write("file", "two is longer");
            let error = push_beside(&a, &b, act, is_early).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Locked, "{name} {is_early}: {error}");
            assert_eq!(a.role(), role, "{name} {is_early}");
            assert_eq!(b.read("file").unwrap(), "one", "{name} {is_early}");
            if role == NodeRole::Primary {
                assert_eq!(a.tree.status().unwrap().epoch, 2.into());
                push(&a, &b).unwrap();
                assert_eq!(b.read("file").unwrap(), "two is longer");
                continue;
            }
            // Whoever takes over pushes back, and what was here alone is kept.
            b.tree.promote().unwrap();
            let back = push(&b, &a).unwrap();
            assert_eq!(back.pinned, name != "hand over", "{name} {is_early}");
            assert_eq!(a.read("file").unwrap(), "one");
        }
    }
}

#[test]
fn a_promotion_reaches_the_peer_with_an_equal_push() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    for _ in 0..70 {
        a.restart();
    }
    let present = a.tree.status().unwrap().head.unwrap();
    let outside = |node: &Node| {
        std::fs::metadata(&node.tree.root)
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = outside(&b);
    let equal = push(&a, &b).unwrap();
    assert!(!equal.changed);
    let head = b.tree.status().unwrap().head.unwrap();
    assert_eq!(
        (head.id, head.kind),
        (present.id, GenerationKind::Promotion)
    );
    assert_eq!((head.epoch, head.number), (present.epoch, present.number));
    assert_eq!(outside(&b), before);
    // What the last change replaced can still be undone, and an orderly switch goes through.
    a.tree.demote(true).unwrap();
    b.tree.promote().unwrap();
    let back = push(&b, &a).unwrap();
    assert!(!back.changed && !back.pinned);
    a.write("late", "x");
    push(&b, &a).unwrap();
    assert_eq!(a.read("late"), None);
}

#[test]
fn numbers_go_up_along_each_way_of_a_lineage() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    b.tree.promote().unwrap();
    a.restart();
    for round in 0..3 {
        a.restart();
        a.write("file", &format!("{round} of a alone"));
    }
    b.write("file", "of b");
    let theirs = a.tree.status().unwrap().head.unwrap();
    // The one with the lower number is kept.
    let id = b.tree.status().unwrap().head.unwrap().id;
    let node = "b".to_owned();
    a.tree.adopt(Adopted { node, id }).unwrap();
    assert_eq!(a.role(), NodeRole::Standby, "its data is given up");
    b.tree.promote_above(theirs.epoch).unwrap();
    let kept = push(&b, &a).unwrap();
    assert!(kept.pinned);
    assert!(kept.head.number > theirs.number, "{kept:?}");
    for node in [&a, &b] {
        let log = node.tree.log().unwrap();
        let mut numbers: Vec<_> = log.iter().map(|made| (made.number, made.epoch)).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), log.len(), "{log:#?}");
    }
}

#[test]
fn the_last_equal_time_of_a_promoted_node_is_that_of_what_it_received() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.tree.demote(true).unwrap();
    b.tree.promote().unwrap();
    push(&b, &a).unwrap();
    let old = a.tree.status().unwrap().as_of.unwrap();
    b.write("file", "two is longer");
    push(&b, &a).unwrap();
    let received = a.tree.status().unwrap().as_of.unwrap();
    assert!(received.here_ns > old.here_ns);
    a.tree.promote().unwrap();
    assert_eq!(a.tree.status().unwrap().as_of, Some(received));
}

#[test]
fn one_primary_serves_several_standbys() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let c = Node::new(temp.path(), "c");
    push(&a, &c).unwrap();
    for round in 0..3 {
        a.write("file", &"x".repeat(round + 5));
        push(&a, &b).unwrap();
        a.restart();
    }
    // One of them has been away, and takes everything at once; then the other again.
    push(&a, &c).unwrap();
    push(&a, &b).unwrap();
    a.write("file", "the last");
    push(&a, &b).unwrap();
    a.tree.demote(true).unwrap();
    b.tree.promote().unwrap();
    for standby in [&a, &c] {
        push(&b, standby).unwrap();
        assert_eq!(standby.read("file").unwrap(), "the last");
    }
}

/// What becomes of a push that was refused.
fn reconcile(from: &Node, to: &Node) -> Reconciled {
    let (ours, theirs) = pair();
    let policy = to.policy();
    let half = std::thread::spawn(move || serve(theirs, &policy));
    let source = OsString::from(format!("{}/", from.tree.root.display()));
    let mut connection = Connection::open(ours);
    let found = connection.reconcile(&[source], &from.tree, &options());
    drop(connection);
    half.join().unwrap().unwrap();
    found.unwrap()
}

fn pushed(from: &Node, to: &Node) -> Sealed {
    push(from, to).unwrap_or_else(|e| panic!("{e}"))
}

/// Both were promoted apart, the first in the lower epoch, and have the same data.
fn equal_apart(temp: &Path) -> (Node, Node) {
    let (a, b) = mirrored(temp);
    a.restart();
    b.tree.promote().unwrap();
    b.restart();
    (a, b)
}

#[test]
fn equal_nodes_go_on_as_one() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = equal_apart(temp.path());
    // Never while the other is primary.
    refused(&a, &b, ErrorKind::Fenced);
    assert_eq!(reconcile(&a, &b), Reconciled::No);
    b.tree.demote(false).unwrap();
    let Reconciled::Equal(head) = reconcile(&a, &b) else {
        panic!("they are equal")
    };
    assert_eq!(head.epoch, 4.into(), "above both");
    assert!(!pushed(&a, &b).changed);
    assert_eq!(b.tree.status().unwrap().head.unwrap().id, head.id);
}

#[test]
fn a_difference_is_found_once_for_each_pair_of_heads() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = equal_apart(temp.path());
    b.tree.demote(false).unwrap();
    // The quick check does not see it.
    let mtime = filetime::FileTime::from_unix_time(1_000_000_000, 0);
    for (node, content) in [(&a, "two"), (&b, "six")] {
        node.write("file", content);
        filetime::set_file_mtime(node.path("file"), mtime).unwrap();
    }
    assert_eq!(reconcile(&a, &b), Reconciled::No);
    assert_eq!(
        a.tree.status().unwrap().epoch,
        2.into(),
        "nothing is claimed"
    );
    // Were it read again, it would be found equal.
    b.write("file", "two");
    filetime::set_file_mtime(b.path("file"), mtime).unwrap();
    for node in [&a, &b] {
        filetime::set_file_mtime(&node.tree.root, mtime).unwrap();
    }
    assert_eq!(reconcile(&a, &b), Reconciled::No);
    a.restart();
    assert!(matches!(reconcile(&a, &b), Reconciled::Equal(_)));
    pushed(&a, &b);
}

#[test]
fn an_empty_peer_has_nothing_to_lose_and_an_empty_node_nothing_to_say() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = equal_apart(temp.path());
    b.tree.demote(false).unwrap();
    std::fs::remove_file(a.path("file")).unwrap();
    assert_eq!(reconcile(&a, &b), Reconciled::Empty);
    assert_eq!(b.read("file").unwrap(), "one");
    a.write("file", "back");
    std::fs::remove_file(b.path("file")).unwrap();
    refused(&a, &b, ErrorKind::Fenced);
    assert!(matches!(reconcile(&a, &b), Reconciled::Risen(_)));
    pushed(&a, &b);
    assert_eq!(b.read("file").unwrap(), "back");
}

#[test]
fn who_lost_its_records_keeps_what_it_had() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    b.tree.promote().unwrap();
    b.write("file", "of b alone");
    std::fs::remove_dir_all(&b.tree.state_dir).unwrap();
    let first = pushed(&a, &b);
    assert!(first.pinned);
    assert_eq!(b.read("file").unwrap(), "one");
    b.tree.undo(None, false).unwrap();
    assert_eq!(b.read("file").unwrap(), "of b alone");
}

#[test]
fn two_commands_at_most_lead_out_of_a_split() {
    for keeps_a in [true, false] {
        let temp = tempfile::tempdir().unwrap();
        let (a, b) = equal_apart(temp.path());
        a.write("file", "of a alone");
        b.write("file", "of b alone, which is longer");
        let (one, other) = (a.tree.standing().unwrap(), b.tree.standing().unwrap());
        let ways = ways_out(&one, &other);
        let kept = if keeps_a { "a" } else { "b" };
        let way = ways.iter().find(|way| way.keeps.node == kept).unwrap();
        assert!(way.gives_up && way.commands.len() <= 2, "{way:?}");
        for (node, command) in &way.commands {
            let tree = if node.node == "a" { &a.tree } else { &b.tree };
            match command.clone() {
                Command::Demote => drop(tree.demote(false).unwrap()),
                Command::Adopt { from, id } => tree.adopt(Adopted { node: from, id }).unwrap(),
                Command::Promote { above } => {
                    drop(tree.promote_above(above.unwrap_or_default()).unwrap());
                }
            }
        }
        let (keeps, follows) = if keeps_a { (&a, &b) } else { (&b, &a) };
        if push(keeps, follows).is_err() {
            assert!(matches!(reconcile(keeps, follows), Reconciled::Risen(_)));
            assert!(pushed(keeps, follows).pinned);
        }
        assert_eq!(follows.read("file"), keeps.read("file"));
    }
}
