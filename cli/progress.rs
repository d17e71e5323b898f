//! The lines of `--progress`: one per file whose content moves, rewritten in place, in rsync's
//! shape. Time comes in as an argument, so that the shape can be tested.

use std::time::Duration;

use hasync_engine::Progress;

use crate::numbers::commas;

/// How often the line of a file under way is rewritten.
const REDRAW_INTERVAL: Duration = Duration::from_millis(500);

/// The file under way and when it began.
#[derive(Default)]
pub(crate) struct Meter {
    path: Vec<u8>,
    began: Duration,
    drawn: Option<Duration>,
    /// Whether a line is drawn and not yet ended.
    open: bool,
}

impl Meter {
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
        Some(line(progress, now.saturating_sub(self.began), complete))
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

fn line(progress: &Progress<'_>, elapsed: Duration, complete: bool) -> String {
    let percent = match progress.file_len {
        0 => 100,
        len => u128::from(progress.file_offset.min(len)) * 100 / u128::from(len),
    };
    let seconds = elapsed.as_secs_f64();
    let bytes_per_second = if seconds > 0.0 {
        progress.file_offset as f64 / seconds
    } else {
        0.0
    };
    let (rate, unit) = in_units(bytes_per_second);
    let time = if complete {
        clock(elapsed.as_secs())
    } else if bytes_per_second > 0.0 {
        let left = progress.file_len.saturating_sub(progress.file_offset);
        clock((left as f64 / bytes_per_second) as u64)
    } else {
        "  ??:??:??".to_owned()
    };
    let end = if complete {
        let label = if progress.scanning { "ir" } else { "to" };
        format!(
            " (xfr#{}, {label}-chk={}/{})\n",
            progress.file_count, progress.to_check, progress.seen
        )
    } else {
        "  ".to_owned()
    };
    format!(
        "\r{:>15} {percent:3}% {rate:7.2}{unit} {time}{end}",
        commas(progress.file_offset)
    )
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
            file_count: 1,
            to_check: 0,
            seen: 8,
            scanning: false,
        }
    }

    #[test]
    fn a_line_has_rsyncs_columns() {
        let under_way = line(&at(32_768, 300_000_000), Duration::ZERO, false);
        assert_eq!(under_way, "\r         32,768   0%    0.00kB/s   ??:??:??  ");
        let half = line(&at(150_000_000, 300_000_000), Duration::from_secs(2), false);
        assert_eq!(half, "\r    150,000,000  50%   71.53MB/s    0:00:02  ");
        let done = line(&at(300_000_000, 300_000_000), Duration::from_secs(1), true);
        assert_eq!(
            done,
            "\r    300,000,000 100%  286.10MB/s    0:00:01 (xfr#1, to-chk=0/8)\n"
        );
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
        assert!(line(&progress, Duration::ZERO, true).contains("ir-chk=7/8"));
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
