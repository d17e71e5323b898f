//! The state of a node against other users of the machine: modes, owners, what they plant, locks.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{Permissions, create_dir, metadata, set_permissions, write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// A uid that is neither root nor this test.
const OTHER: u32 = 54321;

const SOON: Duration = Duration::from_millis(200);

/// Whether the tests with other users can run.
fn is_root() -> bool {
    geteuid().is_root()
}

/// A directory that everybody may go through, as `/var/lib`.
fn top() -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    set_mode(top.path(), 0o755);
    top
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    metadata(path).unwrap().mode() & 0o777
}

fn take(dir: &StateDir, name: &str) -> Result<Attempt, Error> {
    dir.lock(name, Instant::now() + SOON)
}

/// Another user's process that holds `flock` on a file, until it is dropped.
struct Holder(Child);

impl Holder {
    /// `None` if that user is not let in.
    fn on(path: &Path) -> Option<Self> {
        let mut child = Command::new("setpriv")
            .args([format!("--reuid={OTHER}"), format!("--regid={OTHER}")])
            .args(["--clear-groups", "flock", "--exclusive", "--nonblock"])
            .arg(path)
            .args(["sh", "-c", "echo held; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = [0; 4];
        let held = child.stdout.as_mut().unwrap().read_exact(&mut said).is_ok();
        let holder = Holder(child);
        held.then_some(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn modes_are_private_whatever_they_were() {
    for before in [
        None,
        Some(0o755),
        Some(0o777),
        Some(0o1777),
        Some(0o750),
        Some(0o500),
    ] {
        let top = top();
        let path = top.path().join("state");
        if let Some(mode) = before {
            create_dir(&path).unwrap();
            create_dir(path.join("trees")).unwrap();
            set_mode(&path, mode);
            set_mode(&path.join("trees"), mode);
        }
        let dir = StateDir::open(&path).unwrap();
        dir.sub("trees").unwrap();
        drop(take(&dir, "cycle.lock").unwrap());
        dir.replace("memory.json", b"{}").unwrap();
        for (name, expected) in [
            ("", 0o700),
            ("trees", 0o700),
            ("cycle.lock", 0o600),
            ("memory.json", 0o600),
        ] {
            assert_eq!(mode(&path.join(name)), expected, "{before:?} {name}");
        }
    }
}

#[test]
fn missing_parents_are_made_and_are_not_private() {
    let top = top();
    let path = top.path().join("a/b/state");
    StateDir::open(&path).unwrap();
    assert_eq!(mode(&top.path().join("a/b")), 0o755);
    assert_eq!(mode(&path), 0o700);
    assert!(StateDir::look(&top.path().join("x/y")).unwrap().is_none());
    assert!(!top.path().join("x").exists());
}

#[test]
fn a_directory_that_others_have_a_hand_in_is_refused_by_name() {
    if !is_root() {
        return;
    }
    type Prepare = fn(&Path);
    let foreign: Prepare = |top| {
        create_dir(top.join("state")).unwrap();
        chown(top.join("state"), Some(OTHER), None).unwrap();
    };
    let foreign_parent: Prepare = |top| chown(top, Some(OTHER), None).unwrap();
    let writable_parent: Prepare = |top| set_mode(top, 0o777);
    let writable_by_group: Prepare = |top| {
        create_dir(top.join("state")).unwrap();
        set_mode(top, 0o775);
    };
    let foreign_link: Prepare = |top| {
        create_dir(top.join("real")).unwrap();
        symlink("real", top.join("state")).unwrap();
        lchown(top.join("state"), Some(OTHER), None).unwrap();
    };
    let link_to_foreign: Prepare = |top| {
        create_dir(top.join("real")).unwrap();
        chown(top.join("real"), Some(OTHER), None).unwrap();
        symlink("real", top.join("state")).unwrap();
    };
    let link_to_nothing: Prepare = |top| symlink("nothing", top.join("state")).unwrap();
    for (prepare, named) in [
        (foreign, "state\""),
        (foreign_parent, ""),
        (writable_parent, "can be written by others (mode 0777"),
        (writable_by_group, "chmod go-w"),
        (foreign_link, "state\" is a symlink to \"real\""),
        (link_to_foreign, "real\""),
        (link_to_nothing, "state\" is a symlink to nothing"),
    ] {
        let top = top();
        prepare(top.path());
        let refusal = StateDir::open(&top.path().join("state")).unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::Config, "{refusal}");
        assert!(refusal.message.contains(named), "{named:?} in {refusal}");
        assert!(!refusal.message.contains('\n'));
    }
}

#[test]
fn a_link_of_ones_own_and_a_sticky_directory_are_no_fault() {
    let top = top();
    create_dir(top.path().join("real")).unwrap();
    set_mode(&top.path().join("real"), 0o1777);
    symlink("real", top.path().join("link")).unwrap();
    StateDir::open(&top.path().join("link/state")).unwrap();
    assert_eq!(mode(&top.path().join("real/state")), 0o700);
}

#[test]
fn what_is_planted_for_a_lock_is_refused_by_name_and_never_waited_for() {
    let other = is_root().then_some(OTHER);
    type Plant = Box<dyn Fn(&Path)>;
    let plants: Vec<(Plant, &str)> = vec![
        (
            Box::new(|at| symlink("/etc/hostname", at).unwrap()),
            "symlink",
        ),
        (Box::new(|at| symlink("nothing", at).unwrap()), "symlink"),
        (
            Box::new(|at| {
                let mode = Mode::RUSR | Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, at, FileType::Fifo, mode, 0).unwrap();
            }),
            "not a regular file",
        ),
        (
            Box::new(|at| {
                write(at.with_extension("other"), "kept").unwrap();
                std::fs::hard_link(at.with_extension("other"), at).unwrap();
            }),
            "hard link",
        ),
        (
            Box::new(move |at| {
                write(at, "").unwrap();
                chown(at, other, None).unwrap();
            }),
            "belongs to uid 54321",
        ),
        (Box::new(|at| create_dir(at).unwrap()), "directory"),
        (Box::new(|at| drop(UnixListener::bind(at).unwrap())), "open"),
    ];
    for (plant, named) in plants {
        if named.contains("54321") && other.is_none() {
            continue;
        }
        let top = top();
        let dir = StateDir::open(top.path()).unwrap();
        plant(&top.path().join("cycle.lock"));
        let refusal = take(&dir, "cycle.lock").unwrap_err();
        assert!(refusal.message.contains(named), "{named:?} in {refusal}");
        assert!(refusal.message.contains("cycle.lock"), "{refusal}");
        assert!(dir.read("cycle.lock", 9).is_err(), "{named}");
        let kept = top.path().join("cycle.other");
        assert!(!kept.exists() || std::fs::read(kept).unwrap() == b"kept");
    }
}

#[test]
fn a_lock_that_another_user_could_take_keeps_nobody_out() {
    if !is_root() {
        return;
    }
    for (dir_mode, file_mode) in [
        (0o755, 0o644),
        (0o777, 0o666),
        (0o711, 0o604),
        (0o755, 0o640),
    ] {
        let top = top();
        let path = top.path().join("state");
        create_dir(&path).unwrap();
        let file = path.join("memory.lock");
        write(&file, "").unwrap();
        set_mode(&file, file_mode);
        set_mode(&path, dir_mode);
        let holder = Holder::on(&file);
        assert_eq!(holder.is_some(), file_mode & 0o004 != 0, "{file_mode:o}");
        let dir = StateDir::open(&path).unwrap();
        let lock = take(&dir, "memory.lock").unwrap();
        assert!(
            matches!(lock, Attempt::Taken(_)),
            "{dir_mode:o} {file_mode:o}"
        );
        assert!(Holder::on(&file).is_none(), "{dir_mode:o} {file_mode:o}");
        // Its own processes still keep each other out.
        assert!(matches!(
            take(&dir, "memory.lock").unwrap(),
            Attempt::Held(_)
        ));
    }
}

#[test]
fn a_lock_is_waited_for_until_its_deadline_and_is_that_of_the_name() {
    let top = top();
    let dir = StateDir::open(top.path()).unwrap();
    let Attempt::Taken(first) = take(&dir, "x").unwrap() else {
        panic!("nobody has it");
    };
    assert!(matches!(take(&dir, "x").unwrap(), Attempt::Held(_)));
    let path = top.path().to_owned();
    let waits = std::thread::spawn(move || {
        let dir = StateDir::open(&path).unwrap();
        dir.lock("x", Instant::now() + Duration::from_secs(60))
            .unwrap()
    });
    // Whoever comes first to a file that has lost its name does not have the lock.
    std::fs::remove_file(top.path().join("x")).unwrap();
    let Attempt::Taken(second) = waits.join().unwrap() else {
        panic!("the old file has no name");
    };
    assert!(dir.has("x", &second).unwrap() && !dir.has("x", &first).unwrap());
}

#[test]
fn what_others_could_have_written_is_not_read() {
    let top = top();
    let dir = StateDir::open(top.path()).unwrap();
    let path = top.path().join("memory.json");
    assert!(dir.read("memory.json", 9).unwrap().is_none());
    for (mode, is_read) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        dir.replace("memory.json", b"text").unwrap();
        set_mode(&path, mode);
        assert_eq!(dir.read("memory.json", 9).is_ok(), is_read, "{mode:o}");
    }
    dir.replace("memory.json", b"longer than that").unwrap();
    assert_eq!(dir.read("memory.json", 4).unwrap().unwrap(), b"long");
}
