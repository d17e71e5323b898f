//! The resource agent of Pacemaker hands over whatever is wrong: its parameters, its mark, a
//! promotion that was cut off, a peer or a disk that hangs. What it cannot hand over it tells.

use std::os::unix::fs::chown;
use std::path::Path;

use crate::ocf::seeded;
use crate::support::agent::Agent;
use crate::support::hanging::HangingDisk;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;

#[test]
fn a_max_lag_that_is_no_time_keeps_nothing_from_being_handed_over() {
    let pair = seeded();
    let mut foo0 = Agent::new(&pair, Foo0);
    for wrong in ["soon", "-1", "5 parsecs", "5m5", "99999999999999999999s"] {
        foo0 = foo0.with("OCF_RESKEY_max_lag", "");
        foo0.act("start").expect(0);
        foo0.act("promote").expect(0);
        foo0 = foo0.with("OCF_RESKEY_max_lag", wrong);
        for action in ["validate-all", "start", "promote"] {
            foo0.act(action).expect(6).gives_reason("max_lag");
        }
        foo0.act("reload-agent").expect(1).gives_reason("max_lag");
        foo0.act("monitor").expect(191).gives_reason("max_lag");
        foo0.act("notify").expect(0);
        for action in ["demote", "stop"] {
            pair.write(Foo0, "html/late", format!("{wrong} {action}"));
            foo0.act(action).expect(0);
            assert_eq!(pair.read(Foo1, "html/late"), format!("{wrong} {action}"));
            foo0 = foo0.with("OCF_RESKEY_max_lag", "");
            foo0.act("start").expect(0);
            foo0.act("promote").expect(0);
            foo0 = foo0.with("OCF_RESKEY_max_lag", wrong);
        }
        foo0.act("stop").expect(0);
        // Of what does not run nothing is wrong.
        foo0.act("monitor").expect(7);
        foo0.act("demote").expect(7);
        foo0.act("stop").expect(0);
    }
}

/// Whoever is primary of anything hands over at the stop: the cluster stops what was half promoted.
#[test]
fn a_promotion_that_was_cut_off_is_stopped_as_one() {
    type Cut = fn(&Pair, &Agent);
    let cuts: [(&str, Cut); 3] = [
        ("killed when both were promoted", |_, foo0| {
            // The first ancestor that is the agent, or the shell between.
            foo0.stand_in(
                "crm_attribute",
                "p=$PPID; [ \"$(cat /proc/$p/comm)\" = hasync ] || \
                 p=$(sed -n 's/^PPid:\\t//p' /proc/$p/status); kill -9 $p",
            );
            foo0.act("promote").expect(128 + 9);
            foo0.stand_in("crm_attribute", ":");
        }),
        ("one of two was promoted", |pair, foo0| {
            let records = pair.path(Foo0, "state/trees/html");
            let _mounted = Mounted::read_only(&records);
            foo0.act("promote").expect(1).gives_reason("read-only");
            foo0.act("monitor").expect(9);
        }),
        (
            "its promotion was refused when it was promoted",
            |pair, foo0| {
                foo0.act("promote").expect(0);
                let away = pair.path(Foo0, "away");
                std::fs::rename(pair.path(Foo0, "html"), &away).unwrap();
                foo0.act("promote").expect(1);
                std::fs::rename(&away, pair.path(Foo0, "html")).unwrap();
            },
        ),
    ];
    for (how, cut) in cuts {
        let pair = seeded();
        pair.run(Foo0, &["mirror", "stop"]).expect(0);
        let foo0 = Agent::new(&pair, Foo0);
        foo0.act("start").expect(0);
        cut(&pair, &foo0);
        pair.write(Foo0, "etc/a", "late");
        foo0.act("stop").expect(0);
        assert_eq!(pair.read(Foo1, "etc/a"), "late", "{how}");
        let status = pair.run(Foo0, &["mirror", "status"]).expect(3);
        assert!(
            !status.stdout_text().contains(": primary"),
            "{how}: {status}"
        );
    }
}

