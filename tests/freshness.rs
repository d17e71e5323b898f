//! Before a promotion the peer is asked: it may have the service, newer data, or a last push on its
//! way. Whatever keeps it from answering holds nothing up.

use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::service::BY_ADDRESS;
use crate::support::{Finished, await_that};

const CYCLE: &str = "[cycle]\ninterval = \"1h\"\nlast_push = \"20s\"\n";

/// Longer than a peer may take to say how it stands.
const SLOWLY: &str = "[role]\ncommand = \"sleep 3; ip -o address show | grep -q 10.99.0.100/\"\n";

/// foo0 has the service, and foo1 is equal.
fn mirrored() -> Pair {
    mirrored_by(BY_ADDRESS)
}

fn mirrored_by(role: &str) -> Pair {
    let pair = Pair::in_namespaces(&format!("{role}{CYCLE}"));
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.take_over(Foo0).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair
}

#[track_caller]
fn tells(done: &Finished, words: &[&str]) {
    let text = format!("{}{}", done.stdout_text(), done.stderr);
    for word in words {
        assert!(text.contains(word), "{word:?} is not said\n{done}");
    }
}

/// foo0 loses the service before it has pushed a last time, and foo1 takes over.
fn a_late_write_arrives(pair: &Pair) {
    pair.write(Foo0, "html/late", "written while the service ran");
    pair.serve(Foo0, false);
    let done = pair.take_over(Foo1).expect(0);
    tells(&done, &["html: primary, epoch 2"]);
    assert_eq!(
        pair.read(Foo1, "html/late"),
        "written while the service ran"
    );
}

/// A peer that cannot be asked, for whatever reason, is no reason to wait.
#[test]
fn a_peer_that_does_not_answer_holds_nothing_up() {
    type Trouble = fn(&Pair);
    let troubles: [(&str, Trouble, &str); 6] = [
        (
            "cut off",
            |pair| pair.net.as_ref().unwrap().part(),
            "has not answered within 2 s",
        ),
        (
            "silent",
            |pair| {
                let sshd = pair.sshd_of(Foo0).id().to_string();
                drop(run_ok("kill", &["-STOP", &sshd]));
            },
            "has not answered within 2 s",
        ),
        (
            "nobody listens",
            |pair| pair.set(Foo1, "port = ", "port = 1"),
            "refused",
        ),
        (
            "an unknown name",
            |pair| pair.set(Foo1, "host = ", "host = \"nobody.invalid\""),
            "",
        ),
        (
            "another host key",
            |pair| pair.set(Foo1, "known_hosts = ", "known_hosts = \"/dev/null\""),
            "host key",
        ),
        (
            "a key that it does not take",
            |pair| {
                let config = pair.read(Foo1, "hasync.toml");
                let key = config
                    .lines()
                    .find(|line| line.starts_with("identity = "))
                    .unwrap();
                pair.set(Foo1, "identity = ", &key.replace("user_key", "other_key"));
            },
            "",
        ),
    ];
    for (name, trouble, why) in troubles {
        let pair = mirrored();
        pair.serve(Foo0, false);
        trouble(&pair);
        let done = pair.take_over(Foo1).expect(0);
        let sshd = pair.sshd_of(Foo0).id().to_string();
        run_ok("kill", &["-CONT", &sshd]);
        let said = [
            "the peer cannot be asked: ",
            why,
            "html: the data here is as of ",
            "epoch 2",
        ];
        tells(&done, &said);
        assert!(pair.run(Foo1, &["mirror", "status"]).code == 0, "{name}");
    }
}

/// A tree of which the peer says nothing leaves the gate of the others shut.
#[test]
fn a_peer_that_says_nothing_of_one_tree_is_asked_about_the_others() {
    type Trouble = fn(&Pair);
    let troubles: [(&str, Trouble); 2] = [
        ("new", |pair| {
            let path = pair.path(Foo1, "new");
            std::fs::create_dir(&path).unwrap();
            let tree = format!("[[tree]]\nname = \"new\"\npath = \"{}\"\n", path.display());
            let config = pair.read(Foo1, "hasync.toml");
            pair.write(Foo1, "hasync.toml", config + &tree);
        }),
        // It is asked about first.
        ("conf", |pair| {
            pair.write(Foo0, "state/trees/conf/node", "rubbish");
        }),
    ];
    for (tree, trouble) in troubles {
        let pair = mirrored();
        trouble(&pair);
        let done = pair.take_over(Foo1).expect(1);
        let nothing = format!("{tree}: the peer cannot be asked about it: ");
        let served = "foo0 is primary of tree html";
        tells(&done, &[&nothing, served, "and was not promoted of "]);
        assert_eq!(pair.run(Foo1, &["status", "html"]).code, 0);
        let html = pair.run(Foo1, &["promote", "html"]).expect(80);
        tells(&html, &[served]);
    }
}

