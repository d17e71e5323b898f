//! What cannot be changed on a target that is sound otherwise: everything else arrives, the message
//! names it with its cause, the same each time, and when it is free again the next push makes all
//! equal. A tree with a name makes one generation of that, and no further one.

use std::fs;
use std::path::Path;

use super::cell::Way;
use super::place::{NotHere, Place};
use super::{FEW, MKFS_EXT4, WAYS, btrfs, ext4, memory};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::temptree::set_mtime;
use crate::support::{Finished, Hasync, Snapshot, TempTree, report, soak};

/// One of them.
struct Stubborn {
    name: &'static str,
    make: fn() -> Result<Place, NotHere>,
    /// Commands, to which the path of the entry is added, that hold it and let it go.
    entry: &'static str,
    hold: &'static [&'static str],
    free: &'static [&'static str],
    /// What is not changed then, by the beginnings of its paths, and what is said.
    stays: &'static [&'static str],
    said: &'static str,
}

fn plain() -> Result<Place, NotHere> {
    ext4(&[], "")
}

/// A directory `dir` that is a part of its own.
fn parted() -> Result<Place, NotHere> {
    let place = btrfs()?;
    let dir = place.root.join("dir").display().to_string();
    run_ok("btrfs", &["-q", "subvolume", "create", &dir]);
    Ok(place)
}

/// A directory `dir` whose names and content are encrypted.
fn encrypted() -> Result<Place, NotHere> {
    let place = ext4(&["-O", "encrypt"], "")?;
    let dir = place.root.join("dir");
    fs::create_dir(&dir).unwrap();
    bash(
        &[ADD_KEY, "xfs_io -c \"set_encpolicy ${key##* }\" \"$0\""].concat(),
        &dir,
    );
    Ok(place)
}

/// The key is 64 bytes on the standard input.
const ADD_KEY: &str =
    "key=$(head -c 64 /dev/zero | tr '\\0' k | xfs_io -c add_enckey \"$0/..\") || exit 1; ";
const REMOVE_KEY: &str = "id=$(xfs_io -c get_encpolicy \"$0\" | sed -n 's/.*identifier: //p'); \
     xfs_io -c \"rm_enckey $id\" \"$0/..\" && echo 2 > /proc/sys/vm/drop_caches";

fn bash(script: &str, path: &Path) {
    run_ok("bash", &["-c", script, &path.display().to_string()]);
}

const COVER: &[&str] = &[
    "bash",
    "-c",
    "echo other > \"$0.other\"; mount --bind \"$0.other\" \"$0\"",
];
const READ_ONLY: &[&str] = &["bash", "-c", "mount -o bind,ro \"$0\" \"$0\""];
const UNCOVER: &[&str] = &["bash", "-c", "umount \"$0\"; rm -f \"$0.other\""];

const SWAP: &str = "dd if=/dev/zero of=\"$0\" bs=64K count=4 status=none && \
     chmod 600 \"$0\" && mkswap -q \"$0\" && swapon \"$0\"";

const IMMUTABLE: Stubborn = Stubborn {
    name: "a file that is immutable",
    make: plain,
    entry: "file",
    hold: &["chattr", "+i"],
    free: &["chattr", "-i"],
    stays: &["file"],
    said: "it is immutable",
};

