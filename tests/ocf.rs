//! The resource agent of Pacemaker: each action with its code and its promotion score, as a cluster
//! calls them one after another. How a real one does is drilled in `drills`.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::agent::Agent;
use crate::support::hasync::{LAST_GOOD_DIR, Reachable};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::{Running, run_ok};
use crate::support::{Finished, Hasync, TempTree, await_that, need_root};

impl Finished {
    /// The line that crm_mon shows.
    #[track_caller]
    pub(crate) fn gives_reason(self, words: &str) -> Self {
        let mut lines = self.stderr.lines();
        let reason = lines.rfind(|line| line.starts_with("ocf-exit-reason:"));
        assert!(
            reason.is_some_and(|line| line.contains(words)),
            "{words:?} is no reason\n{self}"
        );
        self
    }
}

fn pair() -> Pair {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair
}

/// As the examples have it: seeded from the node with the data, before the cluster starts.
pub(crate) fn seeded() -> Pair {
    let pair = pair();
    pair.run(Foo0, &["promote", "--all"]).expect(0);
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair
}

#[test]
fn the_meta_data_is_valid() {
    let dir = TempTree::new();
    let meta = Hasync::new().args(["ocf", "meta-data"]).run().expect(0);
    dir.write("meta.xml", &meta.stdout);
    let dtd = "/usr/share/resource-agents/ra-api-1.dtd";
    run_ok(
        "xmllint",
        &["--noout", "--dtdvalid", dtd, &dir.text("meta.xml")],
    );
}

/// The tester of the resource agents, beside a peer that answers and beside none.
#[test]
fn ocf_tester_passes() {
    need_root();
    let reachable = Reachable::new();
    let agent = reachable.program().with_file_name("mirror");
    symlink("hasync", &agent).unwrap();
    for peer_answers in [true, false] {
        let pair = pair();
        if !peer_answers {
            pair.set(Foo0, "port = ", "port = 1");
        }
        let config = pair.path(Foo0, "hasync.toml").display().to_string();
        let mut tester = Command::new("ocf-tester");
        tester
            .args(["-n", "mirror", "-o", &format!("config={config}")])
            .arg(&agent)
            .env("HA_RSCTMP", pair.dir.path("run"))
            .env(LAST_GOOD_DIR, pair.dir.path("last-good"));
        let done = Running::start(tester).finish().expect(0);
        assert!(done.stdout_text().contains("passed all tests"), "{done}");
        assert!(
            !done.stdout_text().contains("does not support the promote"),
            "{done}"
        );
        assert_eq!(pair.path(Foo1, "html/index.html").exists(), peer_answers);
    }
}

#[test]
fn the_life_of_a_resource() {
    let pair = seeded();
    let (foo0, foo1) = (Agent::new(&pair, Foo0), Agent::new(&pair, Foo1));
    foo1.act("demote").expect(7);
    // A probe finds nothing, whatever the records say.
    for agent in [&foo0, &foo1] {
        agent.act("monitor").expect(7);
        agent.act("promote").expect(7);
        agent.act("stop").expect(0);
        agent.act("start").expect(0);
        agent.act("start").expect(0);
        agent.act("monitor").expect(0);
        agent.act("status").expect(0);
        agent.act("notify").expect(0);
        agent.act("validate-all").expect(0);
        agent.act("reload-agent").expect(0);
        agent.act("reload").expect(0);
        agent.act("migrate_to").expect(3);
        agent.act("dance").expect(3);
    }
    assert!(foo0.score() > foo1.score() && foo1.score().is_some());
    foo0.act("promote").expect(0);
    foo0.act("promote").expect(0);
    foo0.act("monitor").expect(8);
    foo0.act("start").expect(0);
    foo0.act("monitor").expect(8);
    pair.run(Foo0, &["mirror", "status"]).expect(0);
    // Written until the last moment: a demotion pushes once more.
    pair.write(Foo0, "html/late", "x");
    foo0.act("demote").expect(0);
    foo0.act("demote").expect(0);
    assert_eq!(pair.read(Foo1, "html/late"), "x");
    foo0.act("monitor").expect(0);
    foo1.act("monitor").expect(0);
    assert_eq!(foo0.score(), foo1.score(), "it has handed over");
    foo1.act("promote").expect(0);
    foo1.act("monitor").expect(8);
    foo0.act("monitor").expect(0);
    assert!(foo1.score() > foo0.score());
    pair.write(Foo1, "html/of-foo1", "y");
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
    // A stop of what is promoted pushes, too.
    pair.write(Foo1, "html/latest", "z");
    foo1.act("stop").expect(0);
    assert_eq!(pair.read(Foo0, "html/latest"), "z");
    foo1.act("monitor").expect(7);
    assert_eq!(foo1.score(), None);
    pair.run(Foo1, &["mirror", "status"]).expect(3);
}

