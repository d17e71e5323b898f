//! One cell of the table: a way of pushing to a place. Two versions arrive one after the other, and
//! each is compared with what the place can keep, pushed again in silence, and leaves nothing.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::place::{Keeps, Place};
use super::source::{Version, make};
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::{Finished, Hasync, Snapshot, TempTree, acl};

/// A way of pushing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Atomic,
    /// A tree with a name, and its last step undone.
    Named,
}

/// What a push to a place says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    /// What is not kept there: named as in `lossy`.
    pub(super) lost: &'static [&'static str],
    /// A push that needs a private `.hasync` is refused, with this.
    pub(super) refused: Option<&'static str>,
}

/// Pushes in one way.
pub(super) fn check(place: &Place, way: Way, expected: Expected) {
    match way {
        Way::Plain => ad_hoc(place, &[], expected),
        Way::Atomic => ad_hoc(place, &["--atomic"], expected),
        Way::Named => named(place, expected),
    }
}

fn ad_hoc(place: &Place, options: &[&str], expected: Expected) {
    let trees = TempTree::new();
    let push = |more: &[&str]| {
        Hasync::push(&["-aHi", "--delete"])
            .args(options)
            .args(more)
            .args([
                trees.contents_of("source"),
                place.root.display().to_string(),
            ])
            .run()
    };
    let lost = [expected.lost, &unlinked(place, "hard links")].concat();
    for version in [Version::First, Version::Second] {
        make(&trees, version, place.keeps);
        litter(place, expected.refused.is_none());
        let done = push(&[]);
        if let Some(why) = expected.refused.filter(|_| !options.is_empty()) {
            done.expect_error(1, &[why, ".hasync", "--atomic"]);
            return;
        }
        let code = if lost.is_empty() { 0 } else { 23 };
        let done = done.expect(code);
        says_lost(&done, &lost);
        assert_arrived(&trees.path("source"), place, &done);
        let litter = Snapshot::of(&place.root).litter();
        assert!(litter.is_empty(), "{litter:?} left behind: {done}");
        let again = push(&[]).expect(0);
        assert_eq!(again.stdout_text(), "", "again: {again}");
        assert_eq!(again.stderr, "", "again: {again}");
    }
}

/// What pushes leave that are killed at one moment or another: while they ask what the place can
/// do, stage, try where names can be moved to, or are about to write a journal.
fn litter(place: &Place, has_journals: bool) {
    let own = place.root.join(".hasync");
    for dir in [&own, &place.root.join("special/.hasync")] {
        if !dir.parent().unwrap().exists() {
            continue;
        }
        std::fs::create_dir_all(dir.join("stage/0123456789abcdef/like-0/deep")).unwrap();
        for name in ["asked-0", "stage/asked-1", "stage/0123456789abcdef/1"] {
            std::fs::write(dir.join(name), "left").unwrap();
        }
        for part in ["", "stage", "stage/0123456789abcdef"] {
            // Where they can be set.
            let _ = std::fs::set_permissions(dir.join(part), Permissions::from_mode(0o700));
        }
    }
    if has_journals {
        std::fs::create_dir(own.join("commit")).unwrap();
    }
}

fn named(place: &Place, expected: Expected) {
    let pair = Pair::here("");
    let root = place.root.display().to_string();
    pair.set(Foo1, "path = ", &format!("path = \"{root}\""));
    let trees = TempTree::new();
    let source = trees.path("source").display().to_string();
    std::fs::create_dir_all(&source).unwrap();
    pair.set(Foo0, "path = ", &format!("path = \"{source}\""));
    let push = || pair.run(Foo0, &["push", "-i", "--tree", "html"]);
    make(&trees, Version::First, place.keeps);
    if let Some(why) = expected.refused {
        push().expect_error(78, &[why, ".hasync"]);
        return;
    }
    let lost = [expected.lost, &lacking(place), &unlinked(place, "links")].concat();
    if !lost.is_empty() {
        let words: Vec<String> = lost.iter().map(|w| format!("\"{w}\"")).collect();
        let line = format!("lossy = [{}]", words.join(", "));
        push().expect_error(78, &[&line, "html"]);
        for node in [Foo0, Foo1] {
            let path = pair.read(node, "hasync.toml");
            let path = path
                .lines()
                .find(|line| line.starts_with("path = "))
                .unwrap();
            pair.set(node, "path = ", &format!("{path}\n{line}"));
        }
    }
    let mut arrived = Vec::new();
    for version in [Version::First, Version::Second] {
        make(&trees, version, place.keeps);
        let done = push().expect(0);
        assert_arrived(&trees.path("source"), place, &done);
        arrived.push(kept(place));
        let again = push().expect(0);
        let said = again.stdout_text();
        assert_eq!(said.lines().count(), 1, "again: {again}");
        assert!(
            said.contains("unchanged") && again.stderr.is_empty(),
            "again: {again}"
        );
        assert_nothing_staged(place, &again);
    }
    for word in lost {
        let status = pair.run(Foo1, &["status", "html"]).expect(0);
        assert!(status.stdout_text().contains(word), "{status}");
    }
    place.remount();
    let undone = pair.run(Foo1, &["undo", "html"]).expect(0);
    let diff = arrived[0].diff(&kept(place));
    assert!(diff.is_empty(), "undone (before, after):\n{diff}{undone}");
    assert_nothing_staged(place, &undone);
    let path = ["undo", "html", "--path", "special/small"];
    let undone = pair.run(Foo1, &path).expect(0);
    let small = std::fs::read_to_string(place.root.join("special/small")).unwrap();
    assert_eq!(small, "small, and second", "{undone}");
    assert_nothing_staged(place, &undone);
}

