//! What filters cost: the scan of a tree alone (`push --list-only`), and the same with 200 rules
//! that every path has to pass and nothing matches, in seconds of processor time, best of three:
//!   cargo bench --bench filters [-- --full]
//! `--full` is a million files. The rules may cost no more than the scan.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot go on says so by panicking"
)]

#[path = "../tests/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the fixtures of the tests; the bench needs a few"
)]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::TempTree;

const RUNS: usize = 3;
const FILES_PER_DIR: usize = 100;

/// Shapes of rules, each with numbers in place of `N`: as they stand in real lists.
const SHAPES: &[&str] = &[
    "*.tmpN",
    "cacheN/",
    "/var/lib/N/**",
    "**/node_modulesN/**",
    "*~N",
    "/home/*/.N/",
    "fileN[xyz]",
    "core.N?",
    "dir/N/*.o",
    "README.N",
];

fn main() {
    let full = std::env::args().any(|argument| argument == "--full");
    let count = if full { 1_000_000 } else { 100_000 };
    let work = TempTree::within(Path::new("/dev/shm"));
    for dir in 0..count / FILES_PER_DIR {
        let dir = work.mkdir(format!("source/d{:03}/d{dir:05}", dir / 100));
        for file in 0..FILES_PER_DIR {
            fs::write(dir.join(format!("file{file:03}.dat")), "").unwrap();
        }
    }
    let number = |at: usize, shape: &&str| shape.replace('N', &format!("{at}"));
    let rules: Vec<String> = (0..20)
        .flat_map(|at| SHAPES.iter().map(move |shape| number(at, shape)))
        .collect();
    work.write("rules", rules.join("\n"));
    let with_rules = format!("--exclude-from={}", work.text("rules"));
    let (mut plain, mut ruled) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        plain = plain.min(scan(&work, &[]));
        ruled = ruled.min(scan(&work, &[&with_rules]));
    }
    println!(
        "{count} files: scan {plain:.2} s, with {} rules {ruled:.2} s ({:.2} of the scan)",
        rules.len(),
        (ruled - plain) / plain
    );
    assert!(ruled - plain < plain, "the rules cost more than the scan");
}

/// Seconds of the processor that a listing takes.
fn scan(work: &TempTree, options: &[&str]) -> f64 {
    let push = Command::new(env!("CARGO_BIN_EXE_hasync"))
        .args(["push", "--list-only", "-rq"])
        .args(options)
        .arg(work.contents_of("source"))
        .spawn();
    let before = children();
    assert!(push.unwrap().wait().unwrap().success());
    children() - before
}

/// Processor seconds that the ended children of this process have taken.
fn children() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    // The fields 16 and 17 of proc(5), in ticks: the third is the first behind the name.
    let ticks = after_name.split_whitespace().skip(13).take(2);
    let ticks: f64 = ticks.map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}
