//! Which paths rules leave out, and on which side.

#![allow(clippy::unwrap_used)]

use super::*;

/// A filter that the lines of one list make, whose own meaning is to exclude.
fn excluding(lines: &[&str]) -> Filter {
    let lines = lines.iter().map(|line| {
        let line = RuleLine::parse_arg(line.as_bytes(), Sense::Exclude);
        line.unwrap()
    });
    listed(lines)
}

fn listed(lines: impl Iterator<Item = RuleLine>) -> Filter {
    let mut list = RuleList::new(false);
    lines.for_each(|line| list.add(line, &mut Nowhere).unwrap());
    Filter::from_rules(list.into_rules()).unwrap()
}

/// No file is named.
struct Nowhere;

impl Files for Nowhere {
    fn read(&mut self, _: &[u8]) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A filter of rules of the language.
fn of(rules: &[&str]) -> Filter {
    let lines = rules.iter().map(|rule| RuleLine::parse(rule.as_bytes()));
    listed(lines.map(Result::unwrap))
}

/// What counts in a tree without files of rules.
fn in_force(filter: &Filter) -> Arc<InForce> {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    filter
        .in_dir(Half::Receiver, &root, &RelPath::root())
        .unwrap()
}

/// Checks which of `paths` (a trailing slash marks a directory) `lines` exclude, on their own.
fn check(lines: &[&str], excluded: &[&str], included: &[&str]) {
    let filter = excluding(lines);
    for (paths, expected) in [(excluded, true), (included, false)] {
        for path in paths {
            let name = path.strip_suffix('/').unwrap_or(path);
            let is_dir = path.ends_with('/');
            let got = filter.passes_over(Half::Sender, name.as_bytes(), is_dir);
            assert_eq!(got, expected, "{lines:?} on {path:?}");
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
    let rule = FilterRule::exclude(b"[\x80-\xfe]?\n").unwrap();
    let filter = in_force(&Filter::from_rules(vec![rule]).unwrap());
    assert!(filter.protects(b"d/\xfe\xff\n", false));
    assert!(!filter.protects(b"d/\xff\xfe\n", false));
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
        let rules_here = in_force(&filter);
        let found = (
            filter.passes_over(Half::Sender, b"f", false),
            rules_here.protects(b"f", false),
            rules_here.protects_below(b"f", false),
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
    assert!(
        filter.passes_over(Half::Sender, b"f", false) && !in_force(&filter).protects(b"f", false)
    );
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
        let filter = excluding(lines);
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
