//! Two nodes that were promoted apart: what differs is listed from either side, nothing is lost by
//! looking, and the ways out that are printed lead out.

use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Snapshot};

/// Both were promoted, and both have written.
fn apart() -> Pair {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "html/both", "the same");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.run(Foo1, &["promote", "html"]).expect(0);
    pair.run(Foo0, &["demote", "html"]).expect(0);
    pair.run(Foo0, &["promote", "html", "--force"]).expect(0);
    pair.write(Foo0, "html/index.html", "of foo0");
    pair.write(Foo0, "html/only-foo0", "x");
    pair.write(Foo1, "html/only-foo1", "y");
    pair
}

fn snapshots(pair: &Pair) -> (Snapshot, Snapshot) {
    let of = |node: Node| Snapshot::of(&pair.path(node, "html"));
    (of(Foo0), of(Foo1))
}

/// What is printed behind the words that begin the way out, command by command: node and words.
pub(crate) fn way_out(list: &Finished, kept: &str) -> Vec<(Node, Vec<String>)> {
    let text = list.stdout_text();
    let start = format!("  to keep what {kept} has: ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("no way to keep {kept}\n{list}"));
    line.split(", ")
        .map(|step| {
            let (node, command) = step.split_once(" `hasync ").unwrap();
            let node = match node {
                "on foo0" => Foo0,
                "on foo1" => Foo1,
                other => panic!("{other:?} in {line}"),
            };
            let words = command.trim_end_matches('`').split(' ');
            (node, words.map(str::to_owned).collect())
        })
        .collect()
}

pub(crate) fn follow(pair: &Pair, steps: &[(Node, Vec<String>)]) {
    for (node, words) in steps {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        pair.run(*node, &words).expect(0);
    }
}

#[test]
fn what_differs_is_listed_from_either_node_and_stays_so() {
    let pair = apart();
    let before = snapshots(&pair);
    let list = pair.run(Foo0, &["diverged", "html"]).expect(3);
    let text = list.stdout_text();
    for words in [
        "<f.st...... index.html\n",
        "<f+++++++++ only-foo0\n",
        "*deleting   only-foo1\n",
        " of 4 entries here are missing or different on foo1, 1 exist there alone (*deleting)",
        "  foo0: primary, epoch 2, generation 2 ",
        "  foo1: primary, epoch 2, generation 2 ",
        ", a promotion by foo1 of 2",
        "the two did not come from one another",
    ] {
        assert!(text.contains(words), "{words:?} is not said\n{list}");
    }
    assert!(!text.contains("both"), "{list}");
    let list = pair.run(Foo1, &["diverged"]).expect(3);
    let text = list.stdout_text();
    for words in [
        "conf: no difference to foo0 in 2 entries\n",
        "<f+++++++++ only-foo1\n",
        "*deleting   only-foo0\n",
    ] {
        assert!(text.contains(words), "{words:?} is not said\n{list}");
    }
    let after = snapshots(&pair);
    assert_eq!(after.0.diff(&before.0), "");
    assert_eq!(after.1.diff(&before.1), "");
    let refused = pair.run(Foo0, &["push", "--tree", "html"]).expect(80);
    assert!(
        refused.stderr.contains("primary of tree html itself"),
        "{refused}"
    );
    pair.run(Foo1, &["demote", "html"]).expect(0);
    let refused = pair.run(Foo0, &["push", "--tree", "html"]).expect(81);
    assert!(
        refused.stderr.contains("`hasync diverged html`"),
        "{refused}"
    );
}

#[test]
fn looking_and_being_refused_change_no_byte_of_either_nodes_records() {
    let pair = apart();
    let looks: [&[&str]; 6] = [
        &["push", "--tree", "html", "-n"],
        &["diverged", "html"],
        &["plan"],
        &["check"],
        &["status"],
        &["log", "html"],
    ];
    let look = |what: &str| {
        for (node, words) in [Foo0, Foo1]
            .into_iter()
            .flat_map(|n| looks.map(|words| (n, words)))
        {
            let all = |node| {
                let parts = [pair.path(node, "state"), pair.path(node, "html")];
                parts.map(|part| Snapshot::of(&part))
            };
            let before = [all(Foo0), all(Foo1)];
            pair.run(node, words);
            for (after, before) in [all(Foo0), all(Foo1)]
                .iter()
                .flatten()
                .zip(before.iter().flatten())
            {
                assert_eq!(
                    after.diff(before),
                    "",
                    "{what}: {words:?} on {}",
                    node.name()
                );
            }
        }
    };
    look("both are primary");
    pair.run(Foo1, &["demote", "html"]).expect(0);
    pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
    look("one is an epoch above");
    pair.run(Foo1, &["demote", "html"]).expect(0);
    look("one is a standby");
    // What differs was read once, and is remembered.
    pair.run(Foo0, &["push", "--tree", "html"]).expect(80);
    look("a push was refused");
    let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), "foo0");
    follow(&pair, &steps);
    pair.assert_equal();
}

