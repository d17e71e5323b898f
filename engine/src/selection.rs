//! Which part of a directory is pushed: all of it, or some of its names, of which some lead to
//! others below. A pure value: the scan asks it, directory by directory, and nothing is opened
//! here. What is deleted follows from it: only where all entries of a directory are pushed is it
//! known what it does not have.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// How much of what a path names is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Picked {
    /// Nothing has that name: the target shall have nothing either (`--delete-missing-args`).
    Gone,
    /// The entry, but not what is in it.
    Itself,
    /// A directory and the entries in it.
    Entries,
    /// A directory and all below it.
    All,
}

/// What of a directory is pushed.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// All entries, and all below them.
    All,
    /// All entries, but not what is in them.
    Entries,
    /// None of its entries.
    Nothing,
    Only(OnlyName),
    Chosen(Chosen),
}

/// A single name taken from a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OnlyName {
    pub(crate) on_disk: Vec<u8>,
    pub(crate) shown: Vec<u8>,
    pub(crate) picked: Picked,
    /// What it was when the argument was opened.
    pub(crate) is_dir: bool,
}

/// Paths below one directory, in the order of a walk: what is below a path follows it at once.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The paths, one behind the other.
    bytes: Vec<u8>,
    picks: Vec<Pick>,
    /// What is below a directory that is pushed whole counts as well: something of it is not
    /// there, or would be left out without being named.
    is_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pick {
    at: usize,
    len: u32,
    picked: Picked,
}

/// The paths of a selection that are below one directory.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    selection: Arc<Selection>,
    range: Range<usize>,
    /// Length of the directory's path, with the slash behind it.
    skipped: usize,
    /// How much of the directory itself is pushed.
    own: Picked,
    /// It was not named itself, and only leads to what was.
    is_way: bool,
    /// Names that the directory has, but would not be pushed for its sake.
    left_out: Arc<BTreeSet<Vec<u8>>>,
}

impl Part {
    /// What is pushed of a directory that was named.
    pub(crate) fn of(picked: Picked) -> Self {
        match picked {
            Picked::All => Part::All,
            Picked::Entries => Part::Entries,
            Picked::Itself | Picked::Gone => Part::Nothing,
        }
    }

    /// Whether all entries of the directory are pushed, so that what it lacks is known.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Part::All | Part::Entries => true,
            Part::Nothing | Part::Only(_) => false,
            Part::Chosen(chosen) => chosen.own >= Picked::Entries,
        }
    }

    /// Whether the directory was not named, and only leads to what was.
    pub(crate) fn is_way(&self) -> bool {
        matches!(self, Part::Chosen(chosen) if chosen.is_way)
    }

    pub(crate) fn only(&self) -> Option<&OnlyName> {
        match self {
            Part::Only(only) => Some(only),
            _ => None,
        }
    }

    /// The only name that is pushed, if it is in the directory itself.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        let Part::Chosen(chosen) = self else {
            return None;
        };
        let is_one = chosen.range.len() == 1 && !self.is_whole();
        let (name, own) = chosen.names().next().filter(|_| is_one)?;
        own.map(|_| name)
    }

    /// What is pushed of the subdirectory of that name.
    pub(crate) fn below(&self, name: &[u8]) -> Part {
        match self {
            Part::All => Part::All,
            Part::Entries | Part::Nothing => Part::Nothing,
            Part::Only(only) => Part::of(only.picked),
            Part::Chosen(chosen) => chosen.below(name),
        }
    }
}

impl Selection {
    /// Adds a path: names joined by single slashes, or the directory itself if it is empty.
    pub(crate) fn push(&mut self, path: &[u8], picked: Picked) {
        let pick = Pick {
            at: self.bytes.len(),
            len: u32::try_from(path.len()).unwrap_or(u32::MAX),
            picked,
        };
        self.bytes.extend_from_slice(path);
        self.picks.push(pick);
    }

