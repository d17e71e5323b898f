//! Pushes that are killed on either side or lose the link at some moment: every live file
//! is wholly old or wholly new, and the next push makes the trees equal and leaves no litter.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::netns::{NetNs, STANDBY};
use crate::support::process::Running;
use crate::support::{Hasync, Rng, Snapshot, Sshd, TempTree, await_that, rounds, versions};

const FILES: usize = 300;

/// An old tree at the target and a new one at the source.
struct Upgrade {
    trees: TempTree,
    old: Snapshot,
    new: Snapshot,
}

impl Upgrade {
    fn new() -> Self {
        let trees = TempTree::new();
        let source = trees.mkdir("source");
        versions::write_tree(&source, FILES, 1, 500);
        trees.write("source/large", versions::content(1, 1, 1_500_000));
        trees.write("source/obsolete/file", "to be deleted");
        let push = Hasync::push(&["-a"]).arg(trees.contents_of("source"));
        push.arg(trees.path("target")).run().expect(0);
        let old = Snapshot::of(&source);
        versions::write_tree(&source, FILES + 100, 2, 510);
        trees.write("source/large", versions::content(1, 2, 1_500_100));
        trees.write("source/large-and-new", versions::content(2, 2, 1_500_000));
        std::fs::remove_dir_all(source.join("obsolete")).unwrap();
        let new = Snapshot::of(&source);
        Self { trees, old, new }
    }

    /// With 8 MiB more to send, which do not compress.
    fn with_bulk(mut self, seed: usize) -> Self {
        let bulk = Rng::new(seed as u64).bytes(8 << 20);
        self.trees.write("source/bulk", bulk);
        self.new = Snapshot::of(&self.trees.path("source"));
        self
    }

    fn from(&self) -> String {
        self.trees.contents_of("source")
    }

    fn target(&self) -> std::path::PathBuf {
        self.trees.path("target")
    }

    /// After an interruption: nothing half-written.
    #[track_caller]
    fn assert_sound(&self) {
        versions::assert_old_or_new(&Snapshot::of(&self.target()), &self.old, &self.new);
    }

    /// The next push repairs and cleans.
    #[track_caller]
    fn assert_repaired_by(&self, push: &Hasync) {
        push.run().expect(0);
        let there = Snapshot::of(&self.target());
        assert!(
            there.litter().is_empty(),
            "left behind: {:?}",
            there.litter()
        );
        self.new.assert_same(&there);
    }
}

#[test]
fn kill_of_the_pushing_side() {
    for round in 0..rounds("kill -9 of the local side", 6, 200) {
        let upgrade = Upgrade::new();
        let push = Hasync::push(&["-a", "--delete"])
            .arg(upgrade.from())
            .arg(upgrade.target());
        let mut running = push.start();
        wait_for_the_moment(&mut running, &upgrade.target(), round);
        running.kill();
        running.finish();
        await_no_lock(&upgrade.target());
        upgrade.assert_sound();
        upgrade.assert_repaired_by(&push);
    }
}

#[test]
fn kill_of_the_pushing_side_over_sshd() {
    let sshd = Sshd::start();
    for round in 0..rounds("kill -9 of the local side over sshd", 4, 200) {
        let upgrade = Upgrade::new();
        let push = sshd.push(&["-a", "--delete"], &upgrade.from(), &upgrade.target());
        let mut running = push.start();
        wait_for_the_moment(&mut running, &upgrade.target(), round);
        running.kill();
        running.finish();
        await_end_of(&sshd);
        upgrade.assert_sound();
        upgrade.assert_repaired_by(&push);
    }
}

