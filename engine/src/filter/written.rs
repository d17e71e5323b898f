//! How rules are written: as the value of `--exclude` or `--include`, as a line of a file of
//! patterns, or in the whole language of `--filter` and of merge files.

use super::rule::{FilterError, FilterRule, Sense, Side};

/// What one written rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleLine {
    /// An empty line or a comment.
    Nothing,
    /// `!`: forget all rules so far.
    Clear,
    /// One more rule.
    Rule(FilterRule),
    /// The rules of a file.
    Merge(Merge),
    /// What CVS leaves out: `-C` as a rule.
    Cvs,
}

/// A file of rules that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Its name.
    pub name: Vec<u8>,
    /// One of that name is looked for in every directory.
    pub per_dir: bool,
    /// It is excluded itself.
    pub excludes_itself: bool,
    /// Of a directory it counts for that alone, and not for what is below.
    pub stays: bool,
    /// What its lines are.
    pub form: Form,
}

/// What the lines of a file of rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Patterns of this sense, and no rules of the language.
    pub plain: Option<Sense>,
    /// Rules are parted by white space, not by ends of lines, and there are no comments.
    pub words: bool,
    /// `!` alone clears the list although the lines are patterns.
    pub clears: bool,
    /// Where its rules count that do not say so themselves.
    pub side: Side,
    /// Its rules are perishable.
    pub perishable: bool,
    /// It ends rules with zero bytes.
    pub zeros: bool,
}

impl RuleLine {
    /// Reads the value of `--exclude` or `--include`, whose own meaning is `sense`.
    ///
    /// A `+ ` or `- ` prefix overrides `sense`, `!` alone clears the list, nothing is nothing.
    pub fn parse_arg(value: &[u8], sense: Sense) -> Result<Self, FilterError> {
        let (sense, pattern) = match value {
            [] => return Ok(RuleLine::Nothing),
            b"!" => return Ok(RuleLine::Clear),
            [b'+', b' ', pattern @ ..] => (Sense::Include, pattern),
            [b'-', b' ', pattern @ ..] => (Sense::Exclude, pattern),
            pattern => (sense, pattern),
        };
        if pattern.is_empty() {
            return Err(FilterError::NoPattern { sense, line: None });
        }
        FilterRule::new(sense, pattern).map(RuleLine::Rule)
    }

    /// Reads a line, without its end, of `--exclude-from` or `--include-from`.
    ///
    /// As [`RuleLine::parse_arg`], but a line that starts with `#` or `;` is a comment.
    pub fn parse_line(line: &[u8], sense: Sense) -> Result<Self, FilterError> {
        match line {
            [b'#' | b';', ..] => Ok(RuleLine::Nothing),
            _ => Self::parse_arg(line, sense),
        }
    }

    /// Reads a rule of the language: `RULE[,MODIFIERS] PATTERN`, where an underscore may stand for
    /// the blank.
    pub fn parse(rule: &[u8]) -> Result<Self, FilterError> {
        if rule.is_empty() {
            return Ok(RuleLine::Nothing);
        }
        let (verb, rest) = Verb::split(rule)?;
        let end = rest.iter().position(|b| matches!(b, b' ' | b'_'));
        let (modifiers, operand) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &b""[..]),
        };
        match verb {
            Verb::Clear if rest.is_empty() => Ok(RuleLine::Clear),
            Verb::Clear => Err(wrong("'!' clears the filter rules and stands alone")),
            Verb::Merge { per_dir } => merge(per_dir, modifiers, operand),
            Verb::Rule(sense, side) => pattern(sense, side, modifiers, operand),
        }
    }

    /// The rules in a file of this form. The error carries the number of its line.
    pub fn of_file(form: &Form, contents: &[u8]) -> Result<Vec<Self>, FilterError> {
        let mut lines = Vec::new();
        let mut number = 1;
        let ends = |b: &u8| match (form.zeros, form.words) {
            (true, _) => *b == 0,
            (false, true) => b.is_ascii_whitespace(),
            (false, false) => matches!(b, b'\n' | b'\r'),
        };
        for line in contents.split_inclusive(ends) {
            let text = match line.split_last() {
                Some((last, text)) if ends(last) => text,
                _ => line,
            };
            lines.push(form.read(text).map_err(|error| error.at_line(number))?);
            number += usize::from(line.ends_with(b"\n") || form.zeros);
        }
        Ok(lines)
    }
}

