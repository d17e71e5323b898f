//! Names of one file on both sides of a border that no link crosses: on each side they are one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::place::{NotHere, Place};
use super::{encrypted, old_ext4_below, project, subvolume, xfs};
use crate::support::{Hasync, TempTree, report};

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
