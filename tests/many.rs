//! More names in one directory, hard links and deletions than anybody holds in memory: they go to
//! a file without a name, and nothing else about a push changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::hasync::FakeRsh;
use crate::support::mounted::Mounted;
use crate::support::process::run_ok;
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root, report, rounds, soak};

const KIB: u64 = 1 << 10;

/// What a side may take, whatever a tree holds.
const CEILING_KIB: u64 = 256 << 10;

/// A push over a pipe, each side with its temporary files in a directory of its own, and with no
/// more than so many bytes of one kind in memory.
struct Link<'a> {
    memory_len: usize,
    near: &'a Path,
    far: &'a Path,
}

impl Link<'_> {
    fn push(&self, options: &[&str], trees: &TempTree) -> Finished {
        let far = format!("export TMPDIR={}; exec sh -c \"$*\"", self.far.display());
        let rsh = FakeRsh::with_script(&far);
        let memory = format!("HASYNC_SPILL_FROM={}", self.memory_len);
        let near = format!("TMPDIR={}", self.near.display());
        Hasync::push(options)
            .under(&["env", &memory, &near])
            .arg("-e")
            .arg(rsh.path())
            .arg("--remote-bin")
            .arg(Hasync::program())
            .arg(trees.contents_of("source"))
            .arg(format!("standby:{}", trees.path("target").display()))
            .run()
    }
}

/// Names of one directory, link groups within one and at opposite ends, directories among them.
fn fill(trees: &TempTree, count: usize) {
    for dir in ["source/a", "source/many", "source/z"] {
        trees.mkdir(dir);
    }
    for number in 0..count {
        let file = trees.path(format!("source/many/file{number:05}"));
        fs::write(&file, if number % 100 == 0 { "content" } else { "" }).unwrap();
        trees.mtime(format!("source/many/file{number:05}"), 1_500_000_000, 7);
        if number % 4 == 0 {
            let group = trees.path(format!("source/a/group{number:05}"));
            fs::write(&group, number.to_string()).unwrap();
            fs::hard_link(&group, trees.path(format!("source/z/group{number:05}"))).unwrap();
            fs::hard_link(&group, trees.path(format!("source/a/other{number:05}"))).unwrap();
        }
        if number % 50 == 0 {
            trees.write(format!("source/many/dir{number:05}/file"), "below");
        }
    }
}

#[test]
fn what_spills_arrives_like_anything_else() {
    let trees = TempTree::new();
    let (near, far) = (trees.mkdir("near"), trees.mkdir("far"));
    fill(&trees, 3000);
    let link = Link {
        memory_len: 1000,
        near: &near,
        far: &far,
    };
    let options = ["-aHi", "--delete"];
    let same =
        || Snapshot::of(&trees.path("source")).assert_same(&Snapshot::of(&trees.path("target")));
    link.push(&options, &trees).expect(0);
    same();
    let unchanged = link.push(&options, &trees).expect(0);
    assert!(unchanged.stdout.is_empty(), "{unchanged}");

    // Of each kind some: gone, changed, new, another type, linked to another group.
    for number in (0..3000).step_by(3) {
        fs::remove_file(trees.path(format!("source/many/file{number:05}"))).unwrap();
    }
    for number in (1..3000).step_by(30) {
        trees.write(format!("source/many/file{number:05}"), "changed");
        trees.write(format!("source/many/new{number:05}"), "new");
        trees.write(
            format!("source/many/file{:05}/in", number + 2),
            "a directory now",
        );
    }
    for number in (0..3000).step_by(100) {
        fs::remove_dir_all(trees.path(format!("source/many/dir{number:05}"))).unwrap();
        let group = trees.path(format!("source/z/group{number:05}"));
        fs::remove_file(&group).unwrap();
        fs::hard_link(trees.path("source/a/group00004"), &group).unwrap();
        // A group whose first name is new to the target, and its others are not.
        let first = trees.path(format!("source/a/first{number:05}"));
        fs::hard_link(trees.path(format!("source/a/other{number:05}")), first).unwrap();
    }
    let planned = link.push(&["-aHin", "--delete"], &trees).expect(0);
    let done = link.push(&options, &trees).expect(0);
    assert_eq!(planned.stdout, done.stdout);
    same();

    // All of one directory's names at once, with what is below them.
    fs::remove_dir_all(trees.path("source/many")).unwrap();
    link.push(&options, &trees).expect(0);
    same();
    assert!(fs::read_dir(near).unwrap().next().is_none());
    assert!(fs::read_dir(far).unwrap().next().is_none());
}

