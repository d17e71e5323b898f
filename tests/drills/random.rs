//! Drills that nobody thought of: the verbs in any order on two nodes, between crashes, cuts, lost
//! states, unmounted disks, broken configurations and clocks that jump. After each step `check` and
//! the JSON tell the same on both nodes. At the end the service is given to one of them, what is
//! printed is typed, and the pair mirrors: nothing that was written and not taken back is gone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scene::commands;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::service::BY_FILE;
use crate::support::{Finished, Rng, await_or_tell, await_that, rounds};

/// How many steps a history has.
const STEPS: usize = 24;
/// As many commands as lead out, for each of the two trees, besides pushes.
const COMMANDS_MAX: usize = 4;

/// What happens to a node.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    Cycle,
    Push,
    /// The service comes, and `mirror start` with it, unless that is refused.
    TakeOver,
    /// `mirror stop`, and the service goes.
    GiveUp,
    LoseService,
    Promote,
    Demote,
    Adopt,
    Undo,
    Recover,
    Crash,
    /// What receives there next ends at a step of its commit.
    DiesAt(&'static str),
    Cut,
    Mend,
    Unmount,
    Mount,
    LoseState,
    BreakConfig,
    MendConfig,
    SetClock(&'static str),
}

use Step::{
    Adopt, BreakConfig, Crash, Cut, Cycle, Demote, DiesAt, GiveUp, LoseService, LoseState, Mend,
    MendConfig, Mount, Promote, Push, Recover, SetClock, TakeOver, Undo, Unmount, Write,
};

/// As often as each happens.
const STEPS_OF: [(Step, usize); 24] = [
    (Write, 12),
    (Cycle, 10),
    (Push, 8),
    (TakeOver, 8),
    (GiveUp, 6),
    (LoseService, 3),
    (Promote, 3),
    (Demote, 3),
    (Adopt, 2),
    (Undo, 2),
    (Recover, 3),
    (Crash, 4),
    (DiesAt("journal"), 1),
    (DiesAt("rolled"), 1),
    (DiesAt("recorded"), 1),
    (Cut, 2),
    (Mend, 6),
    (Unmount, 2),
    (Mount, 5),
    (LoseState, 1),
    (BreakConfig, 1),
    (MendConfig, 3),
    (SetClock("-3600"), 1),
    (SetClock("3600"), 1),
];

#[test]
fn random_histories_end_in_a_mirroring_pair() {
    let count = rounds("random histories of two nodes", 2, 150);
    let first = std::env::var("HASYNC_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in first.map_or(0..count as u64, |seed| seed..seed + 1) {
        let mut play = Play::new(seed);
        for _ in 0..STEPS {
            play.step();
        }
        play.settle();
    }
}

struct Play {
    pair: Pair,
    rng: Rng,
    mounted: [Option<Mounted>; 2],
    clocks: [&'static str; 2],
    boots: u32,
    is_cut: bool,
    written: u32,
    /// Writes that an undo took back.
    taken_back: BTreeSet<u32>,
    /// For a test that fails.
    history: Vec<String>,
}

impl Drop for Play {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.history.join("\n"));
            for node in [Foo0, Foo1] {
                let status = self.pair.in_its_boot(node, &["status"]).run();
                println!("{}: {status}", node.name());
            }
            println!("{}", self.pair.in_its_boot(Foo0, &["diverged"]).run());
        }
    }
}

