//! `expiry-time="…"`: until when a key may be used.

use std::time::{Duration, SystemTime};

/// `YYYYMMDD[HHMM[SS]][Z|UTC]`. Without a zone it means a local time; the zone is not known here,
/// so the earliest moment it can mean is taken: a key may expire some hours early, never late.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let upper = text.to_ascii_uppercase();
    let (digits, utc) = ["UTC", "Z"]
        .iter()
        .find_map(|zone| upper.strip_suffix(zone))
        .map_or((upper.as_str(), false), |digits| (digits, true));
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| match digits.get(from..to) {
        Some(digits) => digits.parse::<u64>().ok(),
        None => Some(0),
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in years that begin in March, so that a leap day is a year's last.
    let shifted_year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + day_of_year;
    let days = days.checked_sub(719_468)?;
    let moment = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second);
    let zone = if utc { Duration::ZERO } else { EARLIEST_ZONE };
    Some(SystemTime::UNIX_EPOCH + moment.saturating_sub(zone))
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Local time runs at most this far ahead of UTC.
const EARLIEST_ZONE: Duration = Duration::from_secs(14 * 3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments() {
        let leap = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_210_096);
        assert_eq!(parse("20240229123456Z").unwrap(), leap);
        assert_eq!(parse("20240229123456utc").unwrap(), leap);
        assert_eq!(parse("19700101Z").unwrap(), SystemTime::UNIX_EPOCH);
        assert!(parse("20240229123456").unwrap() < leap);
        assert!(parse("20000229z").is_some());
    }

    #[test]
    fn what_is_no_moment() {
        for text in [
            "",
            "Z",
            "x",
            "2099",
            "209901",
            "2099010",
            "209901010",
            "2099010112",
            "20990101 ",
            " 20990101",
            "20990101ZZ",
            "20990101GMT",
            "2099-01-01",
            "+2990101",
            "20991301",
            "20990001",
            "20990100",
            "20990132",
            "20990230",
            "20230229",
            "21000229",
            "20990431",
            "209901012400",
            "209901010060",
            "20990101000061",
            "19691231",
            "00000000",
            "always",
            "20990101T000000Z",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
