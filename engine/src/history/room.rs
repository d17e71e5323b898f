//! Room for what is being staged, where there is none: of a tree with a name the oldest of what
//! undo keeps gives way, down to the steps that the policy guards. What is pinned never does.

use std::io;
use std::sync::Arc;

use rustix::fs::{fstatvfs, syncfs};
use rustix::process::geteuid;

use super::prune::{bytes_kept, give_way};
use crate::apply::MakeRoom;
use crate::error::is_no_space;
use crate::fs::Root;
use crate::generation::Tree;

/// One inode in so many that is free is as good as none.
const FEW_INODES: u64 = 100;

/// Where a push is received, and whose past may give way.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    root: Arc<Root>,
    tree: Option<Tree>,
}

/// What there is, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    pub(crate) free: u64,
    pub(crate) undo: u64,
    pub(crate) pinned: u64,
}

impl Room {
    pub(crate) fn new(root: &Arc<Root>, tree: Option<Tree>) -> Self {
        let root = Arc::clone(root);
        Room { root, tree }
    }

    /// Does what takes room; as long as there is none, something gives way.
    pub(crate) fn with<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(e) if is_no_space(&e) && self.make() => {}
                result => return result,
            }
        }
    }

    /// Makes sure of so many free bytes, as far as something can give way.
    pub(crate) fn reserve(&self, bytes: u64) {
        while self.free().is_ok_and(|free| free < bytes) && self.make() {}
    }

    /// Bytes that this user can still fill.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let space = fstatvfs(&*self.root)?;
        let blocks = match geteuid().is_root() {
            true => space.f_bfree,
            false => space.f_bavail,
        };
        Ok(blocks.saturating_mul(space.f_frsize))
    }

    /// What is to be said where names have given out: hardly any is left, or the bytes `fit` and it
    /// was not for them.
    pub(crate) fn said_of_inodes(&self, fit: bool) -> String {
        let Ok(space) = fstatvfs(&*self.root) else {
            return String::new();
        };
        let (all, free) = (space.f_files, space.f_ffree);
        // What was staged may have given some back.
        match all > 0 && (fit || free < all / FEW_INODES) {
            true => format!("; of the {all} inodes of that disk {free} are free (df -i tells)"),
            false => String::new(),
        }
    }

    pub(crate) fn filled(&self) -> Filled {
        let kept = || {
            let held = self.tree.as_ref()?.hold_at(Some(&self.root), None).ok()?;
            bytes_kept(held.store.as_ref()?).ok()
        };
        let (undo, pinned) = kept().unwrap_or_default();
        let free = self.free().unwrap_or_default();
        Filled { free, undo, pinned }
    }
}

impl MakeRoom for Room {
    fn make(&self) -> bool {
        let Some(tree) = &self.tree else {
            return false;
        };
        let given = tree.hold_at(Some(&self.root), None).ok().and_then(|held| {
            let given = give_way(held.store.as_ref()?, tree.undo.floor).ok()?;
            // Some file systems have the space only then.
            given.then(|| syncfs(&*self.root).is_ok())
        });
        given.unwrap_or(false)
    }
}
