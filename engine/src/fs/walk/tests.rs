//! Spellings, owners, races and ends of walks.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{create_dir_all, write};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};

use super::*;

/// A uid that is neither root nor this test.
const OTHER: u32 = 54321;

/// `/T` with the directories `a/b` and `real/sub`, the file `file`, and symlinks.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Tree(tempfile::tempdir().unwrap());
        create_dir_all(tree.path("a/b")).unwrap();
        create_dir_all(tree.path("real/sub")).unwrap();
        write(tree.path("file"), b"content").unwrap();
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    fn foreign_link(&self, target: &str, name: &str) {
        self.link(target, name);
        lchown(self.path(name), Some(OTHER), None).unwrap();
    }

    /// The inode of what a path below `/T`, taken as text, leads to.
    fn walk(&self, path: &str, follow: Follow) -> Result<u64, PathError> {
        let text = format!("{}/{path}", self.0.path().display());
        let fd = open_dir(Path::new(&text), follow)?;
        Ok(fstat(fd).unwrap().st_ino)
    }

    fn inode(&self, path: &str) -> u64 {
        self.path(path).metadata().unwrap().ino()
    }
}

/// Whether the tests about owners can run.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn spellings_lead_to_the_same_directory() {
    let tree = Tree::new();
    tree.link("real", "link");
    tree.link("link/", "chain");
    tree.link(tree.path("chain").to_str().unwrap(), "absolute");
    tree.link("../a/../chain/.", "a/up");
    for path in [
        "real",
        "real/",
        "real/.",
        "./real//",
        "real/sub/..",
        "a/../real",
        "link",
        "link/",
        "link/.",
        "link/sub/..",
        "chain",
        "chain/",
        "absolute/.",
        "a/up",
        "a/up/",
        "a/up/sub/../.",
    ] {
        for follow in [Follow::Trusted, Follow::Any] {
            assert_eq!(
                tree.walk(path, follow).unwrap(),
                tree.inode("real"),
                "{path}"
            );
        }
    }
}

#[test]
fn a_symlink_of_another_user_is_not_followed_wherever_it_is() {
    if !is_root() {
        return;
    }
    let tree = Tree::new();
    tree.foreign_link("real", "planted");
    tree.link("planted", "to_planted");
    tree.link("planted/sub", "through_planted");
    for path in [
        "planted",
        "planted/",
        "planted/.",
        "planted//./",
        "planted/sub",
        "planted/..",
        "a/../planted/",
        "to_planted",
        "to_planted/",
        "through_planted",
    ] {
        let e = tree.walk(path, Follow::Trusted).unwrap_err();
        let PathCause::Symlink { owner, target, .. } = &e.cause else {
            panic!("{path}: {e}");
        };
        assert_eq!(
            (*owner, target.as_path()),
            (OTHER, Path::new("real")),
            "{path}"
        );
        assert_eq!(e.path, tree.path("planted"), "{path}");
        assert!(
            e.to_string().contains("symlink to \"real\" of uid 54321"),
            "{e}"
        );
        assert!(tree.walk(path, Follow::Any).is_ok(), "{path}");
        assert!(hold(&tree.path(path)).unwrap_err().is_symlink(), "{path}");
    }
}

#[test]
fn a_hard_link_of_a_symlink_counts_only_where_nobody_else_may_write() {
    if !is_root() {
        return;
    }
    let tree = Tree::new();
    let relink = |name: &str| {
        std::fs::hard_link(tree.path("link"), tree.path(name)).unwrap();
    };
    tree.link("/", "link");
    relink("a/link");
    assert!(tree.walk("a/link/", Follow::Trusted).is_ok());
    chown(tree.path("a"), Some(OTHER), None).unwrap();
    let e = tree.walk("a/link/", Follow::Trusted).unwrap_err();
    assert!(e.is_symlink(), "{e}");
    // With one name alone, root made it there.
    std::fs::remove_file(tree.path("link")).unwrap();
    assert!(tree.walk("a/link/", Follow::Trusted).is_ok());
}

