//! A named tree's commit is all or nothing, whatever ends it and wherever: the process at each of
//! its steps or at random moments, or the power. After recovery the standby holds one generation
//! or the next, whole, and the next push simply goes on.

mod by_copies;
mod copied;
mod met_errors;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::loopfs::LoopFs;
use crate::support::mounted::Mounted;
use crate::support::pair::Node::{Foo0, Foo1};
use crate::support::pair::Pair;
use crate::support::process::Running;
use crate::support::refused_call::RefusedCall;
use crate::support::rng::Rng;
use crate::support::versions::{self, Watcher};
use crate::support::{Hasync, Snapshot, TempTree, await_that, process, report, rounds, soak};

const FILES: usize = 24;

/// Makes the primary's tree version `version`: changed, new, removed, moved and relinked entries.
fn write_version(root: &Path, version: u32) {
    versions::write_tree(root, FILES, version, 3);
    let last = version.saturating_sub(1);
    let _ = std::fs::remove_dir_all(root.join(format!("only-{last}")));
    let deep = root.join(format!("only-{version}/deep/er"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("file"), version.to_string()).unwrap();
    for (name, to) in [("link", format!("to-{version}")), ("turns", "x".to_owned())] {
        let path = root.join(name);
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir_all(&path);
        if name == "turns" && version.is_multiple_of(2) {
            // A full directory in every other version, a symlink in the rest.
            std::fs::create_dir_all(path.join("into")).unwrap();
            std::fs::write(path.join("into/dir"), b"").unwrap();
        } else {
            symlink(to, path).unwrap();
        }
    }
    let twin = root.join("twin");
    let _ = std::fs::remove_file(&twin);
    std::fs::hard_link(root.join(versions::name(version as usize % FILES)), twin).unwrap();
    let stays = root.join("stays");
    if !stays.exists() {
        std::fs::write(&stays, b"stays").unwrap();
    }
    let mode = 0o600 | (version % 8);
    std::fs::set_permissions(stays, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A pair whose standby has version 1, and what that is.
fn mirrored(pair: &Pair) -> Snapshot {
    write_version(&pair.path(Foo0, "html"), 1);
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    let now = pair.html(Foo0);
    assert_eq!(now.diff(&pair.html(Foo1)), "");
    now
}

/// Lets what sshd starts on the standby end at a point of its commit, or, without one, not.
fn end_standby_at(pair: &Pair, point: Option<&str>) {
    let script = pair.path(Foo1, "hasync");
    let text = std::fs::read_to_string(&script).unwrap();
    let exec = text.lines().find(|line| line.starts_with("exec")).unwrap();
    let set = point.map_or_else(String::new, |point| {
        format!("export HASYNC_END_AT={point}\n")
    });
    std::fs::write(&script, format!("#!/bin/sh\n{set}{exec}\n")).unwrap();
    // It may be on the disk whose power is cut, and would be what it was before.
    std::fs::File::open(&script).unwrap().sync_all().unwrap();
}

/// After recovery: exactly the old tree or exactly the new one.
#[track_caller]
fn assert_whole(pair: &Pair, old: &Snapshot, new: &Snapshot, when: &str) -> bool {
    let recovered = pair.run(Foo1, &["recover"]).expect(0);
    let now = pair.html(Foo1);
    let status = pair.run(Foo1, &["status", "html"]);
    let (to_old, to_new) = (old.diff(&now), new.diff(&now));
    assert!(
        to_old.is_empty() || to_new.is_empty(),
        "a mixture {when}:\nagainst the old\n{to_old}against the new\n{to_new}{recovered}{status}"
    );
    to_new.is_empty()
}

/// The next push goes on as if nothing had happened, and leaves nothing behind.
#[track_caller]
fn push_on(pair: &Pair, new: &Snapshot) {
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    assert_eq!(new.diff(&pair.html(Foo1)), "");
    assert!(!pair.path(Foo1, "html/.hasync/stage").exists());
    assert!(!pair.path(Foo1, "html/.hasync/trees/html/journal").exists());
}

#[test]
fn a_commit_ended_at_any_step_is_one_generation_or_the_next() {
    let pair = Pair::here("");
    let old = mirrored(&pair);
    end_at_each_step(&pair, old);
}

/// Every directory is of a lower layer at first: none of them can be renamed.
#[test]
fn a_commit_on_an_overlay_ended_at_any_step_is_one_generation_or_the_next() {
    let disk = TempTree::new();
    let over = |lower: &str, upper: &str, at: &Path| {
        let [lower, upper, work] = [lower, upper, &format!("{upper}-work")].map(|name| {
            disk.mkdir(name);
            disk.text(name)
        });
        Mounted::overlay(&lower, &upper, &work, at.to_owned())
    };
    let at = disk.mkdir("standby");
    let below = over("empty", "first", &at);
    let pair = Pair::with_standby_on(&at.join("foo1"));
    let old = mirrored(&pair);
    await_that("nobody uses the first overlay", || below.unmount());
    let _above = over("first", "second", &at);
    end_at_each_step(&pair, old);
}

/// Nor can names be exchanged here, nor do inode numbers hold.
#[test]
fn a_commit_on_fuse_ended_at_any_step_is_one_generation_or_the_next() {
    let disk = TempTree::new();
    let at = disk.path("standby");
    let _mounted = bindfs(&disk, &at);
    let pair = Pair::with_standby_on(&at.join("foo1"));
    let old = mirrored(&pair);
    end_at_each_step(&pair, old);
}

fn end_at_each_step(pair: &Pair, mut old: Snapshot) {
    let mut states = Vec::new();
    let points = [
        ("staged", false),
        ("flushed", false),
        ("journal", true),
        ("op:1", true),
        ("op:7", true),
        ("op:20", true),
        ("rolled", true),
        ("recorded", true),
        ("keeping", true),
        ("kept", true),
        ("acknowledged", true),
    ];
    for (version, (point, is_new)) in (2..).zip(points) {
        write_version(&pair.path(Foo0, "html"), version);
        let new = pair.html(Foo0);
        end_standby_at(pair, Some(point));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(12);
        end_standby_at(pair, None);
        let found_new = assert_whole(pair, &old, &new, point);
        assert_eq!(found_new, is_new, "ended at {point}");
        push_on(pair, &new);
        states.push(new.clone());
        old = new;
    }
    // What was kept through all of that still leads back, over several steps that are cut off too.
    // The two commits that were ended before their journal have used a number each.
    for (to, point) in [(10, "op:60"), (12, "rolled"), (9, "op:100")] {
        let number = (to + 2).to_string();
        let undo = pair.on(Foo1, &["undo", "html", "--to", &number]);
        end_at(&undo, point);
        pair.run(Foo1, &["recover"]).expect(0);
        assert_eq!(
            states[to - 2].diff(&pair.html(Foo1)),
            "",
            "undo ended at {point}"
        );
    }
}

/// Runs a command that ends at a point of its commit.
#[track_caller]
fn end_at(command: &Hasync, point: &str) {
    let done = command.clone().env("HASYNC_END_AT", point).run();
    assert_eq!(done.code, 128 + 6, "did not end at {point}: {done}");
}

/// One file of a group cannot be changed: from the mark on it leads back, whatever has become of
/// the file since, and before the mark it is found out anew.
#[test]
fn a_group_ended_on_its_way_back_is_what_it_was() {
    let disk = TempTree::within(Path::new("/tmp"));
    for freed in [false, true] {
        let pair = Pair::with_standby_on(&disk.path(format!("freed-{freed}")));
        let write = |version: usize| {
            for name in ["a", "b"] {
                pair.write(Foo0, &format!("etc/{name}"), name.repeat(version));
            }
        };
        let read = || ["a", "b"].map(|name| pair.read(Foo1, &format!("etc/{name}")));
        let push = || pair.run(Foo0, &["push", "--tree", "conf"]);
        write(1);
        push().expect(0);
        let stuck = pair.path(Foo1, "etc/b").display().to_string();
        let points = ["op:2", "aborted", "op:3", "op:4", "led back", "settled"];
        for (version, point) in (2..).zip(points) {
            let old = read();
            write(version);
            process::run_ok("chattr", &["+i", &stuck]);
            end_standby_at(&pair, Some(&format!("'{point}'")));
            push().expect(12);
            end_standby_at(&pair, None);
            let is_free = freed && point != "op:2";
            if is_free {
                process::run_ok("chattr", &["-i", &stuck]);
            }
            pair.run(Foo1, &["recover"]);
            assert_eq!(read(), old, "ended at {point}");
            if !is_free {
                push().expect(23);
                assert_eq!(read(), old, "ended at {point}");
                process::run_ok("chattr", &["-i", &stuck]);
            }
            push().expect(0);
            assert_eq!(
                read(),
                ["a", "b"].map(|name| name.repeat(version)),
                "{point}"
            );
            assert!(!pair.path(Foo1, "etc/.hasync/stage").exists(), "{point}");
        }
    }
}

/// One file cannot be changed back: whenever the undo ends, the rest of it can be brought back.
#[test]
fn an_undo_held_up_and_ended_at_any_step_can_be_finished() {
    let disk = TempTree::within(Path::new("/tmp"));
    let pair = Pair::with_standby_on(&disk.path("standby"));
    let old = mirrored(&pair);
    write_version(&pair.path(Foo0, "html"), 2);
    let new = pair.html(Foo0);
    push_on(&pair, &new);
    let stuck = old.entries.iter().find(|(path, entry)| {
        let changed = new.entries.get(*path).is_some_and(|new| new != *entry);
        changed && entry.kind == 'f'
    });
    let stuck = std::str::from_utf8(stuck.unwrap().0).unwrap();
    let stuck = pair.path(Foo1, &format!("html/{stuck}"));
    let stuck = stuck.display().to_string();
    let points = [
        "journal", "op:1", "op:5", "rolled", "struck", "recorded", "parting", "keeping", "kept",
    ];
    for point in points {
        process::run_ok("chattr", &["+i", &stuck]);
        end_at(&pair.on(Foo1, &["undo", "html", "--to", "1"]), point);
        let told = pair.run(Foo1, &["recover"]);
        process::run_ok("chattr", &["-i", &stuck]);
        assert_ne!(old.diff(&pair.html(Foo1)), "", "{point}: {told}");
        let done = pair.run(Foo1, &["undo", "html"]).expect(0);
        assert_eq!(old.diff(&pair.html(Foo1)), "", "{point}: {told}{done}");
        let done = pair.run(Foo1, &["undo", "html", "--to", "2"]);
        assert_eq!(new.diff(&pair.html(Foo1)), "", "{point}: {done}");
    }
}

/// Nothing of an undo can be carried out: wherever it ends, it makes no generation, and can be said
/// again.
#[test]
fn an_undo_that_is_held_up_whole_makes_no_generation() {
    let disk = TempTree::within(Path::new("/tmp"));
    let pair = Pair::with_standby_on(&disk.path("standby"));
    for content in ["first", "second"] {
        pair.write(Foo0, "html/file", content);
        pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    }
    let log = || pair.run(Foo1, &["log", "html"]).expect(0).stdout_text();
    let (before, stuck) = (log(), pair.path(Foo1, "html/file").display().to_string());
    process::run_ok("chattr", &["+i", &stuck]);
    for point in ["op:1", "rolled", "struck", "settled"] {
        end_at(&pair.on(Foo1, &["undo", "html"]), point);
        let told = pair.run(Foo1, &["recover"]);
        assert_eq!(log(), before, "{point}: {told}");
    }
    process::run_ok("chattr", &["-i", &stuck]);
    pair.run(Foo1, &["undo", "html"]).expect(0);
    assert_eq!(pair.read(Foo1, "html/file"), "first");
}

#[test]
fn a_recovery_ended_at_any_step_goes_on() {
    let pair = Pair::here("");
    let mut old = mirrored(&pair);
    for (version, point) in (2..).zip(["op:3", "rolled", "recorded", "keeping", "kept"]) {
        write_version(&pair.path(Foo0, "html"), version);
        let new = pair.html(Foo0);
        end_standby_at(&pair, Some("journal"));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(12);
        end_standby_at(&pair, None);
        end_at(&pair.on(Foo1, &["recover"]), point);
        assert!(assert_whole(&pair, &old, &new, point));
        push_on(&pair, &new);
        old = new;
    }
}

/// How many of the ends that pushes came to met an open commit: one whose journal was on disk.
#[derive(Default)]
struct Ends {
    all: usize,
    open: usize,
    /// Those of them that came at any moment, and at no op by design.
    open_by_chance: usize,
}

/// The processes of a push's far half.
struct Far(Vec<Pid>);

/// Starts a push, and lets it go on: until its far half ends `at_an_op`, or to another moment.
fn push_to_a_moment(pair: &Pair, rng: &mut Rng, at_an_op: bool) -> (Running, Far) {
    let op = at_an_op.then(|| format!("op:{}", 1 + rng.below(300)));
    end_standby_at(pair, op.as_deref());
    let mut push = pair.on(Foo0, &["push", "--tree", "html"]).start();
    if op.is_none() {
        let far = Far::await_moment(pair, &mut push, rng);
        return (push, far);
    }
    await_that("the push is over", || push.is_over());
    end_standby_at(pair, None);
    (push, Far(Vec::new()))
}

impl Far {
    /// Lets a push go on to any moment, and three times out of four stops the far half at one of
    /// its commit.
    fn await_moment(pair: &Pair, push: &mut Running, rng: &mut Rng) -> Self {
        if rng.below(4) == 0 {
            std::thread::sleep(Duration::from_millis(20 + rng.below(400) as u64));
            return Far::of(pair);
        }
        let stage = pair.path(Foo1, "html/.hasync/stage");
        while !stage.exists() && !push.is_over() {
            std::thread::yield_now();
        }
        let far = Far::of(pair);
        while !is_open(pair) && !push.is_over() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_micros(rng.below(COMMIT_US) as u64));
        far.signal(Signal::STOP);
        far
    }

    fn of(pair: &Pair) -> Self {
        let all = process::descendants_running(pair.sshd_id(), &Hasync::program());
        let all = all
            .into_iter()
            .map(|pid| Pid::from_raw(pid.try_into().unwrap()));
        Far(all.flatten().collect())
    }

    fn await_end(&self) {
        let runs = |pid: &Pid| {
            let program = format!("/proc/{}/exe", pid.as_raw_nonzero());
            std::fs::read_link(program).is_ok()
        };
        await_that("the far half has ended", || !self.0.iter().any(runs));
    }

    /// Those that have ended by themselves are past it.
    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            let _ = kill_process(*pid, signal);
        }
    }
}

