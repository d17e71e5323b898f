//! What goes wrong between the nodes: names, ports, keys, programs, and peers that speak
//! garbage, fall silent or stop at any byte. Each its own code and one line that helps.

use std::net::TcpListener;
use std::path::Path;

use crate::support::hasync::FakeRsh;
use crate::support::{Finished, Hasync, Rng, Snapshot, Sshd, TempTree, rounds, versions};

/// A push of a small tree that never gets through.
fn push_to(options: &[String], target: &str) -> Finished {
    let trees = TempTree::new();
    trees.write("source/a", "new");
    let from = trees.contents_of("source");
    Hasync::push(&["-a"])
        .args(options)
        .arg(from)
        .arg(target)
        .run()
}

fn words(options: &[&str]) -> Vec<String> {
    options.iter().map(|&option| option.to_owned()).collect()
}

#[test]
fn name_that_does_not_resolve() {
    push_to(&[], "no-such-host.invalid:/tmp/x").expect_error(68, &["no-such-host.invalid"]);
}

#[test]
fn port_that_is_closed() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = words(&["--port", &port.to_string()]);
    push_to(&options, "127.0.0.1:/tmp/x").expect_error(69, &["127.0.0.1", &port.to_string()]);
}

#[test]
fn server_that_never_speaks() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let options = words(&["--port", &port, "--timeout=2"]);
    push_to(&options, "127.0.0.1:/tmp/x").expect_error(30, &["127.0.0.1"]);
}

#[test]
fn host_key_that_is_unknown_or_changed() {
    let sshd = Sshd::start();
    let trees = TempTree::new();
    trees.write("source/a", "new");
    trees.write("known/none", "");
    let other = std::fs::read_to_string(sshd.file("other_key.pub")).unwrap();
    trees.write(
        "known/changed",
        format!("[127.0.0.1]:{} {other}", sshd.port()),
    );
    for known in ["none", "changed"] {
        let file = trees.text(&format!("known/{known}"));
        sshd.push(
            &["-a", "--known-hosts", &file],
            &trees.contents_of("source"),
            &trees.path("t"),
        )
        .run()
        .expect(76)
        .stderr
        .contains("SHA256:")
        .then_some(())
        .expect("the fingerprint is shown");
        assert!(!trees.path("t").exists());
    }
}

#[test]
fn key_that_is_not_authorized() {
    let sshd = Sshd::start();
    let trees = TempTree::new();
    trees.write("source/a", "new");
    std::fs::write(sshd.file("authorized_keys"), "").unwrap();
    sshd.push(&["-a"], &trees.contents_of("source"), &trees.path("t"))
        .run()
        .expect_error(77, &["user_key"]);
}

#[test]
fn hasync_missing_on_the_peer() {
    let sshd = Sshd::start();
    let options = [sshd.options(), words(&["--remote-bin", "/no/such/hasync"])].concat();
    push_to(&options, "standby:/tmp/x").expect_error(127, &["hasync", "standby"]);
    let rsh = FakeRsh::plain();
    let options = words(&["-e", &rsh.path(), "--remote-bin", "/no/such/hasync"]);
    push_to(&options, "host:/tmp/x").expect_error(127, &["hasync"]);
}

#[test]
fn rsh_that_fails() {
    push_to(&words(&["-e", "false"]), "host:/tmp/x").expect_error(12, &[]);
    push_to(&words(&["-e", "/no/such/rsh"]), "host:/tmp/x").expect_error(78, &["/no/such/rsh"]);
}

#[test]
fn peer_that_speaks_garbage() {
    let scripts = [
        "echo 'Welcome to standby! Last login: today'; cat >/dev/null",
        "head -c 100000 /dev/urandom; cat >/dev/null",
        "head -c 100000 /dev/zero",
        "yes | head -c 1000000",
        "printf '\\377\\377\\377\\377\\377\\377\\377\\377'; cat >/dev/null",
        "exit 0",
        "kill -9 $$",
    ];
    for script in scripts {
        let rsh = FakeRsh::with_script(script);
        let done = push_to(&rsh.options(), "host:/tmp/hasync-never-made");
        done.expect_error(12, &[]);
    }
    assert!(!Path::new("/tmp/hasync-never-made").exists());
}

