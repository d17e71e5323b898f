//! Which paths belong to the mirror: rsync's filter rules.
//!
//! A [`Filter`] is an ordered list of [`FilterRule`]s, and the first rule that matches a path
//! decides, for each of two questions: whether it is sent, and whether it may be deleted. Both
//! sides hold the same list. Paths are bytes, relative to the transfer root. `written` reads rules,
//! `rule` is one, `matcher` compiles its pattern, `glob` matches one wildcard pattern, `index`
//! finds the rules that a path may match.

mod glob;
mod index;
mod matcher;
#[cfg(test)]
mod oracle;
mod rule;
mod written;

pub use rule::{FilterError, FilterRule, MAX_PATTERN_LEN, Sense, Side};
pub use written::{CVS, Form, Merge, RuleLine};

use index::Index;
use matcher::Matcher;

/// The most rules a filter holds.
pub const MAX_RULES: usize = 65_536;

/// The most bytes that the patterns of a filter hold together: with as many rules as there may be,
/// and all else that a push begins with, they fit into one frame.
pub const MAX_FILTER_LEN: usize = 512 << 10;

/// A half of a push, which reads its own tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// Reads the source.
    Sender,
    /// Reads the target.
    Receiver,
}

/// An ordered list of rules, ready to match; empty by default, and then nothing is excluded.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Vec<FilterRule>,
    /// One for each rule, in the same order.
    matchers: Vec<Matcher>,
    index: Index,
    /// The lengths of all patterns together, at most [`MAX_FILTER_LEN`].
    pattern_bytes: usize,
    /// Some rules do not count everywhere.
    is_special: bool,
}

impl Filter {
    /// Builds a filter from rules that may come from the peer, so every limit is checked again.
    pub fn from_rules(rules: Vec<FilterRule>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for rule in rules {
            filter.push(rule)?;
        }
        Ok(filter)
    }

    /// Appends a rule: it decides only where no earlier one does.
    pub fn push(&mut self, rule: FilterRule) -> Result<(), FilterError> {
        rule.check()?;
        let pattern_bytes = self.pattern_bytes + rule.pattern().len();
        if self.rules.len() >= MAX_RULES || pattern_bytes > MAX_FILTER_LEN {
            return Err(FilterError::TooMany);
        }
        self.pattern_bytes = pattern_bytes;
        self.is_special |= rule.is_special();
        let matcher = Matcher::new(rule.pattern());
        self.index.add(&matcher, rule.negated);
        self.matchers.push(matcher);
        self.rules.push(rule);
        Ok(())
    }

    /// Applies the value of one `--exclude` or `--include` option.
    pub fn add_arg(&mut self, sense: Sense, value: &[u8]) -> Result<(), FilterError> {
        match RuleLine::parse_arg(value, sense)? {
            RuleLine::Rule(rule) => self.push(rule)?,
            RuleLine::Clear => self.clear(),
            _ => {}
        }
        Ok(())
    }

    /// Forgets all rules.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The rules in order, as they travel to the peer.
    pub fn rules(&self) -> &[FilterRule] {
        &self.rules
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule does not count for both sides, or not everywhere.
    pub(crate) fn is_special(&self) -> bool {
        self.is_special
    }

    /// Whether a half passes over `path`, relative to the transfer root and without a leading
    /// slash, when it reads its tree. The sender's are not sent. Of the receiver's nothing is to be
    /// known that is neither sent nor may be deleted.
    ///
    /// Only the path itself is judged: a walk that does not descend into an excluded directory
    /// never asks about what is below it. The transfer root (the empty path) is never excluded.
    pub(crate) fn passes_over(&self, half: Half, path: &[u8], is_dir: bool) -> bool {
        match half {
            Half::Sender => self.excludes(path, is_dir, Side::Sender, false),
            Half::Receiver if !self.is_special => {
                self.excludes(path, is_dir, Side::Receiver, false)
            }
            Half::Receiver => {
                self.excludes(path, is_dir, Side::Sender, false)
                    && self.excludes(path, is_dir, Side::Receiver, false)
            }
        }
    }

    /// Whether what the receiver has at `path` stays, though the source does not have it.
    pub(crate) fn protects(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, Side::Receiver, false)
    }

