//! Directories that share entries although their paths do not show it: by symlinks or mounts. A
//! push between two of them reads what it writes, unless the filters keep the one out of the other.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::fs::{Extent, Mounts, Root, Seen, Shared, machine};
use crate::path::Shown;
use crate::selection;
use crate::source::{Layer, Source};

/// Directories of a source that its sender tells at most.
pub(crate) const SOURCE_DIRS_MAX: usize = 1024;

/// Length of all that it tells of them, in bytes: the hello with it is one message.
const SOURCE_LEN_MAX: usize = 256 << 10;

/// Longest that device and inode of a directory are on the wire, in bytes.
const ID_LEN_MAX: usize = 18;

/// The pairs of these directories, by their places in the list, that share entries on this node.
/// Those that cannot be opened share none.
#[must_use]
pub fn overlaps(dirs: &[&Path]) -> Vec<(usize, usize)> {
    let mounts = Mounts::read();
    let extents: Vec<Option<Extent>> = dirs
        .iter()
        .map(|dir| Extent::of(Root::open(dir).ok()?, &mounts).ok())
        .collect();
    let mut pairs = Vec::new();
    for (later, extent) in extents.iter().enumerate() {
        for (earlier, other) in extents.iter().enumerate().take(later) {
            if let (Some(extent), Some(other)) = (extent, other)
                && extent.overlaps(other)
            {
                pairs.push((earlier, later));
            }
        }
    }
    pairs
}

/// Where a source is: of use to a receiver that runs on the same machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whereabouts {
    machine: [u8; 16],
    dirs: Vec<SourceDir>,
}

/// A directory that a source takes entries from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceDir {
    seen: Seen,
    part: Part,
}

/// Which of its entries those are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    All,
    Only(Vec<Named>),
    /// More names than are told.
    Some,
}

/// An entry by its name, or by its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    #[serde(with = "serde_bytes")]
    name: Vec<u8>,
    is_dir: bool,
}

/// Where a push leads.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) dir: BorrowedFd<'a>,
    /// Of a directory that is to be made in `dir`.
    pub(crate) made: Option<&'a [u8]>,
    /// The name that the only entry gets there.
    pub(crate) only: Option<&'a [u8]>,
    /// It is a tree of the configuration.
    pub(crate) is_named: bool,
}

impl Whereabouts {
    pub(crate) fn of(source: &Source) -> Self {
        let mut dirs = Vec::new();
        let mut room = SOURCE_LEN_MAX;
        let by_root = |one: &Layer, other: &Layer| Arc::ptr_eq(&one.root, &other.root);
        for layers in source.layers.chunk_by(by_root) {
            let seen = layers.first().and_then(|layer| Seen::of(&*layer.root).ok());
            let Some(seen) = seen.filter(|_| dirs.len() < SOURCE_DIRS_MAX) else {
                continue;
            };
            let Some(left) = room.checked_sub(seen.path.len() + ID_LEN_MAX * seen.ids.len()) else {
                continue;
            };
            let mut part = Part::of(layers);
            let names_len = part.names().iter().map(|named| named.name.len() + 2).sum();
            room = left.checked_sub(names_len).unwrap_or_else(|| {
                part = Part::Some;
                left
            });
            dirs.push(SourceDir { seen, part });
        }
        Whereabouts {
            machine: machine(),
            dirs,
        }
    }

    /// Whether a sender may tell so much.
    pub(crate) fn is_bounded(&self) -> bool {
        self.dirs.len() <= SOURCE_DIRS_MAX
    }

    /// If the source is on this machine, why nothing may be pushed from there to `target`, in
    /// words. What `filter` leaves out is neither read nor changed, and `one_file_system` ends the
    /// reading, not the changing.
    pub(crate) fn refuse(
        &self,
        target: &Target<'_>,
        filter: &Filter,
        one_file_system: bool,
    ) -> Option<String> {
        if self.dirs.is_empty() || self.machine != machine() {
            return None;
        }
        let mounts = Mounts::read();
        let there = Extent::of(target.dir, &mounts).ok()?;
        let push = Push {
            parts: self.dirs.iter().map(|dir| &dir.part).collect(),
            made: target.made,
            only: target.only,
            filter,
            one_file_system,
        };
        self.dirs.iter().find_map(|SourceDir { seen, part }| {
            let here = Extent::told(seen.clone(), &mounts);
            let shared = here.shared(&there).into_iter();
            let clash = shared
                .filter_map(|shared| push.clash(part, shared))
                .next()?;
            Some(clash.sentence(&here, &there, target))
        })
    }
}

#[cfg(test)]
impl Whereabouts {
    /// More than a sender tells.
    pub(crate) fn of_many(count: usize) -> Self {
        let seen = Seen {
            path: b"/".to_vec(),
            ids: vec![(1, 2)],
            mount: 0,
        };
        let part = Part::All;
        Whereabouts {
            machine: [1; 16],
            dirs: vec![SourceDir { seen, part }; count],
        }
    }
}

impl Part {
    /// What layers in one directory take from it.
    fn of(layers: &[Layer]) -> Self {
        let mut names = Vec::new();
        for layer in layers {
            match &layer.part {
                selection::Part::Only(only) => names.push(Named {
                    name: only.on_disk.clone(),
                    is_dir: only.is_dir,
                }),
                selection::Part::Chosen(chosen) => names.extend(chosen.tops().map(|path| Named {
                    name: path.to_vec(),
                    is_dir: true,
                })),
                _ => return Part::All,
            }
        }
        Part::Only(names)
    }

    fn names(&self) -> &[Named] {
        match self {
            Part::Only(names) => names,
            Part::All | Part::Some => &[],
        }
    }

