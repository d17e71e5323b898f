//! Keeps the log small whatever a flood does: of the lines about connections that have not logged
//! in, only so many in each stretch of time, then one that counts the rest.

use std::time::Duration;

/// Counts lines. Times count from when the server started.
#[derive(Default)]
pub(crate) struct Damper {
    /// Since when the present stretch lasts, if it has any line.
    since: Option<Duration>,
    lines: u64,
}

impl Damper {
    /// Whether one more line may be written.
    pub(crate) fn admits(&mut self, now: Duration) -> bool {
        self.since.get_or_insert(now);
        self.lines += 1;
        self.lines <= LINES_MAX
    }

    /// Ends a stretch that is over; how many of its lines were kept back.
    pub(crate) fn kept_back(&mut self, now: Duration) -> Option<u64> {
        self.since.filter(|since| *since + STRETCH <= now)?;
        let lines = std::mem::take(self).lines;
        (lines > LINES_MAX).then(|| lines - LINES_MAX)
    }

    /// When [`Damper::kept_back`] has something to end.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        self.since.map(|since| since + STRETCH)
    }
}

/// How long lines are counted together.
pub(crate) const STRETCH: Duration = Duration::from_secs(10);
const LINES_MAX: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_leaves_some_lines_and_a_count() {
        let mut damper = Damper::default();
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
        let mut damper = Damper::default();
        assert!((0..LINES_MAX).all(|_| damper.admits(SECOND)));
        assert_eq!(damper.kept_back(20 * SECOND), None);
        assert!(damper.admits(20 * SECOND));
    }
}
