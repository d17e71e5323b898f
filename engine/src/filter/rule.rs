//! One filter rule: how it is written, its limits, and how its pattern is compiled.
//!
//! A rule is written as the value of `--exclude` or `--include`, or as a line of a file of them.
//! The shape of its pattern (anchored, inner slashes, `**`) says which part of a path has to
//! match; that is settled once, when the pattern is compiled.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::glob::{Glob, Starts};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 4096;

/// What a matching rule does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sense {
    /// The path is neither sent nor deleted.
    Exclude,
    /// The path belongs to the mirror, whatever later rules say.
    Include,
}

/// One rule, as it is written and as it travels to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    sense: Sense,
    /// 1 to [`MAX_PATTERN_LEN`] bytes without NUL, once [`FilterRule::check`] has passed.
    #[serde(with = "serde_bytes")]
    pattern: Vec<u8>,
}

/// What one written rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleLine {
    /// An empty line or a comment.
    Nothing,
    /// `!`: forget all rules so far.
    Clear,
    /// One more rule.
    Rule(FilterRule),
}

impl FilterRule {
    /// A rule that excludes what `pattern` matches; prefixes such as `+ ` have no meaning here.
    pub fn exclude(pattern: &[u8]) -> Result<Self, FilterError> {
        Self::new(Sense::Exclude, pattern)
    }

    /// A rule that includes what `pattern` matches; prefixes such as `- ` have no meaning here.
    pub fn include(pattern: &[u8]) -> Result<Self, FilterError> {
        Self::new(Sense::Include, pattern)
    }

    fn new(sense: Sense, pattern: &[u8]) -> Result<Self, FilterError> {
        let rule = Self {
            sense,
            pattern: pattern.to_vec(),
        };
        rule.check().map(|()| rule)
    }

    /// Reads the value of `--exclude` or `--include`, whose own meaning is `sense`.
    ///
    /// A `+ ` or `- ` prefix overrides `sense`, `!` alone clears the list, nothing is nothing.
    pub fn parse_arg(value: &[u8], sense: Sense) -> Result<RuleLine, FilterError> {
        let (sense, pattern) = match value {
            [] => return Ok(RuleLine::Nothing),
            b"!" => return Ok(RuleLine::Clear),
            [b'+', b' ', pattern @ ..] => (Sense::Include, pattern),
            [b'-', b' ', pattern @ ..] => (Sense::Exclude, pattern),
            pattern => (sense, pattern),
        };
        if pattern.is_empty() {
            return Err(FilterError::NoPattern { sense, line: None });
        }
        Self::new(sense, pattern).map(RuleLine::Rule)
    }

    /// Reads a line, without its end, of `--exclude-from` or `--include-from`.
    ///
    /// As [`FilterRule::parse_arg`], but a line that starts with `#` or `;` is a comment.
    pub fn parse_line(line: &[u8], sense: Sense) -> Result<RuleLine, FilterError> {
        match line {
            [b'#' | b';', ..] => Ok(RuleLine::Nothing),
            _ => Self::parse_arg(line, sense),
        }
    }

    /// Whether the rule excludes or includes.
    pub fn sense(&self) -> Sense {
        self.sense
    }

    /// The pattern as written.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    /// Checks the limits on a pattern: a rule that was decoded has not been through a constructor.
    pub(super) fn check(&self) -> Result<(), FilterError> {
        let pattern_len = self.pattern.len();
        if pattern_len == 0 {
            return Err(FilterError::NoPattern {
                sense: self.sense,
                line: None,
            });
        }
        if pattern_len > MAX_PATTERN_LEN {
            return Err(FilterError::TooLong {
                pattern_len,
                line: None,
            });
        }
        if self.pattern.contains(&0) {
            return Err(FilterError::Nul { line: None });
        }
        Ok(())
    }
}

/// Why a rule or a list of rules is refused. `line` counts from 1 where the rule is from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// A prefix with nothing behind it.
    NoPattern {
        /// What the prefix asked for.
        sense: Sense,
        /// The line of the file.
        line: Option<usize>,
    },
    /// A pattern of more than [`MAX_PATTERN_LEN`] bytes.
    TooLong {
        /// The length of the pattern.
        pattern_len: usize,
        /// The line of the file.
        line: Option<usize>,
    },
    /// A pattern with a NUL byte, which no path holds.
    Nul {
        /// The line of the file.
        line: Option<usize>,
    },
    /// More rules, or more bytes of patterns, than a filter holds.
    TooMany,
}

