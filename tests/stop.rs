//! `hasync mirror stop` ends with success and in time, whatever stands in its way, and says what it
//! could not send.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::hanging::HangingDisk;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Rng, TempTree, await_that};

/// foo0 is primary, its trees are equal to foo1's, and one file is not pushed yet.
fn mirrored(pair: Pair) -> Pair {
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["mirror", "start"]).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.assert_equal();
    pair.write(Foo0, "html/late", "x");
    pair
}

fn stopped(pair: &Pair, words: &[&str]) -> Finished {
    let done = pair.run(Foo0, &[&["mirror", "stop"], words].concat());
    done.expect(0)
}

/// What foo0 remembers of the stop.
fn remembered(pair: &Pair) -> serde_json::Value {
    let memory: serde_json::Value =
        serde_json::from_str(&pair.read(Foo0, "state/memory.json")).unwrap();
    memory["last_stop"].clone()
}

type Break = fn(&Path);

#[test]
fn a_broken_configuration_is_stopped_by_the_last_good_one() {
    let breaks: [(&str, Break); 9] = [
        ("gone", |file| std::fs::remove_file(file).unwrap()),
        ("no TOML", |file| std::fs::write(file, "[node").unwrap()),
        ("emptied by a full disk", |file| {
            std::fs::write(file, "").unwrap();
        }),
        ("an unknown key", |file| {
            let text = std::fs::read_to_string(file).unwrap();
            std::fs::write(file, format!("bogus = 1\n{text}")).unwrap();
        }),
        ("cut off", |file| {
            let text = std::fs::read_to_string(file).unwrap();
            std::fs::write(file, &text[..text.len() / 2]).unwrap();
        }),
        ("no text", |file| std::fs::write(file, [0xff; 100]).unwrap()),
        ("written by others", |file| {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("a directory", |file| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        }),
        ("a link to nothing", |file| {
            std::fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("nothing", file).unwrap();
        }),
    ];
    let pair = mirrored(Pair::here(""));
    let file = pair.path(Foo0, "hasync.toml");
    let good = std::fs::read(&file).unwrap();
    for (name, breaks) in breaks {
        pair.write(Foo0, "html/late", name);
        breaks(&file);
        let done = stopped(&pair, &[]);
        assert!(
            done.stderr.contains("the last good configuration"),
            "{name}\n{done}"
        );
        assert_eq!(pair.read(Foo1, "html/late"), name, "{done}");
        if file.is_dir() {
            std::fs::remove_dir(&file).unwrap();
        }
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, &good).unwrap();
        pair.run(Foo0, &["mirror", "status"]).expect(3);
        pair.run(Foo0, &["mirror", "start"]).expect(0);
    }
    // What is kept is what the last verb that acted went by.
    pair.set(Foo0, "timeout = ", "timeout = \"19s\"");
    pair.run(Foo0, &["status"]).expect(0);
    let kept = || {
        let mut files = std::fs::read_dir(pair.dir.path("last-good")).unwrap();
        let file = files.find(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("foo0")
        });
        std::fs::read_to_string(file.unwrap().unwrap().path()).unwrap()
    };
    assert!(!kept().contains("19s"));
    pair.run(Foo0, &["cycle"]).expect(0);
    assert!(kept().contains("19s"));
}

#[test]
fn where_no_configuration_was_ever_good_there_is_nothing_to_stop() {
    let dir = TempTree::new();
    dir.write("hasync.toml", "[node");
    for action in ["stop", "start", "restart", "status"] {
        let done = Hasync::new()
            .args(["mirror", action, "--config", &dir.text("hasync.toml")])
            .run();
        let code = match action {
            "stop" => 0,
            "status" => 4,
            _ => 6,
        };
        let done = done.expect(code);
        assert!(done.stderr.contains("hasync.toml:1: "), "{done}");
    }
}

#[test]
fn a_tree_that_cannot_be_sent_does_not_keep_the_others_from_being_handed_over() {
    let pair = mirrored(Pair::here(""));
    pair.write(Foo0, "etc/a", "2");
    // As if its disk were not mounted.
    std::fs::rename(pair.path(Foo0, "html"), pair.path(Foo0, "apart")).unwrap();
    std::fs::create_dir(pair.path(Foo0, "html")).unwrap();
    let done = stopped(&pair, &[]);
    assert!(
        done.stderr.contains("the last push is not complete"),
        "{done}"
    );
    assert_eq!(pair.read(Foo1, "etc/a"), "2");
    let unsent = &remembered(&pair)["unsent"];
    assert!(unsent["conf"].is_null(), "{unsent}");
    assert!(
        unsent["html"].as_str().unwrap().contains("exit 25"),
        "{unsent}"
    );
    std::fs::remove_dir_all(pair.path(Foo0, "html")).unwrap();
    std::fs::rename(pair.path(Foo0, "apart"), pair.path(Foo0, "html")).unwrap();
    let status = pair.run(Foo0, &["status"]).expect(0).stdout_text();
    assert!(
        status.contains("it handed over to the other node"),
        "{status}"
    );
    assert!(status.contains("may be here alone"), "{status}");
}

#[test]
fn a_stop_that_sent_everything_says_so() {
    let pair = mirrored(Pair::here(""));
    stopped(&pair, &["--within", "60"]);
    assert_eq!(pair.read(Foo1, "html/late"), "x");
    assert_eq!(remembered(&pair)["unsent"], serde_json::json!({}));
}

