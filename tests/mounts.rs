//! File systems mounted inside the source and inside the target: what `-x` leaves out, what
//! `--delete` never enters, and entries that are replaced across a mount.

use std::path::Path;

use crate::support::hasync::FakeRsh;
use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::temptree::set_mtime;
use crate::support::{Finished, Hasync, Snapshot, TempTree, await_that, rsync, versions};

fn push(trees: &TempTree, options: &[&str]) -> Finished {
    Hasync::push(options)
        .args([trees.contents_of("source"), trees.text("target")])
        .run()
}

/// Pushes with both programs, each to a target made by `make`; same lines, code and tree.
fn check_against_rsync(options: &[&str], source: &str, make: impl Fn(&Path) -> Option<Mounted>) {
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    let (theirs, ours) = (TempTree::new(), TempTree::new());
    let _mounts = [&theirs, &ours].map(|trees| make(&trees.mkdir("target")));
    for trees in [&theirs, &ours] {
        age(&trees.path("target"));
    }
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let sources = [source.to_owned()];
    let rsh = FakeRsh::plain();
    let expected = rsync::push(&rsh, &options, &sources, &theirs.path("target")).unwrap();
    let run = |dry: &[&str]| {
        let push = Hasync::push(dry).args(&options).args(rsh.options());
        push.arg(source)
            .arg(format!("host:{}", ours.text("target")))
            .run()
    };
    let (dry, real) = (run(&["-n"]), run(&[]));
    assert_eq!(real.code, expected.code, "{expected}{real}");
    assert_eq!(dry.stdout, real.stdout, "{dry}{real}");
    let lines = |run: &Finished| {
        let mut lines: Vec<_> = run.stdout_text().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&real), lines(&expected), "{expected}{real}");
    let seen = |trees: &TempTree| Snapshot::of(&trees.path("target"));
    let diff = seen(&theirs).diff(&seen(&ours));
    assert!(diff.is_empty(), "trees differ (rsync, hasync):\n{diff}");
}

/// Whole seconds long ago, the source's and the target's apart.
fn age(root: &Path) {
    let seconds = if root.ends_with("source") { 0 } else { 100 };
    for entry in walkdir::WalkDir::new(root).contents_first(true) {
        set_mtime(entry.unwrap().path(), 1_500_000_000 + seconds, 0);
    }
}

/// A source with a mounted file system in it, and the same tree half made at the target.
#[test]
fn one_file_system_leaves_out_what_is_mounted_in_the_source() {
    for (options, target_has_it) in [
        (&["-aix"][..], false),
        (&["-aix"], true),
        (&["-aix", "--delete"], true),
        (&["-ai", "--delete"], true),
    ] {
        let trees = TempTree::new();
        let mounted = Mounted::at(trees.path("source/mounted"));
        mounted.write("inside", "on another file system");
        std::fs::create_dir(mounted.path().join("deep")).unwrap();
        trees.write("source/beside", "same");
        trees.write("source/dir/b", "new");
        age(&trees.path("source"));
        check_against_rsync(options, &trees.contents_of("source"), |target| {
            if target_has_it {
                std::fs::create_dir(target.join("mounted")).unwrap();
                std::fs::write(target.join("mounted/own"), "of the target").unwrap();
            }
            std::fs::write(target.join("extra"), "to be deleted").unwrap();
            None
        });
    }
}

/// With -x neither program deletes inside what is mounted in the target; without, both do.
#[test]
fn one_file_system_does_not_delete_in_what_is_mounted_in_the_target() {
    for options in [&["-aix", "--delete"], &["-ai", "--delete"]] {
        let trees = TempTree::new();
        trees.write("source/data/new", "new");
        trees.write("source/data/sub/new", "new");
        age(&trees.path("source"));
        check_against_rsync(options, &trees.contents_of("source"), |target| {
            let mounted = Mounted::at(target.join("data"));
            std::fs::create_dir_all(mounted.path().join("sub/extra")).unwrap();
            mounted.write("extra", "only there");
            mounted.write("sub/file", "only there");
            std::fs::write(target.join("extra"), "to be deleted").unwrap();
            Some(mounted)
        });
    }
}

/// What is mounted where the source has nothing: a delete neither enters nor removes it.
#[test]
fn delete_does_not_enter_a_mounted_file_system() {
    for options in [&["-ax", "--delete"], &["-a", "--delete"]] {
        let trees = TempTree::new();
        trees.write("source/a", "new");
        trees.write("target/extra", "old");
        let mounted = [
            Mounted::at(trees.path("target/data")),
            Mounted::at(trees.path("target/dir/below")),
        ];
        for mounted in &mounted {
            mounted.write("precious", "must survive");
        }
        trees.write("target/dir/extra", "old");
        let done = push(&trees, options).expect(23);
        assert!(done.stderr.contains("mount point"), "{done}");
        for mounted in &mounted {
            assert!(mounted.has("precious"), "{done}");
        }
        assert!(!trees.path("target/extra").exists());
        assert!(!trees.path("target/dir/extra").exists());
        assert!(trees.path("target/a").exists());
    }
}

