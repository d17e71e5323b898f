//! The recipe, replayed: two nodes with a private link and a service address that moves, cycles
//! on both, and the resource script that heartbeat calls.

use std::time::Duration;

use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::service::BY_ADDRESS;
use crate::support::smtp::Smtp;
use crate::support::{Finished, Rng, await_that, rounds};

impl Pair {
    fn recipe(lines: &str) -> Self {
        let pair = Pair::in_namespaces(&format!("{BY_ADDRESS}{lines}"));
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        pair
    }

    fn log(&self, node: Node) -> String {
        std::fs::read_to_string(self.path(node, "notices.log")).unwrap_or_default()
    }

    /// Waits for a notice of the resource script, which does not wait for it itself.
    fn await_log(&self, node: Node, words: &str) {
        await_that(words, || self.log(node).contains(words));
    }
}

impl Finished {
    #[track_caller]
    fn tells(self, words: &[&str]) -> Self {
        let text = format!("{}{}", self.stdout_text(), self.stderr);
        for word in words {
            assert!(text.contains(word), "{word:?} is not said\n{self}");
        }
        self
    }
}

#[test]
fn the_holder_of_the_address_pushes_and_the_other_does_nothing() {
    let pair = Pair::recipe("");
    for node in [Foo0, Foo1] {
        let idle = pair.run(node, &["cycle"]).expect(0);
        assert!(idle.stdout.is_empty() && idle.stderr.is_empty(), "{idle}");
    }
    pair.run(Foo1, &["cycle", "-v"])
        .expect(0)
        .tells(&["nothing to do, this node is standby: 10.99.0.100 is not on any interface"]);
    pair.take_over(Foo0)
        .expect(0)
        .tells(&["html: primary, epoch 1", "conf: primary, epoch 1"]);
    pair.run(Foo0, &["cycle"]).expect(0).tells(&[
        "conf: generation ",
        "html: generation ",
        "cycle: 2 trees in ",
        " % of the interval",
    ]);
    pair.assert_equal();
    let quiet = pair.run(Foo0, &["cycle", "-q"]).expect(0);
    assert!(quiet.stdout.is_empty(), "{quiet}");
}

#[test]
fn roles_swap_back_and_forth_and_nothing_is_lost_or_comes_back() {
    let pair = Pair::recipe("");
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    let mut holder = Foo0;
    for round in 0..rounds("switchovers of the service", 4, 20) {
        // Written while the service runs, never seen by a cycle: the last push is to take it.
        pair.write(holder, &format!("html/{round}"), holder.name());
        pair.write(holder, "etc/a", format!("{round}"));
        if round > 0 {
            let gone = pair.path(holder, &format!("html/{}", round - 1));
            std::fs::remove_file(gone).unwrap();
        }
        pair.give_up(holder).expect(0);
        pair.assert_equal();
        holder = holder.other();
        pair.take_over(holder).expect(0);
        let status = pair.run(holder, &["mirror", "status"]).expect(0);
        assert!(status.stdout_text().starts_with("running\n"), "{status}");
        let status = pair.run(holder.other(), &["mirror", "status"]).expect(3);
        assert!(status.stdout_text().starts_with("stopped\n"), "{status}");
        pair.run(holder, &["cycle"]).expect(0);
        pair.assert_equal();
        let names = pair.html(holder).entries.len();
        assert_eq!(names, 3, "the root, the index and this round's file");
    }
    // Each last push took everything: nothing was anywhere alone.
    for node in [Foo0, Foo1] {
        let status = pair.run(node, &["status"]).expect(0);
        assert!(!status.stdout_text().contains("kept:"), "{status}");
    }
}

#[test]
fn the_script_can_be_called_twice() {
    let pair = Pair::recipe("");
    pair.take_over(Foo0).expect(0).tells(&["epoch 1"]);
    let again = pair.run(Foo0, &["mirror", "start"]).expect(0);
    assert!(again.stdout.is_empty(), "no second promotion\n{again}");
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.run(Foo0, &["mirror", "restart"])
        .expect(0)
        .tells(&["epoch 2"]);
    pair.run(Foo0, &["mirror", "stop"]).expect(0);
    let again = pair.run(Foo0, &["mirror", "stop"]).expect(0);
    assert!(again.stdout.is_empty(), "{again}");
    pair.run(Foo0, &["mirror", "dance"]).expect(1);
}

