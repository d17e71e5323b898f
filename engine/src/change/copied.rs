//! Lists of ops in a copy of the tree that they were written for: moved to another disk, or
//! restored. No inode has the number there that its op says, and another one may have it, so those
//! ops say none ([`Op::copied`]). Which entry is meant is found out here, before the op is carried
//! out as any other, from where entries are and from what else is known of them.
//!
//! Two that look alike are never taken for one another: where it cannot be told whether they have
//! changed places, both stay where they are, and that is told. Nothing is removed by its looks.

use std::borrow::Cow;
use std::io;

use super::aside::FILLED_MODE;
use super::op::Op;
use super::roll::Roll;
use crate::fs::{Attrs, Inode};

/// Which of two entries is which.
enum Found {
    /// What is to have the name is in the slot still, or has it.
    Staged,
    Placed,
    CannotBeTold,
}

impl Op {
    /// The same in a copy of its tree.
    pub(crate) fn copied(mut self) -> Op {
        match &mut self {
            Op::Place { new, old, .. } => {
                *new = new.copied();
                *old = old.map(Inode::copied);
            }
            Op::Remove { old, .. } => *old = old.copied(),
            Op::SetAttrs { inode, .. } | Op::SetDirAttrs { inode, .. } => *inode = inode.copied(),
            Op::Replace { .. } | Op::Discard { .. } => {}
        }
        self
    }

    /// Whether it says by number what it is about.
    pub(super) fn is_numbered(&self) -> bool {
        match self {
            Op::Place { new: inode, .. }
            | Op::Remove { old: inode, .. }
            | Op::SetAttrs { inode, .. }
            | Op::SetDirAttrs { inode, .. } => inode.is_numbered(),
            Op::Replace { .. } | Op::Discard { .. } => true,
        }
    }
}

impl Roll {
    /// The op with what it is about, by number, as far as that is here. `None` if two are here and
    /// it cannot be told which is which. `again` says that it may have been carried out before.
    pub(super) fn located<'a>(
        &mut self,
        op: &'a Op,
        again: bool,
    ) -> io::Result<Option<Cow<'a, Op>>> {
        if op.is_numbered() {
            return Ok(Some(Cow::Borrowed(op)));
        }
        let mut op = op.clone();
        match &mut op {
            Op::Place {
                dir,
                name,
                slot,
                new,
                old,
            } => {
                let (dir, (slots, slot)) = (self.open_dir(dir)?, self.slot(slot)?);
                let (staged, placed) = (Inode::at(&slots, &slot)?, Inode::at(&dir, name)?);
                let aside = Inode::at(&slots, &[&*slot, b".old"].concat())?;
                // What is aside has left its name, and not come into the slot yet.
                let again = again && aside.is_none();
                let (is, was) = match which((staged, placed), new, old.as_ref(), again) {
                    Found::Staged => (staged, placed),
                    Found::Placed => (placed, staged),
                    Found::CannotBeTold => return Ok(None),
                };
                *new = is.unwrap_or(*new);
                let (was, as_is) = (was.or(aside), Attrs::default());
                *old = old.map(|old| was.map_or(old, |was| old.located(was, &as_is)));
            }
            Op::Remove {
                dir,
                name,
                slot,
                old,
            } => {
                let (dir, (slots, slot)) = (self.open_dir(dir)?, self.slot(slot)?);
                let (named, kept) = (Inode::at(&dir, name)?, Inode::at(&slots, &slot)?);
                // A directory is in both places as long as it is moved piece by piece.
                let is_filled = |kept: &Inode| kept.is_dir() && kept.mode & 0o7777 == FILLED_MODE;
                *old = match kept.filter(|kept| !is_filled(kept)) {
                    Some(kept) => kept,
                    None => named.map_or(*old, |named| old.located(named, &Attrs::default())),
                };
            }
            Op::SetAttrs {
                dir,
                name,
                inode,
                new,
                ..
            } => {
                let found = Inode::at(self.open_dir(dir)?, name)?;
                *inode = found.map_or(*inode, |found| inode.located(found, new));
            }
            Op::SetDirAttrs {
                dir, inode, new, ..
            } => {
                let found = self.open_dir(dir).and_then(Inode::held).ok();
                *inode = found.map_or(*inode, |found| inode.located(found, new));
            }
            Op::Replace { .. } | Op::Discard { .. } => {}
        }
        Ok(Some(Cow::Owned(op)))
    }
}

/// Where `new` is, which changes places with `old`: `again` if that may have been carried out.
fn which(
    (staged, placed): (Option<Inode>, Option<Inode>),
    new: &Inode,
    old: Option<&Inode>,
    again: bool,
) -> Found {
    let Some(staged) = staged else {
        return Found::Placed;
    };
    // Nothing comes into the slot of what replaces nothing.
    let Some(old) = old.filter(|_| again) else {
        return Found::Staged;
    };
    let is_placed_as = |wanted| placed.is_some_and(|placed| may_be(&placed, wanted));
    let is_staged = may_be(&staged, new) || is_placed_as(old);
    let is_placed = is_placed_as(new) || may_be(&staged, old);
    let is_one = placed.is_some_and(|placed| placed.number == staged.number);
    match (is_staged, is_placed) {
        _ if is_one => Found::Staged,
        (true, false) => Found::Staged,
        (false, true) => Found::Placed,
        _ => Found::CannotBeTold,
    }
}

/// Whether an entry can be a copy of one whose metadata has not changed.
fn may_be(found: &Inode, copied: &Inode) -> bool {
    found.may_be(copied, &Attrs::default())
}
