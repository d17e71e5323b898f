//! The drills that a cluster manager plays: it decides who has the service, asynchronously and,
//! when the nodes cannot hear each other, wrongly. A few run always, the others with `--soak`. The
//! configurations of keepalived and Pacemaker are those of the examples.

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
    /// The node whose power is cut when the other asks for it.
    victim: Option<Node>,
}

impl Stage {
    /// Both nodes run, foo0 has the service, foo1 is equal.
    fn mirrored(manager: Manager) -> Self {
        let cycle = "[cycle]\ninterval = \"2s\"\nlast_push = \"20s\"\n";
        // Under Pacemaker the cluster decides.
        let role = match manager {
            Pacemaker { .. } => "",
            _ => BY_ADDRESS,
        };
        let pair = Pair::in_namespaces(&format!("{role}{cycle}"));
        pair.write(Foo0, "html/index.html", "one");
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        if !matches!(manager, Heartbeat { .. }) {
            // As the examples have it, on the node with the data, before the cluster starts.
            pair.run(Foo0, &["promote", "--all"]).expect(0);
            pair.run(Foo0, &["push", "--all"]).expect(0);
        }
        let mut stage = Stage {
            manager,
            pair,
            foo0: None,
            foo1: None,
            is_parted: false,
            victim: None,
        };
        stage.boots(Foo0);
        if matches!(manager, Keepalived { .. }) {
            // Whoever is first keeps the service.
            stage.await_primary(Foo0);
        }
        stage.boots(Foo1);
        stage.await_members();
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
        self.victim = Some(node);
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

    /// Both nodes are members of one cluster: what one decides before that, it decides alone.
    fn await_members(&mut self) {
        let (foo0, foo1) = (self.foo0.take(), self.foo1.take());
        if matches!(self.manager, Pacemaker { .. }) {
            let has_joined = |member: &Option<Member>| member.as_ref().unwrap().has_joined();
            self.awaits("both have joined", |_| {
                has_joined(&foo0) && has_joined(&foo1)
            });
        }
        (self.foo0, self.foo1) = (foo0, foo1);
    }

    fn await_primary(&mut self, node: Node) {
        let what = format!("{} has service and mirror", node.name());
        self.awaits(&what, |pair| {
            pair.serves(node) && pair.run(node, &["mirror", "status"]).code == 0
        });
    }

    /// The cycle that cron would start, until one is done whole.
    fn await_cycle(&mut self, node: Node) {
        let what = format!("{} pushes", node.name());
        self.awaits(&what, |pair| {
            pair.in_its_boot(node, &["cycle"]).run().code == 0
                && pair.html(Foo0).diff(&pair.html(Foo1)).is_empty()
        });
    }

    /// Does what the fencing device asks for.
    fn cut_power(&mut self) {
        let asked = |node: Node| format!("power/fence-{}", node.name());
        if let Some(node) = self.victim
            && self.pair.dir.path(asked(node)).exists()
        {
            self.victim = None;
            // What crashed has no power to lose.
            if let Some(member) = self.member(node).take() {
                member.crash(&self.pair, node);
            }
            for node in [node.other(), node] {
                let _ = std::fs::remove_file(self.pair.dir.path(asked(node)));
            }
        }
    }

    #[track_caller]
    fn awaits(&mut self, what: &str, holds: impl Fn(&Pair) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(&self.pair) {
            self.cut_power();
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
    if !matches!(manager, Pacemaker { .. }) {
        stage.recovers_at_boot(Foo0);
    }
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
    let mut stage = split(manager);
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

/// The same under Pacemaker, which goes by the order of generations then: who was promoted last
/// keeps the service, and what the other one has alone is kept.
fn a_healed_partition(manager: Manager) {
    let mut stage = split(manager);
    stage.awaits("foo1 alone has the service", |pair| {
        // As cron starts them.
        for node in [Foo0, Foo1] {
            pair.in_its_boot(node, &["cycle"]).run();
        }
        let is_primary = |node| pair.run(node, &["mirror", "status"]).code == 0;
        pair.serves(Foo1) && !pair.serves(Foo0) && is_primary(Foo1) && !is_primary(Foo0)
    });
    stage.await_cycle(Foo1);
    assert_eq!(stage.pair.read(Foo0, "html/index.html"), "of foo1");
    let status = stage.pair.run(Foo0, &["status"]).expect(0).stdout_text();
    assert!(status.contains("kept:"), "{status}");
}

/// Both have the service, and can hear each other again.
fn split(manager: Manager) -> Stage {
    let mut stage = Stage::mirrored(manager);
    stage.pair.net.as_ref().unwrap().part();
    stage.awaits("foo1 has the service too", |pair| {
        pair.serves(Foo1) && pair.run(Foo1, &["mirror", "status"]).code == 0
    });
    stage.pair.write(Foo0, "html/index.html", "of foo0");
    stage.pair.write(Foo1, "html/index.html", "of foo1");
    stage.pair.net.as_ref().unwrap().join();
    stage
}

/// With fencing the node that loses its power is not there when the other is promoted.
fn a_partition_with_fencing(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.pair.write(Foo0, "html/unsent", "x");
    stage.victim = Some(Foo0);
    stage.pair.net.as_ref().unwrap().part();
    stage.is_parted = true;
    stage.await_primary(Foo1);
    assert!(stage.foo0.is_none(), "it was fenced before");
    stage.pair.write(Foo1, "html/after", "y");
    stage.boots(Foo0);
    stage.await_cycle(Foo1);
    assert!(!stage.pair.path(Foo0, "html/unsent").exists());
    let undone = stage.pair.run(Foo0, &["undo", "html", "-nv"]).expect(0);
    assert!(undone.stdout_text().contains("unsent"), "{undone}");
}

/// A node that was away while the other one went on, and then lost its power, is not promoted by
/// itself; when the other is back, that is.
fn a_stale_standby(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.stops(Foo1);
    stage.pair.write(Foo0, "html/missed", "x");
    stage.crashes(Foo0);
    stage.boots(Foo1);
    let foo1 = stage.foo1.take().unwrap();
    stage.awaits("the cluster says why foo1 is not promoted", |_| {
        foo1.cluster_says("this node is not to be promoted")
            || foo1.cluster_says("has not handed over")
    });
    let is_primary = stage.pair.run(Foo1, &["mirror", "status"]).code == 0;
    assert!(!is_primary && !stage.pair.serves(Foo1));
    stage.foo1 = Some(foo1);
    stage.boots(Foo0);
    stage.await_primary(Foo0);
    stage.await_cycle(Foo0);
    assert_eq!(stage.pair.read(Foo1, "html/missed"), "x");
}

/// The power of both is lost: who was primary last is again.
fn a_power_loss_of_both(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.pair.write(Foo0, "html/unsent", "x");
    stage.crashes(Foo1);
    stage.crashes(Foo0);
    stage.boots(Foo1);
    stage.boots(Foo0);
    stage.await_primary(Foo0);
    stage.await_cycle(Foo0);
    assert_eq!(stage.pair.read(Foo1, "html/unsent"), "x");
}

/// The service moves although the last push failed, and the cluster shows that.
fn a_failed_last_push(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    stage.pair.write(Foo0, "html/unsent", "x");
    // Nobody listens there: the nodes hear each other, and nothing is pushed.
    let port = stage.pair.read(Foo0, "hasync.toml");
    stage
        .pair
        .write(Foo0, "hasync.toml", port.replace("port = 2222", "port = 1"));
    let foo0 = stage.foo0.take().unwrap();
    foo0.run(
        "cp",
        &[
            &stage.pair.path(Foo0, "hasync.toml").display().to_string(),
            "/run/hasync.toml",
        ],
    );
    foo0.run(
        "crm_resource",
        &["--ban", "-r", "mirror-clone", "--promoted", "-N", "foo0"],
    );
    stage.awaits("crm_mon shows the failed last push", |_| {
        foo0.cluster_says("the last push is not complete")
    });
    stage.foo0 = Some(foo0);
    stage.await_primary(Foo1);
    stage.pair.write(Foo1, "html/after", "y");
    stage.await_cycle(Foo1);
    let undone = stage.pair.run(Foo0, &["undo", "html", "-nv"]).expect(0);
    assert!(undone.stdout_text().contains("unsent"), "{undone}");
}

/// The cluster manager alone is started again, with the service where it is.
fn a_restart_in_place(manager: Manager) {
    let mut stage = Stage::mirrored(manager);
    let foo0 = stage.foo0.take().unwrap();
    foo0.run("sh", &["-c", "kill -9 $(pidof keepalived)"]);
    foo0.run(
        "sh",
        &[
            "-c",
            "while pidof keepalived; do sleep 0.05; done; exec sh /run/again",
        ],
    );
    stage.foo0 = Some(foo0);
    stage.awaits("one of them has the service", |pair| {
        let is_primary = |node| pair.run(node, &["mirror", "status"]).code == 0;
        let has = |node| pair.serves(node) && is_primary(node);
        has(Foo0) != has(Foo1) && is_primary(Foo0) != is_primary(Foo1)
    });
    let holder = if stage.pair.serves(Foo0) { Foo0 } else { Foo1 };
    stage.pair.write(holder, "html/after", "y");
    stage.await_cycle(holder);
    stage.pair.assert_equal();
}

type Drill = (&'static str, fn(Manager));

const SWITCHOVER: Drill = ("a switchover", a_switchover);
const CRASH: Drill = ("a crash and the return", a_crash_and_the_return);
const FAILBACK: Drill = ("a failback by itself", a_failback_by_itself);
const PARTITION: Drill = ("a partition without fencing", a_partition_without_fencing);
const RESTART: Drill = ("a restart in place", a_restart_in_place);
const FENCED: Drill = ("a partition with fencing", a_partition_with_fencing);

/// Plays drills of a manager, in a normal run the first `always` of them.
fn play(manager: Manager, drills: &[Drill], always: usize) {
    // Each goes by the time that its peer takes to answer.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (at, (name, drill)) in drills.iter().enumerate() {
        if soak() || at < always {
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
    play(
        Heartbeat { fails_back: false },
        &[SWITCHOVER, CRASH, PARTITION],
        2,
    );
    play(Heartbeat { fails_back: true }, &[FAILBACK], 0);
}

#[test]
fn keepalived_plays() {
    let drills = [SWITCHOVER, CRASH, PARTITION, RESTART];
    play(Keepalived { fails_back: false }, &drills, 1);
    play(Keepalived { fails_back: true }, &[FAILBACK], 0);
}

#[test]
fn pacemaker_plays() {
    let drills = [
        SWITCHOVER,
        CRASH,
        ("a stale standby", a_stale_standby),
        ("a power loss of both", a_power_loss_of_both),
        ("a failed last push", a_failed_last_push),
        ("a healed partition", a_healed_partition),
    ];
    // Stickiness keeps the service where it is: there is no failback.
    play(Pacemaker { fences: false }, &drills, 0);
    play(Pacemaker { fences: true }, &[SWITCHOVER, CRASH, FENCED], 0);
}
