//! A compiled pattern: which part of a path it looks at, and for what.
//!
//! The shape of a pattern (anchored, inner slashes, `**`) says which part of a path has to match;
//! that is settled once, when the pattern is compiled.

use std::borrow::Cow;

use super::glob::{Glob, Starts};

/// A compiled pattern: which paths it looks at, where in them it looks, and for what.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    dirs_only: bool,
    scope: Scope,
    what: What,
    /// The bytes that a path has which matches.
    needed: Bytes,
}

/// Which bytes are in a text, as far as 64 bits can tell; slashes are not told. It rules out most
/// texts that a pattern does not match, at hardly any cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bytes(u64);

impl Bytes {
    pub(super) fn of(text: &[u8]) -> Self {
        let told = text.iter().filter(|&&byte| byte != b'/');
        Bytes(told.fold(0, |bytes, byte| bytes | 1 << (byte & 63)))
    }

    fn has(self, other: Bytes) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The part of a path that a pattern has to match from end to end.
#[derive(Clone, Copy, Debug)]
enum Scope {
    /// This many last components, at least one; a path with fewer does not match.
    Tail(usize),
    /// The path.
    Path,
    /// The path, or any tail of it that starts a component.
    EveryTail,
    /// The path behind a slash, so that a leading `**/` also matches at the root.
    SlashPath,
}

/// The end of the paths that match a pattern.
pub(super) enum End<'a> {
    /// This last component.
    Name(&'a [u8]),
    /// This last byte.
    Byte(u8),
    /// Any.
    Anything,
    /// None match.
    Nothing,
}

#[derive(Clone, Debug)]
enum What {
    /// A pattern without a wildcard, to the byte.
    Literal(Vec<u8>),
    /// `slash_after_dir`: a directory is matched with a slash behind it, because the pattern ends
    /// in `***`.
    Glob { glob: Glob, slash_after_dir: bool },
    /// A pattern that is malformed, or asks for an empty name.
    Never,
}

impl Matcher {
    /// Compiles a pattern that [`FilterRule::check`] passed.
    ///
    /// The shape is read from the bytes as they stand: a slash or `**` counts inside a class or
    /// behind a backslash too, as in rsync.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let (pattern, dirs_only) = match pattern {
            [whole @ .., b'/'] if !whole.is_empty() => (whole, true),
            _ => (pattern, false),
        };
        let slash_count = pattern.iter().filter(|&&b| b == b'/').count();
        let crosses = pattern.windows(2).any(|pair| pair == b"**");
        let (body, anchored) = match pattern {
            [b'/', body @ ..] => (body, true),
            _ => (pattern, false),
        };
        let scope = if anchored {
            Scope::Path
        } else if !crosses {
            Scope::Tail(slash_count + 1)
        } else if pattern.starts_with(b"**") {
            Scope::SlashPath
        } else {
            Scope::EveryTail
        };
        let what = if body.is_empty() {
            What::Never
        } else if !body.iter().any(|b| b"*?[".contains(b)) {
            What::Literal(body.to_vec())
        } else {
            let slash_after_dir = pattern.ends_with(b"***");
            Glob::parse(body).map_or(What::Never, |glob| What::Glob {
                glob,
                slash_after_dir,
            })
        };
        let needed = match &what {
            What::Literal(literal) => Bytes::of(literal),
            What::Glob { glob, .. } => Bytes::of(&glob.plain_bytes()),
            What::Never => Bytes::default(),
        };
        Self {
            dirs_only,
            scope,
            what,
            needed,
        }
    }

    /// Whether the pattern may match a text that has these bytes.
    pub(super) fn may_match(&self, bytes: Bytes) -> bool {
        bytes.has(self.needed)
    }

    /// Whether the pattern begins with a slash.
    pub(super) fn is_anchored(&self) -> bool {
        matches!(self.scope, Scope::Path)
    }

    /// Whether it looks at more than the last component.
    pub(super) fn looks_above(&self) -> bool {
        !matches!(self.scope, Scope::Tail(1))
    }

    /// What every path that matches has at its end.
    pub(super) fn end(&self) -> End<'_> {
        match &self.what {
            What::Never => End::Nothing,
            What::Literal(literal) => End::Name(last_components(literal, 1).unwrap_or_default()),
            What::Glob { glob, .. } => glob.last_byte().map_or(End::Anything, End::Byte),
        }
    }

    /// Whether the pattern matches `path`, which is not empty and has no slash at its ends.
    pub(super) fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        if self.dirs_only && !is_dir {
            return false;
        }
        let part = match self.scope {
            Scope::Tail(component_count) => match last_components(path, component_count) {
                Some(tail) => tail,
                None => return false,
            },
            Scope::Path | Scope::EveryTail | Scope::SlashPath => path,
        };
        match &self.what {
            What::Never => false,
            What::Literal(literal) => literal == part,
            What::Glob {
                glob,
                slash_after_dir,
            } => {
                if !glob.agrees_at_end(part) {
                    return false;
                }
                let slash_before = matches!(self.scope, Scope::SlashPath);
                let text = with_slashes(part, slash_before, *slash_after_dir && is_dir);
                let starts = match self.scope {
                    Scope::EveryTail => Starts::EveryComponent,
                    _ => Starts::Beginning,
                };
                glob.matches(&text, starts)
            }
        }
    }
}

/// The last `component_count` components of a path, if it has so many.
fn last_components(path: &[u8], component_count: usize) -> Option<&[u8]> {
    let mut start = path.len();
    for _ in 0..component_count {
        // The slash in front of the components already counted is not theirs.
        let before = path.get(..start.checked_sub(usize::from(start < path.len()))?)?;
        match before.iter().rposition(|&b| b == b'/') {
            Some(slash) => start = slash + 1,
            None if before.is_empty() => return None,
            None => start = 0,
        }
    }
    path.get(start..)
}

fn with_slashes(part: &[u8], before: bool, after: bool) -> Cow<'_, [u8]> {
    if !before && !after {
        return Cow::Borrowed(part);
    }
    let mut text = Vec::with_capacity(part.len() + 2);
    if before {
        text.push(b'/');
    }
    text.extend_from_slice(part);
    if after {
        text.push(b'/');
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_components_of_a_path() {
        assert_eq!(last_components(b"a/bc/d", 1), Some(&b"d"[..]));
        assert_eq!(last_components(b"a/bc/d", 2), Some(&b"bc/d"[..]));
        assert_eq!(last_components(b"a/bc/d", 3), Some(&b"a/bc/d"[..]));
        assert_eq!(last_components(b"a/bc/d", 4), None);
        assert_eq!(last_components(b"a", usize::MAX), None);
    }
}
