//! Disks without room: what fits arrives, what is complete stays, deletions or the past make room
//! where they may, and what is kept until it is forgotten never does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::diverged::{follow, way_out};
use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Rng, TempTree, need_root, soak};

const MIB: usize = 1 << 20;

/// A disk of so many MiB, on a file system of that kind.
enum Disk {
    Loop(LoopFs),
    /// A large one, of which a part has a quota.
    Quota(LoopFs),
    Tmpfs(
        PathBuf,
        #[allow(dead_code, reason = "removes the directory")] TempTree,
    ),
}

impl Disk {
    fn new(kind: &str, mebibytes: u64) -> Self {
        if kind == "quota" {
            let disk = LoopFs::new("btrfs", 160);
            let [top, part] = ["", "part"].map(|name| disk.path(name).display().to_string());
            run_ok("btrfs", &["quota", "enable", &top]);
            run_ok("btrfs", &["subvolume", "create", &part]);
            run_ok(
                "btrfs",
                &["qgroup", "limit", &format!("{mebibytes}M"), &part],
            );
            return Disk::Quota(disk);
        }
        if kind != "tmpfs" {
            return Disk::Loop(LoopFs::new(kind, mebibytes));
        }
        need_root();
        let trees = TempTree::new();
        let at = trees.mkdir("disk");
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(&at);
        assert!(mount.status().unwrap().success());
        Disk::Tmpfs(at, trees)
    }

    fn path(&self, name: &str) -> PathBuf {
        match self {
            Disk::Loop(disk) => disk.path(name),
            Disk::Quota(disk) => disk.path("part").join(name),
            Disk::Tmpfs(at, _) => at.join(name),
        }
    }
}

/// All kinds of disks in the long campaigns, else those that are quick.
fn kinds() -> &'static [&'static str] {
    match soak() {
        true => &["ext4", "tmpfs", "quota"],
        false => &["ext4", "tmpfs"],
    }
}

/// What is said where there is no room.
fn no_room(kind: &str) -> &'static str {
    match kind {
        "quota" => "disk quota exceeded",
        _ => "no space left on device",
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Disk::Tmpfs(at, _) = self {
            let _ = Command::new("umount").arg("-l").arg(at).status();
        }
    }
}

fn write(path: &Path, len: usize, seed: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, Rng::new(seed).bytes(len)).unwrap();
}

fn push(trees: &TempTree, options: &[&str], target: &Path) -> Finished {
    Hasync::push(options)
        .arg(trees.contents_of("source"))
        .arg(target)
        .run()
}

/// One user's file that fits nowhere keeps no others out, whichever comes first.
#[test]
fn what_does_not_fit_keeps_nothing_else_from_arriving() {
    for kind in ["ext4", "tmpfs", "quota"] {
        for large in ["a-large", "m-large", "z/large"] {
            let (trees, disk) = (TempTree::new(), Disk::new(kind, 24));
            write(&trees.path(format!("source/{large}")), 40 * MIB, 1);
            for n in 0..20_u64 {
                trees.write(format!("source/b{n}/file"), format!("small {n}"));
                write(&trees.path(format!("source/z/{n}")), 100_000, n);
            }
            let target = disk.path("target");
            let done = push(&trees, &["-a"], &target).expect(82);
            for words in [no_room(kind), large] {
                assert!(
                    done.stderr.contains(words),
                    "{kind} {large}: {words}\n{done}"
                );
            }
            for n in 0..20 {
                for name in [format!("b{n}/file"), format!("z/{n}")] {
                    let here = std::fs::read(trees.path("source").join(&name)).unwrap();
                    let there = std::fs::read(target.join(&name)).unwrap();
                    assert!(here == there, "{kind} {large}: {name}");
                }
            }
            assert!(!target.join(large).exists() && !target.join(".hasync").exists());
        }
    }
}

/// What is complete when the disk is full to the last block is in place afterwards.
#[test]
fn what_was_complete_is_placed_before_the_push_ends() {
    for kind in ["ext4", "tmpfs", "quota"] {
        let (trees, disk) = (TempTree::new(), Disk::new(kind, 16));
        for n in 0..200_u64 {
            write(&trees.path(format!("source/{n:03}")), 300_000, n);
        }
        let target = disk.path("target");
        let done = push(&trees, &["-a"], &target).expect(82);
        assert!(done.stderr.contains(no_room(kind)), "{done}");
        let there = std::fs::read_dir(&target).unwrap().count();
        assert!(there > 20, "{kind}: {there} files\n{done}");
        for entry in std::fs::read_dir(&target).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().len(), 300_000, "{kind}");
        }
    }
}

