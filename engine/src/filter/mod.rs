//! Which paths belong to the mirror: rsync's include and exclude rules.
//!
//! A [`Filter`] is an ordered list of [`FilterRule`]s, and the first rule that matches a path
//! decides. Both sides hold the same list: what it excludes is neither sent nor deleted. Paths are
//! bytes, relative to the transfer root. `rule` reads and compiles one rule, `glob` matches one
//! wildcard pattern.

mod glob;
#[cfg(test)]
mod oracle;
mod rule;

pub use rule::{FilterError, FilterRule, MAX_PATTERN_LEN, RuleLine, Sense};

use rule::Matcher;

/// The most rules a filter holds.
pub const MAX_RULES: usize = 65_536;

/// The most bytes that the patterns of a filter hold together: with as many rules as there may be,
/// and all else that a push begins with, they fit into one frame.
pub const MAX_FILTER_LEN: usize = 768 << 10;

/// An ordered list of rules, ready to match; empty by default, and then nothing is excluded.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Vec<FilterRule>,
    /// One for each rule, in the same order.
    matchers: Vec<Matcher>,
    /// The lengths of all patterns together, at most [`MAX_FILTER_LEN`].
    pattern_bytes: usize,
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
        self.matchers.push(Matcher::new(rule.pattern()));
        self.rules.push(rule);
        Ok(())
    }

    /// Applies the value of one `--exclude` or `--include` option.
    pub fn add_arg(&mut self, sense: Sense, value: &[u8]) -> Result<(), FilterError> {
        self.apply(FilterRule::parse_arg(value, sense)?)
    }

    /// Applies the contents of one `--exclude-from` or `--include-from` file.
    ///
    /// A line ends at a newline or a carriage return. The error carries the number of its line.
    pub fn add_file(&mut self, sense: Sense, contents: &[u8]) -> Result<(), FilterError> {
        let mut line_number = 1;
        for line in contents.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let text = line
                .strip_suffix(b"\n")
                .or_else(|| line.strip_suffix(b"\r"));
            FilterRule::parse_line(text.unwrap_or(line), sense)
                .and_then(|parsed| self.apply(parsed))
                .map_err(|error| error.at_line(line_number))?;
            line_number += usize::from(line.ends_with(b"\n"));
        }
        Ok(())
    }

    fn apply(&mut self, line: RuleLine) -> Result<(), FilterError> {
        match line {
            RuleLine::Nothing => Ok(()),
            RuleLine::Clear => {
                *self = Self::default();
                Ok(())
            }
            RuleLine::Rule(rule) => self.push(rule),
        }
    }

    /// The rules in order, as they travel to the peer.
    pub fn rules(&self) -> &[FilterRule] {
        &self.rules
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path`, relative to the transfer root and without a leading slash, is excluded.
    ///
    /// Only the path itself is judged: a walk that does not descend into an excluded directory
    /// never asks about what is below it. The transfer root (the empty path) is never excluded.
    pub fn is_excluded(&self, path: &[u8], is_dir: bool) -> bool {
        if self.rules.is_empty() || path.is_empty() {
            return false;
        }
        let matching = self.matchers.iter().position(|m| m.matches(path, is_dir));
        let decisive = matching.and_then(|index| self.rules.get(index));
        decisive.is_some_and(|rule| rule.sense() == Sense::Exclude)
    }

    /// Whether a walk comes to `path`: neither that nor a directory above is excluded.
    pub(crate) fn reaches(&self, path: &[u8], is_dir: bool) -> bool {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        let mut above = slashes.filter_map(|(at, _)| path.get(..at));
        !self.is_excluded(path, is_dir) && above.all(|dir| !self.is_excluded(dir, true))
    }

    /// Whether everything in the directory at `dir` is excluded for certain, whatever its name.
    pub(crate) fn excludes_all_in(&self, dir: &[u8]) -> bool {
        let inside = [dir, b"/any"].concat();
        let takes_any = |rule: &FilterRule| {
            let last = rule.pattern().rsplit(|&b| b == b'/').next();
            last.is_some_and(|last| !last.is_empty() && last.iter().all(|&b| b == b'*'))
        };
        let excluding = self.rules.iter().zip(&self.matchers);
        excluding
            .take_while(|(rule, _)| rule.sense() == Sense::Exclude)
            .any(|(rule, matcher)| takes_any(rule) && matcher.matches(&inside, false))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Checks which of `paths` (a trailing slash marks a directory) `lines` exclude, on their own.
    fn check(lines: &[&str], excluded: &[&str], included: &[&str]) {
        let mut filter = Filter::default();
        filter
            .add_file(Sense::Exclude, lines.join("\n").as_bytes())
            .unwrap();
        let again = Filter::from_rules(filter.rules().to_vec()).unwrap();
        for (paths, expected) in [(excluded, true), (included, false)] {
            for path in paths {
                let name = path.strip_suffix('/').unwrap_or(path);
                let is_dir = path.ends_with('/');
                for filter in [&filter, &again] {
                    let got = filter.is_excluded(name.as_bytes(), is_dir);
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
        assert!(filter.is_excluded(b"d/\xfe\xff\n", false));
        assert!(!filter.is_excluded(b"d/\xff\xfe\n", false));
    }

    #[test]
    fn an_error_in_a_file_names_its_line() {
        let error = Filter::default()
            .add_file(Sense::Exclude, b"a\r\n\n+ \n")
            .unwrap_err();
        let text = "line 3: filter rule '+ ' has no pattern: write one after the space";
        assert_eq!(error.to_string(), text);
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
            let text = lines.join("\n");
            filter.add_file(Sense::Exclude, text.as_bytes()).unwrap();
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