#[test]
fn either_way_out_leads_out_and_can_be_undone() {
    for (kept, given_up) in [(Foo0, Foo1), (Foo1, Foo0)] {
        let pair = apart();
        let lost = pair.html(given_up);
        // Whichever of them looks: the same steps.
        let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), kept.name());
        assert_eq!(
            steps,
            way_out(&pair.run(Foo1, &["diverged", "html"]), kept.name())
        );
        follow(&pair, &steps);
        pair.assert_equal();
        pair.run(Foo0, &["diverged"]).expect(0);
        pair.run(kept, &["push", "--tree", "html"]).expect(0);

        let status = pair.run(given_up, &["status", "html"]).expect(0);
        let text = status.stdout_text();
        let said = format!(
            ") of {} replaced what only this node had; that is in ",
            kept.name()
        );
        assert!(
            text.contains("  kept: generation ") && text.contains(&said),
            "{status}"
        );
        pair.run(given_up, &["undo", "html"]).expect(0);
        assert_eq!(pair.html(given_up).diff(&lost), "");
    }
}

#[test]
fn a_primary_that_could_not_push_is_offered_both_ways() {
    for kept in [Foo0, Foo1] {
        let pair = apart();
        let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), "foo0");
        follow(&pair, &steps);
        // foo1 comes from what foo0 has, and foo0 has written since.
        pair.run(Foo1, &["promote", "html"]).expect(0);
        pair.write(Foo1, "html/after", "z");
        pair.write(Foo0, "html/unsent", "x");
        let list = pair.run(Foo0, &["diverged", "html"]).expect(3);
        let text = list.stdout_text();
        assert!(!text.contains("did not come from"), "{list}");
        assert!(text.contains("both are primary"), "{list}");
        let steps = way_out(&list, kept.name());
        assert_eq!(
            steps,
            way_out(&pair.run(Foo1, &["diverged", "html"]), kept.name())
        );
        follow(&pair, &steps);
        pair.assert_equal();
        let (has, lacks) = match kept {
            Foo0 => ("html/unsent", "html/after"),
            Foo1 => ("html/after", "html/unsent"),
        };
        assert!(pair.path(kept.other(), has).exists());
        assert!(!pair.path(kept, lacks).exists());
        pair.run(kept.other(), &["undo", "html"]).expect(0);
        assert!(pair.path(kept.other(), lacks).exists());
    }
}

/// A node is new, or has an old copy, and its peer was primary last, or still is.
#[test]
fn a_node_that_lost_its_records_is_told_the_way_out() {
    for (has_old_data, is_primary) in [(false, false), (true, false), (true, true)] {
        let pair = Pair::here("");
        pair.write(Foo0, "html/file", "old");
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        pair.run(Foo0, &["demote", "html"]).expect(0);
        pair.run(Foo1, &["promote", "html"]).expect(0);
        pair.write(Foo1, "html/file", "new, and longer");
        pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
        if !is_primary {
            pair.run(Foo1, &["demote", "html"]).expect(0);
        }
        for lost in ["state", "html"] {
            std::fs::remove_dir_all(pair.path(Foo0, lost)).unwrap();
        }
        std::fs::create_dir(pair.path(Foo0, "html")).unwrap();
        if has_old_data {
            pair.write(Foo0, "html/file", "old");
        }
        let list = pair.run(Foo0, &["diverged", "html"]);
        assert!(!list.stdout_text().contains("to keep what foo0"), "{list}");
        if is_primary {
            // Its next push is the way.
            pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
        } else {
            let steps = way_out(&list, "foo1");
            let there = pair.run(Foo1, &["diverged", "html"]);
            assert_eq!(steps, way_out(&there, "foo1"), "{list}{there}");
            follow(&pair, &steps);
        }
        let diff = pair.html(Foo0).diff(&pair.html(Foo1));
        assert!(diff.is_empty(), "{diff}");
        assert_eq!(pair.read(Foo0, "html/file"), "new, and longer");
    }
}

