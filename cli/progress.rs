//! The lines of `--progress`, one per file whose content moves, and the one of `--info=progress2`
//! for the whole push, rewritten in place, in rsync's shape. Time comes in as an argument, so that
//! the shape can be tested.

use std::time::Duration;

use hasync_engine::Progress;

use crate::numbers::Human;

/// How often the line of a file under way is rewritten.
const REDRAW_INTERVAL: Duration = Duration::from_millis(500);

/// The file under way and when it began.
#[derive(Default)]
pub(crate) struct Meter {
    human: Human,
    path: Vec<u8>,
    began: Duration,
    drawn: Option<Duration>,
    /// Whether a line is drawn and not yet ended.
    open: bool,
}

impl Meter {
    /// Nothing is under way yet.
    pub(crate) fn new(human: Human) -> Self {
        Meter {
            human,
            ..Meter::default()
        }
    }

    /// Whether `path` is not the file under way.
    pub(crate) fn is_new(&self, path: &[u8]) -> bool {
        self.path != path
    }

    /// What to print for `progress` at `now` (time since the push began); `None` is nothing.
    pub(crate) fn draw(&mut self, progress: &Progress<'_>, now: Duration) -> Option<String> {
        if self.path != progress.path {
            self.path = progress.path.to_vec();
            self.began = now;
            self.drawn = None;
        }
        let complete = progress.file_offset >= progress.file_len;
        let due = self
            .drawn
            .is_none_or(|drawn| now.saturating_sub(drawn) >= REDRAW_INTERVAL);
        if !complete && !due {
            return None;
        }
        self.drawn = Some(now);
        self.open = !complete;
        if complete {
            // The same path may come again, as when a changed file is sent a second time.
            self.path.clear();
        }
        let elapsed = now.saturating_sub(self.began);
        Some(line(progress, self.human, elapsed, complete))
    }

    /// The newline that a line under way needs before anything else is printed.
    pub(crate) fn end_line(&mut self) -> &'static str {
        if std::mem::take(&mut self.open) {
            "\n"
        } else {
            ""
        }
    }
}

/// How the whole push gets on: content handled, as a part of all that there is, changed or not.
#[derive(Default)]
pub(crate) struct TotalMeter {
    human: Human,
    drawn: Option<Duration>,
    /// Length of the longest line drawn, which the next must cover.
    width: usize,
    /// What was last heard, if it has not been drawn.
    latest: Option<Totals>,
    /// Whether a line is drawn and not yet ended.
    open: bool,
}

/// The numbers of the line.
#[derive(Clone, Copy)]
struct Totals {
    bytes: u64,
    len: u64,
    file_count: u64,
    to_check: u64,
    seen: u64,
    scanning: bool,
}

impl TotalMeter {
    /// Nothing is drawn yet.
    pub(crate) fn new(human: Human) -> Self {
        TotalMeter {
            human,
            ..TotalMeter::default()
        }
    }

    /// What to print for `progress` at `now` (time since the push began); `None` is nothing.
    pub(crate) fn draw(&mut self, progress: &Progress<'_>, now: Duration) -> Option<String> {
        let totals = Totals {
            bytes: progress.total_bytes,
            len: progress.total_len,
            file_count: progress.file_count,
            to_check: progress.to_check,
            seen: progress.seen,
            scanning: progress.scanning,
        };
        let is_due = |drawn| now.saturating_sub(drawn) >= REDRAW_INTERVAL;
        if !self.drawn.is_none_or(is_due) {
            self.latest = Some(totals);
            return None;
        }
        Some(self.line(totals, now))
    }

    /// The last state and the newline that the line needs before anything else is printed.
    pub(crate) fn end_line(&mut self, now: Duration) -> String {
        let mut text = match self.latest {
            Some(totals) => self.line(totals, now),
            None => String::new(),
        };
        if std::mem::take(&mut self.open) {
            text.push('\n');
        }
        self.width = 0;
        text
    }

    fn line(&mut self, totals: Totals, now: Duration) -> String {
        self.latest = None;
        self.drawn = Some(now);
        self.open = true;
        let label = if totals.scanning { "ir" } else { "to" };
        let end = format!(
            " (xfr#{}, {label}-chk={}/{})",
            totals.file_count, totals.to_check, totals.seen
        );
        let is_complete = !totals.scanning && totals.to_check == 0;
        let text = columns(
            &self.human.bytes(totals.bytes),
            (totals.bytes, totals.len),
            now,
            is_complete,
            &end,
        );
        self.width = self.width.max(text.len());
        format!("{text:<width$}", width = self.width)
    }
}

fn line(progress: &Progress<'_>, human: Human, elapsed: Duration, complete: bool) -> String {
    let end = if complete {
        let label = if progress.scanning { "ir" } else { "to" };
        format!(
            " (xfr#{}, {label}-chk={}/{})\n",
            progress.file_count, progress.to_check, progress.seen
        )
    } else {
        "  ".to_owned()
    };
    columns(
        &human.bytes(progress.file_offset),
        (progress.file_offset, progress.file_len),
        elapsed,
        complete,
        &end,
    )
}

