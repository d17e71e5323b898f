//! Commits and undos that have to keep entries by copies, since their file system moves nothing
//! from where they are into staging, are ended at each step of that.

use std::path::{Path, PathBuf};

use super::{end_at, end_standby_at, push_on};
use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::run_ok;
use crate::support::{Snapshot, TempTree};

/// Makes the primary's tree version `version`: each kind of entry takes the place of each other
/// one in turns, and full directories go.
fn write(pair: &Pair, version: usize) -> Snapshot {
    let root = pair.path(Foo0, "html");
    let _ = std::fs::remove_dir_all(&root);
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let (path, text) = (root.join("dir").join(name), "x".repeat(version));
        std::fs::create_dir_all(root.join("dir/stays")).unwrap();
        match (version + at) % 3 {
            0 => std::fs::write(path, text).unwrap(),
            1 => std::os::unix::fs::symlink(text, path).unwrap(),
            _ => {
                std::fs::create_dir_all(path.join("deep")).unwrap();
                std::fs::write(path.join("file"), &text).unwrap();
                std::fs::write(path.join("deep/file"), text).unwrap();
            }
        }
    }
    std::fs::create_dir_all(root.join(format!("only-{version}/in"))).unwrap();
    std::fs::write(root.join(format!("only-{version}/in/file")), "goes").unwrap();
    std::fs::write(root.join("same"), "stays").unwrap();
    pair.html(Foo0)
}

/// Ends commits at `points`, and undos at `undo_points`; before each, `estrange` sees to it that
/// nothing in the standby's tree can be moved.
fn ended(pair: &Pair, estrange: &dyn Fn(), points: &[&str], undo_points: &[&str]) {
    let estrange = || {
        let before = pair.html(Foo1);
        estrange();
        assert_eq!(
            before.diff(&pair.html(Foo1)),
            "",
            "this changes the tree itself"
        );
    };
    let push = || pair.run(Foo0, &["push", "--tree", "html"]);
    pair.keep_undo("keep = 99");
    let mut states = vec![write(pair, 1)];
    push().expect(0);
    for (version, point) in (2..).zip(points) {
        estrange();
        let new = write(pair, version);
        end_standby_at(pair, Some(point));
        push().expect(12);
        end_standby_at(pair, None);
        pair.run(Foo1, &["recover"]).expect(0);
        assert_eq!(new.diff(&pair.html(Foo1)), "", "ended at {point}");
        push_on(pair, &new);
        states.push(new);
    }
    let undo = |to: usize| pair.on(Foo1, &["undo", "html", "--to", &to.to_string()]);
    for (at, point) in undo_points.iter().enumerate() {
        // To and fro, a step further each time.
        let state = match at % 2 {
            0 => states.len() - 2 - at / 2,
            _ => states.len() - 1 - at / 2,
        };
        estrange();
        end_at(&undo(state + 1), point);
        pair.run(Foo1, &["recover"]).expect(0);
        let diff = states[state].diff(&pair.html(Foo1));
        assert_eq!(diff, "", "undo ended at {point}");
    }
    for (state, then) in states.iter().enumerate() {
        estrange();
        undo(state + 1).run().expect(0);
        assert_eq!(then.diff(&pair.html(Foo1)), "", "undone to {}", state + 1);
    }
}