#[test]
fn after_a_crash_the_old_primary_is_refused_until_it_gives_in() {
    let pair = Pair::recipe("");
    let every = |interval: &str| {
        for node in [Foo0, Foo1] {
            let log = pair.path(node, "notices.log").display().to_string();
            let cycle = format!("[cycle]\ninterval = \"{interval}\"\n");
            let lines = format!("{BY_ADDRESS}[notify]\nlog = \"{log}\"\n{cycle}");
            pair.configure_one(node, &lines);
        }
    };
    every("1h");
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    // Not pushed any more when foo0 dies: lost with it, as its lag said.
    pair.write(Foo0, "html/late", "x");
    pair.serve(Foo0, false);
    let net = pair.net.as_ref().unwrap();
    net.cut();
    pair.take_over(Foo1)
        .expect(0)
        .tells(&["the peer cannot be asked: ", "html: primary, epoch 2"]);
    pair.await_log(Foo1, "promotion: ");
    net.mend();
    pair.write(Foo1, "html/after", "y");

    // foo0 is back, and was never told. Its own pushes are refused ...
    let before = pair.html(Foo1);
    pair.run(Foo0, &["push", "--all"]).expect(80);
    assert_eq!(pair.html(Foo1).diff(&before), "");
    pair.run(Foo0, &["role"]).expect(0).tells(&[
        "standby: 10.99.0.100 is not on any interface",
        "note: html is recorded as primary's here and receives nothing",
    ]);
    // ... and it takes nothing: first that is held back quietly, then it is told.
    pair.run(Foo1, &["cycle"])
        .expect(0)
        .tells(&["the first push after the promotion is held back, at most "]);
    every("1s");
    await_that("the first push is held back no longer", || {
        pair.run(Foo1, &["cycle"]).code == 80
    });
    assert!(
        pair.log(Foo1).contains("fenced: tree html: "),
        "{}",
        pair.log(Foo1)
    );
    assert!(pair.path(Foo0, "html/late").exists());

    pair.run(Foo0, &["demote", "--all"]).expect(0);
    pair.run(Foo1, &["cycle"])
        .expect(0)
        .tells(&["replaced what only the peer had; the peer keeps that"]);
    let log = pair.log(Foo1);
    assert!(log.contains("promotion: tree html: generation "), "{log}");
    pair.assert_equal();
    assert!(!pair.path(Foo0, "html/late").exists());
    // What foo0 had alone can still be had.
    pair.run(Foo0, &["status", "html"]).expect(0).tells(&[
        "kept: generation ",
        " of foo1 replaced what only this node had",
    ]);
    pair.run(Foo0, &["undo", "html", "-nv"])
        .expect(0)
        .tells(&["restored   late\n"]);
}

/// One tree does not hold back the others, whatever tells the role.
#[test]
fn a_tree_whose_records_are_damaged_holds_back_no_other() {
    for role in [BY_ADDRESS, ""] {
        let pair = Pair::in_namespaces(role);
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        pair.take_over(Foo0).expect(0);
        pair.run(Foo0, &["cycle"]).expect(0);
        let record = std::fs::read(pair.path(Foo0, "state/trees/html/node")).unwrap();
        pair.write(Foo0, "state/trees/html/node", "hasync");
        pair.write(Foo0, "etc/a", "2");
        pair.run(Foo0, &["cycle"])
            .expect(11)
            .tells(&["tree html: cannot read the state of tree html"]);
        assert_eq!(pair.read(Foo1, "etc/a"), "2", "{role}");
        pair.run(Foo0, &["check"]).expect(2);
        pair.write(Foo0, "etc/a", "3");
        pair.give_up(Foo0)
            .expect(0)
            .tells(&["this node may still be primary of html", "conf: standby"]);
        assert_eq!(pair.read(Foo1, "etc/a"), "3", "{role}");
        pair.run(Foo0, &["recover"])
            .expect(11)
            .tells(&["conf: nothing to recover"]);
        pair.write(Foo0, "state/trees/html/node", record);
        pair.run(Foo0, &["demote", "html"]).expect(0);
        pair.take_over(Foo1).expect(0);
        pair.run(Foo1, &["cycle"]).expect(0);
        pair.assert_equal();
    }
}

