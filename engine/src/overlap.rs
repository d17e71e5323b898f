//! Directories that share entries although their paths do not show it: by symlinks or mounts.

use std::path::Path;

use crate::fs::{Extent, Mounts, Root};

/// The pairs of these directories, by their places in the list, that share entries on this node.
/// Those that cannot be opened share none.
#[must_use]
pub fn overlaps(dirs: &[&Path]) -> Vec<(usize, usize)> {
    let mounts = Mounts::read();
    let extents: Vec<Option<Extent>> = dirs
        .iter()
        .map(|dir| Extent::of(Root::open(dir).ok()?, &mounts).ok())
        .collect();
    let mut pairs = Vec::new();
    for (later, extent) in extents.iter().enumerate() {
        for (earlier, other) in extents.iter().enumerate().take(later) {
            if let (Some(extent), Some(other)) = (extent, other)
                && extent.overlaps(other)
            {
                pairs.push((earlier, later));
            }
        }
    }
    pairs
}
