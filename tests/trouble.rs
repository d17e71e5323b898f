//! What goes wrong around two nodes. Each trouble ends in a state that `hasync status` explains in
//! a sentence, nothing is lost, and the next cycle repairs it.

use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Rng, await_that};

/// foo0 is primary, its trees are equal to foo1's.
fn mirrored(pair: Pair) -> Pair {
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["promote", "--all"]).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.assert_equal();
    pair
}

impl Pair {
    /// What `hasync status` says holds all of this.
    #[track_caller]
    fn explains(&self, node: Node, words: &[&str]) {
        let status = self.run(node, &["status"]).expect(0);
        let text = status.stdout_text();
        for word in words {
            assert!(text.contains(word), "{word:?} is not said\n{status}");
        }
    }

    /// The next cycle repairs it, and nobody speaks of it any more.
    #[track_caller]
    fn is_repaired(&self) {
        self.run(Foo0, &["cycle"]).expect(0);
        self.assert_equal();
        for node in [Foo0, Foo1] {
            let status = self.run(node, &["status"]).expect(0);
            let text = status.stdout_text();
            assert!(text.contains("the standby is equal as of "), "{status}");
            for word in ["failed", "interrupted", "not acknowledged"] {
                assert!(!text.contains(word), "{word:?} is still said\n{status}");
            }
        }
    }
}

#[test]
fn a_key_that_the_standby_does_not_take() {
    let pair = mirrored(Pair::here(""));
    pair.write(Foo0, "html/late", "x");
    let key = pair.read(Foo0, "hasync.toml");
    let key = key
        .lines()
        .find(|line| line.starts_with("identity = "))
        .unwrap();
    pair.set(Foo0, "identity = ", &key.replace("user_key", "other_key"));
    pair.run(Foo0, &["cycle"]).expect(77);
    pair.explains(
        Foo0,
        &[
            "primary, epoch 1",
            "the last cycle, ",
            " s ago, failed: ",
            "(exit 77)",
        ],
    );
    pair.set(Foo0, "identity = ", key);
    pair.is_repaired();
}

#[test]
fn a_standby_that_boots_in_the_middle_of_a_push() {
    let mut pair = mirrored(Pair::here(""));
    pair.write(Foo0, "html/big", Rng::new(1).bytes(20_000_000));
    // Far slower than the reboot comes.
    pair.set(Foo0, "timeout = ", "timeout = \"20s\"\nbwlimit = \"100K\"");
    let pushing = pair.on(Foo0, &["cycle"]).start();
    await_that("something is staged", || is_staged(&pair));
    pair.sshd().stop();
    let cut = pushing.finish();
    assert!([12, 69].contains(&cut.code), "{cut}");
    pair.run(Foo0, &["cycle"]).expect(69);
    pair.explains(Foo0, &["the last cycle, ", "(exit 69)"]);
    pair.explains(
        Foo1,
        &[
            "html: standby, epoch 1, generation 2",
            " is left of an interrupted push",
        ],
    );
    pair.set(Foo0, "bwlimit = ", "");
    pair.sshd().start_again();
    pair.is_repaired();
}

#[test]
fn a_standby_without_space() {
    let disk = LoopFs::new("ext4", 16);
    let pair = mirrored(Pair::with_standby_on(&disk.path("foo1")));
    pair.write(Foo0, "html/big", Rng::new(2).bytes(30_000_000));
    pair.write(Foo0, "etc/a", "2");
    pair.run(Foo0, &["cycle"]).expect(82);
    assert_eq!(
        pair.read(Foo1, "etc/a"),
        "2",
        "the other tree is not held up"
    );
    assert!(!pair.path(Foo1, "html/big").exists());
    pair.explains(
        Foo0,
        &[
            "the last cycle, ",
            "failed: tree html: ",
            "no space left",
            "(exit 82)",
        ],
    );
    pair.explains(Foo1, &["html: standby, epoch 1, generation 2"]);
    pair.write(Foo0, "html/big", "small");
    pair.is_repaired();
}

#[test]
fn a_source_whose_disk_is_not_mounted() {
    crate::support::need_root();
    let pair = Pair::here("");
    let root = pair.path(Foo0, "html").display().to_string();
    let disk = LoopFs::new("ext4", 16);
    let device = disk.path("html");
    std::fs::create_dir(&device).unwrap();
    let device = device.display().to_string();
    run_ok("mount", &["--bind", &device, &root]);
    let pair = mirrored(pair);
    run_ok("umount", &[&root]);
    pair.run(Foo0, &["cycle"]).expect(25);
    assert!(pair.path(Foo1, "html/index.html").exists());
    pair.explains(Foo0, &["failed: tree html: ", "(exit 25)"]);
    run_ok("mount", &["--bind", &device, &root]);
    pair.is_repaired();
    run_ok("umount", &[&root]);
}

