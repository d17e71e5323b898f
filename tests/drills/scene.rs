//! The stage of a drill, and the words that it is written in, one step a line:
//!
//! * `foo0 start = 0`, `foo0 stop = 0`: the service comes and goes with `hasync mirror`
//! * `foo0 loses-service`, `foo0 gets-service`: it moves, and nobody tells hasync
//! * `foo0 WORDS = 0`: `hasync WORDS` with this exit code
//! * `says WORDS`, `hides WORDS`: the command before does, or does not
//! * `foo0 writes html/a text`, `foo0 removes html/a`, `foo0 fills html 350 text`
//! * `foo0 has html/a text`, `foo0 lacks html/a`, `equal`
//! * `cut`, `mend`: the link; `foo0 crashes`, `foo0 boots`: the node
//! * `foo0 dies-at POINT`: the half of hasync that receives there ends at that step, until it boots
//! * `foo0 loses-state`, `foo0 loses-records`: what is apart from the data, and beside it
//! * `foo0 mounts html`, `foo0 mounts-16m html`, `foo0 unmounts html`: on a pair side by side
//! * `foo0 writes-32m html/a`: more than there is room for
//! * `foo0 repairs`: pushes from the holder of the service until the pair mirrors, typing what
//!   `hasync status` prints; `foo0 keeps foo1`: types the way out that foo0 prints to keep foo1's

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::support::mounted::Mounted;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::service::{BY_ADDRESS, BY_FILE};
use crate::support::{Finished, Rng};

/// Where a drill is played.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In two network namespaces.
    Namespaces,
    /// Side by side on this host, for what is mounted.
    Here,
}

/// Plays a drill; what fails is told with its line.
#[track_caller]
pub(super) fn play(place: Place, name: &str, steps: &str) {
    let scene = Scene::new(place);
    for (at, line) in steps.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        *scene.at.borrow_mut() = format!("{name}, line {at}: {line}");
        scene.step(line);
    }
}

struct Scene {
    pair: Pair,
    mounted: RefCell<Vec<(Node, Mounted)>>,
    /// The nodes that do not run.
    down: RefCell<BTreeSet<&'static str>>,
    last: RefCell<Option<Finished>>,
    boots: RefCell<u32>,
    at: RefCell<String>,
}

impl Scene {
    fn new(place: Place) -> Self {
        const CYCLE: &str = "[cycle]\ninterval = \"1s\"\nlast_push = \"20s\"\n";
        let pair = match place {
            Place::Namespaces => Pair::in_namespaces(&format!("{BY_ADDRESS}{CYCLE}")),
            Place::Here => {
                let pair = Pair::here("");
                for node in [Foo0, Foo1] {
                    let own = pair.path(node, "").display().to_string();
                    let role = BY_FILE.replace("STATE/", &own);
                    pair.configure_one(node, &format!("{role}{CYCLE}"));
                }
                pair
            }
        };
        let scene = Scene {
            pair,
            mounted: RefCell::default(),
            down: RefCell::default(),
            last: RefCell::default(),
            boots: RefCell::default(),
            at: RefCell::default(),
        };
        for node in [Foo0, Foo1] {
            scene.boot(node);
        }
        scene
    }

    fn step(&self, line: &str) {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (first, self.pair.net.as_ref()) {
            ("foo0", _) => self.act(Foo0, rest),
            ("foo1", _) => self.act(Foo1, rest),
            ("says", _) => assert!(self.said().contains(rest), "{}", self.told()),
            ("hides", _) => assert!(!self.said().contains(rest), "{}", self.told()),
            ("equal", _) => {
                let diff = self.pair.html(Foo0).diff(&self.pair.html(Foo1));
                assert_eq!(diff, "", "{}", self.told());
                self.pair.assert_equal();
            }
            ("cut", Some(net)) => net.cut(),
            ("mend", Some(net)) => net.mend(),
            _ => panic!("{}: what is that?", self.at.borrow()),
        }
    }

