//! `-b`, `--backup-dir`, `--suffix`: what is replaced or removed is kept, as with rsync, in one
//! commit or many; and never outside of the target.

use crate::support::hasync::FakeRsh;
use crate::support::{Hasync, Snapshot, TempTree, need_root, rsync};

/// Each way to lose an entry: other content, another type, deletion, a directory in its place.
fn scene(trees: &TempTree) {
    for (file, data) in [
        ("s/f", "newer"),
        ("s/same", "same"),
        ("s/attributes", "same"),
        ("s/now-file", "file"),
        ("s/now-dir/inside", "x"),
        ("s/dir/in/g", "newer"),
        ("d/f", "old"),
        ("d/same", "same"),
        ("d/attributes", "same"),
        ("d/now-dir", "was a file"),
        ("d/dir/in/g", "old"),
        ("d/dir/in/gone", "old"),
        ("d/gone/deep/x", "old"),
        ("d/gone/y", "old"),
        ("d/gone-file", "old"),
        ("d/older~", "a backup"),
        ("d/full/z", "old"),
        ("s/full", "a file"),
        ("s/out", "a file"),
        ("s/dir/in/climbs", "a file"),
        ("s/dir/in/stays", "a file"),
    ] {
        trees.write(file, data);
    }
    trees.symlink("new", "s/link");
    trees.symlink("old", "d/link");
    // Those that may lead out of the tree, and one that does not.
    for (text, name) in [
        ("/etc/passwd", "d/out"),
        ("../out", "d/gone-out"),
        ("../../../out", "d/dir/in/climbs"),
        ("../../f", "d/dir/in/stays"),
        ("../x/../out", "d/gone/out"),
    ] {
        trees.symlink(text, name);
    }
    trees.fifo("d/now-file");
    trees.fifo("d/gone-fifo");
    trees.mkdir("d/empty");
    trees.chmod("d/dir", 0o2750);
    trees.chown("d/dir/in", 1, 2);
    trees.chmod("d/attributes", 0o600);
    trees.write("s/linked", "shared");
    trees.hard_link("s/linked", "s/linked-too");
    trees.write("d/linked-too", "other");
    for root in ["s", "d"] {
        for entry in walkdir::WalkDir::new(trees.path(root)).contents_first(true) {
            crate::support::temptree::set_mtime(entry.unwrap().path(), 1_500_000_000, 0);
        }
    }
    for old in ["d/f", "d/dir/in/g"] {
        trees.mtime(old, 1_400_000_000, 0);
    }
}

/// Directories have the times that the options leave them: of those that changed, now.
fn seen(trees: &TempTree) -> Snapshot {
    Snapshot::of(&trees.path("d")).map(|_, entry| {
        if entry.kind == 'd' {
            entry.mtime = (0, 0);
        }
    })
}

#[test]
fn what_is_replaced_or_removed_is_kept_as_rsync_keeps_it() {
    need_root();
    assert!(rsync::is_the_oracle());
    for options in [
        &["-a", "-b"][..],
        &["-a", "-b", "--delete"],
        &["-aH", "-b", "--delete", "--suffix=.old"],
        &["-a", "--backup", "--delete-excluded", "--exclude=older~"],
        &["-a", "--backup-dir=bak"],
        &["-aH", "--backup-dir=bak", "--delete"],
        &["-a", "--backup-dir=./k/bak/", "--suffix=.old", "--delete"],
        &["-a", "--backup-dir=bak", "--force"],
        &["-rlt", "--backup-dir=bak", "--delete"],
        &["-a", "--suffix=.old", "--delete"],
        &["-a", "-b", "--delete", "--safe-links"],
        &["-a", "--backup-dir=bak", "--delete", "--safe-links"],
        &["-a", "-b", "--delete", "--max-delete=1"],
    ] {
        for ours_alone in [&[][..], &["--atomic"]] {
            let (theirs, ours) = (TempTree::new(), TempTree::new());
            [&theirs, &ours].into_iter().for_each(scene);
            let words: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            let rsh = FakeRsh::plain();
            let sources = [theirs.contents_of("s")];
            let target = theirs.path("d");
            let expected = rsync::push(&rsh, &words, &sources, &target).unwrap();
            let push = || {
                let paths = [ours.contents_of("s"), ours.text("d")];
                Hasync::push(options).args(ours_alone).args(paths).run()
            };
            let done = push();
            let is_stopped = options.contains(&"--max-delete=1");
            assert_eq!(done.code, expected.code, "{options:?} {done}");
            let diff = seen(&theirs).diff(&seen(&ours));
            assert!(
                is_stopped || diff.is_empty(),
                "{options:?} {ours_alone:?}\n{diff}"
            );
            if done.code == 0 {
                // Nothing is left to do, and what was kept is kept.
                let before = seen(&ours);
                push().expect(0);
                before.assert_same(&seen(&ours));
            }
        }
    }
}