#[test]
fn an_overlap_is_skipped_and_mailed() {
    let pair = Pair::recipe("");
    let (here, there) = (pair.net.as_ref().unwrap().on_primary(), "10.99.0.1:2525");
    let smtp = Smtp::start_at(&here, there);
    let (go, late) = (pair.dir.text("go"), pair.dir.text("late"));
    let lines = format!(
        "{BY_ADDRESS}[notify]\nmail = {{ to = [\"root\"], smtp = \"{there}\" }}\n[hooks]\n\
         before = \"touch {go}.waits; while [ ! -e {go} ]; do sleep 0.05; done\"\n\
         on_overrun = \"touch {late}\"\ntimeout = \"60s\"\n"
    );
    pair.configure_one(Foo0, &lines);
    pair.take_over(Foo0).expect(0);
    let running = pair.on(Foo0, &["cycle"]).start();
    await_file(&pair.dir.path("go.waits"));
    pair.run(Foo0, &["cycle"]).expect(75).tells(&[
        "a cycle was due and the one before is running for ",
        "it is skipped (exit 75)",
    ]);
    let mail = smtp.await_mail("overlap");
    assert!(
        mail.contains("Subject: hasync foo0: overlap: a cycle was due"),
        "{mail}"
    );
    assert!(pair.dir.path("late").exists(), "the hook on_overrun ran");
    pair.dir.write("go", "");
    running.finish().expect(0);
    pair.assert_equal();
}

#[test]
fn one_cycle_queues_where_that_is_the_policy() {
    let pair = Pair::recipe("");
    let go = pair.dir.text("go");
    let lines = format!(
        "{BY_ADDRESS}[cycle]\noverlap = \"queue-one\"\n[hooks]\n\
         before = \"touch {go}.waits; while [ ! -e {go} ]; do sleep 0.05; done\"\n\
         on_overrun = \"touch {go}.queued\"\ntimeout = \"60s\"\n"
    );
    pair.configure_one(Foo0, &lines);
    pair.take_over(Foo0).expect(0);
    let running = pair.on(Foo0, &["cycle"]).start();
    await_file(&pair.dir.path("go.waits"));
    let queued = pair.on(Foo0, &["cycle"]).start();
    await_file(&pair.dir.path("go.queued"));
    pair.run(Foo0, &["cycle"]).expect(75);
    pair.dir.write("go", "");
    running.finish().expect(0);
    queued.finish().expect(0).tells(&["html: unchanged"]);
}

#[test]
fn a_plan_says_whether_cycles_fit() {
    let pair = Pair::recipe("");
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["plan", "--interval", "3m"])
        .expect(0)
        .tells(&[
            "html: 2 entries compared in ",
            "what changes is unknown",
            "the standby has ",
            " free, first copies and changes may take ",
            "fits: uses ",
        ]);
    for round in 0..3 {
        pair.write(Foo0, "html/index.html", Rng::new(round).bytes(2_000_000));
        pair.run(Foo0, &["cycle"]).expect(0);
        std::thread::sleep(Duration::from_millis(1100));
    }
    // Whether that fits depends on the machine.
    pair.run(Foo0, &["plan", "html"]).tells(&[
        ", read and hashed here at ",
        " free, changes with what is kept for undo may take ",
        " cycles seen: ",
        " per minute on average",
        "the link carried ",
        "fit",
    ]);
    pair.run(Foo0, &["plan", "--interval", "1ms"])
        .expect(3)
        .tells(&["does not fit: "]);
}

#[test]
fn a_hook_that_fails_stops_the_cycle_before_it_pushes() {
    let pair = Pair::recipe("");
    let told = pair.dir.text("told");
    let lines = format!(
        "{BY_ADDRESS}[hooks]\nbefore = \"echo no dump >&2; exit 4\"\n\
         on_failure = \"echo $HASYNC_EXIT > {told}\"\n"
    );
    pair.configure_one(Foo0, &lines);
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"])
        .expect(11)
        .tells(&["the hook before failed", "no dump"]);
    assert_eq!(pair.html(Foo1).entries.len(), 1);
    assert_eq!(pair.dir.read("told"), b"11\n");
}

#[test]
fn a_standby_that_is_not_well_by_its_own_check_receives_nothing() {
    let pair = Pair::recipe("");
    pair.configure_one(Foo0, BY_ADDRESS);
    let well = pair.dir.text("well");
    let check = format!("check = \"test -e {well} || {{ echo ill; exit 1; }}\"\n");
    // It belongs to the section before.
    pair.configure_one(Foo1, &format!("{check}{BY_ADDRESS}"));
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0).tells(&["held back"]);
    pair.run(Foo0, &["push", "--all"])
        .expect(75)
        .tells(&["does not receive now", "ill"]);
    assert_eq!(pair.html(Foo1).entries.len(), 1);
    pair.dir.write("well", "");
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.assert_equal();
}

