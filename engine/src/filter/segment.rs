//! Rules that stand together, compiled: the first that matches decides.

use super::index::Index;
use super::matcher::{Bytes, Matcher};
use super::rule::Pattern;
use super::terms::{Sense, Side, Subject};

/// Rules of one origin, in their order.
#[derive(Debug, Default)]
pub(super) struct Segment {
    rules: Vec<Rule>,
    index: Index,
    base: Base,
    text_len: usize,
}

#[derive(Debug)]
struct Rule {
    sense: Sense,
    side: Side,
    negated: bool,
    perishable: bool,
    is_of_full_paths: bool,
    matcher: Matcher,
    /// The last component of its pattern is nothing but stars.
    takes_any: bool,
}

/// Where a pattern with a slash in front begins.
#[derive(Clone, Debug, Default)]
pub(super) enum Base {
    /// At the root of the transfer.
    #[default]
    Root,
    /// In the directory of whose path with a slash behind it this is the length.
    Below(usize),
    /// In a directory above the root, from which this is the way to it, with a slash behind it.
    Above(Vec<u8>),
}

/// What is asked of rules.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// Relative to the root of the transfer, and not empty.
    pub(super) path: &'a [u8],
    pub(super) is_dir: bool,
    /// Rules of the other side do not count.
    pub(super) side: Side,
    /// It is in a directory that is to go: perishable rules do not count.
    pub(super) is_doomed: bool,
    /// The full path of the root, without a slash in front and with one behind.
    pub(super) here: &'a [u8],
}

impl Segment {
    pub(super) fn new<'a>(patterns: impl IntoIterator<Item = &'a Pattern>, base: Base) -> Self {
        let mut segment = Segment {
            base,
            ..Segment::default()
        };
        for pattern in patterns {
            let matcher = Matcher::new(&pattern.text);
            segment.index.add(&matcher, pattern.negated);
            segment.text_len += pattern.text.len();
            let last = pattern.text.rsplit(|&b| b == b'/').next();
            segment.rules.push(Rule {
                sense: pattern.sense,
                side: pattern.side,
                negated: pattern.negated,
                perishable: pattern.perishable,
                is_of_full_paths: pattern.subject == Subject::FullPath,
                matcher,
                takes_any: pattern.is_plain()
                    && !pattern.negated
                    && last.is_some_and(|last| !last.is_empty() && last.iter().all(|&b| b == b'*')),
            });
        }
        segment
    }

    /// How many rules there are, and how many bytes their patterns have.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rules.len(), self.text_len)
    }

    /// What the first rule says that counts and matches.
    pub(super) fn decide(&self, asked: &Question<'_>) -> Option<Sense> {
        let bytes = Bytes::of(asked.path);
        let decides = |at: usize| {
            let rule = self.rules.get(at);
            rule.is_some_and(|rule| {
                rule.counts(asked) && self.matches(rule, asked, bytes) != rule.negated
            })
        };
        let decisive = self.index.first(asked.path, decides)?;
        self.rules.get(decisive).map(|rule| rule.sense)
    }

    /// Whether a rule matches a path that has these bytes.
    fn matches(&self, rule: &Rule, asked: &Question<'_>, bytes: Bytes) -> bool {
        let (path, matcher) = (asked.path, &rule.matcher);
        // More than the path may be looked at.
        let is_more = rule.is_of_full_paths || matches!(self.base, Base::Above(_));
        if !is_more && !matcher.may_match(bytes) {
            return false;
        }
        if rule.is_of_full_paths && matcher.looks_above() {
            let full = [asked.here, path].concat();
            return matcher.matches(&full, asked.is_dir);
        }
        match &self.base {
            Base::Below(len) if matcher.is_anchored() => {
                let below = path.get(*len..);
                below.is_some_and(|path| matcher.matches(path, asked.is_dir))
            }
            Base::Above(way) if matcher.is_anchored() => {
                matcher.matches(&[way, path].concat(), asked.is_dir)
            }
            _ => matcher.matches(path, asked.is_dir),
        }
    }

    /// Whether everything in the directory at `dir` is excluded for certain, whatever its name; as
    /// far as these rules go, without those behind the first that includes.
    pub(super) fn excludes_all_in(&self, dir: &[u8]) -> bool {
        let inside = [dir, b"/any"].concat();
        let mut excluding = self
            .rules
            .iter()
            .take_while(|rule| rule.sense == Sense::Exclude);
        excluding.any(|rule| rule.takes_any && rule.matcher.matches(&inside, false))
    }
}

impl Rule {
    fn counts(&self, asked: &Question<'_>) -> bool {
        (self.side == Side::Both || self.side == asked.side)
            && !(asked.is_doomed && self.perishable)
    }
}
