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

/// How numbers of a push are printed: `--no-h`, as usual, `-h` or `-hh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Human {
    /// Digits alone.
    Plain,
    /// Thousands are separated.
    #[default]
    Grouped,
    /// Bytes from a thousand on in units of 1000: `1.23M`.
    Units1000,
    /// The same of 1024.
    Units1024,
}

impl Human {
    /// What so many `-h` mean, or the marks of an escape one more.
    pub(crate) fn of_level(level: u8) -> Self {
        match level {
            0 => Human::Grouped,
            1 => Human::Units1000,
            _ => Human::Units1024,
        }
    }

    /// What so many `'` in an escape mean.
    pub(crate) fn of_marks(marks: usize) -> Self {
        match marks {
            0 => Human::Plain,
            marks => Human::of_level(u8::try_from(marks - 1).unwrap_or(u8::MAX)),
        }
    }

    /// A number of things.
    pub(crate) fn count(self, number: u64) -> String {
        match self {
            Human::Plain => number.to_string(),
            _ => commas(number),
        }
    }

    /// A number of bytes.
    pub(crate) fn bytes(self, number: u64) -> String {
        self.in_units(number as f64)
            .unwrap_or_else(|| self.count(number))
    }

    /// Bytes in a second.
    pub(crate) fn rate(self, number: f64) -> String {
        self.in_units(number).unwrap_or_else(|| self.ratio(number))
    }

    /// A number with two decimals.
    pub(crate) fn ratio(self, number: f64) -> String {
        match self {
            Human::Plain => commas_2(number).replace(',', ""),
            _ => commas_2(number),
        }
    }

    fn in_units(self, number: f64) -> Option<String> {
        let base: f64 = match self {
            Human::Plain | Human::Grouped => return None,
            Human::Units1000 => 1000.0,
            Human::Units1024 => 1024.0,
        };
        let units = ["K", "M", "G", "T", "P"].into_iter().zip(1..);
        let fits = |(_, power): &(&str, i32)| number >= base.powi(*power);
        let (unit, power) = units.take_while(fits).last()?;
        Some(format!("{:.2}{unit}", number / base.powi(power)))
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
    fn units_are_rsyncs() {
        for (level, number, expected) in [
            (Human::Plain, 1_234_567, "1234567"),
            (Human::Grouped, 1_234_567, "1,234,567"),
            (Human::Units1000, 1_234_567, "1.23M"),
            (Human::Units1000, 999, "999"),
            (Human::Units1000, 1000, "1.00K"),
            (Human::Units1024, 1000, "1,000"),
            (Human::Units1024, 1_234_567, "1.18M"),
            (Human::Units1024, 5 << 40, "5.00T"),
        ] {
            assert_eq!(level.bytes(number), expected, "{level:?}");
        }
        assert_eq!(Human::Units1000.count(1_234), "1,234");
        assert_eq!(Human::Units1000.rate(65_500.0), "65.50K");
        assert_eq!(Human::Plain.ratio(1_234.5), "1234.50");
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
