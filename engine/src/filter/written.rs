//! How rules are written: as the value of `--exclude` or `--include`, as a line of a file of
//! patterns, or in the whole language of `--filter` and of merge files.

use super::error::FilterError;
use super::rule::{Pattern, PerDir};
use super::terms::{Form, Lines, Sense, Side, Subject};

/// What one written rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleLine {
    /// An empty line or a comment.
    Nothing,
    /// `!`: forget all rules so far.
    Clear,
    /// One more rule.
    Rule(Pattern),
    /// The rules of a file, or of one in each directory.
    Merge(Merge),
    /// What CVS leaves out: `-C` as a rule, with what its modifiers say of each pattern.
    Cvs(Form),
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
        Pattern::new(sense, pattern).map(RuleLine::Rule)
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

    /// The rules in a file of this form, each with the number of its line. So has an error.
    pub fn of_file(form: &Form, contents: &[u8]) -> Result<Vec<(usize, Self)>, FilterError> {
        let mut lines = Vec::new();
        let mut number = 1;
        let ends = |b: &u8| {
            let is_end = match form.zeros {
                true => *b == 0,
                false => matches!(b, b'\n' | b'\r'),
            };
            is_end || form.words && is_space(*b)
        };
        for line in contents.split_inclusive(ends) {
            let text = match line.split_last() {
                Some((last, text)) if ends(last) => text,
                _ => line,
            };
            let read = form.read(text).map_err(|error| error.at_line(number))?;
            lines.push((number, read));
            number += usize::from(line.ends_with(b"\n") || form.zeros && line.ends_with(b"\0"));
        }
        Ok(lines)
    }
}

/// As in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

impl Form {
    /// The file of `--exclude-from` and `--include-from`.
    #[must_use]
    pub fn patterns(sense: Sense) -> Self {
        Form {
            lines: Lines::Prefixed(sense),
            ..Form::default()
        }
    }

    /// A list of what CVS leaves out, where other rules have this form.
    #[must_use]
    pub(super) fn cvs(self) -> Self {
        Form {
            lines: Lines::Cvs,
            words: true,
            ..self
        }
    }

    fn read(&self, text: &[u8]) -> Result<RuleLine, FilterError> {
        let is_comment = matches!(text, [b'#' | b';', ..]) && !self.words;
        let line = match self.lines {
            _ if is_comment || text.is_empty() => RuleLine::Nothing,
            Lines::Rules => RuleLine::parse(text)?,
            Lines::Prefixed(sense) => RuleLine::parse_arg(text, sense)?,
            Lines::Cvs if text == b"!" => RuleLine::Clear,
            Lines::Cvs => RuleLine::Rule(Pattern::new(Sense::Exclude, text)?),
            Lines::Bare(sense) => RuleLine::Rule(Pattern::new(sense, text)?),
        };
        Ok(match line {
            RuleLine::Rule(pattern) => RuleLine::Rule(self.shape(pattern)?),
            RuleLine::Merge(mut merge) => {
                merge.form = self.within(merge.form)?;
                RuleLine::Merge(merge)
            }
            RuleLine::Cvs(form) => RuleLine::Cvs(self.within(form)?),
            line => line,
        })
    }

    /// A pattern that stands in a file of this form.
    fn shape(&self, mut pattern: Pattern) -> Result<Pattern, FilterError> {
        pattern.side = self.side_of(pattern.side)?;
        pattern.perishable |= self.perishable;
        if pattern.subject == Subject::Path {
            pattern.subject = self.subject;
        }
        Ok(match self.hides {
            true => pattern.hiding(),
            false => pattern,
        })
    }

    /// The form of a file that is named in one of this form.
    fn within(&self, mut form: Form) -> Result<Form, FilterError> {
        form.side = self.side_of(form.side)?;
        form.perishable |= self.perishable;
        if form.subject == Subject::Path {
            form.subject = self.subject;
        }
        (form.zeros, form.hides) = (self.zeros, self.hides);
        Ok(form)
    }

    fn side_of(&self, side: Side) -> Result<Side, FilterError> {
        match (self.side, side) {
            (Side::Both, side) => Ok(side),
            (side, Side::Both) => Ok(side),
            _ => Err(wrong(TWO_SIDES)),
        }
    }
}

const TWO_SIDES: &str = "the rule that merges the file says on which side its rules count, and so \
                         does this one";

impl Merge {
    /// As a rule: its files are read in each directory.
    pub(super) fn into_per_dir(self) -> PerDir {
        PerDir {
            name: self.name,
            stays: self.stays,
            form: self.form,
        }
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
    let (mut negated, mut is_cvs) = (false, false);
    let mut form = Form::default();
    let mut sides = Sides::default();
    for modifier in modifiers {
        match modifier {
            b'!' => negated = true,
            b'p' => form.perishable = true,
            b'x' => form.subject = Subject::Attribute,
            b'/' if form.subject == Subject::Path => form.subject = Subject::FullPath,
            b'/' => {}
            b's' | b'r' if side == Side::Both => sides.add(*modifier),
            b'C' if side == Side::Both && sense == Sense::Exclude => is_cvs = true,
            _ => {
                return Err(wrong(
                    "a filter rule takes the modifiers / ! p s r x C alone, and those that name \
                     a side none for it",
                ));
            }
        }
    }
    form.side = sides.or(side);
    if is_cvs && operand.is_empty() {
        return Ok(RuleLine::Cvs(form));
    }
    if operand.is_empty() {
        return Err(FilterError::NoPattern { sense, line: None });
    }
    let pattern = Pattern::new(sense, operand)?;
    Ok(RuleLine::Rule(Pattern {
        side: form.side,
        negated,
        perishable: form.perishable,
        subject: form.subject,
        ..pattern
    }))
}

/// What the modifiers `s` and `r` say.
#[derive(Default)]
struct Sides {
    sends: bool,
    receives: bool,
}

impl Sides {
    fn add(&mut self, modifier: u8) {
        self.sends |= modifier == b's';
        self.receives |= modifier == b'r';
    }

    fn or(&self, side: Side) -> Side {
        match (self.sends, self.receives) {
            (true, false) => Side::Sender,
            (false, true) => Side::Receiver,
            _ => side,
        }
    }
}

fn merge(per_dir: bool, modifiers: &[u8], operand: &[u8]) -> Result<RuleLine, FilterError> {
    let (mut form, mut excludes_itself, mut stays) = (Form::default(), false, false);
    let mut sides = Sides::default();
    for modifier in modifiers {
        match modifier {
            b'-' if form.lines == Lines::Rules => form.lines = Lines::Bare(Sense::Exclude),
            b'+' if form.lines == Lines::Rules => form.lines = Lines::Bare(Sense::Include),
            b'C' if form.lines == Lines::Rules => (form, stays) = (form.cvs(), true),
            b'e' => excludes_itself = true,
            b'n' => stays = true,
            b'w' => form.words = true,
            b'p' => form.perishable = true,
            b'/' => form.subject = Subject::FullPath,
            b's' | b'r' => sides.add(*modifier),
            // Rules about attributes say so themselves.
            b'x' => {}
            _ => {
                return Err(wrong(
                    "a merge rule takes the modifiers - + C e n w p s r / alone, and one of - + C",
                ));
            }
        }
    }
    form.side = sides.or(Side::Both);
    let name = match operand {
        [] if form.lines == Lines::Cvs => b".cvsignore",
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

fn wrong(why: &'static str) -> FilterError {
    FilterError::Wrong { why, line: None }
}

#[cfg(test)]
mod tests;
