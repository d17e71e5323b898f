//! Names inside a tree, as bytes: one component that is safe to hand to a system call. A
//! [`RelPath`] is a list of them below the tree's root. Neither comes from a peer's bytes without
//! the checks here.

mod rel_path;

use std::fmt;

pub(crate) use rel_path::RelPath;

use crate::escape::escape;

/// The name, at any depth, that is never part of a mirror: hasync's own files live there.
pub(crate) const RESERVED_NAME: &[u8] = b".hasync";

/// Another spelling of it, as reserved: where somebody has put something else under that name, a
/// plain push stages here.
pub(crate) const STAND_IN_NAME: &[u8] = b".HASYNC";

/// Whether a name is reserved: `.hasync`, or what a file system may take for it that folds case,
/// makes short names, drops what Windows has no use for at the end of a name, or ignores what is
/// not seen. It is so everywhere: a tree may be mirrored on to where it matters.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    // Nearly all names end here.
    let begins_like = matches!(name.first(), Some(b'.' | b'h' | b'H' | 0xc2..));
    begins_like && (name == RESERVED_NAME || std::str::from_utf8(name).is_ok_and(is_like_reserved))
}

fn is_like_reserved(name: &str) -> bool {
    let is_seen = |c: &char| {
        !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}')
    };
    let seen = name.chars().filter(is_seen).map(|c| match c {
        'ſ' => 's',
        c => c.to_ascii_lowercase(),
    });
    let seen: String = seen.collect();
    let stream = seen.split(':').next().unwrap_or_default();
    let short = stream.strip_prefix("hasync~");
    let is_number = |end: &str| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit());
    stream.trim_end_matches(['.', ' ']) == ".hasync" || short.is_some_and(is_number)
}

/// Longest name of one entry in bytes: what FUSE lets through. Few file systems keep more than 255,
/// but 255 letters of NTFS or exFAT can be three bytes each.
pub(crate) const NAME_LEN_MAX: usize = 1023;

/// Longest path of an entry below the root of its tree, in bytes. What lies deeper is not mirrored.
pub(crate) const PATH_LEN_MAX: usize = 64 << 10;

/// Why bytes are not a name, or not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    Empty,
    TooLong,
    DotOrDotDot,
    SlashOrNul,
    Reserved,
    PathTooLong,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "an empty name",
            NameError::TooLong => "a name longer than 1,023 bytes",
            NameError::DotOrDotDot => "a name that is . or ..",
            NameError::SlashOrNul => "a name with a slash or a zero byte",
            NameError::Reserved => "the reserved name .hasync",
            NameError::PathTooLong => "a path longer than 64 KiB",
        })
    }
}

/// Checks that `bytes` is one path component that may be created in the target.
pub(crate) fn check_name(bytes: &[u8]) -> Result<(), NameError> {
    match bytes {
        b"" => Err(NameError::Empty),
        b"." | b".." => Err(NameError::DotOrDotDot),
        _ if is_reserved(bytes) => Err(NameError::Reserved),
        _ if bytes.len() > NAME_LEN_MAX => Err(NameError::TooLong),
        _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(NameError::SlashOrNul),
        _ => Ok(()),
    }
}

/// Longer paths are shown without their middle, in bytes of what is left on either side of it.
const SHOWN_LEN_MAX: usize = 1024;

/// Shows a path in a message: escaped and in quotes.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(SHOWN_LEN_MAX) {
            Some((begin, rest)) if rest.len() > SHOWN_LEN_MAX => {
                let (middle, end) = rest.split_at(rest.len() - SHOWN_LEN_MAX);
                let (begin, end) = (escape(begin), escape(end));
                write!(f, "\"{begin}[{} bytes more]{end}\"", middle.len())
            }
            _ => write!(f, "\"{}\"", escape(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_could_leave_the_tree_are_refused() {
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a\0b",
            b".hasync",
            b".HASYNC",
            ".ha\u{17f}ync".as_bytes(),
            ".ha\u{200d}sync".as_bytes(),
            "\u{feff}.hasync".as_bytes(),
            b".Hasync. .",
            b"HASYNC~1",
            b".hasync::$INDEX_ALLOCATION",
            &[b'x'; 1024],
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in [
            &b"a"[..],
            b"...",
            b".hasync2",
            b"hasync",
            b"hasync~",
            b"hasync~a",
            b".hasync\xff",
            b"\xff\n",
            &[b'x'; 1023],
        ] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_message_shows_the_ends_of_a_long_path() {
        assert_eq!(Shown(b"a\n/b").to_string(), r#""a\#012/b""#);
        let long = [&b"begin/"[..], &b"d/".repeat(30_000), b"end"].concat();
        let shown = Shown(&long).to_string();
        assert!(shown.len() < 3 * SHOWN_LEN_MAX, "{} bytes", shown.len());
        assert!(shown.starts_with("\"begin/d/") && shown.ends_with("/d/end\""));
        let left_out = format!("[{} bytes more]", long.len() - 2 * SHOWN_LEN_MAX);
        assert!(shown.contains(&left_out));
    }
}
