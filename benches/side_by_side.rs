//! hasync beside rsync 3.5.0 over the same sshd on loopback, both with their default
//! cipher, on tmpfs, warm, best of three, alternating:
//!   cargo bench --bench side_by_side [-- [--full] [--row WORDS]...]
//! or beside another build of itself, both halves of it, seven pairs a row, with the median of
//! the pairs' ratios:
//!   cargo bench --bench side_by_side -- --against OTHER/hasync [--full] [--row WORDS]...
//! or first copies beside tar, into sshd and into `serve --listen`, in the same way:
//!   cargo bench --bench side_by_side -- --tar [--full] [--row WORDS]...
//! Wall time is the command's. CPU is what all processors of the machine did until the far side
//! had ended too, so run it on an idle machine. Bytes are loopback traffic both ways with all
//! headers; as root the bench runs in a network namespace of its own, so that nothing else is
//! counted. The row over fast ethernet has a cable of its own, the one on a warm connection pushes
//! from within the bench. Peak RSS is the largest process of a side, as time(1) tells it.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench that cannot go on says so by panicking"
)]

mod fast_ethernet;
mod listen;
mod paired;
#[path = "../tests/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the fixtures of the tests; the bench needs a few"
)]
mod support;
mod tar;
mod trees;
mod warm;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Snapshot, Sshd, TempTree};

const RUNS: usize = 3;
/// Set in the copy of the bench that runs inside its own network namespace.
const INSIDE: &str = "HASYNC_BENCH_INSIDE";

/// One row: makes source and target, given how much smaller than full size to be.
struct Row {
    name: &'static str,
    make: fn(source: &Path, target: &Path, shrink: usize),
}

/// Full sizes; a normal run divides them by `SHRINK`.
const ROWS: &[Row] = &[
    Row {
        name: "nothing changed, 100,000 files",
        make: |s, t, shrink| unchanged(s, t, 100_000 / shrink),
    },
    Row {
        name: "nothing changed, 1,000,000 files",
        make: |s, t, shrink| unchanged(s, t, 1_000_000 / shrink),
    },
    Row {
        name: "0.1 % of 100,000 files appended to",
        make: |s, t, shrink| {
            unchanged(s, t, 100_000 / shrink);
            trees::append_to_small_files(s, 100_000 / shrink, 1000);
        },
    },
    Row {
        name: "first copy, 100,000 files",
        make: |s, _, shrink| trees::small_files(s, 100_000 / shrink),
    },
    Row {
        name: "first copy, 1,000,000 files in one",
        make: |s, _, shrink| trees::flat_files(&s.join("one"), 1_000_000 / shrink, 1),
    },
    Row {
        name: "nothing changed, 1,000,000 in one",
        make: |s, t, shrink| {
            trees::flat_files(&s.join("one"), 1_000_000 / shrink, 1);
            copy(s, t);
        },
    },
    Row {
        name: "first copy, one 2 GiB file",
        make: |s, _, shrink| trees::large_file(&s.join("large"), (2 << 30) / shrink as u64, 42),
    },
    Row {
        name: "1 % of pages of 2 GiB rewritten",
        make: |s, t, shrink| large(s, t, shrink, trees::rewrite_pages),
    },
    Row {
        name: "1,237 bytes inserted before 2 GiB",
        make: |s, t, shrink| large(s, t, shrink, |file| trees::insert_at_front(file, 1237)),
    },
    Row {
        name: "10 MiB appended to 2 GiB",
        make: |s, t, shrink| large(s, t, shrink, |file| trees::append(file, 10 << 20)),
    },
    Row {
        name: "directory of 14,000 files renamed",
        make: renamed,
    },
    Row {
        name: "28,000 of 100,000 files deleted",
        make: |s, t, shrink| {
            unchanged(s, t, 100_000 / shrink);
            trees::remove_small_files(s, 28_000 / shrink);
        },
    },
    Row {
        name: "1 GiB of zeros, one byte appended",
        make: |s, t, shrink| {
            trees::zeros(&s.join("zeros"), (1 << 30) / shrink as u64);
            copy(s, t);
            trees::append(&s.join("zeros"), 1);
        },
    },
    Row {
        name: "one byte inserted before 1 GiB of zeros",
        make: |s, t, shrink| {
            trees::zeros(&s.join("zeros"), (1 << 30) / shrink as u64);
            copy(s, t);
            trees::insert_at_front(&s.join("zeros"), 1);
        },
    },
    Row {
        name: "first copy, 400,000 names of 200,000, -H",
        make: |s, _, shrink| trees::linked_files(s, 200_000 / shrink),
    },
    Row {
        name: "nothing changed, 400,000 of 200,000, -H",
        make: |s, t, shrink| {
            trees::linked_files(s, 200_000 / shrink);
            copy(s, t);
        },
    },
    Row {
        name: "nothing changed, 100,000 files, -AX",
        make: |s, t, shrink| unchanged(s, t, 100_000 / shrink),
    },
    Row {
        name: "nothing changed, 100,000 labelled, -AX",
        make: |s, t, shrink| {
            trees::small_files(s, 100_000 / shrink);
            trees::label(s);
            copy(s, t);
        },
    },
    Row {
        name: "1 GiB over an unrelated 1 GiB",
        make: |s, t, shrink| {
            let len = (1 << 30) / shrink as u64;
            trees::large_file(&s.join("large"), len, 42);
            copy(s, t);
            trees::large_file(&s.join("large"), len, 43);
            trees::append(&s.join("large"), 0);
        },
    },
];
const SHRINK: usize = 4;

