//! How long announcements may gather before they are sent. Each packet on the link costs about as
//! much as ten directories and is answered by another, but the receiver has nothing to do until it
//! comes: so what gathers is a small part of what it already had. Time is an argument.

use std::time::{Duration, Instant};

/// Announcements gather for this part of the time that the scan has taken so far.
const PART: u32 = 8;
const WAIT_MIN: Duration = Duration::from_millis(4);
const WAIT_MAX: Duration = Duration::from_millis(40);

/// Whether what has been put for the receiver can wait.
#[derive(Debug)]
pub(super) struct Patience {
    start: Instant,
    /// Something has been put since the last flush that cannot wait.
    urgent: bool,
    /// When the announcements put since the last flush are to be sent.
    due: Option<Instant>,
}

impl Patience {
    /// For a scan that begins now. What has been put before it cannot wait.
    pub(super) fn new(start: Instant) -> Self {
        Patience {
            start,
            urgent: true,
            due: None,
        }
    }

    /// A directory has been announced.
    pub(super) fn announced(&mut self, now: Instant) {
        let wait = now.saturating_duration_since(self.start) / PART;
        self.due.get_or_insert(now + wait.clamp(WAIT_MIN, WAIT_MAX));
    }

    /// Something may have been put that cannot wait.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Everything is on its way.
    pub(super) fn flushed(&mut self) {
        self.urgent = false;
        self.due = None;
    }

    /// How much longer a flush can wait; `None` if it cannot.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.due?.checked_duration_since(now)?;
        (!self.urgent && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_gather_for_a_part_of_the_scan() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut patience = Patience::new(start);
        patience.announced(at(1));
        assert_eq!(patience.left(at(1)), None, "the hello's entry waits");
        patience.flushed();
        assert_eq!(patience.left(at(1)), None, "nothing waits");
        for (ms, wait_ms) in [(2, 4), (160, 20), (9000, 40)] {
            patience.announced(at(ms));
            let wait = Some(Duration::from_millis(wait_ms));
            assert_eq!(patience.left(at(ms)), wait);
            patience.announced(at(ms + 1));
            assert_eq!(patience.left(at(ms)), wait, "the first one counts");
            assert_eq!(patience.left(at(ms + wait_ms)), None);
            patience.flushed();
        }
        patience.announced(at(9100));
        patience.hurry();
        assert_eq!(patience.left(at(9100)), None);
    }
}