#[test]
fn loops_and_long_chains_end() {
    let tree = Tree::new();
    tree.link("loop", "loop");
    tree.link("two", "one");
    tree.link("one/", "two");
    tree.link("real", "link0");
    for n in 1..=LINKS_MAX {
        tree.link(&format!("link{}", n - 1), &format!("link{n}"));
    }
    let errno = |path: &str| match tree.walk(path, Follow::Any).unwrap_err().cause {
        PathCause::Io(e) => Errno::from_io_error(&e),
        _ => None,
    };
    for path in ["loop", "loop/x", "one/", &format!("link{LINKS_MAX}")] {
        assert_eq!(errno(path), Some(Errno::LOOP), "{path}");
    }
    assert!(
        tree.walk(&format!("link{}", LINKS_MAX - 1), Follow::Any)
            .is_ok()
    );
}

#[test]
fn what_is_missing_or_no_directory_is_found_by_its_name() {
    let tree = Tree::new();
    tree.link("real/new", "dangling");
    tree.link("no/where", "far");
    tree.link("../file", "a/to_file");
    for (path, dir, name, is_missing, is_symlink) in [
        ("new", "", "new", true, false),
        ("new/", "", "new", true, false),
        ("new/.", "", "new", true, false),
        ("a/b/new", "a/b", "new", true, false),
        ("dangling", "", "dangling", true, true),
        ("dangling/", "", "dangling", true, true),
        ("far", "", "far", true, true),
        ("file", "", "file", false, false),
        ("a/to_file", "a", "to_file", false, true),
    ] {
        let place = find_dir(&tree.path(path), Follow::Trusted, &mut |_| Ok(())).unwrap();
        let (spot, was_missing) = match place {
            Place::Missing(spot) => (spot, true),
            Place::Other(spot) => (spot, false),
            Place::Dir(_) => panic!("{path} is no directory"),
        };
        let stat = fstat(&spot.dir).unwrap();
        assert_eq!(stat.st_ino, tree.inode(dir), "{path}");
        assert_eq!(
            spot.dir_path,
            tree.path(dir).components().collect::<PathBuf>(),
            "{path}"
        );
        let found = (spot.name.as_slice(), was_missing, spot.is_symlink);
        assert_eq!(found, (name.as_bytes(), is_missing, is_symlink), "{path}");
    }
    for path in [
        "new/x",
        "file/x",
        "file/..",
        "a/to_file/x",
        "new/..",
        "dangling/x",
    ] {
        assert!(
            find_dir(&tree.path(path), Follow::Trusted, &mut |_| Ok(())).is_err(),
            "{path}"
        );
    }
}

#[test]
fn nothing_leads_out_from_beneath_a_held_directory() {
    let tree = Tree::new();
    tree.link("real", "link");
    let held = open_dir(tree.0.path(), Follow::Trusted).unwrap();
    let beneath = |path: &str| {
        let mut judge = |_: &Step<'_>| Ok(());
        find_dir_beneath(&held, Path::new("/served"), Path::new(path), &mut judge)
    };
    for path in ["", "a", "a/b/", "./real/sub"] {
        assert!(matches!(beneath(path), Ok(Place::Dir(_))), "{path}");
    }
    for path in ["..", "a/..", "a/../../x", "link", "link/", "link/sub"] {
        assert!(beneath(path).is_err(), "{path}");
    }
    let e = beneath("link/").unwrap_err();
    assert!(e.is_symlink() && e.path == Path::new("/served/link"), "{e}");
}

