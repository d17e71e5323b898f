//! Where a path that somebody gives leads: symlinks on the way to DST, to a `--root`, to a tree
//! and to SRC, in every spelling, with a local user who really plants them.

use std::path::Path;

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::local_user::{LOCAL_USER, home_of_local_user, plant};
use crate::support::mounted::Mounted;
use crate::support::own_server::OwnServer;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::Running;
use crate::support::refused_call::RefusedCall;
use crate::support::{Finished, Hasync, Snapshot, TempTree, await_that, need_root};

/// A source, and what a symlink of the local user leads to: nothing of that may change.
struct Scene {
    trees: TempTree,
    victim: Snapshot,
}

impl Scene {
    fn new() -> Self {
        need_root();
        let trees = TempTree::new();
        trees.write("source/new", "of the source");
        trees.write("victim/precious", "of root");
        trees.write("victim/sub/deep", "of root");
        home_of_local_user(&trees, "home/m");
        trees.mkdir("home/m/real");
        plant(&trees.path("victim"), &trees.path("home/m/site"));
        trees.symlink("home/m/site", "alias");
        trees.symlink("home/m/site/sub/", "through");
        let victim = Snapshot::of(&trees.path("victim"));
        Self { trees, victim }
    }

    #[track_caller]
    fn assert_unharmed(&self, done: &Finished) {
        let diff = self.victim.diff(&Snapshot::of(&self.trees.path("victim")));
        assert!(diff.is_empty(), "{diff}\n{done}");
    }

    /// Refused, by the name of the symlink, its owner and its target, and with nothing changed.
    #[track_caller]
    fn assert_refused(&self, done: Finished) {
        let victim = self.trees.text("victim");
        let words = ["home/m/site\" is a symlink to", &victim, "uid 4242"];
        let done = done.expect_error(11, &words);
        self.assert_unharmed(&done);
    }

    fn push(&self, options: &[&str]) -> Hasync {
        let push = Hasync::push(&["-a", "--delete"]);
        push.args(options).arg(self.trees.contents_of("source"))
    }

    /// Pushes to a receiver that serves `root` alone.
    fn push_served(&self, root: &str, destination: &str) -> Finished {
        let program = Hasync::program().display().to_string();
        let root = self.trees.text(root);
        let rsh = FakeRsh::with_script(&format!("exec {program} serve --root {root}"));
        let options = rsh.options();
        let push = self.push(&options.iter().map(String::as_str).collect::<Vec<_>>());
        push.arg(format!("host:{destination}")).run()
    }
}

/// Ways to write that a push goes to what the planted symlink leads to, or below it.
const PLANTED: [&str; 12] = [
    "home/m/site",
    "home/m/site/",
    "home/m/site/.",
    "home/m/./site//",
    "home//m/site/././",
    "home/m/site/sub",
    "home/m/site/sub/",
    "home/m/site/made",
    "home/m/site/sub/..",
    "home/m/real/../site/",
    "alias/",
    "through",
];

#[test]
fn a_planted_symlink_leads_no_push_away() {
    let scene = Scene::new();
    for destination in PLANTED {
        let absolute = scene.push(&[]).arg(scene.trees.text(destination));
        scene.assert_refused(absolute.run());
        let mut relative = scene.push(&[]).arg(destination).command();
        relative.current_dir(scene.trees.root());
        scene.assert_refused(Running::start(relative).finish());
    }
    let file = scene.trees.text("source/new");
    for destination in ["home/m/site", "home/m/site/", "home/m/site/new"] {
        let destination = scene.trees.text(destination);
        let push = Hasync::push(&["-a"]).args([&file, &destination]);
        scene.assert_refused(push.run());
    }
}

#[test]
fn a_planted_symlink_leads_nowhere_below_a_served_root() {
    let scene = Scene::new();
    for (root, destination) in [
        ("home", "m/site"),
        ("home", "m/site/"),
        ("home", "m/site/."),
        ("home", "m/./site//sub/"),
        ("home/m", "site/"),
        ("home/m/", "site/made"),
    ] {
        scene.assert_refused(scene.push_served(root, destination));
        let absolute = scene.trees.path(root).join(destination);
        scene.assert_refused(scene.push_served(root, absolute.to_str().unwrap()));
    }
    // Not even one of root: it would lead out of what is served.
    scene.trees.symlink("../../victim", "home/m/of_root");
    let done = scene.push_served("home", "m/of_root/").expect(11);
    assert!(
        done.stderr.contains("none is followed below a served root"),
        "{done}"
    );
    scene.assert_unharmed(&done);
}

