//! ACLs and extended attributes that are seldom met, on entries that seldom have any: each comes,
//! changes and goes as on the primary, is brought back by an undo, and is mended where only the
//! standby was changed.

use std::path::Path;

use rustix::fs::lremovexattr;

use crate::support::acl::{
    ACCESS, DEFAULT, GROUP, GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, kernel,
};
use crate::support::loopfs::LoopFs;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Hasync, Snapshot, Sshd, TempTree, need_root, xattrs};

/// An entry, and one attribute of it in two versions; what is empty is not there.
struct Odd {
    entry: &'static str,
    name: &'static [u8],
    first: Vec<u8>,
    second: Vec<u8>,
}

fn odd(entry: &'static str, name: &'static [u8], first: &[u8], second: &[u8]) -> Odd {
    let (first, second) = (first.to_vec(), second.to_vec());
    Odd {
        entry,
        name,
        first,
        second,
    }
}

/// An ACL of so many users and groups.
fn crowd(users: u32, groups: u32, mask: u16) -> Vec<u8> {
    let mut all = vec![(USER_OBJ, 6, NOBODY)];
    all.extend((0..users).map(|at| (USER, (at % 8) as u16, 1000 + 7 * at)));
    all.push((GROUP_OBJ, 4, NOBODY));
    all.extend((0..groups).map(|at| (GROUP, (at % 5) as u16, 4_294_967_200 + at)));
    all.extend([(MASK, mask, NOBODY), (OTHER, 1, NOBODY)]);
    kernel(&all)
}

