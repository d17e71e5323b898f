//! What `--delete` removes: entries of the target that the source does not have, with everything
//! below them that the filters do not protect. Symlinks are removed, never followed; a mounted
//! file system is never entered.

mod contents;

use std::io;
use std::iter::Peekable;
use std::ops::Range;
use std::slice;

use rustix::io::Errno;

use crate::entries::EntryList;
use crate::error::describe;
use crate::filter::Filter;
use crate::fs::{DirId, Root, WhichDir};
use crate::members::{Members, Spared};
use crate::observer::Kind;
use crate::options::Backup;
use crate::path::{PATH_LEN_MAX, RelPath};
use crate::path_list::{Mark, PathList, PathWalk};
use crate::spill::SpillValues;
use crate::wire::DirIndex;

/// What is to be removed of directories of the source, held until all have been compared.
#[derive(Debug, Default)]
pub(crate) struct Extraneous {
    entries: PathList,
    /// What was found in each directory. When it was compared depends on what else was on its way.
    dirs: Vec<(DirIndex, Mark, Mark)>,
    /// Directories with entries whose paths are too long to be told: those stay.
    too_deep: SpillValues<RelPath>,
}

impl Extraneous {
    /// Adds what a directory, in which nothing else is extraneous, holds on top: first the
    /// directories `others`, then the entries of `local` by their names, the last one first.
    pub(crate) fn add(
        &mut self,
        (dir, path): (DirIndex, &RelPath),
        others: &[(RelPath, WhichDir)],
        local: &EntryList,
    ) {
        let from = self.entries.mark();
        for (path, which) in others {
            let path = path.as_bytes();
            self.entries.push(&path, Kind::Dir, Some(*which), false);
        }
        let mut child = path.as_bytes().into_owned();
        let mut goes_deeper = false;
        for (name, kind, which) in local.names_down() {
            put_name(&mut child, path.len(), &name);
            if child.len() > PATH_LEN_MAX {
                goes_deeper = true;
            } else {
                self.entries.push(&child, kind, which, false);
            }
        }
        if goes_deeper {
            // What is in memory can be encoded.
            let _ = self.too_deep.push(path);
        }
        let to = self.entries.mark();
        if from != to {
            self.dirs.push((dir, from, to));
        }
    }

    /// All of it with everything below.
    pub(crate) fn doom(mut self, root: &Root, rules: Rules<'_>) -> Doomed {
        self.dirs.sort_unstable();
        let mut doomed = Doomed::default();
        for path in self.too_deep.iter().map_while(Result::ok) {
            doomed.stays(&path, &too_long());
        }
        let mut walk = self.walk();
        while let Some(kind) = walk.advance() {
            if kind == Kind::Dir {
                doomed.add_dir(root, (&RelPath::of(walk.path()), walk.walk.which()), rules);
            } else {
                doomed.others += 1;
            }
        }
        Doomed {
            extraneous: self,
            ..doomed
        }
    }

    fn walk(&self) -> ExtraneousWalk<'_> {
        ExtraneousWalk {
            extraneous: self,
            dirs: self.dirs.iter(),
            walk: self.entries.walk_between(0, 0),
        }
    }
}

/// A walk over what is extraneous, directory by directory.
struct ExtraneousWalk<'a> {
    extraneous: &'a Extraneous,
    dirs: slice::Iter<'a, (DirIndex, Mark, Mark)>,
    walk: PathWalk<'a>,
}

impl ExtraneousWalk<'_> {
    fn advance(&mut self) -> Option<Kind> {
        loop {
            if let Some((kind, _)) = self.walk.advance() {
                return Some(kind);
            }
            let &(_, from, to) = self.dirs.next()?;
            self.walk = self.extraneous.entries.walk_between(from, to);
        }
    }

    fn path(&self) -> &[u8] {
        self.walk.path()
    }
}

/// By what it is known what stays.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// It protects entries.
    pub(crate) filter: &'a Filter,
    /// Files leave backups in their directories, which therefore stay.
    pub(crate) backup: Option<&'a Backup>,
    /// What belongs to groups stays.
    pub(crate) members: &'a Members,
}

impl Rules<'_> {
    /// Whether an entry of a directory stays for the sake of a group.
    fn spare(&self, name: &[u8], kind: Kind, dir: DirId) -> Option<Spared> {
        let backup = self.backup.filter(|backup| !backup.is_one(name));
        let backup = backup.filter(|_| kind != Kind::Dir);
        self.members.spare(name, backup, || Ok(dir.into()))
    }

    /// Whether the directory of what has this path stays when that goes.
    fn leaves_backup(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.backup
            .is_some_and(|backup| backup.is_beside() && !backup.is_one(name))
    }
}