impl Form {
    /// The file of `--exclude-from` and `--include-from`.
    #[must_use]
    pub fn patterns(sense: Sense) -> Self {
        Form {
            plain: Some(sense),
            ..Form::default()
        }
    }

    fn read(&self, text: &[u8]) -> Result<RuleLine, FilterError> {
        let is_comment = matches!(text, [b'#' | b';', ..]) && !self.words && !self.zeros;
        let line = match self.plain {
            _ if is_comment || text.is_empty() => RuleLine::Nothing,
            None => RuleLine::parse(text)?,
            Some(_) if self.clears && text == b"!" => RuleLine::Clear,
            Some(sense) => RuleLine::parse_arg(text, sense)?,
        };
        Ok(match line {
            RuleLine::Rule(rule) => RuleLine::Rule(FilterRule {
                side: match rule.side {
                    Side::Both => self.side,
                    side => side,
                },
                perishable: rule.perishable || self.perishable,
                ..rule
            }),
            line => line,
        })
    }
}

/// The word that a rule begins with.
enum Verb {
    Clear,
    Merge { per_dir: bool },
    Rule(Sense, Side),
}

impl Verb {
    /// Takes the verb from a rule, and the comma behind it.
    fn split(rule: &[u8]) -> Result<(Self, &[u8]), FilterError> {
        for (word, letter) in WORDS {
            if let Some(rest) = rule.strip_prefix(word.as_bytes())
                && matches!(rest, [] | [b' ' | b'_' | b',', ..])
            {
                return Ok((Verb::of(*letter)?, rest.strip_prefix(b",").unwrap_or(rest)));
            }
        }
        let (letter, rest) = rule.split_first().ok_or_else(|| wrong(UNKNOWN))?;
        Ok((Verb::of(*letter)?, rest.strip_prefix(b",").unwrap_or(rest)))
    }

    fn of(letter: u8) -> Result<Self, FilterError> {
        Ok(match letter {
            b'!' => Verb::Clear,
            b'.' => Verb::Merge { per_dir: false },
            b':' => Verb::Merge { per_dir: true },
            b'-' => Verb::Rule(Sense::Exclude, Side::Both),
            b'+' => Verb::Rule(Sense::Include, Side::Both),
            b'H' => Verb::Rule(Sense::Exclude, Side::Sender),
            b'S' => Verb::Rule(Sense::Include, Side::Sender),
            b'P' => Verb::Rule(Sense::Exclude, Side::Receiver),
            b'R' => Verb::Rule(Sense::Include, Side::Receiver),
            _ => return Err(wrong(UNKNOWN)),
        })
    }
}

/// Long names of verbs, and the letters that they stand for.
const WORDS: &[(&str, u8)] = &[
    ("exclude", b'-'),
    ("include", b'+'),
    ("merge", b'.'),
    ("dir-merge", b':'),
    ("hide", b'H'),
    ("show", b'S'),
    ("protect", b'P'),
    ("risk", b'R'),
    ("clear", b'!'),
];

const UNKNOWN: &str = "a filter rule begins with one of - + . : H S P R ! or its long name, such \
                       as 'exclude'";

fn pattern(
    sense: Sense,
    side: Side,
    modifiers: &[u8],
    operand: &[u8],
) -> Result<RuleLine, FilterError> {
    if modifiers == b"C" && operand.is_empty() && sense == Sense::Exclude && side == Side::Both {
        return Ok(RuleLine::Cvs);
    }
    let (mut negated, mut perishable, mut is_of_attributes) = (false, false, false);
    let (mut sends, mut receives) = (false, false);
    for modifier in modifiers {
        match modifier {
            b'!' => negated = true,
            b'p' => perishable = true,
            b'x' => is_of_attributes = true,
            b's' if side == Side::Both => sends = true,
            b'r' if side == Side::Both => receives = true,
            b'/' => return Err(wrong(ABSOLUTE)),
            _ => return Err(wrong("a filter rule takes the modifiers ! p s r x C alone")),
        }
    }
    if operand.is_empty() {
        return Err(FilterError::NoPattern { sense, line: None });
    }
    if is_of_attributes {
        // Attributes are not mirrored, so that none can be left out.
        return Ok(RuleLine::Nothing);
    }
    let side = match (sends, receives) {
        (true, false) => Side::Sender,
        (false, true) => Side::Receiver,
        _ => side,
    };
    let rule = FilterRule::new(sense, operand)?;
    Ok(RuleLine::Rule(FilterRule {
        side,
        negated,
        perishable,
        ..rule
    }))
}

