//! Something else has the name `.hasync`, in the root or in a directory that needs one of its own:
//! a plain push says so in one line, and everything arrives; one that needs a journal there does
//! not change what it would have to be in. The other thing stays as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::place::Place;
use super::{ext4, project};
use crate::support::hasync::Reachable;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::temptree::make_node;
use crate::support::{Finished, Hasync, Snapshot, TempTree, report};
use rustix::fs::FileType;

const SOMEBODY: u32 = 4242;

/// What is there, made by `plant`, and what is said of it.
struct Squat {
    name: &'static str,
    plant: fn(&Path) -> Option<Mounted>,
    said: &'static str,
}

fn file(path: &Path) -> Option<Mounted> {
    fs::write(path, "mine").unwrap();
    None
}

fn link(to: &str, path: &Path) -> Option<Mounted> {
    symlink(to, path).unwrap();
    None
}

fn dir(path: &Path, owner: u32, mode: u32) -> Option<Mounted> {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
    None
}

fn with_entries(path: &Path) -> Option<Mounted> {
    dir(path, SOMEBODY, 0o700);
    fs::create_dir_all(path.join("stage/0123456789abcdef")).unwrap();
    fs::write(path.join("precious"), "mine").unwrap();
    None
}

fn node(path: &Path, kind: FileType) -> Option<Mounted> {
    make_node(path, kind, 1, 3);
    None
}

const MOUNTED: &str = "is a mount point: unmount it";
const NO_DIR: &str = "is not a directory: remove it";
const NOT_OURS: &str = "belongs to another user, or can be changed by others: remove it";

const SQUATS: [Squat; 13] = [
    Squat {
        name: "a file",
        plant: file,
        said: NO_DIR,
    },
    Squat {
        name: "a symlink to nothing",
        plant: |at| link("nothing", at),
        said: NO_DIR,
    },
    Squat {
        name: "a symlink to a directory",
        plant: |at| link("plain", at),
        said: NO_DIR,
    },
    Squat {
        name: "a symlink to a private directory",
        plant: |at| link("/root", at),
        said: NO_DIR,
    },
    Squat {
        name: "a fifo",
        plant: |at| node(at, FileType::Fifo),
        said: NO_DIR,
    },
    Squat {
        name: "a socket",
        plant: |at| node(at, FileType::Socket),
        said: NO_DIR,
    },
    Squat {
        name: "a device",
        plant: |at| node(at, FileType::CharacterDevice),
        said: NO_DIR,
    },
    Squat {
        name: "his empty directory",
        plant: |at| dir(at, SOMEBODY, 0o700),
        said: NOT_OURS,
    },
    Squat {
        name: "his directory",
        plant: with_entries,
        said: NOT_OURS,
    },
    Squat {
        name: "root's, open to all",
        plant: |at| dir(at, 0, 0o777),
        said: NOT_OURS,
    },
    Squat {
        name: "root's, as /tmp",
        plant: |at| dir(at, 0, 0o1777),
        said: NOT_OURS,
    },
    Squat {
        name: "root's, open to a group",
        plant: |at| dir(at, 0, 0o770),
        said: NOT_OURS,
    },
    Squat {
        name: "a mount point",
        plant: |at| Some(Mounted::at(at.to_owned())),
        said: MOUNTED,
    },
];

const FILES: [&str; 4] = ["file", "plain/file", "special/file", "special/sub/file"];

/// A target that has the first version of everything, and a source with the second.
struct Scene<'a> {
    trees: TempTree,
    place: &'a Place,
}

impl<'a> Scene<'a> {
    fn new(place: &'a Place) -> Self {
        let scene = Scene {
            trees: TempTree::new(),
            place,
        };
        scene.write("first");
        scene.push(&[]).expect(0);
        scene.write("second, which is longer");
        scene
    }

    fn write(&self, content: &str) {
        for name in FILES {
            self.trees.write(format!("source/{name}"), content);
        }
        for dir in ["new", "special/new"] {
            self.trees
                .write(format!("source/{dir}/{}", content.len()), content);
        }
    }

    fn push(&self, more: &[&str]) -> Finished {
        let to = [
            self.trees.contents_of("source"),
            self.place.root.display().to_string(),
        ];
        Hasync::push(&["-ai", "--delete"]).args(more).args(to).run()
    }

    fn target(&self) -> Snapshot {
        let mut there = Snapshot::of(&self.place.root);
        let is_data = |path: &[u8]| path.split(|b| *b == b'/').all(|part| part != b".hasync");
        there.entries.retain(|path, _| is_data(path));
        there
    }

