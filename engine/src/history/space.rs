//! How much space there is where a tree is kept, and how much is taken: what a plan compares with
//! what will come.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{stat, statvfs};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

/// A file system's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes that can still be used by who receives there.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// The same for all that is on one file system.
    pub device: u64,
}

impl Space {
    /// Of the file system that `path` is on, or the closest that exists above it.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let path = path.ancestors().find(|path| path.exists())?;
        let space = statvfs(path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Some(Space {
            free_bytes: bytes(if geteuid().is_root() {
                space.f_bfree
            } else {
                space.f_bavail
            }),
            total_bytes: bytes(space.f_blocks),
            device: stat(path).ok()?.st_dev,
        })
    }
}

/// Bytes of everything below a directory of this user's alone; what cannot be read, or goes
/// meanwhile, is not counted.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(dir).min_depth(1).into_iter();
    let found = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    found.map(|metadata| metadata.blocks() * 512).sum()
}