/// `done` of `len` bytes, rate, and the time that is left or, when all is done, has passed.
fn columns(
    shown: &str,
    (done, len): (u64, u64),
    elapsed: Duration,
    complete: bool,
    end: &str,
) -> String {
    let percent = match len {
        0 => 100,
        len => u128::from(done.min(len)) * 100 / u128::from(len),
    };
    let seconds = elapsed.as_secs_f64();
    let bytes_per_second = if seconds > 0.0 {
        done as f64 / seconds
    } else {
        0.0
    };
    let (rate, unit) = in_units(bytes_per_second);
    let time = if complete {
        clock(elapsed.as_secs())
    } else if bytes_per_second > 0.0 {
        let left = len.saturating_sub(done);
        clock((left as f64 / bytes_per_second) as u64)
    } else {
        "  ??:??:??".to_owned()
    };
    format!("\r{shown:>15} {percent:3}% {rate:7.2}{unit} {time}{end}")
}

/// A rate in units of 1024.
fn in_units(bytes_per_second: f64) -> (f64, &'static str) {
    let rate = bytes_per_second / 1024.0;
    if rate > 1024.0 * 1024.0 {
        (rate / 1024.0 / 1024.0, "GB/s")
    } else if rate > 1024.0 {
        (rate / 1024.0, "MB/s")
    } else {
        (rate, "kB/s")
    }
}

fn clock(seconds: u64) -> String {
    format!(
        "{:4}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file_offset: u64, file_len: u64) -> Progress<'static> {
        Progress {
            path: b"big",
            file_offset,
            file_len,
            total_bytes: file_offset,
            total_len: 400_000_000,
            wanted_len: 400_000_000,
            link_bytes: 0,
            file_count: 1,
            to_check: 0,
            seen: 8,
            scanning: false,
        }
    }

    #[test]
    fn a_line_has_rsyncs_columns() {
        let under_way = line(
            &at(32_768, 300_000_000),
            Human::default(),
            Duration::ZERO,
            false,
        );
        assert_eq!(under_way, "\r         32,768   0%    0.00kB/s   ??:??:??  ");
        let half = line(
            &at(150_000_000, 300_000_000),
            Human::default(),
            Duration::from_secs(2),
            false,
        );
        assert_eq!(half, "\r    150,000,000  50%   71.53MB/s    0:00:02  ");
        let done = line(
            &at(300_000_000, 300_000_000),
            Human::default(),
            Duration::from_secs(1),
            true,
        );
        assert_eq!(
            done,
            "\r    300,000,000 100%  286.10MB/s    0:00:01 (xfr#1, to-chk=0/8)\n"
        );
    }

    #[test]
    fn the_whole_push_has_one_line() {
        let mut meter = TotalMeter::default();
        let ms = Duration::from_millis;
        let drawn = |text: Option<String>| text.unwrap_or_default();
        assert_eq!(
            drawn(meter.draw(&at(100_000_000, 300_000_000), ms(1000))),
            "\r    100,000,000  25%   95.37MB/s    0:00:01 (xfr#1, to-chk=0/8)"
        );
        let growing = Progress {
            scanning: true,
            to_check: 1234,
            seen: 5678,
            ..at(200_000_000, 300_000_000)
        };
        assert!(meter.draw(&growing, ms(1200)).is_none());
        let long = drawn(meter.draw(&growing, ms(2000)));
        assert_eq!(
            long,
            "\r    200,000,000  50%   95.37MB/s    0:00:02 (xfr#1, ir-chk=1234/5678)"
        );
        assert!(
            meter
                .draw(&at(300_000_000, 300_000_000), ms(2100))
                .is_none()
        );
        let end = meter.end_line(ms(3000));
        assert_eq!(end.len(), long.len() + 1, "the longer line is covered");
        assert!(end.starts_with("\r    300,000,000  75%"), "{end}");
        assert_eq!(meter.end_line(ms(3000)), "");
    }

    #[test]
    fn an_empty_file_is_complete() {
        let mut meter = Meter::default();
        let drawn = meter
            .draw(&at(0, 0), Duration::from_secs(3))
            .unwrap_or_default();
        assert_eq!(
            drawn,
            "\r              0 100%    0.00kB/s    0:00:00 (xfr#1, to-chk=0/8)\n"
        );
        assert_eq!(meter.end_line(), "");
    }

    #[test]
    fn a_growing_list_is_marked() {
        let progress = Progress {
            scanning: true,
            to_check: 7,
            ..at(3, 3)
        };
        assert!(line(&progress, Human::default(), Duration::ZERO, true).contains("ir-chk=7/8"));
    }

    #[test]
    fn a_file_under_way_is_redrawn_at_intervals_and_its_line_ended() {
        let mut meter = Meter::default();
        let ms = Duration::from_millis;
        assert!(meter.draw(&at(1, 9), ms(0)).is_some());
        assert!(meter.draw(&at(2, 9), ms(10)).is_none());
        assert!(meter.draw(&at(3, 9), ms(600)).is_some());
        assert_eq!(meter.end_line(), "\n");
        assert_eq!(meter.end_line(), "");
        assert!(meter.draw(&at(9, 9), ms(610)).is_some());
        assert_eq!(meter.end_line(), "");
    }
}
