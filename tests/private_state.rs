//! What local users can do to a node: nothing to its state, and neither a cycle nor a failover
//! waits for a lock that they hold, nor for a log or a pager.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::FileType;

use crate::support::hasync::Reachable;
use crate::support::pair::Node::Foo0;
use crate::support::pair::Pair;
use crate::support::temptree::make_node;
use crate::support::{Hasync, TempTree, await_that};

/// A user who is neither root nor anybody else.
const OTHER: [&str; 4] = [
    "setpriv",
    "--reuid=54321",
    "--regid=54321",
    "--clear-groups",
];

/// A process of that user, gone on drop.
struct Other(Child);

impl Other {
    /// Starts it, and waits until it has said a line: `None` if it ends without.
    fn start(words: &[&str]) -> Option<Self> {
        let mut child = Command::new(OTHER[0])
            .args(&OTHER[1..])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        let other = Other(child);
        (said.unwrap() > 0).then_some(other)
    }

    /// Holds `flock` on a file or directory.
    fn flock(path: &Path) -> Option<Self> {
        let path = path.to_str().unwrap();
        let hold = "echo held; exec sleep 1000";
        Other::start(&["flock", "--nonblock", path, "sh", "-c", hold])
    }

    /// Holds a record lock on a file that it can read.
    fn record_lock(path: &Path) -> Option<Self> {
        let script = "use Fcntl; open(F, '<', $ARGV[0]) or exit 1; $| = 1; \
                      my $l = pack('s s x4 l! l! i x4', F_RDLCK, 0, 0, 0, 0); \
                      fcntl(F, F_SETLK, $l) or exit 1; \
                      print \"held\\n\"; sleep 1000";
        Other::start(&["perl", "-e", script, path.to_str().unwrap()])
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pair whose foo0 is primary and has pushed.
fn pair(lines: &str) -> Pair {
    let pair = Pair::here(lines);
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair.run(Foo0, &["mirror", "start"]).expect(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    pair
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything in the state, itself included.
fn all(pair: &Pair) -> Vec<std::path::PathBuf> {
    let walk = walkdir::WalkDir::new(pair.path(Foo0, "state"));
    walk.into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

#[test]
fn the_state_is_private_whatever_the_umask() {
    for umask in ["000", "022", "077", "377"] {
        let pair = pair("");
        std::fs::remove_dir_all(pair.path(Foo0, "state")).unwrap();
        let under = ["sh", "-c", &format!("umask {umask}; exec \"$@\""), "sh"];
        let start = ["mirror", "start", "--force"];
        for verb in [&start[..], &["cycle"], &["mirror", "stop"]] {
            let done = pair.on(Foo0, verb).under(&under).run();
            assert!([0, 81].contains(&done.code), "umask {umask}: {done}");
        }
        for path in all(&pair) {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), expected, "umask {umask}: {}", path.display());
            assert!(Other::flock(&path).is_none(), "{}", path.display());
        }
    }
}

#[test]
fn locks_that_another_user_holds_stop_no_cycle_and_no_failover() {
    let pair = pair("");
    // As a state that was not private left them.
    let state = pair.path(Foo0, "state");
    set_mode(&state, 0o755);
    let mut held = Vec::new();
    for name in [
        "cycle.lock",
        "memory.lock",
        "memory.json",
        "notices",
        "notices.lock",
    ] {
        let file = state.join(name);
        if !file.exists() {
            std::fs::write(&file, "").unwrap();
        }
        set_mode(&file, 0o644);
        held.push(Other::flock(&file).expect(name));
    }
    held.push(Other::flock(&state).unwrap());
    pair.write(Foo0, "html/more", "x");
    pair.run(Foo0, &["cycle"]).expect(0);
    pair.assert_equal();
    for verb in [
        &["mirror", "stop"][..],
        &["mirror", "start"],
        &["mirror", "restart"],
        &["demote", "--all"],
        &["promote", "--all"],
        &["recover"],
        &["status"],
    ] {
        pair.run(Foo0, verb).expect(0);
    }
    for path in all(&pair) {
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_lock_on_the_files_that_another_program_holds_stops_no_failover() {
    let pair = pair("");
    let lock = pair.path(Foo0, "etc/.lock");
    std::fs::write(&lock, "").unwrap();
    let config = pair.read(Foo0, "hasync.toml");
    let config = format!("{config}lock = \"{}\"\n", lock.display());
    pair.write(Foo0, "hasync.toml", config);
    let held = Other::record_lock(&lock).expect("it is readable");
    pair.run(Foo0, &["push", "--tree", "conf"])
        .expect_error(75, &["another program has held the lock", ".lock"]);
    for verb in ["demote", "promote"] {
        pair.run(Foo0, &[verb, "conf"]).expect(0);
    }
    drop(held);
    pair.run(Foo0, &["push", "--tree", "conf"]).expect(0);
    // What is planted there is not waited for.
    std::fs::remove_file(&lock).unwrap();
    make_node(&lock, FileType::Fifo, 0, 0);
    pair.run(Foo0, &["push", "--tree", "conf"])
        .expect_error(11, &[".lock"]);
}

#[test]
fn what_is_planted_in_the_state_stops_no_failover() {
    let pair = pair("");
    let state = pair.path(Foo0, "state");
    let victim = pair.dir.path("victim");
    std::fs::write(&victim, "kept").unwrap();
    type Plant<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let plants: [Plant; 4] = [
        ("is a symlink", Box::new(|at| symlink(&victim, at).unwrap())),
        (
            "hard link",
            Box::new(|at| std::fs::hard_link(&victim, at).unwrap()),
        ),
        (
            "not a regular file",
            Box::new(|at| make_node(at, FileType::Fifo, 0, 0)),
        ),
        (
            "belongs to uid 54321",
            Box::new(|at| {
                std::fs::write(at, "").unwrap();
                std::os::unix::fs::chown(at, Some(54321), None).unwrap();
            }),
        ),
    ];
    for (why, plant) in plants {
        for name in [
            "cycle.lock",
            "memory.lock",
            "notices.lock",
            "memory.json",
            "notices",
        ] {
            let at = state.join(name);
            let _ = std::fs::remove_file(&at);
            plant(&at);
            if name == "cycle.lock" {
                let shown = at.display().to_string();
                pair.run(Foo0, &["cycle"])
                    .expect_error(78, &[why, &shown, "rm"]);
            }
            pair.run(Foo0, &["mirror", "stop"]).expect(0);
            pair.run(Foo0, &["mirror", "start"]).expect(0);
            let _ = std::fs::remove_file(&at);
        }
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
    pair.run(Foo0, &["cycle"]).expect(0);
}

#[test]
fn a_foreign_state_is_refused_by_name() {
    let pair = pair("");
    let state = pair.path(Foo0, "state");
    let shown = state.display().to_string();
    pair.dir.chown(&state, 54321, 0);
    for verb in [&["cycle"][..], &["status"], &["promote", "--all"]] {
        let done = pair.run(Foo0, verb).expect(78);
        assert!(done.stderr.contains(&shown), "{done}");
        assert!(done.stderr.contains("belongs to uid 54321"), "{done}");
    }
    pair.run(Foo0, &["mirror", "status"]).expect(4);
}

#[test]
fn a_failover_waits_for_no_way_to_tell() {
    let pair = Pair::here("");
    let (fifo, told) = (pair.dir.path("fifo"), pair.dir.path("told"));
    make_node(&fifo, FileType::Fifo, 0, 0);
    let pager = pair.dir.text("pager");
    let lines = format!(
        "[notify]\nlog = \"{}\"\ncommand = \"cat >> {}; exec sleep 1000\"\n\
         mail = {{ to = [\"root\"], sendmail = \"{pager}\" }}\n",
        fifo.display(),
        told.display()
    );
    std::fs::write(&pager, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    set_mode(Path::new(&pager), 0o755);
    pair.configure_one(Foo0, &lines);
    for (verb, event) in [
        ("start", "promotion"),
        ("stop", "demotion"),
        ("start", "promotion"),
    ] {
        let done = pair.on(Foo0, &["mirror", verb]).start().finish_within(25);
        done.expect("it waits for a notice").expect(0);
        // It is told all the same.
        await_that(event, || {
            let text = std::fs::read_to_string(&told).unwrap_or_default();
            text.lines().last().is_some() && text.contains(&format!(" {event}: "))
        });
        std::fs::remove_file(&told).unwrap();
    }
}

#[test]
fn a_stop_does_not_wait_for_a_cycle_that_tells_something() {
    let pair = pair("");
    let told = pair.dir.path("told");
    let lines = format!(
        "[notify]\ncommand = \"cat > {}; exec sleep 1000\"\n[hooks]\nbefore = \"exit 1\"\n",
        told.display()
    );
    pair.configure_one(Foo0, &lines);
    let mut cycle = pair.on(Foo0, &["cycle"]).start();
    await_that("the pager runs", || told.exists());
    let done = pair.on(Foo0, &["mirror", "stop"]).start().finish_within(25);
    done.expect("it waits for a cycle").expect(0);
    assert!(!cycle.is_over(), "it waits for its pager, without the lock");
    cycle.kill();
}

#[test]
fn who_may_not_look_gets_one_line() {
    let pair = pair("");
    let program = Reachable::new();
    let as_nobody = |verb: &str| {
        let file = pair.path(Foo0, "hasync.toml");
        let hasync = Hasync::new().args([verb, "--config"]).arg(file);
        hasync.by_nobody(&program).run()
    };
    for verb in ["status", "cycle", "recover"] {
        let done = as_nobody(verb);
        let state = pair.path(Foo0, "state").display().to_string();
        assert_eq!(done.code, 11, "{done}");
        assert!(!done.stderr.contains("panicked"), "{done}");
        for line in done.stderr.lines() {
            assert!(
                line.contains(&state) && line.contains("run this as root"),
                "{done}"
            );
        }
    }
    as_nobody("check-config").expect(0);
}

#[test]
fn a_user_mirrors_for_itself() {
    let program = Reachable::new();
    let dir = TempTree::new();
    for name in ["", "html"] {
        dir.mkdir(name);
        dir.chown(name, 65534, 65534);
    }
    let text = format!(
        "[node]\nname = \"foo0\"\nstate = \"{}\"\n[[tree]]\nname = \"html\"\npath = \"{}\"\n",
        dir.text("state"),
        dir.text("html")
    );
    dir.write("hasync.toml", text);
    dir.chown("hasync.toml", 65534, 65534);
    for verb in [&["check-config"][..], &["promote", "--all"], &["status"]] {
        let hasync = Hasync::new()
            .args(verb)
            .arg("--config")
            .arg(dir.path("hasync.toml"));
        hasync.by_nobody(&program).run().expect(0);
    }
    assert_eq!(mode(&dir.path("state")), 0o700);
    // To root it is somebody else's.
    let file = dir.text("hasync.toml");
    let status = Hasync::new().args(["status", "--config", &file]).run();
    status.expect_error(78, &["belongs to uid 65534", &dir.text("")]);
}
