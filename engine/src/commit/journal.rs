//! The journal of an atomic commit: everything that it will change, written down and on disk
//! before the first change, so that a commit which was cut off can be brought to its end. Kept
//! after the commit, the same list, read backwards, is what undo needs.
//!
//! Every op names a *slot*, an entry of a staging directory. Before the commit the slot holds what
//! is to be put in place, after it what was replaced or removed: the two change places.

use serde::{Deserialize, Serialize};

use crate::entry::Time;
use crate::fs::Attrs;
use crate::generation::{Generation, GenerationId};
use crate::path::RelPath;

/// All of an atomic commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// What the tree becomes; `None` if nobody keeps its lineage.
    pub(crate) generation: Option<Generation>,
    pub(crate) sessions: Vec<SessionPlace>,
    pub(crate) ops: Vec<Op>,
    /// What becomes of the replaced entries: whether they are kept, for undo.
    pub(crate) keep: bool,
    /// They are all that is left of what a former primary had: kept until somebody says otherwise.
    pub(crate) pinned: bool,
    /// States of the tree that the ops pass through, if there are any before the last.
    pub(crate) waypoints: Vec<Waypoint>,
}

impl Journal {
    /// Whether one of the steps that it leads over moves nothing: such a step is not used up by
    /// being taken back.
    pub(crate) fn has_step_without_session(&self) -> bool {
        let total = self.sessions.len() as u32;
        let mut ends: Vec<u32> = self.waypoints.iter().map(|end| end.sessions_len).collect();
        if ends.last() != Some(&total) {
            ends.push(total);
        }
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).any(|(begin, end)| begin == *end)
    }
}

/// A state of the tree between the ops of one journal, which leads over several commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waypoint {
    /// The state of the tree after so many ops, which use so many of the sessions.
    pub(crate) ops_len: u64,
    pub(crate) sessions_len: u32,
    pub(crate) state: GenerationId,
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
    /// Position in the journal's sessions.
    pub(crate) session: u32,
    pub(crate) path: RelPath,
}

/// Which entry it was: what tells, after a crash, whether a change has been made already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inode {
    pub(crate) number: u64,
    pub(crate) time: Time,
    /// Length of what is not a directory. Numbers are used again: before an undo, time and length
    /// tell an entry that somebody else made in the place of ours.
    pub(crate) len: Option<u64>,
}

impl Inode {
    pub(crate) fn is_dir(&self) -> bool {
        self.len.is_none()
    }

    /// Whether it is that entry, unchanged; a directory's time changes with what is in it.
    pub(crate) fn is_same(&self, other: &Inode) -> bool {
        self.number == other.number
            && self.len == other.len
            && (self.is_dir() || self.time == other.time)
    }
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
    /// Metadata of an entry that stays.
    SetAttrs {
        dir: RelPath,
        #[serde(with = "serde_bytes")]
        name: Vec<u8>,
        is_symlink: bool,
        ino: u64,
        new: Attrs,
        old: Attrs,
    },
    /// Metadata of a directory, set after everything inside it; the root's has the empty path.
    SetDirAttrs {
        dir: RelPath,
        new: Attrs,
        old: Attrs,
    },
}

/// The ops that lead back, in the order in which they are to be carried out.
pub(crate) fn reversed(ops: &[Op]) -> Vec<Op> {
    let is_dir_attrs = |op: &&Op| matches!(op, Op::SetDirAttrs { .. });
    let changes = ops.iter().rev().filter(|op| !is_dir_attrs(op));
    // Their order, deepest first, is right both ways, and they come last both ways.
    let dirs = ops.iter().filter(is_dir_attrs);
    changes.chain(dirs).map(Op::reversed).collect()
}

impl Op {
    fn reversed(&self) -> Op {
        match self.clone() {
            Op::Place {
                dir,
                name,
                slot,
                new,
                old: Some(old),
            } => Op::Place {
                dir,
                name,
                slot,
                new: old,
                old: Some(new),
            },
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
            Op::SetAttrs {
                dir,
                name,
                is_symlink,
                ino,
                new,
                old,
            } => Op::SetAttrs {
                dir,
                name,
                is_symlink,
                ino,
                new: old,
                old: new,
            },
            Op::SetDirAttrs { dir, new, old } => Op::SetDirAttrs {
                dir,
                new: old,
                old: new,
            },
        }
    }

    /// The path that changes.
    pub(crate) fn path(&self) -> RelPath {
        match self {
            Op::Place { dir, name, .. }
            | Op::Remove { dir, name, .. }
            | Op::SetAttrs { dir, name, .. } => dir.join(name),
            Op::SetDirAttrs { dir, .. } => dir.clone(),
        }
    }

    /// The slot, if the op has one.
    pub(crate) fn slot_mut(&mut self) -> Option<&mut Slot> {
        match self {
            Op::Place { slot, .. } | Op::Remove { slot, .. } => Some(slot),
            Op::SetAttrs { .. } | Op::SetDirAttrs { .. } => None,
        }
    }
}
