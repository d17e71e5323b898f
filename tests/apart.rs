//! A push does not change what it reads: a target inside the source, or a source inside the target,
//! is refused by whatever path, mount or peer it is reached, unless a filter keeps it out.

use crate::support::hasync::FakeRsh;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Hasync, Snapshot, TempTree};

/// What is said of a target in the source, of a source in the target, and of anything else.
const IN_SOURCE: &str = "lies in the source";
const IN_TARGET: &str = "lies in the target";
const ITSELF: &str = "would read";
const SAME: &str = "are one directory";

fn scene() -> TempTree {
    let trees = TempTree::new();
    for name in [
        "d/src/file",
        "d/src/inner/deep",
        "d/other",
        "d/o*[x]/y",
        "far/file",
    ] {
        trees.write(name, name);
    }
    for name in ["d/copy", "e", "t"] {
        trees.mkdir(name);
    }
    trees.symlink("d/src", "to_src");
    trees.symlink("d/copy", "to_copy");
    trees.symlink("d", "to_d");
    trees
}

fn push(trees: &TempTree, sources: &str, target: &str, more: &[&str]) -> Hasync {
    let at = |name: &str| format!("{}/{name}", trees.root().display());
    let sources = sources.split(' ').map(at);
    Hasync::push(&["-a", "--delete"])
        .args(more)
        .args(sources)
        .arg(at(target))
}

/// Refused alike in a dry run and for real, with nothing changed or made; or done, with every file
/// that was read as it was.
#[track_caller]
fn check(trees: &TempTree, sources: &str, target: &str, more: &[&str], said: Option<&str>) {
    let before = Snapshot::of(trees.root());
    let Some(said) = said else {
        let done = push(trees, sources, target, more).run();
        // Nothing mounted is deleted either.
        let is_done = done.code == 0 || done.stderr.contains("it is a mount point");
        assert!(is_done, "{sources} {target} {more:?}\n{done}");
        let after = Snapshot::of(trees.root());
        let is_in = |name: &[u8], dir: &str| {
            let dir = dir.trim_end_matches('/');
            name.strip_prefix(dir.as_bytes())
                .is_some_and(|rest| rest.first() != Some(&b'2'))
        };
        for (name, entry) in &before.entries {
            let is_read = sources.split(' ').any(|source| is_in(name, source));
            // What is left out there is no part of the push.
            let is_file = entry.kind == 'f' && !name.starts_with(b"e/in/");
            if is_file && is_read && (!is_in(name, target) || target == "d") {
                let kept = after.entries.get(name);
                assert!(kept == Some(entry), "{sources} {target} {more:?}\n{done}");
            }
        }
        return;
    };
    for dry in [&["-n"][..], &[]] {
        let done = push(trees, sources, target, more).args(dry).run().expect(1);
        assert!(
            done.stderr.contains(said),
            "{sources} {target} {more:?}\n{done}"
        );
        let after = Snapshot::of(trees.root());
        assert_eq!(
            before.diff(&after),
            "",
            "{sources} {target} {more:?}\n{done}"
        );
    }
}

