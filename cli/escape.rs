//! Names as they appear in lists and messages: a name may hold any byte, a line of output holds
//! one name and never moves the cursor.

use std::borrow::Cow;
use std::fmt::Write;

/// `name` on one line: control characters become `\#ooo` (octal), and so does a backslash that
/// would read as such an escape, so that the name can be told back from the line. Other bytes
/// stay as they are.
pub(crate) fn escape(name: &[u8]) -> Cow<'_, [u8]> {
    if !(0..name.len()).any(|index| needs_escape(name, index)) {
        return Cow::Borrowed(name);
    }
    let mut escaped = Vec::with_capacity(name.len() + 16);
    for (index, &byte) in name.iter().enumerate() {
        if needs_escape(name, index) {
            escaped.extend_from_slice(format!("\\#{byte:03o}").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    Cow::Owned(escaped)
}

/// Text from elsewhere, such as the far end's error output, as part of one line for a terminal:
/// what is not UTF-8 is escaped as well.
pub(crate) fn escape_text(bytes: &[u8]) -> String {
    let escaped = escape(bytes);
    let mut text = String::with_capacity(escaped.len());
    for chunk in escaped.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\#{byte:03o}");
        }
    }
    text
}

fn needs_escape(name: &[u8], index: usize) -> bool {
    match name.get(index..) {
        Some([b'\\', b'#', a, b, c, ..]) => [a, b, c].iter().all(|digit| digit.is_ascii_digit()),
        Some([byte, ..]) => byte.is_ascii_control(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_not_copied() {
        assert!(matches!(
            escape("sub/ä b\\#1.txt".as_bytes()),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn a_line_holds_one_name() {
        assert_eq!(&*escape(b"nl\nname\x7f"), b"nl\\#012name\\#177");
    }

    #[test]
    fn a_name_that_looks_escaped_is_told_apart() {
        assert_eq!(&*escape(b"a\\#012"), b"a\\#134#012");
    }

    #[test]
    fn other_bytes_stay_in_lists_and_are_escaped_in_messages() {
        assert_eq!(&*escape(b"\xff"), b"\xff");
        assert_eq!(escape_text(b"\xc3\xa4\xff"), "ä\\#377");
    }
}
