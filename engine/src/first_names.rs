//! Which names of a tree are the first of their inodes, in canonical order. That is the path by
//! which both halves tell hard links of one file.

use crate::path::RelPath;
use crate::spill::SpillMap;

/// The first path of each inode with several names that has been seen.
#[derive(Debug, Default)]
pub(crate) struct FirstNames {
    /// By device and inode.
    paths: SpillMap,
}

impl FirstNames {
    /// The first path of an inode. `None` if that is this one, from now on at least.
    pub(crate) fn other_than(&mut self, path: &RelPath, dev: u64, ino: u64) -> Option<Vec<u8>> {
        let mut inode = [0; 16];
        let (for_dev, for_ino) = inode.split_at_mut(8);
        for_dev.copy_from_slice(&dev.to_le_bytes());
        for_ino.copy_from_slice(&ino.to_le_bytes());
        let path = path.as_bytes();
        let first = self.paths.insert(&inode, &path);
        first.filter(|first| **first != *path)
    }
}