/// The records of a node are gone, and with `.hasync` the time of the directory that it lay in.
#[test]
fn a_node_that_lost_its_records_goes_on_with_equal_data() {
    let pair = Pair::here("");
    pair.write(Foo0, "html/dir/file", "equal");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    for (from, to) in [(Foo0, Foo1), (Foo1, Foo0)] {
        pair.run(from, &["demote", "html"]).expect(0);
        pair.run(to, &["promote", "html"]).expect(0);
        pair.run(to, &["push", "--tree", "html"]).expect(0);
    }
    let html = pair.path(Foo0, "html");
    for lost in [pair.path(Foo0, "state"), html.join(".hasync")] {
        std::fs::remove_dir_all(lost).unwrap();
    }
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    for dir in [html.join("dir"), html] {
        filetime::set_file_mtime(dir, at.into()).unwrap();
    }
    pair.run(Foo0, &["promote", "html", "--force"]).expect(0);
    let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    assert!(done.stdout_text().contains("have the same data"), "{done}");
    let diff = pair.html(Foo0).diff(&pair.html(Foo1));
    assert!(diff.is_empty(), "{diff}");
}

#[test]
fn all_that_has_diverged_is_given_up_at_once() {
    let pair = apart();
    pair.run(Foo0, &["demote", "--all"]).expect(0);
    pair.run(Foo0, &["adopt", "--all", "--from", "foo7"])
        .expect_error(1, &["the peer of this node is foo1, not foo7"]);
    let done = pair
        .run(Foo0, &["adopt", "--all", "--from", "foo1"])
        .expect(0);
    for words in ["conf: nothing to give up", "html: generation 2 "] {
        assert!(done.stdout_text().contains(words), "{done}");
    }
    pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    assert_eq!(pair.html(Foo0).diff(&pair.html(Foo1)), "");
}

#[test]
fn only_what_the_peer_has_can_be_adopted() {
    let pair = apart();
    let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), "foo1");
    let [(_, adopt), ..] = &steps[..] else {
        panic!("{steps:?}")
    };
    let adopt: Vec<&str> = adopt.iter().map(String::as_str).collect();
    let with = |words: [&str; 2], place: &str| -> Vec<String> {
        let at = adopt.iter().position(|word| *word == place).unwrap();
        let mut other: Vec<String> = adopt.iter().map(|word| (*word).to_owned()).collect();
        other[at] = words[0].to_owned();
        other[at + 1] = words[1].to_owned();
        other
    };
    let refused = |words: &[&str], code: i32, said: &str| {
        pair.run(Foo0, words).expect_error(code, &[said]);
    };
    pair.run(Foo0, &["demote", "html"]).expect(0);
    let wrong = with(["--generation", "0123456789"], "--generation");
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    refused(&wrong, 3, "of tree html now, not 0123456789");
    let wrong = with(["--generation", "2"], "--generation");
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    refused(&wrong, 1, "at least its first 8");
    let wrong = with(["--from", "foo7"], "--from");
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    refused(&wrong, 1, "the peer of this node is foo1, not foo7");
    let nameless: Vec<&str> = adopt
        .iter()
        .copied()
        .filter(|word| *word != "html")
        .collect();
    refused(&nameless, 1, "say which tree");
    pair.run(Foo1, &["push", "--tree", "html"]).expect(81);

    pair.run(Foo0, &adopt).expect(0);
    let status = pair.run(Foo0, &["status", "html"]).expect(0);
    assert!(
        status.stdout_text().contains("is given up for generation "),
        "{status}"
    );
    // Whoever is promoted has thought better of it.
    pair.run(Foo0, &["promote", "html"]).expect(0);
    pair.run(Foo0, &["demote", "html"]).expect(0);
    pair.run(Foo1, &["promote", "html"]).expect(80);
    pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(80);
    assert!(pair.path(Foo0, "html/only-foo0").exists());
}