impl Ends {
    /// Counts one, when nothing has been recovered yet.
    fn count(&mut self, pair: &Pair) {
        let is_open = usize::from(is_open(pair));
        self.open_by_chance += if self.is_even() { 0 } else { is_open };
        self.open += is_open;
        self.all += 1;
    }

    fn is_even(&self) -> bool {
        self.all.is_multiple_of(2)
    }

    fn report(&self, campaign: &str) {
        let Ends {
            all,
            open,
            open_by_chance,
        } = self;
        let found = format!(
            "{campaign}: {open} of {all} met an open commit, {open_by_chance} of them by chance"
        );
        report(&found);
        assert!(open * 10 >= all * 3, "{found}");
        assert!(*open_by_chance > 0 || !soak(), "{found}");
    }
}

/// About as long as the changes of a commit take here, in microseconds.
const COMMIT_US: usize = 5_000;

fn is_open(pair: &Pair) -> bool {
    pair.path(Foo1, "html/.hasync/trees/html/journal").exists()
}

/// A version whose commit takes a while.
fn write_large(root: &Path, version: u32) {
    write_version(root, version);
    versions::write_tree(&root.join("many"), 300, version, 1);
}

#[test]
fn kills_at_random_moments_leave_no_mixture() {
    kills("the disk, under a reader", &Pair::here(""), true);
}

