//! ACLs, extended attributes and file capabilities: what a push makes of them is what rsync 3.5.0
//! makes of them, and what independent programs find on both sides is the same, after an undo too.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::{Finished, Running, run_ok};
use crate::support::{Hasync, Sshd, TempTree, need_root, rounds, rsync};

/// A capability in the form of Linux 2.6.25: net_raw, permitted and effective.
const CAPABILITY: &str = "0x0100000200200000000000000000000000000000";

/// Everything that is neither content nor a change time, as other programs see it.
pub(crate) fn seen(tree: &Path) -> String {
    let see = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(tree).args(words);
        let text = Running::start(command).finish().expect(0).stdout_text();
        // Names come in the order in which they were set.
        let sorted = |part: &str| {
            let mut lines: Vec<&str> = part.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        let mut parts: Vec<String> = text.split("\n\n").map(sorted).collect();
        parts.sort();
        parts.join("\n")
    };
    let find = ["-mindepth", "1", "-printf", "%P %y %m %U %G %l\n"];
    let stat = see("find", &find);
    let mut lines: Vec<&str> = stat.lines().collect();
    lines.sort_unstable();
    [
        lines.join("\n"),
        see("getfacl", &["-RPn", "."]),
        see("getfattr", &["-hRPd", "-m", "-", "-e", "hex", "."]),
        see("getcap", &["-r", "."]),
    ]
    .join("\n--\n")
}

/// The lines that only one of the two has.
fn differing(one: &str, other: &str) -> (Vec<String>, Vec<String>) {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.chars().take(200).collect());
        lines.collect()
    };
    let (one, other) = (lines(one), lines(other));
    (only(&one, &other), only(&other, &one))
}

fn only(here: &[String], there: &[String]) -> Vec<String> {
    let there: BTreeSet<&String> = there.iter().collect();
    let lines = here.iter().filter(|line| !there.contains(line));
    lines.cloned().collect()
}

#[track_caller]
pub(crate) fn assert_same(one: &str, other: &str) {
    let found = differing(one, other);
    assert!(one == other, "{found:#?}");
}