const CASES: [Stubborn; 9] = [
    Stubborn {
        name: "a file that is a mount point",
        make: plain,
        entry: "file",
        hold: COVER,
        free: UNCOVER,
        stays: &["file"],
        said: "it is a mount point",
    },
    Stubborn {
        name: "a directory that is mounted read-only",
        make: plain,
        entry: "dir",
        hold: READ_ONLY,
        free: UNCOVER,
        stays: &["dir"],
        said: "read-only",
    },
    Stubborn {
        name: "a part that is read-only",
        make: parted,
        entry: "dir",
        hold: &["bash", "-c", "btrfs property set \"$0\" ro true"],
        free: &["bash", "-c", "btrfs property set \"$0\" ro false"],
        stays: &["dir"],
        said: "read-only",
    },
    IMMUTABLE,
    Stubborn {
        name: "a file to which can only be added",
        hold: &["chattr", "+a"],
        free: &["chattr", "-a"],
        said: "it is append-only",
        ..IMMUTABLE
    },
    Stubborn {
        name: "a file that the system swaps to",
        hold: &["bash", "-c", SWAP],
        free: &["swapoff"],
        said: "the system swaps to it",
        ..IMMUTABLE
    },
    Stubborn {
        name: "a directory that is immutable",
        entry: "dir",
        stays: &["dir/file", "dir/goes", "dir/new"],
        said: "its directory is immutable",
        ..IMMUTABLE
    },
    Stubborn {
        name: "a directory to which can only be added",
        make: plain,
        entry: "dir",
        hold: &["chattr", "+a"],
        free: &["chattr", "-a"],
        stays: &["dir/file", "dir/goes"],
        said: "its directory is immutable or append-only",
    },
    Stubborn {
        name: "a directory whose key is not there",
        make: encrypted,
        entry: "dir",
        hold: &["bash", "-c", REMOVE_KEY],
        free: &["bash", "-c", ADD_KEY],
        // Names that nobody can read may be those of the source: nothing is deleted.
        stays: &["dir", "goes"],
        said: "its key is not there",
    },
];

const FILES: [&str; 4] = ["file", "beside", "dir/file", "dir/sub/file"];

fn write(source: &Path, version: usize) {
    let _ = fs::remove_dir_all(source);
    let only = if version == 1 {
        ["goes", "dir/goes"]
    } else {
        ["new", "dir/new"]
    };
    for name in FILES.iter().chain(&only) {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x".repeat(version)).unwrap();
    }
    for dir in ["dir/sub", "dir", ""] {
        set_mtime(&source.join(dir), 1_500_000_000, 0);
    }
}

/// What of a tree is not in a directory of hasync's own.
fn data(root: &Path) -> Snapshot {
    let mut there = Snapshot::of(root);
    let is_own = |path: &[u8]| path.split(|b| *b == b'/').any(|part| part == b".hasync");
    let is_other = |path: &[u8]| path.ends_with(b".other");
    there
        .entries
        .retain(|path, _| !is_own(path) && !is_other(path));
    there
}

/// Pushes so many versions of the tree to a place; the data of each.
fn pushed(pair: &Pair, place: &Place, count: usize) -> Vec<Snapshot> {
    let push = |version| {
        write(&pair.path(Foo0, "html"), version);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        data(&place.root)
    };
    (1..=count).map(push).collect()
}

/// Where one way of pushing leads from, and how.
struct Pushed<'a> {
    source: std::path::PathBuf,
    push: Box<dyn Fn() -> Finished + 'a>,
}

fn check(case: &Stubborn, way: Way, place: &Place, pushed: &Pushed<'_>, kept: &dyn Fn() -> usize) {
    let what = format!("{}, {way:?}", case.name);
    let entry = place.root.join(case.entry);
    let run = |words: &[&str]| {
        let path = entry.display().to_string();
        run_ok(words[0], &[&words[1..], &[path.as_str()]].concat());
    };
    write(&pushed.source, 1);
    (pushed.push)().expect(0);
    run(case.hold);
    write(&pushed.source, 2);
    let before = kept();
    let done = (pushed.push)().expect(23);
    assert!(done.stderr.contains(case.said), "{what}: {done}");
    let stays = |path: &str| case.stays.iter().any(|held| path.starts_with(held));
    for name in FILES
        .iter()
        .chain(&["new", "dir/new"])
        .filter(|name| !stays(name))
    {
        let there = fs::read_to_string(place.root.join(name));
        assert_eq!(there.ok().as_deref(), Some("xx"), "{what}: {name} {done}");
    }
    if !stays("goes") {
        assert!(!place.root.join("goes").exists(), "{what}: {done}");
    }
    let made = kept();
    let of_this = usize::from(way == Way::Named);
    assert_eq!(made, before + of_this, "{what}: {before}, then {made}");
    for _ in 0..2 {
        let again = (pushed.push)().expect(23);
        let lines = |done: &Finished| -> std::collections::BTreeSet<String> {
            done.stderr.lines().map(str::to_owned).collect()
        };
        assert_eq!(
            lines(&again),
            lines(&done),
            "{what}: said otherwise: {again}{done}"
        );
        assert_eq!(kept(), made, "{what}: a generation of nothing: {again}");
    }
    run(case.free);
    let done = (pushed.push)().expect(0);
    let diff = data(&pushed.source).diff(&data(&place.root));
    assert!(diff.is_empty(), "{what}: {diff}{done}");
    let staged = Snapshot::of(&place.root).litter().into_iter();
    let staged: Vec<String> = staged.filter(|path| path.contains("/stage/")).collect();
    assert!(staged.is_empty(), "{what}: {staged:?} {done}");
}

