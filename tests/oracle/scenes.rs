//! The trees that hand-picked pushes start from: sources under `s`, `s2`, targets under `d`, `e`.

use crate::support::TempTree;

pub(super) fn small(trees: &TempTree) {
    for (file, data) in [("a", "aaa"), ("b", "b"), ("dir/c", "c"), ("dir/sub/d", "d")] {
        trees.write(format!("s/{file}"), data);
    }
    for (file, data) in [("a", "other"), ("dir/e", "e"), ("b/now-a-dir", "x")] {
        trees.write(format!("s2/{file}"), data);
    }
    trees.write("d/older", "older");
    trees.write("d/extra/deep/file", "x");
    trees.write("d/dir/extra", "x");
    trees.symlink("no/where", "d/dangling");
    trees.symlink("extra", "d/to-dir");
    trees.fifo("d/fifo");
    age(trees, &["s", "s2", "d"]);
}

pub(super) fn kinds(trees: &TempTree) {
    let all = ["file", "dir", "link", "fifo", "sock", "char"];
    for (from, to) in all
        .iter()
        .flat_map(|from| all.iter().map(move |to| (from, to)))
    {
        for (root, kind) in [("s", to), ("d", from)] {
            trees.mkdir(root);
            let at = format!("{root}/{from}-to-{to}");
            match *kind {
                "file" => trees.write(at, root),
                "dir" => drop(trees.mkdir(at)),
                "link" => trees.symlink(root, at),
                "fifo" => trees.fifo(at),
                "sock" => trees.socket(at),
                _ => trees.char_device(at, 1, if root == "s" { 3 } else { 5 }),
            }
        }
    }
    age(trees, &["s", "d"]);
}

pub(super) fn full_dirs(trees: &TempTree) {
    trees.write("s/file", "file");
    trees.symlink("x", "s/link");
    trees.fifo("s/fifo");
    trees.write("s/other", "other");
    for name in ["file", "link", "fifo"] {
        trees.write(format!("d/{name}/in/x"), "x");
        trees.write(format!("d/{name}/y"), "y");
    }
    age(trees, &["s", "d"]);
}

pub(super) fn excluded(trees: &TempTree) {
    trees.mkdir("s");
    for file in [
        "old/keep.o",
        "old/drop",
        "old/sub/drop",
        "old/sub2/keep.o",
        "gone/x",
    ] {
        trees.write(format!("d/{file}"), "x");
    }
    age(trees, &["s", "d"]);
}

/// Groups of three, one per state of the target: which members are there, and how.
pub(super) fn links(trees: &TempTree) {
    let states = [
        "none", "a", "b", "c", "ab", "bc", "abc", "A", "B", "C", "AB", "BC", "ABC", "Ab", "aB",
        "L", "M",
    ];
    for state in states {
        trees.write(format!("s/{state}/a"), "shared");
        for other in ["b", "c"] {
            trees.hard_link(format!("s/{state}/a"), format!("s/{state}/{other}"));
        }
        trees.mkdir(format!("d/{state}"));
        for letter in state.chars().filter(|_| state != "none") {
            let at = |name: char| format!("d/{state}/{}", name.to_ascii_lowercase());
            match letter {
                'L' | 'M' => {
                    trees.write(at('a'), if letter == 'L' { "stale" } else { "shared" });
                    trees.hard_link(at('a'), at('b'));
                    trees.hard_link(at('a'), at('c'));
                }
                upper if upper.is_ascii_uppercase() => trees.write(at(upper), "stale"),
                lower => trees.write(at(lower), "shared"),
            }
        }
    }
    age(trees, &["s", "d"]);
    trees.chmod("d/M/a", 0o600);
    trees.mtime("d/M", 1_500_000_000, 0);
}

/// The second of two linked files is there, and a directory where the first belongs.
pub(super) fn linked_over_dir(trees: &TempTree) {
    trees.write("s/a", "shared");
    trees.hard_link("s/a", "s/b");
    trees.write("d/a/inside", "x");
    trees.write("d/b", "shared");
    age(trees, &["s", "d"]);
}

/// The first of two linked files is stale; the second only looks as it should.
pub(super) fn linked_stale(trees: &TempTree) {
    trees.write("s/a", "shared");
    trees.hard_link("s/a", "s/b");
    trees.write("d/a", "stale");
    trees.write("d/b", "damage");
    age(trees, &["s", "d"]);
}

pub(super) fn attributes(trees: &TempTree) {
    for root in ["s", "d"] {
        for file in ["mode", "owner", "both", "suid"] {
            trees.write(format!("{root}/{file}"), "same");
        }
        trees.mkdir(format!("{root}/dir"));
        trees.mkdir(format!("{root}/time"));
        trees.symlink("to", format!("{root}/link"));
        trees.fifo(format!("{root}/fifo"));
    }
    for entry in ["owner", "both", "suid", "dir", "link", "fifo"] {
        trees.chown(format!("s/{entry}"), 1, 2);
    }
    for (entry, mode) in [
        ("mode", 0o600),
        ("both", 0o750),
        ("suid", 0o6755),
        ("dir", 0o2770),
        ("fifo", 0o622),
    ] {
        trees.chmod(format!("s/{entry}"), mode);
    }
    age(trees, &["s", "d"]);
    trees.mtime("s/time", 1_550_000_000, 0);
    trees.mtime("s/link", 1_550_000_000, 0);
    trees.mtime("s/fifo", 1_550_000_000, 0);
}

/// Directories that pass their group on before the push, after it, or both.
pub(super) fn setgid(trees: &TempTree) {
    for (dir, theirs, ours) in [
        ("gains", 0o2755, 0o755),
        ("loses", 0o755, 0o2755),
        ("keeps", 0o2755, 0o2755),
    ] {
        for (root, mode) in [("s", theirs), ("d", ours)] {
            trees.mkdir(format!("{root}/{dir}"));
            trees.chown(format!("{root}/{dir}"), 0, 12345);
            trees.chmod(format!("{root}/{dir}"), mode);
        }
        trees.write(format!("s/{dir}/file"), "new");
        trees.symlink("to", format!("s/{dir}/link"));
        trees.write(format!("s/{dir}/sub/deep/file"), "new");
    }
    age(trees, &["s", "d"]);
}

pub(super) fn contents(trees: &TempTree) {
    let base = "0123456789".repeat(9000);
    for (file, theirs) in [
        ("same", base.clone()),
        ("longer", base.clone() + "x"),
        ("bytes", base.replace('5', "!")),
    ] {
        for (when, seconds) in [("older", -10), ("equal", 0), ("newer", 10)] {
            let name = format!("{file}-{when}");
            trees.write(format!("s/{name}"), &theirs);
            trees.write(format!("d/{name}"), &base);
            trees.mtime(format!("s/{name}"), 1_500_000_000, 0);
            trees.mtime(format!("d/{name}"), 1_500_000_000 + seconds, 0);
        }
    }
    trees.mtime("s", 1_500_000_000, 0);
}

/// Gives every entry one old time, so that only what a shape means to differ differs.
pub(super) fn age(trees: &TempTree, roots: &[&str]) {
    for root in roots {
        for entry in walkdir::WalkDir::new(trees.path(root)).contents_first(true) {
            crate::support::temptree::set_mtime(entry.unwrap().path(), 1_500_000_000, 0);
        }
    }
}
