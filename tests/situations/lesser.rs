//! Targets that hold less than `-aAX` brings: each push says once what they cannot keep, mirrors
//! all else, and has nothing left to do when it is pushed again. A standby with such a target is
//! refused until its configuration says that it is meant.

use super::place::{NotHere, Place};
use super::{MKFS_EXT4, exfat};
use crate::support::acl::{self, ACCESS, DEFAULT};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Hasync, TempTree, report};

/// What a target does not keep, by the words of `lossy`, and what is said of entries with it.
struct Lesser {
    name: &'static str,
    make: fn() -> Result<Place, NotHere>,
    lost: &'static [&'static str],
    /// Which directory of the target is so.
    within: &'static str,
}

const LESSER: &[Lesser] = &[
    Lesser {
        name: "ramfs",
        make: || mounted(&["mount", "-t", "ramfs", "ramfs"], "target"),
        lost: &["acls", "xattrs"],
        within: "",
    },
    Lesser {
        name: "ramfs below the root",
        make: || mounted(&["mount", "-t", "ramfs", "ramfs"], "target/below"),
        lost: &["acls", "xattrs"],
        within: "below",
    },
    Lesser {
        name: "btrfs with noacl",
        make: || disk(&["mkfs.btrfs", "-q"], 120, "noacl"),
        lost: &["acls"],
        within: "",
    },
    Lesser {
        name: "exFAT",
        make: || exfat("umask=077"),
        lost: &["owners", "modes", "acls", "xattrs", "links"],
        within: "",
    },
    Lesser {
        name: "FUSE without attributes",
        make: || over(&["bindfs", "--xattr-none"]),
        lost: &["acls", "xattrs"],
        within: "",
    },
    Lesser {
        name: "FUSE that only reads attributes",
        make: || over(&["bindfs", "--xattr-ro"]),
        lost: &["acls", "xattrs"],
        within: "",
    },
    Lesser {
        name: "tmpfs",
        make: || mounted(&["mount", "-t", "tmpfs", "tmpfs"], "target"),
        lost: &[],
        within: "",
    },
    Lesser {
        name: "XFS",
        make: || disk(&["mkfs.xfs", "-q"], 300, "nouuid"),
        lost: &[],
        within: "",
    },
    Lesser {
        name: "ext4 with small inodes",
        make: || disk(&[&MKFS_EXT4[..], &["-I", "128"]].concat(), 24, ""),
        lost: &[],
        within: "",
    },
];

fn mounted(command: &[&str], at: &str) -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.mount(command, at)?;
    Ok(place)
}

fn disk(mkfs: &[&str], mebibytes: u64, options: &str) -> Result<Place, NotHere> {
    let mut place = Place::new();
    place.disk(mkfs, mebibytes, options, "target")?;
    Ok(place)
}

fn over(command: &[&str]) -> Result<Place, NotHere> {
    super::over(command)
}

/// Several of each kind, so that what is said of each would be seen.
fn make_source(trees: &TempTree) {
    let named = acl::kernel(&[
        (acl::USER_OBJ, 7, acl::NOBODY),
        (acl::USER, 5, 1),
        (acl::GROUP_OBJ, 5, acl::NOBODY),
        (acl::MASK, 5, acl::NOBODY),
        (acl::OTHER, 5, acl::NOBODY),
    ]);
    let give = |name: &str, attribute: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(trees.path(name), attribute, value, flags).unwrap();
    };
    for dir in ["source", "source/below"] {
        for at in 0..3 {
            let [file, sub] = ["file", "dir"].map(|name| format!("{dir}/{name}-{at}"));
            trees.write(&file, "content");
            trees.mkdir(&sub);
            for name in [&file, &sub] {
                give(name, ACCESS, &named);
                give(name, "user.a", b"value");
                give(name, "trusted.t", b"");
            }
            give(&sub, DEFAULT, &named);
            give(&file, "security.s", b"label");
            let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            give(&file, "security.capability", capability);
            trees.hard_link(&file, format!("{dir}/linked-{at}"));
        }
    }
    // From there a name leads to another directory.
    trees.hard_link("source/file-0", "source/below/other");
}

