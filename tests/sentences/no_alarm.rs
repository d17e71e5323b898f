//! What is refused, or finds nothing to do, is answered to whoever typed it. It leaves no alarm, it
//! silences none, and it announces nothing that does not happen.

use super::*;

/// A command line that changes nothing.
struct Typed {
    on: Node,
    words: &'static [&'static str],
    code: i32,
    /// It is said.
    says: &'static str,
}

const fn typed(on: Node, words: &'static [&'static str], code: i32, says: &'static str) -> Typed {
    Typed {
        on,
        words,
        code,
        says,
    }
}

const PUSH: [&str; 3] = ["push", "--tree", "html"];

/// foo0 has the service and pushes, foo1 is equal.
const TYPED: &[Typed] = &[
    // On the wrong node.
    typed(Foo1, &PUSH, 80, "this node is a standby of tree html"),
    typed(Foo1, &["push", "--all"], 80, "this node is a standby"),
    typed(Foo1, &["push", "-n", "--all"], 80, "this node is a standby"),
    typed(
        Foo1,
        &["promote", "html"],
        80,
        "foo0 is primary of tree html",
    ),
    typed(
        Foo1,
        &["promote", "--all"],
        80,
        "foo0 is primary of tree html",
    ),
    typed(
        Foo1,
        &["mirror", "start"],
        1,
        "foo0 is primary of tree html",
    ),
    typed(
        Foo1,
        &["mirror", "restart"],
        1,
        "foo0 is primary of tree html",
    ),
    typed(Foo1, &["cycle"], 0, ""),
    // By another way than the mirror's.
    typed(
        Foo0,
        &["push", "--tree", "html", "127.0.0.1", "--port", "1"],
        69,
        "127.0.0.1",
    ),
    typed(
        Foo0,
        &["push", "--all", "no-such-host.invalid"],
        68,
        "no-such-host.invalid",
    ),
    typed(Foo0, &["push", "--all", "--identity", "/dev/null"], 77, ""),
    typed(
        Foo0,
        &["push", "--all", "--known-hosts", "/dev/null"],
        76,
        "host key",
    ),
    typed(
        Foo0,
        &["push", "--all", "--remote-bin", "/nonexistent"],
        127,
        "/nonexistent",
    ),
    // What is so already.
    typed(Foo0, &["promote", "--all"], 0, "html: primary, epoch 1"),
    typed(Foo0, &["mirror", "start"], 0, ""),
    typed(Foo0, &["recover"], 0, "html: nothing to recover"),
    typed(Foo0, &PUSH, 0, "html: unchanged"),
    typed(Foo1, &["demote", "--all"], 0, "html: standby"),
    typed(Foo1, &["mirror", "stop"], 0, ""),
    typed(Foo1, &["recover"], 0, "html: nothing to recover"),
    typed(
        Foo1,
        &["adopt", "--all", "--from", "foo0"],
        0,
        "html: nothing to give up",
    ),
    typed(
        Foo0,
        &["adopt", "--all", "--from", "foo1"],
        0,
        "html: nothing to give up",
    ),
    // What is not there.
    typed(
        Foo1,
        &["undo", "html"],
        1,
        "is the first, there is nothing to undo",
    ),
    typed(
        Foo1,
        &["undo", "html", "-n"],
        1,
        "is the first, there is nothing to undo",
    ),
    typed(Foo1, &["undo", "html", "--path", "x"], 1, ""),
    typed(
        Foo1,
        &["undo", "html", "--to", "9"],
        1,
        "has no generation 9",
    ),
    typed(
        Foo1,
        &["undo", "html", "--forget", "1"],
        1,
        "nothing of tree html is kept",
    ),
    typed(Foo0, &["push", "--tree", "nope"], 78, "nope"),
    typed(Foo1, &["promote", "nope"], 78, "nope"),
    typed(
        Foo1,
        &[
            "adopt",
            "html",
            "--from",
            "foo0",
            "--generation",
            "00000000",
        ],
        3,
        "nothing was",
    ),
];

