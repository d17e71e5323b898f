//! Lengths of files as rsync reads them: bytes unless a suffix says otherwise, fractions allowed,
//! one byte more or less with `+1` or `-1` behind.

use super::rate::unit;

/// Reads a length. The error is for clap, which names the option and the word.
pub(super) fn parse(typed: &str) -> Result<u64, String> {
    let (number, step) = match (typed.strip_suffix("+1"), typed.strip_suffix("-1")) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, -1),
        _ => (typed, 0),
    };
    let is_part = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let (digits, suffix) = number.split_at(number.bytes().take_while(|byte| is_part(byte)).count());
    let unit = match suffix {
        "" => Some(1.0),
        suffix => unit(suffix),
    };
    let bytes = unit
        .zip(digits.parse::<f64>().ok())
        .map(|(unit, number)| unit * number);
    let bytes = bytes.filter(|bytes| *bytes < u64::MAX as f64).ok_or(
        "it is a number of bytes, or with K, M, G or T (of 1024), KB, MB, GB or TB (of 1000)",
    )?;
    Ok((bytes as u64).saturating_add_signed(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rsyncs() {
        for (typed, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("1K", 1024),
            ("1.5k", 1536),
            ("2KB", 2000),
            ("1MiB", 1 << 20),
            ("1m-1", (1 << 20) - 1),
            ("10+1", 11),
            ("7b", 7),
        ] {
            assert_eq!(parse(typed), Ok(expected), "{typed}");
        }
        for wrong in ["", "K", "x", "1.2.3", "-5", "1kk", "+1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
