//! Which paths belong to the mirror: rsync's filter rules.
//!
//! A [`Filter`] is an ordered list of [`FilterRule`]s, and the first rule that matches a path
//! decides, for each of two questions: whether it is sent, and whether it may be deleted. Both
//! sides hold the same list; the files of rules that it looks for in each directory, each side
//! reads in its own tree. Paths are bytes, relative to the transfer root. `written` reads rules,
//! `list` gathers them, `rule` is one, `terms` is what one may say, `segment` matches some,
//! `matcher` compiles the pattern of one, `glob` matches one wildcard pattern, `index` finds the
//! rules that a path may match, `in_force` is what counts in one directory, `per_dir` finds that,
//! `file` opens files of rules, and `attribute_rules` is for names of attributes alone.

mod attribute_rules;
mod error;
mod file;
mod glob;
mod in_force;
mod index;
mod list;
mod matcher;
#[cfg(test)]
mod oracle;
mod per_dir;
mod rule;
mod segment;
mod terms;
#[cfg(test)]
mod tests;
mod written;

use std::io;
use std::sync::Arc;

pub use error::FilterError;
pub use list::{Files, ListCause, ListError, RuleList};
pub use rule::{FilterRule, Pattern, PerDir};
pub use terms::{
    Form, Lines, MAX_FILTER_LEN, MAX_PATTERN_LEN, MAX_PER_DIR, MAX_RULES, Sense, Side, Subject,
};
pub use written::{Merge, RuleLine};

pub(crate) use attribute_rules::AttributeRules;
pub(crate) use in_force::InForce;
pub(crate) use terms::Half;

use crate::fs::Root;
use crate::path::RelPath;
use glob::{Glob, Starts};
use per_dir::Places;

/// An ordered list of rules, ready to match; empty by default, and then nothing is excluded. Clones
/// share what they know of the trees.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    has_rules: bool,
    /// Some rules do not count on both sides, or not everywhere.
    is_special: bool,
    /// The rules that decide whatever stands in the files that are looked for.
    certain: Arc<InForce>,
    /// What counts where in the trees.
    places: Arc<Places>,
}

impl Filter {
    /// Builds a filter from rules that may come from the peer, so every limit is checked again.
    pub fn from_rules(rules: Vec<FilterRule>) -> Result<Self, FilterError> {
        let mut list = RuleList::new(false);
        rules.into_iter().try_for_each(|rule| list.push(rule))?;
        let rules = list.into_rules();
        let is_plain = |rule: &FilterRule| match rule {
            FilterRule::Pattern(pattern) => pattern.is_plain() && !rule.is_of_full_paths(),
            FilterRule::PerDir(_) => false,
        };
        Ok(Filter {
            has_rules: !rules.is_empty(),
            is_special: !rules.iter().all(is_plain),
            certain: Arc::new(InForce::certain(&rules)),
            places: Arc::new(Places::new(&rules)),
        })
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        !self.has_rules
    }

    /// Whether a rule does not count for both sides, or not everywhere.
    pub(crate) fn is_special(&self) -> bool {
        self.is_special
    }

    /// What counts for the entries of the directory at `dir`, which a half reads.
    pub(crate) fn in_dir(
        &self,
        half: Half,
        root: &Root,
        dir: &RelPath,
    ) -> io::Result<Arc<InForce>> {
        self.places.in_dir(half, root, dir)
    }

    /// What counts for names that are given of what is in `root`, whose other entries are none of
    /// the transfer.
    pub(crate) fn for_names_in(&self, root: &Root) -> Arc<InForce> {
        self.places.around(root)
    }

    /// What decides which entries of the directory at `dir` a half sees at all. The receiver does
    /// not know what files of rules the source has: it sees all that these may let in.
    pub(crate) fn seen_by(
        &self,
        half: Half,
        root: &Root,
        dir: &RelPath,
    ) -> io::Result<Arc<InForce>> {
        match half {
            Half::Sender => self.in_dir(half, root, dir),
            Half::Receiver => Ok(Arc::clone(&self.certain)),
        }
    }

    /// Whether a half passes over `path` for certain when it reads its tree, whatever stands in the
    /// files that are looked for. See [`InForce::passes_over`].
    pub(crate) fn passes_over(&self, half: Half, path: &[u8], is_dir: bool) -> bool {
        self.certain.passes_over(half, path, is_dir)
    }

    /// Whether a push comes to `path` on either side: neither that nor a directory above is
    /// excluded on both.
    pub fn reaches(&self, path: &[u8], is_dir: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        let mut above = slashes.filter_map(|(at, _)| path.get(..at));
        let is_out = |path, is_dir| self.passes_over(Half::Receiver, path, is_dir);
        !is_out(path, is_dir) && above.all(|dir| !is_out(dir, true))
    }

    /// Whether everything in the directory at `dir` is excluded for certain, whatever its name.
    pub(crate) fn excludes_all_in(&self, dir: &[u8]) -> bool {
        self.certain.excludes_all_in(dir)
    }
}

/// Whether a pattern matches the whole of a text that is no path.
pub(crate) fn matches_whole(pattern: &[u8], text: &[u8]) -> bool {
    Glob::parse(pattern).is_some_and(|glob| glob.matches(text, Starts::Beginning))
}
