//! Two nodes, both halves in one process: which node may push a named tree to which, and what is
//! left unchanged when it may not.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

#[path = "lineage/apart.rs"]
mod apart;
mod halves;
#[path = "lineage/together.rs"]
mod together;

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use halves::{Log, duplex, options, push_tree};
use hasync_engine::generation::{GenerationKind, NodeRole, Sealed, Tree};
use hasync_engine::{Connection, Duplex, Error, ErrorKind, Options, ServePolicy, serve};

/// A node with the tree `html`.
struct Node {
    tree: Tree,
}

impl Node {
    fn new(temp: &Path, name: &str) -> Self {
        Node {
            tree: halves::tree(temp, name, "html", 5),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tree.root.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    fn policy(&self) -> ServePolicy {
        ServePolicy {
            trees: vec![self.tree.clone()],
            ..ServePolicy::default()
        }
    }

    /// As the cluster manager restarts it in place.
    fn restart(&self) {
        self.tree.demote(false).unwrap();
        self.tree.promote().unwrap();
    }

    fn role(&self) -> NodeRole {
        self.tree.status().unwrap().role
    }
}

fn pair() -> (Duplex, Duplex) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (duplex(&ours), duplex(&theirs))
}

fn push_with(from: &Node, to: &Node, options: &Options) -> Result<Option<Sealed>, Error> {
    let (result, _) = push_tree(&from.tree, &[], &to.tree, options);
    result.map(|summary| summary.sealed.map(|sealed| *sealed))
}

fn push(from: &Node, to: &Node) -> Result<Sealed, Error> {
    push_with(from, to, &options()).map(Option::unwrap)
}

#[track_caller]
fn refused(from: &Node, to: &Node, kind: ErrorKind) -> String {
    let before = to.read("file");
    let error = push(from, to).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(!error.message.contains('\n'));
    assert_eq!(to.read("file"), before);
    error.message
}

/// Node a has pushed its tree to node b once.
fn mirrored(temp: &Path) -> (Node, Node) {
    let (a, b) = (Node::new(temp, "a"), Node::new(temp, "b"));
    a.write("file", "one");
    let first = push(&a, &b).unwrap();
    assert!(first.changed && first.as_of.is_some());
    (a, b)
}

#[test]
fn a_lineage_grows_and_an_equal_tree_makes_no_generation() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    assert_eq!((a.role(), b.role()), (NodeRole::Primary, NodeRole::Standby));
    let first = b.tree.status().unwrap().head.unwrap();
    assert_eq!((first.epoch, first.node.as_str()), (1.into(), "a"));

    let equal = push(&a, &b).unwrap();
    assert!(!equal.changed && equal.as_of.is_some());
    assert_eq!(equal.head.id, first.id);
    let as_of = |node: &Node| node.tree.status().unwrap().as_of.unwrap().here_ns;
    assert!(as_of(&b) > first.as_of.unwrap().here_ns);

    a.write("file", "two is longer");
    let second = push(&a, &b).unwrap();
    assert_eq!(second.head.parent, Some(first.id));
    assert_eq!(Some(second.head.number), first.number.next());
    assert_eq!(b.read("file").unwrap(), "two is longer");
    for node in [&a, &b] {
        assert_eq!(node.tree.status().unwrap().head.unwrap().id, second.head.id);
        let log = node.tree.log().unwrap();
        assert!(log.iter().any(|entry| entry.id == first.id), "{log:?}");
    }
    assert!(as_of(&a) > 0);
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (Node::new(temp.path(), "a"), Node::new(temp.path(), "b"));
    a.write("file", "one");
    let dry = Options {
        dry_run: true,
        ..options()
    };
    assert_eq!(push_with(&a, &b, &dry).unwrap(), None);
    assert_eq!((a.role(), b.role()), (NodeRole::New, NodeRole::New));
    assert_eq!(std::fs::read_dir(&b.tree.root).unwrap().count(), 0);
}

#[test]
fn a_standby_does_not_push() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let message = refused(&b, &a, ErrorKind::Fenced);
    assert!(message.contains("hasync promote html"), "{message}");
}

#[test]
fn the_old_primary_is_fenced_and_then_follows() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let promotion = b.tree.promote().unwrap();
    assert_eq!(
        (promotion.epoch, promotion.kind),
        (2.into(), GenerationKind::Promotion)
    );
    b.write("file", "from the new primary");
    a.write("file", "too late");
    // It is still primary in its own eyes.
    refused(&a, &b, ErrorKind::Fenced);
    refused(&b, &a, ErrorKind::Fenced);
    a.tree.demote(false).unwrap();
    let followed = push(&b, &a).unwrap();
    assert_eq!(followed.head.parent, Some(promotion.id));
    assert_eq!(a.read("file").unwrap(), "from the new primary");
    assert_eq!((a.role(), b.role()), (NodeRole::Standby, NodeRole::Primary));
    // And back again.
    b.tree.demote(false).unwrap();
    a.tree.promote().unwrap();
    a.write("file", "back on the first node");
    push(&a, &b).unwrap();
    assert_eq!(b.read("file").unwrap(), "back on the first node");
}