#[test]
fn a_mark_that_is_damaged_keeps_nothing_from_being_handed_over() {
    type Damage = fn(&Path);
    // Each with the answer of the monitor.
    let damages: [(&str, Damage, i32); 8] = [
        (
            "emptied by a full disk",
            |mark| std::fs::write(mark, "").unwrap(),
            8,
        ),
        ("cut off", |mark| std::fs::write(mark, "{\n").unwrap(), 8),
        (
            "without its part",
            |mark| std::fs::write(mark, "{}").unwrap(),
            8,
        ),
        (
            "of another form",
            |mark| std::fs::write(mark, "[1]").unwrap(),
            8,
        ),
        (
            "no text",
            |mark| std::fs::write(mark, [0xff; 9]).unwrap(),
            8,
        ),
        (
            "too long",
            |mark| std::fs::write(mark, vec![b' '; 2 << 20]).unwrap(),
            8,
        ),
        (
            "a directory",
            |mark| {
                std::fs::remove_file(mark).unwrap();
                std::fs::create_dir(mark).unwrap();
            },
            1,
        ),
        (
            "in somebody else's directory",
            |mark| chown(mark.parent().unwrap(), Some(65534), None).unwrap(),
            1,
        ),
    ];
    let pair = seeded();
    let foo0 = Agent::new(&pair, Foo0);
    for (how, damage, answer) in damages {
        for action in ["stop", "demote"] {
            foo0.boots();
            foo0.act("start").expect(0);
            foo0.act("promote").expect(0);
            damage(&foo0.mark());
            let done = foo0.act("monitor");
            assert_eq!(done.code, answer, "{how}: {done}");
            if done.code == 8 {
                damage(&foo0.mark());
            }
            pair.write(Foo0, "html/late", format!("{how} {action}"));
            let done = foo0.act(action);
            assert!(action == "demote" || done.code == 0, "{how}: {done}");
            let late = pair.read(Foo1, "html/late");
            assert_eq!(late, format!("{how} {action}"), "{done}");
            pair.run(Foo0, &["mirror", "status"]).expect(3);
        }
    }
}

#[test]
fn a_last_push_ends_before_the_cluster_loses_its_patience() {
    let pair = Pair::in_namespaces("[cycle]\nlast_push = \"1h\"\n");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["promote", "--all"]).expect(0);
    pair.run(Foo0, &["push", "--all"]).expect(0);
    let foo0 = Agent::new(&pair, Foo0).with("OCF_RESKEY_CRM_meta_timeout", "8000");
    foo0.act("start").expect(0);
    foo0.act("promote").expect(0);
    pair.write(Foo0, "html/late", "x");
    assert!(foo0.score().is_some());
    // What is slow then is the cluster's own program: by that time it is written down.
    let seen = pair.path(Foo0, "seen");
    foo0.stand_in(
        "crm_attribute",
        &format!(
            "echo \"$@\" >>{}; cp {} {}",
            foo0.told_to("crm_attribute"),
            foo0.mark().display(),
            seen.display()
        ),
    );
    let sshd = pair.sshd_of(Foo1).id().to_string();
    run_ok("kill", &["-STOP", &sshd]);
    let done = foo0.act("demote").expect(0);
    run_ok("kill", &["-CONT", &sshd]);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("\"unpromoted\""), "{seen}");
    assert_eq!(foo0.score(), None, "there was no time to ask the peer");
    assert!(
        done.stderr.contains("the last push is not complete"),
        "{done}"
    );
    foo0.act("monitor")
        .expect(190)
        .gives_reason("its time was up");
}