/// A disk for temporary files that is as good as full.
fn full_disk(trees: &TempTree, name: &str) -> Mounted {
    let disk = Mounted::at(trees.path(name));
    let room = rustix::fs::statvfs(disk.path()).unwrap();
    let len = (room.f_bavail - 8) * room.f_frsize;
    fs::write(disk.path().join("rest"), vec![1; len as usize]).unwrap();
    disk
}

#[test]
fn a_full_disk_ends_the_push_and_says_where() {
    need_root();
    let trees = TempTree::new();
    let roomy = trees.mkdir("roomy");
    let full = full_disk(&trees, "full");
    fill(&trees, 6000);
    let options = ["-aH", "--delete"];
    let push = |near: &Path, far: &Path| {
        let memory_len = 1000;
        Link {
            memory_len,
            near,
            far,
        }
        .push(&options, &trees)
    };
    let words = ["temporary file", "/full\"", "space", "TMPDIR"];
    // First copy: names, first names of groups, what is held back.
    push(full.path(), &roomy).expect_error(82, &words);
    push(&roomy, full.path()).expect_error(82, &words);
    push(&roomy, &roomy).expect(0);
    // Unchanged: there is as much to be known.
    push(full.path(), &roomy).expect_error(82, &words);
    push(&roomy, full.path()).expect_error(82, &words);
    // Deletions: none of what is still there on the source.
    fs::remove_dir_all(trees.path("source/a")).unwrap();
    let there = Snapshot::of(&trees.path("target/many"));
    push(&roomy, full.path()).expect_error(82, &words);
    push(full.path(), &roomy).expect_error(82, &words);
    there.assert_same(&Snapshot::of(&trees.path("target/many")));
    push(&roomy, &roomy).expect(0);
    Snapshot::of(&trees.path("source")).assert_same(&Snapshot::of(&trees.path("target")));
}

/// What small trees need is in memory: no place for temporary files is no trouble.
#[test]
fn no_place_for_temporary_files_is_no_trouble_for_few() {
    let trees = TempTree::new();
    trees.write("source/file", "content");
    let nowhere = trees.path("nowhere");
    let link = Link {
        memory_len: 1 << 20,
        near: &nowhere,
        far: &nowhere,
    };
    link.push(&["-aH"], &trees).expect(0);
}

