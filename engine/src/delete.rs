//! What `--delete` removes: entries of the target that the source does not have, with everything
//! below them that the filters do not protect. Symlinks are removed, never followed; a mounted
//! file system is never entered.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, RawDir};

use crate::filter::Filter;
use crate::fs::{Root, dir_id};
use crate::observer::Kind;
use crate::path::{RESERVED_NAME, RelPath};

/// Entries to be removed, each after everything below it.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    pub(crate) entries: Vec<(RelPath, Kind)>,
    /// Directories that cannot go because something below them is protected.
    pub(crate) pinned: Vec<RelPath>,
    /// Mount points, which stay.
    pub(crate) mounts: Vec<RelPath>,
    /// Directories that could not be read.
    pub(crate) failed: Vec<(RelPath, io::Error)>,
}

impl Doomed {
    /// Adds the entry at `path` and what is below it. Returns whether all of it can go.
    pub(crate) fn add(&mut self, root: &Root, path: &RelPath, kind: Kind, filter: &Filter) -> bool {
        if kind == Kind::Dir && !self.add_contents(root, path, filter) {
            self.pinned.push(path.clone());
            return false;
        }
        self.entries.push((path.clone(), kind));
        true
    }

    /// Adds what is in the directory at `path`. Returns whether it will be empty.
    pub(crate) fn add_contents(&mut self, root: &Root, path: &RelPath, filter: &Filter) -> bool {
        let parent = path
            .split()
            .map_or_else(RelPath::root, |(parent, _)| parent);
        let read = root.open_dir(path).and_then(|dir| {
            if dir_id(&dir)?.mount != dir_id(&root.open_dir(&parent)?)?.mount {
                return Ok(None);
            }
            children(&dir).map(Some)
        });
        let mut children = match read {
            Ok(Some(children)) => children,
            Ok(None) => {
                self.mounts.push(path.clone());
                return false;
            }
            // Gone already.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return true,
            Err(e) => {
                self.failed.push((path.clone(), e));
                return false;
            }
        };
        children.sort_unstable_by(|a, b| b.cmp(a));
        let mut all = true;
        for (name, kind) in children {
            let child = path.join(&name);
            if name == RESERVED_NAME {
                // An interrupted session's, which goes with the directory; it is no entry.
                continue;
            }
            if filter.is_excluded(child.as_bytes(), kind == Kind::Dir) {
                all = false;
            } else {
                all &= self.add(root, &child, kind, filter);
            }
        }
        all
    }
}

/// Names and kinds of a directory's entries.
fn children(dir: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Kind)>> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut children = Vec::new();
    while let Some(record) = records.next() {
        let record = record?;
        let name = record.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut file_type = record.file_type();
        if file_type == FileType::Unknown {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            file_type = FileType::from_raw_mode(stat.st_mode);
        }
        children.push((name.to_bytes().to_vec(), kind_of(file_type)));
    }
    Ok(children)
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice | FileType::BlockDevice => Kind::Device,
        FileType::Fifo | FileType::Socket => Kind::Special,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    }
}
