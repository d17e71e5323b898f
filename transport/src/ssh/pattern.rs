//! Patterns with `*`, `?` and `!` as ssh_config, known_hosts and authorized_keys share them.

/// Whether `text` matches `pattern`, where `*` stands for any run of characters and `?` for one.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // On a mismatch only the last `*` can give way, so one mark is enough: quadratic at worst.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || Some(&c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|&c| c == b'*')
}

/// Whether a list matches: some pattern does, and none that begins with `!`. Letter case counts
/// for neither side.
pub(crate) fn list_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let patterns: Vec<String> = patterns.into_iter().map(str::to_ascii_lowercase).collect();
    exact_list_matches(
        patterns.iter().map(String::as_str),
        &text.to_ascii_lowercase(),
    )
}

/// The same where letter case counts. At a pattern longer than ssh reads, the list ends without a
/// match, as there.
pub(crate) fn exact_list_matches<'a>(
    patterns: impl IntoIterator<Item = &'a str>,
    text: &str,
) -> bool {
    let mut matched = false;
    for pattern in patterns {
        let (negated, pattern) = pattern
            .strip_prefix('!')
            .map_or((false, pattern), |pattern| (true, pattern));
        match matches(pattern, text) {
            _ if pattern.len() > PATTERN_MAX_LEN => return false,
            true if negated => return false,
            found => matched |= found && !negated,
        }
    }
    matched
}

const PATTERN_MAX_LEN: usize = 1022;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*.example.com", "b.example.com", true),
            ("*.example.com", "example.com", false),
            ("10.0.0.?", "10.0.0.7", true),
            ("10.0.0.?", "10.0.0.17", false),
            ("**a*b*", "xxaxxbxx", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_negated_match_wins() {
        assert!(list_matches(["*.lan", "!a.lan"], "B.lan"));
        assert!(!list_matches(["*.lan", "!a.lan"], "a.lan"));
        assert!(!list_matches(["!a.lan"], "b.lan"));
        assert!(!exact_list_matches(["A"], "a") && exact_list_matches(["B", "a"], "a"));
        let long = "*".repeat(PATTERN_MAX_LEN + 1);
        assert!(!list_matches(["b", &long], "b"));
    }
}