#[test]
fn a_standby_that_is_paused_beyond_the_deadline_of_the_last_push() {
    let pair = mirrored(Pair::in_namespaces("[cycle]\nlast_push = \"2s\"\n"));
    pair.write(Foo0, "html/late", "x");
    let sshd = pair.sshd_of(Foo1).id().to_string();
    run_ok("kill", &["-STOP", &sshd]);
    let done = pair.run(Foo0, &["mirror", "stop"]).expect(0);
    assert!(
        done.stderr.contains("the last push is not complete"),
        "{done}"
    );
    pair.explains(
        Foo0,
        &[
            "html: standby, epoch 1, generation 2",
            "what changed here after that may be here alone",
            "the other node was equal as of ",
        ],
    );
    run_ok("kill", &["-CONT", &sshd]);
    // It is started on the same node again, for the other is not well.
    pair.run(Foo0, &["mirror", "start"]).expect(0);
    pair.is_repaired();
    assert!(pair.path(Foo1, "html/late").exists());
}

#[test]
fn a_link_that_is_cut_in_the_middle_of_the_last_push() {
    let pair = mirrored(Pair::in_namespaces("[cycle]\nlast_push = \"60s\"\n"));
    for node in [Foo0, Foo1] {
        pair.set(node, "timeout = ", "timeout = \"6s\"");
    }
    let net = pair.net.as_ref().unwrap();
    pair.write(Foo0, "html/big", Rng::new(3).bytes(20_000_000));
    // Far longer than the last push may take.
    net.limit_mbit(2);
    let stopping = pair.on(Foo0, &["mirror", "stop"]).start();
    await_that("something is staged", || is_staged(&pair));
    net.cut();
    let done = stopping.finish().expect(0);
    assert!(
        done.stderr.contains("the last push is not complete"),
        "{done}"
    );
    let may_be_alone = "may be here alone, and the first push to it will keep that";
    pair.explains(Foo0, &["html: standby, epoch 1", may_be_alone]);
    net.mend();
    net.lift_limit();
    await_that("the far half gives up", || {
        let status = pair.run(Foo1, &["status"]).expect(0).stdout_text();
        !status.contains("a push is running")
    });

    // foo1 takes over with what it has; what foo0 had alone is kept there.
    pair.run(Foo1, &["mirror", "start"]).expect(0);
    pair.write(Foo1, "html/index.html", "from foo1");
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
    pair.explains(Foo0, &["kept: generation "]);
    pair.run(Foo0, &["undo", "html"]).expect(0);
    let big = std::fs::read(pair.path(Foo0, "html/big")).unwrap();
    assert!(big == Rng::new(3).bytes(20_000_000), "nothing is lost");
}

#[test]
fn clocks_that_are_minutes_apart() {
    for (there, later) in [("600", "-900"), ("-600", "900")] {
        let pair = Pair::here("");
        let offset = |seconds: &str| {
            let script = pair.read(Foo1, "hasync");
            let (_, exec) = script.rsplit_once("\nexec ").unwrap();
            let lines = format!("#!/bin/sh\nexport HASYNC_CLOCK_OFFSET={seconds}\nexec {exec}");
            pair.write(Foo1, "hasync", lines);
        };
        offset(there);
        let pair = mirrored(pair);
        pair.write(Foo0, "html/second", "x");
        pair.run(Foo0, &["cycle"]).expect(0);
        let status = |clock: &str| {
            let variable = format!("HASYNC_CLOCK_OFFSET={clock}");
            let launcher = ["env", &variable];
            let hasync = pair.on(Foo1, &["status", "--json"]).under(&launcher);
            let json = hasync.run().expect(0).stdout;
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let html = json["trees"][1].clone();
            let sentence = html["sentence"].as_str().unwrap().to_owned();
            assert!(sentence.contains("the standby is equal as of "), "{html:#}");
            let lag = html["lag_seconds"].as_u64().unwrap();
            // Minutes less than the clocks are apart, whatever the machine is busy with.
            assert!(lag < 500, "{html:#}");
            html
        };
        let before = status(there);
        // By the primary's clock, whatever the standby's shows.
        let here = pair.run(Foo0, &["status", "--json"]).expect(0).stdout;
        let here: serde_json::Value = serde_json::from_slice(&here).unwrap();
        let as_of = &here["trees"][1]["as_of"];
        assert_eq!(as_of["time"], before["as_of"]["time"]);
        // By its own, as far away as the clocks are apart.
        let offset = there.parse::<i64>().unwrap();
        let apart =
            before["as_of"]["here_seconds"].as_i64().unwrap() - as_of["seconds"].as_i64().unwrap();
        assert!((apart - offset).abs() < 300, "{before:#}");
        // It is set, forwards or backwards by a quarter of an hour: the data is as old as it is.
        assert_eq!(status(later)["as_of"], before["as_of"]);
        // Roles can change whatever the clocks show.
        pair.run(Foo0, &["demote", "--all"]).expect(0);
        let promote = pair.on(Foo1, &["promote", "--all"]);
        let variable = format!("HASYNC_CLOCK_OFFSET={later}");
        promote.under(&["env", &variable]).run().expect(0);
        pair.write(Foo1, "html/third", "y");
        let push = pair.on(Foo1, &["push", "--all"]);
        push.under(&["env", &variable]).run().expect(0);
        pair.assert_equal();
    }
}

/// Whether a push to foo1 under way has staged content.
fn is_staged(pair: &Pair) -> bool {
    let stage = pair.path(Foo1, "html/.hasync/stage");
    let walk = walkdir::WalkDir::new(stage).into_iter().flatten();
    walk.into_iter().any(|entry| {
        let metadata = entry.metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
    })
}
