//! How long what is said may gather while the scan runs. Each packet on the link costs as much as a
//! few directories and is answered by another, but the receiver has nothing to do until it comes:
//! so what gathers is a small part of what it already had. Time is an argument.

use std::time::{Duration, Instant};

/// What is said gathers for this part of the time that the scan has taken so far.
const PART: u32 = 8;
const WAIT_MIN: Duration = Duration::from_millis(4);
const WAIT_MAX: Duration = Duration::from_millis(40);

/// When what has gathered is to be sent.
#[derive(Debug)]
pub(super) struct Patience {
    start: Instant,
    /// Set since something may have gathered.
    due: Option<Instant>,
}

impl Patience {
    /// For a scan that begins now.
    pub(super) fn new(start: Instant) -> Self {
        Patience { start, due: None }
    }

    /// How much longer a flush can wait; `None` if it cannot.
    pub(super) fn left(&mut self, now: Instant) -> Option<Duration> {
        let wait = now.saturating_duration_since(self.start) / PART;
        let due = self.due.get_or_insert(now + wait.clamp(WAIT_MIN, WAIT_MAX));
        let left = due.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Everything is on its way.
    pub(super) fn flushed(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_gathers_for_a_part_of_the_scan() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut patience = Patience::new(start);
        for (ms, wait_ms) in [(2, 4), (160, 20), (9000, 40)] {
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(patience.left(at(ms)), Some(wait));
            let less = wait.checked_sub(Duration::from_millis(1));
            assert_eq!(patience.left(at(ms + 1)), less, "the first one counts");
            assert_eq!(patience.left(at(ms + wait_ms)), None);
            patience.flushed();
        }
    }
}