/// Which of ACLs and extended attributes a place does not hold: it is tried, where a mirror would
/// make its entries. ntfs-3g holds some that it does not list, which no tool finds again.
fn lacking(place: &Place) -> Vec<&'static str> {
    let acl = acl::kernel(&[
        (acl::USER_OBJ, 6, acl::NOBODY),
        (acl::USER, 4, 1),
        (acl::GROUP_OBJ, 4, acl::NOBODY),
        (acl::MASK, 4, acl::NOBODY),
        (acl::OTHER, 0, acl::NOBODY),
    ]);
    let holds = |name: &str, value: &[u8]| {
        let dirs = [place.root.clone(), place.root.join("special")];
        dirs.iter().filter(|dir| dir.is_dir()).all(|dir| {
            let file = dir.join("asked");
            std::fs::write(&file, "").unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            let (mut got, mut names) = ([0; 64], [0; 256]);
            let held = rustix::fs::setxattr(&file, name, value, flags).is_ok()
                && rustix::fs::getxattr(&file, name, &mut got[..]) == Ok(value.len())
                && rustix::fs::listxattr(&file, &mut names[..]).is_ok_and(|len| {
                    names[..len]
                        .split(|b| *b == 0)
                        .any(|n| n == name.as_bytes())
                });
            std::fs::remove_file(file).unwrap();
            held
        })
    };
    let acls = (!holds(acl::ACCESS, &acl)).then_some("acls");
    let namespaces = ["user.x", "trusted.x", "security.x"];
    let xattrs = namespaces.iter().any(|name| !holds(name, b"x"));
    acls.into_iter().chain(xattrs.then_some("xattrs")).collect()
}

/// That word, if a place does not hold hard links, or does not tell them: it is tried.
fn unlinked<'a>(place: &Place, word: &'a str) -> Vec<&'a str> {
    let [one, other] = ["asked", "asked-again"].map(|name| place.root.join(name));
    std::fs::write(&one, "").unwrap();
    let number = |path| std::fs::metadata(path).unwrap().ino();
    let is_held = std::fs::hard_link(&one, &other).is_ok() && number(&one) == number(&other);
    for path in [one, other] {
        let _ = std::fs::remove_file(path);
    }
    (!is_held).then_some(word).into_iter().collect()
}

fn says_lost(done: &Finished, lost: &[&str]) {
    for word in lost {
        assert!(done.stderr.contains(word), "{word} is not said: {done}");
    }
}

/// The target as far as a push decides about it.
pub(super) fn kept(place: &Place) -> Snapshot {
    place.forget();
    let mut kept = seen(&place.root, place);
    let is_own = |path: &[u8]| path.split(|b| *b == b'/').any(|part| part == b".hasync");
    kept.entries.retain(|path, _| !is_own(path));
    kept
}

/// A tree as it would be there.
fn seen(root: &Path, place: &Place) -> Snapshot {
    let keeps = |path: &[u8]| -> Keeps {
        let is_special = path == b"special" || path.starts_with(b"special/");
        if is_special {
            place.special_keeps
        } else {
            place.keeps
        }
    };
    Snapshot::of(root).map(|path, entry| {
        let keeps = keeps(path);
        if !keeps.owners {
            (entry.uid, entry.gid) = (0, 0);
        }
        if !keeps.modes || entry.kind == 'l' {
            entry.mode = 0;
        }
        if !keeps.hard_links {
            entry.linked_to = None;
        }
        let step_secs = i64::try_from(keeps.step_ns / 1_000_000_000).unwrap();
        if step_secs > 0 {
            entry.mtime = (entry.mtime.0 / step_secs * step_secs, 0);
        } else {
            let step = u32::try_from(keeps.step_ns).unwrap();
            entry.mtime.1 = entry.mtime.1 / step * step;
        }
    })
}

#[track_caller]
fn assert_arrived(source: &Path, place: &Place, done: &Finished) {
    let diff = seen(source, place).diff(&kept(place));
    assert!(diff.is_empty(), "source and target differ:\n{diff}{done}");
}

/// Beside the data is what is kept of the tree, and nothing that is on its way.
fn assert_nothing_staged(place: &Place, done: &Finished) {
    let left: Vec<String> = Snapshot::of(&place.root).litter();
    let staged = |path: &&String| path.contains(".hasync/stage/");
    let staged: Vec<&String> = left.iter().filter(staged).collect();
    assert!(staged.is_empty(), "{staged:?} left behind: {done}");
}