#[test]
fn kill_of_the_far_half() {
    let sshd = Sshd::start();
    let mut hits = 0;
    for round in 0..rounds("kill -9 of the far half", 6, 200) {
        let upgrade = Upgrade::new();
        // Half a second to send, so that some pushes are hit on any machine.
        let slow = ["-a", "--delete", "--no-compress", "--bwlimit=100m"];
        let push = sshd.push(&slow, &upgrade.from(), &upgrade.target());
        let mut running = push.start();
        wait_for_the_moment(&mut running, &upgrade.target(), round);
        let far = sshd.far_halves();
        for pid in &far {
            let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let done = running.finish();
        upgrade.assert_sound();
        if done.code != 0 {
            hits += 1;
            done.expect_error(12, &[]);
        }
        upgrade.assert_repaired_by(&push);
    }
    assert!(hits > 0, "no push was hit while it ran");
}

#[test]
fn link_taken_down() {
    let nodes = NetNs::pair();
    let sshd = Sshd::start_at(&nodes.on_standby(), STANDBY, 2200);
    for round in 0..rounds("link taken down", 2, 30) {
        let upgrade = Upgrade::new().with_bulk(round);
        // It has half a minute to send: the push cannot be over when the link is cut.
        nodes.limit_mbit(2);
        let push = sshd
            .push(
                &["-a", "--delete", "--timeout=3"],
                &upgrade.from(),
                &upgrade.target(),
            )
            .under(&nodes.on_primary());
        let mut running = push.start();
        wait_for_the_moment(&mut running, &upgrade.target(), round * 9);
        assert!(!running.is_over(), "the push ended before the link was cut");
        nodes.cut();
        running.finish().expect_error(30, &[]);
        upgrade.assert_sound();
        nodes.mend();
        nodes.lift_limit();
        // The far half notices by itself, within its own bound, and gives the tree free.
        await_end_of(&sshd);
        upgrade.assert_repaired_by(&push);
    }
}

#[test]
fn an_atomic_push_goes_on_where_its_link_broke() {
    const PART: u64 = 2 << 20;
    let nodes = NetNs::pair();
    let sshd = Sshd::start_at(&nodes.on_standby(), STANDBY, 2200);
    let upgrade = Upgrade::new().with_bulk(1);
    nodes.limit_mbit(10);
    let letters = ["-a", "--delete", "--atomic", "--timeout=3", "--stats"];
    let push = sshd.push(&letters, &upgrade.from(), &upgrade.target());
    let push = push.under(&nodes.on_primary());
    let mut running = push.start();
    let stage = upgrade.target().join(".hasync/stage");
    await_that("a part is staged", || files_len(&stage) >= PART);
    assert!(!running.is_over(), "the push ended before the link was cut");
    nodes.cut();
    running.finish().expect_error(30, &[]);
    nodes.mend();
    nodes.lift_limit();
    await_end_of(&sshd);
    upgrade.assert_sound();
    assert!(upgrade.target().join("obsolete/file").exists());
    assert!(!upgrade.target().join("bulk").exists());
    let kept = files_len(&stage);
    assert!(kept >= PART, "{kept} bytes kept");
    let done = push.run().expect(0);
    let text = done.stdout_text();
    let sent = text
        .lines()
        .find_map(|line| line.strip_prefix("Literal data: "));
    let sent: String = sent.unwrap().chars().filter(char::is_ascii_digit).collect();
    let len = files_len(&upgrade.trees.path("source"));
    let sent: u64 = sent.parse().unwrap();
    assert!(
        sent + kept / 2 < len,
        "{sent} of {len} bytes sent after {kept}"
    );
    upgrade.assert_repaired_by(&push);
}

/// Bytes in the files below `dir`, as long as there is one.
fn files_len(dir: &Path) -> u64 {
    let staged = walkdir::WalkDir::new(dir).into_iter();
    let lens = staged.flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    });
    lens.sum()
}

#[test]
fn terminate_signal_ends_with_code_20() {
    let upgrade = Upgrade::new();
    let push = Hasync::push(&["-a", "--delete"])
        .arg(upgrade.from())
        .arg(upgrade.target());
    let mut running = push.start();
    wait_for_the_moment(&mut running, &upgrade.target(), 0);
    let pid = rustix::process::Pid::from_raw(i32::try_from(running.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let done = running.finish();
    assert!(matches!(done.code, 0 | 20), "{done}");
    await_no_lock(&upgrade.target());
    upgrade.assert_sound();
    upgrade.assert_repaired_by(&push);
}

/// Returns when staging has begun plus a little that differs from round to round, or when
/// the push is over.
fn wait_for_the_moment(running: &mut Running, target: &Path, round: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !target.join(".hasync").exists() && !running.is_over() {
        assert!(
            Instant::now() < deadline,
            "the push does not begin to stage"
        );
        thread::sleep(Duration::from_micros(200));
    }
    let delay = Rng::new(round as u64).below(120);
    thread::sleep(Duration::from_millis(delay as u64));
}

/// A receiver whose sender was killed ends by itself: wait until it has let go of its lock.
fn await_no_lock(target: &Path) {
    let stage = target.join(".hasync/stage");
    await_that("the receiver lets go of its lock", || {
        let Ok(sessions) = std::fs::read_dir(&stage) else {
            return true;
        };
        !sessions.flatten().any(|session| {
            let Ok(dir) = std::fs::File::open(session.path()) else {
                return false;
            };
            let flags = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::flock(&dir, flags).is_err()
        })
    });
}

fn await_end_of(sshd: &Sshd) {
    await_that("the far half ends", || sshd.far_halves().is_empty());
}
