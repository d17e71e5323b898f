//! Why a filter rule, or a list of them, is refused. Nothing of its text is told: it may stand in a
//! file that is somebody's secret.

use std::fmt;

use super::terms::{MAX_FILTER_LEN, MAX_PATTERN_LEN, MAX_PER_DIR, MAX_RULES, Sense};

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
    /// A file to be looked for in each directory without a name that one can have.
    NoFile {
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
            | Self::NoFile { line }
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
        | Self::NoFile { line: Some(number) }
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
            Self::NoFile { .. } => {
                f.write_str("a merge rule ends in the name of a file, such as .rsync-filter")
            }
            Self::Wrong { why, .. } => f.write_str(why),
            Self::TooMany => write!(
                f,
                "too many filter rules: at most {MAX_RULES} rules of {MAX_FILTER_LEN} bytes \
                 together and {MAX_PER_DIR} files in each directory fit, use wildcards"
            ),
        }
    }
}

impl std::error::Error for FilterError {}
