//! One filter rule, as it travels to the peer, and its limits.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::FilterError;
use super::terms::{Form, Lines, MAX_PATTERN_LEN, Sense, Side, Subject};
use crate::path::check_name;

/// One rule, as it travels to the peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterRule {
    /// What a pattern matches is in, or out.
    Pattern(Pattern),
    /// A file of rules is looked for in every directory.
    PerDir(PerDir),
}

/// A pattern, and what it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// In or out.
    pub sense: Sense,
    /// On which side.
    pub side: Side,
    /// It matches what its text does not.
    pub negated: bool,
    /// It protects nothing in a directory that is to go.
    pub perishable: bool,
    /// What it is held against.
    pub subject: Subject,
    /// 1 to [`MAX_PATTERN_LEN`] bytes without NUL, once [`FilterRule::check`] has passed.
    #[serde(with = "serde_bytes")]
    pub text: Vec<u8>,
}

/// Files of rules, one in a directory, for what is in it and, unless they stay, below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerDir {
    /// The name of the files. A path in front of it is that of a directory above the transfer: the
    /// files of all directories from there on count too.
    #[serde(with = "serde_bytes")]
    pub name: Vec<u8>,
    /// A file counts for its directory alone.
    pub stays: bool,
    /// What the lines in them are.
    pub form: Form,
}

impl FilterRule {
    /// A rule that excludes what `pattern` matches; prefixes such as `+ ` have no meaning here.
    pub fn exclude(pattern: &[u8]) -> Result<Self, FilterError> {
        Pattern::new(Sense::Exclude, pattern).map(FilterRule::Pattern)
    }

    /// A rule that includes what `pattern` matches; prefixes such as `- ` have no meaning here.
    pub fn include(pattern: &[u8]) -> Result<Self, FilterError> {
        Pattern::new(Sense::Include, pattern).map(FilterRule::Pattern)
    }

    /// The same where what is excluded is deleted: it counts for the sender alone, unless it says
    /// where (`--delete-excluded`).
    #[must_use]
    pub fn hiding(self) -> Self {
        match self {
            FilterRule::Pattern(pattern) => FilterRule::Pattern(pattern.hiding()),
            FilterRule::PerDir(mut files) => {
                files.form.hides = true;
                FilterRule::PerDir(files)
            }
        }
    }

    /// Whether it is held against full paths, which are others on each side.
    pub(super) fn is_of_full_paths(&self) -> bool {
        match self {
            FilterRule::Pattern(pattern) => pattern.subject == Subject::FullPath,
            FilterRule::PerDir(files) => files.form.subject == Subject::FullPath,
        }
    }

    /// How many bytes it has that somebody wrote.
    pub(super) fn text_len(&self) -> usize {
        match self {
            FilterRule::Pattern(pattern) => pattern.text.len(),
            FilterRule::PerDir(files) => files.name.len(),
        }
    }

    /// Checks the limits on a rule: one that was decoded has not been through a constructor.
    pub(super) fn check(&self) -> Result<(), FilterError> {
        match self {
            FilterRule::Pattern(pattern) => pattern.check(),
            FilterRule::PerDir(files) => files.check(),
        }
    }
}

impl Pattern {
    pub(super) fn new(sense: Sense, text: &[u8]) -> Result<Self, FilterError> {
        let pattern = Pattern {
            sense,
            side: Side::Both,
            negated: false,
            perishable: false,
            subject: Subject::Path,
            text: text.to_vec(),
        };
        pattern.check().map(|()| pattern)
    }

    pub(super) fn hiding(self) -> Self {
        let side = match self.side {
            Side::Both => Side::Sender,
            side => side,
        };
        Pattern { side, ..self }
    }

    /// Whether it says the same of what is sent and of what is deleted, everywhere.
    pub(super) fn is_plain(&self) -> bool {
        self.side == Side::Both && !self.perishable
    }

    fn check(&self) -> Result<(), FilterError> {
        let sense = self.sense;
        if self.text.is_empty() {
            return Err(FilterError::NoPattern { sense, line: None });
        }
        check_text(&self.text)
    }
}

impl PerDir {
    /// The name of the file in each directory.
    pub(super) fn file_name(&self) -> &[u8] {
        let name = self.name.rsplit(|&b| b == b'/').next();
        name.unwrap_or(&self.name)
    }

    /// The directory from which on the files above the transfer count too, as written.
    pub(super) fn begins_in(&self) -> Option<&[u8]> {
        let slash = self.name.iter().rposition(|&b| b == b'/')?;
        self.name.get(..slash.max(1))
    }

    /// Whether its files may let something in that a later rule leaves out.
    pub(super) fn may_include(&self) -> bool {
        !matches!(self.form.lines, Lines::Cvs | Lines::Bare(Sense::Exclude))
    }

    fn check(&self) -> Result<(), FilterError> {
        check_text(&self.name)?;
        check_name(self.file_name()).map_err(|_| FilterError::NoFile { line: None })
    }
}

fn check_text(text: &[u8]) -> Result<(), FilterError> {
    let pattern_len = text.len();
    if pattern_len > MAX_PATTERN_LEN {
        return Err(FilterError::TooLong {
            pattern_len,
            line: None,
        });
    }
    if text.contains(&0) {
        return Err(FilterError::Nul { line: None });
    }
    Ok(())
}

/// The rule as it is written in the language.
impl fmt::Display for FilterRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letters, text) = match self {
            FilterRule::Pattern(pattern) => (pattern.letters(), &pattern.text),
            FilterRule::PerDir(files) => (files.letters(), &files.name),
        };
        write!(f, "{letters} {}", crate::escape::escape(text))
    }
}

/// The letters for which the condition is true.
fn letters<const N: usize>(all: [(bool, char); N]) -> String {
    let set = all.iter().filter(|(is_set, _)| *is_set);
    set.map(|(_, letter)| *letter).collect()
}

impl Pattern {
    fn letters(&self) -> String {
        letters([
            (self.sense == Sense::Exclude, '-'),
            (self.sense == Sense::Include, '+'),
            (self.subject == Subject::FullPath, '/'),
            (self.negated, '!'),
            (self.subject == Subject::Attribute, 'x'),
            (self.side == Side::Sender, 's'),
            (self.side == Side::Receiver, 'r'),
            (self.perishable, 'p'),
        ])
    }
}

impl PerDir {
    fn letters(&self) -> String {
        let form = &self.form;
        let is_cvs = form.lines == Lines::Cvs;
        letters([
            (true, ':'),
            (is_cvs, 'C'),
            (form.lines == Lines::Bare(Sense::Exclude), '-'),
            (form.lines == Lines::Bare(Sense::Include), '+'),
            (form.subject == Subject::FullPath, '/'),
            (self.stays && !is_cvs, 'n'),
            (form.words && !is_cvs, 'w'),
            (form.side == Side::Sender, 's'),
            (form.side == Side::Receiver, 'r'),
            (form.perishable, 'p'),
        ])
    }
}
