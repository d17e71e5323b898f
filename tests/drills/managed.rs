//! The drills that a cluster manager plays: it decides who has the service, asynchronously and,
//! when the nodes cannot hear each other, wrongly. A few run always, the others with `--soak`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::cluster::Manager::{self, Heartbeat, Keepalived, Pacemaker};
use crate::support::cluster::{self, Member};
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::service::BY_ADDRESS;
use crate::support::{report, soak};

/// Far more than any of them takes to decide.
const WAIT: Duration = Duration::from_secs(90);

/// A pair under a manager.
struct Stage {
    manager: Manager,
    pair: Pair,
    foo0: Option<Member>,
    foo1: Option<Member>,
    /// A node is down.
    is_parted: bool,
}

impl Stage {
    /// Both nodes run, foo0 has the service, foo1 is equal.
    fn mirrored(manager: Manager) -> Self {
        let cycle = "[cycle]\ninterval = \"2s\"\nlast_push = \"20s\"\n";
        let pair = Pair::in_namespaces(&format!("{BY_ADDRESS}{cycle}"));
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        let mut stage = Stage {
            manager,
            pair,
            foo0: None,
            foo1: None,
            is_parted: false,
        };
        stage.boots(Foo0);
        stage.boots(Foo1);
        stage.await_primary(Foo0);
        stage.await_cycle(Foo0);
        stage.pair.assert_equal();
        stage
    }

    fn member(&mut self, node: Node) -> &mut Option<Member> {
        match node {
            Foo0 => &mut self.foo0,
            Foo1 => &mut self.foo1,
        }
    }

    fn boots(&mut self, node: Node) {
        if std::mem::take(&mut self.is_parted) {
            self.pair.net.as_ref().unwrap().join();
        }
        let member = Member::start(self.manager, &self.pair, node);
        *self.member(node) = Some(member);
    }

    fn crashes(&mut self, node: Node) {
        let member = self.member(node).take().unwrap();
        member.crash(&self.pair, node);
        // What else runs there is not reached.
        self.pair.net.as_ref().unwrap().part();
        self.is_parted = true;
    }

    /// What the unit does before anything else, in another boot than that of the crash.
    fn recovers_at_boot(&mut self, node: Node) {
        if std::mem::take(&mut self.is_parted) {
            self.pair.net.as_ref().unwrap().join();
        }
        let done = cluster::in_boot(&self.pair, node, &["recover"]);
        assert!(done.stdout_text().contains("is its standby now"), "{done}");
    }

    fn stops(&mut self, node: Node) {
        let member = self.member(node).take().unwrap();
        member.ask_to_stop();
        self.awaits("the manager has stopped", |_| member.has_stopped());
    }

    fn await_primary(&self, node: Node) {
        let what = format!("{} has service and mirror", node.name());
        self.awaits(&what, |pair| {
            pair.serves(node) && pair.run(node, &["mirror", "status"]).code == 0
        });
    }

    /// The cycle that cron would start, until one is done whole.
    fn await_cycle(&self, node: Node) {
        let what = format!("{} pushes", node.name());
        self.awaits(&what, |pair| {
            pair.in_its_boot(node, &["cycle"]).run().code == 0
                && pair.html(Foo0).diff(&pair.html(Foo1)).is_empty()
        });
    }

