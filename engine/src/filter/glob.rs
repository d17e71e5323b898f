//! One wildcard pattern and the matching of it, in time linear in pattern times text.
//!
//! `*` stops at a slash, `**` does not, `?` and a class take one byte but a slash, a backslash
//! takes the next byte as it stands. Matching backtracks to the last `*` and the last `**` only,
//! and never searches the same stretch of text twice for the same star, so no pattern a peer
//! sends makes it slow.

/// A parsed pattern.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    /// How many [`Token::Star`] there are.
    star_count: usize,
    /// The plain bytes behind the last wildcard.
    tail: Vec<u8>,
}

/// Where in a text a match may begin; it always ends at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    /// At the beginning of the text.
    Beginning,
    /// At the beginning, or behind any slash.
    EveryComponent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    AnyByte,
    /// A class, as the set of bytes it takes; a slash is never among them.
    Class(Box<ByteSet>),
    /// `*`, with its place among the stars of the pattern.
    Star(usize),
    /// `**`
    DeepStar,
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(b) => *b == byte,
            Self::AnyByte => byte != b'/',
            Self::Class(set) => set.contains(byte),
            Self::Star(_) | Self::DeepStar => false,
        }
    }
}

/// How a search from one start ended.
enum Outcome {
    Match,
    Mismatch,
    /// The text ran out before the pattern did: no later start can match either.
    Exhausted,
}

impl Glob {
    /// Parses a pattern; `None` when it is malformed and so matches nothing.
    pub(super) fn parse(pattern: &[u8]) -> Option<Self> {
        let (mut tokens, mut star_count, mut rest) = (Vec::new(), 0, pattern);
        while let [first, after @ ..] = rest {
            let (token, after) = match first {
                b'?' => (Token::AnyByte, after),
                b'[' => {
                    parse_class(after).map(|(set, after)| (Token::Class(Box::new(set)), after))?
                }
                b'\\' => after
                    .split_first()
                    .map(|(b, after)| (Token::Byte(*b), after))?,
                b'*' => {
                    let run_len = rest.iter().take_while(|&&b| b == b'*').count();
                    let token = if run_len > 1 {
                        Token::DeepStar
                    } else {
                        Token::Star(star_count)
                    };
                    star_count += usize::from(run_len == 1);
                    (token, rest.get(run_len..)?)
                }
                byte => (Token::Byte(*byte), after),
            };
            tokens.push(token);
            rest = after;
        }
        let plain = tokens.iter().rev().map_while(|token| match token {
            Token::Byte(byte) => Some(*byte),
            _ => None,
        });
        let mut tail: Vec<u8> = plain.collect();
        tail.reverse();
        Some(Self {
            tokens,
            star_count,
            tail,
        })
    }

    /// The bytes that stand for themselves: every text has them that matches.
    pub(super) fn plain_bytes(&self) -> Vec<u8> {
        let plain = self.tokens.iter().filter_map(|token| match token {
            Token::Byte(byte) => Some(*byte),
            _ => None,
        });
        plain.collect()
    }

    /// The byte that every text ends in that matches, if there is one.
    pub(super) fn last_byte(&self) -> Option<u8> {
        self.tail.last().copied()
    }

    /// Whether `text` ends as the pattern does, which rules out most texts at little cost.
    ///
    /// A slash in front of `text` is allowed for, as it may be put there before the match.
    pub(super) fn agrees_at_end(&self, text: &[u8]) -> bool {
        text.ends_with(&self.tail) || self.tail.strip_prefix(b"/") == Some(text)
    }

    /// Whether the pattern matches `text` from one of `starts` to its end.
    pub(super) fn matches(&self, text: &[u8], starts: Starts) -> bool {
        let mut settled = Settled {
            is_needed: starts == Starts::EveryComponent,
            ends: Vec::new(),
        };
        let mut start = 0;
        loop {
            match self.search(text, start, &mut settled) {
                Outcome::Match => return true,
                Outcome::Exhausted => return false,
                Outcome::Mismatch if starts == Starts::Beginning => return false,
                Outcome::Mismatch => {}
            }
            let rest = text.get(start..).unwrap_or_default();
            match rest.iter().position(|&b| b == b'/') {
                Some(slash) => start += slash + 1,
                None => return false,
            }
        }
    }

