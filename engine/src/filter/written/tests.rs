//! Rules as they are written, one by one.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::{FilterRule, MAX_PATTERN_LEN};
use super::*;

fn rule(text: &str) -> Pattern {
    match RuleLine::parse(text.as_bytes()).unwrap() {
        RuleLine::Rule(rule) => rule,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn verbs_have_long_names_and_modifiers() {
    use Sense::{Exclude, Include};
    for (text, sense, side, pattern) in [
        ("- foo", Exclude, Side::Both, "foo"),
        ("-_foo", Exclude, Side::Both, "foo"),
        ("+ foo bar", Include, Side::Both, "foo bar"),
        ("exclude foo", Exclude, Side::Both, "foo"),
        ("include,s foo", Include, Side::Sender, "foo"),
        ("-r foo", Exclude, Side::Receiver, "foo"),
        ("-sr foo", Exclude, Side::Both, "foo"),
        ("-,r foo", Exclude, Side::Receiver, "foo"),
        ("H foo", Exclude, Side::Sender, "foo"),
        ("hide foo", Exclude, Side::Sender, "foo"),
        ("S foo", Include, Side::Sender, "foo"),
        ("show_foo", Include, Side::Sender, "foo"),
        ("P foo", Exclude, Side::Receiver, "foo"),
        ("protect foo", Exclude, Side::Receiver, "foo"),
        ("R foo", Include, Side::Receiver, "foo"),
        ("risk foo", Include, Side::Receiver, "foo"),
        ("-  foo", Exclude, Side::Both, " foo"),
    ] {
        let found = rule(text);
        assert_eq!((found.sense, found.side), (sense, side), "{text}");
        assert_eq!(found.text, pattern.as_bytes(), "{text}");
    }
    assert!(rule("-! foo").negated && rule("-p foo").perishable && rule("P,p x").perishable);
    assert_eq!(RuleLine::parse(b"!"), Ok(RuleLine::Clear));
    assert_eq!(RuleLine::parse(b"clear"), Ok(RuleLine::Clear));
    assert_eq!(RuleLine::parse(b"-C"), Ok(RuleLine::Cvs(Form::default())));
    assert_eq!(rule("-x user.x").subject, Subject::Attribute);
    assert_eq!(rule("-/ /etc/x").subject, Subject::FullPath);
}

#[test]
fn merges_say_what_their_lines_are() {
    let merge = |text: &str| match RuleLine::parse(text.as_bytes()).unwrap() {
        RuleLine::Merge(merge) => merge,
        other => panic!("{text}: {other:?}"),
    };
    let plain = merge(". /etc/rules");
    assert_eq!((&*plain.name, plain.per_dir), (&b"/etc/rules"[..], false));
    assert!(merge("merge,- x").form.lines == Lines::Bare(Sense::Exclude));
    assert!(merge(":+ x").form.lines == Lines::Bare(Sense::Include));
    let each = merge(":en- .rules");
    assert!(each.per_dir && each.excludes_itself && each.stays);
    let cvs = merge(":C");
    assert_eq!(&*cvs.name, b".cvsignore");
    assert!(cvs.form.words && cvs.stays && cvs.form.lines == Lines::Cvs);
    assert!(merge("dir-merge,w .x").form.words);
}

#[test]
fn what_is_no_rule_is_refused() {
    for wrong in [
        "foo",
        "x foo",
        "-z foo",
        "- ",
        "-",
        "+",
        "!x",
        "! x",
        ". ",
        ":",
        "excluded x",
        "Hs x",
        "-+ x",
        "-e x",
        "-n x",
        ":-+ x",
        ":C- x",
        ":! x",
        "HC",
        "+C",
    ] {
        assert!(RuleLine::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn files_are_read_in_their_form() {
    let read = |form: &Form, text: &str| RuleLine::of_file(form, text.as_bytes());
    let patterns = |form: &Form, text: &str| -> Vec<String> {
        let lines = read(form, text).unwrap().into_iter();
        lines
            .filter_map(|line| match line {
                (_, RuleLine::Rule(rule)) => Some(String::from_utf8(rule.text).unwrap()),
                _ => None,
            })
            .collect()
    };
    let rules = Form::default();
    assert_eq!(patterns(&rules, "# c\n\n- a\r\n+ b"), ["a", "b"]);
    let plain = Form::patterns(Sense::Exclude);
    assert_eq!(patterns(&plain, "a b\n- c\n;x\n"), ["a b", "c"]);
    let words = Form {
        words: true,
        ..Form::patterns(Sense::Exclude)
    };
    assert_eq!(patterns(&words, "a b\n#c\t d"), ["a", "b", "#c", "d"]);
    let zeros = Form {
        zeros: true,
        ..plain
    };
    assert_eq!(patterns(&zeros, "a\nb\0#c\0;d\0e"), ["a\nb", "e"]);
    let words = Form {
        words: true,
        ..zeros
    };
    assert_eq!(patterns(&words, "a\nb\0#c\x0bd\0"), ["a", "b", "#c", "d"]);
    let bare = Form {
        lines: Lines::Bare(Sense::Include),
        ..Form::default()
    };
    assert_eq!(patterns(&bare, "- a\n!\n# c\n"), ["- a", "!"]);
    let cvs = Form::default().cvs();
    assert_eq!(patterns(&cvs, "a !b\n#c - d"), ["a", "!b", "#c", "-", "d"]);
    assert_eq!(read(&cvs, "a\n! b").unwrap()[1], (2, RuleLine::Clear));
    let error = read(&rules, "- a\nwrong\n").unwrap_err();
    assert!(error.to_string().starts_with("line 2: "), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[test]
fn what_merges_a_file_says_what_its_rules_are() {
    let one = |merging: &str, line: &str| {
        let RuleLine::Merge(merge) = RuleLine::parse(merging.as_bytes()).unwrap() else {
            panic!("{merging} merges nothing");
        };
        let mut lines = RuleLine::of_file(&merge.form, line.as_bytes())?;
        let RuleLine::Rule(rule) = lines.remove(0).1 else {
            panic!("{line} is no rule");
        };
        Ok(FilterRule::Pattern(rule).to_string())
    };
    for (merging, line, expected) in [
        (". f", "- a", "- a"),
        (".s f", "- a", "-s a"),
        (":r f", "+ a", "+r a"),
        (":p f", "-s a", "-sp a"),
        (":/ f", "- /a", "-/ /a"),
        (":/ f", "-x a", "-x a"),
        (":- f", "- a", "- - a"),
        (":+s f", "a", "+s a"),
        (":C", "a", "- a"),
        (":Cr", "a", "-r a"),
    ] {
        assert_eq!(
            one(merging, line),
            Ok(expected.to_owned()),
            "{merging} {line}"
        );
    }
    for (merging, line) in [(".s f", "-r a"), (":r f", "H a"), (":s f", "-s a")] {
        let refused: Result<String, FilterError> = one(merging, line);
        assert!(refused.is_err(), "{merging} {line}");
    }
}

#[test]
fn rules_are_written_as_rsync_reads_them() {
    let parse = |text: &str| RuleLine::parse_arg(text.as_bytes(), Sense::Exclude);
    let rule = |sense, pattern: &str| Pattern::new(sense, pattern.as_bytes()).map(RuleLine::Rule);
    assert_eq!(parse(""), Ok(RuleLine::Nothing));
    assert_eq!(parse("!"), Ok(RuleLine::Clear));
    for (text, pattern) in [
        ("foo", "foo"),
        (" foo ", " foo "),
        ("- foo", "foo"),
        ("-  foo", " foo"),
        ("- - foo", "- foo"),
        ("- #c", "#c"),
        ("- !", "!"),
        ("!x", "!x"),
        ("! ", "! "),
        ("-foo", "-foo"),
        ("+", "+"),
        ("+_foo", "+_foo"),
    ] {
        assert_eq!(parse(text), rule(Sense::Exclude, pattern), "{text:?}");
    }
    assert_eq!(parse("+ foo"), rule(Sense::Include, "foo"));
    assert_eq!(
        RuleLine::parse_arg(b"x", Sense::Include),
        rule(Sense::Include, "x")
    );
    assert_eq!(
        RuleLine::parse_arg(b"- x", Sense::Include),
        rule(Sense::Exclude, "x")
    );
    assert_eq!(
        RuleLine::parse_arg(b"#x", Sense::Include),
        rule(Sense::Include, "#x")
    );
}

#[test]
fn bad_rules_are_refused_in_one_line() {
    let error = |text: &[u8]| RuleLine::parse_arg(text, Sense::Exclude).unwrap_err();
    assert_eq!(
        error(b"- ").to_string(),
        "filter rule '- ' has no pattern: write one after the space"
    );
    let long = [b'a'; MAX_PATTERN_LEN + 1];
    assert_eq!(
        error(&long),
        FilterError::TooLong {
            pattern_len: long.len(),
            line: None
        }
    );
    assert_eq!(error(b"a\0b"), FilterError::Nul { line: None });
    assert!(FilterRule::exclude(&long[1..]).is_ok());
    assert!(FilterRule::include(b"").is_err());
}