/// Entries to be removed.
#[derive(Debug, Default)]
pub(crate) struct Doomed {
    extraneous: Extraneous,
    /// How many of these are no directories.
    others: u64,
    /// Of each directory that is extraneous in turn: each entry after everything below it, marked
    /// if it is that directory itself, which goes as one then. In the end, what else has to go.
    below: PathList,
    /// Numbers of those below that go by themselves, for each directory of which a part stays.
    pieces: Vec<Range<u64>>,
    /// Directories that cannot go because something below them is protected.
    pub(crate) pinned: PathList,
    /// Mount points, which stay.
    pub(crate) mounts: Vec<RelPath>,
    /// What stays for the sake of groups.
    pub(crate) spared: Vec<(RelPath, Spared)>,
    /// Directories that could not be read, and why: there may be millions.
    pub(crate) failed: SpillValues<(RelPath, String)>,
}

/// A walk over what is to be removed, each entry after everything below it.
pub(crate) struct DoomedWalk<'a> {
    extraneous: ExtraneousWalk<'a>,
    below: PathWalk<'a>,
    /// Of the entry that comes next among those below.
    number: u64,
    pieces: Peekable<slice::Iter<'a, Range<u64>>>,
    at: At,
    /// The entry that the walk is at is one of those below.
    is_below: bool,
}

/// Where the walk is.
#[derive(Clone, Copy)]
enum At {
    Extraneous,
    /// In a directory that goes as one.
    Whole,
    /// In one of which a part stays; what goes ends before this number.
    Pieces(u64),
    /// After all that is extraneous.
    End,
}

impl DoomedWalk<'_> {
    /// Goes on to the next entry: its kind, and whether it has to be removed by itself.
    pub(crate) fn advance(&mut self) -> Option<(Kind, bool)> {
        loop {
            match self.at {
                At::Extraneous => match self.extraneous.advance() {
                    None => self.at = At::End,
                    Some(Kind::Dir) => {
                        let number = self.number;
                        let pieces = self.pieces.next_if(|pieces| pieces.start == number);
                        self.at = pieces.map_or(At::Whole, |pieces| At::Pieces(pieces.end));
                    }
                    Some(kind) => {
                        self.is_below = false;
                        return Some((kind, true));
                    }
                },
                At::Pieces(end) if end <= self.number => self.at = At::Extraneous,
                At::Whole | At::Pieces(_) | At::End => break,
            }
        }
        let (kind, marked) = self.below.advance()?;
        self.number += 1;
        self.is_below = true;
        if marked {
            self.at = At::Extraneous;
        }
        Some((kind, marked || matches!(self.at, At::Pieces(_))))
    }

    /// Which directory the walk is at, or which one holds what it is at, if that is known.
    pub(crate) fn which(&self) -> Option<WhichDir> {
        if self.is_below {
            self.below.which()
        } else {
            self.extraneous.walk.which()
        }
    }

    /// The path that the walk is at.
    pub(crate) fn path(&self) -> &[u8] {
        if self.is_below {
            self.below.path()
        } else {
            self.extraneous.path()
        }
    }
}

impl Doomed {
    /// How many entries are to be removed.
    pub(crate) fn len(&self) -> u64 {
        self.others + self.below.len()
    }

    /// How many of these are in directories that go.
    pub(crate) fn below_len(&self) -> u64 {
        self.below.len()
    }

    /// All entries that are to be removed, in the order in which that is told.
    pub(crate) fn walk(&self) -> DoomedWalk<'_> {
        DoomedWalk {
            extraneous: self.extraneous.walk(),
            below: self.below.walk(),
            number: 0,
            pieces: self.pieces.iter().peekable(),
            at: At::Extraneous,
            is_below: false,
        }
    }

    /// Adds a directory that is extraneous, with what is below it.
    fn add_dir(&mut self, root: &Root, dir: (&RelPath, Option<WhichDir>), rules: Rules<'_>) {
        let before = self.below.len();
        let all = self.add_contents(root, dir, rules);
        if !self.leave(dir, all, true) {
            self.pieces.push(before..self.below.len());
        }
    }

    /// Nothing below that directory can go.
    fn stays(&mut self, path: &RelPath, why: &io::Error) {
        // What is in memory can be encoded.
        let _ = self.failed.push(&(path.clone(), describe(why)));
    }

    /// Adds a directory after what is in it, if all of that goes; returns whether it does.
    fn leave(
        &mut self,
        (path, which): (&RelPath, Option<WhichDir>),
        all: bool,
        as_one: bool,
    ) -> bool {
        if all {
            self.below.push(&path.as_bytes(), Kind::Dir, which, as_one);
        } else {
            self.pinned.push(&path.as_bytes(), Kind::Dir, which, false);
        }
        all
    }
}

