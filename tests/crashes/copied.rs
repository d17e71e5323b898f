//! The standby's data is moved to another disk, or restored from a backup: no inode has the number
//! there that the records say, and another may have it. Undo, and what was cut off before, go on.

use std::path::Path;

use super::{assert_whole, end_at, end_standby_at, mirrored, push_on, write_version};
use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::temptree::set_mtime;
use crate::support::{Snapshot, TempTree};

/// Ways to move a tree, in a shell in its directory.
const CP: &str = "cp -a $T $T.new; mv $T $T.old; mv $T.new $T";
const TAR: &str = "tar --format=pax -cf $T.tar $T; rm -rf $T; tar -xpf $T.tar";
/// The same names get new inodes, with numbers that others had: only the root stays.
const TAR_INTO: &str =
    "tar --format=pax -cf $T.tar $T; find $T -mindepth 1 -delete; tar -xpf $T.tar";
/// It takes times for equal that are so in seconds.
const RSYNC: &str = "sleep 1; mv $T $T.old; rsync -aHAX $T.old/ $T/";
const SNAPSHOT: &str = "btrfs -q subvolume snapshot $T $T.new; mv $T $T.old; mv $T.new $T";
/// The whole disk, as an image.
const DISK: &str = "";

/// The standby on a disk of its own.
struct Standby {
    disk: LoopFs,
    pair: Pair,
}

impl Standby {
    fn on(kind: &str) -> Self {
        let disk = LoopFs::new(kind, 128);
        let pair = Pair::with_standby_on(&disk.path("foo1"));
        if kind == "btrfs" {
            let html = pair.path(Foo1, "html").display().to_string();
            std::fs::remove_dir(&html).unwrap();
            run_ok("btrfs", &["-q", "subvolume", "create", &html]);
        }
        pair.keep_undo("keep = 99");
        Standby { disk, pair }
    }

    fn moves(&self, how: &str) {
        if how == DISK {
            return self.disk.boot();
        }
        shell(&self.pair.path(Foo1, ""), how);
    }
}

fn shell(dir: &Path, how: &str) {
    let clean = "rm -rf $T.old $T.tar $T.new";
    let clean = if how == SNAPSHOT { ":" } else { clean };
    let script = format!("set -e; cd {}; T=html; {how}; {clean}", dir.display());
    run_ok("sh", &["-c", &script]);
}

/// Pushes versions up to `last`; what each was, from the first on.
fn pushed(pair: &Pair, last: u32) -> Vec<Snapshot> {
    let mut states = vec![mirrored(pair)];
    for version in 2..=last {
        write_version(&pair.path(Foo0, "html"), version);
        states.push(pair.html(Foo0));
        push_on(pair, &states[version as usize - 1]);
    }
    states
}

#[track_caller]
fn undo_to(pair: &Pair, states: &[Snapshot], number: usize, when: &str) {
    let done = pair.run(Foo1, &["undo", "html", "--to", &number.to_string()]);
    let differs = states[number - 1].diff(&pair.html(Foo1));
    assert_eq!((done.code, &*differs), (0, ""), "{when}: {done}");
}

