//! `-b`, `--backup-dir`, `--suffix`: what is replaced or removed is kept, as with rsync, in one
//! commit or many, in the target or elsewhere; and where nobody else leads it.

use std::process::Command;

use crate::support::hasync::FakeRsh;
use crate::support::local_user::{home_of_local_user, plant};
use crate::support::mounted::Mounted;
use crate::support::own_server::OwnServer;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root, rsync, xattrs};

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
    without_dir_times(Snapshot::of(trees.root()))
}

fn without_dir_times(tree: Snapshot) -> Snapshot {
    tree.map(|_, entry| {
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
        &["-a", "--backup-dir=../bak", "--delete"],
        &["-aH", "--backup-dir=../k/bak/", "--suffix=.old", "--delete"],
        &["-rlt", "--backup-dir=HERE/bak/2026-11-27", "--delete"],
        &["-a", "--backup-dir=HERE/there/deep", "--force"],
    ] {
        for ours_alone in [&[][..], &["--atomic"]] {
            let (theirs, ours) = (TempTree::new(), TempTree::new());
            for trees in [&theirs, &ours] {
                scene(trees);
                trees.write("there/deep/f", "an older backup");
                trees.mtime("there/deep/f", 1_300_000_000, 0);
            }
            let placed = |trees: &TempTree| -> Vec<String> {
                let here = trees.root().display().to_string();
                let words = options.iter();
                words.map(|word| word.replace("HERE", &here)).collect()
            };
            let words = placed(&theirs);
            let rsh = FakeRsh::plain();
            let sources = [theirs.contents_of("s")];
            let target = theirs.path("d");
            let expected = rsync::push(&rsh, &words, &sources, &target).unwrap();
            let push = || {
                let paths = [ours.contents_of("s"), ours.text("d")];
                let push = Hasync::push(ours_alone).args(placed(&ours));
                push.args(paths).run()
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

/// A source with a newer file than the target's, and what else a directory may be named by.
fn newer() -> TempTree {
    let trees = TempTree::new();
    trees.write("s/f", "newer");
    trees.write("d/f", "old");
    trees.mkdir("d/sub");
    trees.mkdir("out");
    trees
}

fn push_newer(trees: &TempTree, options: &[&str]) -> Finished {
    let paths = [trees.contents_of("s"), trees.text("d")];
    Hasync::push(&["-a", "--delete"])
        .args(options)
        .args(paths)
        .run()
}

#[test]
fn a_backup_has_a_place_of_its_own() {
    let trees = newer();
    trees.symlink(trees.path("out"), "d/leads-out");
    trees.symlink("d/sub", "into");
    trees.write("file", "");
    let full = |name: &str| format!("--backup-dir={}", trees.text(name));
    for (options, code, words) in [
        (&["-b", "--suffix="][..], 1, "give a --suffix"),
        (&["--backup-dir=.", "--suffix="], 1, "give a --suffix"),
        (&["-b", "--suffix=a/b"], 1, "a slash"),
        // DST would be among its own backups, or be deleted with them.
        (&["--backup-dir=/"], 1, "DST is in it"),
        (&["--backup-dir=.."], 1, "DST is in it"),
        (&[&full("into/bak")], 1, "it is in DST"),
        (&["--backup-dir=sub/../bak"], 1, "it is in DST"),
        // Not through what leads out of the target, nor in what is no directory.
        (&["--backup-dir=leads-out"], 11, "cannot keep backups in"),
        (&["--backup-dir=leads-out/k"], 11, "cannot keep backups in"),
        (&["--backup-dir=f"], 11, "cannot keep backups in"),
        (&["--backup-dir=f/k"], 11, "cannot keep backups in"),
        (&[&full("file")], 11, "is not a directory"),
        (&[&full("file/k")], 11, "cannot keep backups in"),
        (&[&full("out/.hasync/k")], 1, "its path has"),
    ] {
        for more in [&[][..], &["--atomic"], &["-n"]] {
            let before = Snapshot::of(trees.root());
            let done = push_newer(&trees, &[options, more].concat()).expect(code);
            assert!(done.stderr.contains(words), "{options:?} {done}");
            before.assert_same(&Snapshot::of(trees.root()));
        }
    }
    // Where nothing is deleted it may be in DST, by whatever path.
    let paths = [trees.contents_of("s"), trees.text("d")];
    Hasync::push(&["-a", &full("into/bak")])
        .args(paths)
        .run()
        .expect(0);
    assert_eq!(
        (trees.read("d/f"), trees.read("d/sub/bak/f")),
        (b"newer".into(), b"old".into())
    );
}

/// Another mount of a part of DST is that part, whatever its path says.
#[test]
fn no_mount_hides_that_backups_are_in_the_target() {
    need_root();
    let trees = newer();
    trees.write("d/sub/bak/f", "older");
    trees.write("d/sub/kept", "x");
    trees.write("s/sub/kept", "x");
    let _alias = Mounted::bind(&trees.path("d/sub"), trees.path("alias"));
    for dir in ["alias/bak", "alias", "alias/new"] {
        let dir = format!("--backup-dir={}", trees.text(dir));
        let done = push_newer(&trees, &[&dir]).expect(1);
        assert!(done.stderr.contains("it is in DST"), "{done}");
        assert_eq!(trees.read("d/sub/bak/f"), b"older");
    }
}

/// What a push that was cut off left where backups are kept goes with the next one.
#[test]
fn nothing_is_left_where_backups_are_kept() {
    let trees = newer();
    let dir = format!("--backup-dir={}", trees.text("out"));
    let left = trees.path("out/.hasync/stage/left");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("1"), "a backup").unwrap();
    let _ = Command::new("chmod")
        .args(["-R", "go=", &trees.text("out/.hasync")])
        .status();
    push_newer(&trees, &["-n", &dir]).expect(0);
    assert!(left.exists(), "a dry run removes nothing");
    push_newer(&trees, &[&dir]).expect(0);
    assert_eq!(trees.read("out/f"), b"old");
    assert!(!trees.path("out/.hasync").exists());
}

/// A directory whose siblings sort around it is told of with all that gave way in it, though it is
/// the last.
#[test]
fn what_gives_way_in_the_last_of_siblings_is_told() {
    let trees = TempTree::new();
    trees.write("s/a/f", "f");
    trees.write("s/a-/x", "a file now");
    trees.mkdir("d/a");
    trees.write("d/a-/x/full", "x");
    let by_rsync = TempTree::new();
    std::fs::remove_dir(by_rsync.path("d")).ok();
    let copied = Command::new("cp")
        .args(["-a", &trees.text("d"), &by_rsync.text("d")])
        .status();
    assert!(copied.unwrap().success());
    let lines = |to: &str, ours: bool| {
        let options = ["-a", "-i", "--delete"];
        let paths = [trees.contents_of("s"), to.to_owned()];
        let said = match ours {
            true => Hasync::push(&options)
                .args(paths)
                .run()
                .expect(0)
                .stdout_text(),
            false => {
                let done = Command::new("rsync")
                    .args(options)
                    .args(paths)
                    .output()
                    .unwrap();
                String::from_utf8(done.stdout).unwrap()
            }
        };
        let is_made = |line: &&str| line.contains("+++");
        let mut made: Vec<String> = said.lines().filter(is_made).map(str::to_owned).collect();
        made.sort_unstable();
        made
    };
    let theirs = lines(&by_rsync.text("d"), false);
    assert!(
        theirs.iter().any(|line| line.ends_with("a-/x")),
        "{theirs:?}"
    );
    assert_eq!(lines(&trees.text("d"), true), theirs);
}

/// On another file system a backup is a copy, with all that the original has.
#[test]
fn what_is_kept_elsewhere_may_be_on_another_file_system() {
    need_root();
    for more in [&[][..], &["--atomic"]] {
        let trees = newer();
        let _other = Mounted::at(trees.path("out"));
        trees.symlink("old", "d/sub/link");
        trees.fifo("d/sub/fifo");
        trees.chmod("d/f", 0o640);
        trees.chown("d/f", 1, 2);
        for name in ["d/f", "d/sub/link", "d/sub/fifo"] {
            trees.mtime(name, 1_400_000_000, 5);
        }
        let old = without_dir_times(Snapshot::of(&trees.path("d")));
        let dir = format!("--backup-dir={}/today", trees.text("out"));
        push_newer(&trees, &[more, &[&dir]].concat()).expect(0);
        old.assert_same(&without_dir_times(Snapshot::of(&trees.path("out/today"))));
        assert!(trees.path("d").read_dir().unwrap().count() == 1);
        assert!(!trees.path("out/today/.hasync").exists());
    }
}

/// Where it cannot have them, a backup is kept without attributes. That is told once, if they are
/// mirrored.
#[test]
fn a_backup_lacks_what_its_file_system_does_not_keep() {
    need_root();
    for (options, code) in [
        (&["-aA"][..], 23),
        (&["-aX"], 23),
        (&["-aAX", "--atomic"], 23),
        (&["-a"], 0),
        (&["-rlt", "--atomic"], 0),
    ] {
        let trees = TempTree::new();
        let _bare = Mounted::ramfs(trees.path("out"));
        for name in ["f", "sub/deep/g", "sub/gone", "plain", "same/h"] {
            trees.write(format!("s/{name}"), "new text");
            trees.write(format!("d/{name}"), "old");
            let at = trees.path(format!("d/{name}"));
            if name != "plain" {
                run_ok("setfacl", &["-m", "u:7:r", &at.display().to_string()]);
                xattrs::give(&at, b"user.a", b"1");
                xattrs::give(&at, b"trusted.a", b"1");
            }
        }
        trees.symlink("new", "s/link");
        trees.symlink("old", "d/link");
        xattrs::give(&trees.path("d/link"), b"trusted.a", b"1");
        std::fs::remove_file(trees.path("s/sub/gone")).unwrap();
        for dir in ["s/same", "d/same", "d/sub"] {
            run_ok("setfacl", &["-m", "d:u:7:r,u:8:rx", &trees.text(dir)]);
        }
        let dir = format!("--backup-dir={}", trees.text("out/today"));
        let push = Hasync::push(options).args(["--delete", &dir]);
        let paths = [trees.contents_of("s"), trees.text("d")];
        let done = push.args(paths).run().expect(code);
        for name in ["f", "sub/deep/g", "sub/gone", "plain", "same/h"] {
            assert_eq!(
                trees.read(format!("out/today/{name}")),
                b"old",
                "{options:?}"
            );
        }
        assert!(trees.path("out/today/link").is_symlink(), "{options:?}");
        assert_eq!(trees.read("d/sub/deep/g"), b"new text", "{options:?}");
        assert!(!trees.path("d/sub/gone").exists(), "{options:?}");
        let told = done.stderr.matches("of the backup").count();
        assert_eq!(told, usize::from(code != 0), "{options:?} {done}");
    }
}

/// A directory on the way to a backup has the ACL of its original, and nothing else of that kind.
#[test]
fn directories_of_backups_have_the_acls_of_their_originals() {
    need_root();
    for (options, has_acl) in [(&["-aAX"][..], true), (&["-aA"], true), (&["-aX"], false)] {
        for more in [&[][..], &["--atomic"]] {
            let trees = TempTree::new();
            for dir in ["stays", "other", "gets"] {
                trees.write(format!("s/{dir}/f"), "new text");
                trees.write(format!("d/{dir}/f"), "old");
            }
            for dir in ["s/stays", "d/stays", "s/other", "s/gets"] {
                run_ok("setfacl", &["-m", "u:7:rx,d:u:7:rx", &trees.text(dir)]);
                xattrs::give(&trees.path(dir), b"user.a", b"1");
            }
            run_ok("setfacl", &["-m", "u:8:rx", &trees.text("d/other")]);
            xattrs::give(&trees.path("d/other"), b"user.a", b"2");
            let push = Hasync::push(options).args(more).arg("--backup-dir=bak");
            let paths = [trees.contents_of("s"), trees.text("d")];
            push.args(paths).run().expect(0);
            let all = xattrs::of(&trees.path("d"));
            for dir in ["stays", "other", "gets"] {
                let found = &all[format!("bak/{dir}").as_bytes()];
                let mut wanted = all[dir.as_bytes()].clone();
                wanted.retain(|name, _| has_acl && name.starts_with("system."));
                assert_eq!(*found, wanted, "{options:?} {more:?} {dir}");
            }
        }
    }
}

/// A directory outside of DST is found as DST is: through no symlink of another user's.
#[test]
fn nobody_else_leads_backups_away() {
    need_root();
    let trees = newer();
    trees.mkdir("victim");
    home_of_local_user(&trees, "home");
    plant("../victim".as_ref(), &trees.path("home/link"));
    trees.symlink("out", "own");
    for name in ["home/link", "home/link/k/deep"] {
        let dir = format!("--backup-dir={}", trees.text(name));
        let done = push_newer(&trees, &[&dir]).expect(11);
        assert!(done.stderr.contains("is a symlink to"), "{done}");
    }
    assert_eq!(trees.read("d/f"), b"old");
    assert_eq!(trees.path("victim").read_dir().unwrap().count(), 0);
    // His directory may hold them, but what he puts in their way leads nowhere.
    plant("../../victim".as_ref(), &trees.path("home/sub"));
    trees.write("d/sub/g", "old");
    let dir = format!("--backup-dir={}", trees.text("home"));
    let done = push_newer(&trees, &[&dir]).expect(23);
    assert!(
        done.stderr.contains("is not a directory and is in the way"),
        "{done}"
    );
    assert_eq!(trees.read("home/f"), b"old");
    assert_eq!(trees.read("d/sub/g"), b"old");
    assert_eq!(trees.path("victim").read_dir().unwrap().count(), 0);
    trees.write("s/f", "newest");
    let dir = format!("--backup-dir={}", trees.text("own/k"));
    push_newer(&trees, &[&dir, "--ignore-errors"]).expect(0);
    assert_eq!(trees.read("out/k/f"), b"newer");
}

/// A receiver that is bound to roots keeps backups in these alone.
#[test]
fn a_served_root_holds_backups_too() {
    let trees = newer();
    trees.mkdir("served");
    std::fs::rename(trees.path("d"), trees.path("served/d")).unwrap();
    trees.symlink(trees.path("out"), "served/link");
    let server = OwnServer::with(&["--root", &trees.text("served")]);
    let push = |dir: &str| {
        let options = ["-a", &format!("--backup-dir={dir}")];
        server.push(&options, &trees.contents_of("s"), &trees.path("served/d"))
    };
    for (dir, code) in [
        ("../../out", 1),
        (&*trees.text("out"), 1),
        ("../../served2/x", 1),
        (&trees.text("served/link/k"), 11),
    ] {
        push(dir).run().expect(code);
        assert_eq!(trees.read("served/d/f"), b"old", "{dir}");
    }
    push("../bak/../kept").run().expect(0);
    assert_eq!(trees.read("served/kept/f"), b"old");
    trees.write("s/f", "newest");
    push(&trees.text("served/bak")).run().expect(0);
    assert_eq!(trees.read("served/bak/f"), b"newer");
    assert_eq!(trees.path("out").read_dir().unwrap().count(), 0);
}

/// A receiver that may go anywhere is confined to where the first push leads, and its backups.
#[test]
fn a_confined_receiver_reaches_its_backups() {
    let trees = newer();
    for (more, dir) in [
        (&[][..], "../out/one"),
        (&["--atomic"], "../new/two"),
        (&[], &*trees.text("three")),
    ] {
        let old = trees.read("d/f");
        trees.write("s/f", [&old[..], b"+"].concat());
        let rsh = FakeRsh::plain();
        let push = Hasync::push(&["-a", &format!("--backup-dir={dir}")]).args(more);
        let paths = [trees.contents_of("s"), format!("host:{}", trees.text("d"))];
        push.args(rsh.options()).args(paths).run().expect(0);
        let kept = trees.path("d").join(dir).join("f");
        assert_eq!(std::fs::read(kept).unwrap(), old, "{dir}");
    }
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
            let named = format!("\"bak/{in_the_way}\" is not a directory");
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
