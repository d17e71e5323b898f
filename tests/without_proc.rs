//! Where `/proc` is missing or of no use, a push does what it does elsewhere.

use std::os::unix::fs::PermissionsExt;

use crate::support::hasync::{FakeRsh, Reachable};
use crate::support::mountns::{NOBODY, WITHOUT_PROC, with_proc_after, without_proc};
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root};

/// The kinds of entry, each with the mode that the push must bring about, and the mode that the
/// target's copy has before; devices and what only root can read are root's alone.
const ENTRIES: [(&str, u32, u32, bool); 13] = [
    ("file", 0o644, 0o600, false),
    ("unreadable there", 0o640, 0o000, false),
    ("write-only there", 0o640, 0o200, false),
    ("setuid", 0o4755, 0o755, false),
    ("dir", 0o750, 0o700, false),
    ("sticky dir", 0o1777, 0o755, false),
    ("fifo", 0o622, 0o600, false),
    ("socket", 0o666, 0o600, false),
    ("link", 0o777, 0o777, false),
    ("shut dir", 0o700, 0o000, true),
    ("nothing", 0o000, 0o644, true),
    ("char device", 0o620, 0o600, true),
    ("block device", 0o640, 0o660, true),
];

fn make(trees: &TempTree, path: &str, kind: &str, mode: u32) {
    match kind {
        "dir" | "sticky dir" | "shut dir" => drop(trees.mkdir(path)),
        "fifo" => trees.fifo(path),
        "socket" => trees.socket(path),
        "link" => return trees.symlink("file", path),
        "char device" => trees.char_device(path, 1, 3),
        "block device" => trees.block_device(path, 7, 200),
        _ => trees.write(path, kind),
    }
    trees.chmod(path, mode);
}

/// A source, and a target with all of it under other modes.
fn tree(for_root: bool) -> TempTree {
    let trees = TempTree::new();
    for side in ["src", "old"] {
        trees.mkdir(side);
        for (name, new, old, roots_alone) in ENTRIES {
            if for_root || !roots_alone {
                let mode = if side == "src" { new } else { old };
                let path = format!("{side}/{name}");
                make(&trees, &path, name, mode);
                if !for_root {
                    trees.chown(&path, 65534, 65534);
                    if name == "setuid" {
                        trees.chmod(&path, mode);
                    }
                }
                trees.mtime(&path, 1_000_000_000, 0);
            }
        }
        trees.mtime(side, 1_000_000_000, 0);
    }
    trees.chown("old", if for_root { 0 } else { 65534 }, 0);
    trees.chmod(".", 0o755);
    trees.chown(".", if for_root { 0 } else { 65534 }, 0);
    trees
}

/// Pushes onto the old target and into a new one; gives both as they are then.
fn pushed(launcher: &[String], by: Option<&Reachable>) -> [Snapshot; 2] {
    let trees = tree(by.is_none());
    let user: &[&str] = if by.is_some() { &NOBODY } else { &[] };
    let launcher = [
        launcher,
        &user.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(),
    ]
    .concat();
    ["old", "new"].map(|target| {
        let push = Hasync::push(&[if by.is_some() { "-rlptD" } else { "-a" }])
            .arg(trees.contents_of("src"))
            .arg(trees.path(target));
        let push = match by {
            Some(reachable) => push.by_nobody(reachable),
            None => push,
        };
        let done = push.under(&launcher).run().expect(0);
        assert_eq!(done.stderr, "", "{done}");
        Snapshot::of(&trees.path(target))
    })
}

#[test]
fn every_kind_of_entry_gets_its_mode() {
    need_root();
    let reachable = Reachable::new();
    for by in [None, Some(&reachable)] {
        let with_proc = pushed(&[], by);
        for snapshot in &with_proc {
            for (name, mode, _, roots_alone) in ENTRIES {
                if by.is_none() || !roots_alone {
                    assert_eq!(snapshot.entries[name.as_bytes()].mode, mode, "{name}");
                }
            }
        }
        for (way, setup) in WITHOUT_PROC {
            let without = pushed(&with_proc_after(setup), by);
            for (with, without) in with_proc.iter().zip(&without) {
                let diff = with.diff(without);
                assert!(
                    diff.is_empty(),
                    "/proc {way}, nobody {}:\n{diff}",
                    by.is_some()
                );
            }
        }
    }
}

/// A receiver behind `-e` keeps to what it serves, and sees `/proc` no better.
#[test]
fn a_confined_receiver_can_do_without_it() {
    need_root();
    let rsh = FakeRsh::plain();
    let pushed = |launcher: &[String]| {
        let trees = tree(true);
        Hasync::push(&["-a", "-e", &rsh.path()])
            .arg("--remote-bin")
            .arg(Hasync::program())
            .arg(trees.contents_of("src"))
            .arg(format!("b:{}", trees.text("old")))
            .under(launcher)
            .run()
            .expect(0);
        Snapshot::of(&trees.path("old"))
    };
    let with_proc = pushed(&["env".to_owned()]);
    for (way, setup) in WITHOUT_PROC {
        let diff = with_proc.diff(&pushed(&with_proc_after(setup)));
        assert!(diff.is_empty(), "/proc {way}:\n{diff}");
    }
}