#[test]
fn a_served_root_is_no_planted_symlink() {
    let scene = Scene::new();
    for root in [
        "home/m/site",
        "home/m/site/",
        "home/m/site/.",
        "home/m/site/sub",
        "alias",
    ] {
        let done = scene.push_served(root, "");
        assert_ne!(done.code, 0, "{done}");
        assert!(done.stderr.contains("home/m/site\" is a symlink"), "{done}");
        scene.assert_unharmed(&done);
    }
    scene.trees.symlink("home/m/real", "served");
    scene.push_served("served/", "sub").expect(0);
    assert!(scene.trees.path("home/m/real/sub/new").exists());
}

#[test]
fn symlinks_of_root_are_followed() {
    let scene = Scene::new();
    scene.trees.symlink("../../a/real", "home/m/of_root");
    scene.trees.symlink("real/", "a");
    scene.trees.mkdir("real/real/sub");
    scene
        .trees
        .symlink(scene.trees.path("home/m/of_root"), "chain");
    for destination in [
        "home/m/of_root",
        "home/m/of_root/",
        "chain",
        "chain/.",
        "a/real/sub/..",
    ] {
        let _ = std::fs::remove_file(scene.trees.path("real/real/new"));
        scene
            .push(&[])
            .arg(scene.trees.text(destination))
            .run()
            .expect(0);
        assert!(scene.trees.path("real/real/new").exists(), "{destination}");
        scene.trees.mkdir("real/real/sub");
    }
}

#[test]
fn a_symlink_that_leads_to_no_directory_is_told_apart() {
    let scene = Scene::new();
    scene.trees.symlink("source/new", "to_file");
    scene.trees.symlink("nothing", "dangling");
    for (name, said) in [
        ("to_file", "is not a directory"),
        ("to_file/", "is not a directory"),
        ("dangling", "is a symlink to nothing"),
        ("dangling/", "is a symlink to nothing"),
        ("dangling/x", "no such file"),
    ] {
        let push = scene.push(&[]).arg(scene.trees.text(name));
        push.run()
            .expect_error(11, &[name.trim_end_matches("/x"), said]);
    }
    assert!(!scene.trees.path("nothing").exists());
}

#[test]
fn who_is_not_root_follows_his_own_symlinks_and_those_of_root() {
    let scene = Scene::new();
    let reachable = Reachable::new();
    let trees = &scene.trees;
    trees.mkdir("nobody/real");
    for name in ["nobody", "nobody/real"] {
        trees.chown(name, 65534, 65534);
    }
    trees.symlink("real", "nobody/own");
    trees.chown("nobody/own", 65534, 65534);
    trees.symlink("real", "nobody/of_root");
    trees.symlink("real", "nobody/foreign");
    trees.chown("nobody/foreign", LOCAL_USER, LOCAL_USER);
    for (name, code) in [("own/", 0), ("of_root/", 0), ("own", 0), ("foreign/", 11)] {
        let push = scene.push(&[]).arg(trees.path("nobody").join(name));
        let done = push.by_nobody(&reachable).run().expect(code);
        assert_eq!(done.stderr.contains("is a symlink to"), code != 0, "{done}");
    }
}

/// In a container that does not permit the call, say.
#[test]
fn without_openat2_a_push_is_the_same() {
    let scene = Scene::new();
    let trees = &scene.trees;
    for name in ["a/b/c/one", "a/b/two", "d/precious"] {
        trees.write(Path::new("source").join(name), name);
    }
    for target in ["with", "without"] {
        trees.mkdir(Path::new(target).join("a/b/old"));
        trees.symlink("../victim", Path::new(target).join("d"));
    }
    let launcher = RefusedCall::openat2();
    let with = scene.push(&["-i"]).arg(trees.text("with"));
    let without = scene.push(&["-i"]).arg(trees.text("without"));
    let with = with.run().expect(0);
    let without = without.under(&launcher.words()).run().expect(0);
    assert_eq!(with.stdout_text(), without.stdout_text());
    scene.assert_unharmed(&without);
    let there = Snapshot::of(&trees.path("without"));
    Snapshot::of(&trees.path("source")).assert_same(&there);
    let planted = scene.push(&[]).arg(trees.text("home/m/site/"));
    scene.assert_refused(planted.under(&launcher.words()).run());
}

