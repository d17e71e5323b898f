//! Small trees with some of everything, and what is in a tree.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::chance::Chance;

const NAMES: [&str; 9] = ["a", "b", "c", "dd", "e.log", "f-1", "f-2", "g", "z"];

/// A file in the top that is long enough to be compared by an exchange.
const LONG: &str = "long";

/// Entries of a directory, and levels, at most.
const ENTRIES_MAX: usize = 7;
const DEPTH_MAX: usize = 3;

/// Lengths of files: what travels in packs, by itself, by a signature and by an exchange.
const LENS: [usize; 14] = [
    0, 1, 5, 600, 4_000, 5_000, 40_000, 40_000, 131_072, 131_073, 300_000, 300_000, 1_100_000,
    3_000_000,
];

/// One entry, as far as a push is to make it equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    kind: char,
    mode: u32,
    /// Not of symbolic links.
    mtime_ns: i128,
    pub(super) content: blake3::Hash,
    pub(super) len: u64,
    /// The first path of the same inode.
    first: PathBuf,
}

/// All below a directory but hasync's own, by path.
pub(super) type Tree = BTreeMap<PathBuf, Seen>;

pub(super) fn seen(top: &Path, with_links: bool) -> Tree {
    let mut tree = Tree::new();
    let mut firsts = BTreeMap::new();
    let walk = walkdir::WalkDir::new(top).sort_by_file_name();
    for entry in walk.into_iter().filter_entry(|entry| !is_own(entry)) {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let path = entry.path().strip_prefix(top).unwrap().to_owned();
        let (kind, content) = if meta.is_dir() {
            ('d', Vec::new())
        } else if meta.is_symlink() {
            let to = fs::read_link(entry.path()).unwrap();
            ('l', to.into_os_string().into_encoded_bytes())
        } else {
            ('f', fs::read(entry.path()).unwrap())
        };
        let first = firsts.entry((meta.dev(), meta.ino()));
        let first = first.or_insert_with(|| path.clone()).clone();
        let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let seen = Seen {
            kind,
            mode: meta.mode(),
            mtime_ns: if kind == 'l' { 0 } else { mtime_ns },
            content: blake3::hash(&content),
            len: content.len() as u64,
            first: if with_links && kind == 'f' {
                first
            } else {
                path.clone()
            },
        };
        tree.insert(path, seen);
    }
    tree
}

fn is_own(entry: &walkdir::DirEntry) -> bool {
    entry.file_name() == ".hasync"
}

/// Fills an empty directory.
pub(super) fn make(top: &Path, chance: &mut Chance) {
    let mut files = Vec::new();
    fill(top, 0, &mut files, chance);
    if chance.one_in(3) {
        let long = top.join(LONG);
        fs::write(&long, content(2_000_000, chance)).unwrap();
        touch(&long, chance);
    }
}

fn fill(dir: &Path, depth: usize, files: &mut Vec<PathBuf>, chance: &mut Chance) {
    for _ in 0..chance.below(ENTRIES_MAX + 1) {
        let path = dir.join(chance.of(&NAMES));
        if path.symlink_metadata().is_err() {
            put(&path, depth, files, chance);
        }
    }
    touch(dir, chance);
}

fn put(path: &Path, depth: usize, files: &mut Vec<PathBuf>, chance: &mut Chance) {
    match chance.below(10) {
        0..=2 if depth < DEPTH_MAX => {
            fs::create_dir(path).unwrap();
            fill(path, depth + 1, files, chance);
        }
        3 => symlink(chance.of(&NAMES), path).unwrap(),
        4 | 5 if !files.is_empty() => fs::hard_link(chance.of(files), path).unwrap(),
        _ => {
            let len = chance.of(&LENS);
            let content = content(len, chance);
            fs::write(path, content).unwrap();
            touch(path, chance);
            files.push(path.to_owned());
        }
    }
}

/// Noise, text or zeros.
fn content(len: usize, chance: &mut Chance) -> Vec<u8> {
    let mut content = vec![0; len];
    match chance.below(3) {
        0 => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&chance.next().to_le_bytes());
            hasher.finalize_xof().fill(&mut content);
        }
        1 => {
            let word = format!("{} of some lines of text\n", chance.next() % 1000);
            let bytes = word.bytes().cycle();
            content
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, byte)| *to = byte);
        }
        _ => {}
    }
    content
}

/// Gives a file or directory some mode and time.
fn touch(path: &Path, chance: &mut Chance) {
    let mode = chance.of(&[0o755, 0o700, 0o644, 0o600]) | if path.is_dir() { 0o700 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let time = Duration::new(
        1_700_000_000 + chance.next() % 1000,
        chance.below(1000) as u32,
    );
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + time).unwrap();
}

/// Makes a tree differ from what it was.
pub(super) fn change(top: &Path, chance: &mut Chance) {
    let walk = walkdir::WalkDir::new(top).min_depth(1).sort_by_file_name();
    let paths: Vec<_> = walk.into_iter().map(|e| e.unwrap().into_path()).collect();
    let of_ten = chance.below(10);
    let long = top.join(LONG);
    if long.exists() {
        edit(&long, chance);
    }
    for path in paths {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if chance.below(10) >= of_ten {
            continue;
        }
        match chance.below(6) {
            0 => remove(&path),
            1 => {
                remove(&path);
                put(&path, DEPTH_MAX - 1, &mut Vec::new(), chance);
            }
            2 if meta.is_dir() => fill(&path, DEPTH_MAX - 1, &mut Vec::new(), chance),
            2..=4 if meta.is_file() => edit(&path, chance),
            _ if !meta.is_symlink() => touch(&path, chance),
            _ => {}
        }
    }
}

/// Changes one file somewhere in a tree, if there is any.
pub(super) fn meddle(top: &Path, chance: &mut Chance) {
    let walk = walkdir::WalkDir::new(top).sort_by_file_name();
    // Nobody else can enter what is staged.
    let files = walk.into_iter().filter_entry(|entry| !is_own(entry));
    let files = files.flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    let files: Vec<_> = files.map(walkdir::DirEntry::into_path).collect();
    if !files.is_empty() {
        edit(&chance.of(&files), chance);
    }
}

/// Changes every file of a tree, none of them in its length.
pub(super) fn spoil(top: &Path) {
    let walk = walkdir::WalkDir::new(top).into_iter();
    let files = walk.filter_entry(|entry| !is_own(entry)).flatten();
    for entry in files.filter(|entry| entry.file_type().is_file()) {
        let mut bytes = fs::read(entry.path()).unwrap();
        bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0xAA);
        fs::write(entry.path(), bytes).unwrap();
    }
}

fn remove(path: &Path) {
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// Changes, shortens or lengthens a file.
fn edit(path: &Path, chance: &mut Chance) {
    let mut bytes = fs::read(path).unwrap();
    match chance.below(4) {
        0 => bytes.truncate(chance.below(bytes.len() + 1)),
        1 => {
            let len = chance.of(&[1, 3_000, 200_000]);
            bytes.extend(content(len, chance));
        }
        2 => {
            let at = chance.below(bytes.len() + 1);
            bytes.splice(at..at, *b"inserted");
        }
        _ => {
            for _ in 0..3 {
                let at = chance.below(bytes.len().max(1));
                bytes
                    .iter_mut()
                    .skip(at)
                    .take(4_000)
                    .for_each(|byte| *byte ^= 0x55);
            }
        }
    }
    fs::write(path, bytes).unwrap();
    touch(path, chance);
}