    /// Whether it has what is at `path`: one of the names, or something below it.
    fn has(&self, path: &[u8]) -> bool {
        let is_within = |named: &Named| {
            let rest = path.strip_prefix(&*named.name);
            matches!(rest, Some([] | [b'/', ..]))
        };
        !matches!(self, Part::Only(_)) || self.names().iter().any(is_within)
    }
}

/// What a push reads and what it may change, by their paths.
struct Push<'a> {
    parts: Vec<&'a Part>,
    made: Option<&'a [u8]>,
    only: Option<&'a [u8]>,
    filter: &'a Filter,
    one_file_system: bool,
}

/// What would be read and changed by one push, by its paths below source and target.
#[derive(Debug, PartialEq, Eq)]
enum Clash {
    /// Where is not known: no filter can keep the one out of the other.
    Somewhere,
    At(Vec<u8>, Vec<u8>),
}

impl Push<'_> {
    fn clash(&self, part: &Part, shared: Shared) -> Option<Clash> {
        let Some((mut here, there)) = shared.paths else {
            // What is not there yet holds nothing of the source, wherever that is.
            let is_apart = self.made.is_some() && shared.is_below;
            return (!is_apart).then_some(Clash::Somewhere);
        };
        match self.made {
            None => {}
            // What is not there yet holds nothing of the source.
            Some(_) if !there.is_empty() => return None,
            Some(made) => here = join(&here, made),
        }
        if here.is_empty() && !matches!(part, Part::All) {
            let name = self.clashing_name(part, &there)?;
            return Some(Clash::At(name.clone(), join(&there, &name)));
        }
        let level = usize::from(!matches!(part, Part::All));
        let is_cut_off = self.one_file_system && shared.leaves_at.is_some_and(|at| at > level);
        let is_read = part.has(&here) || here.is_empty();
        if is_cut_off || !is_read || !self.filter.reaches(&here, true) {
            return None;
        }
        let is_changed = match &*there {
            b"" => here.is_empty() || self.changes_in(&here),
            there => self.changes(there) && self.filter.reaches(there, true),
        };
        is_changed.then_some(Clash::At(here, there))
    }

    /// A name of those that are read in a directory, which the target has at `there`, that is
    /// changed too.
    fn clashing_name(&self, part: &Part, there: &[u8]) -> Option<Vec<u8>> {
        let mut names = part.names().iter();
        let clashes = |named: &&Named| match self.only {
            Some(only) => there.is_empty() && only == named.name,
            None => {
                let path = join(there, &named.name);
                self.changes(&path) && self.filter.reaches(&path, named.is_dir)
            }
        };
        match part {
            // Any of them may be it.
            Part::Some => self.changes(there).then(Vec::new),
            _ => names.find(clashes).map(|named| named.name.clone()),
        }
    }

    /// Whether something may be changed in the target that the source reads at `here`.
    fn changes_in(&self, here: &[u8]) -> bool {
        let reaches = |named: &Named| self.filter.reaches(&join(here, &named.name), named.is_dir);
        let mut parts = self.parts.iter();
        parts.any(|part| match part {
            Part::Only(names) => names.iter().any(reaches),
            Part::All | Part::Some => !self.filter.excludes_all_in(here),
        })
    }

    /// Whether the target may be changed at `there`: where entries are named, only below these.
    fn changes(&self, there: &[u8]) -> bool {
        self.parts.iter().any(|part| part.has(there))
    }
}

impl Clash {
    /// What it means, and what to do.
    fn sentence(&self, here: &Extent, there: &Extent, to: &Target<'_>) -> String {
        let target = join(there.path(), to.made.unwrap_or_default());
        let (source, target) = (Shown(here.path()), Shown(&target));
        let Clash::At(in_source, in_target) = self else {
            return "the source and the target share entries, and where cannot be told without \
                    /proc; push from or to another place"
                .to_owned();
        };
        let (read, changed) = (join(here.path(), in_source), join(there.path(), in_target));
        let keep_out = |path: &[u8]| {
            let pattern = pattern(path);
            match to.is_named {
                true => {
                    let rule = [b"- ", &*pattern].concat();
                    format!(
                        "keep it out with {} among the filters of the tree",
                        Shown(&rule)
                    )
                }
                false => format!("keep it out with --exclude {}", Shown(&pattern)),
            }
        };
        match (in_source.is_empty(), in_target.is_empty()) {
            (true, true) => {
                format!("the source and the target are one directory, {source}: push elsewhere")
            }
            (false, true) => format!(
                "the target {target} lies in the source {source}, so that the push would copy it \
                 into itself; {}",
                keep_out(in_source)
            ),
            (true, false) => format!(
                "the source {source} lies in the target {target}, so that the push could replace \
                 or delete what it reads; {}",
                keep_out(in_target)
            ),
            (false, false) => format!(
                "the push would read {} and change it, as {} of the target; {}",
                Shown(&read),
                Shown(&changed),
                keep_out(in_target)
            ),
        }
    }
}

/// A pattern of a filter that matches `path` and nothing else.
fn pattern(path: &[u8]) -> Vec<u8> {
    let is_plain = !path.iter().any(|b| b"*?[".contains(b));
    let escaped = |&b: &u8| match b {
        b'*' | b'?' | b'[' | b'\\' if !is_plain => vec![b'\\', b],
        _ => vec![b],
    };
    [b"/", &*path.iter().flat_map(escaped).collect::<Vec<u8>>()].concat()
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let slash = if dir.is_empty() || name.is_empty() || dir == b"/" {
        &b""[..]
    } else {
        b"/"
    };
    [dir, slash, name].concat()
}
