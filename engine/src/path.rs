//! Names and paths inside a tree, as bytes. A [`Name`] is one component that is safe to hand to a
//! system call; a [`RelPath`] is a list of them below the tree's root. Neither can be built from a
//! peer's bytes without the checks here.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::escape::escape;

/// The name, at any depth, that is never part of a mirror: hasync's own files live there.
pub(crate) const RESERVED_NAME: &[u8] = b".hasync";

/// Longest name of one entry in bytes (`NAME_MAX` of every Linux file system hasync supports).
pub(crate) const NAME_LEN_MAX: usize = 255;

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    Empty,
    TooLong,
    DotOrDotDot,
    SlashOrNul,
    Reserved,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::Empty => "an empty name",
            NameError::TooLong => "a name longer than 255 bytes",
            NameError::DotOrDotDot => "a name that is . or ..",
            NameError::SlashOrNul => "a name with a slash or a zero byte",
            NameError::Reserved => "the reserved name .hasync",
        })
    }
}

/// Checks that `bytes` is one path component that may be created in the target.
pub(crate) fn check_name(bytes: &[u8]) -> Result<(), NameError> {
    match bytes {
        b"" => Err(NameError::Empty),
        b"." | b".." => Err(NameError::DotOrDotDot),
        RESERVED_NAME => Err(NameError::Reserved),
        _ if bytes.len() > NAME_LEN_MAX => Err(NameError::TooLong),
        _ if bytes.iter().any(|b| matches!(b, b'/' | 0)) => Err(NameError::SlashOrNul),
        _ => Ok(()),
    }
}

/// A path below a root: components joined by single slashes, no leading or trailing one.
/// The empty path is the root itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RelPath(#[serde(with = "serde_bytes")] Vec<u8>);

impl RelPath {
    /// The root of the tree.
    pub(crate) fn root() -> Self {
        RelPath(Vec::new())
    }

    /// A path from bytes, each component checked by [`check_name`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if !bytes.is_empty() {
            bytes.split(|&b| b == b'/').try_for_each(check_name)?;
        }
        Ok(RelPath(bytes.to_vec()))
    }

    /// This path with one more component, which the caller has checked or read from a directory.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        RelPath(bytes)
    }

    /// Adds one more component, as [`join`](Self::join) does.
    pub(crate) fn push(&mut self, name: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Keeps the first `len` bytes of this path and puts `end` after them, which the caller took
    /// from a path.
    pub(crate) fn replace_end(&mut self, len: usize, end: &[u8]) {
        self.0.truncate(len);
        self.0.extend_from_slice(end);
    }

    /// This path with all of `rest` after it.
    pub(crate) fn join_path(&self, rest: &RelPath) -> Self {
        match (self.is_root(), rest.is_root()) {
            (true, _) => rest.clone(),
            (_, true) => self.clone(),
            _ => self.join(&rest.0),
        }
    }

    /// The way from `ancestor`, which this path is [within](Self::is_within).
    pub(crate) fn below(&self, ancestor: &RelPath) -> Self {
        let rest = self.0.get(ancestor.0.len()..).unwrap_or_default();
        RelPath(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path's bytes; empty for the root.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path's bytes as people see them: `.` for the root.
    pub(crate) fn shown(&self) -> &[u8] {
        if self.0.is_empty() { b"." } else { &self.0 }
    }

    /// The names that the path is made of.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|name| !name.is_empty())
    }

    /// The directory that holds this entry, and the entry's name; `None` for the root.
    pub(crate) fn split(&self) -> Option<(RelPath, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => (RelPath(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (RelPath::root(), &self.0[..]),
        })
    }

    /// The last component; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// How many components there are.
    pub(crate) fn depth(&self) -> usize {
        usize::from(!self.is_root()) + self.0.iter().filter(|&&b| b == b'/').count()
    }

    /// The order in which a walk comes to directories: each before what is below it, and all that
    /// before its next sibling.
    pub(crate) fn walk_cmp(&self, other: &RelPath) -> Ordering {
        self.components().cmp(other.components())
    }

    /// Whether this is `ancestor` itself or lies below it.
    pub(crate) fn is_within(&self, ancestor: &RelPath) -> bool {
        ancestor.is_root()
            || (self.0.starts_with(&ancestor.0)
                && matches!(self.0.get(ancestor.0.len()), None | Some(b'/')))
    }
}

/// Shows a path in a message: escaped and in quotes.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(self.0))
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
            &[b'x'; 256],
        ] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b".hasync2", b"\xff\n", &[b'x'; 255]] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
        assert!(RelPath::parse(b"a/../b").is_err());
        assert!(RelPath::parse(b"/a").is_err());
        assert!(RelPath::parse(b"a/").is_err());
        assert_eq!(RelPath::parse(b"").unwrap(), RelPath::root());
    }

    #[test]
    fn a_walk_goes_down_before_it_goes_on() {
        let paths = ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "b"];
        let paths = paths.map(|path| RelPath::parse(path.as_bytes()).unwrap());
        assert!(paths.is_sorted_by(|a, b| a.walk_cmp(b).is_lt()));
        assert!(!paths.is_sorted());
    }

    #[test]
    fn within_compares_whole_components() {
        let path = |s: &str| RelPath::parse(s.as_bytes()).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("x").is_within(&RelPath::root()));
        assert_eq!(path("a/b/c").split().unwrap().1, b"c");
    }
}