#[test]
fn a_lower_epoch_is_fenced_even_by_a_standby() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    b.tree.promote().unwrap();
    b.tree.demote(false).unwrap();
    a.write("file", "from the past");
    let message = refused(&a, &b, ErrorKind::Fenced);
    assert!(message.contains("epoch"), "{message}");
}

#[test]
fn a_healed_primary_that_is_promoted_again_has_diverged() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    b.tree.promote().unwrap();
    b.write("file", "written while a was away");
    // The heal: a is refused, is promoted above b's epoch, and b is demoted.
    refused(&a, &b, ErrorKind::Fenced);
    let promotion = a.tree.promote_above(2.into()).unwrap();
    assert_eq!(promotion.epoch, 3.into());
    refused(&a, &b, ErrorKind::Fenced);
    b.tree.demote(false).unwrap();
    let message = refused(&a, &b, ErrorKind::Diverged);
    assert!(message.contains("diverged"), "{message}");
    // Nor does it work the other way round by mere demotion.
    a.tree.demote(false).unwrap();
    b.tree.promote().unwrap();
    refused(&b, &a, ErrorKind::Diverged);
}

#[test]
fn a_primary_promoted_again_goes_on_if_the_standby_never_took_over() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let head = a.tree.status().unwrap().head.unwrap();
    assert_eq!(a.tree.promote().unwrap(), head, "it is primary already");
    for _ in 0..3 {
        a.restart();
    }
    a.write("file", "after the crash");
    push(&a, &b).unwrap();
    assert_eq!(b.read("file").unwrap(), "after the crash");
}

#[test]
fn two_nodes_promoted_apart_have_diverged() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.restart();
    b.tree.promote().unwrap();
    for (from, to) in [(&a, &b), (&b, &a)] {
        refused(from, to, ErrorKind::Fenced);
        to.tree.demote(false).unwrap();
        refused(from, to, ErrorKind::Diverged);
        to.tree.promote().unwrap();
        from.tree.demote(false).unwrap();
        from.tree.promote().unwrap();
    }
}

#[test]
fn a_fresh_node_does_not_wipe_a_standby() {
    let temp = tempfile::tempdir().unwrap();
    let (_, b) = mirrored(temp.path());
    let reinstalled = Node::new(temp.path(), "c");
    let message = refused(&reinstalled, &b, ErrorKind::Diverged);
    assert!(message.contains("Nothing was changed"), "{message}");
    assert_eq!(reinstalled.role(), NodeRole::New);
    assert_eq!(b.read("file").unwrap(), "one");
}

#[test]
fn a_standby_whose_data_is_gone_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    std::fs::remove_dir_all(b.path(".hasync")).unwrap();
    let message = push(&a, &b).unwrap_err().message;
    assert!(message.contains("is its file system mounted?"), "{message}");
}

#[test]
fn a_push_without_a_name_does_not_enter_a_named_tree() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    std::fs::create_dir(b.path("below")).unwrap();
    let known = b.policy();
    for (target, policy) in [
        (b.tree.root.clone(), known.clone()),
        (b.path("below"), known.clone()),
        (temp.path().join("b"), known),
        // What lies beside the data tells without a configuration too.
        (b.tree.root.clone(), ServePolicy::default()),
    ] {
        let (ours, theirs) = pair();
        let half = std::thread::spawn(move || serve(theirs, &policy));
        let source = OsString::from(format!("{}/", a.tree.root.display()));
        let target = target.as_os_str().as_encoded_bytes();
        let mut connection = Connection::open(ours);
        let error = connection
            .push(&[source], target, &options(), &mut Log::default())
            .unwrap_err();
        drop(connection);
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
        assert!(error.message.contains("--tree html"), "{error}");
        half.join().unwrap().unwrap_err();
    }
    assert_eq!(b.read("file").unwrap(), "one");
}

#[test]
fn newer_files_of_the_standby_cannot_be_kept() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    let update = Options {
        update: true,
        ..options()
    };
    let error = push_with(&a, &b, &update).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
}

#[test]
fn what_could_not_be_read_makes_the_generation_partial() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.write("other", "readable");
    let missing = OsString::from(a.path("missing"));
    let (result, _) = push_tree(&a.tree, &[missing], &b.tree, &options());
    let summary = result.unwrap();
    let sealed = summary.sealed.unwrap();
    assert_eq!(sealed.as_of, None);
    let partial = b.tree.status().unwrap().head.unwrap().partial.unwrap();
    assert_eq!(partial.count, 1);
    assert!(partial.lines.iter().any(|line| line.contains("missing")));
    assert_eq!(b.read("other").unwrap(), "readable");
    assert!(a.tree.status().unwrap().head.unwrap().partial.is_some());
    // The next whole one makes it whole, on both nodes, though it finds nothing to change.
    let whole = push(&a, &b).unwrap();
    assert!(whole.as_of.is_some() && !whole.changed);
    for node in [&a, &b] {
        let status = node.tree.status().unwrap();
        assert!(status.as_of.is_some());
        assert_eq!(status.head.unwrap().partial, None, "{}", node.tree.node);
    }
}