#[test]
fn what_cannot_be_changed_keeps_nothing_else() {
    let ways = if soak() { &WAYS[..] } else { &FEW };
    for case in &CASES {
        for &way in ways {
            let place = match (case.make)() {
                Ok(place) => place,
                Err(why) => {
                    report(&format!("{} is not here: {why}", case.name));
                    continue;
                }
            };
            let root = place.root.display().to_string();
            if way == Way::Named {
                let pair = Pair::here("");
                let undo = format!("path = \"{root}\"\nundo = {{ keep = 9 }}");
                pair.set(Foo1, "path = ", &undo);
                let pushed = Pushed {
                    source: pair.path(Foo0, "html"),
                    push: Box::new(|| pair.run(Foo0, &["push", "--tree", "html"])),
                };
                check(case, way, &place, &pushed, &|| pair.kept().len());
                continue;
            }
            let trees = TempTree::new();
            let options: &[&str] = if way == Way::Atomic {
                &["--atomic"]
            } else {
                &[]
            };
            let pushed = Pushed {
                source: trees.path("source"),
                push: Box::new(|| {
                    let to = [trees.contents_of("source"), root.clone()];
                    Hasync::push(&["-a", "--delete"])
                        .args(options)
                        .args(to)
                        .run()
                }),
            };
            check(case, way, &place, &pushed, &|| 0);
        }
    }
}

/// An undo that something holds up brings back all else and names it. When it is free again the
/// undo is finished by saying it once more, and each version can be reached exactly.
#[test]
fn an_undo_that_is_held_up_can_be_finished() {
    // What the system swaps to is a file that somebody has written.
    for case in CASES.iter().filter(|case| !case.hold.contains(&SWAP)) {
        let place = match (case.make)() {
            Ok(place) => place,
            Err(why) => {
                report(&format!("{} is not here: {why}", case.name));
                continue;
            }
        };
        let pair = Pair::here("");
        let root = place.root.display().to_string();
        let undo = format!("path = \"{root}\"\nundo = {{ keep = 9 }}");
        pair.set(Foo1, "path = ", &undo);
        let versions = pushed(&pair, &place, 3);
        let entry = place.root.join(case.entry);
        let run = |words: &[&str]| {
            let path = entry.display().to_string();
            run_ok(words[0], &[&words[1..], &[path.as_str()]].concat());
        };
        let undo = |to: &[&str], code| {
            let args = [&["undo", "html"], to].concat();
            pair.run(Foo1, &args).expect(code)
        };
        let is_like = |version: usize, done: &Finished| {
            let diff = versions[version - 1].diff(&data(&place.root));
            assert!(diff.is_empty(), "{}, {version}: {diff}{done}", case.name);
        };
        for (to, back) in [(&["--to", "2"][..], 2), (&["--to", "1"], 1)] {
            run(case.hold);
            // Where what is kept of a part cannot be put away, or not be found.
            let refused = match case.name {
                "a part that is read-only" => Some((11, case.said)),
                "a directory whose key is not there" => Some((1, "give its key")),
                _ => None,
            };
            if let Some((code, said)) = refused {
                let done = undo(to, code);
                assert!(done.stderr.contains(said), "{}: {done}", case.name);
                run(case.free);
                is_like(3, &done);
                is_like(back, &undo(to, 0));
                is_like(3, &undo(&["--to", "3"], 0));
                continue;
            }
            let done = undo(to, 23);
            // What lies ready was made for the mount that was there.
            let said = match case.said {
                "read-only" if case.hold == READ_ONLY => "it is on another mount",
                said => said,
            };
            assert!(done.stderr.contains(said), "{}: {done}", case.name);
            let beside = fs::read_to_string(place.root.join("beside")).ok();
            if !case.stays.iter().any(|held| "beside".starts_with(held)) {
                assert_eq!(beside, Some("x".repeat(back)), "{}: {done}", case.name);
            }
            run(case.free);
            let done = undo(&[], 0);
            is_like(back, &done);
            for at in [3, back] {
                let done = undo(&["--to", &at.to_string()], 0);
                is_like(at, &done);
            }
            let done = undo(&["--to", "3"], 0);
            is_like(3, &done);
        }
    }
}

