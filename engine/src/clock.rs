//! When something was, and how long ago. A point in time is kept by three clocks: the source's,
//! this node's, and this node's time since boot. Lag is computed by this node's clocks alone, and a
//! clock that was set in a way that cannot be accounted for makes it unknown, never small.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(crate) use crate::fs::boot;

const NS: i64 = 1_000_000_000;

/// A boot of this machine; zeros if the kernel does not tell.
pub(crate) type Boot = [u8; 16];

/// When the source had the state that the target has: the start of its scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// In nanoseconds since 1970 by the source's clock.
    pub source_ns: i64,
    /// The same moment by the clock of the node that keeps the record.
    pub here_ns: i64,
    /// The same moment in nanoseconds since that node's boot, suspension included.
    pub since_boot_ns: i64,
    /// Which boot that was.
    pub boot: Boot,
}

impl AsOf {
    /// This moment, on the node that is asked.
    #[must_use]
    pub fn now() -> Self {
        let now_ns = now_ns();
        AsOf::seen(now_ns, now_ns)
    }

    /// What the source's clock called `source_ns`, given that it showed `source_now_ns` just now.
    pub(crate) fn seen(source_ns: i64, source_now_ns: i64) -> Self {
        let ago = source_now_ns.saturating_sub(source_ns).max(0);
        AsOf {
            source_ns,
            here_ns: now_ns().saturating_sub(ago),
            since_boot_ns: since_boot_ns().saturating_sub(ago),
            boot: boot(),
        }
    }

    /// How long ago that was, in nanoseconds; `None` if the clocks do not tell.
    ///
    /// Within one boot the time since boot is not moved by setting the clock. Across a reboot only
    /// the clock is left, and a lag below zero shows that it was set back.
    pub fn lag_ns(&self) -> Option<i64> {
        let lag = if boot() == self.boot && self.boot != Boot::default() {
            since_boot_ns().saturating_sub(self.since_boot_ns)
        } else {
            now_ns().saturating_sub(self.here_ns)
        };
        (lag >= 0).then_some(lag)
    }
}

/// Nanoseconds since 1970 by this node's clock.
pub(crate) fn now_ns() -> i64 {
    read(ClockId::Realtime).saturating_add(offset_ns())
}

#[cfg(debug_assertions)]
static OFFSET_NS: AtomicI64 = AtomicI64::new(0);

/// For tests: lets the clock of this process's node show another time. The time since boot stays.
#[cfg(debug_assertions)]
pub fn offset_clock(seconds: i64) {
    OFFSET_NS.store(seconds.saturating_mul(NS), Ordering::Relaxed);
}

#[cfg(debug_assertions)]
fn offset_ns() -> i64 {
    OFFSET_NS.load(Ordering::Relaxed)
}

#[cfg(not(debug_assertions))]
fn offset_ns() -> i64 {
    0
}

pub(crate) fn since_boot_ns() -> i64 {
    read(ClockId::Boottime)
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(NS).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lag_is_counted_here_whatever_the_sources_clock_shows() {
        // The source's clock is a year behind and its scan began ten seconds ago.
        let source_now = now_ns() - 365 * 86_400 * NS;
        let as_of = AsOf::seen(source_now - 10 * NS, source_now);
        let lag = as_of.lag_ns().unwrap();
        assert!((10 * NS..70 * NS).contains(&lag), "{lag}");
    }

    #[test]
    fn a_clock_that_was_set_does_not_make_data_fresh() {
        let now = now_ns();
        let stepped = AsOf {
            here_ns: now + 3600 * NS,
            ..AsOf::seen(now - 10 * NS, now)
        };
        assert!(stepped.lag_ns().unwrap() >= 10 * NS);
        let other_boot = AsOf {
            boot: [1; 16],
            ..stepped
        };
        assert_eq!(other_boot.lag_ns(), None);
    }
}
