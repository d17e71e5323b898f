//! rsync 3.5.0 as the oracle: the same push through a stand-in for ssh, so that it takes
//! the same role (sender here, receiver there) and prints the same direction letter.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::hasync::FakeRsh;
use super::process::{Finished, Running};

/// rsync 3.5.0 can hang (a hard link whose place is taken by a full directory).
const RSYNC_HANGS_AFTER_SECONDS: u64 = 20;

/// Runs `rsync OPTIONS SRC... host:DST`; `None` when rsync hung.
pub(crate) fn push<S: AsRef<OsStr>>(
    rsh: &FakeRsh,
    options: &[S],
    sources: &[S],
    target: &Path,
) -> Option<Finished> {
    let mut command = Command::new("rsync");
    command
        .arg("-e")
        .arg(rsh.path())
        .args(options)
        .args(sources);
    command.arg(format!("host:{}", target.display()));
    Running::start(command).finish_within(RSYNC_HANGS_AFTER_SECONDS)
}

/// True when rsync is the version whose behaviour the tests were taken from.
pub(crate) fn is_the_oracle() -> bool {
    let mut command = Command::new("rsync");
    command.arg("--version");
    Running::start(command)
        .finish()
        .stdout_text()
        .starts_with("rsync  version 3.5.0 ")
}
