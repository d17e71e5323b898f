//! A receiver that has been taken over gets nowhere: confined, it tries what an intruder would
//! against files, sockets and processes outside, and each attempt is refused. Under sshd with and
//! without a root, for a named tree, and behind the own server; as root and as another user.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::hasync::Reachable;
use crate::support::own_server::OwnServer;
use crate::support::pair::{Node, Pair};
use crate::support::{Hasync, Snapshot, Sshd, TempTree, await_that, need_root};

/// As few as these would mean that the report is not whole.
const ATTEMPTS_MIN: usize = 76;

/// What there is to be had outside.
struct Outside {
    dir: TempTree,
    _socket: UnixListener,
    tcp: TcpListener,
    victim: Child,
}

impl Outside {
    /// With a process of the receiver's own user.
    fn new(launcher: &[&str]) -> Self {
        let dir = TempTree::within(Path::new("/tmp"));
        dir.write("file", "precious");
        dir.mkdir("dir");
        std::os::unix::fs::symlink("file", dir.path("link")).unwrap();
        let socket = UnixListener::bind(dir.path("socket")).unwrap();
        for (name, mode) in [
            ("", 0o777),
            ("dir", 0o777),
            ("file", 0o666),
            ("socket", 0o777),
        ] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path(name), mode).unwrap();
        }
        // Its mode lets everybody set and remove such an attribute.
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(dir.path("file"), "user.kept", b"x", flags).unwrap();
        let words = [launcher, &["sleep", "1000"]].concat();
        Outside {
            dir,
            _socket: socket,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            victim: Command::new(words[0]).args(&words[1..]).spawn().unwrap(),
        }
    }

    /// The variable that a receiver is told by.
    fn told(&self) -> String {
        let port = self.tcp.local_addr().unwrap().port();
        format!("{}:{port}:{}", self.dir.root().display(), self.victim.id())
    }

    /// A program for the far side: hasync, told, with `more` behind its words.
    fn program(&self, launcher: &str, program: &Path, more: &str) -> (TempTree, PathBuf) {
        let dir = TempTree::within(Path::new("/tmp"));
        let (told, program) = (self.told(), program.display());
        dir.write(
            "hasync",
            format!(
                "#!/bin/sh\nHASYNC_TAKEN_OVER={told} exec {launcher} {program} \"$@\" {more}\n"
            ),
        );
        let file = dir.path("hasync");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, file)
    }

    /// Has `push` lead into `home`, and looks at what the receiver got.
    #[track_caller]
    fn assert_out_of_reach(&mut self, case: &str, push: &Hasync, home: &Path) {
        let names = || Snapshot::of(self.dir.root());
        let before = names();
        push.run().expect(0);
        let report = std::fs::read_to_string(home.join("attempts"))
            .unwrap_or_else(|e| panic!("{case}: the receiver has not tried: {e}"));
        assert!(report.lines().count() >= ATTEMPTS_MIN, "{case}:\n{report}");
        let got: Vec<&str> = report
            .lines()
            .filter(|line| !line.contains(": refused: "))
            .collect();
        assert!(got.is_empty(), "{case}: {got:?}");
        assert_eq!(before.diff(&names()), "", "{case}");
        assert_eq!(self.dir.read("file"), b"precious", "{case}");
        assert!(self.victim.try_wait().unwrap().is_none(), "{case}");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

#[test]
fn under_sshd_with_a_root_and_without() {
    need_root();
    let sshd = Sshd::start();
    let trees = TempTree::new();
    trees.write("source/file", "new");
    for (case, more) in [("without a root", ""), ("with a root", "--root ROOT")] {
        let mut outside = Outside::new(&[]);
        let home = trees.mkdir(format!("{case}/target"));
        let root = format!("'{}'", trees.path(case).display());
        let (_dir, program) = outside.program("", &Hasync::program(), &more.replace("ROOT", &root));
        let source = trees.contents_of("source");
        let push = sshd.push_with(&program, &["-an"], &source, &home);
        let reached = if more.is_empty() {
            home
        } else {
            trees.path(case)
        };
        outside.assert_out_of_reach(case, &push, &reached);
    }
}

#[test]
fn as_another_user() {
    need_root();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let sshd = Sshd::start();
    let reachable = Reachable::new();
    let trees = TempTree::within(Path::new("/tmp"));
    trees.write("source/file", "new");
    for (case, more) in [("without a root", ""), ("with a root", "--root ROOT")] {
        let mut outside = Outside::new(&nobody);
        let home = trees.mkdir(format!("{case}/target"));
        for dir in [&home, &trees.path(case)] {
            std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
        }
        let root = format!("'{}'", trees.path(case).display());
        let more = more.replace("ROOT", &root);
        let (_dir, program) = outside.program(&nobody.join(" "), &reachable.program(), &more);
        let source = trees.contents_of("source");
        let push = sshd.push_with(&program, &["-rn"], &source, &home);
        let reached = if more.is_empty() {
            home
        } else {
            trees.path(case)
        };
        outside.assert_out_of_reach(case, &push, &reached);
    }
}

#[test]
fn of_a_named_tree() {
    need_root();
    let pair = Pair::here("");
    pair.write(Node::Foo0, "html/file", "new");
    let mut outside = Outside::new(&[]);
    // It is known, and not served.
    let other = outside.dir.path("dir");
    let other = format!(
        "[[tree]]\nname = \"other\"\npath = \"{}\"\n",
        other.display()
    );
    pair.configure_one(Node::Foo1, &other);
    let more = format!(
        "--tree html --config {}",
        pair.path(Node::Foo1, "hasync.toml").display()
    );
    let (_dir, program) = outside.program("", &Hasync::program(), &more);
    std::fs::copy(program, pair.path(Node::Foo1, "hasync")).unwrap();
    let push = pair.on(Node::Foo0, &["push", "-n", "--tree", "html"]);
    let home = pair.path(Node::Foo1, "html");
    outside.assert_out_of_reach("a named tree", &push, &home);
}

#[test]
fn behind_the_own_server() {
    need_root();
    let trees = TempTree::new();
    trees.write("source/file", "new");
    let root = trees.mkdir("root");
    let mut outside = Outside::new(&[]);
    let told = format!("HASYNC_TAKEN_OVER={}", outside.told());
    let options = ["--root", &trees.text("root")];
    let server = OwnServer::start_at(&["env", &told], "127.0.0.1", &options);
    let push = server.push(&["-an"], &trees.contents_of("source"), &root);
    outside.assert_out_of_reach("the own server", &push, &root);
}

/// Of a receiver's threads, with any of them: whether it has the right to set trusted attributes.
fn may_set_trusted(receiver: u32) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let threads = std::fs::read_dir(format!("/proc/{receiver}/task")).unwrap();
    let permitted = |thread: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let rights = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
        u64::from_str_radix(rights.unwrap().trim(), 16).unwrap()
    };
    threads.map(permitted).any(|rights| rights & SYS_ADMIN != 0)
}

