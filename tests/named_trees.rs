//! Trees of the configuration: pushed by name, promoted, demoted, looked at and undone.

use crate::support::Finished;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;

fn filled() -> Pair {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "html/sub/page.html", "two");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair
}

impl Finished {
    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        let text = self.stdout_text();
        for word in words {
            assert!(text.contains(word), "{word:?} is not said\n{self}");
        }
        self
    }
}

#[test]
fn all_trees_are_pushed_groups_first_with_a_line_each() {
    let pair = filled();
    let done = pair.run(Foo0, &["push", "--all"]).expect(0);
    let text = done.stdout_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{done}");
    assert!(lines[0].starts_with("conf: generation 1 ("), "{done}");
    assert!(lines[1].starts_with("html: generation 1 ("), "{done}");
    pair.assert_equal();

    pair.run(Foo0, &["push", "--all"]).expect(0).says(&[
        "conf: unchanged, generation 1 (",
        "html: unchanged, generation 1 (",
    ]);
    pair.write(Foo0, "html/new", "three");
    std::fs::remove_file(pair.path(Foo0, "html/index.html")).unwrap();
    pair.run(Foo0, &["push", "--tree", "html", "-n"])
        .expect(0)
        .says(&["html: would change ", "delete 1"]);
    pair.run(Foo0, &["push", "--tree", "html", "-i"])
        .expect(0)
        .says(&[
            "<f+++++++++ new\n",
            "*deleting   index.html\n",
            "generation 2 (",
        ]);
    pair.assert_equal();
    let quiet = pair.run(Foo0, &["push", "--all", "-q"]).expect(0);
    assert!(quiet.stdout.is_empty(), "{quiet}");
}

#[test]
fn what_makes_no_sense_beside_a_tree_is_refused() {
    let pair = filled();
    for (words, code, said) in [
        (&["push", "--all", "-u"][..], 1, "not equal"),
        (&["push", "--all", "--delete"], 1, "decided in"),
        (&["push", "--all", "--no-fsync"], 1, "durable"),
        (&["push", "--all", "standby:/srv"], 1, "host alone"),
        (&["push", "--all", "a", "b"], 1, "unexpected word"),
        (&["push", "--tree", "htlm"], 78, "its trees are html, conf"),
        (
            &["push", "-a", "x", "y:/z"],
            1,
            "--config and --no-brake go with",
        ),
        (&["promote"], 1, "TREE"),
        (&["log", "htlm"], 78, "no tree \"htlm\""),
    ] {
        pair.run(Foo0, words).expect_error(code, &[said]);
    }
    assert_eq!(pair.html(Foo1).entries.len(), 1, "nothing was pushed");
}

#[test]
fn a_tree_that_the_standby_does_not_know_is_its_configurations_matter() {
    let pair = filled();
    std::fs::write(pair.path(Foo1, "hasync.toml"), "").unwrap();
    let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(78);
    assert!(
        done.stderr
            .contains("tree html: the standby has no tree named html"),
        "{done}"
    );
    std::fs::write(pair.path(Foo1, "hasync.toml"), "[nod]\n").unwrap();
    let done = pair.run(Foo0, &["push", "--tree", "html"]);
    assert!(
        done.code == 78 && done.stderr.contains("unknown key `nod`"),
        "{done}"
    );
}

#[test]
fn a_key_that_is_bound_to_a_root_reaches_the_trees_in_it_alone() {
    let pair = filled();
    let root = pair.path(Foo1, "html").display().to_string();
    let bound = format!("\"$@\" --root {root} --receive-only");
    let script = pair.read(Foo1, "hasync").replace("\"$@\"", &bound);
    pair.write(Foo1, "hasync", script);
    let done = pair.run(Foo0, &["push", "--all"]).expect(78);
    let said = "tree conf: the standby has no tree named conf for this key";
    assert!(done.stderr.contains(said), "{done}");
    assert!(pair.path(Foo1, "html/index.html").exists());
    assert!(!pair.path(Foo1, "etc/a").exists());
}

#[test]
fn status_log_and_check_say_the_same_on_both_nodes() {
    let pair = filled();
    pair.run(Foo1, &["check"])
        .expect(3)
        .says(&["HASYNC UNKNOWN", "nothing was sent or received"]);
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.run(Foo0, &["status"]).expect(0).says(&[
        "html: primary, epoch 1, generation 1 (",
        "the standby is equal as of 2",
    ]);
    pair.run(Foo1, &["status", "html"]).expect(0).says(&[
        "html: standby, epoch 1, generation 1 (",
        ") of foo0; the standby is equal as of 2",
    ]);
    for node in [Foo0, Foo1] {
        pair.run(node, &["log", "html"]).expect(0).says(&[
            "1 (",
            "push by foo0, epoch 1: ",
            " placed, 0 removed",
        ]);
        pair.run(node, &["check", "--max-lag", "300"])
            .expect(0)
            .says(&[
                "HASYNC OK - conf: generation 1, lag ",
                " | conf_lag=",
                "s;300;300;0",
            ]);
    }
    pair.run(Foo1, &["check", "nope"])
        .expect(3)
        .says(&["HASYNC UNKNOWN", "no tree \"nope\""]);
}

