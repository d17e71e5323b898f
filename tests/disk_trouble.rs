//! What goes wrong on disks and in directories: each with its exit code, one clear line,
//! and nothing lost of what was there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::hasync::Reachable;
use crate::support::loopfs::LoopFs;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root, versions};

fn push(options: &[&str], source: &str, target: &Path) -> Finished {
    Hasync::push(options).arg(source).arg(target).run()
}

#[test]
fn full_disk_loses_nothing() {
    for kind in ["ext4", "btrfs", "xfs"] {
        let disk = LoopFs::new(kind, if kind == "xfs" { 320 } else { 120 });
        let trees = TempTree::new();
        let source = trees.mkdir("source");
        versions::write_tree(&source, 50, 1, 1000);
        let target = disk.path("target");
        push(&["-a"], &trees.contents_of("source"), &target).expect(0);
        let old = Snapshot::of(&target);

        versions::write_tree(&source, 50, 2, 1000);
        let mut rng = crate::support::Rng::new(1);
        for part in 0..6 {
            trees.write(format!("source/too-large/{part}"), rng.bytes(60 << 20));
        }
        let new = Snapshot::of(&source);
        let done = push(&["-a", "--delete"], &trees.contents_of("source"), &target);
        done.expect_error(82, &["space"]);
        versions::assert_old_or_new(&Snapshot::of(&target), &old, &new);

        std::fs::remove_dir_all(source.join("too-large")).unwrap();
        push(&["-a", "--delete"], &trees.contents_of("source"), &target).expect(0);
        let there = Snapshot::of(&target);
        assert!(
            there.litter().is_empty(),
            "left behind: {:?}",
            there.litter()
        );
        Snapshot::of(&source).assert_same(&there);
    }
}

#[test]
fn mirrors_onto_every_file_system() {
    for kind in ["ext4", "xfs", "btrfs"] {
        let disk = LoopFs::new(kind, if kind == "xfs" { 320 } else { 120 });
        let trees = TempTree::new();
        let source = trees.mkdir("source");
        versions::write_tree(&source, 100, 1, 100);
        trees.write("source/large", versions::content(0, 1, 200_000));
        trees.symlink("x", "source/link");
        trees.fifo("source/fifo");
        let target = disk.path("target");
        for version in 2..4 {
            push(&["-aH", "--delete"], &trees.contents_of("source"), &target).expect(0);
            Snapshot::of(&source).assert_same(&Snapshot::of(&target));
            versions::write_tree(&source, 90, version, 101);
            trees.write(
                "source/large",
                versions::content(0, version, 200_000 + version as usize),
            );
        }
    }
}

#[test]
fn read_only_target() {
    let disk = LoopFs::new("ext4", 16);
    std::fs::create_dir(disk.path("target")).unwrap();
    std::fs::write(disk.path("target/a"), "old").unwrap();
    disk.make_read_only();
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    let done = push(&["-a"], &trees.contents_of("source"), &disk.path("target")).expect(23);
    assert!(done.stderr.contains("read-only"), "{done}");
    assert_eq!(std::fs::read(disk.path("target/a")).unwrap(), b"old");
}

#[test]
fn target_that_may_not_be_written() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    trees.write("target/a", "old");
    let done = Hasync::push(&["-rlt"])
        .args([trees.contents_of("source"), trees.text("target")])
        .by_nobody(&reachable)
        .run()
        .expect(23);
    assert!(done.stderr.contains("permission denied"), "{done}");
    assert_eq!(trees.read("target/a"), b"old");
}

#[test]
fn one_forbidden_directory_does_not_stop_the_rest() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::new();
    trees.write("source/closed/a", "newer");
    trees.write("source/open/a", "newer");
    trees.write("target/closed/a", "old");
    trees.write("target/open/a", "old");
    for dir in ["target", "target/open", "target/open/a"] {
        trees.chown(dir, 65534, 65534);
    }
    let done = Hasync::push(&["-rlt"])
        .args([trees.contents_of("source"), trees.text("target")])
        .by_nobody(&reachable)
        .run()
        .expect(23);
    assert!(done.stderr.contains("closed"), "the path is named\n{done}");
    assert_eq!(trees.read("target/closed/a"), b"old");
    assert_eq!(trees.read("target/open/a"), b"newer");
}

#[test]
fn target_that_is_a_file() {
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    trees.write("target", "a file");
    push(&["-a"], &trees.contents_of("source"), &trees.path("target"))
        .expect_error(11, &["target", "directory"]);
    assert_eq!(trees.read("target"), b"a file");
}