#[test]
fn a_peer_that_has_the_service_is_not_joined() {
    let pair = mirrored();
    let done = pair.take_over(Foo1).expect(1);
    tells(
        &done,
        &[
            "tree html: foo0 is primary of tree html",
            "has the service, by its [role]",
            "this node is primary of nothing and was not promoted of conf, html",
        ],
    );
    let refused = pair.run(Foo1, &["promote", "html"]).expect(80);
    tells(
        &refused,
        &["has the service", "`hasync promote html --force`"],
    );
    pair.run(Foo1, &["mirror", "status"]).expect(3);
    pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
    // Of the trees that are left, the other is promoted, and this one is as it was.
    tells(
        &pair.run(Foo1, &["mirror", "start", "--force"]).expect(0),
        &["conf: primary"],
    );
}

/// A peer answers, however long its test of the role takes.
#[test]
fn a_slow_test_of_the_role_on_the_peer_is_waited_for() {
    let pair = mirrored_by(SLOWLY);
    let done = pair.take_over(Foo1).expect(1);
    tells(&done, &["foo0 is primary of tree html", "has the service"]);
    // It lost the service, and has not pushed a last time.
    a_late_write_arrives(&pair);
    pair.run(Foo1, &["cycle"]).expect(0);
    // A standby that is ahead is so without any test of the role.
    pair.write(Foo1, "html/later", "acknowledged");
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.net.as_ref().unwrap().cut();
    pair.serve(Foo1, false);
    pair.take_over(Foo0).expect(0);
    pair.write(Foo0, "html/latest", "alone");
    pair.give_up(Foo0);
    pair.net.as_ref().unwrap().mend();
    let done = pair.take_over(Foo1).expect(1);
    tells(&done, &["foo0 is standby of tree html and ahead"]);
}

/// It hangs for longer than a last push would be waited for.
#[test]
fn a_test_of_the_role_that_hangs_on_the_peer_is_not_waited_for_for_ever() {
    let pair = mirrored();
    let hangs = "[role]\ncommand = \"sleep 60\"\ntimeout = \"60s\"\n";
    pair.configure_one(Foo0, &format!("{hangs}{CYCLE}"));
    pair.serve(Foo0, false);
    let brief = CYCLE.replace("20s", "4s");
    pair.configure_one(Foo1, &format!("{BY_ADDRESS}{brief}"));
    let done = pair.take_over(Foo1).expect(0);
    tells(
        &done,
        &[
            "the peer has not said within 4 s whether it has the service",
            "html: warning: foo0 is primary of it too",
            "html: primary, epoch 2",
        ],
    );
}

/// What the peer has just said is not forgotten: a lower epoch would be fenced off by it.
#[test]
fn a_node_that_lost_all_it_knew_is_promoted_above_its_peer() {
    let pair = mirrored();
    for (serves, epoch) in [(Foo1, 2), (Foo0, 3), (Foo1, 4)] {
        pair.give_up(serves.other()).expect(0);
        let done = pair.take_over(serves).expect(0);
        tells(&done, &[&format!("html: primary, epoch {epoch}")]);
        pair.run(serves, &["cycle"]).expect(0);
    }
    pair.give_up(Foo1).expect(0);
    for lost in ["state", "html", "etc"] {
        std::fs::remove_dir_all(pair.path(Foo0, lost)).unwrap();
    }
    pair.write(Foo0, "html/restored", "from a backup");
    pair.write(Foo0, "etc/a", "restored");
    pair.configure_one(
        Foo0,
        &format!("{BY_ADDRESS}{CYCLE}[lineage]\nstale = \"warn\"\n"),
    );
    let done = pair.take_over(Foo0).expect(0);
    tells(
        &done,
        &[
            "html: warning: foo1 is standby of tree html and ahead",
            "html: primary, epoch 5",
        ],
    );
}