    fn act(&self, node: Node, line: &str) {
        let pair = &self.pair;
        if let Some((command, code)) = line.rsplit_once(" = ") {
            let done = match command {
                "start" => {
                    pair.serve(node, true);
                    self.hasync(node, &["mirror", "start"])
                }
                "stop" => {
                    let done = self.hasync(node, &["mirror", "stop"]);
                    pair.serve(node, false);
                    done
                }
                words => self.hasync(node, &words.split(' ').collect::<Vec<_>>()),
            };
            *self.last.borrow_mut() = Some(done.clone());
            assert_eq!(code, done.code.to_string(), "{}", self.told());
            return;
        }
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["gets-service"] => pair.serve(node, true),
            ["loses-service"] => pair.serve(node, false),
            ["writes", file, text] => pair.write(node, file, text),
            ["fills", dir, much] => {
                let (count, text) = much.split_once(' ').unwrap();
                (0..count.parse::<u32>().unwrap())
                    .for_each(|n| pair.write(node, &format!("{dir}/{n}"), text));
            }
            ["removes", file] => std::fs::remove_file(pair.path(node, file)).unwrap(),
            ["has", file, text] => {
                let found = std::fs::read_to_string(pair.path(node, file));
                assert_eq!(found.ok().as_deref(), Some(text), "{}", self.told());
            }
            ["lacks", file] => assert!(!pair.path(node, file).exists(), "{}", self.told()),
            ["crashes"] => self.crash(node),
            ["boots"] => self.boot(node),
            ["dies-at", point] => self.ends_at(node, Some(point)),
            ["loses-state"] => {
                std::fs::remove_dir_all(pair.path(node, "state")).unwrap();
                std::fs::create_dir(pair.path(node, "state")).unwrap();
            }
            ["loses-records"] => ["html/.hasync", "etc/.hasync"].iter().for_each(|dir| {
                drop(std::fs::remove_dir_all(pair.path(node, dir)));
            }),
            ["mounts", dir] => {
                let disk = pair.path(node, "disk");
                std::fs::create_dir_all(&disk).unwrap();
                let mounted = Mounted::bind(&disk, pair.path(node, dir));
                self.mounted.borrow_mut().push((node, mounted));
            }
            ["mounts-16m", dir] => {
                let mounted = Mounted::at(pair.path(node, dir));
                self.mounted.borrow_mut().push((node, mounted));
            }
            ["writes-32m", file] => pair.write(node, file, Rng::new(7).bytes(32 << 20)),
            ["unmounts", _] => self
                .mounted
                .borrow_mut()
                .retain(|(other, _)| *other != node),
            ["repairs"] => self.repair(node),
            ["keeps", winner] => self.keep(node, winner),
            _ => panic!("{}: what is that?", self.at.borrow()),
        }
    }

    fn hasync(&self, node: Node, words: &[&str]) -> Finished {
        let is_down = self.down.borrow().contains(node.name());
        assert!(!is_down, "{}: {} is down", self.at.borrow(), node.name());
        self.pair.in_its_boot(node, words).run()
    }

    fn crash(&self, node: Node) {
        self.pair.serve(node, false);
        self.down.borrow_mut().insert(node.name());
        // Nobody reaches it: its packets go nowhere.
        if let Some(net) = &self.pair.net {
            net.cut();
        }
    }

    fn boot(&self, node: Node) {
        self.ends_at(node, None);
        *self.boots.borrow_mut() += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000\n", *self.boots.borrow());
        self.pair.write(node, "boot_id", id);
        self.down.borrow_mut().remove(node.name());
        if let Some(net) = self
            .pair
            .net
            .as_ref()
            .filter(|_| self.down.borrow().is_empty())
        {
            net.mend();
        }
    }

    /// What receives on a node ends at that step of its commit, or as ever.
    fn ends_at(&self, node: Node, point: Option<&str>) {
        let script = self.pair.read(node, "hasync");
        let exec = script.lines().last().unwrap();
        let export = point.map_or_else(String::new, |at| format!("export HASYNC_END_AT={at}\n"));
        self.pair
            .write(node, "hasync", format!("#!/bin/sh\n{export}{exec}\n"));
    }

    /// The node that has the service pushes; a refusal is repaired as `status` on either node
    /// prints it, with two commands at most for each of the two trees.
    fn repair(&self, node: Node) {
        for _ in 0..4 {
            let done = self.hasync(node, &["push", "--all"]);
            *self.last.borrow_mut() = Some(done.clone());
            if done.code == 0 {
                return;
            }
            let printed = [node, node.other()].map(|node| self.hasync(node, &["status"]));
            let steps = printed.iter().zip([node, node.other()]);
            let steps = steps.flat_map(|(done, node)| commands(&done.stdout_text(), node));
            let is_look = |words: &[String]| words.first().is_some_and(|verb| verb == "diverged");
            let Some((on, words)) = steps.into_iter().find(|(_, words)| !is_look(words)) else {
                panic!("no repair is printed\n{}", self.told());
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.hasync(on, &words).expect(0);
        }
        self.hasync(node, &["push", "--all"]).expect(0);
    }

    /// Types the way out that `node` prints to keep what `winner` has.
    fn keep(&self, node: Node, winner: &str) {
        let winner = if winner == "foo0" { Foo0 } else { Foo1 };
        keep(&self.pair, node, winner);
    }

    fn said(&self) -> String {
        let last = self.last.borrow();
        let last = last.as_ref().expect("a command before");
        format!("{}{}", last.stdout_text(), last.stderr)
    }

    /// Everything that helps to see why a step failed.
    fn told(&self) -> String {
        let mut text = format!("{}\n", self.at.borrow());
        if let Some(last) = &*self.last.borrow() {
            text.push_str(&last.to_string());
        }
        for node in [Foo0, Foo1] {
            let status = self.pair.in_its_boot(node, &["status"]).run();
            text.push_str(&format!("{}:\n{}", node.name(), status.stdout_text()));
        }
        text
    }
}