/// Search permission is enough on the way.
#[test]
fn a_destination_below_an_unreadable_directory_is_reached() {
    let scene = Scene::new();
    let reachable = Reachable::new();
    scene.trees.mkdir("closed/nobody");
    scene.trees.chown("closed/nobody", 65534, 65534);
    scene.trees.chmod("closed", 0o711);
    let push = scene.push(&[]).arg(scene.trees.text("closed/nobody/made"));
    push.by_nobody(&reachable).run().expect(0);
    assert!(scene.trees.path("closed/nobody/made/new").exists());
}

/// A current directory that has been removed leads nowhere, and what it is to the push is said.
#[test]
fn a_removed_directory_is_said_to_be_removed() {
    let trees = TempTree::new();
    trees.write("source/file", "x");
    let source = trees.contents_of("source");
    let kept = trees.text("kept");
    trees.write("kept/file", "y");
    let removed = [
        (vec![&*source, "."], 11, "target \".\" has been removed"),
        (
            vec!["--atomic", &source, "./"],
            11,
            "target \"./\" has been removed",
        ),
        (
            vec![&source, "below"],
            11,
            "cannot make the target \"below\"",
        ),
        (vec!["./", &kept], 24, "has vanished: \"./\""),
        (vec!["--atomic", ".", &kept], 24, "has vanished: \".\""),
    ];
    for (words, code, said) in removed {
        let gone = trees.mkdir("gone").display().to_string();
        let line = "cd \"$0\" && rmdir \"$0\" && exec \"$@\"";
        let push = Hasync::push(&["-a", "--delete"]).args(words);
        push.under(&["sh", "-c", line, &gone])
            .run()
            .expect_error(code, &[said]);
        assert_eq!(trees.read("kept/file"), b"y");
    }
}

#[test]
fn a_source_behind_a_planted_symlink_is_read_only_when_asked() {
    let scene = Scene::new();
    let secret = |name: &str| scene.trees.path("target").join(name);
    scene.trees.write("target/old", "of the target");
    for (source, found) in [
        ("home/m/site/", "precious"),
        ("home/m/site/.", "precious"),
        ("home/m/site/sub", "sub"),
        ("home/m/site/sub/", "deep"),
        ("alias/", "precious"),
        ("through/", "deep"),
        ("home/m/site/precious", "precious"),
    ] {
        let push = |options: &[&str]| {
            let push = Hasync::push(&["-a", "--delete"]).args(options);
            let push = push.arg(scene.trees.contents_of("source"));
            push.args([scene.trees.text(source), scene.trees.text("target")])
                .run()
        };
        let done = push(&[]).expect(23);
        for word in [
            "home/m/site\" is a symlink",
            "uid 4242",
            "--follow-untrusted",
        ] {
            assert!(done.stderr.contains(word), "{word}\n{done}");
        }
        assert!(!secret(found).exists(), "{done}");
        // What could not be read may be on the target all the same.
        assert!(secret("old").exists() && secret("new").exists(), "{done}");
        push(&["--follow-untrusted", "--max-delete=0"]).expect(25);
        assert!(secret(found).exists(), "{source}");
        std::fs::remove_dir_all(secret("")).unwrap();
        scene.trees.write("target/old", "of the target");
    }
    // As an entry it is what it is.
    let push = Hasync::push(&["-a"]).arg(scene.trees.text("home/m/site"));
    push.arg(scene.trees.text("target")).run().expect(0);
    assert_eq!(
        std::fs::read_link(secret("site")).unwrap(),
        scene.trees.path("victim")
    );
}

#[test]
fn a_file_of_patterns_is_not_reached_by_a_planted_symlink() {
    let scene = Scene::new();
    scene.trees.write("list", "new\n");
    scene.trees.symlink("list", "to_list");
    let push = |list: &str| {
        let options = [format!("--exclude-from={}", scene.trees.text(list))];
        let push = Hasync::push(&["-a"]).args(options);
        push.args([
            scene.trees.contents_of("source"),
            scene.trees.text("target"),
        ])
        .run()
    };
    push("home/m/site/precious").expect_error(11, &["home/m/site\" is a symlink", "uid 4242"]);
    push("to_list").expect(0);
    assert!(!scene.trees.path("target/new").exists());
}

