//! What is in a directory on its way out: each entry is listed after everything below it. However
//! deep it goes, one directory is open at a time, and nothing recurses.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, FileType, RawDir, accessat};

use super::{Doomed, Rules, put_name, too_long};
use crate::filter::{Filter, Half, InForce};
use crate::fs::{DirId, Root, WhichDir, dir_id};
use crate::observer::Kind;
use crate::path::{PATH_LEN_MAX, RESERVED_NAME, RelPath, STAND_IN_NAME, is_reserved};
use crate::path_list::{code_of, kind_of_code};
use crate::spill::{Room, SpillList, SpillSorter};
use crate::work;

/// A directory on the way down.
struct Level {
    path: RelPath,
    id: DirId,
    which: WhichDir,
    /// The filter rules that count for what is in it.
    rules: Arc<InForce>,
    /// What has not been listed yet.
    children: Children,
    /// All that has been listed can go.
    all: bool,
    /// Something below is too deep to go. That is said of the directory that it is in: not once
    /// more of each above, of which there are many.
    is_deep: bool,
}

impl Doomed {
    /// Adds what is in the directory at `path`, which is that one if it is known `which`. Returns
    /// whether it will be empty.
    pub(crate) fn add_contents(
        &mut self,
        root: &Root,
        (path, which): (&RelPath, Option<WhichDir>),
        rules: Rules<'_>,
    ) -> bool {
        let parent = path.split().map(|(parent, _)| parent).unwrap_or_default();
        let parent = root.open_dir(&parent).and_then(dir_id);
        let mut levels = Vec::new();
        // Of the directory that the walk has come back from, or did not enter.
        let mut all = match self.enter((root, rules.filter), (path, which), parent, &mut levels) {
            Some(all) => return all,
            None => true,
        };
        let mut child = path.as_bytes().into_owned();
        while let Some(level) = levels.last_mut() {
            let Some((name, kind)) = level.children.pop() else {
                all = level.all;
                let left = levels.pop();
                if let (Some(left), Some(above)) = (left, levels.last_mut()) {
                    above.is_deep |= left.is_deep;
                    let dir = (&left.path, Some(left.which));
                    above.all &= !left.is_deep && self.leave(dir, all, false);
                }
                continue;
            };
            if is_reserved(&name) {
                // An interrupted session's goes with the directory, and is no entry. What may only
                // be taken for one stays.
                level.all &= [RESERVED_NAME, STAND_IN_NAME].contains(&&*name);
                continue;
            }
            put_name(&mut child, level.path.len(), &name);
            if level.rules.protects_below(&child, kind == Kind::Dir) {
                level.all = false;
            } else if let Some(spared) = rules.spare(&name, kind, level.id) {
                level.all = false;
                self.spared.push((level.path.join(&name), spared));
            } else if child.len() > PATH_LEN_MAX {
                let path = level.path.clone();
                self.stays(&path, &too_long());
                (level.all, level.is_deep) = (false, true);
                level.children = Children::default();
            } else if kind != Kind::Dir {
                self.below.push(&child, kind, Some(level.which), false);
                level.all &= !rules.leaves_backup(&child);
            } else {
                let (path, here) = (level.path.join(&name), Ok(level.id));
                let dir = (&path, None);
                if let Some(all) = self.enter((root, rules.filter), dir, here, &mut levels)
                    && let Some(level) = levels.last_mut()
                {
                    level.all &= self.leave(dir, all, false);
                }
            }
        }
        all
    }

    /// Goes down into a directory, if it is on the mount of the one above. If not, whether it can
    /// go.
    fn enter(
        &mut self,
        (root, filter): (&Root, &Filter),
        (path, which): (&RelPath, Option<WhichDir>),
        above: io::Result<DirId>,
        levels: &mut Vec<Level>,
    ) -> Option<bool> {
        let read = above.and_then(|above| {
            let dir = root.open_dir(path)?;
            let id = dir_id(&dir)?;
            if !id.shares_mount(above) {
                return Ok(None);
            }
            if id.mount != above.mount {
                // A subvolume: of one that is read-only nothing goes, nor would it once moved away.
                accessat(&dir, ".", Access::WRITE_OK, AtFlags::EACCESS)?;
            }
            which.map_or(Ok(()), |which| which.check_open(&dir))?;
            let rules = filter.in_dir(Half::Receiver, root, path)?;
            Ok(Some((
                id,
                WhichDir::of(&dir)?,
                rules,
                Children::read(&dir)?,
            )))
        });
        match read {
            Ok(Some((id, which, rules, children))) => {
                let (path, all) = (path.clone(), true);
                levels.push(Level {
                    path,
                    id,
                    which,
                    rules,
                    children,
                    all,
                    is_deep: false,
                });
                return None;
            }
            Ok(None) => self.mounts.push(path.clone()),
            // Gone already.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Some(true),
            Err(e) => self.stays(path, &e),
        }
        Some(false)
    }
}

fn name_key(child: &[u8]) -> (bool, &[u8]) {
    (false, child.get(1..).unwrap_or_default())
}

/// Names and kinds of a directory's entries: there may be millions.
#[derive(Default)]
struct Children {
    /// Of each its kind, and its name; in the order of their names.
    sorted: SpillList,
    /// Those that have not been taken.
    left: usize,
}

impl Children {
    fn read(dir: &OwnedFd) -> io::Result<Children> {
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut records = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut children = SpillSorter::new(Room::default(), name_key);
        let mut child = Vec::new();
        work::did(1);
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
            child.clear();
            child.push(code_of(kind_of(file_type)));
            child.extend_from_slice(name.to_bytes());
            children.push(&child);
        }
        let sorted = children.finish();
        let left = sorted.len();
        Ok(Children { sorted, left })
    }

    /// Takes the last one off.
    fn pop(&mut self) -> Option<(Vec<u8>, Kind)> {
        self.left = self.left.checked_sub(1)?;
        let child = self.sorted.with(self.left, |child| {
            let (&code, name) = child.split_first()?;
            Some((name.to_vec(), kind_of_code(code)?))
        });
        child.flatten()
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
