//! The row over 100 Mbit: two network namespaces joined by a cable, the primary's end shaped by
//! `tc tbf`, a mixed tree (60 % text, the rest incompressible), first copy against `rsync -az`.
//! Once as anybody types it, with the link deciding about compression, and once with `-z`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::netns::{NetNs, STANDBY};
use crate::support::{Rng, Sshd, TempTree};
use crate::{Cost, Snapshot, Tool, Way, print_cost, push, trees};

pub(crate) const NAME: &str = "first copy over 100 Mbit, mixed tree";

const MBIT: u32 = 100;
/// Bytes of the tree at full size.
const TREE_LEN: usize = 240 << 20;
const TEXT_PERCENT: usize = 60;
const FILE_LEN_BOUND: usize = 64 << 10;
const FILES_PER_DIR: usize = 100;
const RUNS: usize = 2;

/// The two nodes, the cable between them, and a tree to carry over it.
pub(crate) struct FastEthernet {
    nodes: NetNs,
    sshd: Sshd,
    work: TempTree,
}

impl FastEthernet {
    /// Without root it only says that it needs it.
    pub(crate) fn new(shrink: usize) -> Option<FastEthernet> {
        if !rustix::process::geteuid().is_root() {
            println!("{NAME}: needs root for its network namespaces");
            return None;
        }
        let nodes = NetNs::pair();
        let sshd = Sshd::start_at(&nodes.on_standby(), STANDBY, 2200);
        nodes.limit_mbit(MBIT);
        segment_like_a_cable(&nodes);
        let work = TempTree::within(Path::new("/dev/shm"));
        let source = work.mkdir("source");
        mixed_tree(&source, TREE_LEN / shrink);
        trees::age(&source);
        Some(FastEthernet { nodes, sshd, work })
    }

    /// One first copy.
    pub(crate) fn push(&self, tool: &Tool, letters: &str) -> Cost {
        let target = self.work.path("target");
        let _ = fs::remove_dir_all(&target);
        let way = Way {
            sshd: &self.sshd,
            launcher: &self.nodes.on_primary(),
            letters,
            link_bytes: &|| bytes_on_link(&self.nodes),
        };
        let cost = push(tool, &self.work, &target, &way);
        let source = self.work.path("source");
        Snapshot::of(&source).assert_same(&Snapshot::of(&target));
        cost
    }
}

/// Measures the row and prints its lines.
pub(crate) fn measure(shrink: usize) {
    let Some(scene) = FastEthernet::new(shrink) else {
        return;
    };
    let candidates = [
        ("rsync", Tool::Rsync, "-az"),
        ("hasync", Tool::hasync(), "-a"),
        ("  -z", Tool::hasync(), "-az"),
    ];
    let mut best: [Option<Cost>; 3] = [None; 3];
    for _ in 0..RUNS {
        for (best, (_, tool, letters)) in best.iter_mut().zip(&candidates) {
            let cost = scene.push(tool, letters);
            if best.is_none_or(|best| cost.wall_s < best.wall_s) {
                *best = Some(cost);
            }
        }
    }
    let [Some(rsync), ..] = best else { return };
    for (index, (cost, (name, ..))) in best.into_iter().flatten().zip(candidates).enumerate() {
        print_cost(if index == 0 { NAME } else { "" }, name, cost, rsync);
    }
}

/// Has the kernel hand over packets as they would be on a wire: otherwise it leaves it to the far
/// end to cut what it sends, and one header in ten or fewer is counted.
fn segment_like_a_cable(nodes: &NetNs) {
    let words = ["ip", "link", "set", "link0", "gso_max_segs", "1"];
    let output = run_on_primary(nodes, &words);
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn run_on_primary(nodes: &NetNs, command: &[&str]) -> Output {
    let [program, words @ ..] = nodes.on_primary();
    let mut launched = Command::new(program);
    launched.args(words).args(command).output().unwrap()
}

/// Bytes both ways over the primary's end of the cable.
fn bytes_on_link(nodes: &NetNs) -> u64 {
    let output = run_on_primary(nodes, &["cat", "/proc/net/dev"]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = table.lines().find_map(|l| l.trim().strip_prefix("link0:"));
    let fields: Vec<u64> = line
        .unwrap()
        .split_whitespace()
        .map(|field| field.parse().unwrap())
        .collect();
    fields[0] + fields[8]
}

/// Files of text beside files of noise, whose lengths come to `total`.
fn mixed_tree(root: &Path, total: usize) {
    let mut rng = Rng::new(100);
    let words: Vec<Vec<u8>> = (0..4000).map(|_| word(&mut rng)).collect();
    let (mut made, mut count) = (0, 0);
    while made < total {
        let dir = root.join(format!("d{:04}", count / FILES_PER_DIR));
        fs::create_dir_all(&dir).unwrap();
        let len = 1 + rng.below(FILE_LEN_BOUND);
        let (ending, content) = if rng.chance(TEXT_PERCENT) {
            ("html", text(&mut rng, &words, len))
        } else {
            ("jpg", rng.bytes(len))
        };
        fs::write(dir.join(format!("file{count:06}.{ending}")), content).unwrap();
        made += len;
        count += 1;
    }
}

fn word(rng: &mut Rng) -> Vec<u8> {
    let len = 2 + rng.below(9);
    (0..len)
        .map(|_| *rng.pick(b"eeeettaaooiinnsshhrrdlucmfwygpbvk"))
        .collect()
}

/// Words as often as in a language: few are common, most are rare.
fn text(rng: &mut Rng, words: &[Vec<u8>], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        let bound = 1 + rng.below(words.len());
        let bound = 1 + rng.below(bound);
        out.extend_from_slice(&words[rng.below(bound)]);
        out.extend_from_slice(if rng.chance(10) { b".\n" } else { b" " });
    }
    out.truncate(len);
    out
}
