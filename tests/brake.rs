//! The delete brake: a source that is not what it was deletes nothing on the standby.

use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;

/// A pair whose tree of 300 files is equal.
fn full() -> Pair {
    let pair = Pair::here("[brake]\npercent = 50\nentries = 100\n");
    for file in 0..300 {
        pair.write(Foo0, &format!("html/{file}"), "x");
    }
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair
}

fn remove(pair: &Pair, files: std::ops::Range<u32>) {
    for file in files {
        std::fs::remove_file(pair.path(Foo0, &format!("html/{file}"))).unwrap();
    }
}

#[test]
fn half_of_a_tree_is_not_deleted_unless_it_is_said_twice() {
    let pair = full();
    remove(&pair, 0..140);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair.assert_same_count();
    remove(&pair, 140..260);
    let before = pair.html(Foo1);
    for options in [&["-n"][..], &[]] {
        let done = pair
            .run(Foo0, &[&["push", "--tree", "html"], options].concat())
            .expect(25);
        for words in [
            "120 entries would be deleted",
            "--tree html --no-brake",
            "exit 25",
        ] {
            assert!(done.stderr.contains(words), "{words:?} in\n{done}");
        }
    }
    assert_eq!(pair.html(Foo1).entries.len(), before.entries.len());
    pair.run(Foo0, &["push", "--tree", "html", "--no-brake"])
        .expect(0);
    pair.assert_same_count();
}

#[test]
fn few_deletions_pass_whatever_their_share() {
    let pair = Pair::here("");
    for file in 0..20 {
        pair.write(Foo0, &format!("html/{file}"), "x");
    }
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    remove(&pair, 0..19);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair.assert_same_count();
}

#[test]
fn an_empty_source_deletes_nothing() {
    let pair = full();
    remove(&pair, 0..300);
    pair.run(Foo0, &["push", "--tree", "html"])
        .expect_error(25, &["is empty", "is its disk mounted?", "--no-brake"]);
    assert_eq!(pair.html(Foo1).entries.len(), 301);
}

#[test]
fn a_source_that_was_mounted_and_is_not_deletes_nothing() {
    crate::support::need_root();
    let pair = Pair::here("");
    let root = pair.path(Foo0, "html").display().to_string();
    // What lies below the mount point is not nothing.
    pair.write(Foo0, "html/not-mounted", "x");
    run_ok("mount", &["-t", "tmpfs", "none", &root]);
    pair.write(Foo0, "html/a", "x");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    run_ok("umount", &[&root]);
    pair.run(Foo0, &["push", "--tree", "html"])
        .expect_error(25, &["not a file system of its own any more", "--no-brake"]);
    assert!(pair.path(Foo1, "html/a").exists());
    pair.run(Foo0, &["push", "--tree", "html", "--no-brake"])
        .expect(0);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    assert!(pair.path(Foo1, "html/not-mounted").exists());
}

#[test]
fn without_its_sentinel_nothing_is_pushed() {
    let pair = Pair::here("");
    let config = pair.read(Foo0, "hasync.toml");
    let with = config.replace(
        "name = \"html\"\n",
        "name = \"html\"\nsentinel = \".mounted\"\n",
    );
    std::fs::write(pair.path(Foo0, "hasync.toml"), with).unwrap();
    pair.write(Foo0, "html/a", "x");
    pair.run(Foo0, &["push", "--tree", "html"])
        .expect_error(25, &["the sentinel .mounted is not in"]);
    pair.write(Foo0, "html/.mounted", "");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
}

impl Pair {
    #[track_caller]
    fn assert_same_count(&self) {
        assert_eq!(self.html(Foo0).entries.len(), self.html(Foo1).entries.len());
    }
}
