//! Names as they appear in lists and messages: a name may hold any byte, a line of output holds
//! one name and never moves the cursor.

use std::borrow::Cow;
use std::fmt::Write;

/// `name` as text on one line, told back from it by undoing the escapes: what is not UTF-8,
/// control characters except tab, and a backslash that would read as an escape become `\#ooo`
/// (octal), as rsync prints them in a UTF-8 locale.
pub fn escape(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.contains(is_unsafe)
        && !text.contains("\\#")
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        for (index, char) in chunk.valid().char_indices() {
            let rest = chunk.valid().get(index..).unwrap_or_default();
            if is_unsafe(char) || reads_as_escape(rest.as_bytes()) {
                push_octal(&mut escaped, char.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                escaped.push(char);
            }
        }
        push_octal(&mut escaped, chunk.invalid());
    }
    Cow::Owned(escaped)
}

/// A message, whose names are escaped already but that may come from the peer, on one line:
/// control characters become `\#ooo`, everything else stays.
pub fn defuse(message: &str) -> Cow<'_, str> {
    if !message.contains(is_unsafe) {
        return Cow::Borrowed(message);
    }
    let mut defused = String::with_capacity(message.len() + 16);
    for char in message.chars() {
        if is_unsafe(char) {
            push_octal(&mut defused, char.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            defused.push(char);
        }
    }
    Cow::Owned(defused)
}

fn push_octal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\#{byte:03o}");
    }
}

fn is_unsafe(char: char) -> bool {
    char.is_control() && char != '\t'
}

fn reads_as_escape(text: &[u8]) -> bool {
    match text {
        [b'\\', b'#', a, b, c, ..] => [a, b, c].iter().all(|digit| digit.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_not_copied() {
        assert!(matches!(
            escape("sub/ä b 1.txt".as_bytes()),
            Cow::Borrowed("sub/ä b 1.txt")
        ));
    }

    #[test]
    fn a_line_holds_one_name() {
        assert_eq!(escape(b"nl\nname\x7f"), "nl\\#012name\\#177");
        assert_eq!(escape(b"tab\tstays"), "tab\tstays");
        assert_eq!(escape("csi\u{9b}1m".as_bytes()), "csi\\#302\\#2331m");
    }

    #[test]
    fn a_name_that_looks_escaped_is_told_apart() {
        assert_eq!(escape(b"a\\#012"), "a\\#134#012");
        assert_eq!(escape(b"a\\#01x\\"), "a\\#01x\\");
    }

    #[test]
    fn a_message_is_escaped_once() {
        assert_eq!(
            defuse("cannot open \"a\\#012b\""),
            "cannot open \"a\\#012b\""
        );
        assert_eq!(defuse("two\nlines\x1b[1m"), "two\\#012lines\\#033[1m");
    }

    #[test]
    fn what_is_not_utf8_is_escaped_and_its_neighbours_stay() {
        assert_eq!(escape(b"\xc3\xa4\xff\xfe!"), "ä\\#377\\#376!");
        assert_eq!(escape(b"half\xe2\x80y"), "half\\#342\\#200y");
    }
}