#[test]
fn kills_at_random_moments_on_fuse_leave_no_mixture() {
    let disk = TempTree::new();
    let at = disk.path("standby");
    let _mounted = bindfs(&disk, &at);
    kills("bindfs", &Pair::with_standby_on(&at.join("foo1")), false);
}

fn bindfs(disk: &TempTree, at: &Path) -> Mounted {
    let below = disk.mkdir("below").display().to_string();
    Mounted::by(&["bindfs", &below], at.to_owned())
}

/// Under a reader, if one `reads`: what it has open on FUSE is renamed until it is closed, which
/// changes the times of directories.
fn kills(kind: &str, pair: &Pair, reads: bool) {
    let mut rng = Rng::new(5);
    write_large(&pair.path(Foo0, "html"), 1);
    let (mut old, mut ends) = (mirrored(pair), Ends::default());
    let watcher = reads.then(|| Watcher::start(&pair.path(Foo1, "html"), FILES));
    let campaign = format!("kill -9 in a commit on {kind}");
    let count = u32::try_from(rounds(&campaign, 8, 200)).unwrap();
    for version in 2..2 + count {
        write_large(&pair.path(Foo0, "html"), version);
        let new = pair.html(Foo0);
        let (mut push, far) = push_to_a_moment(pair, &mut rng, ends.is_even());
        ends.count(pair);
        if rng.below(2) == 0 {
            push.kill();
            far.signal(Signal::CONT);
        } else {
            far.signal(Signal::KILL);
        }
        push.finish();
        // The far half may outlive its killed sender, and commit after a recovery that found
        // nothing: what it leaves is looked at when it has ended.
        pair.run(Foo1, &["recover"]).expect(0);
        far.await_end();
        assert_whole(pair, &old, &new, "after a kill");
        push_on(pair, &new);
        old = new;
    }
    let is_watched = |watcher: Watcher| watcher.finish() > 0;
    assert!(watcher.is_none_or(is_watched), "nothing was watched");
    ends.report(&campaign);
}

