//! The files of groups, as a push without a name meets them: it may change anything else in their
//! directory, but none of them, since the lineage of the group would not know of it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::fstat;

use crate::fs::{DirId, hold};
use crate::generation::Tree;
use crate::options::Backup;

/// Files of groups, each by its name and by the directory that it is in: whatever path, mount or
/// symlink leads there, that is the same.
#[derive(Debug, Default)]
pub(crate) struct Members {
    of_name: HashMap<Vec<u8>, Vec<(Which, String)>>,
}

/// Device and inode of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Which(u64, u64);

/// Why an entry stays as it is.
#[derive(Debug)]
pub(crate) struct Spared {
    pub(crate) group: String,
    /// The name of what belongs to the group, if it is not the entry itself: its backup would be
    /// put there.
    pub(crate) backup: Option<Vec<u8>>,
}

impl Tree {
    /// Whether it is a group of files, among others in its directory.
    #[must_use]
    pub fn is_group(&self) -> bool {
        !self.files.is_empty()
    }
}

impl Members {
    /// Those of the groups among these trees whose directory is there.
    pub(crate) fn of(trees: &[Tree]) -> Self {
        let mut members = Members::default();
        for tree in trees.iter().filter(|tree| tree.is_group()) {
            // A path that does not lead there now leads no push there either.
            let held = hold(&tree.root).ok();
            let Some(which) = held.and_then(|dir| Which::of(dir).ok()) else {
                continue;
            };
            for file in &tree.files {
                let of_name = members.of_name.entry(file.as_bytes().to_vec());
                of_name.or_default().push((which, tree.name.clone()));
            }
        }
        members
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_name.is_empty()
    }

    /// Whether what has this name in a directory is to stay: for its own sake, or for that of what
    /// a backup of it would replace. It is asked which directory that is if a file of any group has
    /// such a name.
    pub(crate) fn spare(
        &self,
        name: &[u8],
        backup: Option<&Backup>,
        dir: impl Fn() -> io::Result<Which>,
    ) -> Option<Spared> {
        if self.is_empty() {
            return None;
        }
        let group_of = |name: &[u8]| {
            let all = self.of_name.get(name)?;
            let which = dir().ok()?;
            let found = all.iter().find(|(of_group, _)| *of_group == which);
            found.map(|(_, group)| group.clone())
        };
        let spared = |group, backup| Spared { group, backup };
        group_of(name).map(|group| spared(group, None)).or_else(|| {
            let backup = backup.filter(|backup| backup.is_beside())?;
            let name = [name, &backup.suffix].concat();
            Some(spared(group_of(&name)?, Some(name)))
        })
    }
}

impl Which {
    pub(crate) fn of(dir: impl AsFd) -> io::Result<Self> {
        let stat = fstat(dir)?;
        Ok(Which(stat.st_dev, stat.st_ino))
    }
}

impl From<DirId> for Which {
    fn from(id: DirId) -> Self {
        let (device, _) = id.mount;
        Which(device, id.ino)
    }
}