/// Somebody pushes by hand, and what is written meanwhile is not in that.
#[test]
fn a_push_that_is_running_is_waited_for() {
    let pair = mirrored(Pair::here(""));
    pair.write(Foo0, "html/large", Rng::new(5).bytes(2_000_000));
    let by_hand = pair.on(Foo0, &["push", "--all", "--bwlimit=500"]).start();
    await_that("it has begun", || {
        let status = pair.run(Foo1, &["status", "html"]).expect(0);
        status.stdout_text().contains("a push is running")
    });
    pair.write(Foo0, "html/last", "y");
    let done = stopped(&pair, &[]);
    by_hand.finish().expect(0);
    assert_eq!(remembered(&pair)["unsent"], serde_json::json!({}), "{done}");
    assert_eq!(pair.read(Foo1, "html/last"), "y");
    pair.run(Foo1, &["mirror", "start"]).expect(0);
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
}

#[test]
fn within_its_time_it_ends_however_long_the_last_push_may_take() {
    let pair = mirrored(Pair::in_namespaces("[cycle]\nlast_push = \"1h\"\n"));
    let sshd = pair.sshd_of(Foo1).id().to_string();
    run_ok("kill", &["-STOP", &sshd]);
    let done = stopped(&pair, &["--within", "3s"]);
    run_ok("kill", &["-CONT", &sshd]);
    assert!(
        done.stderr.contains("the last push is not complete"),
        "{done}"
    );
    let unsent = &remembered(&pair)["unsent"];
    for tree in ["html", "conf"] {
        assert!(
            unsent[tree].as_str().unwrap().contains("time was up"),
            "{unsent}"
        );
    }
    pair.run(Foo0, &["mirror", "status"]).expect(3);
    for wrong in ["0", "0s", "x", "-1", ""] {
        pair.run(Foo0, &["mirror", "stop", "--within", wrong])
            .expect(1);
    }
}

/// Others may have a hand in a program by now that the last good configuration names.
#[test]
fn what_others_could_write_is_not_run_by_the_last_good_configuration() {
    for lines in [
        "[role]\ncommand = \"PROGRAM\"\n",
        "[role]\ncommand = \"exec 'PROGRAM' x\"\nexpect = \"primary\"\n",
        "[notify]\ncommand = \"PROGRAM\"\n",
        "[hooks]\nbefore = \"PROGRAM\"\n[role]\ncommand = \"PROGRAM\"\n",
    ] {
        let pair = Pair::here("");
        let (program, ran) = (pair.dir.text("program"), pair.dir.path("ran"));
        let script = format!("#!/bin/sh\ntouch {}\necho primary\n", ran.display());
        pair.dir.write("program", script);
        pair.dir.chmod("program", 0o755);
        pair.configure(&lines.replace("PROGRAM", &program));
        let pair = mirrored(pair);
        std::fs::write(
            pair.dir.path("program"),
            format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display()),
        )
        .unwrap();
        pair.dir.chmod("program", 0o757);
        let _ = std::fs::remove_file(&ran);
        let recorded = |code| {
            pair.dir.chmod("program", 0o755);
            pair.run(Foo0, &["mirror", "status"]).expect(code);
            pair.dir.chmod("program", 0o757);
        };
        // Whether it serves, only that program could have said.
        if lines.contains("[role]") {
            stopped(&pair, &["--unless-serving"]);
            recorded(0);
        }
        let done = stopped(&pair, &[]);
        recorded(3);
        assert!(!ran.exists(), "{lines}: {done}");
    }
}

#[test]
fn a_tree_that_cannot_be_demoted_is_told_as_such() {
    let pair = Pair::here("");
    let log = pair.path(Foo0, "log");
    let pair = mirrored(pair);
    for node in [Foo0, Foo1] {
        pair.configure_one(node, &format!("[notify]\nlog = \"{}\"\n", log.display()));
    }
    pair.write(Foo0, "etc/a", "2");
    for trees in [&["html"][..], &["conf", "html"]] {
        let records = trees.iter().map(|tree| format!("state/trees/{tree}"));
        let mounted: Vec<_> = records
            .map(|records| Mounted::read_only(&pair.path(Foo0, &records)))
            .collect();
        let done = stopped(&pair, &[]);
        drop(mounted);
        let words = format!("this node may still be primary of {}: ", trees.join(", "));
        assert!(done.stderr.contains(&words), "{done}");
        let notice = pair.read(Foo0, "log");
        let notice = notice.lines().last().unwrap();
        assert!(
            notice.contains(&words) && !notice.contains("is standby"),
            "{notice}"
        );
        assert!(notice.contains("`hasync demote --all`"), "{notice}");
        for tree in trees {
            assert!(remembered(&pair)["unsent"][*tree].is_string(), "{done}");
        }
        pair.run(Foo0, &["mirror", "start"]).expect(0);
    }
    pair.run(Foo0, &["demote", "--all"]).expect(0);
}

#[test]
fn a_disk_that_hangs_holds_nothing_up() {
    let pair = Pair::here("");
    let disk = HangingDisk::at(&pair.path(Foo0, "html"));
    let pair = mirrored(pair);
    pair.write(Foo0, "etc/a", "2");
    disk.hangs(true);
    let done = stopped(&pair, &["--within", "6s"]);
    disk.hangs(false);
    assert!(done.stderr.contains("tree html: its disk"), "{done}");
    // What does not hang is handed over.
    assert!(done.stdout_text().contains("conf: standby"), "{done}");
    assert_eq!(pair.read(Foo1, "etc/a"), "2");
    drop(disk);
}
