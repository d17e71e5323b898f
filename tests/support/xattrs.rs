//! ACLs and extended attributes of a tree, as the kernel takes and gives them.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// Gives an entry an attribute.
#[track_caller]
pub(crate) fn give(path: &Path, name: &[u8], value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// Of each path its names, and what is under each.
pub(crate) type OfTree = BTreeMap<Vec<u8>, BTreeMap<String, String>>;

/// What every entry of a tree has, by name; long values by their sum.
pub(crate) fn of(root: &Path) -> OfTree {
    let mut all = OfTree::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let mut names = vec![0; 65_536];
        let len = match llistxattr(entry.path(), &mut names[..]) {
            // Its file system has none.
            Err(Errno::OPNOTSUPP) => 0,
            len => len.unwrap(),
        };
        let mut found = BTreeMap::new();
        for name in names[..len]
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
        {
            let mut value = vec![0; 65_536];
            let len = lgetxattr(entry.path(), name, &mut value[..]).unwrap();
            let shown = match len {
                _ if name.starts_with(b"system.") => acl_shown(&value[..len]),
                0..=64 => value[..len].escape_ascii().to_string(),
                _ => format!("{len} bytes, {}", blake3::hash(&value[..len])),
            };
            found.insert(name.escape_ascii().to_string(), shown);
        }
        let path = entry.path().strip_prefix(root).unwrap();
        all.insert(path.as_os_str().as_encoded_bytes().to_vec(), found);
    }
    all
}

/// The entries of an ACL, one after another.
fn acl_shown(value: &[u8]) -> String {
    let entries = value[4..].chunks_exact(8).map(|entry| {
        let [tag, perms] = [0, 2].map(|at| u16::from_le_bytes([entry[at], entry[at + 1]]));
        let id = i32::from_le_bytes(entry[4..].try_into().unwrap());
        format!("{tag}.{id}:{perms}")
    });
    entries.collect::<Vec<_>>().join(" ")
}
