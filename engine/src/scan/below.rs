//! Directories that a walk has seen and not entered yet.

use std::collections::VecDeque;

use crate::names::Names;
use crate::path::RelPath;
use crate::since::{Accesses, DirAccess};
use crate::source::Layer;
use crate::wire::DirIndex;

/// Subdirectories of one directory, seen but not entered yet.
pub(super) struct Below {
    pub(super) parent: DirIndex,
    pub(super) path: RelPath,
    pub(super) layers: Vec<Layer>,
    /// How many directories the walk had come through.
    pub(super) passed: usize,
    pub(super) names: Names,
    /// Whose they are and what may be done with them, as listed.
    pub(super) accesses: Accesses,
    /// For each of them the layers in which it is; empty if there is only one.
    pub(super) merged: VecDeque<Vec<usize>>,
}

impl Below {
    /// Takes the next one.
    pub(super) fn pop(&mut self) -> Option<NextDir> {
        let name = self.names.pop()?;
        let listed = self.accesses.pop();
        let child = |layer: &Layer| layer.child(&name);
        let layers = match self.merged.pop_front() {
            None => self.layers.iter().map(child).collect(),
            Some(merged) => {
                let merged = merged.iter().filter_map(|&at| self.layers.get(at));
                merged.map(child).collect()
            }
        };
        Some(NextDir {
            parent: self.parent,
            path: self.path.join(&name),
            layers,
            listed,
        })
    }
}

/// Where the walk goes next.
pub(super) struct NextDir {
    pub(super) parent: DirIndex,
    pub(super) path: RelPath,
    pub(super) layers: Vec<Layer>,
    /// What the directory above lists it as.
    pub(super) listed: Option<DirAccess>,
}