/// A time that a mount in the target cannot store is not sent again and again, wherever the mount
/// is; what is in it, above it and mounted in it again is compared as exactly as it can be kept.
#[test]
fn a_mount_that_stores_other_times_settles() {
    for (coarse_root, mounted, options) in [
        (false, "coarse", "-ai"),
        (false, "a/deep/coarse", "-aiH"),
        (false, "coarse", "-aicS"),
        (true, "fine", "-ai"),
        (true, "a/fine", "-aiH"),
    ] {
        let (trees, disk) = (TempTree::new(), LoopFs::new("ext2", 16));
        // The source has no such directory.
        std::fs::remove_dir(disk.path("lost+found")).unwrap();
        let inner = format!("{mounted}/below/inner");
        let root = if coarse_root {
            disk.path("")
        } else {
            trees.mkdir("target")
        };
        let mount = |fine: bool, path: &str| match fine {
            true => Mounted::at(root.join(path)),
            false => Mounted::bind(&disk.path(""), root.join(path)),
        };
        let _outer = mount(coarse_root, mounted);
        let _inner = (!coarse_root).then(|| mount(true, &inner));
        let dirs = ["", "a", mounted, &format!("{mounted}/below"), &inner];
        let make = |file: &str, nanos: u32| {
            trees.write(format!("source/{file}"), "as long as ever");
            trees.mtime(format!("source/{file}"), 1_600_000_001, nanos);
        };
        for (n, dir) in dirs.iter().enumerate() {
            make(&format!("{dir}/file"), 123_456_789);
            make(&format!("{dir}/late"), 5);
            trees.mtime(format!("source/{dir}/late"), 4_000_000_000, 7);
            trees.mtime(
                format!("source/{dir}"),
                1_500_000_000 + n as i64,
                987_654_321,
            );
        }
        // By a receiver that is confined, too.
        let (rsh, target) = (FakeRsh::plain(), root.display().to_string());
        let push_with = |more: &[&str]| {
            let push = Hasync::push(&[options]).args(more).args(rsh.options());
            push.args([trees.contents_of("source"), format!("host:{target}")])
                .run()
                .expect(0)
        };
        let push = || push_with(&[]);
        let first = push();
        assert!(first.stdout_text().contains("/late"), "{first}");
        let second = push();
        assert_eq!(second.stdout_text(), "", "{mounted} {options}");
        // The digests alone settle it.
        let compared = push_with(&["--stats"]);
        let exchanged = "(exchanged: 0)";
        assert!(compared.stdout_text().contains(exchanged), "{compared}");
        // A nanosecond is seen where it is stored.
        dirs.iter()
            .for_each(|dir| make(&format!("{dir}/file"), 123_456_790));
        let third = push();
        let seen = |dir: &str| {
            let name = format!(" {}", format!("{dir}/file").trim_start_matches('/'));
            third
                .stdout_text()
                .lines()
                .any(|line| line.ends_with(&name))
        };
        assert_eq!(seen(""), !coarse_root, "{third}");
        assert_eq!(seen(mounted), coarse_root, "{third}");
        assert!(coarse_root || seen(&inner), "{third}");
        trees.write(format!("source/{mounted}/file"), "longer than before");
        assert!(push().stdout_text().contains(&format!("{mounted}/file")));
    }
}

/// Entries below a mount of the target cannot be renamed there from outside of it.
#[test]
fn replaces_and_makes_entries_below_a_mount_of_the_target() {
    let trees = TempTree::new();
    let source = trees.mkdir("source");
    versions::write_tree(&source, 40, 1, 100);
    let mounted = Mounted::at(trees.path("target/dir3"));
    for version in 2..4 {
        versions::write_tree(&source, 40, version, 100 + version as usize);
        trees.write("source/dir3/new/deep/file", format!("version {version}"));
        trees.write(format!("source/dir3/only-{version}"), "x");
        push(&trees, &["-aH", "--delete"]).expect(0);
        let there = Snapshot::of(&trees.path("target"));
        let litter = there.litter();
        assert!(litter.is_empty(), "left behind: {litter:?}");
        Snapshot::of(&source).assert_same(&there);
        std::fs::remove_file(source.join(format!("dir3/only-{version}"))).unwrap();
    }
    assert!(mounted.has("new/deep/file"));
}

#[test]
fn what_is_kept_on_a_mount_that_is_gone_keeps_nothing_else_from_going() {
    let pair = Pair::here("");
    let mounted = Mounted::at(pair.path(Foo1, "html/sub"));
    let push = |version: u32| {
        pair.write(Foo0, "html/file", "x".repeat(version as usize));
        pair.write(Foo0, "html/sub/file", "y".repeat(version as usize));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    };
    push(1);
    push(2);
    assert!(
        mounted.has(".hasync/trees/html/undo"),
        "nothing is kept there"
    );
    drop(mounted);
    (3..8).for_each(push);
    let kept = pair.path(Foo1, "html/.hasync/trees/html/undo");
    // The standby tidies up after it has acknowledged.
    await_that("what is older is removed", || {
        std::fs::read_dir(&kept).unwrap().count() == 3
    });
    assert_eq!(pair.html(Foo0).diff(&pair.html(Foo1)), "");
}
