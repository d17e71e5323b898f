//! `hasync serve --listen`: what breaks in one connection breaks that one alone, and a flood of
//! connections locks nobody out who comes from elsewhere.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::flood::{Flood, MANNERS, Manner};
use crate::support::hasync::Reachable;
use crate::support::mountns::without_proc;
use crate::support::netns::{NetNs, PRIMARY, STANDBY};
use crate::support::own_server::OwnServer;
use crate::support::process::{Running, run_ok};
use crate::support::{Hasync, Rng, Snapshot, TempTree, await_that};

/// A server on the standby of two nodes; floods come from the primary's side of the link.
struct Flooded {
    nodes: NetNs,
    server: OwnServer,
    trees: TempTree,
    /// Two floods at once would be a test of the machine.
    _alone: MutexGuard<'static, ()>,
}

static ONE_FLOOD: Mutex<()> = Mutex::new(());

/// The addresses of the flood: one host, a /64 that is routed to the primary, and many hosts.
const ONE_HOST: &str = "10.99.0.66";
const NETWORK: &str = "fd99:0:0:66::/";
const MANY_HOSTS: &str = "10.98./";
const STANDBY6: &str = "fd99::2";

impl Flooded {
    fn new(key_options: &str) -> Self {
        Self::limited(key_options, &[])
    }

    fn limited(key_options: &str, limit: &[&str]) -> Self {
        let alone = ONE_FLOOD.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = NetNs::pair();
        let (p, s) = (nodes.on_primary(), nodes.on_standby());
        for (at, words) in [
            (p, "addr add 10.99.0.66/24 dev link0"),
            (p, "addr add fd99::1/64 dev link0 nodad"),
            (s, "addr add fd99::2/64 dev link0 nodad"),
            // Any address of these networks is the primary's own.
            (p, "route add local fd99:0:0:66::/64 dev lo"),
            (s, "route add fd99:0:0:66::/64 via fd99::1"),
            (p, "route add local 10.98.0.0/16 dev lo"),
            (s, "route add 10.98.0.0/16 via 10.99.0.1"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            run_ok("ip", &[&["-n", at[3]], &words[..]].concat());
        }
        let launcher = [&s[..], limit].concat();
        let server = OwnServer::start_at(&launcher, "[::]", &["--root", "/"]).reached_by(STANDBY);
        server.authorize(&format!("{key_options}KEY\n"));
        let trees = TempTree::new();
        trees.write("source/file", "data");
        Self {
            nodes,
            server,
            trees,
            _alone: alone,
        }
    }

    fn flood(&self, manner: Manner, sources: &[&str]) -> Flood {
        let six = sources.iter().any(|source| source.contains(':'));
        let to = (if six { STANDBY6 } else { STANDBY }, self.server.port());
        Flood::begin(&self.nodes.on_primary(), manner, to, sources)
    }

    /// A push from the primary's own address.
    fn push_arrives(&self, what: &str) {
        let target = self.trees.path("target");
        let _ = std::fs::remove_dir_all(&target);
        let push = self
            .server
            .push(&["-a"], &self.trees.contents_of("source"), &target);
        let finished = push.under(&self.nodes.on_primary()).run();
        assert_eq!(finished.code, 0, "{what}\n{finished}");
        assert_eq!(std::fs::read(target.join("file")).unwrap(), b"data");
    }
}

#[test]
fn a_push_gets_in_while_another_address_floods() {
    let flooded = Flooded::new("");
    for manner in MANNERS {
        for sources in [&[ONE_HOST][..], &[NETWORK]] {
            let mut flood = flooded.flood(manner, sources);
            for round in 0..2 {
                flooded.push_arrives(&format!("{manner:?} from {sources:?}, push {round}"));
            }
            assert!(flood.is_on(), "{manner:?} ended before the pushes did");
        }
    }
    // Tens of thousands of connections were refused, in some lines for each ten seconds.
    flooded.server.await_logged("are left out");
    let log = flooded.server.log();
    assert!(log.len() < 500, "{} lines", log.len());
}

#[test]
fn an_address_that_from_names_gets_in_while_all_others_flood() {
    let flooded = Flooded::new(&format!("from=\"{PRIMARY}\" "));
    for manner in [Manner::Idle, Manner::Banner, Manner::BannerAndGarbage] {
        let mut flood = flooded.flood(manner, &[MANY_HOSTS]);
        for round in 0..3 {
            flooded.push_arrives(&format!("{manner:?} from everywhere, push {round}"));
        }
        assert!(flood.is_on(), "{manner:?} ended before the pushes did");
    }
}

/// Who speaks at once need not fear those who do not, even at the same address.
#[test]
fn a_push_gets_in_past_mutes_at_its_own_address() {
    for key_options in [String::new(), format!("from=\"{PRIMARY}\" ")] {
        let flooded = Flooded::new(&key_options);
        for manner in [Manner::Idle, Manner::Close, Manner::Garbage, Manner::Drip] {
            let mut flood = flooded.flood(manner, &[PRIMARY]);
            flooded.push_arrives(&format!("{manner:?} from the own address, {key_options}"));
            assert!(flood.is_on(), "{manner:?} ended before the push did");
        }
    }
}

#[test]
fn a_server_with_few_descriptors_takes_pushes_in_a_flood() {
    let flooded = Flooded::limited("", &["prlimit", "--nofile=80"]);
    for manner in [Manner::Idle, Manner::Banner] {
        let mut flood = flooded.flood(manner, &[ONE_HOST]);
        flooded.push_arrives(&format!("{manner:?} with 80 descriptors"));
        assert!(flood.is_on(), "{manner:?} ended before the push did");
    }
}

/// A push that takes its time, and the process that serves it.
fn slow_push(server: &OwnServer, trees: &TempTree, target: &str) -> Running {
    if !trees.path("source/large").exists() {
        trees.write("source/large", Rng::new(1).bytes(4_000_000));
    }
    let source = trees.contents_of("source");
    let push = server.push(&["-a", "--bwlimit=2M"], &source, &trees.path(target));
    push.start()
}

/// The process that serves the push into `target`.
fn serves(process: u32, target: &Path) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    let mut links = open
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.any(|link| link.starts_with(target))
}

