//! The record of a node's state: for programs, for a monitor without rights, and for nobody's
//! configuration but its own.

use std::path::Path;
use std::process::Command;

use crate::support::hasync::{LAST_GOOD_DIR, RUN_DIR, Reachable};
use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, await_that, need_root};

const MANUAL: &str = include_str!("../cli/manual/hasync-state.md");

fn mirrored(lines: &str) -> Pair {
    let pair = Pair::here(lines);
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair
}

/// What the file for everybody says.
fn file(pair: &Pair, node: Node) -> serde_json::Value {
    let text = std::fs::read_to_string(pair.run_dir(node).join("status.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[test]
fn the_examples_for_jq_in_the_manual_work() {
    let pair = mirrored("");
    pair.write(Foo0, "html/index.html", "two");
    pair.run(Foo0, &["push", "--all"]).expect(0);
    await_that("the standby has written its state", || {
        file(&pair, Foo1)["trees"][1]["head"]["number"] == 2
    });
    let dir = pair.run_dir(Foo1);
    let lines = MANUAL.lines().filter(|line| line.starts_with("jq "));
    let said: Vec<String> = lines
        .map(|line| {
            let done = Command::new("sh")
                .args(["-c", line])
                .current_dir(&dir)
                .output()
                .unwrap();
            assert!(done.status.success(), "{line}: {done:?}");
            String::from_utf8(done.stdout).unwrap()
        })
        .collect();
    let [all, promotable, lag, failed, bytes, mismatched] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(all.starts_with("conf ok: standby, epoch 1, "), "{all}");
    assert_eq!(promotable.trim(), "true");
    assert!(lag.trim().parse::<u64>().is_ok(), "{lag}");
    assert!(bytes.trim().parse::<u64>().unwrap() > 0, "{bytes}");
    assert_eq!((&**failed, &**mismatched), ("", ""));
}

#[test]
fn fields_and_conditions_of_the_manual_are_those_of_the_record() {
    let pair = mirrored("");
    let state = pair.run(Foo1, &["status", "--json"]).expect(0).stdout;
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let tree = &state["trees"][1];
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    for key in keys(&state).iter().chain(&keys(tree)) {
        let own = [
            "schema_version",
            "trees",
            "name",
            "path",
            "is_group",
            "records",
            "lossy",
        ];
        let rest = [
            "interval_seconds",
            "max_lag_seconds",
            "unacknowledged",
            "given_up_for",
        ];
        let more = ["is_moving", "is_unsent", "undone_from", "unreadable"];
        let is_plain = own
            .iter()
            .chain(&rest)
            .chain(&more)
            .any(|known| known == key);
        assert!(is_plain || MANUAL.contains(&format!("`{key}`")), "{key}");
    }
}

/// As a monitoring system runs it: by a user without rights, who can read neither the state nor the
/// trees.
#[test]
fn anybody_may_check() {
    need_root();
    let pair = mirrored("[cycle]\ninterval = \"1h\"\n");
    let program = Reachable::new();
    let as_nobody = |words: &[&str], node: Node| -> Finished {
        let hasync = pair.on(node, words);
        hasync.by_nobody(&program).run()
    };
    await_that("the standby has written its state", || {
        file(&pair, Foo1)["trees"][1]["head"]["number"] == 1
    });
    for node in [Foo0, Foo1] {
        let done = as_nobody(&["check", "--max-lag", "300"], node).expect(0);
        assert!(
            done.stdout_text()
                .starts_with("HASYNC OK - conf: generation 1, lag "),
            "{done}"
        );
        as_nobody(&["check", "--max-lag", "0"], node);
        let done = as_nobody(&["status", "html"], node).expect(0);
        assert!(
            done.stdout_text().contains("the standby is equal as of 2"),
            "{done}"
        );
        let json = as_nobody(&["status", "--json"], node).expect(0).stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["node"], node.name());
        as_nobody(&["check", "nope"], node).expect(3);
    }
    // The configuration may be for root's eyes alone.
    use std::os::unix::fs::PermissionsExt;
    let config = pair.path(Foo0, "hasync.toml");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).unwrap();
    as_nobody(&["check"], Foo0).expect(0);
    // Nobody has written anything yet.
    std::fs::remove_file(pair.run_dir(Foo0).join("status.json")).unwrap();
    let done = as_nobody(&["check"], Foo0).expect(3);
    assert!(
        done.stdout_text()
            .contains("hasync cycle, run as root, writes it"),
        "{done}"
    );
}

/// The file ages: a writer that is dead does not leave a good state for ever.
#[test]
fn what_was_written_long_ago_is_old() {
    need_root();
    let pair = mirrored("");
    let program = Reachable::new();
    let path = pair.run_dir(Foo0).join("status.json");
    let mut state = file(&pair, Foo0);
    let since_boot = state["written"]["since_boot_ns"].as_i64().unwrap();
    state["written"]["since_boot_ns"] = (since_boot - 7200 * 1_000_000_000).into();
    std::fs::write(&path, state.to_string()).unwrap();
    let check = pair.on(Foo0, &["check", "--max-lag", "3600"]);
    let done = check.by_nobody(&program).run().expect(2);
    assert!(
        done.stdout_text()
            .contains("lag 2 h 0 min, more than 1 h 0 min"),
        "{done}"
    );
}

/// A standby that takes no push, and with which no service could go on, says so before either is
/// tried.
#[test]
fn a_standby_that_cannot_be_written_to_is_critical_and_cannot_take_over() {
    let pair = mirrored("");
    let is_promotable = || {
        let done = pair.run(Foo1, &["status", "html", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        status["trees"][0]["promotable"] == true
    };
    let check = || pair.run(Foo1, &["check", "html", "--max-lag", "3600"]);
    for at in ["html", "state"] {
        check().expect(0);
        assert!(is_promotable(), "{at}");
        let closed = Mounted::read_only(&pair.path(Foo1, at));
        let said = check().expect(2).stdout_text();
        assert!(said.contains("read-only") && said.contains(at), "{said}");
        assert!(!is_promotable(), "{at}");
        drop(closed);
    }
    check().expect(0);
    let [html, copy] = ["html", "copy"].map(|name| pair.path(Foo1, name));
    let [contents, copied] = [&html, &copy].map(|dir| format!("{}/.", dir.display()));
    std::fs::create_dir(copy).unwrap();
    run_ok("cp", &["-a", &contents, &copied]);
    let small = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs"];
    let full = Mounted::by(&small, html.clone());
    run_ok("cp", &["-a", &copied, &contents]);
    std::fs::write(html.join("filler"), vec![1; 1 << 20]).unwrap_err();
    let said = check().stdout_text();
    assert!(said.contains("no space"), "{said}");
    drop(full);
    check().expect(0);
    // No disk is full or read-only: it is broken, and nobody may write there.
    let broken = LoopFs::new("xfs", 300);
    run_ok(
        "cp",
        &["-a", &copied, &broken.path("").display().to_string()],
    );
    let bound = Mounted::bind(&broken.path(""), html);
    check().expect(0);
    let at = broken.path("").display().to_string();
    run_ok("xfs_io", &["-x", "-c", "shutdown", &at]);
    let said = check().expect(2).stdout_text();
    assert!(said.contains("put/output error"), "{said}");
    assert!(!is_promotable());
    drop(bound);
    check().expect(0);
    for at in ["html", "state"] {
        let dir = pair.path(Foo1, at).display().to_string();
        run_ok("chattr", &["+i", &dir]);
        let said = check();
        run_ok("chattr", &["-i", &dir]);
        assert!(
            said.expect(2).stdout_text().contains("not permitted"),
            "{at}"
        );
        check().expect(0);
    }
}

/// One file stands for a node that may have several configurations.
#[test]
fn nobody_is_told_the_state_of_another_configuration() {
    use std::os::unix::fs::PermissionsExt;
    need_root();
    let pair = mirrored("");
    let program = Reachable::new();
    let by = |config: &Path, words: &[&str]| {
        let hasync = Hasync::new().args(words).arg("--config").arg(config);
        let hasync = hasync.env(RUN_DIR, pair.run_dir(Foo0));
        hasync.env(LAST_GOOD_DIR, pair.dir.path("last-good"))
    };
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let own = pair.path(Foo0, "hasync.toml");
    let text = pair.read(Foo0, "hasync.toml");
    pair.write(Foo0, "same.toml", &text);
    pair.write(Foo0, "closed.toml", &text);
    pair.write(Foo0, "closed/hasync.toml", &text);
    pair.write(Foo0, "broken.toml", "[node");
    mode(&pair.path(Foo0, "closed.toml"), 0o600);
    mode(&pair.path(Foo0, "closed"), 0o700);
    by(&own, &["check"]).by_nobody(&program).run().expect(0);
    let files = [
        "same.toml",
        "closed.toml",
        "closed/hasync.toml",
        "broken.toml",
    ];
    for name in files {
        let other = pair.path(Foo0, name);
        let done = by(&other, &["check"]).by_nobody(&program).run().expect(3);
        let says = format!("is by the configuration {}, not by", own.display());
        assert!(done.stdout_text().contains(&says), "{name}: {done}");
        let status = by(&other, &["status", "--json"]).by_nobody(&program).run();
        assert_ne!(status.code, 0, "{name}: {status}");
    }
    let default = Hasync::new().arg("check").env(RUN_DIR, pair.run_dir(Foo0));
    default.by_nobody(&program).run().expect(3);
    // A fault of the default one is none of this one's.
    let default = Hasync::new().args(["status", "--json"]);
    default.env(RUN_DIR, pair.run_dir(Foo0)).run();
    by(&own, &["check"]).by_nobody(&program).run().expect(0);
    // Once each has written its own, it is told that, though nobody may look at the file.
    for name in &files[..3] {
        let other = pair.path(Foo0, name);
        by(&other, &["recover"]).run().expect(0);
        by(&other, &["check"]).by_nobody(&program).run().expect(0);
    }
}

/// A fault is noted beside what was known, which gets no younger by that.
#[test]
fn a_fault_does_not_stop_the_clock() {
    let pair = mirrored("");
    let path = pair.run_dir(Foo0).join("status.json");
    let lag = || file(&pair, Foo0)["trees"][1]["lag_seconds"].as_u64();
    let mut state = file(&pair, Foo0);
    let since_boot = state["written"]["since_boot_ns"].as_i64().unwrap();
    state["written"]["since_boot_ns"] = (since_boot - 7200 * 1_000_000_000).into();
    std::fs::write(&path, state.to_string()).unwrap();
    assert!(lag().unwrap() < 7200);
    let good = pair.read(Foo0, "hasync.toml");
    pair.write(Foo0, "hasync.toml", "[node");
    for words in [
        &["cycle"][..],
        &["status"],
        &["mirror", "status"],
        &["recover"],
    ] {
        assert_ne!(pair.run(Foo0, words).code, 0);
        let lag = lag().unwrap();
        // Nor does each further one age it again.
        assert!((7200..14_400).contains(&lag), "{words:?}: {lag}");
    }
    pair.write(Foo0, "hasync.toml", good);
    pair.run(Foo0, &["cycle"]).expect(0);
    assert!(lag().unwrap() < 7200);
}

#[test]
fn what_makes_no_sense_is_unknown_and_what_is_configured_wrongly_is_critical() {
    let pair = mirrored("");
    let config = pair.path(Foo0, "hasync.toml").display().to_string();
    for words in [
        &["check", "--max-lag", "soon"][..],
        &["check", "--what"],
        &["check", "--max-lag"],
        &["check", "--config", "/nonexistent/hasync.toml"],
        &["check", "nope", "--config", &config],
    ] {
        let done = Hasync::new().args(words).run().expect(3);
        assert!(
            done.stdout_text().starts_with("HASYNC UNKNOWN - "),
            "{words:?}: {done}"
        );
    }
    let good = pair.read(Foo0, "hasync.toml");
    pair.write(Foo0, "hasync.toml", format!("{good}what = 1\n"));
    let done = pair.run(Foo0, &["check"]).expect(2);
    assert!(done.stdout_text().contains("unknown key"), "{done}");
    // The cycle that meets it writes it down for everybody.
    pair.run(Foo0, &["cycle"]).expect(78);
    let state = file(&pair, Foo0);
    assert_eq!(state["fault"]["exit"], 78, "{state:#}");
    assert_eq!(
        state["trees"][1]["name"], "html",
        "the last word on the trees stands"
    );
    pair.write(Foo0, "hasync.toml", good);
    // A typing error in the name of the file is no fault of this node.
    let typo = pair
        .on(Foo0, &["cycle"])
        .arg("--config=/nonexistent/hasync.toml")
        .run();
    assert_ne!(typo.code, 0);
    pair.run(Foo0, &["recover"]).expect(0);
    assert!(file(&pair, Foo0)["fault"].is_null());
}

#[test]
fn a_role_that_cannot_be_told_is_a_fault_of_the_node() {
    let pair = mirrored("");
    let broken = "[role]\ncommand = \"echo; exit 1\"\nexpect = \"primary\"\n";
    pair.configure(broken);
    pair.run(Foo0, &["cycle"]).expect(11);
    let state = file(&pair, Foo0);
    assert_eq!(state["role"]["role"], "unknown", "{state:#}");
    let line = state["fault"]["line"].as_str().unwrap();
    assert!(
        line.contains("cannot tell the role by [role] command"),
        "{line}"
    );
    pair.run(Foo0, &["check"]).expect(2);
    pair.configure("");
    pair.run(Foo0, &["check"]).expect(0);
}

#[test]
fn the_last_cycle_and_the_peers_words_are_in_the_record() {
    let pair = mirrored("[cycle]\ninterval = \"10m\"\n");
    pair.run(Foo0, &["cycle"]).expect(0);
    let state = file(&pair, Foo0);
    let cycle = &state["last_cycle"];
    assert_eq!(
        (&cycle["exit"], &cycle["is_good"]),
        (&0.into(), &true.into())
    );
    assert!(cycle["share_percent"].as_u64().unwrap() < 50, "{cycle:#}");
    assert!(state["last_success"]["seconds"].is_u64());
    let html = &state["trees"][1];
    let peer = &html["peer"];
    assert_eq!(
        (&peer["node"], &peer["relation"]),
        (&"foo1".into(), &"equal".into())
    );
    assert_eq!(peer["head_id"], html["head"]["id"], "{html:#}");
    assert!(peer["free_bytes"].as_u64().unwrap() > 0 && html["space"]["free_bytes"].is_u64());
    assert_eq!(html["promotable"], true);
    // A failure is there until it is over.
    pair.set(Foo0, "port = ", "port = 1");
    pair.run(Foo0, &["cycle"]).expect(69);
    let state = file(&pair, Foo0);
    assert_eq!(state["last_cycle"]["exit"], 69, "{state:#}");
    assert_eq!(state["trees"][0]["last_failure"]["exit"], 69, "{state:#}");
    pair.configure("");
    pair.run(Foo0, &["cycle"]).expect(0);
    assert!(file(&pair, Foo0)["trees"][0]["last_failure"].is_null());
}
