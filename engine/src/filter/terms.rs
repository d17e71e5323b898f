//! What rules and files of rules may say, and how much of it.

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 4096;

/// The most rules a list holds.
pub const MAX_RULES: usize = 65_536;

/// The most bytes that the patterns of a list hold together: with as many rules as there may be,
/// and all else that a push begins with, they fit into one frame.
pub const MAX_FILTER_LEN: usize = 448 << 10;

/// The most names of files that are looked for in each directory.
pub const MAX_PER_DIR: usize = 64;

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

/// What a pattern is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// A path below the root of the transfer.
    #[default]
    Path,
    /// The same with the path of that root in front, on each side its own: the modifier `/`.
    FullPath,
    /// The name of an extended attribute: the modifier `x`.
    Attribute,
}

/// What the lines of a file of rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// In which language they are.
    pub lines: Lines,
    /// Rules are parted by white space, not by ends of lines, and there are no comments.
    pub words: bool,
    /// Its patterns are held against full paths.
    pub subject: Subject,
    /// Where its rules count. They do not say so themselves then.
    pub side: Side,
    /// Its rules are perishable.
    pub perishable: bool,
    /// Zero bytes end lines.
    pub zeros: bool,
    /// Rules that do not say where they count do so for the sender alone (`--delete-excluded`).
    pub hides: bool,
}

/// How the lines of a file of rules are to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lines {
    /// Rules of the language.
    #[default]
    Rules,
    /// Patterns, which `+ ` or `- ` in front may turn: `--exclude-from` and `--include-from`.
    Prefixed(Sense),
    /// Patterns, whatever they begin with: the modifiers `-` and `+`.
    Bare(Sense),
    /// Patterns that exclude, and `!` clears the list: `.cvsignore`.
    Cvs,
}

/// A half of a push, which reads its own tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// Reads the source.
    Sender,
    /// Reads the target.
    Receiver,
}