/// A file capability; `root` is the one of the user namespace that it counts in.
fn capability(permitted: u32, root: u32) -> Vec<u8> {
    let of_another = [0x0300_0001, permitted, 0, 0, 0, root];
    let own = [0x0200_0001, permitted, 0, 0, 0];
    let words: &[u32] = if root > 0 { &of_another } else { &own };
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const ACL: &[u8] = ACCESS.as_bytes();
const DEFAULT_ACL: &[u8] = DEFAULT.as_bytes();
const CAPABILITY: &[u8] = b"security.capability";

/// A name of 255 bytes, none of them text.
const LONGEST: &[u8] = &{
    let mut name = [0xf8; 255];
    let (prefix, mut at) = (b"user.", 0);
    while at < prefix.len() {
        name[at] = prefix[at];
        at += 1;
    }
    name
};

fn all() -> Vec<Odd> {
    let masked = |group, mask| {
        kernel(&[
            (USER_OBJ, 6, NOBODY),
            (GROUP_OBJ, group, NOBODY),
            (MASK, mask, NOBODY),
            (OTHER, 0, NOBODY),
        ])
    };
    let plain = kernel(&[
        (USER_OBJ, 7, NOBODY),
        (GROUP_OBJ, 0, NOBODY),
        (OTHER, 7, NOBODY),
    ]);
    vec![
        // On what is neither a file nor a directory.
        odd("fifo", b"trusted.a", b"1", b"2"),
        odd("fifo", ACL, &crowd(1, 1, 6), b""),
        odd("socket", b"security.a", b"1", b""),
        odd("socket", ACL, &crowd(2, 0, 4), &crowd(2, 0, 0)),
        odd("char", b"trusted.a", b"", b"2"),
        odd("char", ACL, b"", &crowd(0, 1, 7)),
        odd("block", b"security.a", b"1", b"2"),
        odd("block", ACL, &crowd(1, 0, 6), &crowd(0, 2, 6)),
        odd("link", b"trusted.a", b"1", b"2"),
        odd("link", b"security.b", b"1", b""),
        // Names and values of any bytes.
        odd("names", b"user.\xff\xfe", b"\0\0", b"\0"),
        odd("names", b"user.new\nline=\"x\"", b"\n", b"\n\n"),
        odd("names", b"user. ", b" ", b""),
        odd("names", LONGEST, b"longest", b"of all"),
        odd("names", b"user.user.user.", b"u", b"v"),
        odd("names", b"trusted.\x01\x1b[1m", b"t", b""),
        odd("names", b"security.capability2", b"none", b"no"),
        odd("names", b"user.rsync.x", b"x", b"y"),
        odd("names", b"trusted.overlay.redirect", b"/a", b"/b"),
        // ACLs of many, of ids that no account has, and that a mode says almost as well.
        odd("many", ACL, &crowd(60, 40, 5), &crowd(61, 40, 5)),
        odd(
            "many dirs",
            DEFAULT_ACL,
            &crowd(40, 60, 7),
            &crowd(39, 60, 7),
        ),
        odd("mask", ACL, &masked(6, 4), &masked(4, 6)),
        odd("mask of nothing", ACL, &masked(7, 0), b""),
        odd("same mask", ACL, &masked(4, 4), b""),
        odd("plain", DEFAULT_ACL, &plain, b""),
        odd("setuid", ACL, &crowd(1, 0, 1), &crowd(1, 0, 5)),
        odd("setuid", CAPABILITY, &capability(1 << 10, 0), b""),
        odd("nobody", CAPABILITY, &capability(1, 0), &capability(2, 0)),
        odd("nobody", b"user.a", b"1", b"2"),
        odd(
            "of another",
            CAPABILITY,
            &capability(4, 100_000),
            &capability(4, 200_000),
        ),
        odd(
            "became ours",
            CAPABILITY,
            &capability(4, 7),
            &capability(4, 0),
        ),
        // Directories that hand their ACL or group on, or that are anybody's.
        odd("setgid", DEFAULT_ACL, &crowd(1, 1, 5), &crowd(1, 1, 0)),
        odd("setgid", ACL, &crowd(3, 0, 7), &crowd(3, 0, 5)),
        odd("setgid/below", b"user.a", b"1", b""),
        odd("sticky", b"user.a", b"1", b"2"),
        odd("sticky/others", b"user.a", b"1", b"2"),
        odd("", b"user.root", b"1", b"2"),
        odd("", DEFAULT_ACL, b"", &crowd(2, 2, 7)),
        // One inode with two names.
        odd("one", ACL, &crowd(1, 0, 6), &crowd(2, 0, 6)),
        odd("one", b"user.a", b"1", b"2"),
        // What cannot be changed on the primary is nothing to the standby.
        odd("fixed", b"user.a", b"1", b"2"),
    ]
}

/// Directories and files with what `stat` tells of them: name, mode, owner.
const DIRS: &[(&str, u32, u32)] = &[
    ("many dirs", 0o755, 0),
    ("plain", 0o750, 1),
    ("setgid", 0o2775, 2),
    ("sticky", 0o1777, 3),
];
const FILES: &[(&str, u32, u32)] = &[
    ("names", 0o600, 0),
    ("many", 0o654, 5),
    ("mask", 0o640, 0),
    ("mask of nothing", 0o604, 0),
    ("same mask", 0o644, 0),
    ("setuid", 0o4711, 1),
    ("nobody", 0o000, 65534),
    ("of another", 0o755, 100_000),
    ("became ours", 0o755, 0),
    ("setgid/below", 0o664, 2),
    ("sticky/others", 0o644, 12345),
    ("one", 0o644, 0),
    ("fixed", 0o644, 0),
];

/// A tree with all of them, at rest.
fn make(trees: &TempTree, root: &str) {
    let at = |name: &str| format!("{root}/{name}");
    trees.mkdir(root);
    for (name, mode, owner) in DIRS {
        trees.mkdir(at(name));
        trees.chown(at(name), *owner, *owner);
        trees.chmod(at(name), *mode);
    }
    for (name, mode, owner) in FILES {
        trees.write(at(name), *name);
        trees.chown(at(name), *owner, *owner);
        trees.chmod(at(name), *mode);
    }
    trees.fifo(at("fifo"));
    trees.socket(at("socket"));
    trees.char_device(at("char"), 1, 3);
    trees.block_device(at("block"), 7, 9);
    trees.symlink("nowhere", at("link"));
    trees.hard_link(at("one"), at("two"));
    put(&trees.path(root), |odd| &odd.first);
}

/// Gives every entry the version that `of` says.
fn put(root: &Path, of: fn(&Odd) -> &Vec<u8>) {
    for odd in &all() {
        let at = match odd.entry {
            "" => root.to_owned(),
            entry => root.join(entry),
        };
        match of(odd).as_slice() {
            // It may not have been there.
            [] => drop(lremovexattr(&at, odd.name)),
            value => xattrs::give(&at, odd.name, value),
        }
    }
}

#[track_caller]
fn assert_equal(source: &Path, target: &Path) {
    let [expected, found] = [source, target].map(xattrs::of);
    for (path, expected) in &expected {
        assert_eq!(found.get(path), Some(expected), "{}", path.escape_ascii());
    }
    assert_eq!(expected.len(), found.len());
    let [expected, found] = [source, target].map(Snapshot::of);
    assert_eq!(expected.diff(&found), "");
}

/// Those that nothing can be done to until this is dropped.
struct Fixed(String);

impl Fixed {
    fn new(path: String) -> Self {
        run_ok("chattr", &["+i", &path]);
        Fixed(path)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        run_ok("chattr", &["-i", &self.0]);
    }
}

#[test]
fn each_comes_changes_and_comes_back() {
    need_root();
    let sshd = Sshd::start();
    let pair = Pair::here("");
    // Where files can be fixed.
    let trees = TempTree::within(Path::new("/tmp"));
    for (node, root) in [(Foo0, "source"), (Foo1, "named")] {
        trees.mkdir(root);
        pair.set(node, "path = ", &format!("path = \"{}\"", trees.text(root)));
    }
    make(&trees, "source/all");
    let (source, target) = (trees.path("source/all"), trees.mkdir("target"));
    let named = trees.path("named/all");
    let unnamed = |options: &[&str]| {
        let words = [&["--ha", "-i"], options].concat();
        let push = sshd.push(&words, &trees.contents_of("source/all"), &target);
        push.run().expect(0).stdout_text()
    };
    let mirror = || {
        let told = unnamed(&["-n"]);
        assert_eq!(told, unnamed(&[]));
        assert_equal(&source, &target);
        assert_eq!(unnamed(&[]), "");
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        assert_equal(&source, &named);
        let again = pair.run(Foo0, &["push", "--tree", "html", "-i"]).expect(0);
        assert_eq!(again.stdout_text().lines().count(), 1, "{again}");
        told
    };
    {
        let _fixed = Fixed::new(trees.text("source/all/fixed"));
        mirror();
    }
    let first = xattrs::of(&source);
    put(&source, |odd| &odd.second);
    let told = mirror();
    // Content and times are the same: each line says that an ACL or an attribute is not.
    let says = |line: &str| line.starts_with('.') && line[9..11].contains(['a', 'x']);
    assert!(told.lines().all(says), "{told}");
    let entries: std::collections::BTreeSet<&str> = all().iter().map(|odd| odd.entry).collect();
    assert_eq!(told.lines().count(), entries.len(), "{told}");
    let second = xattrs::of(&source);
    for version in [&first, &second] {
        pair.run(Foo1, &["undo", "html"]).expect(0);
        assert_eq!(*version, xattrs::of(&named));
    }
    // Only the standby was changed, and nothing there but attributes.
    put(&target, |odd| &odd.first);
    assert_eq!(unnamed(&[]).lines().count(), told.lines().count());
    assert_equal(&source, &target);
}

/// What is pushed by its name although a filter leaves it out is compared with all that it has.
#[test]
fn what_a_filter_leaves_out_is_compared_with_its_attributes() {
    need_root();
    let trees = TempTree::new();
    trees.write("source/left-out/file", "content");
    xattrs::give(&trees.path("source/left-out"), ACL, &crowd(2, 0, 5));
    xattrs::give(&trees.path("source/left-out"), b"user.a", b"1");
    trees.mkdir("target");
    let push = || {
        let source = format!("{}/./left-out/file", trees.text("source"));
        let words = [&*source, &trees.text("target")];
        let options = ["-aAX", "-i", "-R", "--exclude=left-*"];
        Hasync::push(&options).args(words).run().expect(0)
    };
    push();
    assert_equal(
        &trees.path("source/left-out"),
        &trees.path("target/left-out"),
    );
    assert_eq!(push().stdout_text(), "");
}

/// What does not fit is said of each entry, each time: all else of it is there.
#[test]
fn an_entry_is_mirrored_without_what_there_is_no_room_for() {
    need_root();
    // What tmpfs holds is too long for the other one.
    let (trees, small) = (
        TempTree::within(Path::new("/dev/shm")),
        LoopFs::new("ext4", 24),
    );
    let target = small.path("target");
    trees.write("source/file", "content");
    trees.write("source/dir/below", "content");
    trees.symlink("nowhere", "source/link");
    trees.fifo("source/fifo");
    trees.mkdir("source/new");
    trees.socket("source/new/socket");
    let long = vec![b'x'; 30_000];
    for (entry, name) in [
        ("file", &b"user.long"[..]),
        ("dir", b"user.long"),
        ("link", b"trusted.long"),
        ("fifo", b"trusted.long"),
        ("new/socket", b"security.long"),
    ] {
        xattrs::give(&trees.path("source").join(entry), name, &long);
    }
    xattrs::give(&trees.path("source/dir/below"), ACL, &crowd(1000, 0, 6));
    for _ in 0..2 {
        let words = [trees.contents_of("source"), target.display().to_string()];
        let done = Hasync::push(&["-aAX"]).args(words).run().expect(23);
        for entry in ["file", "dir", "dir/below", "link", "fifo", "new/socket"] {
            let of_entry = format!("{}\"", target.join(entry).display());
            let lines = done.stderr.lines().filter(|line| line.contains(&of_entry));
            let lines: Vec<&str> = lines.collect();
            assert_eq!(lines.len(), 1, "{entry}: {done}");
            assert!(lines[0].contains("has no room for it"), "{done}");
        }
        let [source, made] = [trees.path("source"), target.clone()].map(|at| Snapshot::of(&at));
        assert_eq!(source.diff(&made), "");
    }
}
