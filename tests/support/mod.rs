//! Fixtures of the integration tests: trees on disk, the program under test, a real sshd and
//! hasync's own server, an SMTP server, two network namespaces, mount namespaces without `/proc`,
//! small loop-mounted file systems, a disk that hangs, a kernel that lacks a call, hosts as they
//! are after their installation, a pair of configured nodes with a service that moves by hand or by
//! a cluster manager, the resource agent of one, ACLs and extended attributes, tree snapshots and
//! the rsync oracle. Each file holds one fixture and cleans up after itself on drop.

pub(crate) mod acl;
pub(crate) mod agent;
pub(crate) mod clean_root;
pub(crate) mod cluster;
pub(crate) mod flood;
pub(crate) mod hanging;
pub(crate) mod hasync;
pub(crate) mod local_user;
pub(crate) mod loopfs;
pub(crate) mod mounted;
pub(crate) mod mountns;
pub(crate) mod netns;
pub(crate) mod own_server;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod refused_call;
pub(crate) mod rng;
pub(crate) mod rsync;
pub(crate) mod service;
pub(crate) mod smtp;
pub(crate) mod snapshot;
pub(crate) mod sshd;
pub(crate) mod temptree;
pub(crate) mod versions;
pub(crate) mod xattrs;

use std::io::Write as _;
use std::time::{Duration, Instant};

pub(crate) use hasync::Hasync;
pub(crate) use process::Finished;
pub(crate) use rng::Rng;
pub(crate) use snapshot::Snapshot;
pub(crate) use sshd::Sshd;
pub(crate) use temptree::TempTree;

/// True when the long campaigns are asked for (`tests/run.sh --soak`).
pub(crate) fn soak() -> bool {
    std::env::var_os("HASYNC_SOAK").is_some_and(|value| value == "1")
}

/// How many rounds a campaign runs; `tests/run.sh` prints the list at its end.
pub(crate) fn rounds(campaign: &str, normal: usize, full: usize) -> usize {
    let count = if soak() { full } else { normal };
    report(&format!(
        "{campaign}: {count} rounds (normal {normal}, soak {full})"
    ));
    count
}

/// Says something that `tests/run.sh` shows again at its end: a campaign's size, a measurement.
pub(crate) fn report(line: &str) {
    let line = format!("{line}\n");
    print!("{line}");
    if let Some(log) = std::env::var_os("HASYNC_CAMPAIGN_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).open(log).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

/// Stops a test that mounts, changes owners or makes namespaces when it cannot.
pub(crate) fn need_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root (mounts, owners, namespaces): run tests/run.sh as root"
    );
}

/// Waits for something that comes by itself, however slow the machine is; within limits.
#[track_caller]
pub(crate) fn await_that(what: &str, holds: impl FnMut() -> bool) {
    await_or_tell(|| what.to_owned(), holds);
}

/// The same, with more to tell if it does not come.
#[track_caller]
pub(crate) fn await_or_tell(told: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {}", told());
        std::thread::sleep(Duration::from_millis(10));
    }
}
