//! Whether this node's clock can be believed: what goes by its age alone goes only then.
//!
//! A clock is believed as long as it goes with the time since boot, and the peer's with it. One
//! that was set shows that neither before nor after says how long ago anything was, until it is
//! what the peer's says too.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, since_boot_ns};
use crate::fs::boot;
use crate::generation::record::{self, RecordKind};
use crate::lineage::generation::Generation;

const CLOCKS: RecordKind = RecordKind {
    letters: *b"CK",
    name: "clocks",
};

/// Clocks that are further apart than this, or went so differently, have been set.
const STEP_NS: i64 = 60_000_000_000;

/// What the clocks showed in one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clocks {
    here_ns: i64,
    since_boot_ns: i64,
    boot: [u8; 16],
    /// How far the peer's was ahead, if there was one.
    peer_ahead_ns: Option<i64>,
}

/// What follows from what the clocks show, after what they showed when they were last noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Believed,
    /// The peer's was set, not ours: that counts once.
    FromNowOn,
    /// Ours was set, or nothing speaks for it.
    Doubtful,
}

impl Clocks {
    fn after(&self, before: &Clocks) -> Verdict {
        let agrees = |ahead: Option<i64>| ahead.is_some_and(is_small);
        if agrees(self.peer_ahead_ns) && !agrees(before.peer_ahead_ns.or(Some(0))) {
            // It was wrong before, and has been put right.
            return Verdict::Believed;
        }
        let peers = self.peer_ahead_ns.zip(before.peer_ahead_ns);
        let with_peer = peers.map(|(now, then)| is_small(now.saturating_sub(then)));
        let gone_ns = self.here_ns.saturating_sub(before.here_ns);
        let is_same_boot = self.boot == before.boot && self.boot != [0; 16];
        if is_same_boot {
            let since_ns = self.since_boot_ns.saturating_sub(before.since_boot_ns);
            return match (is_small(gone_ns.saturating_sub(since_ns)), with_peer) {
                (true, None | Some(true)) => Verdict::Believed,
                (true, Some(false)) => Verdict::FromNowOn,
                (false, _) => Verdict::Doubtful,
            };
        }
        match with_peer {
            Some(true) if gone_ns > -STEP_NS => Verdict::Believed,
            _ => Verdict::Doubtful,
        }
    }
}

fn is_small(step_ns: i64) -> bool {
    step_ns.unsigned_abs() <= STEP_NS.unsigned_abs()
}

/// Whether the age of what is kept can be told now, when the peer's clock, if one is known, is so
/// far ahead of this node's. The next call compares with what is noted now.
pub(super) fn are_believed(records: &OwnedFd, peer_ahead_ns: Option<i64>) -> io::Result<bool> {
    let mut now = Clocks {
        here_ns: now_ns(),
        since_boot_ns: since_boot_ns(),
        boot: boot(),
        peer_ahead_ns,
    };
    let before: Option<Clocks> = record::read(records, CLOCKS)?;
    let verdict = before.map_or(Verdict::FromNowOn, |before| now.after(&before));
    if verdict != Verdict::Doubtful {
        let known = before.and_then(|before| before.peer_ahead_ns);
        now.peer_ahead_ns = now.peer_ahead_ns.or(known);
        record::write(records, CLOCKS, &now)?;
    }
    Ok(verdict == Verdict::Believed)
}

/// When generations were made, by a log of them: none before one that it follows, though a clock
/// may have said so, and what is yet to come says nothing.
pub(super) fn times_made(log: &[Generation]) -> impl Fn(&Generation) -> i64 + '_ {
    let now_ns = now_ns();
    move |generation| {
        let known = log.iter().filter(|other| other.made_ns <= now_ns);
        let before = known.filter(|other| other.number <= generation.number);
        let latest = before.map(|other| other.made_ns).max();
        latest.map_or(generation.made_ns, |latest| latest.max(generation.made_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn a_clock_is_believed_while_nothing_speaks_against_it() {
        let clocks = |here_s, since_boot_s, boot, peer_ahead_s: Option<i64>| Clocks {
            here_ns: here_s * S,
            since_boot_ns: since_boot_s * S,
            boot: [boot; 16],
            peer_ahead_ns: peer_ahead_s.map(|ahead_s| ahead_s * S),
        };
        let (year, off) = (31_536_000, Some(7200));
        let before = clocks(1000, 100, 1, Some(0));
        let alone = clocks(1000, 100, 1, None);
        let apart = clocks(1000, 100, 1, off);
        for (before, now, verdict) in [
            (before, clocks(1500, 600, 1, Some(1)), Verdict::Believed),
            (before, clocks(1500, 600, 1, None), Verdict::Believed),
            (apart, clocks(1500, 600, 1, off), Verdict::Believed),
            // Small steps, as time servers make them.
            (before, clocks(1530, 600, 1, Some(-30)), Verdict::Believed),
            // Set: far ahead, far back, here and there at once, in the next boot.
            (
                before,
                clocks(1500 + year, 600, 1, Some(-year)),
                Verdict::Doubtful,
            ),
            (before, clocks(1500 + year, 600, 1, None), Verdict::Doubtful),
            (alone, clocks(1500 + year, 600, 1, None), Verdict::Doubtful),
            (
                before,
                clocks(1500 - year, 600, 1, Some(year)),
                Verdict::Doubtful,
            ),
            (
                before,
                clocks(1500 + year, 600, 1, Some(0)),
                Verdict::Doubtful,
            ),
            (
                before,
                clocks(1500 + year, 9, 2, Some(-year)),
                Verdict::Doubtful,
            ),
            (
                before,
                clocks(1500 - year, 9, 2, Some(0)),
                Verdict::Doubtful,
            ),
            // After a boot the peer is the only witness.
            (before, clocks(1500, 9, 2, Some(0)), Verdict::Believed),
            (before, clocks(1500, 9, 2, None), Verdict::Doubtful),
            (alone, clocks(1500, 9, 2, Some(0)), Verdict::Doubtful),
            (before, clocks(1500, 9, 0, Some(0)), Verdict::Believed),
            // The peer's was set.
            (before, clocks(1500, 600, 1, off), Verdict::FromNowOn),
            // What was wrong has been put right, whichever it was.
            (
                apart,
                clocks(1500 + 7200, 600, 1, Some(0)),
                Verdict::Believed,
            ),
            (apart, clocks(1500, 600, 1, Some(0)), Verdict::Believed),
            (apart, clocks(1500 + 7200, 9, 2, Some(0)), Verdict::Believed),
        ] {
            assert_eq!(now.after(&before), verdict, "{before:?} {now:?}");
        }
    }
}