    /// Matches from one start.
    ///
    /// A star that found what follows it never needs to stretch further once the next star is
    /// reached: what the next star can take only shrinks. A star that meets a slash has failed,
    /// and the earlier ones, which cannot cross their own slash, cannot help it. So only the last
    /// star is stretched, then only the last `**`, then the next start is tried.
    fn search(&self, text: &[u8], start: usize, settled: &mut Settled) -> Outcome {
        let (mut at, mut next) = (start, 0);
        let mut star: Option<ActiveStar> = None;
        // The token behind the last `**`, and where that is tried.
        let mut deep: Option<(usize, usize)> = None;
        loop {
            match self.tokens.get(next) {
                None if at == text.len() => return Outcome::Match,
                None => {}
                Some(Token::DeepStar) if next + 1 == self.tokens.len() => return Outcome::Match,
                Some(Token::DeepStar) => {
                    next += 1;
                    (deep, star) = (Some((next, at)), None);
                    settled.is_needed = true;
                    continue;
                }
                Some(Token::Star(number)) => {
                    settled.note(star, self.star_count);
                    star = None;
                    if !settled.has(*number, at) {
                        next += 1;
                        star = Some(ActiveStar {
                            number: *number,
                            behind: next,
                            tried: at,
                        });
                        continue;
                    }
                }
                Some(token) => match text.get(at) {
                    None => return Outcome::Exhausted,
                    Some(&byte) if token.takes(byte) => {
                        (at, next) = (at + 1, next + 1);
                        continue;
                    }
                    Some(_) => {}
                },
            }
            if let Some(last) = &mut star
                && text.get(last.tried) != Some(&b'/')
            {
                last.tried += 1;
                (at, next) = (last.tried, last.behind);
                continue;
            }
            settled.note(star, self.star_count);
            star = None;
            match &mut deep {
                Some((behind, tried)) if *tried < text.len() => {
                    *tried += 1;
                    (at, next) = (*tried, *behind);
                }
                _ => return Outcome::Mismatch,
            }
        }
    }
}

/// The star that is stretched when the tokens behind it do not match.
#[derive(Clone, Copy)]
struct ActiveStar {
    number: usize,
    /// The token behind it.
    behind: usize,
    /// Where that token is tried: the star takes the text up to there.
    tried: usize,
}

/// For each star, up to where it need not be tried again: reached there once more, from a later
/// start or a longer `**`, it would end as it did before. Every star so walks a text once.
struct Settled {
    /// Whether a star can be reached twice at all; nothing is kept before that.
    is_needed: bool,
    /// Exclusive ends, by the number of the star; empty until the first is known.
    ends: Vec<usize>,
}

impl Settled {
    fn has(&self, number: usize, at: usize) -> bool {
        self.ends.get(number).is_some_and(|&end| at < end)
    }

    fn note(&mut self, star: Option<ActiveStar>, star_count: usize) {
        let Some(star) = star.filter(|_| self.is_needed) else {
            return;
        };
        self.ends.resize(star_count, 0);
        if let Some(end) = self.ends.get_mut(star.number) {
            *end = star.tried + 1;
        }
    }
}

/// A set of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ByteSet([u128; 2]);

impl ByteSet {
    fn contains(&self, byte: u8) -> bool {
        let [low, high] = self.0;
        let half = if byte < 128 { low } else { high };
        half >> (byte % 128) & 1 == 1
    }

    fn insert(&mut self, byte: u8) {
        let [low, high] = &mut self.0;
        let half = if byte < 128 { low } else { high };
        *half |= 1 << (byte % 128);
    }

    fn complement(self) -> Self {
        Self(self.0.map(|half| !half))
    }

    fn without_slash(mut self) -> Self {
        let [low, _] = &mut self.0;
        *low &= !(1 << b'/');
        self
    }
}

