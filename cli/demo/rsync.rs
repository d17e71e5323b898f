//! rsync beside it, if it is installed: the same change of the same tree, into a copy of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::figures::Course;
use super::scene::Scene;
use crate::exit::{Exit, Failure};

/// In the place of ssh: drops the host, and runs the rest here.
const PIPE: &str = "#!/bin/sh\nshift\nexec sh -c \"$*\"\n";

/// rsync, with a copy of the tree as it was.
pub(super) struct Rsync {
    source: PathBuf,
    target: PathBuf,
    pipe: PathBuf,
}

impl Rsync {
    /// Makes the copy; `None` if there is no rsync.
    pub(super) fn prepare(scene: &Scene) -> Result<Option<Self>, Failure> {
        let rsync = Rsync {
            source: scene.path("primary").join(""),
            target: scene.path("rsync"),
            pipe: scene.path("pipe"),
        };
        scene.write_program("pipe", PIPE)?;
        let copied = Command::new("rsync")
            .arg("-aH")
            .args([&rsync.source, &rsync.target])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        Ok(copied.is_ok_and(|status| status.success()).then_some(rsync))
    }

    /// Pushes what has changed since.
    pub(super) fn push(&self) -> Result<Course, Failure> {
        let began = Instant::now();
        let done = Command::new("rsync")
            .args(["-aH", "--delete", "--stats", "-e"])
            .args([&self.pipe, &self.source])
            .arg(format!("here:{}", self.target.display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| Failure::cannot("start rsync", &cause))?;
        let elapsed = began.elapsed();
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            let line = said.lines().next().unwrap_or_default();
            return Err(Failure::new(Exit::Stream, format!("rsync failed: {line}")));
        }
        Ok(Course {
            entries: None,
            changes: None,
            link_bytes: link_bytes(&String::from_utf8_lossy(&done.stdout)),
            elapsed,
        })
    }
}

/// What `--stats` says went either way.
fn link_bytes(stats: &str) -> u64 {
    let lines = stats.lines().filter_map(|line| {
        let number = line.strip_prefix("Total bytes ")?.split(": ").nth(1)?;
        let digits = number.chars().filter(char::is_ascii_digit);
        digits.collect::<String>().parse::<u64>().ok()
    });
    lines.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_count() {
        let stats = "Number of files: 3\nTotal bytes sent: 1,234\nTotal bytes received: 66\n";
        assert_eq!(link_bytes(stats), 1_300);
    }
}
