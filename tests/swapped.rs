//! A local user exchanges entries in a directory of his while root pushes there: one that is to get
//! other metadata, or to be replaced, for one of root's that nothing of the push is about. That one
//! keeps its owner, its permissions, its ACLs and attributes and its content, and what he wrote
//! never becomes root's.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, fstat, openat};

use crate::support::acl::{
    ACCESS, DEFAULT, GROUP_OBJ, MASK, NOBODY, OTHER, USER, USER_OBJ, kernel,
};
use crate::support::local_user::{Flipper, LOCAL_USER, home_of_local_user};
use crate::support::mounted::Mounted;
use crate::support::temptree::make_node;
use crate::support::{Finished, Hasync, TempTree, need_root, report, soak};

/// What stands for a moment where something else was judged. No mirror would make of it what the
/// source has but by replacing it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    SetuidRoot,
    RootOnly,
    /// Written by the local user.
    His,
    Dir,
    Symlink,
    Fifo,
}

const KINDS: [Kind; 6] = [
    Kind::SetuidRoot,
    Kind::RootOnly,
    Kind::His,
    Kind::Dir,
    Kind::Symlink,
    Kind::Fifo,
];

impl Kind {
    fn make(self, path: &Path) {
        match self {
            Kind::SetuidRoot | Kind::RootOnly | Kind::His => {
                fs::write(path, format!("{self:?}")).unwrap();
            }
            Kind::Dir => {
                fs::create_dir(path).unwrap();
                fs::write(path.join("secret"), "of root").unwrap();
            }
            Kind::Symlink => symlink("/etc/shadow", path).unwrap(),
            Kind::Fifo => make_node(path, FileType::Fifo, 0, 0),
        }
        let mode = match self {
            Kind::SetuidRoot => 0o4755,
            Kind::RootOnly | Kind::Fifo => 0o600,
            Kind::His => 0o666,
            Kind::Dir => 0o700,
            Kind::Symlink => return give(path, "trusted.of-root", b"secret"),
        };
        if let Kind::His = self {
            chown(path, Some(LOCAL_USER), Some(LOCAL_USER)).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        give(path, ACCESS, &naming(1, 7));
        if let Kind::Dir = self {
            give(path, DEFAULT, &naming(1, 7));
        }
        give(path, "trusted.of-root", b"secret");
    }
}

fn give(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// An ACL that names a user.
fn naming(id: u32, perms: u16) -> Vec<u8> {
    kernel(&[
        (USER_OBJ, 7, NOBODY),
        (USER, perms, id),
        (GROUP_OBJ, 0, NOBODY),
        (MASK, 0, NOBODY),
        (OTHER, 0, NOBODY),
    ])
}

fn hold(path: &Path) -> OwnedFd {
    openat(
        CWD,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap()
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// All of what is held that a push could change.
fn facts(held: &OwnedFd) -> ([i64; 5], Attributes) {
    let stat = fstat(held).unwrap();
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let mut names = [0; 1024];
    let len = rustix::fs::listxattr(&*path, &mut names[..]).unwrap();
    let names = names[..len].split(|byte| *byte == 0);
    let with_value = |name: &[u8]| {
        let mut value = [0; 1024];
        let len = rustix::fs::getxattr(&*path, name, &mut value[..]).unwrap();
        (name.to_vec(), value[..len].to_vec())
    };
    let attributes = names.filter(|name| !name.is_empty()).map(with_value);
    let ids = [stat.st_uid, stat.st_gid, stat.st_mode].map(i64::from);
    let [uid, gid, mode] = ids;
    let all = [uid, gid, mode, stat.st_size, stat.st_mtime];
    (all, attributes.collect())
}

/// What the mirror has where the swaps are.
#[derive(Clone, Copy, Debug)]
enum Form {
    File,
    Dir,
}

impl Form {
    fn make(self, path: &Path) {
        match self {
            Form::File => fs::write(path, "of the mirror").unwrap(),
            Form::Dir => fs::create_dir(path).unwrap(),
        }
        // What the push is to take away.
        give(path, ACCESS, &naming(2, 7));
        give(path, "user.of-the-mirror", b"old");
    }
}

/// The user's directory, and a source that has other metadata, and other content, each time.
struct Scene {
    trees: TempTree,
    round: u32,
}

impl Scene {
    fn new() -> Self {
        need_root();
        let trees = TempTree::within(Path::new("/tmp"));
        trees.mkdir("source/home");
        home_of_local_user(&trees, "target/home");
        trees.chown("source/home", LOCAL_USER, LOCAL_USER);
        trees.write("target/home/x", "of the mirror");
        Scene { trees, round: 0 }
    }

    fn x(&self) -> PathBuf {
        self.trees.path("target/home/x")
    }

    /// Beside it: what is root's cannot be moved to another directory, if it is one.
    fn aside(&self) -> PathBuf {
        self.trees.path("target/home/y")
    }

    /// Another one for a name, which is never absent.
    fn put(&self, make: impl FnOnce(&Path), at: &Path) -> OwnedFd {
        let new = self.trees.path("target/new");
        make(&new);
        let held = hold(&new);
        // What was there a moment ago may have been exchanged for the other.
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(CWD, &new, CWD, at, flags).unwrap();
        let _ = fs::remove_file(&new).or_else(|_| fs::remove_dir_all(&new));
        held
    }

    fn push(&mut self, form: Form, more: &[&str]) -> Finished {
        self.round += 1;
        let (x, even) = ("source/home/x", self.round.is_multiple_of(2));
        let _ = fs::remove_file(self.trees.path(x));
        let _ = fs::remove_dir(self.trees.path(x));
        form.make(&self.trees.path(x));
        if self.round.is_multiple_of(3) && matches!(form, Form::File) {
            self.trees
                .write(x, format!("of the mirror, round {}", self.round));
        }
        let owner = if even { 0 } else { LOCAL_USER };
        self.trees.chown(x, owner, owner);
        self.trees.chmod(x, if even { 0o4755 } else { 0o644 });
        give(&self.trees.path(x), ACCESS, &naming(LOCAL_USER, 7));
        give(&self.trees.path(x), "trusted.given", &[self.round as u8]);
        if let Form::Dir = form {
            give(&self.trees.path(x), DEFAULT, &naming(LOCAL_USER, 7));
        }
        let to = [self.trees.contents_of("source"), self.trees.text("target")];
        Hasync::push(&["-aAX"]).args(more).args(to).run()
    }
}

#[test]
fn what_was_not_judged_stays_as_it_is() {
    let time = Duration::from_secs(if soak() { 30 } else { 5 });
    let mut scene = Scene::new();
    let (mut pushes, mut clean) = (0, 0);
    File::create(scene.aside()).unwrap();
    let flipper = Flipper::start(&scene.x(), &scene.aside());
    let began = Instant::now();
    while began.elapsed() < time {
        for (at, kind) in KINDS.into_iter().enumerate() {
            for more in [&["--no-fsync"][..], &["--atomic"]] {
                // A directory in the place of one is mirrored as it is.
                let form = match (kind, (at + pushes / 12) % 2) {
                    (Kind::Dir, _) | (_, 0) => Form::File,
                    _ => Form::Dir,
                };
                let _mirrored = scene.put(|path| form.make(path), &scene.x());
                let victim = scene.put(|path| kind.make(path), &scene.aside());
                let before = facts(&victim);
                let done = scene.push(form, more);
                let after = facts(&victim);
                assert_eq!(before, after, "{kind:?} {form:?} {more:?}\n{done}");
                assert!(matches!(done.code, 0 | 23 | 24 | 11), "{done}");
                pushes += 1;
                clean += usize::from(done.code == 0);
            }
        }
    }
    let flips = flipper.stop();
    report(&format!(
        "entries swapped under a push: {flips} flips in {} s, {pushes} pushes, {clean} clean",
        time.as_secs()
    ));
    assert!(flips > 1000 && pushes >= 12, "{flips} {pushes}");
}

/// Beside the directory that is mirrored is one of root's, which is not. They change places, and
/// have one name in common.
#[test]
fn nothing_goes_from_a_directory_that_was_not_judged() {
    need_root();
    let time = Duration::from_secs(if soak() { 30 } else { 3 });
    let trees = TempTree::within(Path::new("/tmp"));
    trees.mkdir("source/home/x");
    trees.chown("source/home", LOCAL_USER, LOCAL_USER);
    home_of_local_user(&trees, "target/home");
    home_of_local_user(&trees, "target/home/x");
    trees.mkdir("target/home/roots");
    let [x, roots] = ["x", "roots"].map(|name| trees.path(format!("target/home/{name}")));
    let held = [(hold(&x), "his"), (hold(&roots), "of-root")];
    let in_dir = |dir: &OwnedFd, name: &str| format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    let flipper = Flipper::start(&x, &roots);
    let (began, mut pushes, mut refused) = (Instant::now(), 0, 0);
    while began.elapsed() < time {
        for more in [&["--no-fsync"][..], &["--atomic"]] {
            for (dir, own) in &held {
                for name in ["a-in-both", own] {
                    fs::write(in_dir(dir, name), "doomed").unwrap();
                }
            }
            let to = [trees.contents_of("source"), trees.text("target")];
            let all = ["-a", "--delete", "--exclude=/home/roots"];
            let done = Hasync::push(&all).args(more).args(to).run();
            assert!(matches!(done.code, 0 | 23), "{done}");
            let is_whole = !done.stderr.contains("cannot remove");
            for (dir, own) in held.iter().filter(|_| is_whole) {
                // It goes last: with all that was judged beside it, or not at all.
                let [both, own] =
                    ["a-in-both", own].map(|name| Path::new(&in_dir(dir, name)).exists());
                assert!(both || !own, "{more:?} took what was not judged\n{done}");
            }
            (pushes, refused) = (pushes + 1, refused + usize::from(done.code == 23));
        }
    }
    let flips = flipper.stop();
    report(&format!(
        "directories swapped under removals: {flips} flips, {pushes} pushes, {refused} refused"
    ));
    assert!(flips > 1000 && refused > 0, "{flips} {pushes} {refused}");
}

/// The directory that holds what is staged on another mount belongs to him: he can give its
/// `.hasync` another name, or put a directory of his there.
#[test]
fn a_renamed_staging_directory_gives_nothing_else() {
    need_root();
    let time = Duration::from_secs(if soak() { 30 } else { 3 });
    let trees = TempTree::within(Path::new("/tmp"));
    let mounted = Mounted::at(trees.path("target/home"));
    let chown_home = || chown(mounted.path(), Some(LOCAL_USER), Some(LOCAL_USER)).unwrap();
    chown_home();
    home_of_local_user(&trees, "target/home/his");
    for dir in ["stage", "stage/0123456789abcdef"] {
        home_of_local_user(&trees, &format!("target/home/his/{dir}"));
    }
    trees.write("target/home/his/evil", "his");
    trees.chown("target/home/his/evil", LOCAL_USER, LOCAL_USER);
    let flipper = Flipper::start_lurking(
        &trees.path("target/home/.hasync"),
        &trees.path("target/home/his"),
    );
    let began = Instant::now();
    let (mut round, mut clean) = (0, 0);
    while began.elapsed() < time {
        for more in [&["--no-fsync"][..], &["--atomic"]] {
            round += 1;
            for n in 0..20 {
                trees.write(format!("source/home/{n}"), format!("{n} of round {round}"));
                trees.chown(format!("source/home/{n}"), 0, 0);
            }
            trees.chown("source/home", LOCAL_USER, LOCAL_USER);
            let to = [trees.contents_of("source"), trees.text("target")];
            let done = Hasync::push(&["-a"]).args(more).args(to).run();
            assert!(!done.stderr.contains("panicked"), "{done}");
            clean += usize::from(done.code == 0);
            for n in 0..20 {
                // Whole, of some round, and root's; or not there yet.
                let path = trees.path(format!("target/home/{n}"));
                let Ok(text) = fs::read_to_string(&path) else {
                    continue;
                };
                assert!(text.starts_with(&format!("{n} of round ")), "{text} {done}");
                assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{done}");
            }
            let evil = ["target/home/his/evil", "target/home/.hasync/evil"];
            let evil = evil
                .iter()
                .find_map(|name| fs::metadata(trees.path(name)).ok());
            let uid = evil.map(|found| found.uid());
            assert!(uid.is_none_or(|uid| uid == LOCAL_USER), "{done}");
        }
    }
    let flips = flipper.stop();
    report(&format!(
        "staging renamed under a push: {flips} flips, {round} pushes, {clean} clean"
    ));
    assert!(flips > 10, "{flips}");
}