#[test]
fn one_inside_the_other_is_refused_unless_a_filter_keeps_it_out() {
    for (sources, target, more, said) in [
        ("d/src/", "d/", &[][..], Some(IN_TARGET)),
        ("d/src/.", "d", &[], Some(IN_TARGET)),
        ("d/src/inner/", "d", &[], Some(IN_TARGET)),
        ("to_src/", "d", &[], Some(IN_TARGET)),
        ("d/src/", "to_d", &[], Some(IN_TARGET)),
        ("d/src/", "d", &["--exclude=/src"], None),
        ("d/src/", "d", &["--exclude=src/"], None),
        ("d/src/", "d", &["--exclude=/src/***"], None),
        ("d/src/inner/", "d", &["--exclude=/src"], None),
        ("d/src/inner/", "d", &["--exclude=/src/inner"], None),
        // The source itself would go.
        ("d/src/", "d", &["--exclude=/src/*"], Some(IN_TARGET)),
        ("d/src/", "d", &["--exclude=/src/file"], Some(IN_TARGET)),
        (
            "d/src/",
            "d",
            &["--include=/src", "--exclude=/src"],
            Some(IN_TARGET),
        ),
        ("d/src/", "d", &["--exclude=/d/src"], Some(IN_TARGET)),
        ("d/src/", "d", &["-x"], Some(IN_TARGET)),
        ("d/", "d/copy", &[], Some(IN_SOURCE)),
        ("d/", "d/made", &[], Some(IN_SOURCE)),
        ("d/", "d/src/inner/made", &[], Some(IN_SOURCE)),
        ("d/", "to_copy", &[], Some(IN_SOURCE)),
        ("to_d/", "d/copy/", &[], Some(IN_SOURCE)),
        ("d/", "d/copy", &["--exclude=/copy"], None),
        ("d/", "d/copy", &["--exclude=copy/"], None),
        ("d/", "d/copy", &["--exclude=/copy/*"], None),
        ("d/", "d/copy", &["--exclude=/copy/**"], None),
        ("d/", "d/copy", &["--exclude=copy/***"], None),
        ("d/", "d/made", &["--exclude=/made"], None),
        ("d/", "d/src/made", &["--exclude=/src"], None),
        ("d/", "d/src/made", &["--exclude=/made"], Some(IN_SOURCE)),
        ("d/", "d/copy", &["--exclude=/copy/?"], Some(IN_SOURCE)),
        (
            "d/",
            "d/copy",
            &["--include=/copy/x", "--exclude=/copy/*"],
            Some(IN_SOURCE),
        ),
        (
            "d/",
            "d/copy",
            &["--include=*/", "--exclude=copy"],
            Some(IN_SOURCE),
        ),
        ("d/", "d/", &[], Some(SAME)),
        ("d/", "to_d/", &["--exclude=*"], Some(SAME)),
        // A directory by its name.
        ("d", "d", &[], Some(IN_SOURCE)),
        ("d", "d/copy", &["--exclude=/d/copy"], None),
        ("d", "d/copy", &["--exclude=/d/copy/d"], None),
        ("d", "d/copy", &["--exclude=/copy"], Some(IN_SOURCE)),
        ("d/src", "d", &[], Some(ITSELF)),
        ("d/src", "d", &["--exclude=/src"], None),
        ("d/src", "d/copy", &[], None),
        // Only `inner` of the target is changed.
        ("d/src/inner", "d", &[], None),
        ("d/src/inner", "d/src", &[], Some(ITSELF)),
        // Files.
        ("d/other", "d", &[], Some(ITSELF)),
        ("d/other", "d/other", &[], Some(ITSELF)),
        ("d/other", "d/another", &[], None),
        ("d/other", "d/copy", &[], None),
        ("d/src/file", "d", &[], None),
        ("d/src/file", "d/src/file2", &[], None),
        // Several.
        ("far/ d/src/", "d", &[], Some(IN_TARGET)),
        ("d/src/ far/", "far", &[], Some(SAME)),
        ("far/file d/other", "d", &[], Some(ITSELF)),
        ("d/other d/src d/copy", "d/copy", &[], Some(IN_SOURCE)),
        ("d/other d/src", "d/copy", &[], None),
        ("d/src/ d/other", "e", &[], None),
        // Beside each other.
        ("d/src/", "d/copy", &[], None),
        ("d/src/", "d/src2", &[], None),
        ("far/", "e/made", &[], None),
    ] {
        check(&scene(), sources, target, more, said);
    }
}

