//! Whether a peer gets on with a push: silence is the link's business, this is about a peer that
//! speaks and does nothing. Time is an argument.
//!
//! What this side sees for itself counts without limit. What the peer alone says, by its messages
//! or by the work counter of its pings, counts for a while: a hung peer does not get so far, and
//! one that lies comes to an end.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::wire::Pulse;

/// How long a peer may stand still, unless the configuration says otherwise.
pub(crate) const STALL: Duration = Duration::from_secs(15 * 60);

/// How long a flush may take, in times of the limit on standing still: an hour by default, in which
/// a disk that writes 20 MB/s writes 72 GB.
const FLUSH_STALLS: u32 = 4;

/// How long the peer's word counts, in times of that limit, while nothing comes of it: 6 hours by
/// default, in which a disk that reads 200 MB/s sums a file of 4 TB.
const CLAIM_STALLS: u32 = 24;

/// What this side does between two waits counts as its own need from this part of that limit on.
const OWN_PART: u32 = 64;

/// What is known of a peer's progress.
#[derive(Debug)]
pub(super) struct Headway {
    stall: Duration,
    /// What this side has seen for itself, and when it last saw more.
    seen: u64,
    seen_at: Instant,
    /// What the peer last said of itself, and when that was last something new.
    pulse: Pulse,
    claimed_at: Instant,
    flushing_since: Option<Instant>,
    /// Since when this side is busy itself and does not wait for the peer.
    busy_since: Option<Instant>,
}

impl Headway {
    /// For a push that begins now. Zero stands for [`STALL`].
    pub(super) fn new(stall: Duration, now: Instant) -> Self {
        Headway {
            stall: if stall.is_zero() { STALL } else { stall },
            seen: 0,
            seen_at: now,
            pulse: Pulse::default(),
            claimed_at: now,
            flushing_since: None,
            busy_since: Some(now),
        }
    }

    /// This side begins to wait for the peer. What it needed for itself before is not the peer's.
    pub(super) fn waits(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            let own = now.saturating_duration_since(since);
            // To handle what the peer says is no such need: there may be no end of it.
            if own < self.stall / OWN_PART {
                return;
            }
            for at in [&mut self.seen_at, &mut self.claimed_at] {
                *at = (*at + own).min(now);
            }
            self.flushing_since = self.flushing_since.map(|at| (at + own).min(now));
        }
    }

    /// This side has something to do again.
    pub(super) fn is_busy(&mut self, now: Instant) {
        self.busy_since = Some(now);
    }

    /// This side has seen that much done, all in all.
    pub(super) fn saw(&mut self, seen: u64, now: Instant) {
        if self.seen != seen {
            self.seen = seen;
            self.seen_at = now;
            self.flushing_since = None;
        }
    }

    /// The peer has said something of which this side cannot tell whether it is true.
    pub(super) fn spoke(&mut self, now: Instant) {
        self.claimed_at = now;
        self.flushing_since = None;
    }

    /// The peer is alive.
    pub(super) fn pinged(&mut self, pulse: Pulse, now: Instant) {
        if pulse.done != self.pulse.done {
            self.claimed_at = now;
        }
        self.flushing_since = match pulse.flushing {
            true => self.flushing_since.or(Some(now)),
            false => None,
        };
        self.pulse = pulse;
    }

    /// How much longer the peer may go on like this; `None` if not at all.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left_of = |stalls, since| {
            let limit = self.stall.saturating_mul(stalls);
            limit.saturating_sub(now.saturating_duration_since(since))
        };
        let near = match self.flushing_since {
            Some(since) => left_of(FLUSH_STALLS, since),
            None => left_of(1, self.claimed_at.max(self.seen_at)),
        };
        let left = near.min(left_of(CLAIM_STALLS, self.seen_at));
        (!left.is_zero()).then_some(left)
    }

    /// Why the push ends, if the peer has no time [left](Self::left).
    pub(super) fn check(&self, now: Instant) -> Result<Duration, Error> {
        self.left(now).ok_or_else(|| {
            if self.flushing_since.is_some() {
                stalled("its disk has not taken what it is to write")
            } else {
                standstill()
            }
        })
    }
}

/// The peer is alive, and that is all.
pub(super) fn standstill() -> Error {
    stalled("has got on with nothing")
}