/// Parses a class from behind its `[`; gives it and what follows its `]`.
///
/// The first byte is a member even if it is `]`; a `-` at either end, or behind a range or a named
/// class, is a member too.
fn parse_class(pattern: &[u8]) -> Option<(ByteSet, &[u8])> {
    let (negated, mut rest) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut set = ByteSet::default();
    let mut is_first = true;
    // The member before, where it can begin a range.
    let mut range_start: Option<u8> = None;
    loop {
        let named = rest.strip_prefix(b"[:").and_then(class_name);
        match (rest, range_start, named) {
            ([b']', after @ ..], ..) if !is_first => {
                let set = if negated { set.complement() } else { set };
                return Some((set.without_slash(), after));
            }
            ([b'-', after @ ..], Some(start), _) if after.first().is_some_and(|&b| b != b']') => {
                let (end, after) = class_byte(after)?;
                (start..=end).for_each(|byte| set.insert(byte));
                (rest, range_start) = (after, None);
            }
            (_, _, Some((name, after))) => {
                let is_member = class_test(name)?;
                (0..=u8::MAX)
                    .filter(is_member)
                    .for_each(|byte| set.insert(byte));
                (rest, range_start) = (after, None);
            }
            _ => {
                let (byte, after) = class_byte(rest)?;
                set.insert(byte);
                (rest, range_start) = (after, Some(byte));
            }
        }
        is_first = false;
    }
}

/// One member, plain or behind a backslash, and what follows it.
fn class_byte(pattern: &[u8]) -> Option<(u8, &[u8])> {
    match pattern {
        [b'\\', byte, after @ ..] => Some((*byte, after)),
        [] | [b'\\'] => None,
        [byte, after @ ..] => Some((*byte, after)),
    }
}

/// The name of a class from behind its `[:` up to its `:]`, and what follows; `None` when the next
/// `]` has no colon before it, and the `[` is a plain member.
fn class_name(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = pattern.iter().position(|&b| b == b']')?;
    let name = pattern.get(..end)?.strip_suffix(b":")?;
    Some((name, pattern.get(end + 1..)?))
}

/// The members of a named class, in ASCII; `None` when there is no class of that name.
fn class_test(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |b| matches!(b, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |b| matches!(b, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// The meaning of a pattern, spelled out: exponential, for short texts only.
    fn means(tokens: &[Token], text: &[u8]) -> bool {
        let Some((token, behind)) = tokens.split_first() else {
            return text.is_empty();
        };
        let longest = match token {
            Token::DeepStar => text.len(),
            Token::Star(_) => text.iter().take_while(|&&b| b != b'/').count(),
            one => return text.first().is_some_and(|&b| one.takes(b)) && means(behind, &text[1..]),
        };
        (0..=longest).any(|taken| means(behind, &text[taken..]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn matching_is_what_the_pattern_means(
            pattern in "[ab/?*]{0,8}|([ab/]{0,2}[*]{0,2}){0,6}",
            text in "[ab/]{0,14}",
        ) {
            let (glob, text) = (Glob::parse(pattern.as_bytes()).unwrap(), text.as_bytes());
            prop_assert_eq!(glob.matches(text, Starts::Beginning), means(&glob.tokens, text));
            let later = (0..text.len()).filter(|&i| text[i] == b'/').map(|i| i + 1);
            let expected = std::iter::once(0).chain(later).any(|i| means(&glob.tokens, &text[i..]));
            prop_assert_eq!(glob.matches(text, Starts::EveryComponent), expected);
        }

        #[test]
        fn any_bytes_are_parsed(pattern: Vec<u8>, text: Vec<u8>) {
            if let Some(glob) = Glob::parse(&pattern) {
                glob.matches(&text, Starts::EveryComponent);
            }
        }
    }

    /// Each of these would run for days in a matcher that tries every way to share out the text.
    #[test]
    fn hostile_patterns_are_matched_in_linear_time() {
        let text = [&b"a".repeat(1_500)[..], b"/"].concat().repeat(20);
        for (unit, tail) in [
            ("*a", "b"),
            ("**a", "b"),
            ("**a*a", "b"),
            ("*a*/", "b"),
            ("?*", "//"),
        ] {
            let pattern = ["a**", &unit.repeat(300), tail].concat();
            let glob = Glob::parse(pattern.as_bytes()).unwrap();
            assert!(!glob.matches(&text, Starts::EveryComponent), "{unit}");
        }
    }
}