impl Play {
    /// foo0 has the service, and foo1 is equal.
    fn new(seed: u64) -> Self {
        let pair = Pair::here("");
        let mut mounted = [None, None];
        for node in [Foo0, Foo1] {
            let own = pair.path(node, "").display().to_string();
            let role = BY_FILE.replace("STATE/", &own);
            let cycle = "[cycle]\ninterval = \"1h\"\nlast_push = \"10s\"\n";
            pair.configure_one(node, &format!("{role}{cycle}"));
            let path = pair.path(node, "html").display().to_string();
            // Whatever is not pinned goes soon.
            let undo = format!("path = \"{path}\"\nundo = {{ keep = 1 }}");
            pair.set(node, "path = ", &undo);
            pair.write(node, "good.toml", pair.read(node, "hasync.toml"));
            pair.write(node, "good", pair.read(node, "hasync"));
            std::fs::create_dir(pair.path(node, "disk")).unwrap();
            mounted[at(node)] = Some(mount(&pair, node));
        }
        pair.write(Foo0, "etc/a", "1");
        pair.write(Foo0, "etc/b", "1");
        let mut play = Play {
            pair,
            rng: Rng::new(seed),
            mounted,
            clocks: ["0"; 2],
            boots: 0,
            is_cut: false,
            written: 0,
            taken_back: BTreeSet::new(),
            history: vec![format!("seed {seed}")],
        };
        for node in [Foo0, Foo1] {
            play.crash(node);
        }
        play.pair.serve(Foo0, true);
        play.hasync(Foo0, &["mirror", "start"]).expect(0);
        play.write(Foo0);
        play.hasync(Foo0, &["cycle"]).expect(0);
        play.pair.assert_equal();
        play
    }

    fn step(&mut self) {
        let node = *self.rng.pick(&[Foo0, Foo1]);
        let all: usize = STEPS_OF.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.below(all);
        let found = STEPS_OF.iter().find(|(_, weight)| {
            let is_here = at < *weight;
            at = at.saturating_sub(*weight);
            is_here
        });
        let step = found.unwrap().0;
        self.history.push(format!("{} {step:?}", node.name()));
        self.act(node, step);
        for node in [Foo0, Foo1] {
            self.tells_the_same(node);
        }
    }

    fn act(&mut self, node: Node, step: Step) {
        match step {
            Write => self.write(node),
            Cycle => drop(self.hasync(node, &["cycle"])),
            Push => drop(self.hasync(node, &["push", "--all"])),
            TakeOver => drop(self.take_over(node)),
            GiveUp => {
                self.hasync(node, &["mirror", "stop"]).expect(0);
                self.pair.serve(node, false);
            }
            LoseService => self.pair.serve(node, false),
            Promote => drop(self.hasync(node, &["promote", "html", "--force"])),
            Demote => drop(self.hasync(node, &["demote", "--all"])),
            Adopt => {
                let from = node.other().name();
                drop(self.hasync(node, &["adopt", "--all", "--from", from]));
            }
            Undo => {
                let before = self.found(node);
                self.hasync(node, &["undo", "html"]);
                let after = self.found(node);
                self.taken_back.extend(before.difference(&after));
            }
            Recover => drop(self.hasync(node, &["recover"])),
            Crash => self.crash(node),
            DiesAt(point) => {
                let end = format!("#!/bin/sh\nexport HASYNC_END_AT={point}");
                let script = self.pair.read(node, "good");
                let script = script.replacen("#!/bin/sh", &end, 1);
                self.pair.write(node, "hasync", script);
            }
            Cut if !self.is_cut => {
                self.pair.sshd().stop();
                self.is_cut = true;
            }
            Mend if self.is_cut => {
                self.pair.sshd().start_again();
                self.is_cut = false;
            }
            Cut | Mend => {}
            Unmount => self.mounted[at(node)] = None,
            Mount => self.mount(node),
            LoseState => {
                std::fs::remove_dir_all(self.pair.path(node, "state")).unwrap();
                std::fs::create_dir(self.pair.path(node, "state")).unwrap();
            }
            BreakConfig => self.pair.write(node, "hasync.toml", "[node"),
            MendConfig => {
                let good = self.pair.read(node, "good.toml");
                self.pair.write(node, "hasync.toml", good);
            }
            SetClock(offset) => self.clocks[at(node)] = offset,
        }
    }

    /// A write of the service's, where its node is primary.
    fn write(&mut self, node: Node) {
        let is_there = self.mounted[at(node)].is_some() && self.pair.serves(node);
        if is_there && self.hasync(node, &["mirror", "status"]).code == 0 {
            self.written += 1;
            let name = format!("html/w{}", self.written);
            self.pair.write(node, &name, text(self.written));
        }
    }

    fn take_over(&self, node: Node) -> Finished {
        self.pair.serve(node, true);
        let done = self.hasync(node, &["mirror", "start"]);
        if done.code != 0 {
            self.pair.serve(node, false);
        }
        done
    }

