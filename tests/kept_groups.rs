//! A push without a name changes what it likes in the directory of a group, but none of the group's
//! files, by whatever path, mount or name it comes to them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::hasync::FakeRsh;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{self, Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Hasync, Snapshot};

/// A pair with the group `conf` of `box/etc/a` and `box/etc/b`, which the standby has received, and
/// has other files around.
struct Scene {
    pair: Pair,
}

/// What a push was told to do, and what comes of it.
struct Case<'a> {
    options: &'a [&'a str],
    source: &'a str,
    destination: &'a str,
    /// Files of the group that are named.
    told: &'a [&'a str],
}

impl Scene {
    fn new() -> Self {
        let pair = Pair::here("");
        for node in [Foo0, Foo1] {
            let config = pair.read(node, "hasync.toml");
            let etc = |root: &str| format!("/{}/{root}etc/", node.name());
            let config = config.replace(&etc(""), &etc("box/"));
            pair.write(node, "hasync.toml", config);
        }
        pair.write(Foo0, "box/etc/a", "a of the group");
        pair.write(Foo0, "box/etc/b", "b of the group");
        fs::create_dir_all(pair.path(Foo1, "box/etc")).unwrap();
        pair.run(Foo0, &["push", "--tree", "conf"]).expect(0);
        let scene = Self { pair };
        scene.fill();
        scene
    }

    /// What is pushed, and what else the standby has.
    fn fill(&self) {
        let _ = fs::remove_dir_all(self.pair.path(Foo1, "box/more"));
        for (node, name) in [
            (Foo0, "a/a"),
            (Foo0, "a/new"),
            (Foo0, "none/new"),
            (Foo0, "whole/etc/a"),
            (Foo0, "whole/etc/new"),
            (Foo0, "dirs/a/in/deep"),
            (Foo0, "dirs/new"),
            (Foo0, "plain/etc"),
            (Foo0, "plain/new"),
            (Foo1, "box/etc/old"),
            (Foo1, "box/etc/dir/old"),
            (Foo1, "box/more/old"),
        ] {
            self.pair
                .write(node, name, format!("{name}, without a name"));
        }
        let _ = fs::remove_file(self.pair.path(Foo1, "box/etc/new"));
        let _ = fs::remove_file(self.pair.path(Foo1, "box/new"));
    }

    fn text(&self, node: Node, name: &str) -> String {
        self.pair.path(node, name).display().to_string()
    }

    /// Pushes without a name, as `hasync serve` of the standby lets it.
    fn push(&self, options: &[&str], source: &str, destination: &str, more: &str) -> Finished {
        let receiver = self.text(Foo1, "hasync");
        let rsh = FakeRsh::with_script(&format!("exec {receiver} serve {more}"));
        Hasync::push(&["-a"])
            .args(rsh.options())
            .args(options)
            .args([self.text(Foo0, source), format!("host:{destination}")])
            .run()
    }

    /// The files of the group, with all that says that they were left alone.
    fn members(&self) -> Vec<(u64, i64, i64, u32, String)> {
        let of = |path: PathBuf| {
            let stat = fs::symlink_metadata(&path).unwrap();
            let text = fs::read_to_string(path).unwrap();
            (
                stat.ino(),
                stat.mtime_nsec(),
                stat.ctime_nsec(),
                stat.mode(),
                text,
            )
        };
        let names = ["box/etc/a", "box/etc/b"];
        names.map(|name| of(self.pair.path(Foo1, name))).to_vec()
    }

    /// A push of other things goes through, and says of each file of the group that it would have
    /// changed that it stays; a dry run says the same.
    #[track_caller]
    fn check(&self, case: &Case<'_>) -> Finished {
        self.fill();
        let before = (self.members(), Snapshot::of(&self.pair.path(Foo1, "box")));
        let dry = [&["-n"], case.options].concat();
        let dry = self.push(&dry, case.source, case.destination, "");
        self.assert_told(&dry, case);
        before
            .1
            .assert_same(&Snapshot::of(&self.pair.path(Foo1, "box")));
        let done = self.push(case.options, case.source, case.destination, "");
        self.assert_told(&done, case);
        assert_eq!(before.0, self.members(), "{done}");
        self.assert_silent();
        done
    }