    /// Brings the paths into their order, each of them once.
    pub(crate) fn sort(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let path = |pick: &Pick| bytes.get(pick.at..pick.at + pick.len as usize);
        self.picks.sort_by(|a, b| {
            let order = cmp_paths(path(a).unwrap_or_default(), path(b).unwrap_or_default());
            order.then_with(|| b.picked.cmp(&a.picked))
        });
        // The first of those that are equal has most.
        self.picks.dedup_by(|a, b| path(a) == path(b));
        self.bytes = bytes;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// Lets `decide` say how much of each path is pushed; `None` takes it out.
    pub(crate) fn retain(&mut self, mut decide: impl FnMut(&[u8], Picked) -> Option<Picked>) {
        let bytes = &self.bytes;
        self.picks.retain_mut(|pick| {
            let path = bytes.get(pick.at..pick.at + pick.len as usize);
            let picked = decide(path.unwrap_or_default(), pick.picked);
            pick.picked = picked.unwrap_or(pick.picked);
            picked.is_some()
        });
    }

    /// What is pushed of the directory that the paths begin in. With `filtered`, what is named is
    /// pushed although it is left out of the directory that it is in.
    pub(crate) fn part(mut self, filtered: bool) -> Part {
        let mut picks = self.picks.iter();
        self.is_told = filtered || picks.any(|pick| pick.picked == Picked::Gone);
        let range = 0..self.picks.len();
        Chosen::part(Arc::new(self), range, 0, Picked::Itself)
    }

    fn path(&self, pick: &Pick) -> &[u8] {
        let path = self.bytes.get(pick.at..pick.at + pick.len as usize);
        path.unwrap_or_default()
    }
}

impl Chosen {
    /// What is pushed of a directory whose path has `len` bytes, at `least` so much; the paths in
    /// `range` are within it.
    fn part(selection: Arc<Selection>, mut range: Range<usize>, len: usize, least: Picked) -> Part {
        let first = selection.picks.get(range.start);
        let first = first.filter(|first| !range.is_empty() && first.len as usize == len);
        let own = match first {
            Some(first) if first.picked == Picked::Gone => return Part::Nothing,
            Some(first) => first.picked.max(least),
            None => least,
        };
        range.start += usize::from(first.is_some());
        let is_way = first.is_none() && len > 0 && least == Picked::Itself;
        let is_plain = range.is_empty() || own == Picked::All && !selection.is_told;
        match is_plain {
            true => Part::of(own),
            false => Part::Chosen(Chosen {
                selection,
                range,
                skipped: len + usize::from(len > 0),
                own,
                is_way,
                left_out: Arc::default(),
            }),
        }
    }

    /// The highest paths that are chosen.
    pub(crate) fn tops(&self) -> impl Iterator<Item = &[u8]> {
        let picks = self.selection.picks.get(self.range.clone());
        let paths = picks.unwrap_or_default().iter();
        let mut top: Option<&[u8]> = None;
        paths.filter_map(move |pick| {
            let path = self.selection.path(pick);
            let is_below = |top: &[u8]| path.strip_prefix(top).is_some_and(|r| r.starts_with(b"/"));
            if top.is_some_and(is_below) {
                return None;
            }
            top = Some(path);
            top
        })
    }

    /// The names that are chosen, in their order; `None` if one only leads to others.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&[u8], Option<Picked>)> {
        let mut at = self.range.start;
        std::iter::from_fn(move || {
            if at >= self.range.end {
                return None;
            }
            let (rest, picked) = self.rest(at)?;
            let name = first(rest);
            let own = (name.len() == rest.len()).then_some(picked);
            at = self.end_of(name, at);
            Some((name, own))
        })
    }

    /// What follows the directory's path in that of number `at`.
    fn rest(&self, at: usize) -> Option<(&[u8], Picked)> {
        let pick = self.selection.picks.get(at)?;
        let path = self.selection.path(pick);
        Some((path.get(self.skipped..).unwrap_or_default(), pick.picked))
    }

    /// Where the paths within `name` end that begin at `from`.
    fn end_of(&self, name: &[u8], from: usize) -> usize {
        self.find(from, |rest| first(rest) <= name)
    }

    fn find(&self, from: usize, is_before: impl Fn(&[u8]) -> bool) -> usize {
        let picks = self.selection.picks.get(from..self.range.end);
        let is_before = |pick: &Pick| {
            let path = self.selection.path(pick);
            is_before(path.get(self.skipped..).unwrap_or_default())
        };
        from + picks.map_or(0, |picks| picks.partition_point(is_before))
    }