#[test]
fn nothing_is_kept_outside_of_the_target() {
    let trees = TempTree::new();
    trees.write("s/f", "newer");
    trees.write("d/f", "old");
    trees.mkdir("out");
    trees.symlink(trees.path("out"), "d/leads-out");
    let push = |options: &[&str]| {
        let paths = [trees.contents_of("s"), trees.text("d")];
        Hasync::push(&["-a"]).args(options).args(paths).run()
    };
    for dir in ["../out", "a/../../out", "/", &trees.text("out")] {
        let done = push(&[&format!("--backup-dir={dir}")]).expect(1);
        assert!(done.stderr.contains("is not in DST"), "{done}");
    }
    for options in [
        &["-b", "--suffix="][..],
        &["--backup-dir=."],
        &["-b", "--suffix=a/b"],
    ] {
        push(options).expect(1);
    }
    assert_eq!(trees.read("d/f"), b"old");
    // Not through what leads out of the target, either.
    for dir in ["leads-out", "leads-out/k", "f", "f/k"] {
        let done = push(&[&format!("--backup-dir={dir}")]).expect(11);
        assert!(done.stderr.contains("cannot keep backups in"), "{done}");
    }
    assert_eq!(trees.read("d/f"), b"old");
    assert!(trees.path("out").read_dir().unwrap().next().is_none());
}

#[test]
fn what_cannot_be_kept_stays() {
    let trees = TempTree::new();
    trees.write("s/f", "newer");
    trees.write("d/f", "old");
    trees.write("d/gone/g", "old");
    trees.write("d/bak/f~/full", "x");
    let long = "L".repeat(255);
    trees.write(format!("s/{long}"), "newer");
    trees.write(format!("d/{long}"), "old");
    trees.write("d/bak/gone/g~/full", "x");
    let paths = [trees.contents_of("s"), trees.text("d")];
    let push = Hasync::push(&["-a", "--delete", "--backup-dir=bak", "--suffix=~"]).args(paths);
    let done = push.run().expect(23);
    assert!(done.stderr.contains("cannot back up"), "{done}");
    assert_eq!(trees.read("d/f"), b"old");
    assert_eq!(trees.read("d/gone/g"), b"old");
    assert_eq!(trees.read(format!("d/{long}")), b"old");
}

#[test]
fn a_directory_stays_if_something_in_it_cannot_be_kept() {
    need_root();
    let long = "L".repeat(255);
    for in_place in [
        "file",
        "empty file",
        "symlink",
        "fifo",
        "first name",
        "other name",
    ] {
        for inside in [&long, &format!("deep/er/{long}"), "taken", "deep/taken"] {
            for more in [&["--delete"][..], &["--force"], &["--delete", "--atomic"]] {
                let trees = TempTree::new();
                trees.write("s/f", "newer");
                match in_place {
                    "file" => trees.write("s/gives-way", "newer"),
                    "empty file" => trees.write("s/gives-way", ""),
                    "symlink" => trees.symlink("f", "s/gives-way"),
                    "fifo" => trees.fifo("s/gives-way"),
                    "first name" => {
                        trees.write("s/gives-way", "shared");
                        trees.hard_link("s/gives-way", "s/z");
                    }
                    _ => trees.hard_link("s/f", "s/gives-way"),
                }
                trees.write(format!("d/gives-way/{inside}"), "old");
                trees.write("d/gives-way/kept", "old");
                trees.write(
                    format!("d/bak/gives-way/{inside}~/full").replace(&long, "x"),
                    "",
                );
                let paths = [trees.contents_of("s"), trees.text("d")];
                let push = Hasync::push(&["-aH", "--backup-dir=bak", "--suffix=~"]);
                let done = push.args(more).args(paths).run().expect(23);
                let old = trees.read(format!("d/gives-way/{inside}"));
                assert_eq!(old, b"old", "{in_place} {inside} {more:?} {done}");
                assert!(
                    done.stderr.contains("did not replace the directory"),
                    "{in_place} {inside} {more:?} {done}"
                );
                assert_eq!(trees.read("d/f"), b"newer");
            }
        }
    }
}

/// An older backup, or whatever else is in the way, is worth no less than the next.
#[test]
fn no_backup_destroys_another() {
    need_root();
    for (in_the_way, what) in [
        ("x", "file"),
        ("x", "symlink"),
        ("x", "fifo"),
        ("x/deep", "file"),
    ] {
        for more in [&[][..], &["--delete"], &["--atomic"]] {
            let trees = TempTree::new();
            for name in ["x/deep/y", "x/deep/z"] {
                trees.write(format!("s/{name}"), "newer");
                trees.write(format!("d/{name}"), "old");
            }
            trees.write("s/f", "newer");
            trees.write("d/f", "old");
            trees.write("d/x/deep/gone", "old");
            let path = format!("d/bak/{in_the_way}");
            trees.mkdir(std::path::Path::new(&path).parent().unwrap());
            match what {
                "symlink" => trees.symlink("nothing", &path),
                "fifo" => trees.fifo(&path),
                _ => trees.write(&path, "an older backup"),
            }
            let before = Snapshot::of(&trees.path("d/bak"));
            let old = Snapshot::of(&trees.path("d/x"));
            let paths = [trees.contents_of("s"), trees.text("d")];
            let push = Hasync::push(&["-a", "--backup-dir=bak"]).args(more);
            let done = push.args(paths).run().expect(23);
            let named = format!("\"bak/{in_the_way}\" is no directory");
            assert!(done.stderr.contains(&named), "{what} {more:?} {done}");
            let kept = |snapshot: Snapshot| {
                snapshot.map(|_, entry| {
                    if entry.kind == 'd' {
                        entry.mtime = (0, 0);
                    }
                })
            };
            kept(old).assert_same(&kept(Snapshot::of(&trees.path("d/x"))));
            assert_eq!(trees.read("d/bak/f"), b"old", "{what} {more:?} {done}");
            std::fs::remove_file(trees.path("d/bak/f")).unwrap();
            kept(before).assert_same(&kept(Snapshot::of(&trees.path("d/bak"))));
        }
    }
}