/// What cannot be examined is named, and is not taken for something that is to be made.
#[test]
fn attributes_that_cannot_be_read_are_not_said_to_be_new() {
    need_root();
    for (way, setup) in WITHOUT_PROC {
        let trees = tree(true);
        for _ in 0..2 {
            let done = Hasync::push(&["-aAXi", "--delete"])
                .arg(trees.contents_of("src"))
                .arg(trees.path("old"))
                .under(&with_proc_after(setup))
                .run()
                .expect(23);
            assert_eq!(done.stdout_text(), "", "/proc {way}: {done}");
            for path in [trees.path("src/file"), trees.path("old")] {
                let named = format!("examine \"{}\"", path.display());
                assert!(done.stderr.contains(&named), "/proc {way}, {named}: {done}");
            }
        }
    }
}

#[test]
fn processes_that_are_hidden_from_others_do_no_harm() {
    need_root();
    let reachable = Reachable::new();
    let with_proc = pushed(&[], Some(&reachable));
    let hidden = with_proc_after("mount -t proc -o hidepid=invisible proc /proc");
    for (with, hidden) in with_proc.iter().zip(&pushed(&hidden, Some(&reachable))) {
        with.assert_same(hidden);
    }
}

/// A push of one new file under `umask`, without `-p`; gives the file's mode.
fn mode_under(umask: &str, launcher: &[String]) -> u32 {
    let trees = TempTree::new();
    trees.write("src/file", "x");
    trees.chmod("src/file", 0o666);
    let line = format!("umask {umask}; exec \"$0\" \"$@\"");
    let shell = ["sh", "-c", &line].map(str::to_owned);
    Hasync::push(&["-rt"])
        .arg(trees.contents_of("src"))
        .arg(trees.path("dst"))
        .under(&[launcher, &shell].concat())
        .run()
        .expect(0);
    let metadata = std::fs::metadata(trees.path("dst/file")).unwrap();
    metadata.permissions().mode() & 0o7777
}

#[test]
fn new_files_keep_to_the_umask() {
    need_root();
    for (umask, mode) in [("022", 0o644), ("077", 0o600), ("002", 0o664), ("0", 0o666)] {
        assert_eq!(mode_under(umask, &[]), mode, "umask {umask}");
        assert_eq!(
            mode_under(umask, &without_proc()),
            mode,
            "umask {umask}, no /proc"
        );
    }
}

fn push_by_name(shell_line: &str) -> Finished {
    let trees = TempTree::new();
    trees.write("src/file", "x");
    let program = Hasync::program();
    let dir = program.parent().unwrap();
    let line = shell_line
        .replace("DIR", &dir.display().to_string())
        .replace("TREES", &trees.root().display().to_string());
    let launcher = without_proc();
    let mut command = std::process::Command::new(&launcher[0]);
    command.args(&launcher[1..]).args(["sh", "-c", &line]);
    crate::support::process::Running::start(command).finish()
}

#[test]
fn the_receiving_half_is_found_however_the_program_was_called() {
    need_root();
    for line in [
        "cd DIR && ./hasync push -a TREES/src TREES/dst",
        "PATH=DIR:$PATH hasync push -a TREES/src TREES/dst",
        "cd / && DIR/../debug/hasync push -a TREES/src TREES/dst",
        "ln -s DIR/hasync TREES/other && TREES/other push -a TREES/src TREES/dst",
        "bash -c 'exec -a nonsense DIR/hasync push -a TREES/src TREES/dst'",
    ] {
        push_by_name(line).expect(0);
    }
}

#[test]
fn what_others_may_rename_is_refused_by_name_and_the_rest_arrives() {
    need_root();
    let trees = tree(true);
    // As in a home: its owner may put anything under the names in it.
    trees.chown("old", 1234, 1234);
    trees.chown("src", 1234, 1234);
    let done = Hasync::push(&["-a"])
        .arg(trees.contents_of("src"))
        .arg(trees.path("old"))
        .under(&without_proc())
        .run()
        .expect(23);
    for name in ["fifo", "socket", "char device", "block device"] {
        let told = done
            .stderr
            .lines()
            .any(|line| line.contains(name) && line.contains("mount /proc"));
        assert!(told, "{name}\n{done}");
    }
    let modes = Snapshot::of(&trees.path("old"));
    for name in ["file", "unreadable there", "setuid", "dir", "nothing"] {
        let (_, mode, ..) = ENTRIES.iter().find(|(entry, ..)| *entry == name).unwrap();
        assert_eq!(modes.entries[name.as_bytes()].mode, *mode, "{name}");
    }
}