impl Row {
    /// The letters of its pushes.
    fn letters(&self) -> &'static str {
        match self.name.rsplit_once(", ") {
            Some((_, "-H")) => "-aH",
            Some((_, "-AX")) => "-aHAX",
            _ => "-a",
        }
    }
}

fn unchanged(source: &Path, target: &Path, count: usize) {
    trees::small_files(source, count);
    copy(source, target);
}

fn large(source: &Path, target: &Path, shrink: usize, change: impl Fn(&Path)) {
    trees::large_file(&source.join("large"), (2 << 30) / shrink as u64, 42);
    copy(source, target);
    change(&source.join("large"));
}

fn renamed(source: &Path, target: &Path, shrink: usize) {
    trees::small_files(source, 1000 / shrink);
    trees::flat_files(&source.join("old-name"), 14_000 / shrink, 8 << 10);
    copy(source, target);
    fs::rename(source.join("old-name"), source.join("new-name")).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(INSIDE).is_none() && rustix::process::geteuid().is_root() {
        enter_own_network(&arguments);
    }
    let full = arguments.iter().any(|argument| argument == "--full");
    let shrink = if full { 1 } else { SHRINK };
    let wanted: Vec<&String> = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .filter_map(|(option, value)| (option == "--row").then_some(value))
        .collect();

    let sshd = Sshd::start();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|words| name.contains(words.as_str()));
    if let Some(at) = arguments.iter().position(|word| word == "--against") {
        let other = arguments.get(at + 1).map_or("", String::as_str);
        return paired::measure_all(Path::new(other), &sshd, shrink, is_wanted);
    }
    if arguments.iter().any(|argument| argument == "--tar") {
        return tar::measure_all(&sshd, shrink, is_wanted);
    }
    println!(
        "sizes: {}; best of {RUNS}; rsync {}",
        scale(shrink),
        rsync_version()
    );
    println!(
        "{:<36} {:<7} {:>8} {:>7} {:>10} {:>10} {:>10} {:>6} {:>6}",
        "row", "", "wall s", "CPU s", "link MB", "RSS here", "RSS there", "wall", "bytes"
    );
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        measure(row, &sshd, shrink);
    }
    if is_wanted(warm::NAME) {
        warm::measure(&sshd, shrink);
    }
    if is_wanted(fast_ethernet::NAME) {
        fast_ethernet::measure(shrink);
    }
}

fn scale(shrink: usize) -> String {
    if shrink == 1 {
        "full".into()
    } else {
        format!("1/{shrink} of the named ones (--full: all)")
    }
}

/// Runs the bench again where loopback carries nothing but its own traffic.
fn enter_own_network(arguments: &[String]) {
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let error = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(INSIDE, "1")
        .exec();
    eprintln!("no network namespace ({error}): other loopback traffic is counted too");
}

/// How a row's pushes differ from a plain `-a` over loopback.
struct Way<'a> {
    sshd: &'a Sshd,
    /// Stands before the command.
    launcher: &'a [&'a str],
    letters: &'a str,
    /// Bytes that the link has carried.
    link_bytes: &'a dyn Fn() -> u64,
}

fn over_loopback<'a>(sshd: &'a Sshd, letters: &'a str) -> Way<'a> {
    Way {
        sshd,
        launcher: &[],
        letters,
        link_bytes: &loopback_bytes,
    }
}

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    wall_s: f64,
    cpu_s: f64,
    link_bytes: u64,
    rss_here_kib: u64,
    rss_there_kib: u64,
}

#[derive(Clone, Debug)]
enum Tool {
    Rsync,
    /// A build of hasync, on both ends.
    Hasync(PathBuf),
}

impl Tool {
    fn hasync() -> Tool {
        Tool::Hasync(support::Hasync::program())
    }
}

fn measure(row: &Row, sshd: &Sshd, shrink: usize) {
    let scene = Scene::new(row, shrink);
    let mut best: [Option<Cost>; 2] = [None, None];
    for run in 0..RUNS {
        for (slot, tool) in [Tool::Rsync, Tool::hasync()].iter().enumerate() {
            let target = scene.fresh_target();
            let cost = push(
                tool,
                &scene.work,
                &target,
                &over_loopback(sshd, row.letters()),
            );
            if run == 0 {
                scene.assert_same(&target);
            }
            if best[slot].is_none_or(|best| cost.wall_s < best.wall_s) {
                best[slot] = Some(cost);
            }
        }
    }
    let [Some(rsync), Some(hasync)] = best else {
        unreachable!("each tool ran")
    };
    print_cost(row.name, "rsync", rsync, rsync);
    print_cost("", "hasync", hasync, rsync);
}

