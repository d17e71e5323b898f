//! The bar that a push draws on a terminal when nothing else is asked for, and takes away again:
//! how much of the content that has to move has been handled, how fast, and how much of it the
//! link carries. Time comes in as an argument, so that the shape can be tested.

use std::time::Duration;

use hasync_engine::Progress;

use crate::numbers::{bytes, commas};

/// A push that is over by then draws nothing.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Of the bar itself, in columns. The whole line fits into 80.
const WIDTH: u64 = 12;

/// What is known of the push.
#[derive(Default)]
pub(crate) struct Bar {
    drawn: Option<Duration>,
    /// Length of the line on the terminal, which has to be covered.
    width: usize,
    seen: u64,
    to_check: u64,
    moved: Moved,
}

#[derive(Clone, Copy, Default)]
struct Moved {
    bytes: u64,
    of_bytes: u64,
    files: u64,
    link_bytes: u64,
}

impl Bar {
    /// Directories have been compared: what to print at `now` (time since the push began).
    pub(crate) fn compared(&mut self, seen: u64, to_check: u64, now: Duration) -> Option<String> {
        (self.seen, self.to_check) = (seen, to_check);
        self.draw(now)
    }

    /// Content has moved.
    pub(crate) fn progress(&mut self, progress: &Progress<'_>, now: Duration) -> Option<String> {
        (self.seen, self.to_check) = (progress.seen, progress.to_check);
        self.moved = Moved {
            bytes: progress.total_bytes,
            of_bytes: progress.wanted_len,
            files: progress.file_count,
            link_bytes: progress.link_bytes,
        };
        self.draw(now)
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) -> String {
        match std::mem::take(&mut self.width) {
            0 => String::new(),
            width => format!("\r{:width$}\r", ""),
        }
    }

    fn draw(&mut self, now: Duration) -> Option<String> {
        let due = self.drawn.map_or(PATIENCE, |drawn| drawn + REDRAW_INTERVAL);
        if now < due {
            return None;
        }
        self.drawn = Some(now);
        let line = if self.moved.of_bytes == 0 {
            let compared = self.seen - self.to_check;
            let rate = per_second(compared, now);
            format!(
                "{} entries compared, {}/s",
                commas(compared),
                commas(rate as u64)
            )
        } else {
            moved(self.moved, now)
        };
        let text = format!("\r{line:<width$}", width = self.width);
        self.width = line.len();
        Some(text)
    }
}

fn moved(moved: Moved, now: Duration) -> String {
    // A file that grew is more than was announced.
    let of_bytes = moved.of_bytes.max(moved.bytes);
    let part = |whole: u64| u128::from(moved.bytes) * u128::from(whole) / u128::from(of_bytes);
    let rate = per_second(moved.bytes, now);
    let left = if rate > 0.0 {
        clock(((of_bytes - moved.bytes) as f64 / rate) as u64)
    } else {
        "?".to_owned()
    };
    format!(
        "[{:<width$}] {:>3}% of {}  {}/s  {} files/s  link {}/s  {left}",
        "#".repeat(part(WIDTH) as usize),
        part(100),
        bytes(of_bytes),
        bytes(rate as u64),
        commas(per_second(moved.files, now) as u64),
        bytes(per_second(moved.link_bytes, now) as u64),
        width = WIDTH as usize,
    )
}

fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn at(total_bytes: u64, file_count: u64) -> Progress<'static> {
        Progress {
            path: b"f",
            file_offset: 0,
            file_len: 0,
            total_bytes,
            total_len: 900_000_000_000,
            wanted_len: 400_000_000,
            link_bytes: total_bytes / 10,
            file_count,
            to_check: 5,
            seen: 8,
            scanning: false,
        }
    }

    #[test]
    fn a_short_push_draws_nothing() {
        let mut bar = Bar::default();
        assert_eq!(bar.compared(100, 0, Duration::from_millis(999)), None);
        assert_eq!(bar.clear(), "");
    }

    #[test]
    fn the_line_tells_what_moves_and_is_taken_away() {
        let mut bar = Bar::default();
        let line = bar.compared(250_000, 10_000, S(2)).unwrap();
        assert_eq!(line, "\r240,000 entries compared, 120,000/s");
        assert_eq!(bar.progress(&at(1, 1), Duration::from_millis(2100)), None);
        let line = bar.progress(&at(100_000_000, 3000), S(10)).unwrap();
        assert_eq!(
            line,
            "\r[###         ]  25% of 400 MB  10 MB/s  300 files/s  link 1.0 MB/s  0:30"
        );
        let shorter = bar.progress(&at(400_000_000, 3), S(20)).unwrap();
        assert_eq!(shorter.len(), line.len(), "the longer line is covered");
        let cleared = bar.clear();
        assert!(cleared.starts_with('\r') && cleared.trim().is_empty());
        assert_eq!(bar.clear(), "");
    }

    #[test]
    fn the_longest_line_fits_on_a_terminal() {
        let mut bar = Bar::default();
        let long = Progress {
            wanted_len: 999_000_000_000_000,
            link_bytes: 99_900_000_000,
            ..at(99_900_000_000, 99_999)
        };
        let line = bar.progress(&long, S(1)).unwrap();
        assert!(line.len() <= 80, "{} {line}", line.len());
    }
}