#[test]
fn a_start_and_a_probe_make_no_generation_and_no_primary() {
    let pair = seeded();
    let log = |node| {
        pair.run(node, &["log", "html", "--json"])
            .expect(0)
            .stdout_text()
    };
    let before = [log(Foo0), log(Foo1)];
    for node in [Foo0, Foo1] {
        let agent = Agent::new(&pair, node);
        for action in [
            "monitor", "start", "monitor", "notify", "stop", "start", "monitor", "stop",
        ] {
            agent.act(action);
        }
    }
    assert_eq!([log(Foo0), log(Foo1)], before);
    // Started and stopped, and never demoted by that.
    pair.run(Foo0, &["mirror", "status"]).expect(0);
}

#[test]
fn two_empty_nodes_have_no_score_until_somebody_says_which_has_the_data() {
    let pair = pair();
    let agents = [Foo0, Foo1].map(|node| Agent::new(&pair, node));
    for agent in &agents {
        agent.act("start").expect(0);
        agent.act("monitor").expect(0);
        assert_eq!(agent.score(), None);
        let shown = agent.told("attrd_updater");
        assert!(
            shown.contains("run `hasync promote --all` on the node with the data"),
            "{shown}"
        );
    }
    let [foo0, foo1] = agents;
    pair.run(Foo0, &["promote", "--all"]).expect(0);
    foo0.act("monitor").expect(0);
    foo1.act("monitor").expect(0);
    assert!(foo0.score().is_some());
    assert_eq!(foo1.score(), None, "it has received nothing");
    foo0.act("promote").expect(0);
    foo0.act("monitor");
    pair.run(Foo0, &["cycle"]).expect(0);
    foo0.act("monitor").expect(8);
    foo1.act("monitor").expect(0);
    assert!(foo0.score() > foo1.score() && foo1.score().is_some());
    let shown = foo1.told("attrd_updater");
    assert!(
        shown.lines().last().unwrap().ends_with(" -D"),
        "nothing is shown any more\n{shown}"
    );
}

#[test]
fn a_crash_leaves_the_proven_standby_and_a_later_start_only_what_is_known() {
    let mut pair = seeded();
    pair.write(Foo0, "html/more", "x");
    {
        let foo1 = Agent::new(&pair, Foo1);
        foo1.act("start").expect(0);
        assert!(foo1.score().is_some());
    }
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.sshd().stop();
    let foo1 = Agent::new(&pair, Foo1);
    foo1.act("start").expect(0);
    assert_eq!(foo1.score(), None, "nobody has confirmed it in this boot");
    let shown = foo1.told("attrd_updater");
    assert!(
        shown.contains("run `hasync promote --all` here to go on"),
        "{shown}"
    );
    // It is asked to all the same: an unreachable peer holds nothing up.
    foo1.act("promote").expect(0);
    assert_eq!(foo1.score(), Some(1002), "in epoch 2");
    foo1.act("monitor").expect(8);
}

#[test]
fn what_was_proven_holds_while_the_peer_is_gone_and_over_what_is_received() {
    let pair = seeded();
    {
        let foo1 = Agent::new(&pair, Foo1);
        foo1.act("start").expect(0);
        let high = foo1.score();
        assert!(high.is_some());
        pair.write(Foo0, "html/more", "x");
        pair.run(Foo0, &["push", "--all"]).expect(0);
        pair.set(Foo1, "port = ", "port = 1");
        foo1.act("monitor").expect(0);
        assert_eq!(foo1.score(), high, "received since");
        foo1.act("monitor").expect(0);
        assert_eq!(foo1.score(), high);
        foo1.boots();
        foo1.act("monitor").expect(7);
        foo1.act("start").expect(0);
        assert_eq!(foo1.score(), None);
        // Availability before freshness.
        let text = pair.read(Foo1, "hasync.toml");
        pair.write(
            Foo1,
            "hasync.toml",
            format!("[lineage]\nstale = \"warn\"\n{text}"),
        );
        foo1.act("monitor").expect(0);
        assert!(foo1.score().is_some() && foo1.score() < high);
    }
}