#[test]
fn no_link_beneath_a_target_leads_into_what_is_our_own() {
    let tree = Tree::new();
    create_dir_all(tree.path(".hasync/store")).unwrap();
    create_dir_all(tree.path("real/.HASYNC")).unwrap();
    let held = open_dir(tree.0.path(), Follow::Trusted).unwrap();
    tree.link(".hasync", "to_own");
    for (to, leads) in [
        ("real", true),
        ("a/../real/sub", true),
        (".hasync", false),
        (".hasync/", false),
        ("./.hasync/store", false),
        (".hasync/../real", false),
        ("a/../.hasync", false),
        ("real/.HASYNC", false),
        ("to_own", false),
        ("to_own/store", false),
    ] {
        tree.link(to, "link");
        let led = follow_from(&held, b"link", Follow::Beneath);
        assert_eq!(matches!(led, Ok(Led::Dir(_))), leads, "{to}: {led:?}");
        // It is there for whoever is not led by a peer.
        assert!(tree.walk("link", Follow::Trusted).is_ok(), "{to}");
        std::fs::remove_file(tree.path("link")).unwrap();
    }
}

#[test]
fn dot_dot_leads_back_and_nowhere_else() {
    let tree = Tree::new();
    let path = tree.path("a/b/../b");
    let from = tree.path("a/b");
    let to = tree.path("real/b");
    // The directory is moved as soon as the walk has come to it.
    let mut judge = |step: &Step<'_>| {
        if step.path == from && from.exists() {
            std::fs::rename(&from, &to).unwrap();
        }
        Ok(())
    };
    let e = Walk::new(&path, Follow::Trusted, &mut judge)
        .unwrap()
        .run()
        .err()
        .unwrap();
    assert!(e.to_string().contains("was moved"), "{e}");
}

#[test]
fn links_of_proc_lead_where_the_kernel_leads_them() {
    let tree = Tree::new();
    let held = open_dir(&tree.path("real"), Follow::Trusted).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&held);
    for (path, inode) in [
        (format!("/proc/self/fd/{fd}"), tree.inode("real")),
        (format!("/proc/self/fd/{fd}/sub/"), tree.inode("real/sub")),
        (format!("/proc/self/fd/{fd}/.."), tree.inode("")),
        (
            "/proc/self/root".to_owned(),
            Path::new("/").metadata().unwrap().ino(),
        ),
    ] {
        let found = open_dir(Path::new(&path), Follow::Trusted).unwrap();
        assert_eq!(fstat(found).unwrap().st_ino, inode, "{path}");
    }
    assert!(open_dir(Path::new("/proc/self/root"), Follow::Never).is_err());
    // As a shell hands over `<(command)`.
    let (read_end, write_end) = rustix::pipe::pipe().unwrap();
    rustix::io::write(write_end, b"from a pipe").unwrap();
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&read_end));
    let mut text = String::new();
    let opened = open_file(Path::new(&path), &mut |_| Ok(()));
    opened.unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "from a pipe");
}

#[test]
fn a_file_opens_only_if_every_step_is_approved() {
    let tree = Tree::new();
    tree.link("../file", "a/to_file");
    let open = |name: &str, objects_to: &str| {
        let mut judge = |step: &Step<'_>| {
            let refused = step.path == tree.path(objects_to);
            if refused {
                Err("is refused".to_owned())
            } else {
                Ok(())
            }
        };
        open_file(&tree.path(name), &mut judge).map(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        })
    };
    assert_eq!(open("file", "none").unwrap(), "content");
    assert_eq!(open("a/to_file", "none").unwrap(), "content");
    for step in ["a", "a/to_file", "file", ""] {
        let e = open("a/to_file", step).unwrap_err();
        assert!(e.to_string().ends_with("is refused"), "{step}: {e}");
    }
    assert!(open("none", "none").is_err());
    for name in ["file", "a/to_file", "a", ""] {
        let held = fstat(hold(&tree.path(name)).unwrap()).unwrap();
        assert_eq!(held.st_ino, tree.inode(name), "{name}");
    }
    let e = open("real", "none").unwrap_err();
    assert!(e.to_string().contains("directory"), "{e}");
}