#[test]
fn what_breaks_in_one_connection_breaks_no_other() {
    let server = OwnServer::start();
    let trees = TempTree::new();
    for (number, blow) in ["-KILL", "-ABRT", "-SYS", "-STOP", "memory"]
        .iter()
        .enumerate()
    {
        let (struck, spared) = (format!("struck{number}"), format!("spared{number}"));
        let mut doomed = slow_push(&server, &trees, &struck);
        let other = slow_push(&server, &trees, &spared);
        let victim = || {
            let mut processes = server.connections().into_iter();
            processes.find(|process| serves(*process, &trees.path(&struck)))
        };
        await_that("the push is under way", || victim().is_some());
        let victim = victim().unwrap().to_string();
        match *blow {
            // What it asks for next, it does not get.
            "memory" => run_ok("prlimit", &["--pid", &victim, "--as=1"]),
            signal => run_ok("kill", &[signal, &victim]),
        };
        other.finish().expect(0);
        let there = Snapshot::of(&trees.path(&spared));
        Snapshot::of(&trees.path("source")).assert_same(&there);
        if *blow == "-STOP" {
            assert!(!doomed.is_over(), "it waits for its peer");
            run_ok("kill", &["-KILL", &victim]);
        }
        if *blow == "memory" {
            // It may get by with what it has.
            let _ = doomed.finish();
        } else {
            doomed.finish().expect_error(12, &[]);
            server.await_logged("its process failed: signal: ");
        }
        server.await_connections(0);
    }
}

#[test]
fn connections_do_not_outlive_their_listener() {
    for (signal, code) in [("-KILL", 128 + 9), ("-TERM", 20), ("-INT", 20)] {
        let mut server = OwnServer::start();
        let trees = TempTree::new();
        let push = slow_push(&server, &trees, "target");
        let serving = server.await_connections(1)[0];
        await_that("the push is under way", || {
            serves(serving, &trees.path("target"))
        });
        assert_eq!(server.end_by(signal), code);
        let is_there = || Path::new(&format!("/proc/{serving}/exe")).exists();
        if signal != "-KILL" {
            assert!(
                !is_there(),
                "{signal}: the listener waits for what it started"
            );
        }
        await_that("the process of the connection ends", || !is_there());
        push.finish().expect_error(12, &[]);
        let there = Snapshot::of(&trees.path("target"));
        assert!(there.litter().is_empty(), "{signal}: {:?}", there.litter());
    }
}

#[test]
fn a_listener_that_leaves_kills_what_does_not_hear_it() {
    let mut server = OwnServer::start();
    let trees = TempTree::new();
    let mut push = slow_push(&server, &trees, "target");
    let serving = server.await_connections(1)[0];
    run_ok("kill", &["-STOP", &serving.to_string()]);
    assert_eq!(server.end_by("-TERM"), 20);
    assert!(!Path::new(&format!("/proc/{serving}/exe")).exists());
    push.kill();
}

#[test]
fn the_program_may_be_replaced_while_it_listens() {
    let reachable = Reachable::new();
    let server = OwnServer::run("127.0.0.1", &["--root", "/"], |serve| {
        serve.from(&reachable)
    });
    let trees = TempTree::new();
    trees.write("source/file", "data");
    let arrives = |target: &str| {
        let target = trees.path(target);
        let push = server.push(&["-a"], &trees.contents_of("source"), &target);
        push.run().expect(0);
        assert_eq!(std::fs::read(target.join("file")).unwrap(), b"data");
    };
    arrives("before");
    std::fs::remove_file(reachable.program()).unwrap();
    arrives("deleted");
    std::fs::write(reachable.program(), "#!/bin/false\n").unwrap();
    arrives("replaced");
}

#[test]
fn a_server_without_proc_serves() {
    let launcher = without_proc();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let server = OwnServer::start_at(&launcher, "127.0.0.1", &["--root", "/"]);
    let trees = TempTree::new();
    trees.write("source/file", "data");
    let target = trees.path("target");
    let push = server.push(&["-a"], &trees.contents_of("source"), &target);
    push.run().expect(0);
    assert_eq!(std::fs::read(target.join("file")).unwrap(), b"data");
}

#[test]
fn the_hidden_option_is_for_the_listener_alone() {
    let dir = TempTree::new();
    let serve = Hasync::new().args(["serve", "--connection"]);
    serve.run().expect_error(1, &["--listen"]);
    let serve = Hasync::new()
        .args([
            "serve",
            "--connection",
            "--listen",
            "127.0.0.1:0",
            "--root",
            "/",
        ])
        .args([
            "--authorized-keys",
            &dir.text("none"),
            "--host-key",
            &dir.text("none"),
        ]);
    serve.run().expect_error(1, &["--connection is for"]);
}