    #[track_caller]
    fn awaits(&self, what: &str, holds: impl Fn(&Pair) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(&self.pair) {
            if Instant::now() > deadline {
                let diff = self.pair.html(Foo0).diff(&self.pair.html(Foo1));
                let status = |node| self.pair.run(node, &["status"]);
                let log = |member: &Option<Member>| member.as_ref().map(Member::log);
                panic!(
                    "{:?}, not in time: {what}\n{diff}\n{}{}\n{:?}\n{:?}",
                    self.manager,
                    status(Foo0),
                    status(Foo1),
                    log(&self.foo0),
                    log(&self.foo1)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What no cycle has seen goes with the last push, whether the manager waits for it or not.
fn a_switchover(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage
        .pair
        .write(Foo0, "html/late", "written while the service ran");
    stage.stops(Foo0);
    stage.await_primary(Foo1);
    assert_eq!(
        stage.pair.read(Foo1, "html/late"),
        "written while the service ran"
    );
    stage.boots(Foo0);
    stage.pair.write(Foo1, "html/from-foo1", "x");
    stage.await_cycle(Foo1);
    stage.pair.assert_equal();
}

/// A node that crashed has what the last cycle had; it comes back as standby by itself, and what it
/// had alone is kept.
fn a_crash_and_the_return(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.pair.write(Foo0, "html/lost", "x");
    stage.crashes(Foo0);
    stage.await_primary(Foo1);
    assert!(!stage.pair.path(Foo1, "html/lost").exists());
    stage.pair.write(Foo1, "html/after", "y");
    stage.recovers_at_boot(Foo0);
    stage.boots(Foo0);
    stage.await_cycle(Foo1);
    assert!(!stage.pair.path(Foo0, "html/lost").exists());
    let undone = stage.pair.run(Foo0, &["undo", "html", "-nv"]).expect(0);
    assert!(undone.stdout_text().contains("restored   lost"), "{undone}");
}

/// The manager moves the service back as soon as the preferred node is there: nothing that was
/// written meanwhile is covered by what that node had when it crashed.
fn a_failback_by_itself(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.crashes(Foo0);
    stage.await_primary(Foo1);
    stage.pair.write(Foo1, "html/after", "y");
    // As the unit does it at boot, before the manager.
    stage.recovers_at_boot(Foo0);
    stage.boots(Foo0);
    stage.await_primary(Foo0);
    assert_eq!(stage.pair.read(Foo0, "html/after"), "y");
    stage.await_cycle(Foo0);
    stage.pair.assert_equal();
}

/// Without fencing both have the service while they cannot hear each other. Afterwards either way
/// out that is printed leads out.
fn a_partition_without_fencing(manager: Manager) {
    let stage = Stage::mirrored(manager);
    let net = stage.pair.net.as_ref().unwrap();
    net.part();
    stage.awaits("foo1 has the service too", |pair| {
        pair.serves(Foo1) && pair.run(Foo1, &["mirror", "status"]).code == 0
    });
    stage.pair.write(Foo0, "html/index.html", "of foo0");
    stage.pair.write(Foo1, "html/index.html", "of foo1");
    net.join();
    stage.awaits("one of them has the service", |pair| {
        pair.serves(Foo0) != pair.serves(Foo1)
    });
    let holder = if stage.pair.serves(Foo0) { Foo0 } else { Foo1 };
    stage.awaits("they are found to have diverged", |pair| {
        [80, 81].contains(&pair.run(holder, &["push", "--tree", "html"]).code)
    });
    let before = [Foo0, Foo1].map(|node| stage.pair.read(node, "html/index.html"));
    assert_eq!(before, ["of foo0", "of foo1"], "nothing was replaced");
    super::scene::keep(&stage.pair, holder, holder);
    stage.await_cycle(holder);
    let kept = format!("of {}", holder.name());
    assert_eq!(stage.pair.read(holder.other(), "html/index.html"), kept);
}

type Drill = (&'static str, fn(Manager));

const DRILLS: [Drill; 4] = [
    ("a switchover", a_switchover),
    ("a crash and the return", a_crash_and_the_return),
    ("a failback by itself", a_failback_by_itself),
    ("a partition without fencing", a_partition_without_fencing),
];

/// Plays the drills of one manager; `always` says which of them in a normal run.
fn play(manager: impl Fn(bool) -> Manager, always: &[&str]) {
    // Each goes by the time that its peer takes to answer.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, drill) in DRILLS {
        let fails_back = name == "a failback by itself";
        let manager = manager(fails_back);
        if fails_back && manager == Pacemaker {
            // Its stickiness keeps the service where it is.
            continue;
        }
        if soak() || always.contains(&name) {
            report(&format!("drill with {manager:?}: {name}"));
            drill(manager);
        } else {
            report(&format!(
                "drill with {manager:?}: {name}: with --soak alone"
            ));
        }
    }
}

#[test]
fn heartbeat_plays() {
    let always = ["a switchover", "a crash and the return"];
    play(|fails_back| Heartbeat { fails_back }, &always);
}

#[test]
fn keepalived_plays() {
    play(|fails_back| Keepalived { fails_back }, &["a switchover"]);
}

#[test]
fn pacemaker_plays() {
    play(|_| Pacemaker, &[]);
}
