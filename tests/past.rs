//! What is kept of a tree's past, and what goes of it: not by a clock that cannot be believed, and
//! not without a word where it cannot be removed.

use std::path::Path;
use std::process::Command;

use crate::support::await_that;
use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;

/// The clocks of the two nodes show so many seconds more than they should, from now on.
fn set_clocks(pair: &Pair, here_s: i64, there_s: i64) {
    for (node, seconds) in [(Foo0, here_s), (Foo1, there_s)] {
        let script = pair.read(node, "hasync");
        let (_, exec) = script.rsplit_once("\nexec ").unwrap();
        let lines = format!("#!/bin/sh\nexport HASYNC_CLOCK_OFFSET={seconds}\nexec {exec}");
        pair.write(node, "hasync", lines);
    }
}

/// Runs the program as the node's own script does, with its clock.
fn push(pair: &Pair, version: usize) {
    pair.write(Foo0, "html/page", "x".repeat(version));
    let script = pair.path(Foo0, "hasync").display().to_string();
    let done = Command::new(script)
        .args(["push", "--tree", "html"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

fn kept(pair: &Pair) -> usize {
    pair.kept().len()
}

fn status(pair: &Pair, node: Node) -> serde_json::Value {
    let done = pair.run(node, &["status", "--json", "html"]).expect(0);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    json["trees"][0].clone()
}

/// Of four generations made with the first clocks, and one with each of the others, so many can be
/// undone each time, when a day is kept.
#[test]
fn nothing_goes_by_a_clock_that_was_set() {
    const DAY: i64 = 86_400;
    for (clocks, left) in [
        (&[(0, 0)][..], &[4][..]),
        // One push with a clock far ahead, here, there or on both.
        (&[(0, 0), (0, 9999 * DAY)], &[4, 5]),
        (&[(0, 0), (9999 * DAY, 0)], &[4, 5]),
        (&[(0, 0), (9999 * DAY, 9999 * DAY)], &[4, 5]),
        // As long as it stays so, and when it is put right.
        (
            &[(0, 0), (0, 2 * DAY), (0, 2 * DAY), (0, 2 * DAY), (0, 0)],
            &[4, 5, 6, 7, 8],
        ),
        // Far back.
        (&[(0, 0), (0, -9999 * DAY), (0, 0)], &[4, 5, 6]),
        // It had been two days back, and was put right: what was made then is that old.
        (&[(0, -2 * DAY), (0, 0)], &[4, 1]),
        // Both always were.
        (&[(-2 * DAY, -2 * DAY), (0, 0)], &[4, 5]),
    ] {
        let pair = Pair::here("");
        pair.keep_undo("keep = 20, max_age = \"1d\"");
        let mut version = 0;
        for (at, (&(here, there), &left)) in clocks.iter().zip(left).enumerate() {
            set_clocks(&pair, here, there);
            for _ in 0..if at == 0 { 4 } else { 1 } {
                version += 1;
                push(&pair, version);
            }
            // What goes, goes after the push has been acknowledged.
            await_that(&format!("{left} left, {clocks:?} at {at}"), || {
                kept(&pair) == left
            });
        }
    }
}

fn chattr(how: &str, path: &Path) {
    let status = Command::new("chattr").arg(how).arg(path).status().unwrap();
    assert!(status.success(), "chattr {how} {}", path.display());
}

#[test]
fn rubbish_is_told_until_it_is_gone_and_keeps_nothing_else() {
    let disk = LoopFs::new("ext4", 32);
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    pair.keep_undo("keep = 1");
    for name in ["stuck", "beside", "below/beside"] {
        pair.write(Foo0, &format!("html/dir/{name}"), name);
    }
    push(&pair, 1);
    let stuck = pair.path(Foo1, "html/dir/stuck");
    chattr("+i", &stuck);
    std::fs::remove_dir_all(pair.path(Foo0, "html/dir")).unwrap();
    for version in 2..5 {
        push(&pair, version);
    }
    let undo = pair.path(Foo1, "html/.hasync/trees/html/undo");
    let names = || -> Vec<String> {
        let files = walkdir::WalkDir::new(&undo).into_iter().map(Result::unwrap);
        let names = files.map(|entry| entry.file_name().to_str().unwrap().to_owned());
        names
            .filter(|name| ["stuck", "beside"].contains(&name.as_str()))
            .collect()
    };
    let rubbish = || status(&pair, Foo1)["rubbish"].clone();
    // What goes, goes after the push has been acknowledged.
    await_that("one step kept, and one that cannot go", || {
        kept(&pair) == 1 && rubbish().as_array().unwrap().len() == 1
    });
    assert_eq!(names(), ["stuck"]);
    let rubbish = rubbish();
    let dir = rubbish[0].as_str().unwrap().to_owned();
    let told = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    assert!(
        told.contains("could not be removed") && told.contains(&dir),
        "{told}"
    );
    let walk = walkdir::WalkDir::new(&dir).into_iter().map(Result::unwrap);
    let stuck = walk
        .map(|entry| entry.into_path())
        .find(|path| path.ends_with("stuck"));
    chattr("-i", &stuck.unwrap());
    push(&pair, 5);
    await_that("it is gone", || !Path::new(&dir).exists());
    let told = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    assert!(!told.contains("could not be removed"), "{told}");
}