#[test]
fn a_standby_that_is_behind_is_not_preferred_and_not_promoted_beside_a_newer_one() {
    let pair = seeded();
    let (foo0, foo1) = (Agent::new(&pair, Foo0), Agent::new(&pair, Foo1));
    foo0.act("start").expect(0);
    foo0.act("promote").expect(0);
    foo1.act("start").expect(0);
    foo0.act("demote").expect(0);
    foo1.act("promote").expect(0);
    pair.write(Foo1, "html/index.html", "two");
    // foo0 has missed that, and foo1 steps down with more.
    pair.set(Foo1, "port = ", "port = 1");
    foo1.act("demote").expect(0);
    let said = foo1
        .act("monitor")
        .expect(190)
        .gives_reason("may be here alone");
    assert!(
        said.stderr.contains("the last push is not complete"),
        "{said}"
    );
    let shown = foo1.told("attrd_updater");
    assert!(shown.contains("the last push is not complete"), "{shown}");
    foo0.act("monitor").expect(0);
    assert!(
        foo1.score() > foo0.score(),
        "the last primary ranks above its standby"
    );
    foo1.act("promote").expect(0);
    foo1.act("monitor").expect(8);
}

#[test]
fn a_peer_that_has_not_handed_over_keeps_the_other_from_being_promoted() {
    let pair = seeded();
    let foo1 = Agent::new(&pair, Foo1);
    // foo0 has booted, and is no member of the cluster yet.
    foo1.has_members("foo1");
    foo1.act("start").expect(0);
    assert_eq!(foo1.score(), None);
    foo1.act("promote")
        .expect(1)
        .gives_reason("has not handed over");
    foo1.act("monitor")
        .expect(190)
        .gives_reason("it was not promoted");
    foo1.has_members("foo0 foo1");
    foo1.act("monitor").expect(190);
    assert!(foo1.score().is_some());
    // What is received is what a standby is for.
    pair.run(Foo0, &["push", "--all"]).expect(0);
    await_that("its half ends", || foo1.act("monitor").code == 0);
    pair.run(Foo1, &["promote", "--all", "--force"]).expect(0);
    foo1.act("promote")
        .expect(1)
        .gives_reason("has not handed over");
}

#[test]
fn a_crashed_primary_follows_at_its_start() {
    let pair = Pair::in_namespaces("");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    let boots = |n: u32| {
        pair.write(
            Foo0,
            "boot_id",
            format!("{n:08x}-0000-4000-8000-000000000000\n"),
        );
    };
    boots(1);
    let (foo0, foo1) = (Agent::new(&pair, Foo0), Agent::new(&pair, Foo1));
    pair.in_its_boot(Foo0, &["promote", "--all"])
        .run()
        .expect(0);
    pair.in_its_boot(Foo0, &["push", "--all"]).run().expect(0);
    foo1.act("start").expect(0);
    pair.write(Foo0, "html/unsent", "x");
    let net = pair.net.as_ref().unwrap();
    net.cut();
    foo1.act("promote").expect(0);
    net.mend();
    boots(2);
    let start = foo0.call("start");
    let start = pair.under_its_boot(Foo0, start).run().expect(0);
    assert!(
        start.stdout_text().contains("is its standby now"),
        "{start}"
    );
    foo0.act("monitor");
    assert!(foo1.score() > foo0.score());
    pair.run(Foo1, &["push", "--all"]).expect(0);
    assert!(!pair.path(Foo0, "html/unsent").exists());
    foo0.act("monitor").expect(0);
    let status = pair.run(Foo0, &["status"]).expect(0).stdout_text();
    assert!(status.contains("kept:"), "{status}");
}

#[test]
fn a_diverged_or_unmounted_standby_has_no_score_and_a_partial_one_has() {
    let pair = seeded();
    let foo1 = Agent::new(&pair, Foo1);
    foo1.act("start").expect(0);
    let high = foo1.score();
    pair.write(Foo0, "html/index.html", "two");
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    foo1.act("monitor");
    assert_eq!(foo1.score(), None, "undone: {}", foo1.told("attrd_updater"));
    let head = pair
        .run(Foo0, &["diverged", "html"])
        .expect(3)
        .stdout_text();
    assert!(head.contains("to keep what foo0 has"), "{head}");
    std::fs::rename(pair.path(Foo1, "html"), pair.path(Foo1, "away")).unwrap();
    std::fs::create_dir(pair.path(Foo1, "html")).unwrap();
    foo1.act("monitor");
    assert_eq!(foo1.score(), None);
    foo1.act("promote")
        .expect(1)
        .gives_reason("is its disk mounted?");
    assert!(high.is_some());
}

