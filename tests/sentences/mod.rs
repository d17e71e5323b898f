//! What an admin meets: what happened, on which node, the sentence and the next step. Each step is
//! typed as it stands there, and mends what happened. `check`, the JSON and the file for everybody
//! say the same.

mod lineage;
mod no_alarm;
mod state_disk;
mod trouble;

use std::process::Command;

use serde_json::Value;

use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, await_that, need_root};

/// What `check` answers.
const OK: i32 = 0;
const WARNING: i32 = 1;
const CRITICAL: i32 = 2;
const UNKNOWN: i32 = 3;

/// One row of the table.
#[derive(Clone, Copy)]
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
    let path = pair.run_dir(node).join("status.json");
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
    if !["new", "emptied", "unrecorded", "unreadable"].contains(&row.condition) {
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
    let rows = lineage::rows();
    assert!(rows.len() + trouble::rows().len() >= 20);
    play_all(&rows);
}

#[test]
fn the_sentence_of_each_trouble_names_the_step_that_mends_it() {
    need_root();
    play_all(&trouble::rows());
}

/// The table of the manual, and the answer of `check` where it is one.
#[test]
fn each_condition_of_the_manual_is_met_with_its_level() {
    let manual = include_str!("../../cli/manual/hasync-state.md");
    let conditions = manual.split("## check").next().unwrap();
    let rows = [lineage::rows(), trouble::rows()].concat();
    for line in conditions.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, level) = (cells[1].trim_matches('`'), cells[3]);
        let met: Vec<i32> = rows
            .iter()
            .filter(|row| row.condition == name)
            .map(|row| row.level)
            .collect();
        // It takes a mount, and has a test of its own.
        assert!(name == "unmounted" || !met.is_empty(), "{name}");
        let levels: &[i32] = match level {
            "WARNING" => &[WARNING],
            "CRITICAL" => &[CRITICAL],
            "UNKNOWN" => &[UNKNOWN],
            "by the lag" => &[OK],
            "by its exit code" => &[OK, WARNING, CRITICAL],
            other => panic!("{other}"),
        };
        assert!(met.iter().all(|met| levels.contains(met)), "{name}");
    }
    for row in &rows {
        assert!(conditions.contains(&format!("| `{}` |", row.condition)));
    }
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