/// The source and the target of a row, which each run finds as the row made them.
struct Scene<'a> {
    row: &'a Row,
    work: TempTree,
    template: PathBuf,
}

impl Scene<'_> {
    fn new(row: &Row, shrink: usize) -> Scene<'_> {
        let work = TempTree::within(Path::new("/dev/shm"));
        let (source, template) = (work.mkdir("source"), work.path("template"));
        (row.make)(&source, &template, shrink);
        trees::age(&source);
        Scene {
            row,
            work,
            template,
        }
    }

    fn fresh_target(&self) -> PathBuf {
        // A push of nothing leaves the template as it is.
        if self.row.name.starts_with("nothing changed") {
            return self.template.clone();
        }
        let target = self.work.path("target");
        let _ = fs::remove_dir_all(&target);
        if self.template.exists() {
            copy(&self.template, &target);
        }
        target
    }

    fn assert_same(&self, target: &Path) {
        Snapshot::of(&self.work.path("source")).assert_same(&Snapshot::of(target));
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn print_cost(row: &str, tool: &str, cost: Cost, base: Cost) {
    println!(
        "{row:<36} {tool:<7} {:>8.3} {:>7.2} {:>10.3} {:>6.1} MiB {:>6.1} MiB {:>5.2}x {:>5.2}x",
        cost.wall_s,
        cost.cpu_s,
        cost.link_bytes as f64 / 1e6,
        cost.rss_here_kib as f64 / 1024.0,
        cost.rss_there_kib as f64 / 1024.0,
        cost.wall_s / base.wall_s,
        cost.link_bytes as f64 / base.link_bytes as f64,
    );
}

fn push(tool: &Tool, work: &TempTree, target: &Path, way: &Way<'_>) -> Cost {
    let (here, there) = (work.path("rss-here"), work.path("rss-there"));
    let program = match tool {
        Tool::Rsync => Path::new("rsync"),
        Tool::Hasync(program) => program,
    };
    let far_program = timed_program(work, program, &there);
    let config = way.sshd.file("ssh_config").display().to_string();
    let words = [way.launcher, &["/usr/bin/time", "-f", "%M", "-o"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&here).arg(program);
    match tool {
        Tool::Rsync => command
            .args([way.letters, "--delete", "-e", &format!("ssh -F {config}")])
            .arg(format!("--rsync-path={far_program}")),
        Tool::Hasync(_) => command
            .args(["push", way.letters, "--delete", "--ssh-config", &config])
            .args(["--remote-bin", &far_program]),
    };
    command
        .arg(work.contents_of("source"))
        .arg(format!("standby:{}", target.display()));
    command.stdin(Stdio::null());

    let link_before = (way.link_bytes)();
    let [wall_s, cpu_s] = timed(&mut command, way.sshd);
    let rss_there_kib = kib(&there);
    Cost {
        wall_s,
        cpu_s,
        link_bytes: (way.link_bytes)() - link_before,
        rss_here_kib: kib(&here),
        rss_there_kib,
    }
}

/// The seconds that a command takes, and those that the machine's processors do until its session
/// of the server has ended too.
fn timed(command: &mut Command, sshd: &Sshd) -> [f64; 2] {
    let cpu_before = cpu_seconds();
    let start = Instant::now();
    let status = command.status().unwrap();
    let wall_s = start.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?}: {status}");
    await_idle(sshd);
    [wall_s, cpu_seconds() - cpu_before]
}

/// Waits until every session of the server has ended and was waited for.
fn await_idle(sshd: &Sshd) {
    let id = sshd.id();
    let children = format!("/proc/{id}/task/{id}/children");
    while fs::read_to_string(&children).is_ok_and(|children| !children.is_empty()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A program for the far side that leaves its peak RSS in a file.
fn timed_program(work: &TempTree, program: &Path, report: &Path) -> String {
    let path = work.path("far-program");
    let (report, program) = (report.display(), program.display());
    let script = format!("#!/bin/sh\nexec /usr/bin/time -f %M -o {report} {program} \"$@\"\n");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// Takes a report, which a far side may write after the command has ended.
fn kib(report: &Path) -> u64 {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let text = fs::read_to_string(report).unwrap_or_default();
        if let Some(line) = text.lines().last() {
            fs::remove_file(report).unwrap();
            return line.trim().parse().unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{}: the far side never ended", report.display());
}

/// Seconds that the machine's processors have been busy: everything counts, so run the bench alone.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq; in hundredths of a second.
    [0, 1, 2, 5, 6]
        .iter()
        .map(|&field| fields[field])
        .sum::<f64>()
        / 100.0
}

fn loopback_bytes() -> u64 {
    let table = fs::read_to_string("/proc/net/dev").unwrap();
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn rsync_version() -> String {
    let output = Command::new("rsync").arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace()
        .nth(2)
        .unwrap_or("unknown")
        .to_owned()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "cp -a {} {}",
        from.display(),
        to.display()
    );
}
