//! Names of one file on both sides of a border that no link crosses: on each side they are one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::place::{NotHere, Place};
use super::{encrypted, ext4, given_to_a_project, old_ext4_below, project, subvolume, xfs};
use crate::support::acl::{ACCESS, GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, kernel};
use crate::support::temptree::set_mtime;
use crate::support::{Hasync, TempTree, report, xattrs};

type Make = fn() -> Result<Place, NotHere>;

const BORDERS: [(&str, Make); 4] = [
    ("a project", || project(xfs())),
    ("a subvolume", subvolume),
    ("an encrypted directory", encrypted),
    ("another disk", old_ext4_below),
];

#[test]
fn links_end_at_borders() {
    for (border, make) in BORDERS {
        for more in [&["--no-fsync"][..], &["--atomic"]] {
            match make() {
                Ok(place) => check(&place, border, more),
                Err(why) => report(&format!("links across {border} are not tried: {why}")),
            }
        }
    }
}

fn check(place: &Place, border: &str, more: &[&str]) {
    let trees = TempTree::new();
    trees.write("source/a", "old");
    trees.mkdir("source/special");
    for name in ["beside", "special/one", "special/other"] {
        fs::hard_link(trees.path("source/a"), trees.path(format!("source/{name}"))).unwrap();
    }
    let push = || {
        let to = [
            trees.contents_of("source"),
            place.root.display().to_string(),
        ];
        Hasync::push(&["-aHi", "--delete"])
            .args(more)
            .args(to)
            .run()
    };
    for version in ["first", "second, and longer"] {
        trees.write("source/a", version);
        let done = push().expect(0);
        let number = |name: &str| {
            let path = place.root.join(name);
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                version,
                "{border} {done}"
            );
            fs::metadata(path).unwrap().ino()
        };
        let [a, beside, one, other] = ["a", "beside", "special/one", "special/other"].map(number);
        assert_eq!((a, one), (beside, other), "{border} {more:?} {done}");
        let again = push().expect(0);
        assert_eq!(again.stdout_text(), "", "{border} {more:?} {again}");
    }
}

/// File systems below the root that keep less than it does.
const LESSER: [(&str, Make); 4] = [
    ("ramfs", || below(&["mount", "-t", "ramfs", "ramfs"])),
    ("whole seconds", old_ext4_below),
    ("no attributes", || bound(&["bindfs", "--xattr-none"])),
    ("others own all", || {
        bound(&["bindfs", "--force-user=1000", "--chmod-ignore"])
    }),
];

fn below(mount: &[&str]) -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.mount(mount, "target/special")?;
    Ok(place)
}

fn bound(command: &[&str]) -> Result<Place, NotHere> {
    let mut place = Place::new();
    let from = place.mkdir("below");
    place.mount(&[command, &[&from]].concat(), "target/special")?;
    Ok(place)
}

/// A name gets all that its own file system keeps, whatever that of the first one keeps.
#[test]
fn links_hand_on_no_less_than_each_side_keeps() {
    for (lesser, make) in LESSER {
        match make() {
            Ok(place) => check_each_side(&place, lesser),
            Err(why) => report(&format!("links beside {lesser} are not tried: {why}")),
        }
    }
}

