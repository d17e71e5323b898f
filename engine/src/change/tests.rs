//! An entry that takes the name of another between the verdict and the change stays as it is: every
//! kind, at every stage. What changes rights of a directory keeps their order.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mkdirat, mknodat, renameat_with};

use super::*;
use crate::apply::create_file;
use crate::attributes::{AttributeKind, Attributes, Scope, extended_value};
use crate::fs::{Assigned, Attrs, Listed, Root, WhichDir, set_attrs};
use crate::options::Options;
use crate::path::RelPath;
use crate::source::stat_name;

const KINDS: [&str; 7] = [
    "file",
    "dir",
    "symlink",
    "fifo",
    "socket",
    "char device",
    "block device",
];

fn make(path: &Path, kind: &str) {
    let node = |file_type, device| mknodat(CWD, path, file_type, Mode::RUSR, device).unwrap();
    match kind {
        "file" => fs::write(path, "content").unwrap(),
        "dir" => fs::create_dir(path).unwrap(),
        "symlink" => symlink("nowhere", path).unwrap(),
        "fifo" => node(FileType::Fifo, 0),
        "socket" => node(FileType::Socket, 0),
        "char device" => node(FileType::CharacterDevice, makedev(1, 3)),
        _ => node(FileType::BlockDevice, makedev(7, 4095)),
    }
    if kind != "symlink" {
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
}

/// Everything about an inode that a push may change.
fn seen(path: &Path) -> (u64, u32, u32, u32, i64, Attributes) {
    let found = fs::symlink_metadata(path).unwrap();
    let (uid, gid) = (found.uid(), found.gid());
    let dir = fs::File::open(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap().as_encoded_bytes();
    let listed = stat_name(&dir, name, Scope::ALL).unwrap();
    let attributes = listed.entry.attributes;
    (
        found.ino(),
        uid,
        gid,
        found.mode(),
        found.mtime(),
        attributes,
    )
}

/// An ACL, and of extended attributes what each type can have.
fn some_attributes() -> Attributes {
    Attributes::of(vec![
        (AttributeKind::AccessAcl, vec![5, 0, 6, 1, 0, 0, 0]),
        (
            AttributeKind::Extended,
            extended_value(b"trusted.x", b"new"),
        ),
    ])
    .unwrap()
}

struct Scene {
    temp: tempfile::TempDir,
    root: Arc<Root>,
    top: RelPath,
}

impl Scene {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(temp.path()).unwrap());
        Scene {
            temp,
            root,
            top: RelPath::root(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join(name)
    }

    fn commit(&self, atomic: bool) -> Commit {
        let options = Options {
            atomic,
            fsync: false,
            ..Options::archive()
        };
        Commit::new(Arc::clone(&self.root), &options)
    }

    fn carry_out(&self, commit: &mut Commit, atomic: bool) {
        if !atomic {
            commit.finish().unwrap();
            return;
        }
        let changes = commit.seal().unwrap();
        let mut roll = Roll::open(&self.root, &changes.sessions).unwrap();
        roll.forward(&changes.ops, false, OnFailure::GoOn).unwrap();
    }

    fn listed(&self, name: &str) -> Listed {
        stat_name(&*self.root, name.as_bytes(), Scope::ALL).unwrap()
    }

    fn assign(&self, name: &str, all: &Attributes) {
        let attrs = Attrs {
            attributes: Assigned::new(Scope::ALL, all),
            ..Attrs::default()
        };
        let name = std::ffi::CString::new(name).unwrap();
        set_attrs(&*self.root, &name, None, &attrs).unwrap();
    }

    fn swap(&self) {
        let (x, other) = (self.path("x"), self.path("other"));
        renameat_with(CWD, x, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }
}

/// When the other entry takes the name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Judged,
    Added,
    Sealed,
    /// Nobody takes it.
    Never,
}

#[test]
fn what_takes_a_name_between_verdict_and_change_stays_as_it_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let attrs = Attrs {
        uid: Some(7),
        gid: Some(8),
        mode: Some(0o4755),
        mtime: Some(crate::entry::Time { secs: 9, nanos: 0 }),
        atime: Some(crate::entry::Time { secs: 8, nanos: 1 }),
        attributes: Assigned::new(Scope::ALL, &some_attributes()),
    };
    for kind in KINDS {
        for other in KINDS {
            for atomic in [false, true] {
                for stage in [Stage::Judged, Stage::Added, Stage::Sealed, Stage::Never] {
                    if stage == Stage::Sealed && !atomic {
                        continue;
                    }
                    let case = format!("{kind}, then {other}, {stage:?}, atomic {atomic}");
                    let scene = Scene::new();
                    make(&scene.path("x"), kind);
                    make(&scene.path("other"), other);
                    let old = Attributes::of(vec![(
                        AttributeKind::Extended,
                        extended_value(b"trusted.old", b"old"),
                    )]);
                    scene.assign("x", &old.unwrap());
                    let before = [seen(&scene.path("x")), seen(&scene.path("other"))];
                    let mut commit = scene.commit(atomic);
                    let listed = scene.listed("x");
                    let swap_at = |at| (at == stage).then(|| scene.swap());
                    swap_at(Stage::Judged);
                    commit
                        .set_attrs(&scene.top, &listed, attrs.clone())
                        .unwrap();
                    swap_at(Stage::Added);
                    let mut way_back = None;
                    let failed = if atomic {
                        let changes = commit.seal().unwrap();
                        swap_at(Stage::Sealed);
                        let mut roll = Roll::open(&scene.root, &changes.sessions).unwrap();
                        let failed = roll.forward(&changes.ops, false, OnFailure::GoOn);
                        way_back = Some((roll, reversed(&changes.ops).unwrap()));
                        failed.unwrap().len()
                    } else {
                        commit.finish().unwrap();
                        0
                    };
                    let told = failed + commit.take_warnings().unwrap().len();
                    let now = [seen(&scene.path("x")), seen(&scene.path("other"))];
                    if stage == Stage::Never {
                        assert_eq!((now[0].1, now[0].2, now[0].4), (7, 8, 9), "{case}");
                        let scope = Scope::ALL.of_type(listed.entry.body.file_type());
                        assert_eq!(now[0].5, some_attributes().within(scope), "{case}");
                        assert_eq!((&now[1], told), (&before[1], 0), "{case}");
                        if let Some((mut roll, ops)) = way_back {
                            let failed = roll.forward(&ops, false, OnFailure::GoOn).unwrap();
                            assert_eq!(
                                (failed.len(), seen(&scene.path("x"))),
                                (0, before[0].clone())
                            );
                        }
                    } else {
                        let [x, other] = now;
                        assert_eq!([other, x], before, "{case}");
                        // A directory's end is not reached where it is none any more.
                        assert!(told > 0 || kind == "dir", "{case}");
                    }
                }
            }
        }
    }
}

/// Another inode of the same kind and owner, and the same inode under another owner.
#[test]
fn what_was_given_away_meanwhile_stays_as_it_is() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for kind in KINDS {
        let scene = Scene::new();
        make(&scene.path("x"), kind);
        let mut commit = scene.commit(false);
        let listed = scene.listed("x");
        lchown(scene.path("x"), Some(4242), Some(4242)).unwrap();
        let before = seen(&scene.path("x"));
        let attrs = Attrs {
            mode: Some(0o4755),
            uid: Some(0),
            ..Attrs::default()
        };
        commit.set_attrs(&scene.top, &listed, attrs).unwrap();
        commit.finish().unwrap();
        assert_eq!(commit.take_warnings().unwrap().len(), 1, "{kind}");
        assert_eq!(seen(&scene.path("x")), before, "{kind}");
    }
}

