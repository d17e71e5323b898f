//! A path below the root of a tree. What goes beyond a few hundred bytes is shared by all paths
//! below the same directory, so that a directory deep down costs no more than any other: a path has
//! its last piece for itself, and refers to the directory that this begins in.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{NameError, PATH_LEN_MAX, check_name};

/// Longest piece in bytes; a single name may be longer. One system call takes a whole piece.
const PIECE_LEN_MAX: usize = 512;

/// A path below a root: components joined by single slashes, no leading or trailing one.
/// The empty path is the root itself.
///
/// Its pieces are as long as they can be, from the root on. Equal paths have equal pieces, and
/// paths below one directory have those of the directory, but for its last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RelPath {
    /// The last piece: whole components. Empty for the root alone.
    end: Vec<u8>,
    above: Option<Arc<Above>>,
}

/// The directory in which a piece begins.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Above {
    len: usize,
    depth: usize,
    path: RelPath,
}

impl RelPath {
    /// The root of the tree.
    pub(crate) fn root() -> Self {
        RelPath::default()
    }

    /// A path from bytes, each component checked by [`check_name`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > PATH_LEN_MAX {
            return Err(NameError::PathTooLong);
        }
        if !bytes.is_empty() {
            bytes.split(|&b| b == b'/').try_for_each(check_name)?;
        }
        Ok(RelPath::of(bytes))
    }

    /// A path from the bytes of one.
    pub(crate) fn of(mut bytes: &[u8]) -> Self {
        let mut path = RelPath::root();
        while bytes.len() > PIECE_LEN_MAX {
            let is_slash = |&b: &u8| b == b'/';
            let (fitting, beyond) = bytes.split_at(PIECE_LEN_MAX + 1);
            let cut = fitting.iter().rposition(is_slash).or_else(|| {
                let found = beyond.iter().position(is_slash);
                found.map(|at| fitting.len() + at)
            });
            let Some(cut) = cut else {
                break;
            };
            let (piece, rest) = bytes.split_at(cut);
            path = path.with_piece(piece);
            bytes = rest.get(1..).unwrap_or_default();
        }
        path.with_piece(bytes)
    }

    /// The path with another piece.
    fn with_piece(self, piece: &[u8]) -> Self {
        let above = (!self.is_root()).then(|| Arc::new(Above::of(self)));
        let end = piece.to_vec();
        RelPath { above, end }
    }

    /// This path with one more component, which the caller has checked or read from a directory.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        if self.is_root() || self.end.len() + 1 + name.len() > PIECE_LEN_MAX {
            return self.clone().with_piece(name);
        }
        let mut end = Vec::with_capacity(self.end.len() + 1 + name.len());
        end.extend_from_slice(&self.end);
        end.push(b'/');
        end.extend_from_slice(name);
        let above = self.above.clone();
        RelPath { above, end }
    }

    /// This path with all of `rest` after it.
    pub(crate) fn join_path(&self, rest: &RelPath) -> Self {
        match (self.is_root(), rest.is_root()) {
            (true, _) => rest.clone(),
            (_, true) => self.clone(),
            _ => RelPath::of(&[&*self.as_bytes(), &*rest.as_bytes()].join(&b'/')),
        }
    }

    /// The way from `ancestor`, which this path is [within](Self::is_within).
    pub(crate) fn below(&self, ancestor: &RelPath) -> Self {
        let bytes = self.as_bytes();
        let rest = bytes.get(ancestor.len()..).unwrap_or_default();
        RelPath::of(rest.strip_prefix(b"/").unwrap_or(rest))
    }

    pub(crate) fn is_root(&self) -> bool {
        self.end.is_empty()
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.begins_at() + self.end.len()
    }

    /// Bytes in memory that it shares with no other path.
    pub(crate) fn memory_len(&self) -> usize {
        // Where a piece begins, each path refers to the directory by itself.
        let begins = self.above.is_some() && !self.end.contains(&b'/');
        let above = if begins {
            size_of::<Above>() + PIECE_LEN_MAX
        } else {
            0
        };
        size_of::<RelPath>() + self.end.capacity() + above
    }

    /// The path's bytes; empty for the root.
    pub(crate) fn as_bytes(&self) -> Cow<'_, [u8]> {
        if self.above.is_none() {
            return Cow::Borrowed(&self.end);
        }
        let mut bytes = Vec::with_capacity(self.len());
        for piece in self.pieces().iter().rev() {
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(piece);
        }
        Cow::Owned(bytes)
    }

    /// The path's bytes as people see them: `.` for the root.
    pub(crate) fn shown(&self) -> Cow<'_, [u8]> {
        if self.is_root() {
            Cow::Borrowed(b".")
        } else {
            self.as_bytes()
        }
    }

    /// Bytes whose order is that of the paths: no name holds a zero byte.
    pub(crate) fn sort_key(&self) -> Vec<u8> {
        let zero = |&byte: &u8| if byte == b'/' { 0 } else { byte };
        self.as_bytes().iter().map(zero).collect()
    }

    /// The path that has this key.
    pub(crate) fn of_sort_key(key: &[u8]) -> Self {
        let slash = |&byte: &u8| if byte == 0 { b'/' } else { byte };
        RelPath::of(&key.iter().map(slash).collect::<Vec<u8>>())
    }

    /// The names that the path is made of.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        components(self.pieces())
    }

    /// The directory that holds this entry; the root is in itself.
    pub(crate) fn parent(&self) -> RelPath {
        self.split().map_or_else(RelPath::root, |(dir, _)| dir)
    }

    /// The directory that holds this entry, and the entry's name; `None` for the root.
    pub(crate) fn split(&self) -> Option<(RelPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.end.iter().rposition(|&b| b == b'/') {
            Some(at) => {
                let above = self.above.clone();
                let end = self.end[..at].to_vec();
                (RelPath { above, end }, &self.end[at + 1..])
            }
            None => (self.begin().cloned().unwrap_or_default(), &self.end),
        })
    }

    /// The directory in which the last piece begins, and that piece; it begins in the root if there
    /// is no other.
    pub(crate) fn last_piece(&self) -> (Option<&RelPath>, &[u8]) {
        (self.begin(), &self.end)
    }

    /// The last component; empty for the root.
    pub(crate) fn name(&self) -> &[u8] {
        self.end.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// How many components there are.
    pub(crate) fn depth(&self) -> usize {
        let above = self.above.as_ref().map_or(0, |above| above.depth);
        above + usize::from(!self.is_root()) + self.end.iter().filter(|&&b| b == b'/').count()
    }

    /// Whether this is `ancestor` itself or lies below it.
    pub(crate) fn is_within(&self, ancestor: &RelPath) -> bool {
        // The piece of this path that begins where the ancestor's last one does.
        let mut at = self;
        while at.begins_at() > ancestor.begins_at()
            && let Some(begin) = at.begin()
        {
            at = begin;
        }
        let rest = at.end.strip_prefix(&*ancestor.end);
        ancestor.is_root() || (at.above == ancestor.above && matches!(rest, Some([] | [b'/', ..])))
    }

    /// The directory that the last piece begins in, unless that is the root.
    fn begin(&self) -> Option<&RelPath> {
        self.above.as_ref().map(|above| &above.path)
    }

    /// How many bytes lie before the last piece.
    fn begins_at(&self) -> usize {
        self.above.as_ref().map_or(0, |above| above.len + 1)
    }

    /// From the last to the first.
    fn pieces(&self) -> Vec<&[u8]> {
        let paths = iter::successors(Some(self), |path| path.begin());
        paths.map(|path| &*path.end).collect()
    }
}