    #[track_caller]
    fn assert_told(&self, done: &Finished, case: &Case<'_>) {
        let code = if case.told.is_empty() { 0 } else { 23 };
        assert_eq!(done.code, code, "{done}");
        let text = &done.stderr;
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("whose lineage"))
            .collect();
        assert_eq!(lines.len(), case.told.len(), "{done}");
        for name in case.told {
            let is_its = |line: &&&str| {
                line.contains(&format!("/{name}\" stays")) && line.contains("; push it with --tree")
            };
            assert_eq!(lines.iter().filter(is_its).count(), 1, "{name}: {done}");
        }
    }

    /// The group is as its lineage says.
    #[track_caller]
    fn assert_silent(&self) {
        let done = self.pair.run(Foo0, &["push", "--tree", "conf", "-i"]);
        let done = done.expect(0);
        assert!(
            done.stdout_text()
                .starts_with("conf: unchanged, generation 1 ("),
            "{done}"
        );
    }

    #[track_caller]
    fn assert_refused(&self, options: &[&str], source: &str, destination: &str, more: &str) {
        self.fill();
        let before = Snapshot::of(&self.pair.path(Foo1, "box"));
        let done = self.push(options, source, destination, more);
        let done = done.expect_error(1, &["group conf"]);
        let diff = before.diff(&Snapshot::of(&self.pair.path(Foo1, "box")));
        assert!(diff.is_empty(), "{destination} {more}: {diff}\n{done}");
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.pair.path(Foo1, name)).exists()
    }
}

/// Into the directory and into the one above, with deletions and without.
#[test]
fn by_a_push_of_their_directory() {
    let scene = Scene::new();
    let (etc, above) = (scene.text(Foo1, "box/etc"), scene.text(Foo1, "box"));
    let check = |options: &[&str], source: &str, destination: &str, told: &[&str]| {
        scene.check(&Case {
            options,
            source,
            destination,
            told,
        })
    };
    check(&[], "none/", &etc, &[]);
    check(&[], "a/", &etc, &["a"]);
    assert!(scene.has("box/etc/new") && scene.has("box/etc/old"));
    check(&["--delete"], "a/", &etc, &["a", "b"]);
    assert!(scene.has("box/etc/new") && !scene.has("box/etc/old") && !scene.has("box/etc/dir"));
    check(&["--delete", "--no-atomic"], "none/", &etc, &["a", "b"]);
    assert!(!scene.has("box/etc/old"));
    check(&["--delete", "--atomic"], "none/", &etc, &["a", "b"]);
    assert!(scene.has("box/etc/new") && !scene.has("box/etc/old"));
    // A single file, of which the receiver does not know the name when it begins.
    check(&[], "a/a", &format!("{etc}/"), &["a"]);
    // From above: by what is in the way, and by what is missing.
    check(&[], "whole/", &above, &["a"]);
    assert!(scene.has("box/etc/new") && scene.has("box/more/old"));
    check(&["--delete"], "whole/", &above, &["a", "b"]);
    assert!(!scene.has("box/etc/old") && !scene.has("box/more"));
    check(&["--delete"], "none/", &above, &["a", "b"]);
    assert!(scene.has("box/new") && !scene.has("box/etc/old") && !scene.has("box/etc/dir"));
    // A file in the place of the directory, a directory in that of a file.
    let done = check(&["--delete"], "plain/", &above, &["a", "b"]);
    assert!(done.stderr.contains("belongs to a group stays in it"));
    assert!(scene.has("box/new") && !scene.has("box/etc/old"));
    check(&["--force"], "plain/", &above, &["a", "b"]);
    check(&[], "dirs/", &etc, &["a"]);
    check(&["--delete", "--force"], "dirs/", &etc, &["a", "b"]);
    assert!(scene.has("box/etc/new"));
    // Attributes alone.
    let same = scene.pair.path(Foo0, "same");
    fs::create_dir(&same).unwrap();
    for name in ["a", "b"] {
        fs::write(same.join(name), format!("{name} of the group")).unwrap();
    }
    check(&["-c"], "same/", &etc, &["a", "b"]);
    check(&["-c", "--no-times"], "same/", &etc, &[]);
    check(
        &["-c", "--no-times", "--chmod=F600"],
        "same/",
        &etc,
        &["a", "b"],
    );
    // Links of the same file, of which one is the group's.
    fs::remove_file(same.join("a")).unwrap();
    fs::hard_link(same.join("b"), same.join("a")).unwrap();
    fs::hard_link(same.join("b"), same.join("new")).unwrap();
    check(&["-H"], "same/", &etc, &["a", "b"]);
}

