//! What is in a directory on its way out: each entry is listed after everything below it. However
//! deep it goes, one directory is open at a time, and nothing recurses.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;

use super::{Doomed, put_name};
use crate::filter::Filter;
use crate::fs::{DirId, Root, dir_id};
use crate::observer::Kind;
use crate::path::{PATH_LEN_MAX, RESERVED_NAME, RelPath};
use crate::path_list::{code_of, kind_of_code};

/// A directory on the way down.
struct Level {
    path: RelPath,
    id: DirId,
    /// What has not been listed yet.
    children: Children,
    /// All that has been listed can go.
    all: bool,
}

impl Doomed {
    /// Adds what is in the directory at `path`. Returns whether it will be empty.
    pub(crate) fn add_contents(&mut self, root: &Root, path: &RelPath, filter: &Filter) -> bool {
        let parent = path.split().map(|(parent, _)| parent).unwrap_or_default();
        let parent = root.open_dir(&parent).and_then(dir_id);
        let mut levels = Vec::new();
        // Of the directory that the walk has come back from, or did not enter.
        let mut all = match self.enter(root, path, parent, &mut levels) {
            Some(all) => return all,
            None => true,
        };
        let mut child = path.as_bytes().into_owned();
        while let Some(level) = levels.last_mut() {
            let Some((name, kind)) = level.children.pop() else {
                all = level.all;
                let left = levels.pop();
                if let (Some(left), Some(above)) = (left, levels.last_mut()) {
                    above.all &= self.leave(&left.path, all, false);
                }
                continue;
            };
            if name == RESERVED_NAME {
                // An interrupted session's, which goes with the directory; it is no entry.
                continue;
            }
            put_name(&mut child, level.path.len(), name);
            if filter.is_excluded(&child, kind == Kind::Dir) {
                level.all = false;
            } else if child.len() > PATH_LEN_MAX {
                let e = Errno::NAMETOOLONG.into();
                self.failed.push((level.path.clone(), e));
                (level.all, level.children) = (false, Children::default());
            } else if kind != Kind::Dir {
                self.below.push(&child, kind, false);
            } else {
                let (path, here) = (level.path.join(name), Ok(level.id));
                if let Some(all) = self.enter(root, &path, here, &mut levels)
                    && let Some(level) = levels.last_mut()
                {
                    level.all &= self.leave(&path, all, false);
                }
            }
        }
        all
    }

    /// Goes down into a directory, if it is on the file system of the one above. If not, whether it
    /// can go.
    fn enter(
        &mut self,
        root: &Root,
        path: &RelPath,
        above: io::Result<DirId>,
        levels: &mut Vec<Level>,
    ) -> Option<bool> {
        let read = above.and_then(|above| {
            let dir = root.open_dir(path)?;
            let id = dir_id(&dir)?;
            let is_below = id.mount == above.mount;
            Ok(is_below
                .then(|| Children::read(&dir))
                .transpose()?
                .map(|children| (id, children)))
        });
        match read {
            Ok(Some((id, children))) => {
                let (path, all) = (path.clone(), true);
                levels.push(Level {
                    path,
                    id,
                    children,
                    all,
                });
                return None;
            }
            Ok(None) => self.mounts.push(path.clone()),
            // Gone already.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Some(true),
            Err(e) => self.failed.push((path.clone(), e)),
        }
        Some(false)
    }
}

/// Names and kinds of a directory's entries, in one buffer: there may be a million.
#[derive(Default)]
struct Children {
    /// Of each in turn: the length of its name, its name, its kind.
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Children {
    fn read(dir: &OwnedFd) -> io::Result<Children> {
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut children = Children::default();
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
            children.push(name.to_bytes(), kind_of(file_type));
        }
        children.sort();
        Ok(children)
    }

    fn push(&mut self, name: &[u8], kind: Kind) {
        self.starts.push(self.bytes.len());
        // The kernel's names are 255 bytes long at most.
        self.bytes.push(name.len() as u8);
        self.bytes.extend_from_slice(name);
        self.bytes.push(code_of(kind));
    }

    fn get(&self, start: usize) -> Option<(&[u8], Kind)> {
        let (&len, rest) = self.bytes.get(start..)?.split_first()?;
        let (name, rest) = rest.split_at_checked(len.into())?;
        Some((name, kind_of_code(*rest.first()?)?))
    }

    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        let name = |start| self.get(start).map(|(name, _)| name);
        starts.sort_unstable_by(|&a, &b| name(a).cmp(&name(b)));
        self.starts = starts;
    }

    /// Takes the last one off.
    fn pop(&mut self) -> Option<(&[u8], Kind)> {
        let start = self.starts.pop()?;
        self.get(start)
    }
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