/// The names in pieces, of which the last is the first.
fn components(pieces: Vec<&[u8]>) -> impl Iterator<Item = &[u8]> {
    let names = pieces.into_iter().rev();
    let names = names.flat_map(|piece| piece.split(|&b| b == b'/'));
    names.filter(|name| !name.is_empty())
}

impl Above {
    fn of(path: RelPath) -> Self {
        let (len, depth) = (path.len(), path.depth());
        Above { path, len, depth }
    }
}

/// The order in which a walk comes to directories: each before what is below it, and all that
/// before its next sibling.
impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.above.is_none() && other.above.is_none() {
            return cmp_pieces(&self.end, &other.end);
        }
        // Only what is not one and the same in memory need be compared.
        let (mut a, mut b) = (self, other);
        let (mut a_pieces, mut b_pieces) = (Vec::new(), Vec::new());
        loop {
            let order = a.begins_at().cmp(&b.begins_at());
            let is_shared = match (&a.above, &b.above) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            if order.is_ge() {
                a_pieces.push(&*a.end);
                a = a.begin().unwrap_or(a);
            }
            if order.is_le() {
                b_pieces.push(&*b.end);
                b = b.begin().unwrap_or(b);
            }
            if is_shared {
                return components(a_pieces).cmp(components(b_pieces));
            }
        }
    }
}

/// Compares paths of one piece. No name holds a zero byte, so that a slash in its place comes
/// before whatever goes on with the name.
fn cmp_pieces(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.as_bytes())
    }
}

/// What is on a disk or comes from a peer is checked like any other path.
impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = serde_bytes::deserialize(deserializer)?;
        RelPath::parse(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
