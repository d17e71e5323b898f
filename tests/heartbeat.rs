//! heartbeat v1 decides who is primary, hasync makes it so for the trees: a switchover loses
//! nothing, a crash at most what the lag said, and the healed old primary is refused.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::heartbeat::{Heartbeat, SERVICE};
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;

/// Far more than heartbeat takes to decide.
const WAIT_SECONDS: u64 = 60;

#[test]
fn heartbeat_moves_the_mirror() {
    let pair = Pair::in_namespaces(&format!(
        "[role]\naddress = \"{SERVICE}\"\n[cycle]\ninterval = \"2s\"\n"
    ));
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    let (foo0, foo1) = (Heartbeat::start(&pair, Foo0), Heartbeat::start(&pair, Foo1));
    await_mirror(&pair, Foo0, &[&foo0, &foo1]);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.assert_equal();

    // A switchover: what no cycle has seen goes with the last push.
    pair.write(Foo0, "html/late", "written while the service ran");
    foo0.ask_to_stop();
    await_mirror(&pair, Foo1, &[&foo0, &foo1]);
    assert_eq!(
        pair.read(Foo1, "html/late"),
        "written while the service ran"
    );
    await_that("foo0 has stopped", &[&foo0], || foo0.has_stopped());
    drop(foo0);
    let foo0 = Heartbeat::start(&pair, Foo0);
    pair.write(Foo1, "html/from-foo1", "x");
    pair.run(Foo1, &["cycle"]).expect(0);
    pair.assert_equal();

    // A crash: foo0 has what the last cycle had, and nothing else.
    pair.write(Foo1, "html/lost", "x");
    thread::sleep(Duration::from_secs(6));
    foo1.crash();
    await_mirror(&pair, Foo0, &[&foo0]);
    assert!(!pair.path(Foo0, "html/lost").exists());
    assert_eq!(pair.read(Foo0, "html/from-foo1"), "x");
    pair.write(Foo0, "html/after", "y");

    // foo1 heals: its address was left over and goes, what it pushes is refused.
    let net = pair.net.as_ref().unwrap();
    let launcher = net.on_standby();
    let words = [
        "ip",
        "addr",
        "del",
        &format!("{SERVICE}/24"),
        "dev",
        "link0",
    ];
    run_ok(launcher[0], &[&launcher[1..], &words].concat());
    let foo1 = Heartbeat::start(&pair, Foo1);
    pair.run(Foo1, &["push", "--all"]).expect(80);
    pair.run(Foo1, &["cycle"]).expect(0);
    assert!(pair.path(Foo0, "html/after").exists());
    pair.run(Foo1, &["demote", "--all"]).expect(0);
    await_that("foo0 pushes", &[&foo0, &foo1], || {
        pair.run(Foo0, &["cycle"]).code == 0 && pair.path(Foo1, "html/after").exists()
    });
    pair.assert_equal();
}

/// Waits until `node` is primary, as heartbeat sees it.
fn await_mirror(pair: &Pair, node: Node, beats: &[&Heartbeat]) {
    let what = format!("{} runs the mirror", node.name());
    await_that(&what, beats, || {
        pair.run(node, &["mirror", "status"]).code == 0
    });
}

fn await_that(what: &str, beats: &[&Heartbeat], holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS);
    while !holds() {
        if Instant::now() >= deadline {
            let logs: Vec<_> = beats.iter().map(|beat| beat.log()).collect();
            panic!("not in time: {what}\n{}", logs.join("\n----\n"));
        }
        thread::sleep(Duration::from_millis(100));
    }
}
