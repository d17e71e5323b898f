//! What a verb writes, or removes, where a path says: a local user has planted symlinks on it, and
//! nothing of what they lead to changes.

use std::path::Path;

use crate::support::local_user::{home_of_local_user, plant};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::Running;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root};

/// `home/m` is his; `site` and `file` in it lead to what is root's.
fn scene(trees: &TempTree) {
    need_root();
    trees.write("victim/precious", "of root");
    trees.mkdir("victim/sub");
    trees.mkdir("empty");
    home_of_local_user(trees, "home/m");
    for (target, name) in [
        ("victim", "site"),
        ("victim/precious", "file"),
        ("victim/new", "new"),
        ("empty", "empty"),
    ] {
        plant(&trees.path(target), &trees.path("home/m").join(name));
    }
    trees.write("source/site/precious", "not of root");
    trees.write("source/site/f", "new");
    trees.write("source/f", "new");
}

#[track_caller]
fn assert_refused(done: Finished) {
    let done = done.expect(11);
    assert!(done.stderr.contains("is a symlink to"), "{done}");
}

#[test]
fn whatever_is_written_goes_through_no_planted_symlink() {
    let trees = TempTree::new();
    scene(&trees);
    let before = Snapshot::of(trees.root());
    let here = rustix::system::uname();
    let init = format!(
        "init --node {}=10.0.0.1 --node foo1=10.0.0.2 --tree html=/srv/html --yes --manager cron \
         --config",
        here.nodename().to_string_lossy()
    );
    let init: Vec<&str> = init.split(' ').collect();
    let source = trees.contents_of("source");
    let log = |at: &str| format!("--log-file={}", trees.text(at));
    let basis = trees.text("source/f");
    for at in ["site", "site/deep", "site/sub/../deep"] {
        let to = trees.text(&format!("home/m/{at}/made"));
        assert_refused(Hasync::new().args(&init).arg(&to).run());
        assert_refused(Hasync::new().args(["man", &to]).run());
    }
    for at in ["site/made", "site/precious", "site/./sub/made"] {
        let to = trees.text(&format!("home/m/{at}"));
        assert_refused(Hasync::new().args(["signature", &basis, &to]).run());
    }
    for at in ["home/m/site/log", "home/m/file", "home/m/new"] {
        let push = Hasync::push(&["-an", &log(at)]);
        assert_refused(push.args([&source, &trees.text("empty")]).run());
    }
    for at in ["home/m/site/a/b/", "home/m/new/a", "home/m/site/sub/a/b"] {
        let push = Hasync::push(&["-a", "--mkpath"]);
        assert_refused(push.args([&source, &trees.text(at)]).run());
    }
    Snapshot::of(trees.root()).assert_untouched_since(&before);
}

/// His symlinks are in the target of a push that would go on below them.
#[test]
fn whatever_goes_below_a_target_goes_through_no_planted_symlink() {
    for options in [
        &["-aR", "source/./site/f"][..],
        &["-aR", "source/./site/f", "--mkpath"],
        &["-aRK", "source/./site/f"],
        &["-aK", "source/"],
        &["-a", "--delete", "--force", "source/"],
        &["-aR", "--delete-missing-args", "source/./site/no"],
        &["-aRK", "--delete-missing-args", "source/./site/no"],
        &[
            "-aRK",
            "--delete-missing-args",
            "--delete",
            "source/./site/no",
        ],
        &["-ab", "--backup-dir=site", "source/f"],
        &["-ab", "--backup-dir=site/sub", "source/f"],
        &["-abK", "--backup-dir=site/made", "source/f"],
        &["-ab", "--backup-dir=new", "source/f"],
        &["-ab", "--suffix=", "--backup-dir=site", "source/f"],
        &["-a", "--atomic", "source/"],
        &["-a", "--atomic", "-b", "--backup-dir=site/sub", "source/f"],
        &["-a", "--chmod=u+s", "--existing", "source/"],
    ] {
        let trees = TempTree::new();
        scene(&trees);
        trees.write("home/m/f", "old");
        trees.write("victim/no", "of root");
        let victim = Snapshot::of(&trees.path("victim"));
        let mut push = Hasync::push(options).arg(trees.text("home/m")).command();
        push.current_dir(trees.root());
        let done = Running::start(push).finish();
        assert!(matches!(done.code, 0 | 11 | 23), "{options:?}\n{done}");
        let diff = victim.diff(&Snapshot::of(&trees.path("victim")));
        assert_eq!(diff, "", "{options:?}\n{done}");
    }
}

#[test]
fn what_is_kept_is_copied_out_through_no_planted_symlink() {
    let pair = Pair::here("");
    scene(&pair.dir);
    pair.write(Foo0, "html/page", "one");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    pair.write(Foo0, "html/page", "two");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let extract = |to: &Path| {
        let to = to.display().to_string();
        pair.run(Foo1, &["kept", "html", "--extract", "2", &to])
    };
    for to in [
        "empty",
        "empty/",
        "empty/.",
        "empty/made",
        "site/sub",
        "new",
    ] {
        assert_refused(extract(&pair.dir.path("home/m").join(to)));
    }
    assert_eq!(
        Snapshot::of(&pair.dir.path("empty")).diff(&Snapshot::of(&pair.dir.path("victim/sub"))),
        ""
    );
    // His own directory will do, and a symlink of root's.
    extract(&pair.dir.path("home/m/own")).expect(0);
    pair.dir.symlink("empty", "of_root");
    extract(&pair.dir.path("of_root")).expect(0);
    assert_eq!(pair.dir.read("empty/page"), b"one");
}