#[test]
fn mounts_hide_neither() {
    for (mounted, sources, target, more, said) in [
        // What is mounted is the directory that is there, or one above or below.
        ("d/src at m", "m/", "d", &[][..], Some(IN_TARGET)),
        ("d/src at m", "m/inner/", "d", &[], Some(IN_TARGET)),
        ("d at m", "d/src/", "m", &[], Some(IN_TARGET)),
        ("d at m", "m/src/", "d", &["--exclude=/src"], None),
        ("d/copy at m", "d/", "m", &[], Some(IN_SOURCE)),
        ("d/copy at m", "d/", "m/made", &[], Some(IN_SOURCE)),
        ("d/copy at m", "d/", "m/made", &["--exclude=/copy"], None),
        ("d at m", "m/", "d/copy", &[], Some(IN_SOURCE)),
        ("d at m", "m/", "d", &[], Some(SAME)),
        ("d/src at m", "m", "d", &[], None),
        // A part of the one is mounted in the other.
        ("d/src at e/in", "e/", "d", &[], Some(ITSELF)),
        ("d/src at e/in", "e/", "d", &["--exclude=/in"], None),
        ("d/src at e/in", "e/", "d", &["--exclude=/src"], None),
        ("d/src at t/in", "d/", "t", &[], Some(ITSELF)),
        ("d/src at t/in", "d/", "t", &["--exclude=/in"], None),
        ("d/src at t/in", "d/", "t", &["--exclude=/src"], None),
        // At the same place it is what it is to become.
        ("d/src at t/src", "d/", "t", &[], None),
        ("d/copy at e/in/deep", "e/", "d/copy", &[], Some(IN_SOURCE)),
        (
            "d/copy at e/in/deep",
            "e/",
            "d/copy",
            &["--exclude=/in"],
            None,
        ),
        // Another file system.
        ("tmpfs at d/copy", "d/", "d/copy", &[], Some(IN_SOURCE)),
        ("tmpfs at d/copy", "d/", "d/copy", &["-x"], None),
        ("tmpfs at d/copy", "d/", "d/copy/made", &["-x"], None),
        ("tmpfs at d/copy", "d", "d/copy", &["-x"], None),
        (
            "tmpfs at d/copy",
            "d/copy",
            "d/copy/made",
            &["-x"],
            Some(IN_SOURCE),
        ),
        (
            "tmpfs at d/src/inner",
            "d/src/inner/",
            "d",
            &["-x"],
            Some(IN_TARGET),
        ),
        (
            "d/src at d/copy/in",
            "d/",
            "d/copy/in",
            &["-x"],
            Some(IN_SOURCE),
        ),
    ] {
        let trees = scene();
        let (from, at) = mounted.split_once(" at ").unwrap();
        let _mounted = match from {
            "tmpfs" => Mounted::at(trees.path(at)),
            from => Mounted::bind(&trees.path(from), trees.path(at)),
        };
        check(&trees, sources, target, more, said);
    }
}

/// By another process, confined or not: what is told is true, and doing what it says helps.
#[test]
fn a_peer_that_is_this_machine_refuses_and_says_what_helps() {
    for (source, target) in [
        ("d/src/", "d"),
        ("d/", "d/copy"),
        ("d/", "d/ma*de"),
        ("d/", "d/o*[x]"),
        ("d", "d/copy"),
        ("far/", "far/made"),
    ] {
        for serve in ["serve", "serve --root /"] {
            let trees = scene();
            let program = Hasync::program().display().to_string();
            let rsh = FakeRsh::with_script(&format!("exec {program} {serve}"));
            let run = |more: &[&str]| -> Finished {
                let target = format!("host:{}", trees.path(target).display());
                let source = format!("{}/{source}", trees.root().display());
                let push = Hasync::push(&["-a", "--delete"]).args(rsh.options());
                push.args(more).args([source, target]).run()
            };
            let done = run(&[]).expect(1);
            let (_, pattern) = done.stderr.split_once("--exclude ").unwrap();
            let pattern = pattern.split('"').nth(1).unwrap();
            let exclude = format!("--exclude={pattern}");
            // The target is made in the source, whose time that changes.
            run(&[&exclude]).expect(0);
            run(&[&exclude]).expect(0);
            assert_eq!(run(&[&exclude, "-i"]).expect(0).stdout_text(), "");
        }
    }
}

#[test]
fn a_named_tree_is_refused_until_its_configuration_keeps_it_out() {
    let pair = Pair::here("");
    for name in ["page", "sub/page", "copy/old"] {
        pair.write(Foo0, &format!("html/{name}"), name);
    }
    let place = |name: &str| pair.path(Foo0, name).display().to_string();
    let set = |name: &str| pair.set(Foo1, "path", &format!("path = \"{}\"", place(name)));
    for (name, said) in [("html/copy", IN_SOURCE), ("html", SAME), ("", IN_TARGET)] {
        set(name);
        let before = Snapshot::of(&pair.path(Foo0, "html"));
        let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(78);
        assert!(done.stderr.contains(said), "{name}\n{done}");
        let after = Snapshot::of(&pair.path(Foo0, "html"));
        assert_eq!(before.diff(&after), "", "{name}");
    }
    set("html/copy");
    let path = format!("path = \"{}\"", place("html"));
    for node in [Foo0, Foo1] {
        let own = pair.read(node, "hasync.toml");
        let own = own.lines().find(|line| line.starts_with("path")).unwrap();
        assert_eq!(own == path, node == Foo0);
        pair.set(node, "path", &format!("{own}\nfilters = [\"- /copy\"]"));
    }
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    assert_eq!(pair.read(Foo0, "html/copy/sub/page"), "sub/page");
}