/// The one that gains no rights any more; its helper stays outside.
fn receiver(sshd: &Sshd) -> Option<u32> {
    let is_confined = |half: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{half}/status"));
        status.is_ok_and(|status| status.contains("NoNewPrivs:\t1"))
    };
    sshd.far_halves().into_iter().find(is_confined)
}

#[test]
fn the_right_to_trusted_attributes_stays_only_with_pushes_of_them() {
    need_root();
    let sshd = Sshd::start();
    let trees = TempTree::new();
    // What it takes some time to send.
    trees.write("source/file", crate::support::Rng::new(1).bytes(4 << 20));
    for case in ["without a root", "with a root"] {
        let root = trees.mkdir(case);
        let bound = match case {
            "with a root" => format!("--root '{}'", root.display()),
            _ => String::new(),
        };
        let far = Hasync::program().display().to_string();
        trees.write("far", format!("#!/bin/sh\nexec {far} \"$@\" {bound}\n"));
        trees.chmod("far", 0o755);
        let program = trees.path("far");
        for (options, keeps) in [("-a", false), ("-aA", false), ("-aX", true)] {
            let home = trees.mkdir(format!("{case}/{options}"));
            let source = trees.contents_of("source");
            let push = sshd.push_with(&program, &[options, "--bwlimit=100"], &source, &home);
            let mut push = push.start();
            await_that("something is staged", || {
                home.join(".hasync/stage").exists()
            });
            let receiver = receiver(&sshd).unwrap();
            assert_eq!(may_set_trusted(receiver), keeps, "{case} {options}");
            push.kill();
            await_that("the far half ends", || sshd.far_halves().is_empty());
        }
    }
}