#[test]
fn json_is_stable_and_complete() {
    let pair = filled();
    pair.run(Foo0, &["push", "--all"]).expect(0);
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&pair.run(Foo1, words).expect(0).stdout).unwrap()
    };
    let status = json(&["status", "--json"]);
    assert_eq!(status["schema_version"], 2);
    assert_eq!(status["node"], "foo1");
    let html = &status["trees"][1];
    assert_eq!(
        (&html["name"], &html["role"]),
        (&"html".into(), &"standby".into())
    );
    assert_eq!(html["state"], "complete");
    assert_eq!(html["head"]["number"], 1);
    assert_eq!(html["head"]["node"], "foo0");
    assert!(html["lag_seconds"].is_u64(), "{html:#}");
    assert!(
        html["as_of"]["time"].as_str().unwrap().ends_with('Z'),
        "{html:#}"
    );
    let log = json(&["log", "html", "--json"]);
    assert_eq!(log["generations"][0]["id"], html["head"]["id"]);
    assert_eq!(log["generations"][0]["kind"], "push");
}

#[test]
fn a_promoted_standby_refuses_the_old_primary() {
    let pair = filled();
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(80);
    pair.run(Foo1, &["promote", "html"])
        .expect(0)
        .says(&["html: primary, epoch 2, generation 2 ("]);
    pair.write(Foo0, "html/late", "x");
    let before = pair.html(Foo1);
    // One tree is fenced, the other is not: both are told, the worse decides.
    let done = pair.run(Foo0, &["push", "--all"]).expect(80);
    assert!(done.stderr.contains("tree html: "), "{done}");
    assert!(done.stdout_text().contains("conf: unchanged"), "{done}");
    assert_eq!(pair.html(Foo1).diff(&before), "");

    pair.run(Foo0, &["demote", "html"])
        .expect(0)
        .says(&["html: standby, generation 1"]);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    assert!(!pair.path(Foo0, "html/late").exists());
}

#[test]
fn an_undo_brings_back_what_a_push_took_and_can_itself_be_undone() {
    let pair = filled();
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let before = pair.html(Foo1);
    std::fs::remove_file(pair.path(Foo0, "html/index.html")).unwrap();
    pair.write(Foo0, "html/sub/page.html", "other");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let after = pair.html(Foo1);
    pair.run(Foo1, &["undo", "html", "-nv"])
        .expect(0)
        .says(&["restored   index.html\n", "would be restored"]);
    assert_eq!(pair.html(Foo1).diff(&after), "");
    pair.run(Foo1, &["undo", "html"])
        .expect(0)
        .says(&["entries are restored"]);
    assert_eq!(pair.html(Foo1).diff(&before), "");
    pair.run(Foo1, &["undo", "html", "--to", "2"]).expect(0);
    assert_eq!(pair.html(Foo1).diff(&after), "");
    pair.run(Foo1, &["undo", "html", "--to", "77"])
        .expect_error(1, &["no generation 77", "hasync log html"]);
}

#[test]
fn an_undo_of_one_path_leaves_the_rest() {
    let pair = filled();
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair.write(Foo0, "html/index.html", "another one");
    pair.write(Foo0, "html/sub/page.html", "another two");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let after = pair.html(Foo1);
    let undo = ["undo", "html", "--path", "sub", "--to", "1"];
    pair.run(Foo1, &[&undo[..], &["-nv"]].concat())
        .expect(0)
        .says(&["restored   sub/page.html\n", "1 entries would be restored"]);
    assert_eq!(pair.html(Foo1).diff(&after), "");
    pair.run(Foo1, &undo)
        .expect(0)
        .says(&["1 entries are restored", "generation 3 ("]);
    assert_eq!(pair.read(Foo1, "html/sub/page.html"), "two");
    assert_eq!(pair.read(Foo1, "html/index.html"), "another one");
    let gone = pair.path(Foo1, "html/sub/nowhere").display().to_string();
    pair.run(Foo1, &["undo", "html", "--path", &gone])
        .expect_error(1, &["is not there, and was not then"]);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(pair.html(Foo1).diff(&after), "");
    pair.run(Foo1, &["undo", "html", "--path", "sub", "--to", "2"])
        .expect(0)
        .says(&["html: already as it was then"]);
}

#[test]
fn a_push_without_the_name_into_a_named_tree_is_refused() {
    let pair = filled();
    pair.push_without_name(&["-a", "--delete"], &pair.path(Foo1, "html"))
        .run()
        .expect_error(1, &["--tree html"]);
}

#[test]
fn nothing_is_recovered_where_nothing_was_cut_off() {
    let pair = filled();
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.run(Foo1, &["recover"])
        .expect(0)
        .says(&["conf: nothing to recover\n", "html: nothing to recover\n"]);
}