/// A plain push deletes to make room, if it may; one that changes all or nothing does not.
#[test]
fn deletions_make_room_for_a_plain_push_alone() {
    for kind in ["ext4", "tmpfs", "quota"] {
        for (options, code) in [
            (&["-a", "--delete"][..], 0),
            (&["-a", "--delete", "--max-delete=1"], 82),
            (&["-a"], 82),
            (&["-a", "--delete", "--atomic"], 82),
        ] {
            let (trees, disk) = (TempTree::new(), Disk::new(kind, 24));
            let target = disk.path("target");
            for n in 0..4 {
                write(&target.join(format!("old{n}")), 4 * MIB, n);
                write(&trees.path(format!("source/new{n}")), 4 * MIB, 10 + n);
            }
            let done = push(&trees, options, &target).expect(code);
            let names = |prefix: &str| {
                let names = std::fs::read_dir(&target).unwrap();
                let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
                names.filter(|name| name.starts_with(prefix)).count()
            };
            let old = if code == 0 { 0 } else { 4 };
            assert_eq!(names("old"), old, "{kind} {options:?}\n{done}");
            assert_eq!(names("new") == 4, code == 0, "{kind} {options:?}\n{done}");
            assert_eq!(names(".hasync"), 0, "{kind} {options:?}\n{done}");
            if code == 0 {
                let said = format!("{}{}", done.stdout_text(), done.stderr);
                assert!(said.contains("deletions went first"), "{done}");
                push(&trees, options, &target).expect(0);
            }
            if options.contains(&"--atomic") {
                assert_eq!(names("new"), 0, "{done}");
                let freed = done
                    .stderr
                    .split("the deletions would free ")
                    .nth(1)
                    .unwrap();
                let digits: String = freed.chars().take_while(char::is_ascii_digit).collect();
                let freed: usize = digits.parse().unwrap();
                assert!(freed.abs_diff(16 * MIB) < MIB, "{done}");
            }
        }
    }
}

/// Names give out before bytes do.
#[test]
fn a_disk_without_inodes_is_full() {
    let (trees, disk) = (TempTree::new(), LoopFs::new("ext4", 2));
    for n in 0..2000 {
        trees.write(format!("source/{n:04}"), "");
    }
    let target = disk.path("target");
    let done = push(&trees, &["-a", "--delete"], &target).expect(82);
    let says = |done: &Finished| {
        for words in ["no space left on device", "inodes of that disk"] {
            assert!(done.stderr.contains(words), "{done}");
        }
    };
    says(&done);
    assert!(std::fs::read_dir(&target).unwrap().count() > 100);
    says(&push(&trees, &["-a", "--delete", "--atomic"], &target).expect(82));
    trees.mkdir("few");
    trees.write("few/only", "x");
    let push = Hasync::push(&["-a", "--delete"]).arg(trees.contents_of("few"));
    push.arg(&target).run().expect(0);
    assert_eq!(std::fs::read(target.join("only")).unwrap(), b"x");
}

/// The standby's disk, with three generations that undo keeps.
fn standby(disk: &Disk, undo: &str) -> Pair {
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    pair.keep_undo(undo);
    for version in 0..4 {
        write(&pair.path(Foo0, "html/page"), 5 * MIB, version);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    }
    pair
}

#[test]
fn the_past_gives_way_oldest_first_and_never_below_its_floor() {
    // A quota is counted anew by each flush, which takes a minute.
    for kind in kinds() {
        // 20 MiB are taken; so much is pushed with such a floor, and so many steps are left.
        for (floor, more_mib, code, left) in [
            (1, 4, 0, 4..=4),
            (1, 9, 0, 1..=4),
            (3, 12, 82, 3..=3),
            (0, 17, 0, 0..=1),
            (1, 30, 82, 1..=1),
            (0, 30, 82, 0..=0),
        ] {
            let disk = Disk::new(kind, 32);
            let pair = standby(&disk, &format!("keep = 5, floor = {floor}"));
            assert_eq!(pair.kept(), [4, 3, 2, 1]);
            write(&pair.path(Foo0, "html/more"), more_mib * MIB, 9);
            let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(code);
            let mut found = pair.kept();
            if code == 0 {
                assert_eq!(found.remove(0), 5, "{done}");
                let more = |node| std::fs::read(pair.path(node, "html/more")).unwrap();
                assert!(
                    more(Foo0) == more(Foo1),
                    "{kind} {floor} {more_mib}\n{done}"
                );
            } else {
                for words in ["were needed", "are free", "undo keeps", "would free"] {
                    assert!(done.stderr.contains(words), "{words}\n{done}");
                }
            }
            assert!(
                left.contains(&found.len()),
                "{kind} {floor} {more_mib}: {found:?}\n{done}"
            );
            assert!(
                [4, 3, 2, 1].starts_with(&found),
                "{kind} {floor} {more_mib}: {found:?}"
            );
        }
    }
}

/// What a former primary had alone stays, though nothing else can give way.
#[test]
fn what_is_kept_until_it_is_forgotten_never_gives_way() {
    let disk = Disk::new("tmpfs", 32);
    let pair = standby(&disk, "keep = 5, floor = 0");
    pair.run(Foo1, &["promote", "html"]).expect(0);
    pair.run(Foo0, &["demote", "html"]).expect(0);
    pair.run(Foo0, &["promote", "html", "--force"]).expect(0);
    write(&pair.path(Foo1, "html/alone"), 5 * MIB, 77);
    let list = pair.run(Foo0, &["diverged", "html"]).expect(3);
    follow(&pair, &way_out(&list, "foo0"));
    write(&pair.path(Foo0, "html/more"), 28 * MIB, 9);
    let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(82);
    let text = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    assert!(text.contains("kept: generation"), "{text}\n{done}");
    let walk = walkdir::WalkDir::new(pair.path(Foo1, "html/.hasync")).into_iter();
    let (alone, files) = (Rng::new(77).bytes(5 * MIB), walk.flatten());
    let mut files = files.filter(|entry| entry.file_type().is_file());
    assert!(
        files.any(|file| std::fs::read(file.path()).unwrap() == alone),
        "{done}"
    );
}
