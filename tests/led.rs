//! Where symlinks lead a push: in the target no further than its own entries, and in the source
//! not for ever.

use std::fs;

use crate::selection::by_hasync;
use crate::support::local_user::{LOCAL_USER, plant};
use crate::support::mounted::Mounted;
use crate::support::{Hasync, Snapshot, TempTree, need_root};

/// A link of the target, and what `-K` makes of it; `None` where it has to give way.
#[test]
fn symlinks_of_the_target_stay_where_they_lead_beneath_it() {
    need_root();
    for (to, is_planted, stays) in [
        ("real", false, true),
        ("./real", false, true),
        ("inner/../real", false, true),
        ("via", false, true),
        ("../elsewhere", false, false),
        ("/etc", false, false),
        ("nothing", false, false),
        ("real", true, false),
    ] {
        let trees = TempTree::new();
        trees.write("src/d/f", "new");
        trees.write("src/d/sub/g", "new");
        trees.write("dst/real/old", "old");
        trees.mkdir("dst/inner");
        trees.mkdir("elsewhere");
        trees.symlink("real", "dst/via");
        match is_planted {
            false => trees.symlink(to, "dst/d"),
            true => {
                trees.chown("dst", LOCAL_USER, LOCAL_USER);
                plant(to.as_ref(), &trees.path("dst/d"));
            }
        }
        let push = |options: &[&str]| {
            let paths = [trees.contents_of("src"), trees.text("dst")];
            Hasync::push(options).args(paths).run().expect(0)
        };
        push(&["-aK"]);
        let is_link = fs::symlink_metadata(trees.path("dst/d"))
            .unwrap()
            .is_symlink();
        assert_eq!(is_link, stays, "{to}");
        let there = if stays {
            "dst/real/sub/g"
        } else {
            "dst/d/sub/g"
        };
        assert!(trees.path(there).exists(), "{to}");
        assert_eq!(fs::read_dir(trees.path("elsewhere")).unwrap().count(), 0);
        let again = push(&["-aiK", "--delete", "--exclude=/[a-ce-z]*"]);
        let said = again.stdout_text();
        let changed = said.lines().filter(|line| !line.ends_with(" ./"));
        let expected: &[&str] = match stays {
            true => &["*deleting   d/old"],
            false => &[],
        };
        assert_eq!(changed.collect::<Vec<_>>(), expected, "{to}");
        push(&["-a"]);
        assert!(
            !fs::symlink_metadata(trees.path("dst/d"))
                .unwrap()
                .is_symlink()
        );
    }
}

/// `--no-implied-dirs` leaves symlinks on the way to what is pushed as they are, however deep that
/// is, and what it pushes gives symlinks their place as without it.
#[test]
fn the_way_to_what_is_pushed_may_lead_through_links() {
    for words in [
        &["src/./way/f"][..],
        &["src/./way/sub/g"],
        &["src/./way/f", "src/./way/sub/g"],
        &["src/./way/f", "src/./other"],
        &["src/./other", "src/./way/sub"],
    ] {
        let trees = TempTree::new();
        for file in ["way/f", "way/sub/g", "other/h"] {
            trees.write(format!("src/{file}"), "new");
        }
        trees.write("dst/real/f", "old");
        trees.write("dst/kept/h", "old");
        trees.symlink("real", "dst/way");
        trees.symlink("kept", "dst/other");
        let options = ["-a", "-R", "--no-implied-dirs", "--delete"];
        for _ in 0..2 {
            by_hasync(&trees, &[&options, words].concat(), "dst").expect(0);
        }
        let is_link = |name: &str| trees.path(name).is_symlink();
        assert!(is_link("dst/way"), "{words:?}");
        let names_other = words.iter().any(|word| word.ends_with("other"));
        assert_eq!(is_link("dst/other"), !names_other, "{words:?}");
        assert_eq!(trees.read("dst/kept/h"), b"old", "{words:?}");
        for word in words {
            let below = word.strip_prefix("src/./").unwrap();
            assert!(trees.path("dst").join(below).exists(), "{words:?}");
        }
    }
}