/// The same of single paths, which are copied out of what is kept.
#[test]
fn an_undo_of_a_path_that_is_held_up_can_be_said_again() {
    let place = plain().unwrap();
    let pair = Pair::here("");
    let root = place.root.display().to_string();
    pair.set(Foo1, "path = ", &format!("path = \"{root}\""));
    pushed(&pair, &place, 2);
    let read = |name: &str| fs::read_to_string(place.root.join(name)).unwrap();
    let undo = |to: &str, code| {
        let args = [
            "undo", "html", "--path", "dir", "--path", "file", "--to", to,
        ];
        pair.run(Foo1, &args).expect(code)
    };
    let entry = place.root.join("dir/file").display().to_string();
    run_ok("chattr", &["+i", &entry]);
    let done = undo("1", 23);
    assert!(done.stderr.contains("it is immutable"), "{done}");
    assert_eq!([read("file"), read("dir/sub/file")], ["x", "x"], "{done}");
    assert_eq!(read("dir/file"), "xx", "{done}");
    run_ok("chattr", &["-i", &entry]);
    let said = done.stdout_text();
    let (_, to) = said.rsplit_once("--to ").unwrap();
    let done = undo(to.split('`').next().unwrap(), 0);
    assert_eq!(read("dir/file"), "x", "{done}");
    assert_eq!(read("dir/goes"), "x", "{done}");
    assert_eq!(read("beside"), "xx", "{done}");
}

/// What a partial commit could not put in place was only staged: it is not kept beside what can be
/// undone.
#[test]
fn what_is_not_put_in_place_is_not_kept() {
    let place = plain().unwrap();
    let pair = Pair::here("");
    let root = place.root.display().to_string();
    pair.set(Foo1, "path = ", &format!("path = \"{root}\""));
    pushed(&pair, &place, 1);
    let entry = place.root.join("dir/file").display().to_string();
    run_ok("chattr", &["+i", &entry]);
    write(&pair.path(Foo0, "html"), 2);
    let done = pair.run(Foo0, &["push", "--tree", "html"]).expect(23);
    let kept = walkdir::WalkDir::new(place.root.join(".hasync/trees/html/undo"));
    let contents = kept
        .into_iter()
        .map(|entry| fs::read(entry.unwrap().path()));
    let contents: Vec<Vec<u8>> = contents.filter_map(Result::ok).collect();
    run_ok("chattr", &["-i", &entry]);
    assert!(contents.iter().any(|content| content == b"x"), "{done}");
    assert!(!contents.iter().any(|content| content == b"xx"), "{done}");
}

/// When undos are held up and finished, to and fro, what is kept grows by each and not with each.
#[test]
fn undos_that_are_held_up_again_and_again_do_not_multiply() {
    const ROUNDS: usize = 16;
    let place = plain().unwrap();
    let pair = Pair::here("");
    let root = place.root.display().to_string();
    pair.set(Foo1, "path = ", &format!("path = \"{root}\""));
    let versions = pushed(&pair, &place, 2);
    let undo = |to: usize| pair.run(Foo1, &["undo", "html", "--to", &to.to_string()]);
    let kept_len = || {
        let undo = place.root.join(".hasync/trees/html/undo");
        let kept = fs::read_dir(undo).unwrap().map(Result::unwrap);
        let manifests = kept.map(|step| step.path().join("manifest"));
        let lens = manifests.map(|path| path.metadata().unwrap().len());
        lens.max().unwrap()
    };
    let held = ["dir/file", "beside", "dir/sub/file", "file"];
    let mut lens = Vec::new();
    for (round, held) in held.iter().cycle().take(ROUNDS).enumerate() {
        let to = 1 + round % 2;
        let entry = place.root.join(held).display().to_string();
        run_ok("chattr", &["+i", &entry]);
        undo(to).expect(23);
        run_ok("chattr", &["-i", &entry]);
        for to in [to, 3 - to, to] {
            let done = undo(to).expect(0);
            let diff = versions[to - 1].diff(&data(&place.root));
            assert_eq!(diff, "", "{round}, {to}: {done}");
        }
        lens.push(kept_len());
    }
    let [early, late] = [1, ROUNDS / 2].map(|from| lens[from + ROUNDS / 2 - 1] - lens[from]);
    assert!(late <= 2 * early, "{lens:?}");
}

