//! Which names of a tree are the first of their inodes, in canonical order. That is the path by
//! which both halves tell hard links of one file.

use crate::path::RelPath;
use crate::spill::{SpillMap, put_number};

/// The first path of each inode with several names that has been seen.
#[derive(Debug, Default)]
pub(crate) struct FirstNames {
    /// By device and inode.
    paths: SpillMap,
}

impl FirstNames {
    /// The first path of an inode. `None` if that is this one, from now on at least.
    pub(crate) fn other_than(&mut self, path: &RelPath, dev: u64, ino: u64) -> Option<Vec<u8>> {
        let mut inode = Vec::with_capacity(10);
        put_number(&mut inode, ino);
        put_number(&mut inode, dev);
        let path = path.as_bytes();
        let first = self.paths.insert(&inode, &path);
        first.filter(|first| **first != *path)
    }
}
