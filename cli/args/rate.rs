//! The rate of `--bwlimit` as rsync reads it: KiB per second unless a suffix says otherwise,
//! fractions allowed, rounded to whole KiB.

/// A rate in bytes per second; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

/// Reads a rate; 0 is no limit. The error is for clap, which names the option and the word.
pub(crate) fn parse(typed: &str) -> Result<Rate, String> {
    let number_len = typed
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
        .count();
    let (number, suffix) = typed.split_at_checked(number_len).unwrap_or((typed, ""));
    let unit = unit(suffix).ok_or_else(|| {
        "it is a number with an optional K, M, G or T (of 1024), KB, MB, GB or TB (of 1000), or B"
            .to_owned()
    })?;
    let number: f64 = number
        .parse()
        .map_err(|_| "it does not start with a number".to_owned())?;
    let bytes = number * unit;
    if bytes == 0.0 {
        return Ok(Rate(None));
    }
    if bytes < LEAST {
        return Err("the least is 512 bytes per second".to_owned());
    }
    let kib = (bytes / 1024.0).round().clamp(1.0, KIB_MAX);
    Ok(Rate(Some(kib as u64 * 1024)))
}

/// Bytes in one of a suffix, in either case.
pub(super) fn unit(suffix: &str) -> Option<f64> {
    let suffix = suffix.to_ascii_lowercase();
    let (letter, base) = match suffix.as_str() {
        "b" => return Some(1.0),
        "" => ("k", 1024.0_f64),
        other => match other.strip_suffix("ib") {
            Some(letter) => (letter, 1024.0),
            None => match other.strip_suffix('b') {
                Some(letter) => (letter, 1000.0),
                None => (other, 1024.0),
            },
        },
    };
    let power = ["k", "m", "g", "t"]
        .iter()
        .position(|&unit| unit == letter)?;
    Some(base.powi(power as i32 + 1))
}

/// rsync's least rate.
const LEAST: f64 = 512.0;
/// No link is this fast: about 9 PB/s.
const KIB_MAX: f64 = 1e13;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rates_are_rsyncs() {
        let kib = |count: u64| Some(count * 1024);
        for (typed, expected) in [
            ("100", kib(100)),
            ("100k", kib(100)),
            ("100K", kib(100)),
            ("1.5m", kib(1536)),
            ("1.5MiB", kib(1536)),
            ("1MB", kib(977)),
            ("2g", kib(2 << 20)),
            ("0.5", kib(1)),
            ("1023b", kib(1)),
            ("0", None),
            ("0k", None),
        ] {
            assert_eq!(parse(typed).unwrap(), Rate(expected), "{typed}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for typed in [
            "", "k", "fast", "1x", "1kk", "-5", "0.1", "1.2.3", "5 k", "1e3",
        ] {
            assert!(parse(typed).is_err(), "{typed}");
        }
    }
}
