//! The lines that a person words: `--out-format` and `--log-file-format`, with rsync's escapes.

use hasync_engine::{Action, Change, Kind, escape};

use crate::itemize;
use crate::numbers::Human;
use crate::origins::Origins;
use crate::times;

/// A format, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value {
        what: char,
        /// Columns to fill: from the left if negative.
        width: i32,
        human: Human,
    },
}

/// The escapes that have a value here; `m` is nothing without a daemon.
const KNOWN: &str = "%BGLMUfilmnopt";

/// Those that are known only once the content has moved.
const UNTOLD: &str = "bcC";

/// The widest column.
const WIDTH_MAX: i32 = 4096;

impl Format {
    /// Reads a format. What is no escape stands for itself, and so do, as with rsync, those that
    /// only a daemon has a value for. The error is for clap, which names the option and the format.
    pub(crate) fn parse(typed: &str) -> Result<Self, String> {
        let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), typed);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            let (piece, behind) = escape_at(after);
            match piece {
                Some(Piece::Value { what, .. }) if UNTOLD.contains(what) => {
                    return Err(format!(
                        "%{what} cannot be told: a change is told before its content moves; %l is \
                         the length"
                    ));
                }
                Some(piece) => {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(piece);
                }
                None => text.push('%'),
            }
            rest = behind;
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Format(pieces))
    }

    /// Whether a change is told: one of metadata alone only of a directory, or with `%i`.
    pub(crate) fn tells(&self, change: &Change<'_>) -> bool {
        let is_more = change.action != Action::Attributes || change.kind == Kind::Dir;
        is_more || self.has("i")
    }

    fn has(&self, letters: &str) -> bool {
        let is_one =
            |piece: &Piece| matches!(piece, Piece::Value { what, .. } if letters.contains(*what));
        self.0.iter().any(is_one)
    }

    /// The line of a change, without its newline. In one that could not be told from others a
    /// deletion is said in words.
    pub(crate) fn line(&self, change: &Change<'_>, sent: u8, origins: &Origins) -> Vec<u8> {
        if change.action == Action::Delete && !self.has("io") {
            return format!("deleting {}", itemize::name(change)).into_bytes();
        }
        let mut line = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value {
                    what: 'L', width, ..
                } => {
                    let (sign, link) = itemize::arrow_and_link(change);
                    let sign = if sign.is_empty() && *width != 0 {
                        "    "
                    } else {
                        sign
                    };
                    line.push_str(sign);
                    line.push_str(&padded(&link, *width));
                }
                Piece::Value { what, width, human } => {
                    let value = value(*what, *human, change, sent, origins);
                    line.push_str(&padded(&value, *width));
                }
            }
        }
        line.into_bytes()
    }
}

/// Reads what follows a percent sign, and gives the rest; no piece if it is no escape.
fn escape_at(after: &str) -> (Option<Piece>, &str) {
    let digits_at = after.trim_start_matches('\'');
    let sign_len = usize::from(digits_at.starts_with('-'));
    let digits = digits_at.bytes().skip(sign_len);
    let digits_len = digits.take_while(u8::is_ascii_digit).count();
    let (width, behind) = digits_at.split_at(sign_len + digits_len);
    let what_at = behind.trim_start_matches('\'');
    let marks = after.len() - digits_at.len() + behind.len() - what_at.len();
    let what = what_at.chars().next();
    let known = what.filter(|what| KNOWN.contains(*what) || UNTOLD.contains(*what));
    let Some(what) = known else {
        return (None, after);
    };
    let width: i32 = match width {
        "" | "-" => 0,
        width => width.parse().unwrap_or(WIDTH_MAX),
    };
    let piece = Piece::Value {
        what,
        width: width.clamp(-WIDTH_MAX, WIDTH_MAX),
        human: Human::of_marks(marks),
    };
    (Some(piece), &what_at[what.len_utf8()..])
}

fn padded(value: &str, width: i32) -> String {
    let columns = width.unsigned_abs() as usize;
    match width < 0 {
        true => format!("{value:<columns$}"),
        false => format!("{value:>columns$}"),
    }
}