impl FilterError {
    /// The same error, found in this line of a file.
    pub(super) fn at_line(mut self, number: usize) -> Self {
        match &mut self {
            Self::NoPattern { line, .. } | Self::TooLong { line, .. } | Self::Nul { line } => {
                *line = Some(number);
            }
            Self::TooMany => {}
        }
        self
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::NoPattern {
            line: Some(number), ..
        }
        | Self::TooLong {
            line: Some(number), ..
        }
        | Self::Nul { line: Some(number) } = self
        {
            write!(f, "line {number}: ")?;
        }
        match self {
            Self::NoPattern { sense, .. } => {
                let prefix = if *sense == Sense::Include { '+' } else { '-' };
                write!(
                    f,
                    "filter rule '{prefix} ' has no pattern: write one after the space"
                )
            }
            Self::TooLong { pattern_len, .. } => write!(
                f,
                "filter pattern of {pattern_len} bytes is too long: at most {MAX_PATTERN_LEN} fit"
            ),
            Self::Nul { .. } => {
                f.write_str("filter pattern holds a NUL byte: separate rules by newlines")
            }
            Self::TooMany => write!(
                f,
                "too many filter rules: at most {} rules of {} bytes together fit, use wildcards",
                super::MAX_RULES,
                super::MAX_FILTER_LEN
            ),
        }
    }
}

impl std::error::Error for FilterError {}

/// A compiled pattern: which paths it looks at, where in them it looks, and for what.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    dirs_only: bool,
    scope: Scope,
    what: What,
}

/// The part of a path that a pattern has to match from end to end.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// This many last components, at least one; a path with fewer does not match.
    Tail(usize),
    /// The path.
    Path,
    /// The path, or any tail of it that starts a component.
    EveryTail,
    /// The path behind a slash, so that a leading `**/` also matches at the root.
    SlashPath,
}

#[derive(Clone, Debug)]
enum What {
    /// A pattern without a wildcard, to the byte.
    Literal(Vec<u8>),
    /// `slash_after_dir`: a directory is matched with a slash behind it, because the pattern ends
    /// in `***`.
    Glob { glob: Glob, slash_after_dir: bool },
    /// A pattern that is malformed, or asks for an empty name.
    Never,
}

impl Matcher {
    /// Compiles a pattern that [`FilterRule::check`] passed.
    ///
    /// The shape is read from the bytes as they stand: a slash or `**` counts inside a class or
    /// behind a backslash too, as in rsync.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let (pattern, dirs_only) = match pattern {
            [whole @ .., b'/'] if !whole.is_empty() => (whole, true),
            _ => (pattern, false),
        };
        let slash_count = pattern.iter().filter(|&&b| b == b'/').count();
        let crosses = pattern.windows(2).any(|pair| pair == b"**");
        let (body, anchored) = match pattern {
            [b'/', body @ ..] => (body, true),
            _ => (pattern, false),
        };
        let scope = if anchored {
            Scope::Path
        } else if !crosses {
            Scope::Tail(slash_count + 1)
        } else if pattern.starts_with(b"**") {
            Scope::SlashPath
        } else {
            Scope::EveryTail
        };
        let what = if body.is_empty() {
            What::Never
        } else if !body.iter().any(|b| b"*?[".contains(b)) {
            What::Literal(body.to_vec())
        } else {
            let slash_after_dir = pattern.ends_with(b"***");
            Glob::parse(body).map_or(What::Never, |glob| What::Glob {
                glob,
                slash_after_dir,
            })
        };
        Self {
            dirs_only,
            scope,
            what,
        }
    }

    /// Whether the pattern matches `path`, which is not empty and has no slash at its ends.
    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dirs_only && !is_dir {
            return false;
        }
        let part = match self.scope {
            Scope::Tail(component_count) => match last_components(path, component_count) {
                Some(tail) => tail,
                None => return false,
            },
            Scope::Path | Scope::EveryTail | Scope::SlashPath => path,
        };
        match &self.what {
            What::Never => false,
            What::Literal(literal) => literal == part,
            What::Glob {
                glob,
                slash_after_dir,
            } => {
                if !glob.agrees_at_end(part) {
                    return false;
                }
                let slash_before = matches!(self.scope, Scope::SlashPath);
                let text = with_slashes(part, slash_before, *slash_after_dir && is_dir);
                let starts = match self.scope {
                    Scope::EveryTail => Starts::EveryComponent,
                    _ => Starts::Beginning,
                };
                glob.matches(&text, starts)
            }
        }
    }
}

