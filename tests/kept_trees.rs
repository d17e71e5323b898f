//! A push without a name does not get into what a tree with a name holds, by whatever path it
//! leads there.

use std::path::PathBuf;

use crate::support::hasync::FakeRsh;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Hasync, Snapshot};

/// A pair whose standby has received the tree `html`, with a file system of its own in it.
struct Scene {
    pair: Pair,
    _data: Mounted,
}

impl Scene {
    fn new() -> Self {
        let pair = Pair::here("");
        pair.write(Foo0, "html/page", "one");
        pair.write(Foo0, "html/sub/deep/page", "two");
        pair.write(Foo0, "html/data/page", "three");
        pair.write(Foo0, "other/file", "of a push without a name");
        let data = Mounted::at(pair.path(Foo1, "html/data"));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        Self { pair, _data: data }
    }

    /// Pushes a directory or a file of foo0 to `destination` of foo1, as its `hasync serve` with
    /// `more` options lets it.
    fn push(&self, source: &str, destination: &str, more: &str) -> Finished {
        self.push_with(&[], source, destination, more)
    }

    fn push_with(&self, options: &[&str], source: &str, destination: &str, more: &str) -> Finished {
        let receiver = self.pair.path(Foo1, "hasync").display().to_string();
        let rsh = FakeRsh::with_script(&format!("exec {receiver} serve {more}"));
        let source = self.pair.path(Foo0, source).display().to_string();
        let push = Hasync::push(&["-a", "--delete"]).args(rsh.options());
        push.args(options)
            .args([source, format!("host:{destination}")])
            .run()
    }

    /// The same of backups.
    #[track_caller]
    fn assert_keeps_no_backups(&self, dir: &str) {
        let before = Snapshot::of(&self.pair.path(Foo1, ""));
        let receiver = self.pair.path(Foo1, "hasync").display().to_string();
        let rsh = FakeRsh::with_script(&format!("exec {receiver} serve"));
        let push = Hasync::push(&["-a", &format!("--backup-dir={dir}")]).args(rsh.options());
        let source = self.pair.path(Foo0, "other/").display().to_string();
        let push = push.args([source, format!("host:{}", self.text("beside"))]);
        push.run().expect_error(1, &["tree html", "--backup-dir"]);
        before.assert_same(&Snapshot::of(&self.pair.path(Foo1, "")));
    }

    #[track_caller]
    fn assert_refused(&self, destination: &str, more: &str) {
        let before = Snapshot::of(&self.pair.path(Foo1, ""));
        for (source, options) in [
            ("other/", &[][..]),
            ("other", &[]),
            ("other/file", &[]),
            ("other/", &["--mkpath", "-b"]),
        ] {
            let done = self.push_with(options, source, destination, more);
            let done = done.expect_error(1, &["tree html", "--tree html"]);
            let diff = before.diff(&Snapshot::of(&self.pair.path(Foo1, "")));
            assert!(diff.is_empty(), "{destination} {more}: {diff}\n{done}");
        }
    }

    fn text(&self, name: &str) -> String {
        self.pair.path(Foo1, name).display().to_string()
    }
}

#[test]
fn by_another_path() {
    let scene = Scene::new();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, scene.pair.path(Foo1, name)).unwrap();
    };
    link("html", "link");
    link("link/sub/", "to_sub");
    for name in [
        "html",
        "html/",
        "html/.",
        "html/sub",
        "html/sub/deep/",
        "html/made",
        "html/sub/made/",
        "html/data",
        "html/sub/..",
        "link",
        "to_sub/deep",
        "state/../html",
    ] {
        scene.assert_refused(&scene.text(name), "");
    }
    for (root, name) in [
        ("html", ""),
        ("html/sub", ""),
        ("html/sub", "made"),
        ("html/sub/deep", "../deep"),
        ("html/data", "."),
        ("", "html/sub/"),
    ] {
        let climbs = name.contains("..");
        let more = format!("--root {}", scene.text(root));
        if climbs {
            scene
                .push("other/", name, &more)
                .expect_error(1, &["outside the roots"]);
        } else {
            scene.assert_refused(name, &more);
        }
    }
    // Nor are directories made there that lead on.
    for name in ["html/a/b/", "html/sub/a/b/c", "html/data/a/b", "to_sub/a/b"] {
        let before = Snapshot::of(&scene.pair.path(Foo1, ""));
        for source in ["other/", "other/file"] {
            let done = scene.push_with(&["--mkpath"], source, &scene.text(name), "");
            let done = done.expect_error(1, &["tree html"]);
            let diff = before.diff(&Snapshot::of(&scene.pair.path(Foo1, "")));
            assert!(diff.is_empty(), "{name}: {diff}\n{done}");
        }
    }
    // Above it everything would be gone with it; a sender that claims to have one entry alone may
    // send others.
    let file = scene.text("file");
    scene
        .push("other/file", &file, "")
        .expect_error(1, &["tree html"]);
    scene
        .push("other/", &scene.text(""), "")
        .expect_error(1, &["tree html"]);
    scene.push("other/", &scene.text("beside"), "").expect(0);
    scene
        .push("other/file", &scene.text("beside/file2"), "")
        .expect(0);
    scene
        .push("other/", "beside", &format!("--root {}", scene.text("")))
        .expect(0);
    for dir in ["html", "html/sub/made", "link/bak", "to_sub/deep/er", ""] {
        scene.assert_keeps_no_backups(&scene.text(dir));
    }
    scene.assert_keeps_no_backups("../html/data/bak");
}

