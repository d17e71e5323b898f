//! A second implementation, in Python and from PROTOCOL.md alone, on either end of a push: what it
//! cannot do without being told, the document says.

use std::path::Path;
use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot, TempTree, await_that, need_root};

const PUSH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second/push.py");
const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second/serve.py");
const LIAR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second/liar.py");
const FLOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/second/flood.py");

const NOTHING: &str = "entries 0, new directories 0, files 0\n";

/// Every kind of entry, files that travel in packs and in data, more names than one message has.
fn fill(trees: &TempTree) {
    trees.write("source/file", "content");
    trees.write("source/empty file", "");
    trees.write("source/a/long", noise(300_000, 1));
    trees.write("source/a/zeros", [0; 5000]);
    trees.write("source/a/b/c/deep", "deep");
    // In canonical order after what is in a/b.
    trees.write("source/a/b-c/file", "beside");
    trees.write("source/goes/with/all", "below");
    trees.mkdir("source/empty");
    trees.symlink("nowhere", "source/link");
    trees.fifo("source/fifo");
    trees.char_device("source/null", 1, 3);
    for number in 0..250 {
        trees.write(format!("source/many/{number}"), number.to_string());
    }
    trees.chmod("source/file", 0o4750);
    trees.chmod("source/many", 0o1777);
    trees.chown("source/a/long", 1234, 4321);
    trees.chown("source/a/b", 65534, 65534);
    trees.mtime("source/file", 1_500_000_000, 123_456_789);
    trees.mtime("source/a/b", 1_400_000_000, 5);
    trees.mtime("source", -5, 500_000_000);
}