#[test]
fn what_was_kept_stays_until_it_is_forgotten() {
    let pair = apart();
    let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), "foo1");
    follow(&pair, &steps);
    for round in 0..5 {
        pair.write(Foo1, "html/index.html", format!("round {round}"));
        pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    }
    let status = || pair.run(Foo0, &["status", "html"]).expect(0).stdout_text();
    let text = status();
    let kept = text.lines().find(|line| line.contains("kept: ")).unwrap();
    let command = kept.rsplit_once("`hasync ").unwrap().1;
    let words: Vec<&str> = command.trim_end_matches('`').split(' ').collect();
    assert_eq!(words[..3], ["undo", "html", "--forget"]);
    let json = pair.run(Foo0, &["status", "--json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        json["trees"][1]["pinned"][0]["number"].to_string(),
        words[3]
    );
    pair.run(Foo0, &["undo", "html", "--forget", "77"])
        .expect_error(1, &["no generation 77"]);
    pair.run(Foo0, &words).expect(0);
    assert!(!status().contains("kept: "), "{}", status());
    pair.run(Foo0, &words)
        .expect_error(1, &["nothing of tree html is kept"]);
}

#[test]
fn a_peer_that_is_away_can_be_accepted_unseen() {
    let pair = apart();
    let steps = way_out(&pair.run(Foo0, &["diverged", "html"]), "foo1");
    pair.run(Foo0, &["demote", "html"]).expect(0);
    let reachable = pair.read(Foo0, "hasync.toml");
    let port = reachable.lines().find(|line| line.starts_with("port = "));
    let away = reachable.replace(port.unwrap(), "port = 1");
    pair.write(Foo0, "hasync.toml", away);
    let words: Vec<&str> = steps[0].1.iter().map(String::as_str).collect();
    let short: Vec<&str> = words
        .iter()
        .map(|word| word.get(..32).map_or(*word, |id| &id[..8]))
        .collect();
    pair.run(Foo0, &short)
        .expect_error(69, &["give all 32 digits"]);
    let done = pair.run(Foo0, &words).expect(0);
    assert!(done.stdout_text().contains("it was not asked"), "{done}");
    pair.write(Foo0, "hasync.toml", reachable);
    pair.run(Foo1, &["push", "--tree", "html"]).expect(0);
    pair.assert_equal();
}

#[test]
fn what_was_kept_outlives_an_end_at_any_step_of_the_commit() {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let mut holder = Foo0;
    for point in ["journal", "rolled", "recorded", "keeping", "kept"] {
        // The holder breaks off with something that nobody else has, and comes back.
        let (former, next) = (holder, holder.other());
        pair.write(former, "html/alone", point);
        pair.run(next, &["promote", "html"]).expect(0);
        pair.run(former, &["demote", "html"]).expect(0);
        pair.write(next, "html/index.html", format!("after {point}"));
        let script = pair.read(former, "hasync");
        let ends = format!("#!/bin/sh\nexport HASYNC_END_AT={point}");
        pair.write(former, "hasync", script.replacen("#!/bin/sh", &ends, 1));
        pair.run(next, &["push", "--tree", "html"]).expect(12);
        pair.write(former, "hasync", script);

        pair.run(former, &["recover", "html"]).expect(0);
        let status = pair.run(former, &["status", "html"]).expect(0);
        assert!(
            status.stdout_text().contains("kept: generation "),
            "{point}\n{status}"
        );
        pair.run(next, &["push", "--tree", "html"]).expect(0);
        assert!(!pair.path(former, "html/alone").exists());
        // Once, and with what was there alone.
        let json = pair.run(former, &["status", "html", "--json"]).expect(0);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        let [kept] = &json["trees"][0]["pinned"].as_array().unwrap()[..] else {
            panic!("{point}: {json:#}")
        };
        let files = walkdir::WalkDir::new(kept["path"].as_str().unwrap());
        let has_it = files.into_iter().flatten().any(|entry| {
            std::fs::read_to_string(entry.path()).is_ok_and(|content| content == point)
        });
        assert!(has_it, "{point}: {json:#}");
        let number = kept["number"].to_string();
        pair.run(former, &["undo", "html", "--forget", &number])
            .expect(0);
        holder = next;
    }
}

/// Both nodes have written in one tick of the clock, and equally much: content alone tells.
#[test]
fn what_was_written_at_the_same_time_is_listed_all_the_same() {
    let pair = apart();
    let now = filetime::FileTime::now();
    for node in [Foo0, Foo1] {
        pair.write(node, "html/at-once", node.name());
        filetime::set_file_mtime(pair.path(node, "html/at-once"), now).unwrap();
    }
    for node in [Foo0, Foo1] {
        let list = pair.run(node, &["diverged", "html"]).expect(3);
        assert!(list.stdout_text().contains("at-once"), "{list}");
    }
}