/// The same on a file system that cannot exchange names: what is replaced goes aside first.
#[test]
fn a_commit_without_exchanges_ended_at_any_step_is_one_generation_or_the_next() {
    let launcher = RefusedCall::exchange();
    let words = launcher.words();
    let words = words.each_ref().map(String::as_str);
    let pair = Pair::here("");
    let under = |args: &[&str]| pair.on(Foo1, args).under(&words).run().expect(0);
    let script = pair.read(Foo1, "hasync");
    let script = script.replace("exec ", &format!("exec {} ", words.join(" ")));
    pair.write(Foo1, "hasync", script);
    let write = |version: u32| {
        let root = pair.path(Foo0, "html");
        let turns = root.join("turns");
        let _ = std::fs::remove_file(&turns);
        let _ = std::fs::remove_dir_all(&turns);
        if version.is_multiple_of(2) {
            pair.write(Foo0, "html/turns/into/dir", version.to_string());
        } else {
            symlink(version.to_string(), &turns).unwrap();
        }
        pair.write(Foo0, "html/file", "x".repeat(version as usize));
        pair.write(Foo0, "html/other", "y".repeat(version as usize));
        pair.html(Foo0)
    };
    let mut states = vec![write(1)];
    pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
    // In turns a directory takes the place of a symlink, which is absent for a moment, and goes.
    let points = [
        "replaced:1",
        "replaced:3",
        "replaced:3",
        "aside:1",
        "absent",
        "rolled",
        "aside:3",
        "aside:3",
        "aside:3",
    ];
    for (version, point) in (2..).zip(points) {
        let new = write(version);
        end_standby_at(&pair, Some(point));
        pair.run(Foo0, &["push", "--tree", "html"]).expect(12);
        end_standby_at(&pair, None);
        under(&["recover"]);
        assert_eq!(new.diff(&pair.html(Foo1)), "", "ended at {point}");
        push_on(&pair, &new);
        states.push(new);
    }
    // An undo, ended in its midst too, as far back as is kept and forward again.
    for (state, point) in [(7, "aside:2"), (9, "absent"), (8, "replaced:3")] {
        let undo = pair.on(Foo1, &["undo", "html", "--to", &format!("{}", state + 1)]);
        end_at(&undo.under(&words), point);
        under(&["recover"]);
        let found = pair.html(Foo1);
        assert_eq!(states[state].diff(&found), "", "undo ended at {point}");
    }
}

