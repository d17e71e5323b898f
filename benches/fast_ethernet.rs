//! The row over 100 Mbit: two network namespaces joined by a cable, the primary's end shaped by
//! `tc tbf`, a mixed tree (60 % text, the rest incompressible), first copy against `rsync -az`.
//! Once as anybody types it, with the link deciding about compression, and once with `-z`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::netns::{NetNs, STANDBY};
use crate::support::{Rng, Sshd, TempTree};
use crate::{Snapshot, Tool, push, trees};

pub(crate) const NAME: &str = "first copy over 100 Mbit, mixed tree";

const MBIT: u32 = 100;
/// Bytes of the tree at full size.
const TREE_LEN: usize = 240 << 20;
const TEXT_PERCENT: usize = 60;
const FILE_LEN_BOUND: usize = 64 << 10;
const FILES_PER_DIR: usize = 100;
const RUNS: usize = 2;

/// Measures the row and prints its lines; without root it only says that it needs it.
pub(crate) fn measure(shrink: usize, print: impl Fn(&str, &str, crate::Cost, crate::Cost)) {
    if !rustix::process::geteuid().is_root() {
        println!("{NAME}: needs root for its network namespaces");
        return;
    }
    let nodes = NetNs::pair();
    let sshd = Sshd::start_at(&nodes.on_standby(), STANDBY, 2200);
    nodes.limit_mbit(MBIT);
    segment_like_a_cable(&nodes);
    let work = TempTree::within(Path::new("/dev/shm"));
    let source = work.mkdir("source");
    mixed_tree(&source, TREE_LEN / shrink);
    trees::age(&source);
    let target = work.path("target");
    let link_bytes = || bytes_on_link(&nodes);
    let candidates = [
        ("rsync", Tool::Rsync, "-az"),
        ("hasync", Tool::Hasync, "-a"),
        ("  -z", Tool::Hasync, "-az"),
    ];
    let mut best = [None; 3];
    for run in 0..RUNS {
        for (best, (_, tool, letters)) in best.iter_mut().zip(candidates) {
            let _ = fs::remove_dir_all(&target);
            let way = crate::Way {
                launcher: &nodes.on_primary(),
                letters,
                link_bytes: &link_bytes,
            };
            let cost = push(tool, &sshd, &work, &target, &way);
            if run == 0 {
                Snapshot::of(&source).assert_same(&Snapshot::of(&target));
            }
            if best.is_none_or(|best: crate::Cost| cost.wall_s < best.wall_s) {
                *best = Some(cost);
            }
        }
    }
    let [Some(rsync), ..] = best else { return };
    for (index, (cost, (name, ..))) in best.into_iter().flatten().zip(candidates).enumerate() {
        print(if index == 0 { NAME } else { "" }, name, cost, rsync);
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