fn undone(kind: &str, how: &str) {
    let standby = Standby::on(kind);
    let pair = &standby.pair;
    let mut states = pushed(pair, 3);
    standby.moves(how);
    // Somebody else's: other content, another time, another owner, nothing any more.
    let path = pair.path(Foo1, "html/dir1/f1");
    let text = std::fs::read(&path).unwrap();
    let of_dir = states[2].entries[&b"dir1"[..]].mtime;
    for change in ["other", "time", "owner", "type"] {
        match change {
            "other" => std::fs::write(&path, text.repeat(2)).unwrap(),
            "time" => set_mtime(&path, 1_600_000_009, 0),
            "owner" => std::os::unix::fs::chown(&path, Some(77), None).unwrap(),
            _ => {
                std::fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("x", &path).unwrap();
            }
        }
        // Where numbers hold, an owner alone tells nothing of that.
        if change != "owner" || ![DISK, SNAPSHOT].contains(&how) {
            pair.run(Foo1, &["undo", "html"])
                .expect_error(3, &["dir1/f1", "was changed by somebody else"]);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &text).unwrap();
        set_mtime(&path, 1_600_000_003, 0);
        set_mtime(path.parent().unwrap(), of_dir.0, of_dir.1);
    }
    if [DISK, SNAPSHOT].contains(&how) {
        // It is another one, though nothing else tells it.
        pair.run(Foo1, &["undo", "html"])
            .expect_error(3, &["dir1/f1", "was changed by somebody else"]);
        return;
    }
    let status = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    assert!(status.contains("2 can be undone"), "{status}");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    push_on(pair, &states[2]);
    // What is from before is told by its looks, what comes now by its number.
    write_version(&pair.path(Foo0, "html"), 4);
    states.push(pair.html(Foo0));
    push_on(pair, &states[3]);
    for number in [3, 4, 1, 4, 2] {
        undo_to(pair, &states, number, how);
    }
    standby.moves(how);
    undo_to(pair, &states, 4, how);
    let paths = [
        "undo", "html", "--to", "2", "--path", "dir1", "--path", "stays",
    ];
    pair.run(Foo1, &paths).expect(0);
    for name in ["dir1/f1", "stays"] {
        let (now, name) = (pair.html(Foo1), name.as_bytes());
        assert_eq!(now.entries[name].content, states[1].entries[name].content);
        assert_eq!(now.entries[name].mode, states[1].entries[name].mode);
    }
    standby.moves(how);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(states[3].diff(&pair.html(Foo1)), "", "{how}");
}

#[test]
fn a_tree_that_was_copied_can_be_undone() {
    for (kind, how) in [
        ("ext4", CP),
        ("ext4", TAR),
        ("ext4", TAR_INTO),
        ("ext4", RSYNC),
        ("btrfs", CP),
    ] {
        undone(kind, how);
    }
}

/// Numbers hold on an image of the disk and in a snapshot of the subvolume.
#[test]
fn a_tree_whose_numbers_were_copied_is_told_by_them() {
    for (kind, how) in [("ext4", DISK), ("btrfs", DISK), ("btrfs", SNAPSHOT)] {
        undone(kind, how);
        let standby = Standby::on(kind);
        let states = pushed(&standby.pair, 3);
        standby.moves(how);
        for number in [1, 3, 2] {
            undo_to(&standby.pair, &states, number, how);
        }
    }
}

#[test]
fn a_commit_cut_off_and_copied_is_one_generation_or_the_next() {
    let points = [
        "journal", "op:1", "op:7", "op:20", "op:27", "rolled", "recorded", "keeping", "kept",
    ];
    let standby = Standby::on("ext4");
    let pair = &standby.pair;
    let mut states = pushed(pair, 1);
    let ways = [CP, TAR_INTO, RSYNC, TAR, DISK];
    for (at, point) in points.iter().cycle().take(2 * points.len()).enumerate() {
        let (version, how) = (at + 2, ways[at % ways.len()]);
        write_version(&pair.path(Foo0, "html"), version as u32);
        states.push(pair.html(Foo0));
        let [.., old, new] = &states[..] else { return };
        end_standby_at(pair, Some(point));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(12);
        end_standby_at(pair, None);
        standby.moves(how);
        assert!(assert_whole(pair, old, new, point), "{point}, {how}");
        push_on(pair, new);
    }
    for number in [states.len() - 1, states.len(), 2, 9, 1, states.len()] {
        undo_to(pair, &states, number, "after all of that");
    }
}

#[test]
fn an_undo_cut_off_and_copied_goes_on() {
    for how in [CP, TAR_INTO, RSYNC] {
        let standby = Standby::on("ext4");
        let pair = &standby.pair;
        let states = pushed(pair, 4);
        let points = [
            "journal", "op:1", "op:9", "op:20", "op:27", "rolled", "recorded", "keeping", "kept",
        ];
        for (at, point) in points.iter().enumerate() {
            // Over several steps, some of them from before a copy, and some from after it.
            let to = [1, 4, 2, 3][at % 4];
            let to_text = to.to_string();
            end_at(&pair.on(Foo1, &["undo", "html", "--to", &to_text]), point);
            standby.moves(how);
            let done = pair.run(Foo1, &["recover"]).expect(0);
            let differs = states[to - 1].diff(&pair.html(Foo1));
            assert_eq!(differs, "", "{how}, to {to} at {point}: {done}");
        }
    }
}

