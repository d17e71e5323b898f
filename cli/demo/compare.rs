//! Whether two trees are equal, found out without the engine: a plain walk over both that looks
//! at everything a mirror has to keep.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use hasync_engine::escape;

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Entries of the first tree, its root included.
    pub(super) entries: u64,
    /// Bytes of its regular files.
    pub(super) bytes: u64,
    /// One line per path that differs.
    pub(super) differences: Vec<String>,
}

/// Compares type, permissions, owner, group, modification time to the nanosecond, hard links,
/// link targets, device numbers and content of everything in `left` and `right`.
pub(super) fn compare(left: &Path, right: &Path) -> io::Result<Comparison> {
    let (left_facts, right_facts) = (walk(left)?, walk(right)?);
    let mut comparison = Comparison::default();
    for (path, facts) in &left_facts {
        comparison.entries += 1;
        comparison.bytes += facts.len;
        let difference = match right_facts.get(path) {
            None => Some("missing on the standby".to_owned()),
            Some(other) => facts.difference(other).map(str::to_owned).or_else(|| {
                let same =
                    facts.kind != "file" || same_content(&left.join(path), &right.join(path));
                (!same).then(|| "content differs".to_owned())
            }),
        };
        comparison
            .differences
            .extend(difference.map(|what| line(path, &what)));
    }
    let surplus = right_facts
        .keys()
        .filter(|path| !left_facts.contains_key(*path));
    comparison
        .differences
        .extend(surplus.map(|path| line(path, "only on the standby")));
    Ok(comparison)
}

fn line(path: &Path, what: &str) -> String {
    format!("\"{}\": {what}", escape(path.as_os_str().as_bytes()))
}

/// What a mirror keeps of an entry, apart from content.
#[derive(PartialEq)]
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
        ];
        checks.iter().find(|(same, _)| !same).map(|(_, what)| *what)
    }
}

/// Every entry below and including `root`, by its path from there.
fn walk(root: &Path) -> io::Result<BTreeMap<PathBuf, Facts>> {
    let mut found = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        let metadata = fs::symlink_metadata(&full)?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&full)? {
                open.push(path.join(entry?.file_name()));
            }
        }
        let link_target = metadata
            .is_symlink()
            .then(|| fs::read_link(&full))
            .transpose()?;
        found.insert(path, (metadata, link_target));
    }
    let mut firsts: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let facts = found.into_iter().map(|(path, (metadata, link_target))| {
        let shared = !metadata.is_dir() && metadata.nlink() > 1;
        let hard_link_of = shared.then(|| {
            let inode = (metadata.dev(), metadata.ino());
            firsts.entry(inode).or_insert_with(|| path.clone()).clone()
        });
        (path, facts(&metadata, link_target, hard_link_of))
    });
    Ok(facts.collect())
}

fn facts(
    metadata: &Metadata,
    link_target: Option<PathBuf>,
    hard_link_of: Option<PathBuf>,
) -> Facts {
    let kind = kind(metadata.file_type());
    Facts {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        len: if kind == "file" { metadata.len() } else { 0 },
        device: if kind == "device" { metadata.rdev() } else { 0 },
        link_target,
        hard_link_of,
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

/// Whether two files hold the same bytes; a file that cannot be read equals none.
fn same_content(left: &Path, right: &Path) -> bool {
    let compare = || -> io::Result<bool> {
        let (mut left, mut right) = (File::open(left)?, File::open(right)?);
        let (mut left_bytes, mut right_bytes) = (Vec::new(), Vec::new());
        const STEP_LEN: u64 = 1 << 20;
        loop {
            left_bytes.clear();
            right_bytes.clear();
            left.by_ref().take(STEP_LEN).read_to_end(&mut left_bytes)?;
            right
                .by_ref()
                .take(STEP_LEN)
                .read_to_end(&mut right_bytes)?;
            if left_bytes != right_bytes {
                return Ok(false);
            }
            if left_bytes.is_empty() {
                return Ok(true);
            }
        }
    };
    compare().unwrap_or(false)
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
        assert_eq!(
            compare(&left, &root).unwrap().differences,
            Vec::<String>::new()
        );

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
        let found = compare(&left, &root).unwrap().differences;
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