/// A node that cannot write down that it is primary is not to become it.
#[test]
fn a_standby_that_cannot_be_written_to_has_no_score() {
    let pair = seeded();
    let foo1 = Agent::new(&pair, Foo1);
    foo1.act("start").expect(0);
    let high = foo1.score();
    assert!(high.is_some());
    let remount = |dir: &str, how: &str| {
        let options = format!("remount,bind,{how}");
        run_ok("mount", &["-o", &options, dir]);
    };
    for at in ["state", "html"] {
        let dir = pair.path(Foo1, at).display().to_string();
        run_ok("mount", &["--bind", &dir, &dir]);
        remount(&dir, "ro");
        foo1.act("monitor");
        let (score, told) = (foo1.score(), foo1.told("attrd_updater"));
        remount(&dir, "rw");
        foo1.act("monitor");
        let again = foo1.score();
        run_ok("umount", &["-l", &dir]);
        assert_eq!(score, None, "{at}");
        assert!(told.contains("read-only") && told.contains(at), "{told}");
        assert_eq!(again, high, "{at}");
    }
    let state = pair.path(Foo1, "state").display().to_string();
    let full = TempTree::new();
    let small = full.text("small");
    run_ok("mkdir", &[&small]);
    run_ok("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &small]);
    run_ok("cp", &["-a", &format!("{state}/."), &small]);
    run_ok("mount", &["--move", &small, &state]);
    let filler = pair.path(Foo1, "state/filler");
    assert!(std::fs::write(&filler, vec![1; 2 << 20]).is_err());
    foo1.act("monitor");
    let (score, told) = (foo1.score(), foo1.told("attrd_updater"));
    std::fs::remove_file(filler).unwrap();
    foo1.act("monitor");
    let again = foo1.score();
    run_ok("umount", &["-l", &state]);
    assert_eq!(score, None, "full: {told}");
    assert!(told.contains("no space"), "{told}");
    assert_eq!(again, high, "room again");
}

#[test]
fn a_configuration_that_breaks_stops_nothing() {
    let pair = seeded();
    let foo0 = Agent::new(&pair, Foo0).with("OCF_RESKEY_CRM_meta_timeout", "60000");
    foo0.act("start").expect(0);
    foo0.act("promote").expect(0);
    let good = pair.read(Foo0, "hasync.toml");
    pair.write(Foo0, "html/late", "x");
    pair.write(Foo0, "hasync.toml", "[node");
    foo0.act("validate-all")
        .expect(6)
        .gives_reason("hasync.toml:1: ");
    foo0.act("reload-agent").expect(1);
    foo0.act("monitor")
        .expect(191)
        .gives_reason("hasync.toml:1: ");
    foo0.act("notify").expect(0);
    foo0.act("demote").expect(0);
    assert_eq!(pair.read(Foo1, "html/late"), "x");
    foo0.act("monitor").expect(190);
    // The other node may have a good one: it is not refused everywhere.
    foo0.act("promote")
        .expect(5)
        .gives_reason("hasync.toml:1: ");
    foo0.act("stop").expect(0);
    foo0.act("start").expect(5);
    pair.write(Foo0, "hasync.toml", good);
    foo0.act("start").expect(0);
    let wrong = Agent::new(&pair, Foo0).with("OCF_RESKEY_max_lag", "soon");
    wrong.act("validate-all").expect(6).gives_reason("max_lag");
}

#[test]
fn a_role_that_was_typed_over_the_cluster_is_found() {
    let pair = seeded();
    let foo0 = Agent::new(&pair, Foo0);
    foo0.act("start").expect(0);
    foo0.act("promote").expect(0);
    pair.run(Foo0, &["demote", "html"]).expect(0);
    foo0.act("monitor")
        .expect(9)
        .gives_reason("although the cluster has promoted it");
    foo0.act("demote").expect(0);
    foo0.act("promote").expect(0);
    foo0.act("monitor").expect(8);
}

#[test]
fn a_lag_is_degraded_and_told_in_the_words_of_status() {
    let pair = seeded();
    let foo1 = Agent::new(&pair, Foo1).with("OCF_RESKEY_max_lag", "0");
    foo1.act("start").expect(0);
    await_that("it lags", || foo1.act("monitor").code == 190);
    foo1.act("monitor")
        .expect(190)
        .gives_reason("conf: standby, epoch 1, generation ");
    let other = Agent::new(&pair, Foo1).with("OCF_RESKEY_max_lag", "1h");
    other.act("start").expect(0);
    other.act("monitor").expect(0);
}

/// A timeout that is none, and one that is no number, cut nothing short.
#[test]
fn a_timeout_that_says_nothing_is_none() {
    let pair = seeded();
    for word in ["0", "abc", "-1", ""] {
        let agent = Agent::new(&pair, Foo1).with("OCF_RESKEY_CRM_meta_timeout", word);
        for (action, code) in [("start", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)] {
            agent.act(action).expect(code);
        }
    }
}
