//! Entries with several names: which they are, and what the oracle forgives of them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::deviations::escaped;
use super::generate::Case;
use crate::support::snapshot::Snapshot;

/// The paths under the target root of all source entries that have more than one name.
pub(crate) fn paths_of_linked(sources: &[String]) -> BTreeSet<Vec<u8>> {
    groups_of_linked(sources).into_iter().flatten().collect()
}

/// The backups that there may be of these paths, with the directories that lead to them; from the
/// target root, or from the directory beside it where `outside`.
pub(crate) fn backups_of(case: &Case, paths: &BTreeSet<Vec<u8>>, outside: bool) -> Vec<Vec<u8>> {
    let value = |name: &str| case.options.iter().find_map(|word| word.strip_prefix(name));
    let dir = value("--backup-dir=");
    let suffix = value("--suffix=").unwrap_or(if dir.is_some() { "" } else { "~" });
    let (is_outside, prefix) = match dir.map(|dir| dir.split_once("OUT").ok_or(dir)) {
        None => (false, String::new()),
        Some(Err(inside)) => (false, format!("{inside}/")),
        Some(Ok((_, below))) => (true, format!("{below}/").trim_start_matches('/').to_owned()),
    };
    if !case.keeps_backups() || is_outside != outside {
        return Vec::new();
    }
    let names = paths.iter().flat_map(|path| {
        let place = [prefix.as_bytes(), path].concat();
        let slashes = place.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let above: Vec<Vec<u8>> = slashes.map(|(at, _)| place[..at].to_vec()).collect();
        let above = above.into_iter().filter(|_| dir.is_some());
        above.chain([[&place[..], suffix.as_bytes()].concat()])
    });
    names.collect()
}

/// The directories of the target that are made for backups, and not like those that they keep
/// something of.
pub(crate) fn dirs_of_backups(case: &Case, before: &Snapshot) -> BTreeSet<Vec<u8>> {
    let dir = |word: &String| word.strip_prefix("--backup-dir=").map(str::to_owned);
    let dir = case.options.iter().find_map(dir).unwrap_or_default();
    let all = Path::new(&dir)
        .ancestors()
        .map(|dir| dir.as_os_str().as_bytes());
    let all = all.filter(|dir| !dir.is_empty() && !before.entries.contains_key(*dir));
    all.map(<[u8]>::to_vec).collect()
}

/// Of these paths, the ones with a directory of the target in the place of one of their group.
pub(crate) fn links_to_dirs(sources: &[String], target: &Snapshot) -> BTreeSet<Vec<u8>> {
    let is_dir = |path: &Vec<u8>| target.entries.get(path).is_some_and(|e| e.kind == 'd');
    let groups = groups_of_linked(sources).into_iter();
    groups
        .filter(|group| group.iter().any(is_dir))
        .flatten()
        .collect()
}

/// What files of the sources hold that have more than one name, the first source's first.
pub(crate) fn contents(sources: &[String]) -> BTreeMap<Vec<u8>, String> {
    let mut all = BTreeMap::new();
    for (root, prefix) in sources.iter().filter_map(|source| place(source)) {
        for (path, entry) in Snapshot::of(root).entries {
            if entry.kind == 'f' && entry.linked_to.is_some() {
                let path = [&prefix[..], &path].concat();
                all.entry(path).or_insert(entry.content);
            }
        }
    }
    all
}

/// Takes for rsync's what holds the source's content where rsync has let another member of the
/// group stay that looks like it.
pub(crate) fn forgive_contents(
    contents: &BTreeMap<Vec<u8>, String>,
    rsync: &Snapshot,
    ours: &mut Snapshot,
) {
    for (path, content) in contents {
        let both = (ours.entries.get_mut(path), rsync.entries.get(path));
        if let (Some(entry), Some(theirs)) = both
            && entry.content == *content
            && entry.size == theirs.size
        {
            entry.content.clone_from(&theirs.content);
        }
    }
}

/// Whether rsync has removed a directory in whose place it then makes no member of a link group.
pub(crate) fn is_removed(
    path: &[u8],
    linked: &BTreeSet<Vec<u8>>,
    before: &Snapshot,
    rsync: &Snapshot,
) -> bool {
    let was_dir = before.entries.get(path).is_some_and(|e| e.kind == 'd');
    linked.contains(path) && was_dir && !rsync.entries.contains_key(path)
}

/// The groups of each source, by every way that leads to a member: symlinks may be followed.
fn groups_of_linked(sources: &[String]) -> Vec<BTreeSet<Vec<u8>>> {
    let mut groups = Vec::new();
    for (path, prefix) in sources.iter().filter_map(|source| place(source)) {
        let mut by_inode: BTreeMap<(u64, u64), BTreeSet<Vec<u8>>> = BTreeMap::new();
        let walk = walkdir::WalkDir::new(path).follow_links(true);
        for entry in walk {
            // What leads nowhere, or round, is found all the same.
            let found = match &entry {
                Ok(entry) => entry.path(),
                Err(error) => error.path().unwrap(),
            };
            let below = found.strip_prefix(path).unwrap().as_os_str().as_bytes();
            let inodes = [found.symlink_metadata(), found.metadata()];
            for inode in inodes.iter().flatten() {
                if inode.nlink() > 1 && !inode.is_dir() {
                    let group = by_inode.entry((inode.dev(), inode.ino())).or_default();
                    group.insert([&prefix[..], below].concat());
                }
            }
        }
        groups.extend(by_inode.into_values());
    }
    groups
}

/// The directory that a source is, and what stands before its paths in the target.
fn place(source: &str) -> Option<(&Path, Vec<u8>)> {
    // A part of a source has its path from there on.
    let root = source.split_once("/./").map_or(source, |(root, _)| root);
    let path = Path::new(root);
    let prefix = match path.file_name() {
        Some(name) if root == source && !source.ends_with(['/', '.']) => {
            [name.as_bytes(), b"/"].concat()
        }
        _ => Vec::new(),
    };
    path.is_dir().then_some((path, prefix))
}

/// Leaves out the lines of entries with more than one name: which of them is said to carry
/// the content differs.
pub(crate) fn without_linked(paths: &BTreeSet<Vec<u8>>, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let names: BTreeSet<Vec<u8>> = paths.iter().map(|path| escaped(path)).collect();
    let is_linked = |line: &Vec<u8>| {
        let text = line.get(12..).unwrap_or_default();
        let is_name = |at: usize| names.contains(&text[..at]);
        let arrows = text.windows(4).enumerate();
        let mut ends =
            arrows.filter(|(_, window)| matches!(*window, [b' ', b'=' | b'-', b'>', b' ']));
        !line.starts_with(b"*") && (is_name(text.len()) || ends.any(|(at, _)| is_name(at)))
    };
    lines.into_iter().filter(|line| !is_linked(line)).collect()
}

/// Leaves out the lines of what took the place of directories, which come later.
pub(crate) fn without_replaced(before: &Snapshot, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let dirs = before.entries.iter().filter(|(_, entry)| entry.kind == 'd');
    // A directory's own line ends in a slash.
    without_linked(&dirs.map(|(path, _)| path.clone()).collect(), lines)
}