    /// The same of what is in a directory that is to go: perishable rules do not count there.
    pub(crate) fn protects_below(&self, path: &[u8], is_dir: bool) -> bool {
        self.excludes(path, is_dir, Side::Receiver, true)
    }

    /// Whether a push comes to `path` on either side: neither that nor a directory above is
    /// excluded on both.
    pub(crate) fn reaches(&self, path: &[u8], is_dir: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        let mut above = slashes.filter_map(|(at, _)| path.get(..at));
        let is_out = |path, is_dir| self.passes_over(Half::Receiver, path, is_dir);
        !is_out(path, is_dir) && above.all(|dir| !is_out(dir, true))
    }

    /// Whether everything in the directory at `dir` is excluded for certain, whatever its name.
    pub(crate) fn excludes_all_in(&self, dir: &[u8]) -> bool {
        let inside = [dir, b"/any"].concat();
        let takes_any = |rule: &FilterRule| {
            let last = rule.pattern().rsplit(|&b| b == b'/').next();
            let is_plain = !rule.is_special() && !rule.negated;
            is_plain && last.is_some_and(|last| !last.is_empty() && last.iter().all(|&b| b == b'*'))
        };
        let excluding = self.rules.iter().zip(&self.matchers);
        excluding
            .take_while(|(rule, _)| rule.sense() == Sense::Exclude)
            .any(|(rule, matcher)| takes_any(rule) && matcher.matches(&inside, false))
    }