/// Without a `[role]` nobody knows, and nobody is held up; it is said what follows.
#[test]
fn a_peer_that_may_have_the_service_is_told_of() {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let done = pair.run(Foo1, &["promote", "html"]).expect(0);
    tells(
        &done,
        &["foo0 is primary of it too", "html: primary, epoch 2"],
    );
    pair.run(Foo1, &["push", "--tree", "html"]).expect(80);
    pair.run(Foo0, &["demote", "html"]).expect(0);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    let done = pair.run(Foo1, &["promote", "html"]).expect(0);
    assert!(!done.stdout_text().contains("warning"), "{done}");
}

#[test]
fn a_node_that_is_behind_is_not_promoted_unless_it_is_said_or_configured() {
    for configured in [false, true] {
        let pair = mirrored();
        // foo1 takes over unseen, gets on, and stops; foo0 still believes itself primary.
        let net = pair.net.as_ref().unwrap();
        net.cut();
        pair.serve(Foo0, false);
        pair.take_over(Foo1).expect(0);
        pair.write(Foo1, "html/after", "x");
        net.mend();
        pair.give_up(Foo1).expect(0);
        if configured {
            let warns = format!("{BY_ADDRESS}{CYCLE}[lineage]\nstale = \"warn\"\n");
            pair.configure_one(Foo0, &warns);
            let done = pair.take_over(Foo0).expect(0);
            tells(
                &done,
                &["html: warning: foo1 is standby of tree html and ahead"],
            );
            continue;
        }
        let done = pair.take_over(Foo0).expect(1);
        tells(
            &done,
            &["foo1 is standby of tree html and ahead, with generation "],
        );
        pair.run(Foo0, &["mirror", "start", "--force"]).expect(0);
    }
}

/// Under keepalived the address is gone before anybody stops the mirror.
#[test]
fn a_last_push_that_is_due_is_asked_for_and_awaited() {
    let pair = mirrored();
    a_late_write_arrives(&pair);
    pair.run(Foo0, &["mirror", "status"]).expect(3);
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
}

#[test]
fn who_waits_for_a_last_push_stops_when_the_service_goes() {
    let pair = mirrored();
    let go = pair.dir.text("go");
    let hook = format!(
        "[hooks]\nbefore = \"touch {go}.waits; while [ ! -e {go} ]; do sleep 0.05; done\"\n\
         timeout = \"60s\"\n"
    );
    pair.configure_one(Foo0, &format!("{BY_ADDRESS}{CYCLE}{hook}"));
    let running = pair.on(Foo0, &["cycle"]).start();
    await_that("a cycle runs", || pair.dir.path("go.waits").exists());
    pair.serve(Foo0, false);
    pair.serve(Foo1, true);
    let starting = pair.on(Foo1, &["mirror", "start"]).start();
    let wished = || {
        pair.read(Foo0, "state/memory.json")
            .contains("\"last_push_wished\": 1")
    };
    await_that("foo1 waits", wished);
    pair.serve(Foo1, false);
    let done = starting.finish().expect(1);
    tells(
        &done,
        &[
            "the service has gone from this node",
            "nothing was promoted",
        ],
    );
    pair.run(Foo1, &["mirror", "status"]).expect(3);
    pair.dir.write("go", "");
    running.finish().expect(0);
}

/// A wish never takes the service's data from a node that has it.
#[test]
fn a_node_that_serves_is_not_demoted_by_a_wish() {
    let pair = mirrored();
    pair.run(Foo0, &["mirror", "stop", "--unless-serving"])
        .expect(0);
    pair.run(Foo0, &["mirror", "status"]).expect(0);
    pair.take_over(Foo1).expect(1);
    pair.run(Foo0, &["mirror", "status"]).expect(0);
    pair.serve(Foo0, false);
    pair.run(Foo0, &["mirror", "stop", "--unless-serving"])
        .expect(0);
    pair.run(Foo0, &["mirror", "status"]).expect(3);
}

/// What its `status` says to type leads on with the other node's data.
#[test]
fn a_primary_whose_data_is_lost_moves_the_service_away() {
    let pair = mirrored();
    let html = pair.path(Foo0, "html");
    std::fs::remove_dir_all(&html).unwrap();
    std::fs::create_dir(&html).unwrap();
    let status = pair.run(Foo0, &["status", "html"]).expect(0);
    tells(
        &status,
        &["here `hasync mirror stop`, then on the other node `hasync mirror start`"],
    );
    pair.give_up(Foo0).expect(0);
    pair.take_over(Foo1).expect(0);
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();
    assert_eq!(pair.read(Foo0, "html/index.html"), "one");
}
