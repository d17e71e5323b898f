//! What generations cost: pushes of a named tree beside the same pushes without a name, to a
//! standby on ext4 in a loop device, over the same sshd, warm, best of three, alternating:
//!   cargo bench --bench generations [-- --full]
//! Both flush before they end. Beside it what ACLs and attributes cost a named tree that has not
//! changed, on which files have none and on which all have one. Run it as root on an idle machine.
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
#[allow(dead_code, reason = "the side-by-side needs more of them")]
mod trees;

use std::path::Path;
use std::time::Instant;

use support::loopfs::LoopFs;
use support::pair::Node::{Foo0, Foo1};
use support::pair::Pair;
use support::{Hasync, Sshd, TempTree};

const RUNS: usize = 3;

/// Best wall times in seconds: first copy, change of one file in a thousand.
type Best = [f64; 2];

fn main() {
    let full = std::env::args().any(|argument| argument == "--full");
    let count = if full { 100_000 } else { 10_000 };
    let work = TempTree::within(Path::new("/dev/shm"));
    let disk = LoopFs::new("ext4", if full { 6144 } else { 1024 });
    let sshd = Sshd::start();
    let (mut plain, mut named): (Best, Best) = ([f64::INFINITY; 2], [f64::INFINITY; 2]);
    let mut unchanged: [(&str, Best); 2] =
        ["none", "one each"].map(|row| (row, [f64::INFINITY; 2]));
    for run in 0..RUNS {
        let source = work.mkdir(format!("source-{run}"));
        trees::small_files(&source, count);
        trees::age(&source);

        let target = disk.path("plain");
        let push = || {
            sshd.push(
                &["-aH", "--delete"],
                &format!("{}/", source.display()),
                &target,
            )
        };
        take(&mut plain[0], &push());
        let pair = Pair::with_standby_on(&disk.path("named"));
        let html = pair.path(Foo0, "html");
        std::fs::remove_dir(&html).unwrap();
        std::os::unix::fs::symlink(&source, &html).unwrap();
        let push_named = || pair.on(Foo0, &["push", "--tree", "html", "-q"]);
        take(&mut named[0], &push_named());

        trees::append_to_small_files(&source, count, 1000);
        take(&mut plain[1], &push());
        take(&mut named[1], &push_named());

        for (row, best) in &mut unchanged {
            if *row == "one each" {
                trees::label(&source);
            }
            take_unchanged(best, &pair);
        }

        let left = std::fs::read_dir(pair.path(Foo1, "html")).unwrap().count();
        assert!(left > 1, "nothing arrived");
        std::fs::remove_dir_all(&target).unwrap();
        std::fs::remove_dir_all(disk.path("named")).unwrap();
        std::fs::remove_dir_all(&source).unwrap();
    }
    println!("{count} files; best of {RUNS}");
    println!(
        "{:<40} {:>9} {:>9} {:>6}",
        "row", "plain s", "named s", "ratio"
    );
    for (at, row) in ["first copy", "0.1 % appended to"].iter().enumerate() {
        let (plain, named) = (plain[at], named[at]);
        println!(
            "{row:<40} {plain:>9.3} {named:>9.3} {:>5.2}x",
            named / plain
        );
    }
    println!("nothing changed, named:           without   with");
    for (row, [without, with]) in unchanged {
        let ratio = with / without;
        println!("attributes: {row:<28} {without:>9.3} {with:>9.3} {ratio:>5.2}x");
    }
}

/// Measures pushes that find nothing to do, without ACLs and attributes and with them.
fn take_unchanged(best: &mut Best, pair: &Pair) {
    let push = || pair.on(Foo0, &["push", "--tree", "html", "-q"]);
    // What is remembered has to be a few seconds old.
    push().run().expect(0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    push().run().expect(0);
    let config = pair.read(Foo0, "hasync.toml");
    let line = "name = \"html\"\n";
    let without = config.replace(line, &format!("{line}acls = false\nxattrs = false\n"));
    for _ in 0..RUNS {
        pair.write(Foo0, "hasync.toml", &without);
        take(&mut best[0], &push());
        pair.write(Foo0, "hasync.toml", &config);
        take(&mut best[1], &push());
    }
}

/// Runs a push after everything before it has reached the disk.
fn take(best: &mut f64, push: &Hasync) {
    support::process::run_ok("sync", &[]);
    let start = Instant::now();
    push.run().expect(0);
    *best = best.min(start.elapsed().as_secs_f64());
}