    fn check_plain(&self, squat: &Squat, at: &Path) {
        let before = Snapshot::of(at.parent().unwrap());
        let done = self.push(&[]).expect(23);
        let source = Snapshot::of(&self.trees.path("source"));
        let diff = source.diff(&self.target());
        assert!(diff.is_empty(), "{}: {diff}{done}", squat.name);
        let name = at.display().to_string();
        let lines: Vec<&str> = done
            .stderr
            .lines()
            .filter(|line| line.contains(&name))
            .collect();
        assert!(
            lines.len() == 1 && lines[0].contains(squat.said),
            "{}: {done}",
            squat.name
        );
        let squatted = |snapshot: Snapshot| {
            let mut snapshot = snapshot;
            snapshot
                .entries
                .retain(|path, _| path.starts_with(b".hasync"));
            snapshot
        };
        let after = Snapshot::of(at.parent().unwrap());
        squatted(before).assert_same(&squatted(after));
        let again = self.push(&[]).expect(0);
        assert!(
            again.stdout.is_empty() && again.stderr.is_empty(),
            "{again}"
        );
    }
}

fn remove(at: &Path) {
    match fs::symlink_metadata(at) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(at).unwrap(),
        Ok(_) => fs::remove_file(at).unwrap(),
        Err(_) => {}
    }
}

/// A tree with a name keeps its records there: it names what is in the way, and changes nothing.
#[test]
fn a_tree_with_a_name_says_what_is_in_the_way() {
    for squat in SQUATS.iter().filter(|squat| squat.said != MOUNTED) {
        let pair = Pair::here("");
        pair.write(Foo0, "html/page", "new");
        let at = pair.path(Foo1, "html/.hasync");
        (squat.plant)(&at);
        let done = pair.run(Foo0, &["push", "--tree", "html"]);
        done.expect_error(11, &[".hasync", squat.said]);
        assert!(!pair.path(Foo1, "html/page").exists(), "{}", squat.name);
        remove(&at);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    }
}

/// Who is not root goes round what is root's, too.
#[test]
fn what_is_of_root_is_in_the_way_of_others() {
    let trees = TempTree::within(Path::new("/tmp"));
    let program = Reachable::new();
    trees.write("source/dir/file", "new");
    trees.write("source/file", "new");
    trees.mkdir("target");
    trees.chown("target", 65534, 65534);
    let at = trees.path("target/.hasync");
    dir(&at, 0, 0o700);
    let push = |more: &[&str]| {
        let to = [trees.contents_of("source"), trees.text("target")];
        Hasync::push(&["-rt"])
            .args(more)
            .args(to)
            .by_nobody(&program)
            .run()
    };
    push(&["--atomic"]).expect_error(11, &[".hasync", NOT_OURS]);
    let done = push(&[]).expect(23);
    assert!(done.stderr.contains(NOT_OURS), "{done}");
    for name in ["file", "dir/file"] {
        assert_eq!(trees.read(format!("target/{name}")), b"new", "{done}");
    }
    assert!(at.is_dir() && push(&[]).expect(0).stderr.is_empty());
}

#[test]
fn something_else_under_the_name() {
    let place = match project(ext4(&["-O", "project"], "")) {
        Ok(place) => place,
        Err(why) => return report(&format!("squatted names are not tried: {why}")),
    };
    for squat in &SQUATS {
        for dir in ["", "special/"] {
            let at = place.root.join(format!("{dir}.hasync"));
            let scene = Scene::new(&place);
            let mounted = (squat.plant)(&at);
            scene.check_plain(squat, &at);
            scene.write("third, which is longer still");
            if mounted.is_none() {
                let before = scene.target();
                let code = if dir.is_empty() { 11 } else { 23 };
                let done = scene.push(&["--atomic"]).expect(code);
                let said = done.stderr.lines().filter(|line| line.contains(squat.said));
                assert_eq!(said.count(), 1, "{}: {done}", squat.name);
                if dir.is_empty() {
                    before.assert_same(&scene.target());
                } else {
                    let read = |name: &str| fs::read(place.root.join(name)).unwrap();
                    assert!(read("plain/file").starts_with(b"third"), "{done}");
                    assert!(read("special/file").starts_with(b"second"), "{done}");
                }
            }
            drop(mounted);
            remove(&at);
            let done = scene.push(&[]).expect(0);
            let litter = Snapshot::of(&place.root).litter();
            assert!(litter.is_empty(), "{}: {litter:?}{done}", squat.name);
        }
    }
}