/// The cluster stops what could not be demoted, and shows why.
#[test]
fn a_tree_that_stays_primary_fails_the_demotion() {
    let pair = seeded();
    let (foo0, foo1) = (Agent::new(&pair, Foo0), Agent::new(&pair, Foo1));
    foo0.act("start").expect(0);
    foo1.act("start").expect(0);
    for trees in [&["html"][..], &["conf", "html"]] {
        foo0.act("promote").expect(0);
        pair.write(Foo0, "html/late", trees.join(" "));
        let records = trees.iter().map(|tree| format!("state/trees/{tree}"));
        let mounted: Vec<_> = records
            .map(|records| Mounted::read_only(&pair.path(Foo0, &records)))
            .collect();
        let why = format!("this node may still be primary of {}: ", trees.join(", "));
        foo0.act("demote").expect(1).gives_reason(&why);
        assert_eq!(foo0.score(), None, "nobody is promoted here meanwhile");
        if trees.len() == 1 {
            foo0.act("monitor").expect(9);
            assert_eq!(foo0.score(), None, "nor after a look at it");
        }
        foo0.act("stop").expect(0);
        drop(mounted);
        foo0.act("monitor").expect(7);
        foo0.act("start").expect(0);
        foo1.act("monitor");
        assert!(foo0.score() > foo1.score(), "nobody else can be promoted");
    }
    foo0.act("promote").expect(0);
    pair.write(Foo0, "html/late", "last");
    foo0.act("demote").expect(0);
    assert_eq!(pair.read(Foo1, "html/late"), "last");
}

/// The mark is taken away under a running resource: a probe has to say so, and whatever the
/// cluster does then loses nothing.
#[test]
fn a_mark_that_is_gone_is_not_running_and_still_hands_over() {
    let pair = seeded();
    let (foo0, foo1) = (Agent::new(&pair, Foo0), Agent::new(&pair, Foo1));
    foo1.act("start").expect(0);
    // Pacemaker starts again what is not running any more, and the score leads back.
    foo0.act("start").expect(0);
    foo0.act("promote").expect(0);
    foo0.boots();
    foo0.act("monitor").expect(7);
    foo1.act("promote")
        .expect(1)
        .gives_reason("has not handed over");
    foo0.act("start").expect(0);
    assert!(foo0.score() > foo1.score());
    foo0.act("promote").expect(0);
    foo0.act("monitor").expect(8);
    // It moves the service before it has found out.
    pair.write(Foo0, "html/late", "x");
    foo0.boots();
    foo0.act("demote").expect(7);
    assert_eq!(pair.read(Foo1, "html/late"), "x");
    pair.run(Foo0, &["mirror", "status"]).expect(3);
    foo1.act("promote").expect(0);
    // What is a standby's is left as it is.
    foo0.act("demote").expect(7);
    foo0.act("stop").expect(0);
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
}

/// A disk that hangs is the trouble of whoever serves from it. On the other node it is shown, and
/// that node is not promoted.
#[test]
fn a_disk_that_hangs_holds_no_action_up() {
    for node in [Foo0, Foo1] {
        let pair = Pair::here("");
        let disk = HangingDisk::at(&pair.path(node, "html"));
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        pair.run(Foo0, &["promote", "--all"]).expect(0);
        pair.run(Foo0, &["push", "--all"]).expect(0);
        let agent = Agent::new(&pair, node).with("OCF_RESKEY_CRM_meta_timeout", "4000");
        let agent = agent.with("OCF_RESKEY_CRM_meta_notify_type", "post");
        agent.act("start").expect(0);
        if node == Foo0 {
            agent.act("promote").expect(0);
        }
        disk.hangs(true);
        let hangs = "did not end within 2 s";
        let shown = if node == Foo0 { 9 } else { 190 };
        let monitored = agent.act("monitor");
        let notified = agent.act("notify");
        let promoted = agent.act("promote");
        // Of the half of hasync that looked at it nothing is left to hold it.
        disk.hangs(false);
        monitored.expect(shown).gives_reason(hangs);
        notified.expect(0);
        promoted.expect(1).gives_reason(hangs);
        if node == Foo1 {
            let told = agent.told("crm_attribute");
            assert!(told.lines().last().unwrap().ends_with("-D"), "{told}");
        }
        drop(disk);
    }
}
