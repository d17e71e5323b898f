//! Points in time as text, in UTC: RFC 3339 for logs and JSON, RFC 2822 for mail. And how long
//! something takes or has been, for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// `2026-11-22T18:05:09Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let date = Date::of(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year, date.month, date.day, date.hour, date.minute, date.second
    )
}

/// The same of nanoseconds since 1970.
pub(crate) fn rfc3339_of_ns(ns: i64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0)))
}

/// `Sun, 22 Nov 2026 18:05:09 +0000`.
pub(crate) fn rfc2822(time: SystemTime) -> String {
    let date = Date::of(time);
    let month = usize::try_from(date.month - 1).unwrap_or(0);
    let month = MONTHS.get(month).unwrap_or(&"Jan");
    let weekday = WEEKDAYS.get(date.weekday).unwrap_or(&"Thu");
    format!(
        "{weekday}, {} {month} {} {:02}:{:02}:{:02} +0000",
        date.day, date.year, date.hour, date.minute, date.second
    )
}

/// `2026/11/22-18:05:09`, as rsync has it, with what stands between day and time; in UTC like all
/// times here.
pub(crate) fn slashed(secs: i64, between: char) -> String {
    let date = Date::of_secs(secs);
    format!(
        "{:04}/{:02}/{:02}{between}{:02}:{:02}:{:02}",
        date.year, date.month, date.day, date.hour, date.minute, date.second
    )
}

/// Seconds since 1970.
pub(crate) fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

/// `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn long(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// The last second of the year 9999, about.
const SECS_MAX: i64 = 253_402_300_799;

/// A point in time by the calendar.
struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// 0 is the day of the week that 1970 began with.
    weekday: usize,
}

impl Date {
    fn of(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(0),
            Err(_) => 0,
        };
        Date::of_secs(seconds)
    }

    fn of_secs(seconds: i64) -> Self {
        // No file system has years of more digits, and a damaged time is not to overflow.
        let seconds = seconds.clamp(-SECS_MAX, SECS_MAX);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years that begin in March have their leap day last; 400 of them are 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Date {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: usize::try_from(days.rem_euclid(7)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00Z", "Thu, 1 Jan 1970 00:00:00 +0000"),
            (
                951_782_400,
                "2000-02-29T00:00:00Z",
                "Tue, 29 Feb 2000 00:00:00 +0000",
            ),
            (
                951_868_799,
                "2000-02-29T23:59:59Z",
                "Tue, 29 Feb 2000 23:59:59 +0000",
            ),
            (
                4_107_542_400,
                "2100-03-01T00:00:00Z",
                "Mon, 1 Mar 2100 00:00:00 +0000",
            ),
            (
                1_795_370_709,
                "2026-11-22T18:05:09Z",
                "Sun, 22 Nov 2026 18:05:09 +0000",
            ),
        ];
        for (seconds, iso, mail) in cases {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), iso);
            assert_eq!(rfc2822(time), mail);
        }
    }

    #[test]
    fn long_times_have_two_units() {
        let cases = [
            (4, "4 s"),
            (200, "3 min 20 s"),
            (7_500, "2 h 5 min"),
            (273_600, "3 d 4 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(long(Duration::from_secs(seconds)), text);
        }
    }
}