#[test]
fn by_another_mount() {
    let scene = Scene::new();
    let bind = |from: &str, at: &str| {
        let at = scene.pair.dir.path("mounts").join(at);
        let _mounted = Mounted::bind(&scene.pair.path(Foo1, from), at.clone());
        (at.display().to_string(), _mounted)
    };
    let bound = [
        bind("html", "tree"),
        bind("html/sub", "sub"),
        bind("html/sub/deep", "deep"),
        bind("html/data", "data"),
        bind("", "above"),
    ];
    let [tree, sub, deep, data, above] = bound.each_ref().map(|(at, _)| at.as_str());
    for destination in [
        tree,
        &format!("{tree}/sub/"),
        &format!("{tree}/data/"),
        sub,
        &format!("{sub}/made"),
        deep,
        data,
        &format!("{above}/html/"),
        &format!("{above}/html/sub/deep/made"),
        &format!("{above}/html/data"),
    ] {
        scene.assert_refused(destination, "");
    }
    for root in [tree, sub, deep, data] {
        scene.assert_refused("made", &format!("--root {root}"));
    }
    scene
        .push("other/", above, "")
        .expect_error(1, &["tree html"]);
    // A part of the tree below something else.
    std::fs::create_dir_all(scene.pair.path(Foo1, "beside")).unwrap();
    let holder = scene.text("beside");
    scene.push("other/", &holder, "").expect(0);
    let _within = Mounted::bind(
        &scene.pair.path(Foo1, "html/sub"),
        PathBuf::from(&holder).join("in"),
    );
    scene
        .push("other/", &holder, "")
        .expect_error(1, &["tree html"]);
}

/// Two trees of one configuration over the same entries: neither path shows it.
#[test]
fn by_another_tree() {
    let scene = Scene::new();
    let note = |what: &str| format!("note: tree html and {what}");
    let check = || {
        scene
            .pair
            .run(Foo1, &["check-config"])
            .expect(0)
            .stdout_text()
    };
    assert!(!check().contains("share entries"), "{}", check());
    let at = scene.pair.dir.path("elsewhere");
    let config = scene.pair.read(Foo1, "hasync.toml");
    let config = format!(
        "{config}[[tree]]\nname = \"other\"\npath = \"{}\"\n",
        at.display()
    );
    scene.pair.write(Foo1, "hasync.toml", config);
    assert!(!check().contains("share entries"), "{}", check());
    let _mounted = Mounted::bind(&scene.pair.path(Foo1, "html/sub"), at);
    assert!(
        check().contains(&note("tree other share entries")),
        "{}",
        check()
    );
    let _state = Mounted::bind(
        &scene.pair.path(Foo1, "state"),
        scene.pair.path(Foo1, "html/state"),
    );
    assert!(
        check().contains(&note("the state directory")),
        "{}",
        check()
    );
}

/// Where no configuration is at hand, what lies beside the data tells, below the root as well.
#[test]
fn by_a_receiver_without_the_configuration() {
    let scene = Scene::new();
    std::fs::write(scene.pair.path(Foo1, "hasync.toml"), "").unwrap();
    for name in ["html", "html/", "html/sub/deep", "html/made", "html/data/"] {
        scene.assert_refused(&scene.text(name), "");
    }
    scene.assert_refused("", &format!("--root {}", scene.text("html/sub")));
    scene.push("other/", &scene.text("beside"), "").expect(0);
}

/// Two spellings of a tree that is not there yet.
#[test]
fn before_the_tree_is_there() {
    let pair = Pair::here("");
    std::fs::remove_dir(pair.path(Foo1, "html")).unwrap();
    let scene = Scene {
        _data: Mounted::at(pair.path(Foo1, "aside")),
        pair,
    };
    scene
        .pair
        .write(Foo0, "other/file", "of a push without a name");
    for name in ["html", "html/", "etc/../html/."] {
        scene
            .push("other/", &scene.text(name), "")
            .expect_error(1, &["tree html"]);
        assert!(!scene.pair.path(Foo1, "html").exists(), "{name}");
    }
}