fn power_cuts(kind: &str, mebibytes: u64) {
    let disk = LoopFs::new(kind, mebibytes);
    let pair = Pair::with_standby_on(&disk.path("foo1"));
    let mut rng = Rng::new(7);
    write_large(&pair.path(Foo0, "html"), 1);
    let mut old = mirrored(&pair);
    let normal = 4;
    let count = u32::try_from(rounds(&format!("power cuts on {kind}"), normal, 200)).unwrap();
    let mut ends = Ends::default();
    for version in 2..2 + count {
        write_large(&pair.path(Foo0, "html"), version);
        let new = pair.html(Foo0);
        if version.is_multiple_of(4) {
            // Right after success: everything is there, and nothing else.
            pair.run(Foo0, &["push", "--tree", "html"]).expect(0);
            disk.cut_power();
            assert!(assert_whole(&pair, &old, &new, "right after exit 0"));
        } else {
            // At any moment, while others' writes make the kernel write back.
            let mut syncs = disk.sync_all_the_time();
            let (push, far) = push_to_a_moment(&pair, &mut rng, ends.is_even());
            std::thread::sleep(Duration::from_millis(rng.below(60) as u64));
            disk.shut_down();
            far.signal(Signal::KILL);
            disk.boot();
            let _ = syncs.kill();
            let _ = syncs.wait();
            push.finish();
            ends.count(&pair);
            assert_whole(&pair, &old, &new, "after a power cut");
        }
        push_on(&pair, &new);
        old = new;
    }
    ends.report(&format!("power cuts on {kind}"));
}

#[test]
fn power_cuts_on_ext4_leave_no_mixture() {
    power_cuts("ext4", 128);
}

#[test]
fn power_cuts_on_xfs_leave_no_mixture() {
    power_cuts("xfs", 320);
}
