//! What an admin meets: what happened, on which node, the sentence and the next step. Each step is
//! typed as it stands there, and mends what happened. `check`, the JSON and the file for everybody
//! say the same.

use std::process::Command;

use serde_json::Value;

use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{await_that, need_root};

/// What `check` answers.
const OK: i32 = 0;
const WARNING: i32 = 1;
const CRITICAL: i32 = 2;
const UNKNOWN: i32 = 3;

/// One row of the table.
struct Row {
    what: &'static str,
    happens: fn(&mut Pair),
    on: Node,
    /// The answer of `check` there.
    level: i32,
    condition: &'static str,
    sentence: &'static str,
    next: &'static str,
    /// What the step leaves to people: a cable, a disk, a file.
    mend: fn(&mut Pair),
    /// Of several steps the one that is typed.
    way: usize,
}

const ROW: Row = Row {
    what: "",
    happens: |_| {},
    on: Foo0,
    level: OK,
    condition: "",
    sentence: "",
    next: "",
    mend: |_| {},
    way: 0,
};

const NOTHING: &str = "nothing needs to be done";

fn push(pair: &Pair, node: Node, code: i32) {
    pair.run(node, &["push", "--tree", "html"]).expect(code);
}

/// foo0 is primary, and foo1 is equal.
fn mirrored(pair: &mut Pair) {
    pair.write(Foo0, "html/index.html", "one");
    push(pair, Foo0, 0);
}

/// foo0 has handed over to foo1.
fn switched(pair: &mut Pair) {
    mirrored(pair);
    pair.run(Foo0, &["mirror", "stop"]).expect(0);
    pair.run(Foo1, &["mirror", "start"]).expect(0);
}

/// The nodes were promoted apart, and both have written.
fn both_promoted(pair: &mut Pair) {
    mirrored(pair);
    pair.write(Foo1, "html/there", "x");
    pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
    pair.write(Foo0, "html/here", "y");
    push(pair, Foo0, 80);
}

/// The standby took the last push back.
fn undone(pair: &mut Pair) {
    mirrored(pair);
    pair.write(Foo0, "html/index.html", "two");
    push(pair, Foo0, 0);
    pair.run(Foo1, &["undo", "html"]).expect(0);
}

fn undone_and_pushed(pair: &mut Pair) {
    undone(pair);
    pair.write(Foo0, "html/index.html", "three");
    push(pair, Foo0, 81);
}

/// foo1 has its role by a file, and an interval of a second.
fn by_role(pair: &mut Pair, interval: &str) {
    let dir = pair.dir.text("");
    let command = format!("test -e {}/NODE/serves", dir.trim_end_matches('/'));
    let lines = format!("[role]\ncommand = \"{command}\"\n[cycle]\ninterval = \"{interval}\"\n");
    pair.configure(&lines);
}

fn set_config(pair: &Pair, key: &str, line: &str) {
    pair.write(Foo0, "before", pair.read(Foo0, "hasync.toml"));
    pair.set(Foo0, key, line);
}

fn restore_config(pair: &mut Pair) {
    pair.write(Foo0, "hasync.toml", pair.read(Foo0, "before"));
}