/// A script that runs a program under time(1), and the file that it leaves the peak RSS in.
fn measured(trees: &TempTree, name: &str, program: &Path) -> (PathBuf, PathBuf) {
    let (script, rss) = (trees.path(name), trees.path(format!("{name}.rss")));
    let (to, program) = (rss.display(), program.display());
    let text = format!("#!/bin/sh\nexec /usr/bin/time -f %M -o {to} {program} \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    (script, rss)
}

/// Pushes with either program: the peak RSS of each side in KiB.
fn peaks(trees: &TempTree, program: &Path, words: &[&str], far_option: &str) -> [u64; 2] {
    let (near, near_rss) = measured(trees, "near", program);
    let (far, far_rss) = measured(trees, "far", program);
    let rsh = FakeRsh::plain();
    let pushed = Command::new(near)
        .args(words)
        .args(["-e", &rsh.path()])
        .arg(format!("{far_option}={}", far.display()))
        .arg(trees.contents_of("source"))
        .arg(format!("standby:{}", trees.path("target").display()))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(matches!(pushed.code(), Some(0 | 23)), "{pushed}");
    [near_rss, far_rss].map(|rss| {
        let text = fs::read_to_string(rss).unwrap();
        text.lines().last().unwrap().trim().parse().unwrap()
    })
}

fn own_peaks(trees: &TempTree, what: &str, options: &[&str]) -> [u64; 2] {
    let words = [&["push"], options].concat();
    let found = peaks(trees, &Hasync::program(), &words, "--remote-bin");
    let [near, far] = found.map(|kib| kib / KIB);
    report(&format!(
        "peak RSS, {what}: {near} MiB here, {far} MiB there"
    ));
    found
}

fn empty_files(trees: &TempTree, count: usize, dir_of: impl Fn(usize) -> String) {
    for number in 0..count {
        let dir = trees.path(dir_of(number));
        if number % 1000 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::File::create(dir.join(format!("file{number:07}"))).unwrap();
    }
}

/// A tree on a disk: in memory it would take more than it is about.
fn large_tree() -> TempTree {
    if soak() {
        TempTree::within(Path::new("/var/tmp"))
    } else {
        TempTree::new()
    }
}

#[test]
fn names_of_one_directory_stay_below_the_ceiling() {
    let count = rounds("names in one directory", 300_000, 10_000_000);
    let trees = large_tree();
    empty_files(&trees, count, |_| "source/one".to_owned());
    // In the normal run little is to be held, and so it is held to less.
    let limit = if soak() { CEILING_KIB } else { 72 << 10 };
    let check = |what: &str, options: &[&str]| {
        let found = own_peaks(&trees, what, options);
        assert!(found.iter().all(|&kib| kib <= limit), "{what}: {found:?}");
    };
    check("first copy of one directory", &["-a"]);
    check("unchanged", &["-a"]);
    fs::write(trees.path("source/one/one more"), "").unwrap();
    check("one name more", &["-a", "--delete"]);
    fs::remove_dir_all(trees.path("source/one")).unwrap();
    fs::create_dir(trees.path("source/one")).unwrap();
    check("all deleted", &["-a", "--delete"]);
    assert!(
        fs::read_dir(trees.path("target/one"))
            .unwrap()
            .next()
            .is_none()
    );
}

/// Every entry of a tree changes, some in their metadata alone, some so that a delta is worth it.
fn change_all(trees: &TempTree, count: usize, place: impl Fn(usize) -> String) {
    for number in 0..count {
        let file = trees.path(place(number)).join(format!("file{number:07}"));
        if number % 2 == 0 {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        } else {
            fs::write(file, [7; 700]).unwrap();
        }
    }
}

/// Commits of which nothing is carried out before everything is staged, in one directory and in
/// many, and what is sent for them.
#[test]
fn changed_entries_stay_below_the_ceiling() {
    let count = rounds("changed entries", 40_000, 1_000_000);
    let limit = if soak() { CEILING_KIB } else { 64 << 10 };
    let places = [
        (|_| "source/one".to_owned()) as fn(usize) -> String,
        |number| format!("source/many/{:05}", number / 100),
    ];
    for (what, place) in ["one directory", "many directories"].iter().zip(places) {
        let trees = large_tree();
        for number in 0..count {
            let dir = trees.path(place(number));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("file{number:07}")), [7; 600]).unwrap();
        }
        let check = |what: &str, options: &[&str]| {
            let found = own_peaks(&trees, what, options);
            assert!(found.iter().all(|&kib| kib <= limit), "{what}: {found:?}");
        };
        check(&format!("first copy, {what}"), &["-aH", "--atomic"]);
        change_all(&trees, count, place);
        check(&format!("all changed, {what}"), &["-aH", "--atomic"]);
        for end in ["one", "many"] {
            let _ = fs::remove_dir_all(trees.path("source").join(end));
        }
        let options = ["-a", "--atomic", "--delete"];
        check(&format!("all deleted, {what}"), &options);
        assert!(!trees.path("target/one").exists() && !trees.path("target/many").exists());
    }
}

/// Two directories whose entries have nothing in common, of which the target's lets nothing be
/// changed until that is dropped.
struct Sealed(TempTree);

impl Sealed {
    fn new(count: usize) -> Self {
        need_root();
        let trees = TempTree::within(Path::new("/var/tmp"));
        for dir in ["source/one", "target/one"] {
            let dir = trees.mkdir(dir);
            for number in 0..count {
                let name = format!("{number} in {}", dir.parent().unwrap().display());
                fs::File::create(dir.join(name.replace('/', "-"))).unwrap();
            }
        }
        run_ok("chattr", &["+i", &trees.text("target/one")]);
        Sealed(trees)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        run_ok("chattr", &["-i", &self.0.text("target/one")]);
    }
}

