//! Filter rules about names of attributes (modifier `x`) do what they do in rsync, on each side.

use std::path::Path;

use crate::support::hasync::FakeRsh;
use crate::support::{Hasync, TempTree, need_root, rsync, xattrs};

/// What each file has in the source and in the target; the target of `new` is missing, and what is
/// in `changed` differs, so that it is made anew.
const FILES: &[(&str, &[&str], &[&str])] = &[
    ("same", &["user.a=1", "user.b=1"], &["user.a=1", "user.b=1"]),
    (
        "other",
        &["user.a=1", "user.b=1"],
        &["user.a=2", "user.b=2"],
    ),
    (
        "fewer",
        &["user.b=1"],
        &["user.a=1", "user.b=1", "user.c=1"],
    ),
    ("more", &["user.a=1", "user.b=1", "trusted.a=1"], &[]),
    ("new", &["user.a=1", "user.b=1", "trusted.a=1"], &[]),
    (
        "changed",
        &["user.a=1", "user.b=1"],
        &["user.b=2", "user.c=1"],
    ),
];

const RULES: &[&[&str]] = &[
    &["-x_user.b"],
    &["-rx_user.b"],
    &["-sx_user.b"],
    &["-sx_user.b", "-rx_user.a"],
    &["-rx_user.*", "-x_trusted.*"],
    &["+rx_user.b", "-x_user.*"],
    &["+sx_user.b", "-x_user.*"],
    &["-rx!_user.a"],
    &["hide,x_user.b", "protect,x_user.c"],
    &["show,x_user.b", "risk,x_user.c", "-x_user.*"],
];

fn give(path: &Path, all: &[&str]) {
    for attribute in all {
        let (name, value) = attribute.split_once('=').unwrap();
        xattrs::give(path, name.as_bytes(), value.as_bytes());
    }
}

/// The same in two directories of the source, one of which is a second SRC.
fn make(trees: &TempTree) {
    for (dir, target) in [("source/dir", "target/dir"), ("second", "target")] {
        for (file, here, there) in FILES {
            let at = format!("{dir}/{file}");
            trees.write(&at, "text");
            give(&trees.path(&at), here);
            trees.mtime(&at, 1_600_000_000, 0);
            if *file != "new" {
                let at = format!("{target}/{file}");
                trees.write(&at, if *file == "changed" { "old" } else { "text" });
                give(&trees.path(&at), there);
                trees.mtime(&at, 1_600_000_000, 0);
            }
        }
    }
    give(&trees.path("source/dir"), &["user.a=1", "user.b=1"]);
    give(&trees.path("target/dir"), &["user.b=2", "user.c=2"]);
    for dir in ["source/dir", "source", "second", "target/dir", "target"] {
        trees.mtime(dir, 1_600_000_000, 0);
    }
}

#[test]
fn rules_about_names_of_attributes_do_what_they_do_in_rsync() {
    need_root();
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    let rsh = FakeRsh::plain();
    for rules in RULES {
        let rules = rules.iter().chain(&["-x_system.*"]);
        let rules = rules.map(|rule| format!("--filter={rule}"));
        // It tells the receiver of its rules when it deletes.
        let mut words = vec!["-aXi".to_owned(), "--delete".to_owned()];
        words.extend(rules);
        let (theirs, ours) = (TempTree::new(), TempTree::new());
        make(&theirs);
        make(&ours);
        let sources = |trees: &TempTree| ["source", "second"].map(|dir| trees.contents_of(dir));
        let target = theirs.path("target");
        let done = rsync::push(&rsh, &words, &sources(&theirs), &target)
            .unwrap()
            .expect(0);
        let push = || {
            let push = Hasync::new().arg("push").args(&words).args(rsh.options());
            let push = push.args(sources(&ours));
            let done = push.arg(format!("host:{}", ours.text("target"))).run();
            done.expect(0).stdout_text()
        };
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&push()), sorted(&done.stdout_text()), "{words:?}");
        let [expected, found] = [&theirs, &ours].map(|trees| xattrs::of(&trees.path("target")));
        assert_eq!(found, expected, "{words:?}");
        assert_eq!(push(), "", "{words:?}");
    }
}