/// What a push has to do of each sort: more and less content, other types, metadata, deletions.
fn change(trees: &TempTree) {
    let remove = |name: &str| Command::new("rm").arg("-r").arg(trees.path(name)).status();
    trees.write("source/file", "longer content");
    trees.write("source/a/long", noise(400_000, 2));
    trees.write("source/a/zeros", [0; 300_000]);
    trees.chmod("source/empty", 0o700);
    trees.mtime("source/many/7", 77, 7);
    trees.write("source/new/er/file", "new");
    for name in ["goes", "many/9", "many/90", "link", "fifo", "null", "a/b-c"] {
        assert!(remove(&format!("source/{name}")).unwrap().success());
    }
    trees.write("source/a/b-c", "a file now");
    trees.write("source/link/in", "a directory now");
    trees.symlink("now/a/link", "source/fifo");
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut noise = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

fn same(trees: &TempTree) {
    let target = Snapshot::of(&trees.path("target"));
    Snapshot::of(&trees.path("source")).assert_same(&target);
}

#[test]
fn it_pushes_to_this_one() {
    need_root();
    let trees = TempTree::new();
    fill(&trees);
    let push = || -> String {
        let push = Hasync::new()
            .under(&[
                "python3",
                "-B",
                PUSH,
                &trees.text("source"),
                &trees.text("target"),
            ])
            .arg("serve");
        push.run().expect(0).stdout_text()
    };
    push();
    same(&trees);
    assert_eq!(push(), NOTHING);
    change(&trees);
    assert!(push().ends_with("files 7\n"));
    same(&trees);
    assert_eq!(push(), NOTHING);
}

fn push_to_it(trees: &TempTree, coarse: &str) -> Finished {
    let rsh = FakeRsh::with_script(&format!(
        "exec python3 -B '{SERVE}' '{}' {coarse}",
        trees.text("log")
    ));
    Hasync::push(&["-ai", "--delete", "-z", "-e", &rsh.path()])
        .arg(trees.contents_of("source"))
        .arg(format!("host:{}", trees.text("target")))
        .run()
        .expect(0)
}

fn last_line(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap();
    format!("{}\n", log.lines().last().unwrap_or_default())
}

#[test]
fn this_one_pushes_to_it() {
    need_root();
    let trees = TempTree::new();
    fill(&trees);
    push_to_it(&trees, "");
    same(&trees);
    assert_eq!(push_to_it(&trees, "").stdout_text(), "");
    assert_eq!(last_line(&trees.path("log")), NOTHING);
    change(&trees);
    let changed = push_to_it(&trees, "");
    assert!(
        last_line(&trees.path("log")).ends_with("files 7\n"),
        "{changed}"
    );
    assert_eq!(
        changed.stdout_text().matches("*deleting").count(),
        6,
        "{changed}"
    );
    same(&trees);
    assert_eq!(push_to_it(&trees, "").stdout_text(), "");
    assert_eq!(last_line(&trees.path("log")), NOTHING);
}

/// What a receiver tells of a file system mounted in its target counts there, and nowhere else.
#[test]
fn what_a_mount_of_its_target_loses_does_not_count() {
    need_root();
    let trees = TempTree::new();
    fill(&trees);
    push_to_it(&trees, "a");
    assert_eq!(push_to_it(&trees, "a").stdout_text(), "");
    assert_eq!(last_line(&trees.path("log")), NOTHING);
    for name in [
        "source/a/long",
        "source/a/b/c",
        "source/many",
        "source/empty",
    ] {
        trees.chmod(name, 0o711);
    }
    trees.mtime("source/a/zeros", 1_600_000_001, 5);
    push_to_it(&trees, "a");
    trees.mtime("source/a/zeros", 1_600_000_000, 999_999_999);
    let seen = push_to_it(&trees, "a");
    assert_eq!(seen.stdout_text(), "", "{seen}");
    trees.mtime("source/many", 1_600_000_000, 5);
    let seen = push_to_it(&trees, "a").stdout_text();
    assert_eq!(seen, ".d..t...... many/\n");
}

/// Peak RSS of a half in MiB, whatever its peer says: what has a limit of its own below it.
const MEMORY_MAX_MIB: u64 = 256;

/// A receiver may say things without end faster than they are handled.
#[test]
fn a_flood_of_answers_does_not_fill_the_memory() {
    let trees = TempTree::new();
    trees.write("source/file", "content");
    for (message, mib, exit) in [
        ("Compared", 24, 12),
        ("Warning", 24, 12),
        ("Ping", 8, 12),
        // Refused: the prints of too many names.
        ("Differs", 400, 12),
    ] {
        let log = trees.path(format!("taken of {message}"));
        let flood = format!(
            "exec python3 -B '{FLOOD}' {message} {mib} '{}'",
            log.display()
        );
        let rsh = FakeRsh::with_script(&flood);
        let report = trees.path("rss");
        Hasync::push(&["-r", "--delete", "-e", &rsh.path()])
            .arg(trees.contents_of("source"))
            .arg("host:target")
            .under(&["/usr/bin/time", "-q", "-f", "%M", "-o", &trees.text("rss")])
            .run()
            .expect(exit);
        let peak_kib = std::fs::read_to_string(report).unwrap();
        let peak_mib = peak_kib.trim().parse::<u64>().unwrap() / 1024;
        assert!(peak_mib < MEMORY_MAX_MIB, "{message}: {peak_mib} MiB");
        let taken = || std::fs::read_to_string(&log).ok()?.parse::<u64>().ok();
        await_that("the flood to end", || taken().is_some());
        let taken = taken().unwrap();
        assert!(taken >= 1 << 20, "{message}: {taken} bytes were taken");
    }
}

/// Lies in bytes that no half of this project says: each is refused, in bounded memory.
#[test]
fn lies_from_the_document_alone_are_refused() {
    need_root();
    let trees = TempTree::new();
    trees.write("target/file", "content");
    let target = trees.text("target");
    let played = Hasync::new()
        .under(&["python3", "-B", LIAR, "senders", &target])
        .arg("serve")
        .run()
        .expect(0)
        .stdout_text();
    // One has made 3,000 levels, which overflow the stack of whoever removes them by recursion.
    run_ok("rm", &["-rf", &target]);
    let mut wrong = Vec::new();
    for line in played.lines() {
        let [_, exit, kib, seen] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        let kib: u64 = kib.parse().unwrap();
        if exit != "12" || kib / 1024 >= MEMORY_MAX_MIB || seen != "seen through" {
            wrong.push(line);
        }
    }
    assert!(played.lines().count() >= 55, "{played}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_receiver_that_lies_from_the_document_alone_is_refused() {
    let trees = TempTree::new();
    trees.write("source/file", noise(5000, 1));
    trees.write("source/other", "content");
    let list = Command::new("python3").args(["-B", LIAR, "list"]).output();
    let lies = String::from_utf8(list.unwrap().stdout).unwrap();
    assert!(lies.lines().count() >= 30, "{lies}");
    for lie in lies.lines() {
        let rsh = FakeRsh::with_script(&format!("exec python3 -B '{LIAR}' receiver '{lie}'"));
        let refused = Hasync::push(&["-r", "--delete", "-e", &rsh.path()])
            .arg(trees.contents_of("source"))
            .arg("host:target")
            .under(&["/usr/bin/time", "-q", "-f", "%M", "-o", &trees.text("rss")])
            .run()
            .expect(12);
        // A liar that fails says so, and proves nothing.
        assert!(!refused.stderr.contains("Traceback"), "{lie}: {refused}");
        // Nor does one that ends before anybody has seen through it.
        let is_blind = refused.stderr.contains("closed the connection");
        assert!(
            !is_blind || ["a cut", "nothing more", "verdicts without end"].contains(&lie),
            "{lie}: {refused}"
        );
        let peak_kib = std::fs::read_to_string(trees.path("rss")).unwrap();
        let peak_mib = peak_kib.trim().parse::<u64>().unwrap() / 1024;
        assert!(peak_mib < MEMORY_MAX_MIB, "{lie}: {peak_mib} MiB");
    }
}