const WAYS: [&[&str]; 2] = [
    &["-a", "--delete", "--no-fsync"],
    &["-a", "--delete", "--atomic"],
];

#[test]
fn each_entry_that_cannot_be_changed_is_told() {
    let sealed = Sealed::new(1500);
    let (near, far) = (sealed.0.mkdir("near"), sealed.0.mkdir("far"));
    let link = Link {
        memory_len: 1000,
        near: &near,
        far: &far,
    };
    for options in WAYS {
        let done = link.push(options, &sealed.0).expect(23);
        for doing in ["cannot put in place ", "cannot remove "] {
            let told = done.stderr.lines().filter(|line| line.contains(doing));
            assert_eq!(told.count(), 1500, "{doing} {options:?}");
        }
        assert!(!done.stdout_text().contains("deleting"), "{options:?}");
    }
}

#[test]
fn entries_that_cannot_be_changed_stay_below_the_ceiling() {
    let count = rounds("entries that cannot be changed", 40_000, 1_000_000);
    let limit = if soak() { CEILING_KIB } else { 56 << 10 };
    let sealed = Sealed::new(count);
    for options in WAYS {
        let found = own_peaks(&sealed.0, "nothing can be changed", options);
        assert!(found.iter().all(|&kib| kib <= limit), "{found:?}");
    }
}

#[test]
fn link_groups_stay_below_the_ceiling() {
    let count = rounds("link groups", 100_000, 5_000_000);
    let trees = large_tree();
    two_names_at_opposite_ends(&trees, count);
    let limit = if soak() { CEILING_KIB } else { 48 << 10 };
    for what in ["first copy of link groups", "unchanged link groups"] {
        let found = own_peaks(&trees, what, &["-aH"]);
        assert!(found.iter().all(|&kib| kib <= limit), "{what}: {found:?}");
    }
}

fn two_names_at_opposite_ends(trees: &TempTree, count: usize) {
    let place = |end: &str, number: usize| format!("source/{end}/{:04}", number / 1000);
    empty_files(trees, count, |number| place("a", number));
    for number in 0..count {
        let from = trees.path(place("a", number));
        let to = trees.path(place("z", number));
        if number % 1000 == 0 {
            fs::create_dir_all(&to).unwrap();
        }
        let name = format!("file{number:07}");
        fs::hard_link(from.join(&name), to.join(&name)).unwrap();
    }
}

fn two_names_in_one_directory(trees: &TempTree, count: usize) {
    empty_files(trees, count, |_| "source/one".to_owned());
    let one = trees.path("source/one");
    for number in 0..count {
        let (name, other) = (format!("file{number:07}"), format!("link{number:07}"));
        fs::hard_link(one.join(name), one.join(other)).unwrap();
    }
}

/// A million inodes with two names take no more on either side than they take rsync.
#[test]
fn hard_links_take_no_more_than_they_take_rsync() {
    let count = rounds("inodes with two names, against rsync", 50_000, 1_000_000);
    // Both begin with more than a small tree needs.
    let least = 48 << 10;
    for (what, make) in [
        (
            "both names in one directory",
            two_names_in_one_directory as fn(&TempTree, usize),
        ),
        ("names at opposite ends", two_names_at_opposite_ends),
    ] {
        let trees = large_tree();
        make(&trees, count);
        for stage in ["first copy", "unchanged"] {
            let what = format!("{stage}, {what}");
            let found = own_peaks(&trees, &what, &["-aH"]);
            if stage == "first copy" {
                fs::remove_dir_all(trees.path("target")).unwrap();
            }
            let rsyncs = peaks(&trees, Path::new("rsync"), &["-aH"], "--rsync-path");
            report(&format!("peak RSS of rsync: {rsyncs:?} KiB"));
            for (own, rsync) in found.iter().zip(rsyncs) {
                assert!(
                    *own <= rsync.max(least),
                    "{what}: {found:?}, rsync {rsyncs:?}"
                );
            }
        }
    }
}