/// Why an entry stays whose path has more than [`PATH_LEN_MAX`] bytes.
fn too_long() -> io::Error {
    Errno::NAMETOOLONG.into()
}

/// Replaces what goes on after the directory in `path`, which is `dir_len` bytes long.
fn put_name(path: &mut Vec<u8>, dir_len: usize, name: &[u8]) {
    path.truncate(dir_len);
    if dir_len > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::entry::{Body, Entry};
    use crate::filter::FilterRule;
    use crate::fs::Listed;

    fn path(path: &str) -> RelPath {
        RelPath::parse(path.as_bytes()).unwrap()
    }

    fn found(names: &[&str]) -> EntryList {
        let entry = |name: &&str| {
            let mut entry = Listed::blank().entry;
            entry.name = name.trim_end_matches('/').into();
            entry.body = match name.ends_with('/') {
                true => Body::Dir,
                false => Body::Fifo,
            };
            entry
        };
        let mut entries: Vec<Entry> = names.iter().map(entry).collect();
        entries.sort_by(Entry::canonical_cmp);
        entries.into_iter().collect()
    }

    /// What is told of a tree in whose directories these are extraneous, and what is pinned. A star
    /// is at what has to be removed by itself.
    fn check(dirs: &[(&str, &[&str])], excluded: &[&str], told: &[&str], pinned: &[&str]) {
        let temp = tempfile::tempdir().unwrap();
        for dir in ["a/b/c", "a/empty", "d/e", "d/f", "g"] {
            std::fs::create_dir_all(temp.path().join(dir)).unwrap();
        }
        for file in [
            "a/1", "a/b/c/3", "d/4", "d/e/5", "d/e/keep", "d/f/6", "g/7", "h",
        ] {
            std::fs::write(temp.path().join(file), b"").unwrap();
        }
        let rules = excluded
            .iter()
            .map(|rule| FilterRule::exclude(rule.as_bytes()));
        let filter = Filter::from_rules(rules.map(Result::unwrap).collect()).unwrap();
        let root = Root::open(temp.path()).unwrap();
        let mut extraneous = Extraneous::default();
        // They may be judged in any order.
        for (index, (dir, names)) in dirs.iter().enumerate().rev() {
            extraneous.add((index as DirIndex, &path(dir)), &[], &found(names));
        }
        let rules = Rules {
            filter: &filter,
            backup: None,
            members: &Members::default(),
        };
        let mut doomed = extraneous.doom(&root, rules);
        doomed.add_contents(&root, (&path("g"), None), rules);
        let mut all = Vec::new();
        let mut walk = doomed.walk();
        while let Some((kind, by_itself)) = walk.advance() {
            let shown = std::str::from_utf8(walk.path()).unwrap();
            let slash = if kind == Kind::Dir { "/" } else { "" };
            let star = if by_itself { "*" } else { "" };
            all.push(format!("{shown}{slash}{star}"));
        }
        assert_eq!(all, told);
        assert_eq!(doomed.len(), told.len() as u64);
        let (mut walk, mut found) = (doomed.pinned.walk(), Vec::new());
        while walk.advance().is_some() {
            found.push(str::from_utf8(walk.path()).unwrap().to_owned());
        }
        assert_eq!(found, pinned);
        assert!(doomed.mounts.is_empty() && doomed.failed.is_empty());
    }

    #[test]
    fn what_goes_as_one_is_told_from_what_goes_in_pieces() {
        let all: &[(&str, &[&str])] = &[("", &["a/", "d/", "h"])];
        check(
            all,
            &[],
            &[
                "h*", "d/f/6", "d/f/", "d/e/keep", "d/e/5", "d/e/", "d/4", "d/*", "a/empty/",
                "a/b/c/3", "a/b/c/", "a/b/", "a/1", "a/*", "g/7",
            ],
            &[],
        );
        check(
            all,
            &["keep"],
            &[
                "h*", "d/f/6*", "d/f/*", "d/e/5*", "d/4*", "a/empty/", "a/b/c/3", "a/b/c/", "a/b/",
                "a/1", "a/*", "g/7",
            ],
            &["d/e", "d"],
        );
        check(
            all,
            &["[0-9]", "keep", "f"],
            &["h*", "a/empty/*"],
            &["d/e", "d", "a/b/c", "a/b", "a"],
        );
    }

    #[test]
    fn directories_come_in_their_order_and_names_from_the_last() {
        check(
            &[
                ("", &["h"]),
                ("a", &["1", "b/", "empty/"]),
                ("d", &["4", "e/", "f/", "gone/"]),
            ],
            &["5", "keep", "c"],
            &[
                "h*",
                "a/empty/*",
                "a/1*",
                "d/gone/*",
                "d/f/6",
                "d/f/*",
                "d/4*",
                "g/7",
            ],
            &["a/b", "d/e"],
        );
    }
}