fn stalled(how: &str) -> Error {
    let message = format!(
        "the peer is there, but {how} for longer than [peer] stall allows; see what holds it up, \
         such as a disk that hangs, or raise that limit"
    );
    Error::new(ErrorKind::Timeout, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(60);

    /// Minutes after the beginning.
    struct Watch {
        start: Instant,
        headway: Headway,
    }

    impl Watch {
        fn new() -> Self {
            let start = Instant::now();
            let headway = Headway::new(S * 15, start);
            Watch { start, headway }
        }

        fn at(&self, min: u32) -> Instant {
            self.start + S * min
        }

        /// The minutes that are left at a minute.
        fn left(&self, min: u32) -> u64 {
            let left = self.headway.left(self.at(min));
            left.map_or(0, |left| left.as_secs() / 60)
        }

        fn ping(&mut self, min: u32, done: u64, flushing: bool) {
            let pulse = Pulse { done, flushing };
            self.headway.pinged(pulse, self.at(min));
        }
    }

    /// The minute in which the push of a peer ends that does `act` each minute.
    fn end_of(mut act: impl FnMut(&mut Watch, u32)) -> Option<u32> {
        let mut watch = Watch::new();
        (1..1000).find(|&min| {
            act(&mut watch, min);
            watch.left(min) == 0
        })
    }

    #[test]
    fn pings_alone_are_no_progress() {
        assert_eq!(end_of(|_, _| {}), Some(15));
        assert_eq!(end_of(|watch, min| watch.ping(min, 7, false)), Some(16));
    }

    #[test]
    fn work_that_is_seen_counts_without_limit() {
        let seen = |watch: &mut Watch, min: u32| watch.headway.saw(min.into(), watch.at(min));
        assert_eq!(end_of(seen), None);
        let once = |watch: &mut Watch, min| watch.headway.saw(1, watch.at(min));
        assert_eq!(end_of(once), Some(16));
    }

    #[test]
    fn work_that_is_only_claimed_comes_to_an_end() {
        let counts = |watch: &mut Watch, min| watch.ping(min, min.into(), false);
        assert_eq!(end_of(counts), Some(15 * 24));
        let speaks = |watch: &mut Watch, min| watch.headway.spoke(watch.at(min));
        assert_eq!(end_of(speaks), Some(15 * 24));
        let both = |watch: &mut Watch, min: u32| {
            watch.ping(min, min.into(), min.is_multiple_of(2));
            watch.headway.spoke(watch.at(min));
        };
        assert_eq!(end_of(both), Some(15 * 24));
        // It comes to an end as if it had stood still when the counter does.
        let until = |watch: &mut Watch, min: u32| watch.ping(min, min.min(40).into(), false);
        assert_eq!(end_of(until), Some(55));
    }

    #[test]
    fn a_flush_has_time_and_an_end() {
        assert_eq!(end_of(|watch, min| watch.ping(min, 7, true)), Some(61));
        // Whatever the counter says meanwhile.
        let counts = |watch: &mut Watch, min| watch.ping(min, min.into(), true);
        assert_eq!(end_of(counts), Some(61));
        // After long work, and before more of it.
        let works = |watch: &mut Watch, min: u32| match min {
            0..100 => watch.ping(min, min.into(), false),
            100..150 => watch.ping(min, 100, true),
            _ => watch.headway.saw(u64::from(min).min(160), watch.at(min)),
        };
        assert_eq!(end_of(works), Some(175));
        let error = |watch: &Watch, min| watch.headway.check(watch.at(min)).err();
        let mut watch = Watch::new();
        watch.ping(1, 7, true);
        assert!(error(&watch, 60).is_none());
        assert!(error(&watch, 61).is_some_and(|e| e.kind == ErrorKind::Timeout));
    }

    #[test]
    fn what_this_side_needs_for_itself_does_not_count() {
        let mut watch = Watch::new();
        watch.headway.waits(watch.at(100));
        assert_eq!(watch.left(100), 15);
        // It waits for 10 minutes, sums a file for hours, and waits again; the peer pings.
        watch.headway.is_busy(watch.at(110));
        watch.ping(200, 0, false);
        watch.headway.waits(watch.at(400));
        assert_eq!((watch.left(400), watch.left(405)), (5, 0));
        // Without anything in between the time goes on.
        watch.headway.is_busy(watch.at(404));
        watch.headway.waits(watch.at(404));
        assert_eq!(watch.left(404), 1);
        // What is said without end does not stop the clock.
        for ms in 0..120_000 {
            let at = watch.at(404) + Duration::from_millis(ms);
            watch.headway.is_busy(at);
            watch.headway.waits(at + Duration::from_millis(1));
        }
        assert_eq!(watch.left(406), 0);
        // Nothing is from after now, whatever came meanwhile.
        watch.headway.is_busy(watch.at(404));
        watch.ping(500, 1, true);
        watch.headway.waits(watch.at(501));
        assert_eq!(watch.left(501), 60);
    }

    #[test]
    fn any_limit_can_be_had() {
        let start = Instant::now();
        assert_eq!(Headway::new(Duration::ZERO, start).left(start), Some(STALL));
        let ages = Headway::new(Duration::MAX, start);
        assert_eq!(ages.left(start + S), Some(Duration::MAX - S));
    }
}
