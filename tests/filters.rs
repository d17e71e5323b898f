//! The filter language: each rule, option and modifier does what it does in rsync, on both sides.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{lchown, symlink};

use crate::support::hasync::FakeRsh;
use crate::support::{Hasync, Snapshot, TempTree, need_root, rsync};

/// A source, and a target that holds some of the same names and some of its own.
fn pair(trees: &TempTree, target: &str) {
    for name in [
        "a",
        "b.o",
        "keep.o",
        "sub/a",
        "sub/c.o",
        "sub/deep/a",
        "CVS/x",
        "tmp/a",
    ] {
        trees.write(format!("source/{name}"), "1");
    }
    for name in [
        "a",
        "b.o",
        "old",
        "old.o",
        "sub/old.o",
        "gone/x.o",
        "gone/y",
        "tmp/old",
        "CVS/y",
    ] {
        trees.write(format!("{target}/{name}"), "22");
    }
}

/// What hasync makes of the target, and rsync.
fn both(options: &[&str]) -> [BTreeSet<Vec<u8>>; 2] {
    let trees = TempTree::new();
    ["ours", "theirs"].map(|target| {
        pair(&trees, target);
        let (source, path) = (trees.contents_of("source"), trees.path(target));
        let done = match target {
            "ours" => Hasync::push(options).arg(&source).arg(&path).run(),
            _ => rsync::push(&FakeRsh::plain(), options, &[&*source], &path).unwrap(),
        };
        done.expect(0);
        Snapshot::of(&trees.path(target))
            .entries
            .into_keys()
            .collect()
    })
}

#[test]
fn rules_do_what_they_do_in_rsync() {
    for options in [
        &["-f", "- *.o"][..],
        &["--filter=exclude *.o"],
        &["-f-_*.o"],
        &["-f", "+ keep.o", "-f", "- *.o"],
        &["-f", "H *.o"],
        &["-f", "hide,p *.o"],
        &["-f", "P *.o"],
        &["-f", "protect /gone"],
        &["-f", "R old.o", "-f", "- *.o"],
        &["-f", "S b.o", "-f", "- *.o"],
        &["-f", "-s *.o"],
        &["-f", "-r *.o"],
        &["-f", "-p *.o"],
        &["-f", "-! */", "-f", "+ **"],
        &["-f", "-! *.o"],
        &["-f", "- a", "-f", "!", "-f", "- *.o"],
        &["-f", "-C"],
        &["-f", "-x user.*"],
        &["--exclude=*.o", "--delete-excluded"],
        &["-f", "- *.o", "-f", "P old.o", "--delete-excluded"],
        &["-C", "-f", "+ CVS/"],
        &["--exclude=/sub/deep", "--include=a", "--exclude=*.o"],
    ] {
        for deletes in [&[][..], &["--delete"]] {
            let all = [&["-r"][..], deletes, options].concat();
            let [ours, theirs] = both(&all);
            let shown = |one: &BTreeSet<Vec<u8>>, other: &BTreeSet<Vec<u8>>| -> Vec<String> {
                let only = one.difference(other);
                only.map(|name| String::from_utf8_lossy(name).into_owned())
                    .collect()
            };
            let differ = (shown(&ours, &theirs), shown(&theirs, &ours));
            assert_eq!(
                differ,
                Default::default(),
                "{all:?}: only ours, only theirs"
            );
        }
    }
}

#[test]
fn a_second_push_is_silent_with_every_kind_of_rule() {
    for rule in ["- *.o", "H *.o", "P *.o", "-p *.o", "-! */", "R *.o"] {
        let trees = TempTree::new();
        pair(&trees, "target");
        let push = || {
            let paths = [trees.contents_of("source"), trees.text("target")];
            Hasync::push(&["-ai", "--delete", "-f", rule])
                .args(paths)
                .run()
                .expect(0)
        };
        push();
        let again = push().stdout_text();
        // What the rules protect in it keeps a directory, which is said each time.
        let mut changes = again
            .lines()
            .filter(|line| !line.starts_with("cannot delete non-empty"));
        assert_eq!(changes.next(), None, "{rule}");
    }
}

#[test]
fn files_of_rules_are_merged_where_they_stand() {
    let trees = TempTree::new();
    pair(&trees, "target");
    trees.write("rules", "# left out\n+ keep.o\n- *.o\n");
    trees.write("plain", "a b.o\nCVS");
    trees.write("zeros", "b.o\0CVS\0");
    let made = |options: &[&str]| {
        let target = TempTree::new();
        let paths = [trees.contents_of("source"), target.contents_of("")];
        let done = Hasync::push(&[&["-r"], options].concat())
            .args(paths)
            .run()
            .expect(0);
        drop(done);
        let has = |name: &str| target.path(name).exists();
        ["a", "b.o", "keep.o", "CVS"].map(has)
    };
    let merge = format!("-f. {}", trees.text("rules"));
    assert_eq!(made(&[&merge]), [true, false, true, true]);
    assert_eq!(made(&["-f- keep.o", &merge]), [true, false, false, true]);
    let words = format!("-fmerge,-w {}", trees.text("plain"));
    assert_eq!(made(&[&words]), [false, false, true, false]);
    let from = format!("--exclude-from={}", trees.text("zeros"));
    assert_eq!(made(&["-0", &from]), [true, false, true, false]);
    let itself = format!("-f.e {}", trees.text("rules"));
    assert_eq!(made(&[&itself]), [true, false, true, true]);
}

#[test]
fn no_planted_link_is_followed_to_rules() {
    need_root();
    let trees = TempTree::new();
    pair(&trees, "target");
    trees.write("secret", "no rule, and nobody's business\n");
    symlink("secret", trees.path("planted")).unwrap();
    lchown(trees.path("planted"), Some(65534), Some(65534)).unwrap();
    for option in ["--exclude-from=", "--include-from=", "--filter=. "] {
        let option = format!("{option}{}", trees.text("planted"));
        let paths = [trees.contents_of("source"), trees.text("target")];
        let done = Hasync::push(&["-r", &option]).args(paths).run().expect(11);
        assert!(!done.stderr.contains("business"), "{done}");
    }
    let option = format!("--filter=. {}", trees.text("secret"));
    let paths = [trees.contents_of("source"), trees.text("target")];
    let done = Hasync::push(&["-r", &option]).args(paths).run().expect(1);
    assert!(
        done.stderr.contains("line 1") && !done.stderr.contains("business"),
        "{done}"
    );
    fs::remove_file(trees.path("secret")).unwrap();
}
