//! Keeps the log small whatever a client or a flood of them does: of the lines about one thing only
//! so many in each stretch of time, then one that counts the rest.

use std::time::Duration;

/// Counts lines. Times count from when the server started.
pub(crate) struct Damper {
    lines_max: u64,
    /// Since when the present stretch lasts, if it has any line.
    since: Option<Duration>,
    lines: u64,
}

impl Damper {
    pub(crate) fn new(lines_max: u64) -> Damper {
        Damper {
            lines_max,
            since: None,
            lines: 0,
        }
    }

    /// Whether one more line may be written.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        self.since.get_or_insert(now);
        self.lines += 1;
        self.lines <= self.lines_max
    }

    /// Ends a stretch that is over; how many of its lines were kept back.
    pub(crate) fn kept_back(&mut self, now: Duration) -> Option<u64> {
        self.since.take_if(|since| *since + STRETCH <= now)?;
        let lines = std::mem::take(&mut self.lines);
        (lines > self.lines_max).then(|| lines - self.lines_max)
    }

    /// When [`Damper::kept_back`] has something to end.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.since.map(|since| since + STRETCH)
    }
}

/// How long lines are counted together.
pub(crate) const STRETCH: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LINES_MAX: u64 = 20;

    #[test]
    fn a_flood_leaves_some_lines_and_a_count() {
        let mut damper = Damper::new(LINES_MAX);
        let written = (0..5000).filter(|_| damper.admits(SECOND)).count();
        assert_eq!(written as u64, LINES_MAX);
        assert_eq!(damper.kept_back(10 * SECOND), None);
        assert_eq!(damper.wake_at(), Some(11 * SECOND));
        assert_eq!(damper.kept_back(11 * SECOND), Some(5000 - LINES_MAX));
        assert_eq!(
            (damper.kept_back(99 * SECOND), damper.wake_at()),
            (None, None)
        );
        assert!(damper.admits(99 * SECOND));
    }

    #[test]
    fn what_was_written_whole_is_not_counted() {
        let mut damper = Damper::new(LINES_MAX);
        assert!((0..LINES_MAX).all(|_| damper.admits(SECOND)));
        assert_eq!(damper.kept_back(20 * SECOND), None);
        assert!(damper.admits(20 * SECOND));
    }
}
