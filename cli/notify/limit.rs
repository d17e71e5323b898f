//! How often the same is told: a file in the node's state with one line for each event, tree and
//! cause, the time of its last notice and how many were held back since.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hasync_engine::{Attempt, Error, StateDir, escape};

use super::Notice;
use crate::exit::Exit;

/// The file in the state, and the lock on it.
const FILE: &str = "notices";
const LOCK: &str = "notices.lock";
/// How long another process that tells something is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// The most that is read of the file, in bytes.
const MAX_LEN: u64 = 1 << 20;
/// The longest key, in bytes.
const KEY_LEN_MAX: usize = 500;

/// What makes a notice the same as an earlier one: the event, the tree and the cause. The cause is
/// the exit code; where many have the same, it is also what is said, without the words that have a
/// digit: times, sizes and processes are others each time.
pub(super) fn key(notice: &Notice) -> String {
    let tree = notice.tree.as_deref().unwrap_or("-");
    let mut key = format!("{} {tree} {}", notice.event.name(), notice.exit);
    let is_told_by_its_code = [
        Exit::Fenced,
        Exit::Diverged,
        Exit::DeleteLimit,
        Exit::Partial,
        Exit::Locked,
        Exit::NotEqual,
    ]
    .iter()
    .any(|exit| *exit as u8 == notice.exit);
    if !is_told_by_its_code {
        let words = notice.line.split_whitespace();
        for word in words.filter(|word| !word.contains(|c: char| c.is_ascii_digit())) {
            key.push(' ');
            key.push_str(&escape(word.as_bytes()));
        }
    }
    let end = (0..=KEY_LEN_MAX).rev().find(|at| key.is_char_boundary(*at));
    key.truncate(end.unwrap_or(0));
    key
}

/// Whether a notice of this key passes now, and how many were held back before it. If the file
/// cannot be kept, everything passes: too many notices are better than none.
pub(super) fn pass(state: &Path, key: &str, repeat: Duration) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    pass_at(state, key, repeat, now).unwrap_or(Some(0))
}

/// Forgets what was told.
pub(super) fn forget(state: &Path) {
    // With an empty file everything passes; if it cannot be written, less does.
    let _ = StateDir::open(state).and_then(|dir| dir.replace(FILE, b""));
}

fn pass_at(state: &Path, key: &str, repeat: Duration, now: u64) -> Result<Option<u64>, Error> {
    let dir = StateDir::open(state)?;
    let Attempt::Taken(_lock) = dir.lock(LOCK, Instant::now() + LOCK_WAIT)? else {
        return Ok(Some(0));
    };
    // What cannot be read, or was not written here, is forgotten.
    let told = dir.read(FILE, MAX_LEN).ok().flatten();
    let mut told = parse(&told.unwrap_or_default());
    let last = told.get(key).copied();
    let passes = match last {
        // A clock that was set back must not silence anybody.
        Some((at, _)) => now < at || now - at >= repeat.as_secs(),
        None => true,
    };
    let held_back = last.map_or(0, |(_, held_back)| held_back);
    let line = match last {
        Some((at, _)) if !passes => (at, held_back + 1),
        _ => (now, 0),
    };
    told.insert(key.to_owned(), line);
    // What is long over need not be kept.
    told.retain(|_, (at, _)| now < *at || now - *at < repeat.as_secs().max(30 * 86_400));
    let lines = told
        .iter()
        .map(|(key, (at, held_back))| format!("{at} {held_back} {key}\n"));
    let text: String = lines.collect();
    dir.replace(FILE, text.as_bytes())?;
    Ok(passes.then_some(held_back))
}

/// A line that makes no sense is forgotten.
fn parse(bytes: &[u8]) -> BTreeMap<String, (u64, u64)> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (at, held_back) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((words.next()?.to_owned(), (at, held_back)))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Event;

    #[test]
    fn another_cause_is_another_key_and_the_same_in_other_figures_is_not() {
        let key = |exit: Exit, line: &str| {
            super::key(&Notice {
                event: Event::Failure,
                tree: Some("html".to_owned()),
                exit: exit as u8,
                line: line.to_owned(),
                next: String::new(),
            })
        };
        let away = key(Exit::Unreachable, "cannot reach b: connection refused");
        assert_ne!(away, key(Exit::Auth, "cannot reach b: connection refused"));
        assert_ne!(
            away,
            key(Exit::Unreachable, "cannot reach c: no route to host")
        );
        for (exit, one, other) in [
            (Exit::Timeout, "silent for 20 s", "silent for 21 s"),
            (
                Exit::Fenced,
                "since epoch 2 (generation 7)",
                "since epoch 2 (of b)",
            ),
            (
                Exit::Partial,
                "first: cannot read a",
                "first: cannot read b",
            ),
        ] {
            assert_eq!(key(exit, one), key(exit, other));
        }
        // One line, however long.
        assert!(key(Exit::FileIo, &"\n\u{e9}x ".repeat(900)).len() <= KEY_LEN_MAX);
        assert!(!key(Exit::FileIo, "a\nb").contains('\n'));
    }

    #[test]
    fn the_same_is_told_again_only_after_a_while() {
        let state = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        let pass = |key: &str, now| pass_at(state.path(), key, hour, now).unwrap();
        assert_eq!(pass("failure html", 10_000), Some(0));
        assert_eq!(pass("failure html", 10_001), None);
        assert_eq!(pass("failure html", 13_599), None);
        assert_eq!(pass("failure mail", 13_599), Some(0), "another tree");
        assert_eq!(pass("overlap", 13_599), Some(0), "another event");
        assert_eq!(pass("failure html", 13_600), Some(2));
        assert_eq!(pass("failure html", 13_601), None);
        assert_eq!(
            pass("failure html", 5_000),
            Some(1),
            "the clock was set back"
        );
    }

    #[test]
    fn what_is_forgotten_is_told_again() {
        let state = tempfile::tempdir().unwrap();
        let hour = Duration::from_secs(3600);
        assert!(pass(state.path(), "failure", hour).is_some());
        assert!(pass(state.path(), "failure", hour).is_none());
        forget(state.path());
        assert!(pass(state.path(), "failure", hour).is_some());
    }

    #[test]
    fn a_state_that_cannot_be_kept_silences_nobody() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for _ in 0..2 {
            assert_eq!(
                pass(file.path(), "overlap", Duration::from_secs(9)),
                Some(0)
            );
        }
    }

    #[test]
    fn damage_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(
            state.path().join("notices"),
            b"x\n\xff 1 overlap\n1 overlap\n",
        )
        .unwrap();
        let pass = pass_at(state.path(), "overlap", Duration::from_secs(9), 5).unwrap();
        assert_eq!(pass, Some(0));
    }
}