    /// Whether the first rule that counts on `side` and matches excludes.
    fn excludes(&self, path: &[u8], is_dir: bool, side: Side, is_doomed: bool) -> bool {
        if self.rules.is_empty() || path.is_empty() {
            return false;
        }
        let counts = |rule: &FilterRule| {
            (rule.side == Side::Both || rule.side == side) && !(is_doomed && rule.perishable)
        };
        let decides = |at: usize| {
            let (Some(rule), Some(matcher)) = (self.rules.get(at), self.matchers.get(at)) else {
                return false;
            };
            counts(rule) && matcher.matches(path, is_dir) != rule.negated
        };
        let decisive = self.index.first(path, decides);
        let rule = decisive.and_then(|at| self.rules.get(at));
        rule.is_some_and(|rule| rule.sense() == Sense::Exclude)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Checks which of `paths` (a trailing slash marks a directory) `lines` exclude, on their own.
    fn check(lines: &[&str], excluded: &[&str], included: &[&str]) {
        let mut filter = Filter::default();
        for line in lines {
            filter.add_arg(Sense::Exclude, line.as_bytes()).unwrap();
        }
        let again = Filter::from_rules(filter.rules().to_vec()).unwrap();
        for (paths, expected) in [(excluded, true), (included, false)] {
            for path in paths {
                let name = path.strip_suffix('/').unwrap_or(path);
                let is_dir = path.ends_with('/');
                for filter in [&filter, &again] {
                    let got = filter.passes_over(Half::Sender, name.as_bytes(), is_dir);
                    assert_eq!(got, expected, "{lines:?} on {path:?}");
                }
            }
        }
    }

    #[test]
    fn no_rule_excludes_nothing() {
        assert!(Filter::default().is_empty());
        check(&[], &[], &["a", "a/b", "a/"]);
        check(&["*"], &["a", "a/"], &[""]);
    }

    #[test]
    fn a_plain_name_matches_the_last_component() {
        check(
            &["foo"],
            &["foo", "foo/", "a/foo"],
            &["foobar", "a/foo/b", "xfoo", "fo"],
        );
        check(
            &["*.o"],
            &["x.o", "a/b/x.o", ".o", "d.o/"],
            &["x.oo", "x.o/y"],
        );
    }

    #[test]
    fn a_leading_slash_anchors_at_the_root() {
        check(&["/foo"], &["foo", "foo/"], &["a/foo"]);
        check(&["/*.o"], &["x.o"], &["a/x.o"]);
        check(
            &["/", "//", "//foo", "a//foo", "foo//"],
            &[],
            &["a", "foo/", "a/foo", "a/foo/"],
        );
    }

    #[test]
    fn a_trailing_slash_matches_directories_only() {
        check(&["foo/"], &["foo/", "a/foo/"], &["foo", "a/foo"]);
        check(&["*/"], &["a/", "a/b/"], &["a"]);
    }

    #[test]
    fn an_inner_slash_matches_the_tail_of_the_path() {
        check(&["b/c"], &["b/c", "a/b/c"], &["c", "xb/c", "b/c/d"]);
        check(&["b/*.c"], &["b/x.c", "a/b/x.c"], &["x.c", "b/d/x.c"]);
        check(
            &["foo/*/bar"],
            &["foo/x/bar", "a/foo/x/bar"],
            &["foo/bar", "foo/x/y/bar"],
        );
    }

    #[test]
    fn two_stars_cross_slashes() {
        check(
            &["/foo/**/bar"],
            &["foo/x/bar", "foo/x/y/bar"],
            &["foo/bar", "a/foo/x/bar"],
        );
        check(
            &["**/foo"],
            &["foo", "a/foo", "a/b/foo"],
            &["foo/a", "xfoo"],
        );
        check(&["a/**"], &["a/b", "a/b/c", "x/a/b"], &["a/", "b", "xa/b"]);
        check(
            &["a**c"],
            &["abc", "a/b/c", "x/abc", "x/a/b/c"],
            &["xabc", "abcd"],
        );
        check(&["**"], &["a", "a/b", "a/"], &[]);
    }

    #[test]
    fn three_stars_at_the_end_match_the_directory_too() {
        check(
            &["dir/***"],
            &["dir/", "dir/a", "x/dir/a/b", "x/dir/"],
            &["dir", "xdir/"],
        );
        check(&["/dir/***"], &["dir/", "dir/a"], &["x/dir/", "x/dir/a"]);
        check(&["**/***"], &["a", "a/"], &[]);
    }

    #[test]
    fn question_marks_and_classes_match_one_byte_but_a_slash() {
        check(&["a?c"], &["abc", "a\u{1}c"], &["ac", "abbc"]);
        check(&["a[b-d]"], &["ab", "ad", "x/ac"], &["ae", "a"]);
        check(&["[!a]", "[^b]x"], &["b", "ax"], &["a", "bx", "bb"]);
        check(&["[[:digit:][:upper:]]"], &["7", "Q"], &["q", "-", ":"]);
        check(&["[]a]", "[b-]"], &["]", "a", "-", "b"], &["["]);
        check(&["/a[/]b", "/a?b"], &["axb"], &["a/b"]);
    }

    #[test]
    fn a_broken_class_matches_nothing() {
        check(
            &["[", "*[a", "[[:nosuch:]]", "[!"],
            &[],
            &["[", "a", "[a", "x[a"],
        );
    }

    #[test]
    fn a_backslash_escapes_only_beside_a_wildcard() {
        check(&[r"foo\bar"], &[r"foo\bar"], &["foobar"]);
        check(&[r"foo\bar*"], &["foobar", "foobarx"], &[r"foo\bar"]);
        check(&[r"\*"], &["*"], &["a", r"\*"]);
        check(&[r"foo\\bar*"], &[r"foo\bar"], &["foobar"]);
        check(&[r"a*\"], &[], &["a", r"a\"]);
    }

    #[test]
    fn the_first_match_wins() {
        check(&["+ *.c", "+ */", "*"], &["x.o"], &["x.c", "d/", "d/x.c"]);
        check(&["- a", "+ a", "b"], &["a", "b"], &["c"]);
    }

    #[test]
    fn names_are_bytes() {
        let mut filter = Filter::default();
        filter.add_arg(Sense::Exclude, b"[\x80-\xfe]?\n").unwrap();
        assert!(filter.protects(b"d/\xfe\xff\n", false));
        assert!(!filter.protects(b"d/\xff\xfe\n", false));
    }

    /// A filter of rules of the language.
    fn of(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            match RuleLine::parse(rule.as_bytes()).unwrap() {
                RuleLine::Rule(rule) => filter.push(rule).unwrap(),
                other => assert_eq!(other, RuleLine::Nothing),
            }
        }
        filter
    }

    #[test]
    fn each_side_has_its_rules() {
        // Of each: whether `f` is sent, whether it is protected, and whether below what goes too.
        for (rules, hidden, protected, below) in [
            (&["- f"][..], true, true, true),
            (&["H f"], true, false, false),
            (&["P f"], false, true, true),
            (&["-s f"], true, false, false),
            (&["-r f"], false, true, true),
            (&["-p f"], true, true, false),
            (&["P,p f"], false, true, false),
            (&["S f", "- f"], false, true, true),
            (&["R f", "- f"], true, false, false),
            (&["+ f", "- f"], false, false, false),
            (&["-! g"], true, true, true),
            (&["-! f"], false, false, false),
            (&["-x f"], false, false, false),
        ] {
            let filter = of(rules);
            let found = (
                filter.passes_over(Half::Sender, b"f", false),
                filter.protects(b"f", false),
                filter.protects_below(b"f", false),
            );
            assert_eq!(found, (hidden, protected, below), "{rules:?}");
            let is_unseen = filter.passes_over(Half::Receiver, b"f", false);
            assert_eq!(is_unseen, hidden && protected, "{rules:?}");
        }
    }

    #[test]
    fn excluded_is_deleted_where_that_is_asked_for() {
        let rule = FilterRule::exclude(b"f").unwrap().hiding();
        let filter = Filter::from_rules(vec![rule]).unwrap();
        assert!(filter.passes_over(Half::Sender, b"f", false) && !filter.protects(b"f", false));
    }

    #[test]
    fn what_is_kept_out_as_a_whole() {
        // Whether a walk comes to the directory `a/b`, and whether all that is in it is left out.
        for (lines, reached, emptied) in [
            (&[][..], true, false),
            (&["/a"], false, false),
            (&["b"], false, false),
            (&["b/"], false, false),
            (&["/b"], true, false),
            (&["/a/b/*"], true, true),
            (&["/a/b/**"], true, true),
            (&["b/*"], true, true),
            (&["/a/**"], false, true),
            (&["/a/b/***"], false, true),
            (&["b/***"], false, true),
            (&["*"], false, true),
            (&["/a/b/*/"], true, false),
            (&["/a/b/?*"], true, false),
            (&["/a/b/[a-z]*"], true, false),
            (&["/a/b/x*"], true, false),
            (&["+ /a/b/keep", "/a/b/*"], true, false),
            (&["/a/b/*", "+ /a/b/keep"], true, true),
            (&["+ b", "*"], false, false),
            (&["+ */", "*"], true, false),
        ] {
            let mut filter = Filter::default();
            for line in lines {
                filter.add_arg(Sense::Exclude, line.as_bytes()).unwrap();
            }
            let found = (filter.reaches(b"a/b", true), filter.excludes_all_in(b"a/b"));
            assert_eq!(found, (reached, emptied), "{lines:?}");
        }
    }

    #[test]
    fn the_limits_hold() {
        let rule = || FilterRule::exclude(b"a").unwrap();
        assert!(Filter::from_rules((0..MAX_RULES).map(|_| rule()).collect()).is_ok());
        let many = Filter::from_rules((0..=MAX_RULES).map(|_| rule()).collect());
        assert_eq!(many.unwrap_err(), FilterError::TooMany);
        let long = FilterRule::exclude(&[b'a'; MAX_PATTERN_LEN]).unwrap();
        let count = MAX_FILTER_LEN / MAX_PATTERN_LEN + 1;
        let heavy = Filter::from_rules((0..count).map(|_| long.clone()).collect());
        assert_eq!(heavy.unwrap_err(), FilterError::TooMany);
    }
}