fn rows_of_lineage() -> Vec<Row> {
    vec![
        Row {
            what: "two new nodes",
            happens: |pair| pair.write(Foo0, "html/index.html", "one"),
            level: UNKNOWN,
            condition: "new",
            sentence: "nothing was sent or received yet",
            next: "on the node with the data `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "all is well, on the primary",
            happens: mirrored,
            condition: "equal",
            sentence: "primary, epoch 1, generation 1 (",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "all is well, on the standby",
            happens: mirrored,
            on: Foo1,
            condition: "equal",
            sentence: "; the standby is equal as of 2",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "a former primary that has handed over",
            happens: switched,
            condition: "handed-over",
            sentence: "it handed over to the other node, which had all of it as of 2",
            next: NOTHING,
            ..ROW
        },
        Row {
            what: "a switchover before the first push",
            happens: switched,
            on: Foo1,
            condition: "unsent",
            sentence: "it was promoted, and has not pushed since; the standby is equal as of 2",
            next: "`hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "a last push that did not come to its end",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/late", "x");
                pair.sshd().stop();
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.sshd().start_again();
            },
            condition: "broke-off",
            sentence: "it was primary and has received nothing since: what changed here after that \
                       may be here alone",
            next: "nothing needs to be done; to go on with what is here, `hasync promote html`",
            way: 1,
            ..ROW
        },
        Row {
            what: "an undo on the standby, which goes on with it",
            happens: undone,
            on: Foo1,
            level: WARNING,
            condition: "undone",
            sentence: "that is by an undo here: the mirror stands still, the next push of foo0 is \
                       refused (81)",
            next: "to go on with what is here, `hasync promote html`; to take what foo0 has, \
                   `hasync adopt html --from foo0 --generation ",
            // foo0 is primary as well; it is said there what follows.
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "an undo on the standby, given up",
            happens: undone,
            on: Foo1,
            level: WARNING,
            condition: "undone",
            sentence: "the next push of foo0 is refused (81)",
            next: "; to take what foo0 has, `hasync adopt html --from foo0 --generation ",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push after an undo on the standby, which is kept",
            happens: undone_and_pushed,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the nodes have diverged on tree html",
            next: "to keep what foo0 has: on foo1 `hasync adopt html --from foo0 --generation ",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push after an undo on the standby, which is given up",
            happens: undone_and_pushed,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the nodes have diverged on tree html",
            next: "; to keep what foo1 has: on foo0 `hasync demote html`, on foo1 `hasync promote html \
                   --force`, on foo1 `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "data that is given up",
            happens: |pair| {
                undone(pair);
                pair.run(Foo1, &["adopt", "--all", "--from", "foo0"])
                    .expect(0);
            },
            on: Foo1,
            level: WARNING,
            condition: "given-up",
            sentence: " of foo0, whose next push is received",
            next: "on foo0 `hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "an undo on the primary",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/index.html", "two");
                push(pair, Foo0, 0);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.run(Foo1, &["mirror", "start"]).expect(0);
                push(pair, Foo1, 0);
                pair.run(Foo1, &["undo", "html"]).expect(0);
            },
            on: Foo1,
            condition: "unsent",
            sentence: "that is by an undo here, and not pushed yet; the standby is equal as of 2",
            next: "`hasync push --tree html`",
            ..ROW
        },
        Row {
            what: "both promoted, to keep this one",
            happens: both_promoted,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the standby is primary of tree html itself",
            next: "to keep what foo0 has: on foo1 `hasync adopt html --from foo0",
            ..ROW
        },
        Row {
            what: "both promoted, to keep the other",
            happens: both_promoted,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: the standby is primary of tree html itself",
            next: "; to keep what foo1 has: on foo0 `hasync demote html`",
            way: 1,
            ..ROW
        },
        Row {
            what: "both promoted, where nobody pushed",
            happens: both_promoted,
            on: Foo1,
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push to this node was refused: the standby is primary of tree html \
                       itself",
            next: "`hasync diverged html` lists what differs and the two ways out",
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "a former primary that serves no more and was never told",
            happens: |pair| {
                by_role(pair, "1h");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.serve(Foo0, false);
                pair.serve(Foo1, true);
                pair.run(Foo1, &["promote", "html", "--force"]).expect(0);
                pair.write(Foo1, "html/index.html", "two");
                pair.run(Foo0, &["cycle"]).expect(0);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "it does not follow by itself: foo1 was promoted of tree html since this node \
                       was",
            next: "`hasync diverged html` lists what differs and the two ways out",
            mend: |pair| drop(pair.run(Foo0, &["demote", "html"]).expect(0)),
            ..ROW
        },
        Row {
            what: "the service came, and nobody started the mirror",
            happens: |pair| {
                by_role(pair, "1s");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                await_level(pair, Foo0, WARNING);
            },
            level: WARNING,
            condition: "mismatch",
            sentence: "html is recorded as standby's here and is not pushed, and by [role] this \
                       node serves",
            next: "`hasync mirror start`",
            ..ROW
        },
        Row {
            what: "the service went, and nobody stopped the mirror",
            happens: |pair| {
                by_role(pair, "1h");
                mirrored(pair);
            },
            level: WARNING,
            condition: "mismatch",
            sentence: "html is recorded as primary's here and receives nothing, and by [role] this \
                       node does not serve",
            next: "`hasync mirror stop`",
            // Then the other node takes over.
            mend: |pair| pair.serve(Foo1, true),
            ..ROW
        },
        Row {
            what: "between mirror stop and the release of the address",
            happens: |pair| {
                by_role(pair, "1h");
                pair.serve(Foo0, true);
                mirrored(pair);
                pair.run(Foo0, &["mirror", "stop"]).expect(0);
                pair.run(Foo0, &["cycle"]).expect(0);
            },
            condition: "moving",
            sentence: "it was demoted just now, and by [role] the service is still here",
            next: "nothing needs to be done while the cluster moves it",
            ..ROW
        },
    ]
}