#[test]
fn a_link_leads_to_the_inode_that_was_judged() {
    for atomic in [false, true] {
        for swapped in [false, true] {
            let scene = Scene::new();
            fs::write(scene.path("x"), "judged").unwrap();
            fs::write(scene.path("other"), "another").unwrap();
            let judged = JudgedFirst {
                number: Some(seen(&scene.path("x")).0),
                file_type: FileType::RegularFile,
                uid: None,
            };
            if swapped {
                scene.swap();
            }
            let mut commit = scene.commit(atomic);
            let link = Link {
                first: scene.top.join(b"x"),
                judged,
                dir: scene.top.clone(),
                name: b"link".to_vec(),
                over: Over::default(),
            };
            commit.link(link).unwrap();
            scene.carry_out(&mut commit, atomic);
            assert_eq!(commit.take_warnings().unwrap().len(), usize::from(swapped));
            assert_eq!(scene.path("link").exists(), !swapped, "atomic {atomic}");
        }
    }
}

/// Another group takes its permissions away until the end, and no longer.
#[test]
fn a_directory_that_only_changes_its_group_keeps_its_mode() {
    for atomic in [false, true] {
        let scene = Scene::new();
        fs::create_dir(scene.path("d")).unwrap();
        fs::set_permissions(scene.path("d"), Permissions::from_mode(0o2775)).unwrap();
        let group = Attrs {
            gid: Some(7),
            ..Attrs::default()
        };
        let mut commit = scene.commit(atomic);
        commit
            .set_attrs(&scene.top, &scene.listed("d"), group)
            .unwrap();
        scene.carry_out(&mut commit, atomic);
        let found = fs::metadata(scene.path("d")).unwrap();
        assert_eq!(
            (found.gid(), found.mode() & 0o7777),
            (7, 0o2775),
            "atomic {atomic}"
        );
    }
}

