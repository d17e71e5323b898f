//! Text that others chose, made harmless for where it goes: names of files, and messages of a
//! peer, a child or a system. A line of output holds one of them, never moves the cursor, never
//! reorders or hides what stands beside it, and never means something to who reads it next.
//!
//! A *name* is [escaped](escape) so that it can be told back from its line, as rsync prints it. A
//! *message* goes to a [`Place`], by [`harmless`] alone.

use std::borrow::Cow;
use std::fmt::Write;

#[cfg(test)]
mod tests;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line on a terminal, in a log file, or on a child's standard input.
    Line,
    /// A variable of a child's environment, which a script may well hand on as an argument.
    Variable,
    /// The header of a mail.
    Header,
    /// A line of a mail's text.
    Mail,
    /// A datagram to the system's log.
    Datagram,
    /// The answer of a plugin to a monitoring system.
    Plugin,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 6] = [
        Place::Line,
        Place::Variable,
        Place::Header,
        Place::Mail,
        Place::Datagram,
        Place::Plugin,
    ];

    /// The most bytes that a message takes there. What is longer loses its middle: the reason
    /// stands at the end.
    pub fn len_max(self) -> usize {
        match self {
            Place::Line => 8 * 1024,
            // Far below what a single word of an environment may take.
            Place::Variable => 4 * 1024,
            // So that no relay folds it in its own way.
            Place::Header => 200,
            // A line of a mail has at most 998.
            Place::Mail => 900,
            Place::Datagram => 1800,
            Place::Plugin => 1000,
        }
    }

    /// Whether `char`, which is no harm elsewhere, means something there.
    fn minds(self, before: Option<char>, char: char, after: Option<char>) -> bool {
        let means = match self {
            Place::Line | Place::Mail | Place::Datagram => false,
            // An option of the command that gets it.
            Place::Variable => before.is_none() && char == '-',
            // An encoded word, which would be decoded to anything.
            Place::Header => before == Some('=') && char == '?',
            // Figures follow a bar; the rest means something to shells and web pages.
            Place::Plugin => "|$`<>&".contains(char),
        };
        // What comes after a backslash at the end would belong to it.
        means || char == '\\' && after.is_none()
    }

    /// Whether `char` survives the way there: a relay that cannot take more than ASCII would send
    /// a mail back.
    fn takes(self, char: char) -> bool {
        char.is_ascii() || !matches!(self, Place::Header | Place::Mail)
    }
}

/// A message, whose names are escaped already but that may come from others, as one line for
/// `place`: what could do harm there becomes `\#ooo`, everything else stays.
pub fn harmless(message: &str, place: Place) -> Cow<'_, str> {
    let is_bad = |(before, char, after)| {
        is_unsafe(before, char, after) || char == '\t' || {
            let shown = if place.takes(char) { char } else { '?' };
            place.minds(before, shown, after)
        }
    };
    let is_clean = |item: (_, char, _)| !is_bad(item) && place.takes(item.1);
    if message.len() <= place.len_max() && Neighbours::of(message).all(is_clean) {
        return Cow::Borrowed(message);
    }
    let mut text = String::with_capacity(message.len() + 16);
    for (before, char, after) in Neighbours::of(message) {
        match place.takes(char) {
            _ if is_bad((before, char, after)) => push_octal(&mut text, char),
            true => text.push(char),
            false => text.push('?'),
        }
    }
    Cow::Owned(without_middle(text, place.len_max()))
}

/// A whole JSON document, as a serialiser wrote it, with each character that could do harm on a
/// terminal written as its escape: programs read the same from it.
pub fn harmless_json(document: &str) -> String {
    let mut text = String::with_capacity(document.len());
    for (before, char, after) in Neighbours::of(document) {
        if char != '\n' && is_unsafe(before, char, after) {
            for unit in char.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(char);
        }
    }
    text
}

/// `name` as text on one line, told back from it by undoing the escapes: what is not UTF-8, a
/// backslash that would read as an escape, and what could do harm become `\#ooo` (octal), as rsync
/// prints them in a UTF-8 locale. A tab stays, as it does there.
pub fn escape(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !Neighbours::of(text).any(|(before, char, after)| is_unsafe(before, char, after))
        && !text.contains("\\#")
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        let mut rest = chunk.valid();
        for (before, char, after) in Neighbours::of(chunk.valid()) {
            if is_unsafe(before, char, after) || reads_as_escape(rest.as_bytes()) {
                push_octal(&mut escaped, char);
            } else {
                escaped.push(char);
            }
            rest = rest.get(char.len_utf8()..).unwrap_or_default();
        }
        push_octal_bytes(&mut escaped, chunk.invalid());
    }
    Cow::Owned(escaped)
}

/// Each character of a text with the one before and the one after it.
struct Neighbours<'a> {
    before: Option<char>,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
}

impl<'a> Neighbours<'a> {
    fn of(text: &'a str) -> Self {
        let chars = text.chars().peekable();
        Neighbours {
            before: None,
            chars,
        }
    }
}

impl Iterator for Neighbours<'_> {
    type Item = (Option<char>, char, Option<char>);

    fn next(&mut self) -> Option<Self::Item> {
        let char = self.chars.next()?;
        let before = self.before.replace(char);
        Some((before, char, self.chars.peek().copied()))
    }
}

/// What joins letters or pictures of other scripts, and belongs to their spelling.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Whether a character does harm on any line: it moves the cursor, ends the line, turns the order
/// of what follows, or cannot be seen.
fn is_unsafe(before: Option<char>, char: char, after: Option<char>) -> bool {
    let is_shown = |c: char| !c.is_ascii() && !c.is_control() && !is_invisible(c);
    let joins = |beside: Option<char>| beside.is_some_and(is_shown);
    match char {
        '\t' => false,
        _ if JOINERS.contains(&char) => !(joins(before) && joins(after)),
        _ => char.is_control() || is_invisible(char),
    }
}

/// What has no shape of its own: separators of lines, marks of direction, fillers, tags and what
/// else Unicode calls default ignorable, but for the selectors that choose a shape.
fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// `text` with its middle left out, if it is longer than `len_max` bytes.
fn without_middle(text: String, len_max: usize) -> String {
    if text.len() <= len_max {
        return text;
    }
    /// The longest mark of what is left out, in bytes.
    const MARK_LEN: usize = " [... 18446744073709551615 bytes left out ...] ".len();
    let kept = len_max.saturating_sub(MARK_LEN) / 2;
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=kept).rev().find(is_boundary).unwrap_or(0);
    let tail = (text.len() - kept..)
        .find(is_boundary)
        .unwrap_or(text.len());
    // A joiner at the cut would join nothing.
    let head = text[..head].trim_end_matches(JOINERS);
    let tail = text[tail..].trim_start_matches(JOINERS);
    let left_out = text.len() - head.len() - tail.len();
    format!("{head} [... {left_out} bytes left out ...] {tail}")
}

fn push_octal(text: &mut String, char: char) {
    push_octal_bytes(text, char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push_octal_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\#{byte:03o}");
    }
}

fn reads_as_escape(text: &[u8]) -> bool {
    match text {
        [b'\\', b'#', a, b, c, ..] => [a, b, c].iter().all(|digit| digit.is_ascii_digit()),
        _ => false,
    }
}