/// Types the way out that `node` prints to keep the data of `winner`, command by command, for all
/// trees that differ. A service that is to be moved comes and goes with the mirror.
#[track_caller]
pub(super) fn keep(pair: &Pair, node: Node, winner: Node) {
    let list = pair.run(node, &["diverged"]);
    let text = list.stdout_text();
    let start = format!("  to keep what {} has: ", winner.name());
    let ways: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&start))
        .collect();
    assert!(!ways.is_empty(), "no way to keep {}\n{list}", winner.name());
    for (on, words) in ways.iter().flat_map(|way| commands(way, node)) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words == ["mirror", "start"] {
            pair.serve(on, true);
        }
        let done = pair.run(on, &words);
        if words == ["mirror", "stop"] {
            pair.serve(on, false);
        }
        assert_eq!(done.code, 0, "{list}{done}");
    }
}

/// The commands of hasync between backticks, each with the node that it is to be typed on: the one
/// named in front of it, or the one that said so.
pub(super) fn commands(text: &str, said_by: Node) -> Vec<(Node, Vec<String>)> {
    let mut found = Vec::new();
    let mut on = said_by;
    for (at, part) in text.split('`').enumerate() {
        if at % 2 == 0 {
            on = match (part.rfind("on foo0"), part.rfind("on foo1")) {
                (Some(_), None) => Foo0,
                (None, Some(_)) => Foo1,
                (Some(foo0), Some(foo1)) if foo0 > foo1 => Foo0,
                (Some(_), Some(_)) => Foo1,
                (None, None) => on,
            };
        } else if let Some(words) = part.strip_prefix("hasync ") {
            found.push((on, words.split(' ').map(str::to_owned).collect()));
        }
    }
    found
}