/// The target itself is closed before anything arrives in it.
#[test]
fn the_root_is_closed_first_too() {
    let scene = Scene::new();
    fs::set_permissions(scene.path(""), Permissions::from_mode(0o755)).unwrap();
    let mut commit = scene.commit(false);
    let closed = Attrs {
        mode: Some(0o700),
        ..Attrs::default()
    };
    commit.set_root_attrs(closed).unwrap();
    assert_eq!(seen(&scene.path("")).3 & 0o777, 0o700);
    commit.finish().unwrap();
    assert_eq!(seen(&scene.path("")).3 & 0o777, 0o700);
}

/// What is in a directory is restricted before it is opened, and the other way round.
#[test]
fn a_directory_is_opened_last_and_closed_first() {
    let mode = |mode| Attrs {
        mode: Some(mode),
        ..Attrs::default()
    };
    for (dir_from, dir_to) in [(0o700, 0o755), (0o755, 0o700)] {
        let scene = Scene::new();
        fs::create_dir(scene.path("d")).unwrap();
        fs::set_permissions(scene.path("d"), Permissions::from_mode(dir_from)).unwrap();
        fs::write(scene.path("d/file"), "").unwrap();
        let mut commit = scene.commit(false);
        let dir = scene.listed("d");
        commit.set_attrs(&scene.top, &dir, mode(dir_to)).unwrap();
        commit.run().unwrap();
        // While everything else is changed.
        assert_eq!(seen(&scene.path("d")).3 & 0o777, 0o700);
        commit.finish().unwrap();
        assert_eq!(seen(&scene.path("d")).3 & 0o777, dir_to);
        // A list that is led back keeps that order too.
        let mut commit = scene.commit(true);
        let dir = scene.listed("d");
        commit.set_attrs(&scene.top, &dir, mode(dir_from)).unwrap();
        let changes = commit.seal().unwrap();
        let mut roll = Roll::open(&scene.root, &changes.sessions).unwrap();
        roll.forward(&changes.ops, false, OnFailure::GoOn).unwrap();
        assert_eq!(seen(&scene.path("d")).3 & 0o777, dir_from);
        roll.forward(&reversed(&changes.ops).unwrap(), false, OnFailure::GoOn)
            .unwrap();
        assert_eq!(seen(&scene.path("d")).3 & 0o777, dir_to);
    }
}

/// What is there, with everything in it.
fn all(path: &Path) -> Vec<(PathBuf, u64)> {
    let walk = walkdir::WalkDir::new(path).follow_root_links(false);
    let entries = walk.sort_by_file_name().into_iter();
    let found = |entry: walkdir::Result<walkdir::DirEntry>| {
        let entry = entry.unwrap();
        let below = entry.path().strip_prefix(path).unwrap().to_owned();
        (below, entry.metadata().unwrap().ino())
    };
    entries.map(found).collect()
}