/// Through mounts, symlinks, served roots and the names that a push gives.
#[test]
fn by_another_path_to_their_directory() {
    let scene = Scene::new();
    let (etc, above) = (scene.text(Foo1, "box/etc"), scene.text(Foo1, "box"));
    let mounts = scene.pair.dir.path("mounts");
    let bound = Mounted::bind(&scene.pair.path(Foo1, "box/etc"), mounts.join("etc"));
    let bound = bound.path().display().to_string();
    let holder = Mounted::bind(&scene.pair.path(Foo1, "box"), mounts.join("box"));
    let holder = format!("{}/etc", holder.path().display());
    let link = scene.text(Foo1, "link");
    symlink("box/etc", &link).unwrap();
    let (linked, dotted) = (format!("{link}/"), format!("{above}/more/../etc/."));
    for destination in [&bound, &holder, &linked, &dotted] {
        scene.check(&Case {
            options: &["--delete"],
            source: "a/",
            destination,
            told: &["a", "b"],
        });
        assert!(scene.has("box/etc/new") && !scene.has("box/etc/old"));
    }
    // A mount of it below what is pushed to.
    let beside = scene.pair.path(Foo1, "beside");
    let _below = Mounted::bind(&scene.pair.path(Foo1, "box/etc"), beside.join("etc"));
    scene.check(&Case {
        options: &["--delete"],
        source: "whole/",
        destination: &beside.display().to_string(),
        told: &["a", "b"],
    });
    // A symlink on the way, followed as one that leads to a directory.
    symlink("etc", scene.pair.path(Foo1, "box/way")).unwrap();
    scene.pair.write(Foo0, "led/way/a", "led there");
    scene.pair.write(Foo0, "led/way/new", "led there");
    scene.check(&Case {
        options: &["-K"],
        source: "led/",
        destination: &above,
        told: &["a"],
    });
    assert!(scene.has("box/etc/new"));
    // With what leads to it.
    scene.check(&Case {
        options: &["-R"],
        source: "whole/./etc/a",
        destination: &above,
        told: &["a"],
    });
    scene.check(&Case {
        options: &["-R", "--delete-missing-args"],
        source: "whole/./etc/b",
        destination: &above,
        told: &["b"],
    });
    // Where one name is given, it is refused before anything is done.
    let through = |dir: &str, name: &str| format!("{dir}/{name}");
    for dir in [&etc, &bound, &holder, &link] {
        for options in [&[][..], &["-n"], &["-b"], &["--mkpath"], &["--atomic"]] {
            scene.assert_refused(options, "a/new", &through(dir, "a"), "");
            scene.assert_refused(options, "a/a", &through(dir, "b"), "");
        }
    }
    for (root, name) in [("box", "etc/a"), ("box/etc", "a"), ("box/etc", "./b")] {
        let root = format!("--root {}", scene.text(Foo1, root));
        scene.assert_refused(&[], "a/new", name, &root);
    }
    scene
        .push(&[], "a/new", &through(&etc, "old"), "")
        .expect(0);
    scene.assert_silent();
    // As a push from here to here starts its other half.
    let before = scene.members();
    let done = scene.push(&["--delete"], "a/", &etc, "--local").expect(23);
    assert!(done.stderr.contains("etc/a\" stays") && done.stderr.contains("etc/b\" stays"));
    assert_eq!(before, scene.members());
    // One that is not there is the group's all the same.
    let b = scene.pair.path(Foo1, "box/etc/b");
    fs::remove_file(&b).unwrap();
    for (options, source, name) in [
        (&[][..], "a/new", "b"),
        (&[], "a/", "b/"),
        (&["--mkpath"], "a/", "b/c"),
    ] {
        let done = scene.push(options, source, &through(&etc, name), "");
        done.expect_error(1, &["group conf"]);
    }
    scene.pair.write(Foo0, "both/b", "without a name");
    let done = scene.push(&[], "both/", &etc, "").expect(23);
    assert!(done.stderr.contains("etc/b\" stays"), "{done}");
    assert!(!b.exists());
}