    fn crash(&mut self, node: Node) {
        self.boots += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000\n", self.boots);
        self.pair.write(node, "boot_id", id);
        self.pair
            .write(node, "hasync", self.pair.read(node, "good"));
        self.pair.serve(node, false);
    }

    fn mount(&mut self, node: Node) {
        if self.mounted[at(node)].is_none() {
            self.mounted[at(node)] = Some(mount(&self.pair, node));
        }
    }

    #[track_caller]
    fn hasync(&self, node: Node, words: &[&str]) -> Finished {
        let clock = self.clocks[at(node)];
        let hasync = self.pair.in_its_boot(node, words);
        let done = hasync.env("HASYNC_CLOCK_OFFSET", clock).run();
        assert!(!done.stderr.contains("panicked"), "{done}");
        assert_ne!(done.code, 101, "{done}");
        done
    }

    /// `check` answers what the JSON says, and each next step can be typed. What the far half of a
    /// push has to say comes a moment later.
    fn tells_the_same(&self, node: Node) {
        let told = || -> (Finished, i32, Value) {
            let check = self.hasync(node, &["check"]);
            let status = self.hasync(node, &["status", "--json"]);
            // Where nothing was ever written, and nothing can be read, there is none.
            let state = serde_json::from_slice(&status.stdout).unwrap_or_default();
            let level = level(&state);
            (check, level, state)
        };
        let mut state = Value::Null;
        let differing = || {
            let (check, _, state) = told();
            format!("the same is told: {check}{state:#}")
        };
        await_or_tell(differing, || {
            let (check, level, now) = told();
            state = now;
            check.code == level
        });
        for tree in state["trees"].as_array().into_iter().flatten() {
            let next = tree["next"].as_str().unwrap();
            assert!(!next.is_empty(), "{tree:#}");
            for (_, words) in commands(next, node) {
                let help = self.hasync(node, &[&words[0], "--help"]);
                assert_eq!(help.code, 0, "{next}");
            }
        }
    }

    /// One node gets the service for good, and what is printed is typed until the pair mirrors.
    fn settle(&mut self) {
        self.history.push("settle".to_owned());
        self.act(Foo0, Mend);
        for node in [Foo0, Foo1] {
            for step in [MendConfig, Mount, SetClock("0")] {
                self.act(node, step);
            }
            self.pair
                .write(node, "hasync", self.pair.read(node, "good"));
        }
        let first = *self.rng.pick(&[Foo0, Foo1]);
        let is_orderly = self.rng.chance(50);
        for node in [Foo0, Foo1] {
            if is_orderly {
                self.act(node, GiveUp);
            } else {
                self.crash(node);
            }
            self.hasync(node, &["recover"]);
        }
        // A cluster manager tries the other node if one refuses.
        let mut tried = [first, first.other()].into_iter();
        let took = tried.find(|node| self.take_over(*node).code == 0);
        let holder = took.unwrap_or(first);
        self.pair.serve(holder, true);
        self.history
            .push(format!("{} has the service", holder.name()));
        self.mirrors(holder);
        self.nothing_is_lost();
        // And it can be handed over.
        self.pair.serve(holder, true);
        self.act(holder, GiveUp);
        self.take_over(holder.other()).expect(0);
        self.hasync(holder.other(), &["push", "--all"]).expect(0);
        self.pair.assert_equal();
    }

    fn mirrors(&mut self, holder: Node) {
        let mut typed = BTreeMap::new();
        for round in 0.. {
            if self.hasync(holder, &["push", "--all"]).code == 0 {
                break;
            }
            assert!(round < 3 * COMMANDS_MAX, "no end of it");
            let printed = self.printed(holder);
            assert!(!printed.is_empty(), "nothing is printed");
            for (tree, node, words) in printed {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let line = format!("{} types {}", node.name(), words.join(" "));
                self.history.push(line);
                let done = self.hasync(node, &words);
                self.history.push(format!("{done}"));
                let count = typed.entry(tree).or_insert(0);
                *count += usize::from(words[0] != "push" && words[0] != "mirror");
                assert!(*count <= COMMANDS_MAX, "no end of it");
            }
        }
        for node in [Foo0, Foo1] {
            self.tells_the_same(node);
            await_that("all is well", || self.hasync(node, &["check"]).code == 0);
        }
        self.pair.assert_equal();
    }

