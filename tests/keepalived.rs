//! The service that follows keepalived, with lines written to its FIFO as keepalived writes them.
//! How it does beside a real one is drilled in `drills`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::support::await_that;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::{Running, run_ok};
use crate::support::service::BY_FILE;

/// The service on foo0, which has the data.
struct Service<'a> {
    pair: &'a Pair,
    running: Running,
    /// The end of the FIFO that keepalived holds.
    keepalived: File,
}

fn pair() -> Pair {
    let pair = Pair::here("");
    for node in [Foo0, Foo1] {
        let own = pair.path(node, "").display().to_string();
        pair.configure_one(node, &BY_FILE.replace("STATE/", &own));
    }
    pair.write(Foo0, "html/index.html", "one");
    pair.write(Foo0, "etc/a", "1");
    pair.write(Foo0, "etc/b", "1");
    pair
}

impl<'a> Service<'a> {
    fn start(pair: &'a Pair, words: &[&str]) -> Self {
        let path = fifo(pair).display().to_string();
        let words = [&["keepalived", "--fifo", &path], words].concat();
        let running = pair.on(Foo0, &words).start();
        await_that("the FIFO is there", || fifo(pair).exists());
        Service {
            pair,
            running,
            keepalived: open(pair),
        }
    }

    /// Whether keepalived has the address is seen by a file; it is written down before it is told.
    fn hears(&self, serves: bool, lines: &str) {
        self.pair.serve(Foo0, serves);
        (&self.keepalived).write_all(lines.as_bytes()).unwrap();
    }

    fn await_mirror(&self, code: i32) {
        await_that(&format!("mirror status is {code}"), || {
            self.pair.run(Foo0, &["mirror", "status"]).code == code
        });
    }

    /// Whether it holds a FIFO of that name open.
    fn has_fifo(&self) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.running.id())).unwrap();
        let names = open
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let fifo = fifo(self.pair).display().to_string();
        names
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with(&fifo))
    }

    fn signal(&self, signal: &str) {
        run_ok("kill", &[signal, &self.running.id().to_string()]);
    }
}

fn fifo(pair: &Pair) -> PathBuf {
    pair.dir.path("vrrp")
}

/// As keepalived opens it: for both ends, and without waiting.
fn open(pair: &Pair) -> File {
    let flags = OFlags::NONBLOCK.bits().try_into().unwrap();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(fifo(pair))
        .unwrap()
}

#[test]
fn the_mirror_follows_the_newest_state() {
    let pair = pair();
    let mut service = Service::start(&pair, &["--instance", "HA"]);
    service.hears(
        true,
        "INSTANCE \"HA\" BACKUP 150\nINSTANCE \"HA\" MASTER 150\n",
    );
    service.await_mirror(0);
    pair.run(Foo0, &["cycle"]).expect(0);
    // What is about something else changes nothing, and is passed before the next line.
    pair.write(Foo0, "html/late", "x");
    service.hears(
        true,
        "GROUP \"HA\" BACKUP 0\nINSTANCE \"other\" BACKUP 1\nINSTANCE \"HA\" MASTER_PRIORITY 7\n\
         rubbish\nINSTANCE \"HA\" MASTER 150\n",
    );
    service.hears(false, "INSTANCE \"HA\" STOP 150\n");
    service.await_mirror(3);
    assert_eq!(pair.read(Foo1, "html/late"), "x");
    // Somebody puts something else there.
    std::fs::remove_file(fifo(&pair)).unwrap();
    std::fs::write(fifo(&pair), "INSTANCE \"HA\" MASTER 150\n").unwrap();
    await_that("it has let go of the FIFO", || !service.has_fifo());
    // keepalived starts again, with a FIFO of its own.
    std::fs::remove_file(fifo(&pair)).unwrap();
    // Whoever is first makes it.
    let _ = mknodat(CWD, fifo(&pair), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    service.keepalived = open(&pair);
    service.hears(true, "INSTANCE \"HA\" MASTER 150\n");
    service.await_mirror(0);
    // It fails over, and back at once.
    service.hears(
        true,
        "INSTANCE \"HA\" FAULT 150\nINSTANCE \"HA\" BACKUP 150\nINSTANCE \"HA\" MASTER 150\n",
    );
    // Stopped while the address is here: keepalived goes on, and so does the mirror.
    service.signal("-TERM");
    let done = service.running.finish().expect(0);
    assert_eq!(done.stderr.matches("is no FIFO").count(), 1, "{done}");
    pair.run(Foo0, &["mirror", "status"]).expect(0);
}

#[test]
fn it_lives_long_enough_for_the_last_push() {
    for (name, lines) in [
        ("keepalived has said so", "INSTANCE \"HA\" STOP 100\n"),
        ("keepalived was killed", ""),
    ] {
        let pair = pair();
        let service = Service::start(&pair, &[]);
        service.hears(true, "INSTANCE \"HA\" MASTER 100\n");
        service.await_mirror(0);
        pair.run(Foo0, &["cycle"]).expect(0);
        pair.write(Foo0, "html/late", name);
        service.hears(false, lines);
        service.signal("-TERM");
        service.running.finish().expect(0);
        assert_eq!(pair.read(Foo1, "html/late"), name);
        pair.run(Foo0, &["mirror", "status"]).expect(3);
    }
}

#[test]
fn a_start_that_is_refused_is_told_and_gives_way_to_what_is_newer() {
    let pair = pair();
    let role = pair
        .read(Foo1, "hasync.toml")
        .replace("test -e", "touch /ASKED; test -e");
    let asked = pair.dir.path("asked");
    pair.write(
        Foo1,
        "hasync.toml",
        role.replace("/ASKED", &asked.display().to_string()),
    );
    pair.run(Foo1, &["promote", "--all"]).expect(0);
    pair.serve(Foo1, true);
    let _ = std::fs::remove_file(&asked);
    let service = Service::start(&pair, &[]);
    service.hears(true, "INSTANCE \"HA\" MASTER 100\n");
    await_that("foo0 has asked foo1", || asked.exists());
    service.hears(false, "INSTANCE \"HA\" BACKUP 100\n");
    service.signal("-TERM");
    let done = service.running.finish().expect(0);
    assert!(done.stderr.contains("hasync mirror start failed"), "{done}");
    assert!(
        done.stderr.contains("foo1 is primary of tree html"),
        "{done}"
    );
    pair.run(Foo0, &["mirror", "status"]).expect(3);
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let pair = pair();
    let start = |fifo: &str| pair.run(Foo0, &["keepalived", "--fifo", fifo]);
    pair.dir.write("file", "");
    start(&pair.dir.text("file")).expect_error(78, &["is no FIFO"]);
    pair.write(Foo0, "hasync.toml", "[node");
    start(&pair.dir.text("new")).expect_error(78, &["hasync.toml:1: "]);
}
