//! One filter rule, its limits, and why one is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 4096;

/// What a matching rule does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sense {
    /// The path is not sent, or not deleted.
    Exclude,
    /// It is, whatever later rules say.
    Include,
}

/// Where a rule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// What it excludes is neither sent nor deleted.
    #[default]
    Both,
    /// It is not sent: `hide` and `show`.
    Sender,
    /// It is not deleted: `protect` and `risk`.
    Receiver,
}

/// One rule, as it travels to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    pub(super) sense: Sense,
    pub(super) side: Side,
    /// It matches what its pattern does not.
    pub(super) negated: bool,
    /// It protects nothing in a directory that is to go.
    pub(super) perishable: bool,
    /// 1 to [`MAX_PATTERN_LEN`] bytes without NUL, once [`FilterRule::check`] has passed.
    #[serde(with = "serde_bytes")]
    pub(super) pattern: Vec<u8>,
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

    pub(super) fn new(sense: Sense, pattern: &[u8]) -> Result<Self, FilterError> {
        let rule = Self {
            sense,
            side: Side::Both,
            negated: false,
            perishable: false,
            pattern: pattern.to_vec(),
        };
        rule.check().map(|()| rule)
    }

    /// Whether the rule excludes or includes.
    pub fn sense(&self) -> Sense {
        self.sense
    }

    /// The pattern as written.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    /// The same where what is excluded is deleted: it counts for the sender alone, unless it says
    /// where (`--delete-excluded`).
    #[must_use]
    pub fn hiding(self) -> Self {
        let side = match self.side {
            Side::Both => Side::Sender,
            side => side,
        };
        Self { side, ..self }
    }

    /// Whether it is something else than `-` or `+` and a pattern.
    pub(super) fn is_special(&self) -> bool {
        self.side != Side::Both || self.perishable
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
    /// Not a rule of the language: the reason.
    Wrong {
        /// What is wrong.
        why: &'static str,
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
            Self::NoPattern { line, .. }
            | Self::TooLong { line, .. }
            | Self::Nul { line }
            | Self::Wrong { line, .. } => *line = Some(number),
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
        | Self::Nul { line: Some(number) }
        | Self::Wrong {
            line: Some(number), ..
        } = self
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
            Self::Wrong { why, .. } => f.write_str(why),
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