/// The file that a group is locked by is made if it is missing.
#[test]
fn a_lock_is_not_reached_by_a_planted_symlink() {
    need_root();
    let pair = Pair::here("");
    let victim = pair.dir.path("victim");
    std::fs::create_dir(&victim).unwrap();
    home_of_local_user(&pair.dir, "home");
    plant(&victim, &pair.dir.path("home/locks"));
    for file in ["etc/a", "etc/b"] {
        pair.write(Foo0, file, "1");
    }
    let files = pair.read(Foo0, "hasync.toml");
    let files = files
        .lines()
        .find(|line| line.starts_with("files"))
        .unwrap();
    let lock = pair.dir.path("home/locks/lock");
    let lines = format!("{files}\nlock = \"{}\"", lock.display());
    pair.set(Foo0, "files", &lines);
    let done = pair.run(Foo0, &["push", "--tree", "conf"]).expect(11);
    assert!(done.stderr.contains("is a symlink to"), "{done}");
    assert!(!victim.join("lock").exists(), "{done}");
}

/// In place of the tree or of the group's directory of one node the local user has a symlink.
#[test]
fn a_named_tree_is_where_its_path_leads_without_planted_symlinks() {
    need_root();
    for (node, tree, dir) in [
        (Foo1, "html", "html"),
        (Foo1, "conf", "etc"),
        (Foo0, "html", "html"),
        (Foo0, "conf", "etc"),
    ] {
        let pair = Pair::here("");
        pair.write(Foo0, "html/page", "one");
        for file in ["etc/a", "etc/b"] {
            pair.write(Foo0, file, "1");
        }
        let victim = pair.dir.path("victim");
        std::fs::create_dir(&victim).unwrap();
        for name in ["precious", "a"] {
            std::fs::write(victim.join(name), "of root").unwrap();
        }
        let before = Snapshot::of(&victim);
        std::fs::remove_dir_all(pair.path(node, dir)).unwrap();
        // The node's configuration is in there too, and must be root's again.
        pair.dir.chown(node.name(), LOCAL_USER, LOCAL_USER);
        plant(&victim, &pair.path(node, dir));
        pair.dir.chown(node.name(), 0, 0);
        for words in [
            &["push", "--tree", tree, "--no-brake"][..],
            &["push", "--tree", tree, "--no-brake", "-n"],
        ] {
            let done = pair.run(Foo0, words);
            assert_ne!(done.code, 0, "{done}");
            let said = format!("{}{}", done.stderr, done.stdout_text());
            assert!(
                said.contains("is a symlink to") && said.contains("uid 4242"),
                "{done}"
            );
            assert_eq!(before.diff(&Snapshot::of(&victim)), "", "{done}");
        }
        for words in [
            &["status", tree][..],
            &["log", tree],
            &["promote", tree],
            &["check-config"],
        ] {
            let done = pair.run(node, words);
            let said = format!("{}{}", done.stderr, done.stdout_text());
            assert!(said.contains("is a symlink to"), "{done}");
            assert_eq!(before.diff(&Snapshot::of(&victim)), "", "{done}");
        }
    }
    let pair = Pair::here("");
    let done = pair.run(Foo0, &["push", "--tree", "html", "--follow-untrusted"]);
    done.expect_error(1, &["--follow-untrusted"]);
}

/// The roots of `--listen` are opened for each session: while there is none, the file system can
/// be unmounted, and what is above it serves nothing.
#[test]
fn a_listening_server_holds_no_root_between_two_sessions() {
    need_root();
    let trees = TempTree::new();
    trees.write("source/new", "of the source");
    trees.write("above/precious", "beside the root");
    let root = trees.path("above/root");
    let mounted = Mounted::at(root.clone());
    let server = OwnServer::with(&["--root", &root.display().to_string()]);
    let push = |source: &str, target: &Path| server.push(&["-a", "--delete"], source, target).run();
    let contents = trees.contents_of("source");
    push(&contents, &root.join("one")).expect(0);
    // The session may outlive the push by a moment.
    await_that("the root can be unmounted", || mounted.unmount());
    std::fs::remove_dir(&root).unwrap();
    let before = Snapshot::of(&trees.path("above"));
    for source in [&contents, &trees.text("source"), &trees.text("source/new")] {
        for target in [
            root.clone(),
            root.join(""),
            root.join("one"),
            Path::new("").into(),
        ] {
            let done = push(source, &target).expect_error(11, &["served root", "above/root"]);
            assert_eq!(
                before.diff(&Snapshot::of(&trees.path("above"))),
                "",
                "{done}"
            );
        }
    }
    trees.mkdir("above/root");
    push(&contents, &root.join("two")).expect(0);
    assert!(root.join("two/new").exists());
}
