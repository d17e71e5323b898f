//! What is not told as unchanged under `--existing`, although the receiver says nothing of it: it
//! is below a directory that the target does not have, and does not get.

use std::collections::HashSet;

use crate::path::RelPath;

/// Directories that may be remembered.
const DIRS_MAX: usize = 1 << 16;

/// Directories of the source below which the target has nothing and gets nothing, as many as may be
/// remembered: what is below others is told as unchanged.
#[derive(Default)]
pub(super) struct Bare(HashSet<RelPath>);

impl Bare {
    pub(super) fn add(&mut self, dir: RelPath) {
        if self.0.len() < DIRS_MAX {
            self.0.insert(dir);
        }
    }

    /// Whether it is one of them, or below one.
    pub(super) fn holds(&self, dir: &RelPath) -> bool {
        let mut here = (!self.0.is_empty()).then(|| dir.clone());
        while let Some(dir) = here {
            if self.0.contains(&dir) {
                return true;
            }
            here = dir.split().map(|(above, _)| above);
        }
        false
    }
}
