//! Which names of a tree are the first of their inodes, in canonical order. That is the path by
//! which both halves tell hard links of one file.

use crate::path::RelPath;
use crate::spill::{SpillMap, put_number};

/// The first path of each inode with several names that has been seen.
#[derive(Debug, Default)]
pub(crate) struct FirstNames {
    /// By the target's file system, where that is told apart, device and inode.
    paths: SpillMap,
}

impl FirstNames {
    /// The first path of an inode. `None` if that is this one, from now on at least.
    pub(crate) fn other_than(&mut self, path: &RelPath, inode: [u64; 3]) -> Option<Vec<u8>> {
        let mut key = Vec::with_capacity(11);
        inode
            .iter()
            .rev()
            .for_each(|part| put_number(&mut key, *part));
        let path = path.as_bytes();
        let first = self.paths.insert(&key, &path);
        first.filter(|first| **first != *path)
    }
}