/// Neither `-K` nor the way to what is pushed leads a peer to what hasync keeps in the target.
#[test]
fn no_link_of_the_target_leads_to_what_is_our_own() {
    for (to, words) in [
        (".hasync", &["-aK", "--delete", "src/"][..]),
        ("./.hasync/", &["-aK", "--delete", "src/"]),
        ("inner/../.hasync", &["-aK", "--delete", "src/"]),
        ("via", &["-aK", "--delete", "src/"]),
        (".HASYNC", &["-aK", "--delete", "src/"]),
        (".hasync", &["-aR", "--no-implied-dirs", "src/./d/sub/g"]),
        (".hasync/kept", &["-aRK", "--delete", "src/./d/sub"]),
    ] {
        let trees = TempTree::new();
        trees.write("src/d/sub/g", "planted");
        trees.write("src/d/f", "planted");
        for name in ["dst/.hasync/kept/x", "dst/.HASYNC/kept/x"] {
            trees.write(name, "ours");
        }
        trees.mkdir("dst/inner");
        trees.symlink(".hasync", "dst/via");
        trees.symlink(to, "dst/d");
        let own = [".hasync/kept", ".HASYNC/kept"].map(|own| trees.path("dst").join(own));
        let before = own.each_ref().map(|own| Snapshot::of(own));
        let exclude = ["--exclude=/inner", "--exclude=/via"];
        let done = by_hasync(&trees, &[words, &exclude].concat(), "dst");
        for (before, own) in before.iter().zip(&own) {
            before.assert_same(&Snapshot::of(own));
        }
        for name in ["d", "f", "g", "sub", "kept/sub"] {
            for own in ["dst/.hasync", "dst/.HASYNC"] {
                let planted = trees.path(own).join(name);
                assert!(!planted.exists(), "{to} {words:?} {name} {done}");
            }
        }
        assert!(trees.path("dst/d/sub/g").exists(), "{to} {words:?} {done}");
    }
}

/// A symlink to a directory that it is in is named and left alone, and so is what the target has
/// in its place: links by links, and how many entries the target has then.
#[test]
fn links_that_lead_back_are_not_followed_for_ever() {
    for (what, links, looping, made) in [
        (
            "to its own directory",
            &[("a/current", ".")][..],
            &["a/current"][..],
            4,
        ),
        ("to the top", &[("a/up", "..")], &["a/up"], 4),
        ("by its whole path", &[("a/up", "/SRC")], &["a/up"], 4),
        (
            "through another link",
            &[("a/x", "y"), ("a/y", "../a")],
            &["a/x", "a/y"],
            4,
        ),
        (
            "two in one",
            &[("a/x", "."), ("a/y", "."), ("z", ".")],
            &["a/x", "a/y", "z"],
            4,
        ),
        (
            "one to the other's",
            &[("a/x", "../b"), ("b/y", "../a")],
            &["a/x/y", "b/y/x"],
            8,
        ),
        ("to a brother", &[("a/x", "../b")], &[], 6),
        ("twice to one", &[("x", "a"), ("y", "a")], &[], 8),
    ] {
        for options in [&["-aL"][..], &["-ak"], &["-aLm"], &["-aLHx"]] {
            let trees = TempTree::new();
            trees.write("src/a/f", "f");
            trees.write("src/b/g", "g");
            for (name, to) in links {
                let to = to.replace("/SRC", &trees.text("src"));
                trees.symlink(to, format!("src/{name}"));
            }
            for name in looping {
                trees.write(format!("dst/{name}/kept"), "there");
            }
            let words = [options, &["--delete", "src/"]].concat();
            let code = if looping.is_empty() { 0 } else { 23 };
            let done = by_hasync(&trees, &words, "dst").expect(code);
            let warned = done.stderr.matches("a directory that it is in").count();
            assert_eq!(warned, looping.len(), "{what} {options:?} {done}");
            for name in looping {
                let kept = trees.path(format!("dst/{name}/kept"));
                assert!(kept.exists(), "{what} {options:?} {done}");
            }
            let entries = walkdir::WalkDir::new(trees.path("dst")).min_depth(1);
            let count = entries.into_iter().count();
            assert_eq!(count, made + 2 * looping.len(), "{what} {options:?} {done}");
        }
    }
    // What is mounted where it is in itself ends there, and what is named is pushed.
    let trees = TempTree::new();
    trees.write("src/a/f", "f");
    trees.symlink(".", "src/a/current");
    let done = by_hasync(&trees, &["-aRL", "src/./a/current/f"], "dst").expect(0);
    assert!(trees.path("dst/a/current/f").exists(), "{done}");
    let done = by_hasync(&trees, &["-aL", "src/a/current"], "dst").expect(23);
    assert!(trees.path("dst/current/f").exists(), "{done}");
    let mounted = Mounted::bind(&trees.path("src/a"), trees.path("src/a/mounted"));
    by_hasync(&trees, &["-ak", "--exclude=current", "src/a"], "dst").expect(0);
    assert!(trees.path("dst/a/mounted/f").exists());
    drop(mounted);
}
