//! What a tree looks like, found out without the engine: a plain walk that looks at everything a
//! mirror has to keep, and at all content. Two trees are equal if their pictures are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, FileType, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hasync_engine::escape;

/// What hasync itself keeps beside the data.
const OWN_DIR: &str = ".hasync";
const STEP_LEN: usize = 1 << 20;

/// Every entry below and including a root, by its path from there.
#[derive(Debug)]
pub(super) struct Picture(BTreeMap<PathBuf, Facts>);

impl Picture {
    /// Type, permissions, owner, group, modification time to the nanosecond, hard links, link
    /// targets, device numbers and content of everything in `root`.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut found = BTreeMap::new();
        let mut open = vec![PathBuf::new()];
        while let Some(path) = open.pop() {
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full)?;
            if metadata.is_dir() {
                for entry in fs::read_dir(&full)? {
                    let name = entry?.file_name();
                    if name != OWN_DIR {
                        open.push(path.join(name));
                    }
                }
            }
            found.insert(path, metadata);
        }
        let mut firsts: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut picture = BTreeMap::new();
        for (path, metadata) in found {
            let shared = !metadata.is_dir() && metadata.nlink() > 1;
            let hard_link_of = shared.then(|| {
                let inode = (metadata.dev(), metadata.ino());
                firsts.entry(inode).or_insert_with(|| path.clone()).clone()
            });
            let facts = facts(&root.join(&path), &metadata, hard_link_of)?;
            picture.insert(path, facts);
        }
        Ok(Picture(picture))
    }

    /// Entries, the root included.
    pub(super) fn entries(&self) -> u64 {
        self.0.len() as u64
    }

    /// Bytes of its regular files.
    pub(super) fn bytes(&self) -> u64 {
        self.0.values().map(|facts| facts.len).sum()
    }

    /// One line for each path in which the other tree is another one.
    pub(super) fn differences(&self, other: &Picture) -> Vec<String> {
        let line = |path: &Path, what: &str| {
            format!("\"{}\": {what}", escape(path.as_os_str().as_bytes()))
        };
        let mut lines = Vec::new();
        for (path, facts) in &self.0 {
            let difference = match other.0.get(path) {
                None => Some("missing on the standby"),
                Some(other) => facts.difference(other),
            };
            lines.extend(difference.map(|what| line(path, what)));
        }
        let surplus = other.0.keys().filter(|path| !self.0.contains_key(*path));
        lines.extend(surplus.map(|path| line(path, "only on the standby")));
        lines
    }
}

/// What a mirror keeps of an entry.
#[derive(Debug, PartialEq)]
struct Facts {
    kind: &'static str,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, i64),
    len: u64,
    device: u64,
    link_target: Option<PathBuf>,
    /// The first path of the same inode, in the order of paths.
    hard_link_of: Option<PathBuf>,
    /// A sum of the content; none if it cannot be read.
    content: Option<u64>,
}

impl Facts {
    fn difference(&self, other: &Facts) -> Option<&'static str> {
        let checks = [
            (self.kind == other.kind, "type differs"),
            (self.mode == other.mode, "permissions differ"),
            (self.uid == other.uid, "owner differs"),
            (self.gid == other.gid, "group differs"),
            (self.mtime == other.mtime, "modification time differs"),
            (self.len == other.len, "length differs"),
            (self.device == other.device, "device number differs"),
            (self.link_target == other.link_target, "link target differs"),
            (self.hard_link_of == other.hard_link_of, "hard links differ"),
            (self.content == other.content, "content differs"),
        ];
        checks.iter().find(|(same, _)| !same).map(|(_, what)| *what)
    }
}

fn facts(path: &Path, metadata: &Metadata, hard_link_of: Option<PathBuf>) -> io::Result<Facts> {
    let kind = kind(metadata.file_type());
    let is_file = kind == "file";
    Ok(Facts {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        len: if is_file { metadata.len() } else { 0 },
        device: if kind == "device" { metadata.rdev() } else { 0 },
        link_target: match metadata.is_symlink() {
            true => Some(fs::read_link(path)?),
            false => None,
        },
        hard_link_of,
        content: if is_file { sum(path).ok() } else { None },
    })
}

fn sum(path: &Path) -> io::Result<u64> {
    let (mut file, mut hasher) = (File::open(path)?, DefaultHasher::new());
    let mut piece = vec![0; STEP_LEN];
    loop {
        let len = file.read(&mut piece)?;
        match piece.get(..len) {
            Some([]) | None => return Ok(hasher.finish()),
            Some(bytes) => hasher.write(bytes),
        }
    }
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_file() {
        "file"
    } else if file_type.is_dir() {
        "directory"
    } else if file_type.is_symlink() {
        "symlink"
    } else if file_type.is_fifo() {
        "fifo"
    } else if file_type.is_socket() {
        "socket"
    } else {
        "device"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::demo::tree;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn two_builds_are_equal_and_every_kind_of_difference_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (left, root) = (dir.path().join("l"), dir.path().join("r"));
        for side in [&left, &root] {
            fs::create_dir(side).unwrap();
            tree::build(side).unwrap();
        }
        let compare = || {
            let (left, root) = (Picture::of(&left).unwrap(), Picture::of(&root).unwrap());
            left.differences(&root)
        };
        fs::create_dir(root.join(OWN_DIR)).unwrap();
        let now = fs::metadata(&left).unwrap().modified().unwrap();
        File::open(&root).unwrap().set_modified(now).unwrap();
        assert_eq!(compare(), Vec::<String>::new());

        fs::remove_file(root.join("images/000.jpg")).unwrap();
        fs::set_permissions(root.join("odd/secret"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(root.join("links/dangling")).unwrap();
        symlink("/elsewhere", root.join("links/dangling")).unwrap();
        let page = root.join("html/00/page-099.html");
        let (mut bytes, times) = (fs::read(&page).unwrap(), fs::metadata(&page).unwrap());
        bytes[7] ^= 1;
        fs::write(&page, bytes).unwrap();
        let file = File::options().write(true).open(&page).unwrap();
        file.set_modified(times.modified().unwrap()).unwrap();
        fs::write(root.join("odd/surplus"), "x").unwrap();
        fs::remove_file(root.join("links/hard-05")).unwrap();
        fs::copy(
            root.join("html/05/page-005.html"),
            root.join("links/hard-05"),
        )
        .unwrap();
        let found = compare();
        let expected = [
            "\"html/00/page-099.html\": content differs",
            "\"images/000.jpg\": missing on the standby",
            "\"odd/secret\": permissions differ",
            "\"odd/surplus\": only on the standby",
            "\"html/05/page-005.html\": hard links differ",
        ];
        for line in expected {
            assert!(
                found.iter().any(|found| found == line),
                "{line} not in {found:#?}"
            );
        }
        assert!(
            found
                .iter()
                .any(|line| line.starts_with("\"links/dangling\": ")),
            "{found:#?}"
        );
    }
}
