//! Files of rules, which lie in trees that anybody may write to: none is read through a symlink of
//! anybody but root and this user, none that is no regular file, and none without end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::list::Files;
use super::terms::{Half, MAX_FILTER_LEN};
use crate::fs::{Root, only_files, open_file};
use crate::path::RelPath;

/// The longest file that is read, in bytes: comments may take as much as the rules.
const LEN_MAX: usize = 2 * MAX_FILTER_LEN;

/// Reads the file `name` of the directory at `dir`; `None` if there is nothing that counts.
pub(super) fn read_in(root: &Root, dir: &RelPath, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let dir_fd = root.open_dir(dir)?;
    let open = |flags| openat(&dir_fd, name, flags | OFlags::CLOEXEC, Mode::empty());
    // That it is read here is no access to what is mirrored.
    let opened = match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        opened => opened,
    };
    match opened {
        Ok(fd) => whole(File::from(fd)),
        Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::NXIO) => Ok(None),
        Err(Errno::LOOP) => read_at(&root.path_of(dir).join(OsStr::from_bytes(name))),
        Err(e) => Err(e.into()),
    }
}

/// Reads the file at `path`; `None` if there is nothing that counts.
pub(super) fn read_at(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open_file(path, &mut only_files) {
        Ok(file) => whole(file),
        Err(e) => match io::Error::from(e) {
            e if is_nothing(&e) => Ok(None),
            e => Err(e),
        },
    }
}

/// Whether an error means that no file of rules is there, but nothing, something else, or what
/// somebody has planted.
fn is_nothing(e: &io::Error) -> bool {
    let is_planted = e.get_ref().is_some();
    let errno = Errno::from_io_error(e);
    is_planted
        || matches!(
            errno,
            Some(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP)
        )
}

fn whole(file: File) -> io::Result<Option<Vec<u8>>> {
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut contents = Vec::new();
    file.take(LEN_MAX as u64 + 1).read_to_end(&mut contents)?;
    if contents.len() > LEN_MAX {
        return Err(io::Error::other(format!(
            "a file of rules in it is longer than {LEN_MAX} bytes"
        )));
    }
    Ok(Some(contents))
}

/// The files that a file of rules names which lies in a directory of a tree.
pub(super) struct Named<'a> {
    pub(super) half: Half,
    pub(super) root: &'a Root,
    pub(super) dir: &'a RelPath,
}

impl Files for Named<'_> {
    /// A name alone is one in the root of the transfer, a path begins in the directory. What leads
    /// out of the tree the receiver does not follow: who sends to it may have written the file.
    fn read(&mut self, name: &[u8]) -> io::Result<Vec<u8>> {
        let found = match way(self.dir, name) {
            Some(path) => match path.split() {
                Some((dir, name)) => read_in(self.root, &dir, name)?,
                None => None,
            },
            None if self.half == Half::Sender => {
                let dir = self.root.path_of(self.dir);
                read_at(&clean(&dir.join(OsStr::from_bytes(name))))?
            }
            None => return Err(io::Error::other("it lies outside of the tree")),
        };
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Where `name` leads below the root, said in the directory at `dir`; `None` if it leads out.
fn way(dir: &RelPath, name: &[u8]) -> Option<RelPath> {
    if !name.contains(&b'/') {
        return RelPath::parse(name).ok();
    }
    if name.starts_with(b"/") {
        return None;
    }
    let mut path = dir.clone();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => path = path.split()?.0,
            part => path = path.join(part),
        }
    }
    RelPath::parse(&path.as_bytes()).ok()
}

/// The same path from the root of all, without `.` and `..`: as it is written, whatever symlinks
/// are on the way.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for part in full.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_lead_from_the_root_and_paths_from_the_directory() {
        let dir = RelPath::parse(b"a/b").unwrap();
        for (name, leads_to) in [
            ("x", Some("x")),
            ("./x", Some("a/b/x")),
            ("c/x", Some("a/b/c/x")),
            ("../x", Some("a/x")),
            ("../../x", Some("x")),
            ("../../../x", None),
            ("/x", None),
            (".hasync/x", None),
            ("c//x", Some("a/b/c/x")),
        ] {
            let found = way(&dir, name.as_bytes());
            let expected = leads_to.map(|path| RelPath::parse(path.as_bytes()).unwrap());
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_they_are_written() {
        for (path, expected) in [("/a/../b/./c", "/b/c"), ("/..", "/"), ("/a//b/", "/a/b")] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