/// Several disks as one tree, where what is in the tree lies on another disk than its `.hasync`.
#[test]
fn commits_over_several_disks_ended_at_any_step_are_one_generation_or_the_next() {
    let disks = TempTree::new();
    let [one, other] = ["one", "other"].map(|name| disks.mkdir(name));
    let _tmpfs = Mounted::by(&["mount", "-t", "tmpfs", "tmpfs"], other.clone());
    let (one, other) = (one.display().to_string(), other.display().to_string());
    let at = disks.path("standby");
    let both = format!("{one}:{other}");
    // What changes below it is seen at once.
    let _mounted = Mounted::by(
        &[
            "mergerfs",
            "-o",
            "minfreespace=1M,cache.attr=0,cache.entry=0",
            &both,
        ],
        at.clone(),
    );
    let pair = Pair::with_standby_on(&at.join("foo1"));
    for node in [Foo0, Foo1] {
        let toml = pair.read(node, "hasync.toml");
        let path = toml.lines().find(|line| line.starts_with("path = "));
        let line = format!("{}\nlossy = [\"links\"]", path.unwrap());
        pair.set(node, "path = ", &line);
    }
    let estrange = || {
        let [from, to] = [&one, &other].map(|disk| format!("{disk}/foo1/html/"));
        std::fs::create_dir_all(&to).unwrap();
        let rsync = |options: &[&str], from: &str, to: &str| {
            let common = ["-a", "--modify-window=-1", "--exclude=.hasync"];
            run_ok("rsync", &[&common[..], options, &[from, to]].concat());
        };
        rsync(&["--remove-source-files"], &from, &to);
        // Directories have their times again.
        rsync(&["--include=*/", "--exclude=*"], &to, &from);
    };
    let points = [
        "emptying:1",
        "emptying:3",
        "aside:1",
        "aside:2",
        "aside:3",
        "absent:1",
        "replaced:1",
        "replaced:3",
        "op:2",
        "rolled",
    ];
    let undo_points = [
        "emptying:2",
        "aside:1",
        "replaced:2",
        "absent:1",
        "emptying:1",
        "rolled",
    ];
    ended(&pair, &estrange, &points, &undo_points);
}

/// A tree that was given to a project, with what is in it belonging to none.
#[test]
fn commits_in_a_project_of_strangers_ended_at_any_step_are_one_generation_or_the_next() {
    let disk = LoopFs::new("xfs", 300);
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    let root = pair.path(Foo1, "html");
    let points = ["emptying:1", "emptying:2", "op:1", "op:2", "rolled"];
    let undo_points = ["emptying:2", "emptying:1", "op:1", "op:2", "rolled"];
    ended(&pair, &|| give_to_a_project(&root), &points, &undo_points);
}

/// What is kept of a stranger is parted from the rest where an undo is held up.
#[test]
fn an_undo_of_strangers_that_is_held_up_goes_on_later() {
    let disk = LoopFs::new("xfs", 300);
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    let root = pair.path(Foo1, "html");
    pair.keep_undo("keep = 99");
    let mut states = Vec::new();
    for version in 1..4 {
        states.push(write(&pair, version));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
        give_to_a_project(&root);
    }
    let held: Vec<String> = ["same", "dir/a"]
        .map(|name| root.join(name))
        .into_iter()
        .filter(|path| !path.is_symlink())
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(held.len(), 2);
    let undo = |to: &str| pair.run(Foo1, &["undo", "html", "--to", to]);
    for path in &held {
        run_ok("chattr", &["+i", path]);
    }
    undo("1").expect(23);
    for path in &held {
        run_ok("chattr", &["-i", path]);
    }
    for (to, then) in [("1", &states[0]), ("3", &states[2]), ("1", &states[0])] {
        let done = undo(to).expect(0);
        assert_eq!(then.diff(&pair.html(Foo1)), "", "to {to}: {done}");
        give_to_a_project(&root);
    }
}

fn give_to_a_project(root: &Path) {
    let set = |path: &Path, commands: &[&str]| {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        let words: Vec<&str> = ["-r"].into_iter().chain(commands).collect();
        let path = path.display().to_string();
        run_ok("xfs_io", &[&words[..], &[&path]].concat());
    };
    set(root, &["chproj 42", "chattr +P"]);
    for path in in_tree(root) {
        set(&path, &["chattr -P", "chproj 0"]);
    }
}

/// Files and directories below `root` but for what is hasync's own.
fn in_tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(dir) = ahead.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if entry.file_name() == ".hasync" || kind.is_symlink() {
                continue;
            }
            found.push(entry.path());
            if kind.is_dir() {
                ahead.push(entry.path());
            }
        }
    }
    found
}
