//! A limit on how fast bytes are handed to a link: small steps, each due when the ones before it
//! have used up their time, so that the rate is smooth and never catches up in a burst.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Writes to `inner` at a limited rate. Each step is flushed: what is counted is on its way.
pub struct Throttle<W> {
    inner: W,
    schedule: Schedule,
}

impl<W: Write> Throttle<W> {
    /// Lets `bytes_per_s` pass, at least 1.
    pub fn new(inner: W, bytes_per_s: u64) -> Throttle<W> {
        Throttle {
            inner,
            schedule: Schedule::new(bytes_per_s, Instant::now()),
        }
    }
}

impl<W: Write> Write for Throttle<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let step = buf.get(..self.schedule.step_len).unwrap_or(buf);
        let now = Instant::now();
        let due = self.schedule.take(step.len(), now);
        sleep(due.saturating_duration_since(now));
        self.inner.write_all(step)?;
        self.inner.flush()?;
        Ok(step.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// When steps are due. Time is an argument.
#[derive(Debug)]
struct Schedule {
    bytes_per_s: u64,
    /// The most that goes at once.
    step_len: usize,
    /// When the next step is due.
    next: Instant,
}

impl Schedule {
    fn new(bytes_per_s: u64, now: Instant) -> Schedule {
        let bytes_per_s = bytes_per_s.max(1);
        let step_len = usize::try_from(bytes_per_s / STEPS_PER_S).unwrap_or(usize::MAX);
        Schedule {
            bytes_per_s,
            step_len: step_len.clamp(STEP_LEN_MIN, STEP_LEN_MAX),
            next: now,
        }
    }

    /// When a step of `len` bytes, ready at `now`, may go.
    fn take(&mut self, len: usize, now: Instant) -> Instant {
        // Time that was not used is lost, but for what a late wake-up costs.
        let due = self.next.max(now.checked_sub(LATENESS).unwrap_or(now));
        let nanos = len as u128 * 1_000_000_000 / u128::from(self.bytes_per_s);
        self.next = due + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX >> 1));
        due
    }
}

/// Steps are this short in time, unless that makes them too small or too large.
const STEPS_PER_S: u64 = 50;
/// The smallest step: a packet of a usual network.
const STEP_LEN_MIN: usize = 1400;
/// The largest step.
const STEP_LEN_MAX: usize = 256 * 1024;
/// How late a step may be for the next one to make up for it.
const LATENESS: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Sends `len` bytes, each step as soon as it is due; gives how long that takes.
    fn duration_of(len: usize, bytes_per_s: u64) -> f64 {
        let start = Instant::now();
        let mut schedule = Schedule::new(bytes_per_s, start);
        let (mut now, mut left) = (start, len);
        while left > 0 {
            let step = left.min(schedule.step_len);
            now = now.max(schedule.take(step, now));
            left -= step;
        }
        schedule.next.duration_since(start).as_secs_f64()
    }

    #[test]
    fn the_rate_is_kept_however_fast_it_is() {
        for rate in [1 << 10, 100 << 10, 12 << 20, 1 << 30, 1 << 40] {
            let len = usize::try_from(10 * rate).unwrap().min(100 << 20);
            let expected = len as f64 / rate as f64;
            let took = duration_of(len, rate);
            assert!(
                (took / expected - 1.0).abs() < 0.01,
                "{took} for {expected}"
            );
        }
    }

    #[test]
    fn no_step_takes_long() {
        for rate in [100 << 10, 1 << 20, 100 << 20, 1 << 30] {
            let schedule = Schedule::new(rate, Instant::now());
            let seconds = schedule.step_len as f64 / rate as f64;
            assert!(seconds <= 0.021, "{seconds} s at {rate}");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut schedule = Schedule::new(1 << 20, start);
        schedule.take(1 << 20, start);
        let later = start + Duration::from_secs(100);
        let mut passed = 0;
        while schedule.take(10_000, later) <= later {
            passed += 10_000;
        }
        assert!(passed <= 60_000, "{passed} bytes at once");
    }

    #[test]
    fn bytes_pass_unchanged() {
        let data: Vec<u8> = (0..3_000_000_u32).map(|i| (i >> 3) as u8).collect();
        let mut out = Vec::new();
        let mut throttle = Throttle::new(&mut out, u64::MAX);
        throttle.write_all(&data).unwrap();
        throttle.flush().unwrap();
        assert!(out == data);
    }
}