/// One attribute of one entry.
enum Given {
    Acl(&'static str),
    Xattr(&'static str, &'static str),
    Long(&'static str, usize),
}
use Given::{Acl, Long, Xattr};

fn give(trees: &TempTree, tree: &str, all: &[(&str, &[Given])]) {
    for (name, given) in all {
        let path = trees.text(&format!("{tree}/{name}"));
        for given in *given {
            match given {
                Acl(acl) => drop(run_ok("setfacl", &["-m", acl, &path])),
                Xattr(name, value) => {
                    run_ok("setfattr", &["-h", "-n", name, "-v", value, &path]);
                }
                Long(name, len) => {
                    let value = vec![b'x'; *len];
                    let flags = rustix::fs::XattrFlags::empty();
                    rustix::fs::lsetxattr(&path, *name, &value, flags).unwrap();
                }
            }
        }
    }
}

const NAMES: [&str; 8] = [
    "file",
    "other",
    "suid",
    "dir",
    "dir/sub",
    "dir/below",
    "link",
    "fifo",
];

fn fill(trees: &TempTree, tree: &str) {
    let at = |name: &str| format!("{tree}/{name}");
    trees.write(at("file"), "content");
    trees.write(at("other"), "another");
    trees.write(at("suid"), "program");
    trees.mkdir(at("dir/sub"));
    trees.write(at("dir/below"), "below");
    trees.symlink("file", at("link"));
    trees.fifo(at("fifo"));
    trees.chmod(at("suid"), 0o4755);
    trees.chmod(at("other"), 0o640);
    trees.chown(at("other"), 3, 4);
    for name in NAMES.iter().rev() {
        trees.mtime(at(name), 1_600_000_000, 5);
    }
    trees.mtime(at("dir"), 1_600_000_000, 5);
    trees.mtime(tree, 1_600_000_000, 5);
}

/// The case of a name that neither of the two mirrors.
const RSYNCS_OWN: &str = "what rsync keeps for itself";

/// What the entry of a name has.
type OfEntry = (&'static str, &'static [Given]);

/// What the entries of a source and of a target have, one case each.
const CASES: &[(&str, &[OfEntry], &[OfEntry])] = &[
    ("nothing", &[], &[]),
    (
        "access ACLs come",
        &[
            ("file", &[Acl("u:1:rwx,g:2:r,m:rx")]),
            ("other", &[Acl("m:r")]),
            ("dir", &[Acl("u:54321:rx")]),
            ("fifo", &[Acl("u:7:rw")]),
            ("suid", &[Acl("g:9:x")]),
        ],
        &[],
    ),
    (
        "access ACLs go",
        &[],
        &[
            ("file", &[Acl("u:1:rwx,g:2:r,m:rx")]),
            ("dir", &[Acl("u:1:rx"), Acl("d:u:1:rx")]),
            ("fifo", &[Acl("u:7:rw")]),
        ],
    ),
    (
        "ACLs change",
        &[
            ("file", &[Acl("u:1:rwx")]),
            ("other", &[Acl("g::-,u:1:r,m:r")]),
            ("dir", &[Acl("u:2:rx,d:u:2:rwx,d:m:rx")]),
            ("dir/sub", &[Acl("d:g::-")]),
        ],
        &[
            ("file", &[Acl("u:2:rwx")]),
            ("other", &[Acl("g::r,u:1:r,m:r")]),
            ("dir", &[Acl("u:2:rx,d:u:2:rwx,d:m:r")]),
            ("dir/sub", &[Acl("d:u:2:rwx")]),
        ],
    ),
    (
        "root has them too",
        &[("", &[Acl("u:1:rx,d:u:1:rx"), Xattr("user.root", "x")])],
        &[],
    ),
    (
        "extended attributes come",
        &[
            ("file", &[Xattr("user.a", "1"), Xattr("user.b", "")]),
            ("other", &[Xattr("trusted.t", "0x00ff")]),
            ("dir", &[Xattr("user.d", "d"), Xattr("security.s", "s")]),
            ("link", &[Xattr("trusted.link", "l")]),
            ("fifo", &[Xattr("trusted.fifo", "f")]),
            ("suid", &[Xattr("security.capability", CAPABILITY)]),
        ],
        &[],
    ),
    (
        "extended attributes go and change",
        &[
            ("file", &[Xattr("user.a", "2")]),
            ("dir", &[Xattr("user.e", "e")]),
            ("link", &[Xattr("trusted.link", "l2")]),
        ],
        &[
            ("file", &[Xattr("user.a", "1"), Xattr("user.b", "")]),
            ("dir", &[Xattr("user.d", "d")]),
            ("link", &[Xattr("trusted.link", "l")]),
            ("fifo", &[Xattr("trusted.fifo", "f")]),
            ("suid", &[Xattr("security.capability", CAPABILITY)]),
        ],
    ),
    (
        "long ones",
        &[
            ("file", &[Long("user.a", 3000)]),
            (
                "dir/below",
                &[Long("trusted.a", 1000), Long("user.b", 1000)],
            ),
        ],
        &[("file", &[Long("user.a", 2999)])],
    ),
    (
        RSYNCS_OWN,
        &[(
            "file",
            &[Xattr("user.rsync.%stat", "no"), Xattr("user.rsync.x", "x")],
        )],
        &[],
    ),
];

/// Changes of content, owner and type that go with them.
fn change(trees: &TempTree, kind: usize) {
    match kind {
        1 => trees.write("target/file", "old"),
        2 => trees.chown("target/file", 12, 13),
        3 => {
            std::fs::remove_file(trees.path("target/file")).unwrap();
            trees.symlink("other", "target/file");
        }
        4 => trees.chmod("target/other", 0o777),
        _ => {}
    }
}

/// The lines of `-i`, but for the `p` of what stays and gets an ACL: rsync has set both when it
/// looks for a difference of modes.
fn lines(done: &Finished) -> Vec<String> {
    let text = done.stdout_text();
    let told = |line: &str| match line.as_bytes() {
        [b'.', _, _, _, _, b'p', _, _, _, b'a', ..] => line.replacen('p', ".", 1),
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = text.lines().map(told).collect();
    lines.sort();
    lines
}

#[test]
fn attributes_are_as_with_rsync() {
    need_root();
    assert!(
        rsync::is_the_oracle(),
        "rsync 3.5.0 is needed: run tests/run.sh"
    );
    let rsh = FakeRsh::plain();
    let mut wrong = Vec::new();
    // Each of those changes with each case, or one of them.
    let kinds = rounds("attributes against rsync", 1, 5);
    for (at, (name, source, target)) in CASES.iter().enumerate() {
        for (of, options) in [
            &["-aAXi"][..],
            &["-aAi"],
            &["-aXi"],
            &["-aHAXi", "--delete", "--numeric-ids"],
            &["-rlAi"],
            &["-aAXci"],
            &["-rXi", "-I"],
        ]
        .into_iter()
        .enumerate()
        {
            for kind in (0..kinds).map(|kind| (at + of + kind) % 5) {
                let make = || {
                    let trees = TempTree::new();
                    fill(&trees, "source");
                    give(&trees, "source", source);
                    trees.mkdir("target");
                    if kind > 0 || !target.is_empty() {
                        fill(&trees, "target");
                        change(&trees, kind);
                        give(&trees, "target", if kind == 3 { &[] } else { target });
                    }
                    trees
                };
                let (theirs, ours) = (make(), make());
                let from = theirs.contents_of("source");
                let words: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
                let done = rsync::push(&rsh, &words, &[from], &theirs.path("target")).unwrap();
                let push = || {
                    Hasync::push(options)
                        .arg("-e")
                        .arg(rsh.path())
                        .arg("--remote-bin")
                        .arg(Hasync::program())
                        .arg(ours.contents_of("source"))
                        .arg(format!("host:{}", ours.text("target")))
                        .run()
                };
                let own = push();
                let found = (own.code, lines(&own), seen(&ours.path("target")));
                let expected = (done.code, lines(&done), seen(&theirs.path("target")));
                if found != expected {
                    let case = format!("{name}, {options:?}, change {kind}");
                    let lines = (only(&expected.1, &found.1), only(&found.1, &expected.1));
                    let trees = (&expected.2, &found.2);
                    let trees = differing(trees.0, trees.1);
                    let codes = (expected.0, found.0);
                    wrong.push(format!(
                        "{case}: {codes:?} {lines:?} {trees:?} {}",
                        own.stderr
                    ));
                }
                let again = push();
                if options[0].contains('a') && !again.stdout.is_empty() {
                    wrong.push(format!(
                        "{name}, {options:?}, change {kind}: again: {again}"
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Everything at once, as far as a test can make it.
fn rich(trees: &TempTree, tree: &str) {
    fill(trees, tree);
    for (name, source, _) in CASES {
        if *name != RSYNCS_OWN {
            give(trees, tree, source);
        }
    }
}

/// A named tree, over sshd and the receiver's sandbox: both versions, back and forth.
#[test]
fn a_named_tree_keeps_them_and_an_undo_brings_them_back() {
    need_root();
    let pair = Pair::here("");
    let trees = TempTree::within(&pair.path(Foo0, "html"));
    let html = |node| pair.path(node, "html");
    let name = trees.root().file_name().unwrap().to_owned();
    let there = || html(Foo1).join(&name);
    rich(&trees, "tree");
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let first = seen(trees.root());
    assert_same(&first, &seen(&there()));
    let again = pair.run(Foo0, &["push", "--tree", "html", "-i"]).expect(0);
    assert!(again.stdout_text().contains("unchanged"), "{again}");
    // Metadata alone, each kind: of what stays, of what is replaced, and of what goes.
    give(
        &trees,
        "tree",
        &[
            ("file", &[Acl("u:1:r,u:99:rw"), Xattr("user.new", "n")]),
            ("dir", &[Acl("d:u:54321:rwx"), Xattr("trusted.new", "n")]),
            ("link", &[Xattr("trusted.link", "other")]),
            ("fifo", &[Acl("u:7:r,u:8:r")]),
            ("", &[Acl("u:2:rx")]),
        ],
    );
    trees.chown("tree/suid", 5, 6);
    trees.chmod("tree/suid", 0o4750);
    trees.write("tree/other", "changed content");
    std::fs::remove_file(trees.path("tree/dir/below")).unwrap();
    run_ok("setfattr", &["-x", "security.s", &trees.text("tree/dir")]);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let second = seen(trees.root());
    assert_same(&second, &seen(&there()));
    assert_ne!(first, second);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_same(&first, &seen(&there()));
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_same(&second, &seen(&there()));
    // One path alone.
    let path = there().join("tree/dir").display().to_string();
    let by_path = ["undo", "html", "--to", "1", "--path", &path];
    pair.run(Foo1, &by_path).expect(0);
    let of_dir = |text: &str| {
        let parts: Vec<String> = text
            .split("\n# file: ")
            .filter(|part| part.starts_with("tree/dir"))
            .map(str::to_owned)
            .collect();
        parts
    };
    assert_eq!(of_dir(&first), of_dir(&seen(&there())));
}

/// Attributes that are known from the push before are not read again, and yet none is missed: one
/// that changes here, there, or on an inode that comes in.
#[test]
fn what_is_remembered_hides_nothing() {
    need_root();
    // Where change times tell of attributes, whatever the kernel.
    let disk = LoopFs::new("ext4", 64);
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    let later = "HASYNC_CLOCK_OFFSET=60";
    let script = pair.read(Foo1, "hasync");
    let (_, exec) = script.rsplit_once("\nexec ").unwrap();
    pair.write(
        Foo1,
        "hasync",
        format!("#!/bin/sh\nexport {later}\nexec {exec}"),
    );
    let push = || {
        let push = pair.on(Foo0, &["push", "--tree", "html"]);
        push.under(&["env", later]).run().expect(0);
    };
    let html = |node| pair.path(node, "html");
    let set = |path: &str, value: &str| {
        run_ok("setfattr", &["-n", "user.x", "-v", value, path]);
    };
    let text = |node, path: &str| html(node).join(path).display().to_string();
    for dir in ["alike", "mixed"] {
        for number in 0..50 {
            pair.write(Foo0, &format!("html/{dir}/{number}"), "x");
            set(&text(Foo0, &format!("{dir}/{number}")), "same");
        }
    }
    set(&text(Foo0, "mixed/7"), "other");
    push();
    push();
    let remembered = pair.path(Foo1, "state/trees/html/attributes");
    assert!(remembered.exists(), "{remembered:?}");
    let others = text(Foo1, "alike/12");
    let changes: [&dyn Fn(); 5] = [
        &|| set(&text(Foo0, "alike/3"), "changed here"),
        &|| set(&others, "changed there"),
        &|| {
            run_ok("setfacl", &["-m", "u:1:r", &text(Foo1, "alike/4")]);
        },
        &|| {
            run_ok("setfattr", &["-x", "user.x", &text(Foo0, "alike/5")]);
        },
        &|| {
            let (from, to) = (text(Foo0, "mixed/7"), text(Foo0, "alike/7"));
            std::fs::rename(from, to).unwrap();
        },
    ];
    for change in changes {
        change();
        push();
        for dir in ["alike", "mixed"] {
            assert_same(&seen(&html(Foo0).join(dir)), &seen(&html(Foo1).join(dir)));
        }
    }
}

#[test]
fn under_ha_a_standby_is_equal_or_the_push_is_refused() {
    need_root();
    let sshd = Sshd::start();
    let trees = TempTree::new();
    rich(&trees, "source");
    let push = |words: &[&str], target: &Path| {
        let words = [words, &["-i"]].concat();
        sshd.push(&words, &trees.contents_of("source"), target)
            .run()
    };
    let target = trees.mkdir("target");
    trees.write("target/gone", "gone");
    push(&["--ha"], &target).expect(0);
    assert_same(&seen(&trees.path("source")), &seen(&target));
    let again = push(&["--ha"], &target).expect(0);
    assert_eq!(again.stdout_text(), "");
    let bare = Mounted::ramfs(trees.path("bare"));
    push(&["--ha"], bare.path()).expect_error(78, &["acls and xattrs", "--ha"]);
    assert!(!bare.has("file"));
    // What is asked for and cannot be is said once.
    let lossy = push(&["-aHAX"], bare.path()).expect(23);
    let lines: Vec<&str> = lossy.stderr.lines().collect();
    let said = lines.iter().filter(|line| line.contains("cannot keep the"));
    assert_eq!(said.count(), 1, "{lossy}");
    let again = push(&["-aHAX"], bare.path()).expect(0);
    assert_eq!(again.stdout_text(), "");
    // What nobody asked for costs and says nothing.
    trees.mkdir("plain");
    let done = push(&["-a"], &trees.path("plain")).expect(0);
    assert_eq!(done.stderr, "");
    let plain = seen(&trees.path("plain"));
    assert!(
        !plain.contains("user:1:") && !plain.contains("trusted."),
        "{plain}"
    );
}

/// Its own attributes are all that a user can set, on files too that it may not write to.
#[test]
fn a_user_mirrors_what_a_user_can() {
    need_root();
    let reachable = Reachable::new();
    let trees = TempTree::within(Path::new("/tmp"));
    trees.chmod("", 0o755);
    fill(&trees, "source");
    give(
        &trees,
        "source",
        &[
            (
                "file",
                &[Xattr("user.a", "1"), Xattr("trusted.t", "t"), Acl("u:1:r")],
            ),
            ("suid", &[Xattr("security.capability", CAPABILITY)]),
            ("dir", &[Xattr("user.d", "d"), Acl("d:u:1:rx")]),
        ],
    );
    trees.chmod("source/file", 0o444);
    trees.chmod("source/suid", 0o755);
    trees.chmod("source/other", 0o644);
    let target = trees.mkdir("target");
    std::os::unix::fs::chown(&target, Some(65534), Some(65534)).unwrap();
    let push = || {
        Hasync::push(&["-rltAXi"])
            .arg(trees.contents_of("source"))
            .arg(&target)
            .by_nobody(&reachable)
            .run()
    };
    let changes = |done: &Finished| {
        assert_eq!(done.code, 0, "{done}");
        let text = done.stdout_text();
        let lines = text.lines().filter(|line| !line.starts_with("skipping"));
        lines.collect::<Vec<_>>().join("\n")
    };
    push().expect(0);
    let found = seen(&target);
    assert!(
        found.contains("user.a=") && found.contains("user.d="),
        "{found}"
    );
    assert!(found.contains("user:1:r"), "{found}");
    assert!(
        !found.contains("trusted.") && !found.contains("security.capability"),
        "{found}"
    );
    assert_eq!(changes(&push()), "");
    give(&trees, "source", &[("file", &[Xattr("user.a", "2")])]);
    assert_eq!(changes(&push()), ".f........x file");
    assert_eq!(changes(&push()), "");
}