const ABSOLUTE: &str = "the modifier / is not taken, since the two sides have other paths: write \
                        the pattern from the root of the transfer";

fn merge(per_dir: bool, modifiers: &[u8], operand: &[u8]) -> Result<RuleLine, FilterError> {
    let (mut form, mut excludes_itself, mut stays, mut is_cvs) =
        (Form::default(), false, false, false);
    let (mut sends, mut receives) = (false, false);
    for modifier in modifiers {
        match modifier {
            b'-' => form.plain = Some(Sense::Exclude),
            b'+' => form.plain = Some(Sense::Include),
            b'C' => is_cvs = true,
            b'e' => excludes_itself = true,
            b'n' => stays = true,
            b'w' => form.words = true,
            b'p' => form.perishable = true,
            b's' => sends = true,
            b'r' => receives = true,
            _ => {
                return Err(wrong(
                    "a merge rule takes the modifiers - + C e n w p s r alone",
                ));
            }
        }
    }
    if is_cvs {
        form.plain.get_or_insert(Sense::Exclude);
        (form.words, form.clears, stays) = (true, true, true);
    }
    form.side = match (sends, receives) {
        (true, false) => Side::Sender,
        (false, true) => Side::Receiver,
        _ => Side::Both,
    };
    let name = match operand {
        [] if is_cvs => b".cvsignore",
        [] => return Err(wrong("a merge rule names a file")),
        name => name,
    };
    Ok(RuleLine::Merge(Merge {
        name: name.to_vec(),
        per_dir,
        excludes_itself,
        stays,
        form,
    }))
}

/// What CVS leaves out everywhere, parted by blanks.
pub const CVS: &str = "RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo *~ \
                       #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj \
                       *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

fn wrong(why: &'static str) -> FilterError {
    FilterError::Wrong { why, line: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::MAX_PATTERN_LEN;
    use super::*;

    fn rule(text: &str) -> FilterRule {
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
            assert_eq!(found.pattern, pattern.as_bytes(), "{text}");
        }
        assert!(rule("-! foo").negated && rule("-p foo").perishable && rule("P,p x").perishable);
        assert_eq!(RuleLine::parse(b"!"), Ok(RuleLine::Clear));
        assert_eq!(RuleLine::parse(b"clear"), Ok(RuleLine::Clear));
        assert_eq!(RuleLine::parse(b"-C"), Ok(RuleLine::Cvs));
        assert_eq!(RuleLine::parse(b"-x user.x"), Ok(RuleLine::Nothing));
    }

    #[test]
    fn merges_say_what_their_lines_are() {
        let merge = |text: &str| match RuleLine::parse(text.as_bytes()).unwrap() {
            RuleLine::Merge(merge) => merge,
            other => panic!("{text}: {other:?}"),
        };
        let plain = merge(". /etc/rules");
        assert_eq!((&*plain.name, plain.per_dir), (&b"/etc/rules"[..], false));
        assert!(merge("merge,- x").form.plain == Some(Sense::Exclude));
        let each = merge(":en- .rules");
        assert!(each.per_dir && each.excludes_itself && each.stays);
        let cvs = merge(":C");
        assert_eq!(&*cvs.name, b".cvsignore");
        assert!(cvs.form.words && cvs.stays && cvs.form.plain == Some(Sense::Exclude));
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
            "-/ x",
            "Hs x",
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
                    RuleLine::Rule(rule) => Some(String::from_utf8(rule.pattern).unwrap()),
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
            ..plain
        };
        assert_eq!(patterns(&words, "a b\n#c\t d"), ["a", "b", "#c", "d"]);
        let zeros = Form {
            zeros: true,
            ..plain
        };
        assert_eq!(patterns(&zeros, "a\nb\0#c\0"), ["a\nb", "#c"]);
        let error = read(&rules, "- a\nwrong\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }

    #[test]
    fn rules_are_written_as_rsync_reads_them() {
        let parse = |text: &str| RuleLine::parse_line(text.as_bytes(), Sense::Exclude);
        let rule =
            |sense, pattern: &str| FilterRule::new(sense, pattern.as_bytes()).map(RuleLine::Rule);
        for nothing in ["", "#c", ";c"] {
            assert_eq!(parse(nothing), Ok(RuleLine::Nothing), "{nothing:?}");
        }
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
            RuleLine::parse_line(b"x", Sense::Include),
            rule(Sense::Include, "x")
        );
        assert_eq!(
            RuleLine::parse_line(b"- x", Sense::Include),
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
}