/// What is replaced or removed would be kept under the name of one, or in its directory.
#[test]
fn by_a_backup() {
    let scene = Scene::new();
    for node in [Foo0, Foo1] {
        let config = scene.pair.read(node, "hasync.toml");
        let file = scene.text(node, "box/etc/old~");
        let config = format!("{config}[[tree]]\nname = \"kept\"\nfiles = [\"{file}\"]\n");
        scene.pair.write(node, "hasync.toml", config);
    }
    scene.pair.write(Foo0, "box/etc/old~", "of the group");
    scene.pair.run(Foo0, &["push", "--tree", "kept"]).expect(0);
    scene.pair.write(Foo0, "again/old", "something else");
    scene.pair.write(Foo0, "again/new", "something else");
    let (etc, above) = (scene.text(Foo1, "box/etc"), scene.text(Foo1, "box"));
    let is_kept = || {
        assert_eq!(scene.pair.read(Foo1, "box/etc/old~"), "of the group");
        assert_eq!(
            scene.pair.read(Foo1, "box/etc/old"),
            "box/etc/old, without a name"
        );
        let done = scene.pair.run(Foo0, &["push", "--tree", "kept"]).expect(0);
        assert!(done.stdout_text().starts_with("kept: unchanged"), "{done}");
    };
    let check = |options: &[&str], source: &str, destination: &str, told: &[&str]| {
        scene.check(&Case {
            options,
            source,
            destination,
            told,
        })
    };
    for atomic in ["--atomic", "--no-atomic"] {
        // It has no backup where nothing has its name, and gets another with another suffix.
        let _ = fs::remove_file(scene.pair.path(Foo1, "box/etc/new"));
        check(&["-b", atomic], "again/", &etc, &["old"]);
        is_kept();
        check(
            &["-b", atomic, "--delete"],
            "none/",
            &etc,
            &["a", "b", "old"],
        );
        is_kept();
        check(
            &["-b", atomic, "--delete"],
            "none/",
            &above,
            &["a", "b", "old"],
        );
        is_kept();
        check(&["-b", atomic, "--suffix=.bak"], "again/", &etc, &[]);
        assert_eq!(
            scene.pair.read(Foo1, "box/etc/old.bak"),
            "box/etc/old, without a name"
        );
        check(&["-b", atomic], "a/", &etc, &["a"]);
    }
    scene.pair.write(Foo1, "beside/a", "to be replaced");
    let beside = scene.text(Foo1, "beside");
    for dir in [&etc, &above, "../box/etc", "../link"] {
        let _ = symlink("box", scene.pair.path(Foo1, "link"));
        let option = format!("--backup-dir={dir}");
        scene.assert_refused(&[&option], "a/", &beside, "");
        scene.assert_refused(&[&option, "-n"], "a/", &beside, "");
    }
    scene.assert_refused(&["--backup-dir=etc"], "a/", &above, "");
    for dir in [&format!("{etc}/dir"), &format!("{above}/bak"), "bak"] {
        scene.pair.write(Foo1, "beside/a", "to be replaced");
        let option = format!("--backup-dir={dir}");
        scene.push(&[&option], "a/", &beside, "").expect(0);
    }
    assert_eq!(scene.pair.read(Foo1, "box/etc/dir/a"), "to be replaced");
    scene.assert_silent();
}

/// What is called a file may be a directory: then all in it belongs to the group.
#[test]
fn by_what_is_in_one() {
    let scene = Scene::new();
    for node in [Foo0, Foo1] {
        let config = scene.pair.read(node, "hasync.toml");
        let file = scene.text(node, "box/etc/tree");
        let config = format!("{config}[[tree]]\nname = \"kept\"\nfiles = [\"{file}\"]\n");
        scene.pair.write(node, "hasync.toml", config);
    }
    scene
        .pair
        .write(Foo0, "box/etc/tree/sub/page", "of the group");
    scene.pair.run(Foo0, &["push", "--tree", "kept"]).expect(0);
    scene.pair.write(Foo0, "with/tree/sub/page", "of another");
    scene.pair.write(Foo0, "with/tree/sub/new", "of another");
    let (etc, above) = (scene.text(Foo1, "box/etc"), scene.text(Foo1, "box"));
    let tree = Snapshot::of(&scene.pair.path(Foo1, "box/etc/tree"));
    for (options, source, destination, told) in [
        (&[][..], "with/", &etc, &["tree"][..]),
        (&["--delete"], "with/", &etc, &["a", "b", "tree"]),
        (
            &["--delete", "--atomic"],
            "none/",
            &etc,
            &["a", "b", "tree"],
        ),
        (&["--delete"], "none/", &above, &["a", "b", "tree"]),
        (&["-R"], "with/./tree/sub/new", &etc, &["tree"]),
        (
            &["-R", "--no-implied-dirs"],
            "with/./tree/sub",
            &etc,
            &["tree"],
        ),
    ] {
        scene.check(&Case {
            options,
            source,
            destination,
            told,
        });
        tree.assert_same(&Snapshot::of(&scene.pair.path(Foo1, "box/etc/tree")));
    }
    for name in [
        "tree",
        "tree/",
        "tree/sub",
        "tree/sub/made",
        "tree/sub/page",
    ] {
        for source in ["a/", "a/new"] {
            let done = scene.push(&["--delete"], source, &format!("{etc}/{name}"), "");
            done.expect_error(1, &["group kept"]);
        }
        tree.assert_same(&Snapshot::of(&scene.pair.path(Foo1, "box/etc/tree")));
    }
}