#[test]
fn a_peer_that_is_away_is_told_once_and_its_return_too() {
    let pair = Pair::recipe("");
    let log = pair.path(Foo0, "notices.log").display().to_string();
    pair.configure_one(Foo0, &format!("{BY_ADDRESS}[notify]\nlog = \"{log}\"\n"));
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    let net = pair.net.as_ref().unwrap();
    let told = || pair.log(Foo0).matches("failure: ").count();
    net.cut();
    for _ in 0..2 {
        let done = pair.run(Foo0, &["cycle"]);
        assert!([30, 69].contains(&done.code), "{done}");
    }
    assert_eq!(told(), 1, "{}", pair.log(Foo0));
    net.mend();
    pair.run(Foo0, &["cycle"]).expect(0);
    assert!(
        pair.log(Foo0)
            .contains("recovery: all trees were pushed again"),
        "{}",
        pair.log(Foo0)
    );
}

#[test]
fn a_last_push_that_cannot_be_ends_in_time_and_says_so() {
    let pair = Pair::recipe("");
    let log = pair.path(Foo0, "notices.log").display().to_string();
    let lines = format!("{BY_ADDRESS}[notify]\nlog = \"{log}\"\n[cycle]\nlast_push = \"2s\"\n");
    pair.configure_one(Foo0, &lines);
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.write(Foo0, "html/late", "x");
    pair.net.as_ref().unwrap().cut();
    pair.run(Foo0, &["mirror", "stop"])
        .expect(0)
        .tells(&["the last push is not complete", "html: standby"]);
    pair.await_log(Foo0, "the last push is not complete");
    pair.run(Foo0, &["mirror", "status"]).expect(3);
}

#[test]
fn the_stop_waits_for_a_running_cycle_and_pushes_after_it() {
    let pair = Pair::recipe("");
    let go = pair.dir.text("go");
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    let lines = format!(
        "{BY_ADDRESS}[hooks]\n\
         after = \"touch {go}.waits; while [ ! -e {go} ]; do sleep 0.05; done\"\n\
         timeout = \"60s\"\n"
    );
    pair.configure_one(Foo0, &lines);
    let running = pair.on(Foo0, &["cycle"]).start();
    await_file(&pair.dir.path("go.waits"));
    // The cycle has seen all of the tree: only the last push can take this.
    pair.write(Foo0, "html/late", "x");
    let mut stopping = pair.on(Foo0, &["mirror", "stop"]).start();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!stopping.is_over(), "it waits");
    pair.run(Foo0, &["mirror", "status"]).expect(0);
    pair.dir.write("go", "");
    running.finish().expect(0);
    stopping.finish().expect(0).tells(&["html: standby"]);
    pair.assert_equal();
}

#[test]
fn a_cycle_that_stays_pushes_again_and_again() {
    let pair = Pair::recipe("");
    // Each round asks for the role first, which leaves a trace.
    let (asked, primary) = (pair.dir.text("asked"), pair.dir.text("primary"));
    let role = format!("[role]\ncommand = \"echo >> {asked}; test -e {primary}\"\n");
    pair.configure_one(Foo0, &role);
    let rounds = || std::fs::read(&asked).unwrap_or_default().len();
    let await_rounds = |more: usize| {
        let want = rounds() + more;
        await_that("another round", || rounds() >= want);
    };
    pair.dir.write("primary", "");
    pair.run(Foo0, &["promote", "--all"]).expect(0);
    let mut running = pair.on(Foo0, &["cycle", "--every", "200ms"]).start();
    for round in 0..3 {
        pair.write(Foo0, "html/index.html", format!("round {round}"));
        let there = pair.path(Foo1, "html/index.html");
        let want = format!("round {round}");
        await_that(&want, || {
            std::fs::read_to_string(&there).is_ok_and(|text| text == want)
        });
    }
    // The role moves away: it goes on running, and pushes no more. The round under way may still
    // have seen the old role; when a second one has asked, that one is over.
    std::fs::remove_file(&primary).unwrap();
    await_rounds(2);
    pair.write(Foo0, "html/index.html", "unseen");
    await_rounds(2);
    assert_eq!(pair.read(Foo1, "html/index.html"), "round 2");
    assert!(!running.is_over());
    run_ok("kill", &["-TERM", &running.id().to_string()]);
    running.finish().expect(20);
}

fn await_file(path: &std::path::Path) {
    await_that(&path.display().to_string(), || path.exists());
}
