//! One change of the target. Whatever changes there, by a push, a recovery or an undo, is a list of
//! these, carried out by [`Roll`](super::Roll).
//!
//! Where what is replaced is kept, an op names a *slot*, an entry of a staging directory. Before,
//! the slot holds what is to be put in place, afterwards what was replaced or removed: the two
//! change places. Such ops can be carried out again after a crash, and led back.

use std::io;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::fs::{Attrs, Inode, WhichDir, replaced};
use crate::path::RelPath;
use crate::spill::SpillValues;

/// Everything that an atomic commit changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) sessions: Vec<SessionPlace>,
    pub(crate) ops: Ops,
}

/// Where a staging directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionPlace {
    /// The directory of the tree whose `.hasync` it is in: the root, or one on another mount.
    pub(crate) holder: RelPath,
    /// Its directory within that `.hasync`, such as `stage`.
    pub(crate) within: RelPath,
    /// Its name in there, which no other session has.
    #[serde(with = "serde_bytes")]
    pub(crate) name: Vec<u8>,
}

/// An entry of a staging directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// Position among the sessions.
    pub(crate) session: u32,
    pub(crate) path: RelPath,
}

/// Which directory goes, with everything that is in it, if one has the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tree {
    /// None was judged there.
    #[default]
    None,
    Only(WhichDir),
    Any,
}

impl Tree {
    /// The only one, if it is known which.
    pub(crate) fn which(&self) -> Option<&WhichDir> {
        match self {
            Tree::Only(which) => Some(which),
            Tree::None | Tree::Any => None,
        }
    }

    /// Checks that what is `found` in `dir` is meant.
    pub(super) fn check(&self, found: &Inode, dir: impl AsFd) -> io::Result<()> {
        match self {
            Tree::Only(which) => which.check(found, dir),
            Tree::None if found.is_dir() => Err(replaced()),
            Tree::None | Tree::Any => Ok(()),
        }
    }
}

/// What a plain push may replace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Over {
    /// The directory that it may be; one without entries it may be in any case.
    pub(crate) tree: Tree,
    /// Length of the file that has the name, in bytes, as far as it is known.
    pub(crate) len: u64,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// The slot's entry and the one of that name, if there is one, change places.
    Place {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        slot: Slot,
        new: Inode,
        old: Option<Inode>,
    },
    /// The entry of that name goes to the slot.
    Remove {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        slot: Slot,
        old: Inode,
    },
    /// The slot's entry takes the name, and what had it is gone for good.
    Replace {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        slot: Slot,
        over: Over,
    },
    /// The entry of that name is gone for good; a directory only if it is that one, anything else
    /// only from the one `within` which it was judged, if that is known.
    Discard {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        tree: Tree,
        within: Option<WhichDir>,
    },
    /// Metadata of an entry that stays, and that was that one when it was judged.
    SetAttrs {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        inode: Inode,
        new: Attrs,
        old: Attrs,
    },
    /// Metadata of a directory, set after everything inside it; the root's has the empty path.
    SetDirAttrs {
        dir: RelPath,
        inode: Inode,
        new: Attrs,
        old: Attrs,
    },
}

/// Ops in the order in which they are to be carried out.
pub(crate) type Ops = SpillValues<Op>;

/// The ops that lead back.
pub(crate) fn reversed(ops: &Ops) -> Result<Ops, Error> {
    let is_dir_attrs = |op: &Op| matches!(op, Op::SetDirAttrs { .. });
    let mut back = Ops::default();
    let mut add = |op: Op| op.reversed().map_or(Ok(()), |op| back.push(&op));
    for op in ops.iter_back() {
        let op = op?;
        if !is_dir_attrs(&op) {
            add(op)?;
        }
    }
    // Their order, deepest first, is right both ways, and they come last both ways.
    for op in ops.iter() {
        let op = op?;
        if is_dir_attrs(&op) {
            add(op)?;
        }
    }
    Ok(back)
}

impl Op {
    /// The op that leads back; `None` if nothing of what was replaced is kept.
    fn reversed(mut self) -> Option<Op> {
        match &mut self {
            Op::Place {
                new,
                old: Some(old),
                ..
            } => std::mem::swap(new, old),
            Op::SetAttrs {
                inode, new, old, ..
            }
            | Op::SetDirAttrs {
                inode, new, old, ..
            } => {
                *inode = inode.changed(new);
                std::mem::swap(new, old);
            }
            _ => {}
        }
        Some(match self {
            Op::Place {
                dir,
                name,
                slot,
                new,
                old: None,
            } => Op::Remove {
                dir,
                name,
                slot,
                old: new,
            },
            Op::Remove {
                dir,
                name,
                slot,
                old,
            } => Op::Place {
                dir,
                name,
                slot,
                new: old,
                old: None,
            },
            Op::Replace { .. } | Op::Discard { .. } => return None,
            op => op,
        })
    }

    /// The directory that holds the entry; that itself for [`Op::SetDirAttrs`].
    pub(crate) fn dir(&self) -> &RelPath {
        match self {
            Op::Place { dir, .. }
            | Op::Remove { dir, .. }
            | Op::Replace { dir, .. }
            | Op::Discard { dir, .. }
            | Op::SetAttrs { dir, .. }
            | Op::SetDirAttrs { dir, .. } => dir,
        }
    }

    /// The name of the entry in it.
    fn name(&self) -> Option<&[u8]> {
        match self {
            Op::Place { name, .. }
            | Op::Remove { name, .. }
            | Op::Replace { name, .. }
            | Op::Discard { name, .. }
            | Op::SetAttrs { name, .. } => Some(name),
            Op::SetDirAttrs { .. } => None,
        }
    }

    /// The path that changes.
    pub(crate) fn path(&self) -> RelPath {
        let name = self.name();
        name.map_or_else(|| self.dir().clone(), |name| self.dir().join(name))
    }

    /// Whether another entry, or none, has the name afterwards.
    pub(crate) fn moves(&self) -> bool {
        !matches!(self, Op::SetAttrs { .. } | Op::SetDirAttrs { .. })
    }

    /// The slot, if the op has one.
    pub(crate) fn slot(&self) -> Option<&Slot> {
        match self {
            Op::Place { slot, .. } | Op::Remove { slot, .. } | Op::Replace { slot, .. } => {
                Some(slot)
            }
            Op::Discard { .. } | Op::SetAttrs { .. } | Op::SetDirAttrs { .. } => None,
        }
    }

    /// The slot, if the op has one.
    pub(crate) fn slot_mut(&mut self) -> Option<&mut Slot> {
        match self {
            Op::Place { slot, .. } | Op::Remove { slot, .. } | Op::Replace { slot, .. } => {
                Some(slot)
            }
            Op::Discard { .. } | Op::SetAttrs { .. } | Op::SetDirAttrs { .. } => None,
        }
    }

    /// What it does, for a message.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Op::Place { .. } | Op::Replace { .. } => "put in place",
            Op::Remove { .. } | Op::Discard { .. } => "remove",
            Op::SetAttrs { .. } => "set the metadata of",
            Op::SetDirAttrs { .. } => "set the metadata of",
        }
    }
}
