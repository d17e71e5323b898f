//! A second push of an unchanged tree is asserted by work, not by time: no entry and no
//! byte of data is sent, and not one inode of the target is touched.

use crate::support::{Finished, Hasync, Snapshot, Sshd, TempTree, need_root, versions};

#[test]
fn nothing_is_sent_or_written_locally() {
    check(|options, trees| {
        Hasync::push(options)
            .arg(trees.contents_of("source"))
            .arg(trees.path("target"))
    });
}

#[test]
fn nothing_is_sent_or_written_over_sshd() {
    let sshd = Sshd::start();
    check(|options, trees| sshd.push(options, &trees.contents_of("source"), &trees.path("target")));
}

#[test]
fn nothing_is_written_when_not_root() {
    need_root();
    let reachable = crate::support::hasync::Reachable::new();
    let trees = TempTree::new();
    fill(&trees);
    trees.chmod("", 0o777);
    let push = || {
        Hasync::push(&["-a", "--stats", "-i"])
            .arg(trees.contents_of("source"))
            .arg(trees.path("target"))
            .by_nobody(&reachable)
            .run()
    };
    // Devices and foreign owners are beyond nobody: that is said once per push.
    let first = push();
    assert!(matches!(first.code, 0 | 23), "{first}");
    let before = Snapshot::of(&trees.path("target"));
    let second = push();
    assert_eq!(sent_data(&second), 0, "{second}");
    Snapshot::of(&trees.path("target")).assert_untouched_since(&before);
}

#[test]
fn a_touched_nanosecond_is_seen() {
    let trees = TempTree::new();
    trees.write("source/a", "old!");
    trees.mtime("source/a", 1_600_000_000, 500);
    let push = Hasync::push(&["-ai"])
        .arg(trees.contents_of("source"))
        .arg(trees.path("target"));
    push.run().expect(0);
    trees.write("source/a", "new!");
    trees.mtime("source/a", 1_600_000_000, 501);
    push.run().expect(0);
    assert_eq!(trees.read("target/a"), b"new!");
}

/// Each side opens an unchanged directory once, to list it, and nothing else in it.
#[test]
fn an_unchanged_directory_is_opened_once_on_each_side() {
    const MORE: usize = 200;
    let trees = TempTree::new();
    let opened = |dirs: usize| {
        for dir in 0..dirs {
            trees.write(format!("source/d{dir}/file"), "content");
        }
        let push = Hasync::push(&["-aH", "--delete"])
            .arg(trees.contents_of("source"))
            .arg(trees.path("target"));
        push.run().expect(0);
        let log = trees.text("calls");
        let strace = [
            "strace",
            "-f",
            "-e",
            "trace=openat,openat2,newfstatat,statx",
            "-o",
            &log,
        ];
        push.under(&strace).run().expect(0);
        let log = String::from_utf8(trees.read("calls")).unwrap();
        let calls = log.lines().filter(|line| !line.contains(" resumed>"));
        let of = |name: &str| calls.clone().filter(|line| line.contains(name)).count();
        [of("openat"), of("stat(") + of("statx(")]
    };
    let (few, many) = (opened(MORE), opened(2 * MORE));
    // Of each directory more: it is opened and, like the file in it, examined, here and there. A
    // few calls more or less are those of libraries.
    let of_each = |at: usize| (many[at] - few[at] + MORE / 2) / MORE;
    assert_eq!([of_each(0), of_each(1)], [2, 4], "{few:?} {many:?}");
}

fn check(push: impl Fn(&[&str], &TempTree) -> Hasync) {
    need_root();
    for options in [
        &["-a"][..],
        &["-aH"],
        &["-aH", "--delete"],
        &["-ac"],
        &["-aS"],
        &["-rlt"],
    ] {
        let trees = TempTree::new();
        fill(&trees);
        push(options, &trees).run().expect(0);
        let before = Snapshot::of(&trees.path("target"));
        let second = push(options, &trees)
            .args(["--stats", "-i"])
            .run()
            .expect(0);
        let changes: Vec<String> = second
            .lines()
            .iter()
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .filter(|line| line.starts_with(['<', '>', 'c', 'h', '.', '*']))
            .collect();
        assert!(changes.is_empty(), "{options:?}: {changes:?}");
        assert_eq!(sent_data(&second), 0, "{options:?}: {second}");
        assert_eq!(
            stat(&second, "Number of regular files transferred"),
            0,
            "{second}"
        );
        Snapshot::of(&trees.path("target")).assert_untouched_since(&before);
    }
}

fn fill(trees: &TempTree) {
    versions::write_tree(&trees.mkdir("source"), 400, 1, 20);
    trees.symlink("nowhere", "source/link");
    trees.fifo("source/fifo");
    trees.char_device("source/null", 1, 3);
    trees.hard_link("source/dir0/f0", "source/dir1/hard");
    trees.hard_link("source/dir0/f0", "source/hard");
    trees.chown("source/dir0/f7", 12345, 23456);
    trees.chmod("source/dir0/f14", 0o4755);
    trees.mtime("source/dir2", 1_500_000_000, 123_456_789);
}

/// Literal and matched bytes of file data, as `--stats` tells them.
fn sent_data(done: &Finished) -> u64 {
    stat(done, "Literal data") + stat(done, "Matched data")
}

fn stat(done: &Finished, key: &str) -> u64 {
    let text = done.stdout_text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    let line = line.unwrap_or_else(|| panic!("no line {key:?} in --stats\n{done}"));
    let number: String = line
        .chars()
        .take_while(|c| *c != ' ')
        .filter(char::is_ascii_digit)
        .collect();
    number.parse().unwrap()
}