fn rows_of_trouble() -> Vec<Row> {
    vec![
        Row {
            what: "a standby whose tree was emptied",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_dir_all(pair.path(Foo1, "html")).unwrap();
                std::fs::create_dir(pair.path(Foo1, "html")).unwrap();
            },
            on: Foo1,
            level: CRITICAL,
            condition: "emptied",
            sentence: "html is empty, and this node has had data of html",
            next: "mount its disk; if it is a new one, on ",
            ..ROW
        },
        Row {
            what: "a standby whose records beside the data are gone",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_dir_all(pair.path(Foo1, "html/.hasync")).unwrap();
            },
            on: Foo1,
            level: CRITICAL,
            condition: "unrecorded",
            sentence: "html has no record of html beside it (.hasync)",
            next: "mount its disk; if it is a new one, `rm -r ",
            ..ROW
        },
        Row {
            what: "a commit that was cut off",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo0, "html/index.html", "two");
                let script = pair.read(Foo1, "hasync");
                let ends = "#!/bin/sh\nexport HASYNC_END_AT=journal";
                pair.write(Foo1, "hasync", script.replacen("#!/bin/sh", ends, 1));
                push(pair, Foo0, 12);
                pair.write(Foo1, "hasync", script);
            },
            on: Foo1,
            level: CRITICAL,
            condition: "interrupted",
            sentence: "a commit was cut off and the tree may be a mixture",
            next: "`hasync recover html`",
            ..ROW
        },
        Row {
            what: "a file that the standby cannot give up",
            happens: |pair| {
                mirrored(pair);
                let stuck = pair.dir.text("foo1/html/index.html");
                Command::new("chattr")
                    .args(["+i", &stuck])
                    .status()
                    .unwrap();
                pair.write(Foo0, "html/index.html", "two");
                pair.write(Foo0, "html/other", "x");
                push(pair, Foo0, 23);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: partial: 1 entry was not mirrored, first: ",
            next: "mend that, then `hasync push --tree html`",
            mend: |pair| {
                let stuck = pair.dir.text("foo1/html/index.html");
                Command::new("chattr")
                    .args(["-i", &stuck])
                    .status()
                    .unwrap();
            },
            ..ROW
        },
        Row {
            what: "a source that was emptied",
            happens: |pair| {
                mirrored(pair);
                std::fs::remove_file(pair.path(Foo0, "html/index.html")).unwrap();
                push(pair, Foo0, 25);
            },
            level: CRITICAL,
            condition: "emptied",
            sentence: "html is empty, and this node has had data of html",
            next: "; to empty the standby too, `hasync push --tree html --no-brake`",
            way: 1,
            ..ROW
        },
        Row {
            what: "a push that would delete too much",
            happens: |pair| {
                for name in 0..200 {
                    pair.write(Foo0, &format!("html/{name}"), "x");
                }
                mirrored(pair);
                for name in 0..200 {
                    std::fs::remove_file(pair.path(Foo0, &format!("html/{name}"))).unwrap();
                }
                push(pair, Foo0, 25);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "nothing was deleted; if that is meant, `hasync push --tree html --no-brake`",
            ..ROW
        },
        Row {
            what: "a path that is not there",
            happens: |pair| {
                mirrored(pair);
                set_config(pair, "path = ", "path = \"/nonexistent/htlm\"");
                assert_ne!(pair.run(Foo0, &["push", "--tree", "html"]).code, 0);
            },
            level: CRITICAL,
            condition: "emptied",
            sentence: "/nonexistent/htlm is not there, and this node has had data of html",
            next: "mount its disk, or correct its path; ",
            mend: |pair| {
                restore_config(pair);
                pair.write(Foo0, "html/more", "x");
            },
            way: 1,
            ..ROW
        },
        Row {
            what: "a peer that is down",
            happens: |pair| {
                mirrored(pair);
                pair.sshd().stop();
                push(pair, Foo0, 69);
            },
            condition: "failing",
            sentence: "the last push failed: ",
            next: "the next cycle tries again; see whether 127.0.0.1 is up",
            mend: |pair| pair.sshd().start_again(),
            ..ROW
        },
        Row {
            what: "a peer with another host key",
            happens: |pair| {
                mirrored(pair);
                set_config(pair, "known_hosts = ", "known_hosts = \"/dev/null\"");
                push(pair, Foo0, 76);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "compare the host key of 127.0.0.1 with known_hosts of [peer], correct that, then \
                   `hasync push --tree html`",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a peer that takes no key",
            happens: |pair| {
                mirrored(pair);
                let config = pair.read(Foo0, "hasync.toml");
                let key = config.lines().find(|line| line.starts_with("identity = "));
                set_config(
                    pair,
                    "identity = ",
                    &key.unwrap().replace("user_key", "other_key"),
                );
                push(pair, Foo0, 77);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "add the public key of this node to authorized_keys on 127.0.0.1, then `hasync \
                   push --tree html`",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a peer without hasync",
            happens: |pair| {
                mirrored(pair);
                set_config(
                    pair,
                    "remote_bin = ",
                    "remote_bin = \"/nonexistent/hasync\"",
                );
                push(pair, Foo0, 127);
            },
            level: WARNING,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "install hasync on 127.0.0.1, or name it by remote_bin of [peer] in ",
            mend: restore_config,
            ..ROW
        },
        Row {
            what: "a standby that is configured wrongly",
            happens: |pair| {
                mirrored(pair);
                pair.write(Foo1, "before", pair.read(Foo1, "hasync.toml"));
                let broken = pair.read(Foo1, "hasync.toml") + "what = 1\n";
                pair.write(Foo1, "hasync.toml", broken);
                push(pair, Foo0, 78);
            },
            level: CRITICAL,
            condition: "failing",
            sentence: "the last push failed: ",
            next: "here or there, then `hasync check-config`",
            mend: |pair| {
                pair.write(Foo1, "hasync.toml", pair.read(Foo1, "before"));
                push(pair, Foo0, 0);
            },
            ..ROW
        },
    ]
}

/// The words between backticks of one way, each with the node that it is typed on.
fn commands(next: &str, way: usize, on: Node) -> Vec<(Node, String)> {
    let ways: Vec<&str> = next.split("; to ").collect();
    let pieces: Vec<&str> = ways[way].split('`').collect();
    let mut commands = Vec::new();
    for pair in pieces.chunks(2) {
        let [before, command] = pair else { continue };
        let node = match before.trim_end() {
            before if before.ends_with("on foo0") || before.ends_with("on the primary") => Foo0,
            before if before.ends_with("on foo1") => Foo1,
            before if before.ends_with("on the node with the data") => Foo0,
            _ => on,
        };
        commands.push((node, (*command).to_owned()));
    }
    commands
}

fn type_it(pair: &Pair, node: Node, command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let code = match &words[..] {
        ["hasync", words @ ..] => pair.run(node, words).code,
        [program, words @ ..] => {
            let status = Command::new(program).args(words).status().unwrap();
            status.code().unwrap()
        }
        [] => panic!("nothing to type"),
    };
    // What only lists differences says so.
    let is_listing = words.get(1) == Some(&"diverged");
    assert!(code == 0 || is_listing && code == 3, "{command}: {code}");
}

fn json(pair: &Pair, node: Node) -> Value {
    let done = pair.run(node, &["status", "html", "--json"]);
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done}"))
}

fn await_level(pair: &Pair, node: Node, level: i32) {
    await_that("the level", || {
        pair.run(node, &["check", "html"]).code == level
    });
}

/// The file says the same as the record, and anybody may read it.
fn assert_file(pair: &Pair, node: Node, told: &Value, what: &str) {
    use std::os::unix::fs::MetadataExt;
    let path = pair.path(node, "run/status.json");
    let of_file = || -> Value {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let state: Value = serde_json::from_str(&text).unwrap_or_default();
        let trees = state["trees"].as_array().cloned().unwrap_or_default();
        let html = trees.into_iter().find(|tree| tree["name"] == "html");
        html.unwrap_or_default()
    };
    // Where the push of another node made it so, it is written a moment later.
    await_that(what, || {
        ["role", "epoch", "head", "given_up_for"]
            .iter()
            .all(|key| of_file()[*key] == told[*key])
    });
    let found = path.metadata().unwrap();
    assert_eq!(found.mode() & 0o777, 0o644, "{what}");
}

fn play(row: &Row) {
    let what = row.what;
    let mut pair = Pair::here("");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    (row.happens)(&mut pair);
    if row.condition == "failing" {
        // What the other node says of it comes a moment later.
        await_that(what, || {
            json(&pair, row.on)["trees"][0]["condition"] == row.condition
        });
    }
    let state = json(&pair, row.on);
    assert_eq!(state["schema_version"], 2, "{what}");
    let told = &state["trees"][0];
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let (sentence, next) = (text("sentence"), text("next"));
    assert_eq!(text("condition"), row.condition, "{what}: {sentence}");
    assert!(sentence.contains(row.sentence), "{what}: {sentence}");
    assert!(next.contains(row.next), "{what}: {next}");
    let check = pair.run(row.on, &["check", "html"]);
    assert_eq!(check.code, row.level, "{what}: {check}");
    let status = pair.run(row.on, &["status", "html"]).stdout_text();
    assert!(status.contains(row.sentence), "{what}: {status}");
    // What nobody has met yet is in no file.
    if !["new", "emptied", "unrecorded"].contains(&row.condition) {
        assert_file(&pair, row.on, told, what);
    }

    (row.mend)(&mut pair);
    for (node, command) in commands(&next, row.way, row.on) {
        type_it(&pair, node, &command);
    }
    // A mirroring pair: one node pushes, and all is well on both.
    let is_primary = |node: &Node| json(&pair, *node)["trees"][0]["role"] == "primary";
    let primaries: Vec<Node> = [Foo0, Foo1].into_iter().filter(is_primary).collect();
    let primary = match primaries[..] {
        [] => {
            pair.run(Foo1, &["promote", "html"]).expect(0);
            Foo1
        }
        [primary] => primary,
        _ => panic!("{what}: both are primary"),
    };
    push(&pair, primary, 0);
    pair.serve(primary.other(), false);
    pair.serve(primary, true);
    for node in [Foo0, Foo1] {
        let check = pair.run(node, &["check", "html"]);
        assert_eq!(check.code, OK, "{what}: {check}");
    }
    assert_eq!(pair.html(Foo0).diff(&pair.html(Foo1)), "", "{what}");
}

#[test]
fn the_sentence_of_each_lineage_names_the_step_that_mends_it() {
    need_root();
    let rows = rows_of_lineage();
    assert!(rows.len() + rows_of_trouble().len() >= 20);
    play_all(&rows);
}

#[test]
fn the_sentence_of_each_trouble_names_the_step_that_mends_it() {
    need_root();
    play_all(&rows_of_trouble());
}

/// Each row is tried, whatever became of the others.
fn play_all(rows: &[Row]) {
    let fails = |row: &&Row| std::panic::catch_unwind(|| play(row)).is_err();
    let failed: Vec<&str> = rows.iter().filter(fails).map(|row| row.what).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A standby whose tree is on a disk of its own.
fn on_a_disk(disk: &LoopFs) -> Pair {
    let pair = Pair::here("");
    let html = pair.path(Foo1, "html");
    std::fs::remove_dir(&html).unwrap();
    std::os::unix::fs::symlink(disk.path("html"), &html).unwrap();
    std::fs::create_dir(disk.path("html")).unwrap();
    pair.write(Foo0, "html/index.html", "one");
    push(&pair, Foo0, 0);
    pair
}

#[test]
fn a_disk_that_is_full_is_told_on_both_nodes_until_there_is_room() {
    let disk = LoopFs::new("ext4", 16);
    let pair = on_a_disk(&disk);
    // Until it is full.
    let _ = std::fs::write(disk.path("filler"), vec![0; 12 << 20]);
    pair.write(Foo0, "html/large", vec![1; 8 << 20]);
    push(&pair, Foo0, 82);
    let told = &json(&pair, Foo0)["trees"][0];
    let next = told["next"].as_str().unwrap();
    assert!(
        next.starts_with("make room on 127.0.0.1, then `hasync push"),
        "{told:#}"
    );
    pair.run(Foo0, &["check", "html"]).expect(CRITICAL);
    await_level(&pair, Foo1, CRITICAL);
    let there = &json(&pair, Foo1)["trees"][0];
    assert_eq!(there["last_failure"]["exit"], 82, "{there:#}");
    std::fs::remove_file(disk.path("filler")).unwrap();
    for (node, command) in commands(next, 0, Foo0) {
        type_it(&pair, node, &command);
    }
    await_level(&pair, Foo1, OK);
    pair.run(Foo0, &["check", "html"]).expect(OK);
    assert_eq!(pair.html(Foo0).diff(&pair.html(Foo1)), "");
}

#[test]
fn a_standby_that_is_not_mounted_is_told_with_the_words_that_mount_it() {
    need_root();
    let pair = Pair::here("");
    let html = pair.path(Foo1, "html").display().to_string();
    let image = pair.dir.text("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    run_ok("mkfs.ext4", &["-q", "-F", &image]);
    let table = pair.dir.text("fstab");
    std::fs::write(&table, format!("{image} {html} ext4 loop 0 0\n")).unwrap();
    let mounts = |words: &[&str]| run_ok("mount", &[&["-T", &table], words].concat());
    mounts(&[&html]);
    pair.write(Foo0, "html/index.html", "one");
    push(&pair, Foo0, 0);
    let unmounted = || {
        Command::new("umount")
            .arg(&html)
            .status()
            .unwrap()
            .success()
    };
    await_that("nobody has it open any more", unmounted);
    let told = json(&pair, Foo1)["trees"][0].clone();
    assert_eq!(told["condition"], "unmounted", "{told:#}");
    assert_eq!(told["promotable"], false);
    let sentence = told["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("is not a file system of its own any more"),
        "{sentence}"
    );
    pair.run(Foo1, &["check", "html"]).expect(CRITICAL);
    push(&pair, Foo0, 11);
    pair.run(Foo0, &["check", "html"]).expect(CRITICAL);
    // The words as they stand there, by a table of our own.
    let next = told["next"].as_str().unwrap();
    let words = next.trim_matches('`').strip_prefix("mount ").unwrap();
    mounts(&[words]);
    push(&pair, Foo0, 0);
    await_level(&pair, Foo1, OK);
    pair.run(Foo0, &["check", "html"]).expect(OK);
    assert_eq!(pair.read(Foo1, "html/index.html"), "one");
    await_that("it is unmounted", unmounted);
}
