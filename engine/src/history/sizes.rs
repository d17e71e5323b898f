//! How much of a disk is taken beside a tree's data.

use super::prune::{bytes_kept, rubbish};
use super::space::bytes_below;
use crate::error::Error;
use crate::generation::tree::Tree;

/// Bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What can go for want of space.
    pub undo_bytes: u64,
    /// What stays until it is forgotten.
    pub pinned_bytes: u64,
    /// What pushes, running or interrupted, have staged in the root.
    pub staged_bytes: u64,
    /// What was kept once and could not be removed.
    pub rubbish_bytes: u64,
}

impl Tree {
    /// How much the past of the tree takes. Reads all directories of it.
    ///
    /// # Errors
    ///
    /// If the records cannot be read.
    pub fn sizes(&self) -> Result<Sizes, Error> {
        let root = self.open_root()?;
        let Some(root) = &root else {
            return Ok(Sizes::default());
        };
        let staged_bytes = bytes_below(&root.path().join(".hasync/stage"));
        let Some(store) = self.store(Some(root))? else {
            return Ok(Sizes {
                staged_bytes,
                ..Sizes::default()
            });
        };
        let read = |e: std::io::Error| self.cannot("read what is kept of", &e);
        let (undo_bytes, pinned_bytes) = bytes_kept(&store).map_err(read)?;
        let rubbish = rubbish(&store).map_err(read)?;
        Ok(Sizes {
            undo_bytes,
            pinned_bytes,
            staged_bytes,
            rubbish_bytes: rubbish.iter().map(|path| bytes_below(path)).sum(),
        })
    }
}