    fn below(&self, name: &[u8]) -> Part {
        let start = self.find(self.range.start, |rest| first(rest) < name);
        let range = start..self.end_of(name, start);
        let least = match self.own {
            Picked::All if !self.left_out.contains(name) => Picked::All,
            _ => Picked::Itself,
        };
        let len = self.skipped + name.len();
        Chosen::part(Arc::clone(&self.selection), range, len, least)
    }

    /// The same, with only those names pushed for the directory's sake that are in `listed`.
    pub(crate) fn with_listed(self, listed: &BTreeSet<Vec<u8>>) -> Self {
        let names = self.names().map(|(name, _)| name.to_vec());
        let left_out = Arc::new(names.filter(|name| !listed.contains(name)).collect());
        Chosen { left_out, ..self }
    }

    /// Whether what is in this name is pushed because it was named: then a symlink of that name
    /// stands for the directory that it leads to.
    pub(crate) fn enters(&self, name: &[u8]) -> bool {
        self.own < Picked::All && !matches!(self.below(name), Part::Nothing)
    }
}

fn first(path: &[u8]) -> &[u8] {
    path.split(|&b| b == b'/').next().unwrap_or_default()
}

/// The order of a walk: a slash comes before all that is in a name.
fn cmp_paths(a: &[u8], b: &[u8]) -> Ordering {
    let key = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn of(paths: &[(&str, Picked)]) -> Part {
        let mut selection = Selection::default();
        for (path, picked) in paths {
            selection.push(path.as_bytes(), *picked);
        }
        selection.sort();
        selection.part(false)
    }

    /// What a walk would push, with all directories being there: `/` marks one whose entries all
    /// are, `**` one with all below.
    fn walked(part: &Part, path: &str, out: &mut Vec<String>) {
        match part {
            Part::All => out.push(format!("{path}**")),
            Part::Entries => out.push(format!("{path}*")),
            Part::Nothing => out.push(path.trim_end_matches('/').to_owned()),
            Part::Only(_) => panic!("no selection has it"),
            Part::Chosen(chosen) => {
                out.push(format!("{path}{}", if part.is_whole() { "*" } else { "" }));
                for (name, _) in chosen.names() {
                    let name_text = String::from_utf8(name.to_vec()).unwrap();
                    walked(&part.below(name), &format!("{path}{name_text}/"), out);
                }
            }
        }
    }

    #[test]
    fn a_selection_is_walked_name_by_name() {
        use Picked::{All, Entries, Gone, Itself};
        type Case<'a> = (&'a [(&'a str, Picked)], &'a [&'a str]);
        let cases: &[Case<'_>] = &[
            (&[("", All)], &["**"]),
            (
                &[("a", Itself), ("a-", Itself), ("a/b", Itself)],
                &["", "a/", "a/b", "a-"],
            ),
            (&[("a/b/c", All)], &["", "a/", "a/b/", "a/b/c/**"]),
            // Below what is pushed whole nothing else counts.
            (
                &[("a/b/c", Itself), ("a", All), ("a", Itself)],
                &["", "a/**"],
            ),
            // But for what is not there.
            (
                &[("a/b/c", Gone), ("a", All)],
                &["", "a/*", "a/b/*", "a/b/c"],
            ),
            (&[("a", Gone), ("a/b", Gone)], &["", "a"]),
            (
                &[("a/b/c", Itself), ("a", Entries), ("", Itself)],
                &["", "a/*", "a/b/", "a/b/c"],
            ),
            (
                &[("b", Itself), ("a", Itself), ("b", Entries)],
                &["", "a", "b/*"],
            ),
        ];
        for (paths, expected) in cases {
            let mut out = Vec::new();
            walked(&of(paths), "", &mut out);
            assert_eq!(out, *expected, "{paths:?}");
        }
    }

    #[test]
    fn names_that_were_not_chosen_are_not_entered() {
        let part = of(&[("a", Picked::Entries), ("a/c/d", Picked::All)]);
        let a = part.below(b"a");
        assert!(matches!(part.below(b"b"), Part::Nothing));
        assert!(matches!(a.below(b"b"), Part::Nothing));
        assert!(matches!(a.below(b"c").below(b"d"), Part::All));
        assert!(a.is_whole() && !part.is_whole() && !a.below(b"c").is_whole());
    }
}