/// Pushes a file that was changed just before, however long that takes.
fn push_just_changed(from: &Node, to: &Node, name: &str) {
    loop {
        let now = filetime::FileTime::now();
        filetime::set_file_mtime(from.path(name), now).unwrap();
        push(from, to).unwrap();
        let as_of = from.tree.status().unwrap().as_of.unwrap().source_ns;
        if now.unix_seconds() > as_of / 1_000_000_000 - 2 {
            return;
        }
    }
}

/// Writes other content of the same length, as within one tick of the clock.
fn write_within_a_tick(path: &Path, content: &str) {
    let before = std::fs::metadata(path).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    std::fs::write(path, content).unwrap();
    let time = filetime::FileTime::from_last_modification_time(&before);
    filetime::set_file_mtime(path, time).unwrap();
}

#[test]
fn a_file_that_changed_within_a_tick_of_its_push_comes_with_the_next() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.write("old", "one");
    let long_ago = filetime::FileTime::from_unix_time(1_000_000_000, 0);
    filetime::set_file_mtime(a.path("old"), long_ago).unwrap();
    push_just_changed(&a, &b, "file");
    let unnamed = temp.path().join("unnamed");
    halves::push_ok(&a.tree.root, &unnamed, &options());

    write_within_a_tick(&a.path("file"), "two");
    write_within_a_tick(&a.path("old"), "two");
    // The quick check sees none of it.
    let (_, log) = halves::push_ok(&a.tree.root, &unnamed, &options());
    assert_eq!(log.lines, vec![]);
    let sealed = push(&a, &b).unwrap();
    assert!(sealed.changed);
    assert_eq!(b.read("file").unwrap(), "two");
    // What was set back by hand to a time long ago it does not see either.
    assert_eq!(b.read("old").unwrap(), "one");
    assert!(!push(&a, &b).unwrap().changed);
}

#[test]
fn the_first_push_after_a_failover_compares_what_was_received_last() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    push_just_changed(&a, &b, "file");
    b.tree.promote().unwrap();
    a.tree.demote(false).unwrap();
    write_within_a_tick(&b.path("file"), "two");
    assert!(push(&b, &a).unwrap().changed);
    assert_eq!(a.read("file").unwrap(), "two");
}

#[test]
fn a_look_leaves_no_trace() {
    let temp = tempfile::tempdir().unwrap();
    let fresh = Node::new(temp.path(), "a");
    assert_eq!(fresh.role(), NodeRole::New);
    assert_eq!(fresh.tree.log().unwrap(), Vec::new());
    assert!(!fresh.tree.state_dir.exists());
    assert_eq!(std::fs::read_dir(&fresh.tree.root).unwrap().count(), 0);
    let (_, b) = mirrored(temp.path());
    let files = || {
        let walk = walkdir::WalkDir::new(temp.path()).sort_by_file_name();
        let time = |entry: walkdir::DirEntry| {
            let changed = entry.metadata().unwrap().modified().unwrap();
            (entry.path().to_owned(), changed)
        };
        walk.into_iter()
            .map(|entry| time(entry.unwrap()))
            .collect::<Vec<_>>()
    };
    let before = files();
    b.tree.status().unwrap();
    b.tree.log().unwrap();
    assert_eq!(files(), before);
}

#[test]
fn a_commit_that_fails_behind_its_journal_is_recovered() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.write("file", "two is longer");
    // The tree changes, and its head cannot be recorded.
    let in_the_way = b.path(".hasync/trees/html/head.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let error = push(&a, &b).unwrap_err();
    assert!(error.message.contains("record the generation"), "{error}");
    assert!(b.tree.status().unwrap().is_interrupted);
    std::fs::remove_dir(&in_the_way).unwrap();
    let recovered = b.tree.recover().unwrap().unwrap();
    assert_eq!(recovered.failed.count, 0);
    assert_eq!(b.read("file").unwrap(), "two is longer");
    b.tree.undo(None, false).unwrap();
    assert_eq!(b.read("file").unwrap(), "one");
}

#[test]
fn a_promotion_that_finds_an_equal_standby_leaves_nothing_open() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = mirrored(temp.path());
    a.restart();
    assert!(!push(&a, &b).unwrap().changed);
    assert_eq!(a.tree.status().unwrap().owes.open, None);
    a.write("file", "goes on");
    push(&a, &b).unwrap();
    assert_eq!(b.read("file").unwrap(), "goes on");
}