#[test]
fn missing_source_deletes_nothing() {
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    trees.write("target/b", "old");
    let missing = trees.text("missing");
    let done = Hasync::push(&["-a", "--delete"])
        .args([trees.contents_of("source"), missing.clone()])
        .arg(trees.path("target"))
        .run()
        .expect(23);
    assert!(done.stderr.contains(&missing), "the path is named\n{done}");
    assert_eq!(trees.read("target/a"), b"newer");
    assert_eq!(trees.read("target/b"), b"old");
    push(
        &["-a", "--delete"],
        &format!("{missing}/"),
        &trees.path("target"),
    )
    .expect(23);
    assert_eq!(trees.read("target/b"), b"old");
}

/// What cannot be listed keeps everything from being deleted, and a line says so; a file that
/// cannot be read keeps nothing but its own copy, compared by content or not.
#[test]
fn an_unreadable_directory_deletes_nothing_and_an_unreadable_file_does() {
    need_root();
    let reachable = Reachable::new();
    for (secret, how, deletes) in [
        ("secret-dir", "-rlt", false),
        ("secret-file", "-rlt", true),
        ("secret-file", "-rltc", true),
    ] {
        let trees = TempTree::new();
        trees.write("source/a", "newer");
        if secret == "secret-dir" {
            trees.mkdir("source/secret-dir");
        } else {
            trees.write("source/secret-file", "mine");
        }
        trees.chmod(format!("source/{secret}"), 0o000);
        trees.write("target/extra", "old");
        trees.write("target/secret-file", "kept");
        for owned in ["target", "target/extra", "target/secret-file"] {
            trees.chown(owned, 65534, 65534);
        }
        let done = Hasync::push(&[how, "--delete"])
            .args([trees.contents_of("source"), trees.text("target")])
            .by_nobody(&reachable)
            .run()
            .expect(23);
        assert!(done.stderr.contains(secret), "the path is named\n{done}");
        let told = done.stderr.contains("nothing is deleted");
        assert_eq!(told, !deletes, "{how} {secret}\n{done}");
        assert_eq!(trees.read("target/a"), b"newer");
        assert_eq!(trees.path("target/extra").exists(), !deletes, "{how}");
        assert_eq!(trees.read("target/secret-file"), b"kept");
    }
}

/// What cannot be seen of the target may be what the source has under another name: an
/// unprivileged receiver that may not read a directory deletes nowhere.
#[test]
fn unreadable_target_deletes_nothing() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    trees.write("source/closed/b", "newer");
    trees.write("target/extra/file", "old");
    trees.write("target/closed/old", "old");
    for owned in ["target", "target/extra", "target/extra/file"] {
        trees.chown(owned, 65534, 65534);
    }
    trees.chmod("target/closed", 0o711);
    let run = |dry: &[&str]| {
        Hasync::push(dry)
            .args(["-rlti", "--delete"])
            .args([trees.contents_of("source"), trees.text("target")])
            .by_nobody(&reachable)
            .run()
            .expect(23)
    };
    let (dry, done) = (run(&["-n"]), run(&[]));
    assert_eq!(dry.stdout_text(), done.stdout_text());
    assert!(!done.stdout_text().contains("*deleting"), "{done}");
    for words in ["target/closed", "permission denied"] {
        assert!(done.stderr.contains(words), "{words} is named\n{done}");
    }
    assert_eq!(trees.read("target/a"), b"newer");
    assert_eq!(trees.read("target/extra/file"), b"old");
    // Seen completely, it is mirrored completely.
    trees.chown("target/closed", 65534, 65534);
    trees.chown("target/closed/old", 65534, 65534);
    assert!(run_ok_as_nobody(&trees, &reachable));
}

fn run_ok_as_nobody(trees: &TempTree, reachable: &Reachable) -> bool {
    let push = Hasync::push(&["-rlt", "--delete"])
        .args([trees.contents_of("source"), trees.text("target")]);
    push.by_nobody(reachable).run().expect(0);
    !trees.path("target/extra").exists() && !trees.path("target/closed/old").exists()
}

#[test]
fn delete_limit_deletes_all_or_nothing() {
    let trees = TempTree::new();
    trees.mkdir("source");
    for extra in 0..5 {
        trees.write(format!("target/extra{extra}"), "x");
    }
    let from = trees.contents_of("source");
    let done = push(
        &["-a", "--delete", "--max-delete=4"],
        &from,
        &trees.path("target"),
    );
    done.expect_error(25, &["5"]);
    assert_eq!(std::fs::read_dir(trees.path("target")).unwrap().count(), 5);
    push(
        &["-a", "--delete", "--max-delete=5"],
        &from,
        &trees.path("target"),
    )
    .expect(0);
    assert_eq!(std::fs::read_dir(trees.path("target")).unwrap().count(), 0);
}