/// The last `component_count` components of a path, if it has so many.
fn last_components(path: &[u8], component_count: usize) -> Option<&[u8]> {
    let mut start = path.len();
    for _ in 0..component_count {
        // The slash in front of the components already counted is not theirs.
        let before = path.get(..start.checked_sub(usize::from(start < path.len()))?)?;
        match before.iter().rposition(|&b| b == b'/') {
            Some(slash) => start = slash + 1,
            None if before.is_empty() => return None,
            None => start = 0,
        }
    }
    path.get(start..)
}

fn with_slashes(part: &[u8], before: bool, after: bool) -> Cow<'_, [u8]> {
    if !before && !after {
        return Cow::Borrowed(part);
    }
    let mut text = Vec::with_capacity(part.len() + 2);
    if before {
        text.push(b'/');
    }
    text.extend_from_slice(part);
    if after {
        text.push(b'/');
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rules_are_written_as_rsync_reads_them() {
        let parse = |text: &str| FilterRule::parse_line(text.as_bytes(), Sense::Exclude);
        let rule = |sense, pattern: &str| {
            Ok(RuleLine::Rule(FilterRule {
                sense,
                pattern: pattern.as_bytes().to_vec(),
            }))
        };
        for nothing in ["", "#c", ";c"] {
            assert_eq!(parse(nothing), Ok(RuleLine::Nothing), "{nothing:?}");
        }
        assert_eq!(parse("!"), Ok(RuleLine::Clear));
        for (text, pattern) in [
            ("foo", "foo"),
            (" foo ", " foo "),
            ("- foo", "foo"),
            ("-  foo", " foo"),
            ("- - foo", "- foo"),
            ("- #c", "#c"),
            ("- !", "!"),
            ("!x", "!x"),
            ("! ", "! "),
            ("-foo", "-foo"),
            ("+", "+"),
            ("+_foo", "+_foo"),
        ] {
            assert_eq!(parse(text), rule(Sense::Exclude, pattern), "{text:?}");
        }
        assert_eq!(parse("+ foo"), rule(Sense::Include, "foo"));
        assert_eq!(
            FilterRule::parse_line(b"x", Sense::Include),
            rule(Sense::Include, "x")
        );
        assert_eq!(
            FilterRule::parse_line(b"- x", Sense::Include),
            rule(Sense::Exclude, "x")
        );
        assert_eq!(
            FilterRule::parse_arg(b"#x", Sense::Include),
            rule(Sense::Include, "#x")
        );
    }

    #[test]
    fn bad_rules_are_refused_in_one_line() {
        let error = |text: &[u8]| FilterRule::parse_arg(text, Sense::Exclude).unwrap_err();
        assert_eq!(
            error(b"- ").to_string(),
            "filter rule '- ' has no pattern: write one after the space"
        );
        let long = [b'a'; MAX_PATTERN_LEN + 1];
        assert_eq!(
            error(&long),
            FilterError::TooLong {
                pattern_len: long.len(),
                line: None
            }
        );
        assert_eq!(error(b"a\0b"), FilterError::Nul { line: None });
        assert!(FilterRule::exclude(&long[1..]).is_ok());
        assert!(FilterRule::include(b"").is_err());
    }

    #[test]
    fn the_last_components_of_a_path() {
        assert_eq!(last_components(b"a/bc/d", 1), Some(&b"d"[..]));
        assert_eq!(last_components(b"a/bc/d", 2), Some(&b"bc/d"[..]));
        assert_eq!(last_components(b"a/bc/d", 3), Some(&b"a/bc/d"[..]));
        assert_eq!(last_components(b"a/bc/d", 4), None);
        assert_eq!(last_components(b"a", usize::MAX), None);
    }
}