/// A directory goes with everything that is in it: nothing else does that took its name, neither
/// where nothing comes in its place nor where something does.
#[test]
fn what_took_the_name_of_a_doomed_directory_stays() {
    for instead in [None, Some("file"), Some("dir")] {
        // What is no directory is replaced like any other.
        let others = if instead.is_some() {
            &["dir"][..]
        } else {
            &KINDS
        };
        for other in others {
            for (stage, atomic) in [
                (Stage::Added, false),
                (Stage::Added, true),
                (Stage::Sealed, true),
                (Stage::Never, false),
                (Stage::Never, true),
            ] {
                let case = format!("{other}, {stage:?}, atomic {atomic}, {instead:?} instead");
                let scene = Scene::new();
                for (name, kind) in [("x", "dir"), ("other", *other)] {
                    make(&scene.path(name), kind);
                    if kind == "dir" {
                        fs::write(scene.path(name).join("inside"), name).unwrap();
                    }
                }
                let tree = Tree::Only(scene.listed("x").which_dir());
                let before = [all(&scene.path("other")), all(&scene.path("x"))];
                let mut commit = scene.commit(atomic);
                let (top, x) = (scene.top.clone(), b"x".to_vec());
                match instead {
                    None => commit.remove((top, None), x, tree).unwrap(),
                    Some(kind) => {
                        let staged = commit.stage_for(&top).unwrap();
                        let (stage, name) = (&*staged.stage, &*staged.name);
                        match kind {
                            "dir" => mkdirat(stage, name, Mode::RWXU).unwrap(),
                            _ => drop(create_file(stage, name, 0o600).unwrap()),
                        }
                        let over = Over { tree, len: 0 };
                        commit.place(&staged, top, x, over).unwrap();
                    }
                }
                if stage == Stage::Added {
                    scene.swap();
                }
                let failed = if atomic {
                    let changes = commit.seal().unwrap();
                    if stage == Stage::Sealed {
                        scene.swap();
                    }
                    let mut roll = Roll::open(&scene.root, &changes.sessions).unwrap();
                    let failed = roll.forward(&changes.ops, false, OnFailure::GoOn);
                    failed.unwrap().len()
                } else {
                    commit.finish().unwrap();
                    0
                };
                let told = failed + commit.take_warnings().unwrap().len();
                if stage == Stage::Never {
                    assert_eq!((all(&scene.path("other")), told), (before[0].clone(), 0));
                    assert!(!scene.path("x/inside").exists(), "{case}");
                    continue;
                }
                let now = [all(&scene.path("x")), all(&scene.path("other"))];
                assert_eq!(now, before, "{case}");
                // Once a list is sealed, what is elsewhere may have been moved by it before.
                let may_be_done = stage == Stage::Sealed && instead.is_none();
                assert!(told == 1 || may_be_done, "{case}: {told}");
            }
        }
    }
}

/// A directory that took the name of what was to be removed was not meant.
#[test]
fn a_directory_in_the_place_of_a_doomed_file_stays() {
    for make in [
        |at: PathBuf| fs::write(at.join("of-others"), "").unwrap(),
        |at: PathBuf| fs::create_dir(at.join("of-others")).unwrap(),
        |_| {},
    ] {
        for atomic in [false, true] {
            let scene = Scene::new();
            fs::create_dir(scene.path("doomed")).unwrap();
            make(scene.path("doomed"));
            let mut commit = scene.commit(atomic);
            let (top, name) = (scene.top.clone(), b"doomed".to_vec());
            commit.remove((top, None), name, Tree::None).unwrap();
            scene.carry_out(&mut commit, atomic);
            assert!(scene.path("doomed").is_dir(), "atomic {atomic}");
            assert_eq!(commit.take_warnings().unwrap().len(), 1, "atomic {atomic}");
        }
    }
}

/// Nothing goes but from the directory in which it was judged, whatever has its name meanwhile.
#[test]
fn a_file_goes_only_from_where_it_was_judged() {
    for atomic in [false, true] {
        for stage in [Stage::Judged, Stage::Added, Stage::Sealed, Stage::Never] {
            if stage == Stage::Sealed && !atomic {
                continue;
            }
            let scene = Scene::new();
            for dir in ["x", "other"] {
                fs::create_dir(scene.path(dir)).unwrap();
                fs::write(scene.path(dir).join("doomed"), dir).unwrap();
            }
            let x = scene.top.join(b"x");
            let within = WhichDir::of(scene.root.open_dir(&x).unwrap()).unwrap();
            let swap_at = |at| (at == stage).then(|| scene.swap());
            let mut commit = scene.commit(atomic);
            swap_at(Stage::Judged);
            let name = b"doomed".to_vec();
            commit.remove((x, Some(within)), name, Tree::None).unwrap();
            swap_at(Stage::Added);
            if atomic {
                let changes = commit.seal().unwrap();
                swap_at(Stage::Sealed);
                let mut roll = Roll::open(&scene.root, &changes.sessions).unwrap();
                let failed = roll.forward(&changes.ops, false, OnFailure::GoOn);
                // The time of the directory, which is another one.
                let is_other = stage == Stage::Sealed;
                assert_eq!(failed.unwrap().len(), usize::from(is_other));
            } else {
                commit.finish().unwrap();
            }
            let told = commit.take_warnings().unwrap().len();
            let is_there = |dir: &str| scene.path(dir).join("doomed").exists();
            let (goes, case) = (stage == Stage::Never, format!("{stage:?}, atomic {atomic}"));
            assert_eq!([is_there("x"), is_there("other")], [!goes, true], "{case}");
            let is_told = matches!(stage, Stage::Judged | Stage::Added);
            assert_eq!(told, usize::from(is_told), "{case}");
        }
    }
}