#[test]
fn what_is_refused_or_changes_nothing_leaves_no_alarm() {
    let mut pair = Pair::here("");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    by_role(&mut pair, "1h");
    pair.serve(Foo0, true);
    pair.write(Foo0, "html/index.html", "one");
    pair.run(Foo0, &["cycle"]).expect(0);
    await_level(&pair, Foo1, OK);
    let before = [Foo0, Foo1].map(|node| stands(&pair, node));
    let mut wrong = Vec::new();
    let mut look = |words: &str, done: &Finished, says: &str| {
        let said = format!("{}{}", done.stdout_text(), done.stderr);
        if !said.contains(says) || said.contains("the mirror stops") {
            wrong.push(format!("{words} says\n{done}"));
        }
        for (node, before) in [Foo0, Foo1].into_iter().zip(&before) {
            let (check, now) = (pair.run(node, &["check"]), stands(&pair, node));
            if check.code != OK || now != *before {
                wrong.push(format!("{words}: {check}{before:#} became {now:#}"));
            }
        }
    };
    for Typed {
        on,
        words,
        code,
        says,
    } in TYPED
    {
        let done = pair.run(*on, words);
        let line = format!("{} {}", on.name(), words.join(" "));
        let is_as_told = done.code == *code;
        look(&line, &done, says);
        assert!(is_as_told, "{line}: {done}");
    }
    // The data of the peer that is here already.
    let id = json(&pair, Foo0)["trees"][0]["head"]["id"].clone();
    let words = ["adopt", "html", "--from", "foo0", "--generation"];
    let done = pair.run(Foo1, &[&words[..], &[id.as_str().unwrap()]].concat());
    look("adopt by its id", &done, "nothing to give up");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A role that does not fit is told all the same after a command that has changed nothing.
#[test]
fn what_changes_nothing_silences_no_alarm() {
    let mut pair = Pair::here("");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    by_role(&mut pair, "1h");
    pair.serve(Foo0, true);
    mirrored(&mut pair);
    pair.serve(Foo0, false);
    pair.serve(Foo1, true);
    for (on, words) in [
        (Foo0, &["promote", "html"][..]),
        (Foo0, &["promote", "html", "--force"]),
        (Foo1, &["demote", "html"]),
        (Foo1, &["mirror", "stop"]),
    ] {
        pair.run(on, words);
        pair.run(on, &["check", "html"]).expect(WARNING);
        assert_eq!(json(&pair, on)["trees"][0]["condition"], "mismatch");
    }
}

/// A standby that may say that the mirror stops, and then does it.
#[test]
fn an_undo_on_the_standby_says_so_before_if_it_can_be_done() {
    let mut pair = Pair::here("");
    mirrored(&mut pair);
    pair.write(Foo0, "html/index.html", "two");
    push(&pair, Foo0, 0);
    let tries = |words: &[&str], code: i32, says: Option<&str>| {
        let done = pair.run(Foo1, words).expect(code);
        let said = done.stdout_text();
        let first = said.lines().next().unwrap_or_default();
        match says {
            Some(says) => assert!(first.contains(says), "{done}"),
            None => assert!(!said.contains("the mirror"), "{done}"),
        }
    };
    tries(&["undo", "html", "-n"], 0, Some("the mirror would stop"));
    // Somebody else has written there, or it is as it was.
    tries(&["undo", "html", "--path", "nope"], 1, None);
    pair.write(Foo1, "html/index.html", "three");
    tries(&["undo", "html"], 3, None);
    pair.write(Foo0, "html/other", "x");
    push(&pair, Foo0, 0);
    tries(&["undo", "html"], 0, Some("the mirror stops"));
}

/// The state of a node but for what the time changes.
fn stands(pair: &Pair, node: Node) -> Value {
    let done = pair.run(node, &["status", "--json"]);
    let mut state: Value = serde_json::from_slice(&done.stdout).unwrap();
    for key in ["written", "last_cycle", "last_success"] {
        state[key] = Value::Null;
    }
    for tree in state["trees"].as_array_mut().unwrap() {
        for key in [
            "as_of",
            "lag_seconds",
            "peer",
            "space",
            "sentence",
            "promotable_reason",
            "bytes",
        ] {
            tree[key] = Value::Null;
        }
        if tree["head"].is_object() {
            tree["head"]["as_of"] = Value::Null;
        }
    }
    state
}