fn check_each_side(place: &Place, lesser: &str) {
    let trees = TempTree::new();
    // The first name is on one side, and then on the other; what is new has new directories too.
    for (first, others) in [
        ("a", ["special/of-a", "special/new/of-a", "z/of-a"]),
        ("special/b", ["z/of-b", "z/of-b-too", "special/new/of-b"]),
    ] {
        trees.write(format!("source/{first}"), "linked");
        for name in others {
            let name = format!("source/{name}");
            fs::create_dir_all(trees.path(&name).parent().unwrap()).unwrap();
            trees.hard_link(format!("source/{first}"), name);
        }
        let first = trees.path(format!("source/{first}"));
        let acl = [(USER_OBJ, 6, NOBODY), (USER, 4, 1), (GROUP_OBJ, 4, NOBODY)];
        let acl = kernel(&[&acl[..], &[(MASK, 4, NOBODY), (OTHER, 0, NOBODY)]].concat());
        xattrs::give(&first, ACCESS.as_bytes(), &acl);
        xattrs::give(&first, b"user.a", b"value");
        std::os::unix::fs::chown(&first, Some(1001), Some(1002)).unwrap();
        set_mtime(&first, 1_500_000_001, 123_456_789);
    }
    let push = || {
        let root = place.root.display().to_string();
        let to = [trees.contents_of("source"), root];
        Hasync::push(&["-aHAXi", "--delete"]).args(to).run()
    };
    let done = push();
    assert!(!done.stderr.contains("cannot link"), "{lesser}: {done}");
    let [source, target] = [trees.path("source"), place.root.clone()];
    let [theirs, ours] = [xattrs::of(&source), xattrs::of(&target)];
    for name in ["a", "z/of-a", "z/of-b", "z/of-b-too"] {
        let attrs = |root: &std::path::Path| {
            let stat = fs::metadata(root.join(name));
            let stat = stat.unwrap_or_else(|e| panic!("{lesser}: {name}: {e}: {done}"));
            let time = (stat.mtime(), stat.mtime_nsec());
            (stat.uid(), stat.gid(), stat.mode(), time)
        };
        assert_eq!(attrs(&source), attrs(&target), "{lesser}: {name}: {done}");
        let key = name.as_bytes();
        assert_eq!(theirs.get(key), ours.get(key), "{lesser}: {name}: {done}");
    }
    for name in ["special/of-a", "special/new/of-b"] {
        assert_eq!(fs::read(target.join(name)).unwrap(), b"linked", "{lesser}");
    }
    for [one, other] in [["a", "z/of-a"], ["z/of-b", "z/of-b-too"]] {
        let number = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(number(one), number(other), "{lesser}: {one} {other}");
    }
    let again = push().expect(0);
    assert_eq!(
        (&*again.stdout_text(), &*again.stderr),
        ("", ""),
        "{lesser}: {again}"
    );
}

/// A file that was there before its directory was given to a project gets no further name in it:
/// all names become those of one that belongs there, once.
#[test]
fn links_to_what_is_not_of_its_project_are_made_once() {
    let makes: [(&str, Make); 2] = [
        ("XFS", || given_to_a_project(xfs(), "")),
        ("ext4", || {
            given_to_a_project(ext4(&["-O", "project"], ""), "")
        }),
    ];
    for (kind, make) in makes {
        for more in [&["--no-fsync"][..], &["--atomic"]] {
            let place = match make() {
                Ok(place) => place,
                Err(why) => {
                    report(&format!(
                        "links in a project on {kind} are not tried: {why}"
                    ));
                    continue;
                }
            };
            let trees = TempTree::new();
            trees.write("source/same", "older");
            set_mtime(&trees.path("source/same"), 1_000_000_000, 0);
            set_mtime(&place.root.join("same"), 1_000_000_000, 0);
            let names = ["same", "tail", "then/below"];
            trees.mkdir("source/then");
            for name in &names[1..] {
                let name = trees.path("source").join(name);
                fs::hard_link(trees.path("source/same"), name).unwrap();
            }
            let push = || {
                let to = [
                    trees.contents_of("source"),
                    place.root.display().to_string(),
                ];
                let options = Hasync::push(&["-aHi", "--delete"]).args(more);
                options.args(to).run().expect(0)
            };
            let done = push();
            let number = |name| fs::metadata(place.root.join(name)).unwrap().ino();
            let numbers = names.map(number);
            let is_one = numbers.iter().all(|number| *number == numbers[0]);
            assert!(is_one, "{kind} {more:?} {numbers:?}: {done}");
            let again = push();
            assert_eq!(again.stdout_text(), "", "{kind} {more:?}: {again}");
        }
    }
}
