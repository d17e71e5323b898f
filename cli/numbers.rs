//! Numbers as rsync prints them: thousands separated by commas, rates with two decimals.

/// `1234567` as `1,234,567`.
pub(crate) fn commas(number: u64) -> String {
    group(&number.to_string())
}

/// `1234.5` as `1,234.50`. Negative or undefined rates do not occur and print as 0.00.
pub(crate) fn commas_2(number: f64) -> String {
    let number = if number.is_finite() && number > 0.0 {
        number
    } else {
        0.0
    };
    let text = format!("{number:.2}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", group(whole)),
        None => text,
    }
}

/// A number of bytes for people: `831 bytes`, `4.5 kB`, `12 MB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let value = number as f64;
    match units.iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) if value / unit >= 9.95 => format!("{:.0} {name}", value / unit),
        Some((unit, name)) => format!("{:.1} {name}", value / unit),
        None => format!("{number} bytes"),
    }
}

fn group(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (66_682_979, "66,682,979"),
        ];
        for (number, text) in cases {
            assert_eq!(commas(number), text);
        }
        assert_eq!(commas(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn bytes_are_short() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (4_512, "4.5 kB"),
            (12_400_000, "12 MB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn rates_have_two_decimals() {
        let cases = [
            (0.0, "0.00"),
            (432.666, "432.67"),
            (66_682_979.329, "66,682,979.33"),
        ];
        for (number, text) in cases {
            assert_eq!(commas_2(number), text);
        }
        assert_eq!(commas_2(f64::INFINITY), "0.00");
    }
}