fn value(what: char, human: Human, change: &Change<'_>, sent: u8, origins: &Origins) -> String {
    let facts = change.facts;
    match what {
        'i' => itemize::letters(change, sent),
        'n' => itemize::name(change),
        // What goes has no place in the source.
        'f' if change.action == Action::Delete => escape(change.path).into_owned(),
        'f' => escape(&origins.path_of(change.path)).into_owned(),
        '%' => "%".to_owned(),
        'l' => human.bytes(change.len),
        'o' if change.action == Action::Delete => "del.".to_owned(),
        'o' => "send".to_owned(),
        'B' => permissions(change.kind, facts.mode),
        'U' => facts.uid.to_string(),
        'G' => facts.gid.to_string(),
        'M' => times::slashed(facts.mtime_secs, '-'),
        't' => times::slashed(times::now_secs(), ' '),
        'p' => std::process::id().to_string(),
        _ => String::new(),
    }
}

/// `rwxr-xr-x`, as ls has it.
pub(crate) fn permissions(kind: Kind, mode: u32) -> String {
    let mut text = String::with_capacity(9);
    // Of each three bits the shift, and of the bit that shows in the third of them its letters.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let has = |bit: u32| mode >> shift & bit != 0;
        text.push(if has(4) { 'r' } else { '-' });
        text.push(if has(2) { 'w' } else { '-' });
        text.push(match (mode & special != 0, has(1)) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    match kind {
        Kind::Symlink => "rwxrwxrwx".to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use hasync_engine::{Differences, Facts};

    fn change() -> Change<'static> {
        Change {
            path: b"sub/l",
            kind: Kind::Symlink,
            action: Action::Create,
            differences: Differences {
                new: true,
                ..Differences::default()
            },
            link: Some(b"to"),
            len: 1_234_567,
            facts: Facts {
                mode: 0o4755,
                uid: 7,
                gid: 8,
                mtime_secs: 1_600_000_000,
            },
        }
    }

    #[test]
    fn each_escape_has_its_value() {
        for (format, expected) in [
            ("%i %n%L", "cL+++++++++ sub/l -> to"),
            ("%f", "src/sub/l"),
            ("%l", "1234567"),
            ("%'l %''l %'''l", "1,234,567 1.23M 1.18M"),
            ("[%-9U][%5G]", "[7        ][    8]"),
            ("%o 100%%", "send 100%"),
            ("%B", "rwxrwxrwx"),
            ("%M", "2020/09/13-12:26:40"),
            ("plain", "plain"),
            ("", ""),
            ("[%L][%9L][%-9L]", "[ -> to][ ->        to][ -> to       ]"),
            ("[%3%][%%]", "[  %][%]"),
        ] {
            assert_eq!(line(format, &change()), expected, "{format}");
        }
        let plain = Change {
            link: None,
            ..change()
        };
        assert_eq!(line("[%L][%3L]", &plain), "[][       ]");
    }

    fn line(format: &str, change: &Change<'_>) -> String {
        let origins = Origins::new(&["./src/".into()], false);
        let line = Format::parse(format).unwrap().line(change, b'<', &origins);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for format in [
            "%",
            "%Z",
            "%5",
            "x%'",
            "%é",
            "%a %h %P %u",
            "%-5'z",
            "100% of it",
        ] {
            assert_eq!(line(format, &change()), format);
        }
        assert_eq!(line("[%m][%2m]", &change()), "[][  ]");
    }

    #[test]
    fn a_deletion_is_never_taken_for_a_change() {
        let gone = Change {
            action: Action::Delete,
            ..change()
        };
        assert_eq!(line("%n", &gone), "deleting sub/l");
        assert_eq!(line("%f%L", &gone), "deleting sub/l");
        assert_eq!(line("%o %n", &gone), "del. sub/l");
        assert_eq!(line("%i %f", &gone), "*deleting   sub/l");
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for format in ["%b", "%'10b", "%c", "x %-3C"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn permissions_look_as_in_ls() {
        for (mode, expected) in [
            (0o644, "rw-r--r--"),
            (0o4755, "rwsr-xr-x"),
            (0o4644, "rwSr--r--"),
            (0o2711, "rwx--s--x"),
            (0o1777, "rwxrwxrwt"),
            (0o1000, "--------T"),
        ] {
            assert_eq!(permissions(Kind::File, mode), expected);
        }
    }
}