    /// The commands that either node prints about a tree of which something is wrong: those that
    /// keep what the holder of the service has.
    fn printed(&self, holder: Node) -> Vec<(String, Node, Vec<String>)> {
        let mut printed = Vec::new();
        for tree in ["conf", "html"] {
            for node in [holder, holder.other()] {
                let state = self.hasync(node, &["status", tree, "--json"]).stdout;
                let state: Value = serde_json::from_slice(&state).unwrap();
                let next = state["trees"][0]["next"].as_str().unwrap();
                let said = self.way(next, tree, node, holder);
                let is_push = |(_, words): &(Node, Vec<String>)| words[0] == "push";
                if said.is_empty() || said.iter().all(is_push) {
                    continue;
                }
                let said = said
                    .into_iter()
                    .map(|(on, words)| (tree.to_owned(), on, words));
                printed.extend(said);
                break;
            }
        }
        printed
    }

    /// Of several ways the one to keep what the holder has.
    fn way(&self, next: &str, tree: &str, on: Node, holder: Node) -> Vec<(Node, Vec<String>)> {
        let name = holder.name();
        let mut wanted = vec![
            format!("keep what {name} has"),
            format!("take what {name} has"),
        ];
        wanted.extend((on == holder).then(|| "go on with what is here".to_owned()));
        let ways: Vec<&str> = next.split("; to ").collect();
        let wanted = ways
            .iter()
            .find(|way| wanted.iter().any(|words| way.contains(words)));
        let way = wanted.copied().unwrap_or(ways[0]);
        if !way.contains("`hasync diverged") {
            return commands(way, on);
        }
        let list = self.hasync(on, &["diverged", tree]).stdout_text();
        let start = format!("  to keep what {name} has: ");
        let line = list.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("no way to keep {name}: {next}\n{list}"));
        commands(line, on)
    }

    /// The writes in the tree of a node, each as it was written.
    fn found(&self, node: Node) -> BTreeSet<u32> {
        let path = |n: &u32| self.pair.path(node, &format!("html/w{n}"));
        let is_there =
            |n: &u32| std::fs::read(path(n)).is_ok_and(|found| found == text(*n).as_bytes());
        (1..=self.written).filter(is_there).collect()
    }

    fn nothing_is_lost(&self) {
        let both: BTreeSet<u32> = self.found(Foo0).union(&self.found(Foo1)).copied().collect();
        let mut kept = BTreeSet::new();
        for node in [Foo0, Foo1] {
            let walk = walkdir::WalkDir::new(self.pair.path(node, "html/.hasync"));
            for entry in walk.into_iter().flatten() {
                let is_small = entry
                    .metadata()
                    .is_ok_and(|found| found.is_file() && found.len() < 64);
                if is_small {
                    kept.insert(std::fs::read(entry.path()).unwrap());
                }
            }
        }
        for n in 1..=self.written {
            let is_there = both.contains(&n) || self.taken_back.contains(&n);
            let is_kept = kept.contains(text(n).as_bytes());
            assert!(is_there || is_kept, "write {n} is gone");
        }
    }
}

/// What `check` has to answer to that state.
fn level(state: &Value) -> i32 {
    // In the order in which they outrank.
    const LEVELS: [(&str, i32); 4] = [("ok", 0), ("warning", 1), ("unknown", 3), ("critical", 2)];
    let rank = |word: &str| LEVELS.iter().position(|(name, _)| *name == word).unwrap();
    let trees = state["trees"].as_array().into_iter().flatten();
    let ranks = trees.map(|tree| rank(tree["level"].as_str().unwrap()));
    let fault = if state["fault"].is_null() && state["trees"].is_array() {
        "ok"
    } else {
        "critical"
    };
    LEVELS[ranks.fold(rank(fault), usize::max)].1
}

fn at(node: Node) -> usize {
    usize::from(node == Foo1)
}

fn text(n: u32) -> String {
    format!("write number {n}")
}

fn mount(pair: &Pair, node: Node) -> Mounted {
    Mounted::bind(&pair.path(node, "disk"), pair.path(node, "html"))
}
