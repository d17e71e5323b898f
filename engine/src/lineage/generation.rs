//! What a generation is: a state of a tree that was made durable as a whole, who made it, when,
//! and from what. Generations are told apart by their random ids alone; epoch and number are for
//! order and for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ordinal::{Epoch, Number};
use crate::clock::AsOf;

/// The random 128-bit identity of a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GenerationId([u8; 16]);

impl GenerationId {
    /// What no generation is called.
    pub(crate) const NONE: Self = GenerationId([0; 16]);

    /// A new identity.
    pub(crate) fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(GenerationId(bytes))
    }

    #[cfg(test)]
    pub(crate) const fn of_bytes(bytes: [u8; 16]) -> Self {
        GenerationId(bytes)
    }

    /// Reads what `Display` wrote, in full.
    pub fn parse(hex: &str) -> Option<Self> {
        (hex.len() == 32 && hex.is_ascii())
            .then(|| u128::from_str_radix(hex, 16).ok())
            .flatten()
            .map(|number| GenerationId(number.to_be_bytes()))
    }
}

impl fmt::Debug for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// How a generation came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GenerationKind {
    /// A push that changed something.
    Push,
    /// An undo, back to the state of an earlier generation, as a whole or of some paths.
    Undo,
    /// The node was made primary; its tree stayed as it was.
    Promotion,
}

/// One generation of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Who it is.
    pub id: GenerationId,
    /// Epoch of the primary that made it: each promotion begins one.
    pub epoch: Epoch,
    /// Counts up by one along the lineage.
    pub number: Number,
    /// The node that made it.
    pub node: String,
    /// The tree is a group of files among others in their directory.
    pub is_group: bool,
    /// What it came from; the first has none.
    pub parent: Option<GenerationId>,
    /// How it came about.
    pub kind: GenerationKind,
    /// The generation whose state of the tree this is: its own, except that an undo of the whole
    /// tree and a promotion have an earlier one's.
    pub state: GenerationId,
    /// The state of the tree before.
    pub parent_state: Option<GenerationId>,
    /// When it was made, in nanoseconds since 1970 by the clock of the node that keeps the record.
    pub made_ns: i64,
    /// When the source had this state; a partial push has none of its own.
    pub as_of: Option<AsOf>,
    /// What it changed.
    pub counts: GenerationCounts,
    /// What could not be mirrored, if anything.
    pub partial: Option<Partial>,
}

/// What a push left a tree at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The generation that the push made, or the one that it found and left as it is.
    pub head: Generation,
    /// Whether the push made it.
    pub changed: bool,
    /// When that was equal to the source; unknown if the push was partial.
    pub as_of: Option<AsOf>,
    /// It replaced what the receiver had as primary or had given up, and keeps that until told
    /// otherwise.
    pub pinned: bool,
    /// Entries that it replaced though they were written there since the generation before.
    pub written: Partial,
}

/// What a generation changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationCounts {
    /// Entries put in place, a new directory with everything in it as one.
    pub placed: u64,
    /// Entries removed, a directory with everything in it as one.
    pub removed: u64,
    /// Entries whose metadata alone was changed.
    pub attributes: u64,
}

/// Why a generation is not equal to its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    /// How many messages there were.
    pub count: u64,
    /// The first [`PARTIAL_LINES_MAX`] of them, each naming its path.
    pub lines: Vec<String>,
}

/// Messages kept about a partial generation.
pub const PARTIAL_LINES_MAX: usize = 100;

impl Generation {
    /// Number and the beginning of the identity, for messages: `42 (1a2b3c4d)`.
    pub fn shown(&self) -> String {
        let id = self.id.to_string();
        format!("{} ({})", self.number, &id[..8])
    }

    /// Whether that identity occurs in it.
    pub(crate) fn names(&self, id: GenerationId) -> bool {
        [
            Some(self.id),
            self.parent,
            Some(self.state),
            self.parent_state,
        ]
        .contains(&Some(id))
    }

    /// Counts what could not be carried out against it.
    pub(crate) fn add_failed(&mut self, failed: &Partial) {
        if failed.count == 0 {
            return;
        }
        self.partial
            .get_or_insert_with(Partial::default)
            .add(failed);
        self.as_of = None;
    }
}

impl Partial {
    /// Counts a message, and keeps it while there are few.
    pub(crate) fn add_line(&mut self, line: &str) {
        self.count = self.count.saturating_add(1);
        if self.lines.len() < PARTIAL_LINES_MAX {
            self.lines.push(line.to_owned());
        }
    }

    /// The messages, and how many more there were.
    pub fn shown(&self) -> Vec<String> {
        let more = self.count.saturating_sub(self.lines.len() as u64);
        let more = (more > 0).then(|| format!("and {more} more"));
        self.lines.iter().cloned().chain(more).collect()
    }

    /// Adds what somebody else counted.
    pub(crate) fn add(&mut self, other: &Partial) {
        let unkept = other.count.saturating_sub(other.lines.len() as u64);
        other.lines.iter().for_each(|line| self.add_line(line));
        self.count = self.count.saturating_add(unkept);
    }
}
