//! A node that is its own peer, by whatever way it gets to itself, and a machine that was cloned
//! with its state: refused with the line to correct, and nothing is pushed, promoted or waited for.

use std::os::unix::fs::PermissionsExt;

use crate::support::own_server::OwnServer;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot};

/// What every refusal says besides where to correct it.
const WORDS: [&str; 3] = [
    "the peer is this node itself, by the identity in ",
    "/state/node-id",
    "cloned with its state, remove that file on the clone",
];

fn filled() -> Pair {
    let pair = Pair::here("");
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair
}

/// The way to the peer leads back to foo0, as if the same file lay on both nodes.
fn own_peer() -> Pair {
    let pair = filled();
    let own = pair.path(Foo0, "hasync").display().to_string();
    pair.set(Foo0, "remote_bin", &format!("remote_bin = \"{own}\""));
    pair
}

/// Where the host of the peer stands, as messages about the configuration name lines.
fn host_line(pair: &Pair, node: Node) -> String {
    let file = pair.path(node, "hasync.toml");
    let text = pair.read(node, "hasync.toml");
    let line = text.lines().position(|line| line.starts_with("host = "));
    format!("{}:{}: [peer] host \"", file.display(), line.unwrap() + 1)
}

#[track_caller]
fn refused(done: &Finished, said_by: &str) {
    for words in WORDS.into_iter().chain([said_by]) {
        assert!(done.stderr.contains(words), "{words:?} is not said\n{done}");
    }
}

#[test]
fn each_verb_that_asks_the_peer_refuses_the_own_node() {
    let pair = own_peer();
    let id = "0123456789abcdef0123456789abcdef";
    let verbs: [&[&str]; 6] = [
        &["push", "--all"],
        &["push", "--tree", "html", "-n"],
        &["cycle"],
        &["plan"],
        &["diverged", "html"],
        &["adopt", "html", "--from", "foo0", "--generation", id],
    ];
    for verb in verbs {
        if verb == ["cycle"] {
            pair.run(Foo0, &["promote", "--all"]).expect(0);
        }
        let before = Snapshot::of(&pair.path(Foo0, "html"));
        let done = pair.run(Foo0, verb).expect(78);
        refused(&done, &host_line(&pair, Foo0));
        let after = Snapshot::of(&pair.path(Foo0, "html"));
        assert_eq!(after.diff(&before), "", "{verb:?}");
    }
    // A node that hands over does so, whatever its last push comes to.
    let done = pair.run(Foo0, &["mirror", "stop"]).expect(0);
    refused(&done, &host_line(&pair, Foo0));
    let log = pair.run(Foo0, &["log", "html"]).expect(0).stdout_text();
    assert!(
        log.lines().all(|line| line.contains(" promotion by ")),
        "{log}"
    );
}

#[test]
fn by_any_name_and_over_any_transport_it_is_the_own_node() {
    let pair = own_peer();
    let text = pair.read(Foo0, "hasync.toml");
    let known = text
        .lines()
        .find_map(|line| line.strip_prefix("known_hosts = "));
    let keys = std::fs::read_to_string(known.unwrap().trim_matches('"')).unwrap();
    let (place, key) = keys.trim().split_once(' ').unwrap();
    let port = place.rsplit(':').next().unwrap();
    pair.write(Foo0, "known", format!("[localhost]:{port},another {key}\n"));
    pair.write(
        Foo0,
        "ssh_config",
        "Host another\nHostName 127.0.0.1\nHostKeyAlias another\n",
    );
    for (key, file) in [("known_hosts", "known"), ("ssh_config", "ssh_config")] {
        let path = pair.path(Foo0, file).display().to_string();
        pair.set(Foo0, key, &format!("{key} = \"{path}\""));
    }
    for host in ["localhost", "another"] {
        pair.set(Foo0, "host", &format!("host = \"{host}\""));
        let done = pair.run(Foo0, &["push", "--all"]).expect(78);
        refused(&done, &format!("{}{host}\"", host_line(&pair, Foo0)));
        // What was typed is not to be corrected in the file.
        let typed = pair.run(Foo0, &["push", "--all", host]).expect(78);
        refused(&typed, &format!("HOST \"{host}\": "));
        assert!(!typed.stderr.contains("hasync.toml:"), "{typed}");
    }
    pair.write(Foo0, "rsh", "#!/bin/sh\nshift\nexec \"$@\"\n");
    let rsh = pair.path(Foo0, "rsh");
    std::fs::set_permissions(&rsh, PermissionsExt::from_mode(0o755)).unwrap();
    let rsh = rsh.display().to_string();
    let done = pair.run(Foo0, &["push", "--all", "-e", &rsh]).expect(78);
    refused(&done, &host_line(&pair, Foo0));
}

