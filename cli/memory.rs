//! What this node remembers of its pushes from one run to the next, beside the records of the
//! engine: how large each tree was, how the last cycles went, and since when first pushes are held
//! back. Losing it costs nothing but a brake that knows less.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hasync_engine::{Attempt, Error, ErrorKind, StateDir};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::state::Noted;
use crate::state::record::PeerState;

/// Its file in the state.
const FILE: &str = "memory.json";
/// How long another process that changes it is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How many cycles are remembered.
const MAX_CYCLES: usize = 200;
/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Everything that is remembered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// By tree.
    pub(crate) trees: BTreeMap<String, Known>,
    /// The last ones, oldest first.
    pub(crate) cycles: Vec<Course>,
    /// By tree, when this node was promoted, in seconds since 1970, until its first push is
    /// through.
    pub(crate) held: BTreeMap<String, u64>,
    /// By tree, what failed last.
    pub(crate) troubles: BTreeMap<String, Noted>,
    /// By tree, what the peer said last.
    pub(crate) peers: BTreeMap<String, PeerState>,
    /// By tree, when this node was last promoted or demoted, in seconds since 1970.
    pub(crate) moved: BTreeMap<String, u64>,
    /// When the peer last had its wish for this node's last push, in seconds since 1970.
    pub(crate) last_push_wished: Option<u64>,
    /// How the mirror was last stopped while this node was primary.
    pub(crate) last_stop: Option<LastStop>,
}

/// How a primary was made a standby.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastStop {
    /// When its last push began, in seconds since 1970.
    pub(crate) began: u64,
    /// By tree, why what changed since the last good push could not be sent.
    pub(crate) unsent: BTreeMap<String, String>,
}

/// What the last good push of a tree saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Entries of the source.
    pub(crate) entries: u64,
    /// Whether its root was a file system of its own.
    pub(crate) is_mount: bool,
}

/// How a cycle went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Course {
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u64,
    /// The exit code.
    pub(crate) exit: u8,
    /// Bytes written to the link.
    pub(crate) sent_bytes: u64,
    /// What was said about the worst that happened, if something did.
    #[serde(default)]
    pub(crate) line: Option<String>,
}

/// Longest such line that is remembered, in bytes.
const MAX_LINE: usize = 500;

impl Course {
    /// Whether it pushed everything; files that vanish while they are read are a part of life.
    pub(crate) fn is_good(&self) -> bool {
        [Exit::Ok, Exit::Vanished]
            .map(|exit| exit as u8)
            .contains(&self.exit)
    }
}

impl Memory {
    /// What is remembered in `state`; damage and absence are nothing.
    pub(crate) fn recall(state: &Path) -> Self {
        let read = StateDir::look(state).map(|dir| dir?.read(FILE, MAX_LEN).ok()?);
        match read {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => Memory::default(),
        }
    }

    /// Changes what is remembered, one process at a time.
    pub(crate) fn change(state: &Path, change: impl FnOnce(&mut Memory)) -> Result<(), Failure> {
        let dir = StateDir::open(state)?;
        let Attempt::Taken(_lock) = dir.lock("memory.lock", Instant::now() + LOCK_WAIT)? else {
            let message = format!(
                "another process has been changing {}/{FILE} for {} s",
                state.display(),
                LOCK_WAIT.as_secs()
            );
            return Err(Error::new(ErrorKind::Locked, message).into());
        };
        let mut memory = Memory::recall(state);
        change(&mut memory);
        let surplus = memory.cycles.len().saturating_sub(MAX_CYCLES);
        memory.cycles.drain(..surplus);
        for line in memory.cycles.iter_mut().filter_map(|c| c.line.as_mut()) {
            let end = (0..=MAX_LINE).rev().find(|at| line.is_char_boundary(*at));
            line.truncate(end.unwrap_or(0));
        }
        let text = serde_json::to_vec_pretty(&memory).unwrap_or_default();
        Ok(dir.replace(FILE, &text)?)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.as_ref().map_or(0, Duration::as_secs)
}

/// What is left of a time that began then, in seconds since 1970. A clock that was set back since
/// does not make it longer: then it is over.
pub(crate) fn left(since: u64, time: Duration) -> Option<Duration> {
    let age = Duration::from_secs(now().checked_sub(since)?);
    time.checked_sub(age).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_changed_is_remembered_and_only_so_much() {
        let state = tempfile::tempdir().unwrap();
        for began in 0..300 {
            Memory::change(state.path(), |memory| {
                memory.cycles.push(Course {
                    began,
                    took_ms: 1,
                    exit: 0,
                    sent_bytes: 0,
                    line: Some("x".repeat(2 * MAX_LINE)),
                });
            })
            .unwrap();
        }
        let memory = Memory::recall(state.path());
        assert_eq!(
            (memory.cycles.len(), memory.cycles[0].began),
            (MAX_CYCLES, 100)
        );
        assert_eq!(memory.cycles[0].line.as_ref().unwrap().len(), MAX_LINE);
    }

    #[test]
    fn a_time_ends_however_the_clock_is_set() {
        let hour = Duration::from_secs(3600);
        for (ago, ends) in [(-7200, true), (-30, true), (30, false), (7200, true)] {
            let left = left(now().saturating_add_signed(-ago), hour);
            assert_eq!(left.is_none(), ends, "{ago} s ago");
            assert!(left.is_none_or(|left| left < hour), "{left:?}");
        }
        assert_eq!(left(now().saturating_sub(1), Duration::ZERO), None);
    }

    #[test]
    fn damage_is_nothing_remembered() {
        let state = tempfile::tempdir().unwrap();
        assert!(Memory::recall(state.path()).trees.is_empty());
        std::fs::write(state.path().join(FILE), "{").unwrap();
        assert!(Memory::recall(state.path()).trees.is_empty());
    }
}
