//! The lines that a person words: `--out-format` and `--log-file-format`, with rsync's escapes.

use hasync_engine::{Action, Change, Kind, escape};

use crate::itemize;
use crate::numbers::Human;
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

/// What stands for itself in a change, and what rsync alone can tell.
const KNOWN: &str = "BGLMUfilnopt";

/// The widest column.
const WIDTH_MAX: i32 = 4096;

impl Format {
    /// Reads a format. The error is for clap, which names the option and the format.
    pub(crate) fn parse(typed: &str) -> Result<Self, String> {
        let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), typed);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let digits_at = after.trim_start_matches('\'');
            let sign_len = usize::from(digits_at.starts_with('-'));
            let digits_len = digits_at[sign_len..]
                .bytes()
                .take_while(u8::is_ascii_digit)
                .count();
            let (width, behind) = digits_at.split_at(sign_len + digits_len);
            let what_at = behind.trim_start_matches('\'');
            let marks = after.len() - digits_at.len() + behind.len() - what_at.len();
            let what = what_at.chars().next();
            let what = what.filter(|what| KNOWN.contains(*what)).ok_or_else(|| {
                let shown: String = what.into_iter().collect();
                format!(
                    "%{shown} cannot be told; %% and these can: %{}",
                    spread(KNOWN)
                )
            })?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            let width: i32 = match width {
                "" | "-" => 0,
                width => width.parse().unwrap_or(WIDTH_MAX),
            };
            pieces.push(Piece::Value {
                what,
                width: width.clamp(-WIDTH_MAX, WIDTH_MAX),
                human: Human::of_marks(marks),
            });
            rest = &what_at[what.len_utf8()..];
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Format(pieces))
    }

    /// Whether a change is told: one of metadata alone only of a directory, or with `%i`.
    pub(crate) fn tells(&self, change: &Change<'_>) -> bool {
        let itemizes = |piece: &Piece| matches!(piece, Piece::Value { what: 'i', .. });
        let is_more = change.action != Action::Attributes || change.kind == Kind::Dir;
        is_more || self.0.iter().any(itemizes)
    }

    /// The line of a change, without its newline.
    pub(crate) fn line(&self, change: &Change<'_>, sent: u8) -> Vec<u8> {
        let mut line = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { what, width, human } => {
                    let value = value(*what, *human, change, sent);
                    let columns = width.unsigned_abs() as usize;
                    if *width < 0 {
                        line.push_str(&format!("{value:<columns$}"));
                    } else {
                        line.push_str(&format!("{value:>columns$}"));
                    }
                }
            }
        }
        line.into_bytes()
    }
}

fn spread(letters: &str) -> String {
    let letters: Vec<String> = letters.chars().map(String::from).collect();
    letters.join(" %")
}

fn value(what: char, human: Human, change: &Change<'_>, sent: u8) -> String {
    let facts = change.facts;
    match what {
        'i' => itemize::letters(change, sent),
        'n' => itemize::name(change),
        'f' => escape(change.path).into_owned(),
        'L' => itemize::arrow(change),
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
            ("%f", "sub/l"),
            ("%l", "1234567"),
            ("%'l %''l %'''l", "1,234,567 1.23M 1.18M"),
            ("[%-9U][%5G]", "[7        ][    8]"),
            ("%o 100%%", "send 100%"),
            ("%B", "rwxrwxrwx"),
            ("%M", "2020/09/13-12:26:40"),
            ("plain", "plain"),
            ("", ""),
        ] {
            let line = Format::parse(format).unwrap().line(&change(), b'<');
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{format}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for format in ["%", "%Z", "%b", "%5", "x%'", "%é"] {
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