/// A full directory gives way to something else with the deletions or not at all, and -i and
/// -n say which.
#[test]
fn what_replaces_a_full_directory_is_said_when_it_is_made() {
    let trees = TempTree::new();
    trees.mkdir("source");
    trees.symlink("x", "source/link");
    trees.write("source/file", "new");
    for name in ["link", "file"] {
        trees.write(format!("target/{name}/inside"), "old");
    }
    trees.mtime("source", 1_600_000_000, 0);
    trees.mtime("target", 1_600_000_000, 0);
    let from = trees.contents_of("source");
    let lines = |options: &[&str], code: i32| {
        let run = |more: &[&str]| {
            let options = [&["-a", "-i", "--delete"], options, more].concat();
            let done = push(&options, &from, &trees.path("target")).expect(code);
            done.stdout_text()
        };
        let dry = run(&["-n"]);
        assert_eq!(dry, run(&[]), "-n and the real run");
        dry
    };
    assert_eq!(lines(&["--max-delete=1"], 23), "");
    assert_eq!(trees.read("target/link/inside"), b"old");
    let made = lines(&["--max-delete=2"], 0);
    let made: Vec<&str> = made.lines().collect();
    let expected = [
        "*deleting   file/inside",
        "*deleting   link/inside",
        ">f+++++++++ file",
        "cL+++++++++ link -> x",
    ];
    assert_eq!(made, expected);
    assert_eq!(trees.read("target/file"), b"new");
}

#[test]
fn delete_follows_no_symlink_and_stays_in_the_root() {
    let trees = TempTree::new();
    trees.write("outside/precious", "must survive");
    trees.mkdir("source");
    trees.mkdir("target/dir");
    trees.symlink(trees.path("outside"), "target/link");
    trees.symlink("../../outside", "target/dir/link");
    push(
        &["-a", "--delete"],
        &trees.contents_of("source"),
        &trees.path("target"),
    )
    .expect(0);
    assert_eq!(std::fs::read_dir(trees.path("target")).unwrap().count(), 0);
    assert_eq!(trees.read("outside/precious"), b"must survive");
}

#[test]
fn files_that_change_or_vanish_while_pushed_never_corrupt() {
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    versions::write_tree(&source, 60, 1, 20_000);
    push(&["-a"], &trees.contents_of("source"), &trees.path("target")).expect(0);

    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, source) = (Arc::clone(&stop), source.clone());
        thread::spawn(move || {
            let mut version = 2;
            while !stop.load(Ordering::Relaxed) {
                // Rewritten in place, block by block, and a few removed and made again.
                for file in 0..60 {
                    let path = source.join(versions::name(file));
                    if file % 10 == 0 {
                        let _ = std::fs::remove_file(&path);
                    }
                    std::fs::write(&path, versions::content(file, version, 20_000)).unwrap();
                }
                version += 1;
            }
        })
    };
    let mut codes = Vec::new();
    for _ in 0..6 {
        let done = push(&["-a"], &trees.contents_of("source"), &trees.path("target"));
        assert!(matches!(done.code, 0 | 23 | 24), "{done}");
        assert!(done.code == 0 || !done.stderr.is_empty(), "{done}");
        codes.push(done.code);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    versions::write_tree(&source, 60, 1_000_000, 20_001);
    push(&["-a"], &trees.contents_of("source"), &trees.path("target")).expect(0);
    let there = Snapshot::of(&trees.path("target"));
    assert!(there.litter().is_empty(), "{codes:?}: {:?}", there.litter());
    Snapshot::of(&source).assert_same(&there);
}

#[test]
fn a_target_below_an_unreadable_directory_is_reached() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::new();
    trees.write("source/a", "newer");
    trees.mkdir("x-only/target");
    trees.chown("x-only/target", 65534, 65534);
    std::fs::set_permissions(trees.path("x-only"), std::fs::Permissions::from_mode(0o711)).unwrap();
    Hasync::push(&["-rlt"])
        .args([trees.contents_of("source"), trees.text("x-only/target")])
        .by_nobody(&reachable)
        .run()
        .expect(0);
    assert_eq!(trees.read("x-only/target/a"), b"newer");
}