/// How often a push says on standard error that something cannot be kept.
fn said(done: &Finished, what: &str) -> usize {
    let lines = done.stderr.lines();
    lines
        .filter(|line| line.contains("cannot keep") && line.contains(what))
        .count()
}

#[test]
fn a_target_that_holds_less_tells_once_what_it_cannot_keep() {
    let mut here = Vec::new();
    for lesser in LESSER {
        match (lesser.make)() {
            Ok(place) => without_a_name(lesser, &place),
            Err(why) => {
                report(&format!("lesser target {} is not here: {why}", lesser.name));
                continue;
            }
        }
        with_a_name(lesser, &(lesser.make)().unwrap());
        here.push(lesser.name);
    }
    report(&format!("lesser targets: {}", here.join(", ")));
}

fn without_a_name(lesser: &Lesser, place: &Place) {
    let trees = TempTree::new();
    make_source(&trees);
    let push = |options: &[&str]| {
        let to = [
            trees.contents_of("source"),
            place.root.display().to_string(),
        ];
        Hasync::push(options).arg("-i").args(to).run()
    };
    let name = lesser.name;
    let strict = push(&["--ha", "-n"]);
    if lesser.lost.is_empty() {
        strict.expect(0);
    } else {
        let words = [lesser.lost, &["--ha", lesser.within]].concat();
        strict.expect_error(78, &words);
    }
    let done = push(&["-aHAX"]);
    let (acls, xattrs) = (
        lesser.lost.contains(&"acls"),
        lesser.lost.contains(&"xattrs"),
    );
    assert_eq!(
        done.code,
        if lesser.lost.is_empty() { 0 } else { 23 },
        "{name}: {done}"
    );
    assert_eq!(said(&done, "ACL"), usize::from(acls), "{name}: {done}");
    let attributes = said(&done, "extended attributes");
    assert_eq!(attributes, usize::from(xattrs), "{name}: {done}");
    let others = lesser
        .lost
        .iter()
        .any(|word| ["owners", "modes"].contains(word));
    let links = lesser.lost.contains(&"links");
    assert_eq!(
        said(&done, "hard links"),
        usize::from(links),
        "{name}: {done}"
    );
    let all = usize::from(acls || xattrs) + usize::from(others) + usize::from(links);
    assert_eq!(done.stderr.matches("cannot").count(), all, "{name}: {done}");
    for name in ["file-0", "below/file-2", "dir-1"] {
        assert!(place.root.join(name).exists(), "{name}");
    }
    let again = push(&["-aHAX"]).expect(0);
    assert_eq!((&*again.stdout_text(), &*again.stderr), ("", ""), "{name}");
}

fn with_a_name(lesser: &Lesser, place: &Place) {
    let pair = Pair::here("");
    let trees = TempTree::new();
    make_source(&trees);
    let path = |root: &std::path::Path| format!("path = \"{}\"", root.display());
    pair.set(Foo0, "path = ", &path(&trees.path("source")));
    pair.set(Foo1, "path = ", &path(&place.root));
    let push = || pair.run(Foo0, &["push", "-i", "--tree", "html"]);
    if !lesser.lost.is_empty() {
        let quoted: Vec<String> = lesser.lost.iter().map(|w| format!("\"{w}\"")).collect();
        let line = format!("lossy = [{}]", quoted.join(", "));
        push().expect_error(78, &[&line, "html", lesser.within]);
        assert!(!place.root.join("file-0").exists());
        for (node, root) in [(Foo0, trees.path("source")), (Foo1, place.root.clone())] {
            pair.set(node, "path = ", &format!("{}\n{line}", path(&root)));
        }
    }
    let done = push().expect(0);
    assert_eq!(said(&done, ""), 0, "{}: {done}", lesser.name);
    assert!(place.root.join("below/file-2").exists(), "{done}");
    let again = push().expect(0);
    assert!(
        again.stdout_text().contains("unchanged"),
        "{}: {again}",
        lesser.name
    );
    let status = pair.run(Foo1, &["status", "html"]).expect(0).stdout_text();
    for word in lesser.lost {
        assert!(status.contains(word), "{word}: {status}");
    }
}