/// A far end that says something and then nothing, and never leaves: it is told by what it said,
/// however short, and nobody is waited for beyond the timeout.
#[test]
fn a_banner_and_silence() {
    for (banner, shown) in [
        ("Welcome to standby!\\n", "Welcome"),
        ("hi\\n", "hi"),
        ("x", "\"x\""),
        ("hasyn\\n", "hasyn"),
    ] {
        let script = format!("printf '{banner}'; exec 2>/dev/null; exec sleep 600");
        let rsh = FakeRsh::with_script(&script);
        let mut options = rsh.options();
        options.push("--timeout=2".to_owned());
        let done = push_to(&options, "host:/tmp/hasync-never-made");
        let done = done.expect_error(12, &["does not speak hasync's protocol", shown]);
        assert!(!done.stderr.contains("did not end"), "{done}");
    }
}

#[test]
fn peer_of_another_program() {
    let rsh = FakeRsh::with_script("exec rsync --server -logDtpre.iLsfxCIvu . /tmp/x 2>/dev/null");
    push_to(&rsh.options(), "host:/tmp/x").expect_error(12, &[]);
}

/// The far half's answer ends after N bytes, for many N: the push fails or, with all bytes
/// delivered, succeeds; the target is old or new file by file; the next push repairs.
#[test]
fn answer_that_ends_at_any_byte() {
    cut_at_many_places("answer cut after N bytes", |limit| {
        // dd passes every byte on at once, as head does not, and alone holds our stdout.
        format!(
            "mkfifo \"$0.fifo\"; dd bs=1 count={limit} status=none <\"$0.fifo\" & \
             exec sh -c \"$*\" >\"$0.fifo\""
        )
    });
}

/// The same for the bytes that reach the far half.
#[test]
fn request_that_ends_at_any_byte() {
    cut_at_many_places("request cut after N bytes", |limit| {
        format!("dd bs=1 count={limit} status=none | sh -c \"$*\"")
    });
}

fn cut_at_many_places(campaign: &str, script: impl Fn(usize) -> String) {
    let count = rounds(campaign, 60, 3000);
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    versions::write_tree(&source, 30, 1, 30);
    let push = |rsh: &FakeRsh| {
        let target = format!("host:{}", trees.text("target"));
        let from = trees.contents_of("source");
        Hasync::push(&["-a", "--delete", "--timeout=20"])
            .args(rsh.options())
            .arg(from)
            .arg(target)
    };
    let plain = FakeRsh::plain();
    push(&plain).run().expect(0);
    let mut rng = Rng::new(3);
    let mut failures = 0;
    for round in 0..count {
        let old = Snapshot::of(&trees.path("target"));
        let version = 2 + u32::try_from(round).unwrap();
        versions::write_tree(&source, 30, version, 30 + round % 2);
        let new = Snapshot::of(&source);
        // The first bytes one by one, then anywhere.
        let limit = if round < count / 2 {
            round
        } else {
            rng.below(4000)
        };
        let done = push(&FakeRsh::with_script(&script(limit))).run();
        if done.code != 0 {
            failures += 1;
            done.expect_error(12, &[]);
        }
        versions::assert_old_or_new(&Snapshot::of(&trees.path("target")), &old, &new);
        push(&plain).run().expect(0);
        let there = Snapshot::of(&trees.path("target"));
        assert!(
            there.litter().is_empty(),
            "left behind: {:?}",
            there.litter()
        );
        new.assert_same(&there);
    }
    assert!(
        failures > count / 4,
        "only {failures} of {count} pushes were cut"
    );
}