/// What is kept of a part lies on it: while it is not mounted, nothing is undone, and nothing lost.
#[test]
fn an_undo_waits_for_a_part_that_is_not_mounted() {
    let mut place = Place::new();
    if let Err(why) = place.disk(&MKFS_EXT4, 24, "", "target/dir") {
        return report(&format!("a part that is not mounted is not tried: {why}"));
    }
    let pair = Pair::here("");
    let root = place.root.display().to_string();
    pair.set(Foo1, "path = ", &format!("path = \"{root}\""));
    let versions = pushed(&pair, &place, 3);
    let undo = |to: usize| pair.run(Foo1, &["undo", "html", "--to", &to.to_string()]);
    let unmounted = |act: &dyn Fn()| {
        let (image, dir) = (place.text("image"), format!("{root}/dir"));
        run_ok("umount", &[&dir]);
        act();
        run_ok("mount", &["-o", "loop,nodev", &image, &dir]);
    };
    unmounted(&|| {
        let before = data(&place.root);
        for args in [&["undo", "html"][..], &["undo", "html", "--to", "1"]] {
            let done = pair.run(Foo1, args);
            done.expect_error(1, &["dir", "mount it"]);
        }
        assert_eq!(before.diff(&data(&place.root)), "");
    });
    for to in [1, 3, 2] {
        let done = undo(to).expect(0);
        let diff = versions[to - 1].diff(&data(&place.root));
        assert_eq!(diff, "", "{to}: {done}");
    }
}

/// What a file system says to be lost when it is closed has not arrived.
#[test]
fn what_is_lost_when_it_is_closed_is_not_put_in_place() {
    const NAMES: [&str; 5] = ["file", "dir/file", "new/file", "new/deep/file", "long"];
    for atomic in [false, true] {
        let Ok(place) = memory("late") else {
            return report("what is lost when it is closed is not tried");
        };
        let trees = TempTree::new();
        let write = |names: &[&str], content: &str| {
            for name in names {
                // What travels by itself, and what travels with others.
                let times = if *name == "long" { 300_000 } else { 1 };
                trees.write(format!("source/{name}"), content.repeat(times));
            }
        };
        let read = |name: &str| fs::read_to_string(place.root.join(name)).ok();
        let options: &[&str] = if atomic { &["--atomic"] } else { &[] };
        let push = || {
            let to = [
                trees.contents_of("source"),
                place.root.display().to_string(),
            ];
            Hasync::push(&["-a", "--delete"])
                .args(options)
                .args(to)
                .run()
        };
        write(&["file", "dir/file", "long"], "first");
        push().expect(0);
        write(&NAMES, "lost");
        write(&["beside", "new/beside"], "arrives");
        let done = push().expect(23);
        for name in NAMES {
            let named = format!("cannot write \"{}\"", place.root.join(name).display());
            assert!(done.stderr.contains(&named), "{named}: {done}");
            let before = read(name).map(|content| content[..5].to_owned());
            let expected = (!name.starts_with("new")).then_some("first");
            assert_eq!(before.as_deref(), expected, "{name}: {done}");
        }
        for name in ["beside", "new/beside"] {
            assert_eq!(read(name).as_deref(), Some("arrives"), "{name}: {done}");
        }
        write(&NAMES, "third");
        push().expect(0);
        let diff = data(&trees.path("source")).diff(&data(&place.root));
        assert!(diff.is_empty(), "{diff}");
    }
}