#[test]
fn over_its_own_server_it_is_the_own_node() {
    let pair = filled();
    let config = pair.path(Foo0, "hasync.toml").display().to_string();
    let server = OwnServer::with(&["--config", &config, "--root", "/"]);
    for (key, value) in [
        ("port", server.port().to_owned()),
        ("identity", format!("\"{}\"", server.text("user_key"))),
        ("known_hosts", format!("\"{}\"", server.text("known_hosts"))),
    ] {
        pair.set(Foo0, key, &format!("{key} = {value}"));
    }
    for verb in [&["push", "--all"][..], &["diverged"]] {
        let done = pair.run(Foo0, verb).expect(78);
        refused(&done, &host_line(&pair, Foo0));
    }
}

#[test]
fn a_push_without_a_name_may_go_to_the_own_node() {
    let pair = own_peer();
    let text = pair.read(Foo0, "hasync.toml");
    let setting = |key: &str| {
        let start = format!("{key} = ");
        let found = text.lines().find_map(|line| line.strip_prefix(&start));
        found.unwrap().trim_matches('"').to_owned()
    };
    let target = format!("127.0.0.1:{}/", pair.path(Foo0, "copy").display());
    let source = format!("{}/", pair.path(Foo0, "html").display());
    let words = ["push", "-a", "--port"];
    let words = words.map(str::to_owned).into_iter().chain([
        setting("port"),
        "--identity".to_owned(),
        setting("identity"),
        "--known-hosts".to_owned(),
        setting("known_hosts"),
        "--remote-bin".to_owned(),
        setting("remote_bin"),
        source,
        target,
    ]);
    Hasync::new().args(words).run().expect(0);
    assert_eq!(pair.read(Foo0, "copy/index.html"), "one");
}

#[test]
fn a_clone_is_told_and_goes_on_without_the_identity() {
    let pair = filled();
    pair.run(Foo0, &["push", "--all"]).expect(0);
    // The standby is made anew as an image of the primary.
    for part in ["state", "html", "etc"] {
        let (from, to) = (pair.path(Foo0, part), pair.path(Foo1, part));
        std::fs::remove_dir_all(&to).unwrap();
        run_ok(
            "cp",
            &["-a", &from.display().to_string(), &to.display().to_string()],
        );
    }
    for verb in [&["push", "--all"][..], &["diverged"], &["plan"]] {
        let done = pair.run(Foo0, verb).expect(78);
        refused(&done, &host_line(&pair, Foo0));
    }
    // As the message has it.
    std::fs::remove_file(pair.path(Foo1, "state/node-id")).unwrap();
    pair.run(Foo1, &["demote", "--all"]).expect(0);
    pair.write(Foo0, "html/index.html", "two is longer");
    pair.run(Foo0, &["push", "--all"]).expect(0);
    pair.assert_equal();
    let id = |node| pair.read(node, "state/node-id");
    assert_ne!(id(Foo0), id(Foo1));
}

#[test]
fn an_identity_is_made_once_and_missed_by_nobody() {
    let pair = filled();
    pair.run(Foo0, &["push", "--all"]).expect(0);
    let id = |node| pair.read(node, "state/node-id");
    let before = (id(Foo0), id(Foo1));
    pair.run(Foo0, &["push", "--all"]).expect(0);
    assert_eq!((id(Foo0), id(Foo1)), before);
    for node in [Foo0, Foo1] {
        let meta = std::fs::metadata(pair.path(node, "state/node-id")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o600);
        std::fs::remove_file(pair.path(node, "state/node-id")).unwrap();
        pair.run(Foo0, &["push", "--all"]).expect(0);
    }
    assert!(id(Foo0) != before.0 && id(Foo1) != before.1);
    for node in [Foo0, Foo1] {
        let good = id(node);
        for damaged in ["", "\n", "x", &good[..20], &good.repeat(2)] {
            pair.write(node, "state/node-id", damaged);
            let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(11);
            let words = format!("{}/state/node-id\" does not hold", node.name());
            assert!(done.stderr.contains(&words), "{damaged:?}\n{done}");
        }
        pair.write(node, "state/node-id", good);
    }
    pair.run(Foo0, &["push", "--all"]).expect(0);
}