/// Two files of the same length and time are not taken for one another.
#[test]
fn twins_in_a_copied_tree_are_both_kept() {
    for (point, is_cut) in [("op:1", true), ("journal", true), ("", false)] {
        let pair = Pair::here("");
        pair.keep_undo("keep = 99");
        let path = pair.path(Foo0, "html").display().to_string();
        pair.set(
            Foo0,
            "path = ",
            &format!("path = \"{path}\"\nchecksum = true"),
        );
        let push = || pair.run(Foo0, &["push", "--tree", "html"]);
        let write = |text: &str| {
            pair.write(Foo0, "html/twin", text);
            set_mtime(&pair.path(Foo0, "html/twin"), 1_600_000_000, 0);
        };
        write("one");
        push().expect(0);
        write("two");
        if is_cut {
            end_standby_at(&pair, Some(point));
            push().expect(12);
            end_standby_at(&pair, None);
        } else {
            push().expect(0);
        }
        shell(&pair.path(Foo1, ""), CP);
        let read = || pair.read(Foo1, "html/twin");
        if is_cut {
            pair.run(Foo1, &["recover"])
                .expect_error(23, &["twin", "looks the same", "hasync kept"]);
            let (to, now) = (TempTree::new(), read());
            let into = to.text("out");
            pair.run(Foo1, &["kept", "html", "--extract", "2", &into])
                .expect(0);
            let both = [now, String::from_utf8(to.read("out/twin")).unwrap()];
            assert!(both.contains(&"one".into()) && both.contains(&"two".into()));
            push().expect(0);
            assert_eq!(read(), "two", "{point}");
        } else {
            pair.run(Foo1, &["undo", "html"]).expect(0);
            assert_eq!(read(), "one");
            pair.run(Foo1, &["undo", "html"]).expect(0);
            assert_eq!(read(), "two");
        }
    }
}

#[test]
fn a_group_that_was_copied_can_be_undone() {
    let pair = Pair::here("");
    for content in ["first", "second"] {
        for name in ["etc/a", "etc/b"] {
            pair.write(Foo0, name, content);
        }
        pair.run(Foo0, &["push", "--tree", "conf"]).expect(0);
    }
    shell(&pair.path(Foo1, ""), &CP.replace("$T", "etc"));
    for content in ["first", "second"] {
        pair.run(Foo1, &["undo", "conf"]).expect(0);
        assert_eq!(pair.read(Foo1, "etc/a"), content);
    }
}

/// The backup is older than what the standby had.
#[test]
fn an_earlier_backup_is_pushed_to_and_undone() {
    let pair = Pair::here("");
    let push = |text: &str| {
        pair.write(Foo0, "html/page", text);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        assert_eq!(pair.read(Foo1, "html/page"), text);
    };
    push("first");
    push("second");
    shell(&pair.path(Foo1, ""), "tar --format=pax -cf backup $T");
    push("the third");
    shell(&pair.path(Foo1, ""), "rm -rf $T; tar -xpf backup");
    push("and the fourth");
    for text in ["second", "and the fourth"] {
        pair.run(Foo1, &["undo", "html"]).expect(0);
        assert_eq!(pair.read(Foo1, "html/page"), text);
    }
}

/// A tar of whole seconds.
#[test]
fn a_backup_that_keeps_no_more_than_seconds_can_be_undone() {
    let pair = Pair::here("");
    for content in ["first", "second"] {
        pair.write(Foo0, "html/page", content);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    }
    shell(&pair.path(Foo1, ""), &TAR.replace("pax", "gnu"));
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(pair.read(Foo1, "html/page"), "first");
}
