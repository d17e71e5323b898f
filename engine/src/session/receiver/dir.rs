//! A directory of which something is awaited: how far it is, and what was announced of it.

use std::os::fd::OwnedFd;

use super::begun::Begun;
use super::held::InMemory;
use super::links;
use super::local::Local;
use super::wanted::WantedFiles;
use crate::entries::EntryList;
use crate::entry::{Body, Entry};
use crate::error::Error;
use crate::fs::Inherited;
use crate::path::RelPath;
use crate::policy::Powers;
use crate::refusal::Refusal;
use crate::wire::DirIndex;

/// Entries that take no more than that stay, whether they are still of use or not.
const ALL_KEPT_LEN: usize = 64 << 10;

/// How far a directory is.
pub(super) enum Dir {
    /// Prints were sent; the entries that differ are awaited.
    Asked(Asked),
    /// It is made anew, and content arrives unasked.
    New(New),
    /// Verdicts were sent; content is awaited.
    Judged(Judged),
}

pub(super) struct Asked {
    pub(super) list: Announced,
    /// Positions of the prints that are none of the sender's.
    pub(super) unmatched: Vec<u32>,
    pub(super) here: Here,
}

/// What the target has where entries were asked for.
pub(super) enum Here {
    /// A directory.
    Entries {
        local: Local,
        /// What the sender does not have of it may be deleted.
        complete: bool,
        /// The prints were not cut.
        full: bool,
    },
    /// None, but an interrupted push has left something of it.
    Left,
    /// One that cannot be read: what arrives for it is dropped.
    Unreadable,
}

pub(super) struct New {
    pub(super) list: Announced,
    pub(super) all_announced: bool,
    /// `None` if it could not be made: what arrives for it is dropped.
    pub(super) begun: Option<Begun>,
}

pub(super) struct Judged {
    pub(super) list: Announced,
    /// The directory could not be made: what arrives for it is dropped.
    pub(super) is_lost: bool,
}

/// What the sender has announced of a directory, and what is awaited of that.
pub(super) struct Announced {
    pub(super) path: RelPath,
    /// Content is named by position in here.
    pub(super) entries: EntryList,
    /// Those at the beginning have names before that of any directory that is to come.
    passed: usize,
    /// Numbers of the entries, if they are not their positions.
    pub(super) numbers: Option<Vec<u32>>,
    pub(super) wanted: WantedFiles,
    /// What new entries inherit here.
    pub(super) inherited: Inherited,
}

/// Where content goes that has arrived.
pub(super) enum Goes<'a> {
    /// Nowhere.
    Dropped,
    /// Into the directory that is being made.
    Within(&'a OwnedFd),
    /// To staging by itself.
    Alone,
}

impl Announced {
    pub(super) fn new(path: RelPath) -> Self {
        Announced {
            path,
            entries: EntryList::default(),
            passed: 0,
            numbers: None,
            wanted: WantedFiles::default(),
            inherited: Inherited::default(),
        }
    }

    /// Adds entries, which must continue in canonical order, each with a name of its own. Returns
    /// the position of the first.
    pub(super) fn add(
        &mut self,
        dir: DirIndex,
        entries: Vec<Entry>,
        powers: Powers,
    ) -> Result<usize, Error> {
        let first = self.entries.len();
        for entry in entries {
            entry.check().map_err(Error::peer)?;
            powers.check(&entry)?;
            check_first(&self.path, &entry)?;
            if !self.entries.may_be_followed_by(&entry) {
                return Err(Error::peer(Refusal::EntriesOrder { dir }));
            }
            self.entries.push(&entry);
        }
        if self.entries.repeats_a_name(first, &mut self.passed) {
            return Err(Error::peer(Refusal::EntriesOrder { dir }));
        }
        Ok(first)
    }

    /// The position of the entry of that number.
    pub(super) fn position(&self, number: u32) -> Option<usize> {
        match &self.numbers {
            None => Some(number as usize),
            Some(numbers) => numbers.binary_search(&number).ok(),
        }
    }

    /// The entry of that number, which must be a regular file.
    pub(super) fn file(&self, dir: DirIndex, number: u32) -> Result<Entry, Error> {
        let entry = self.position(number).and_then(|at| self.entries.get(at));
        entry
            .filter(|entry| matches!(entry.body, Body::File { .. }))
            .ok_or_else(|| not_awaited(dir))
    }

    /// Drops the entries of which no content is awaited, if that is worth it.
    pub(super) fn keep_wanted(&mut self) {
        if self.numbers.is_some() || self.entries.memory_len() < ALL_KEPT_LEN {
            return;
        }
        let (mut kept, mut kept_numbers) = (EntryList::default(), Vec::new());
        let (mut walk, mut numbers) = (self.entries.walk(), 0..);
        while let Some((entry, number)) = walk.next().zip(numbers.next()) {
            if self.wanted.contains(number) {
                kept.push(entry);
                kept_numbers.push(number);
            }
        }
        drop(walk);
        (self.entries, self.numbers) = (kept, Some(kept_numbers));
    }
}

impl Dir {
    pub(super) fn asked(path: RelPath, here: Here) -> Self {
        Dir::Asked(Asked {
            list: Announced::new(path),
            unmatched: Vec::new(),
            here,
        })
    }

    pub(super) fn list(&self) -> &Announced {
        match self {
            Dir::Asked(Asked { list, .. })
            | Dir::New(New { list, .. })
            | Dir::Judged(Judged { list, .. }) => list,
        }
    }

    pub(super) fn list_mut(&mut self) -> &mut Announced {
        match self {
            Dir::Asked(Asked { list, .. })
            | Dir::New(New { list, .. })
            | Dir::Judged(Judged { list, .. }) => list,
        }
    }

    /// Whether what arrives is dropped, because the directory could not be made or read.
    pub(super) fn drops(&self) -> bool {
        match self {
            Dir::Asked(asked) => matches!(asked.here, Here::Unreadable),
            Dir::New(new) => new.begun.is_none(),
            Dir::Judged(judged) => judged.is_lost,
        }
    }

    /// Where the content of that number goes, which must be awaited.
    pub(super) fn goes(&self, dir: DirIndex, number: u32) -> Result<Goes<'_>, Error> {
        let is_wanted = self.list().wanted.contains(number);
        match self {
            Dir::New(New { begun: None, .. }) => Ok(Goes::Dropped),
            Dir::New(New {
                begun: Some(begun), ..
            }) if is_wanted => Ok(Goes::Within(&begun.fd)),
            Dir::Judged(Judged { is_lost, .. }) if is_wanted => match is_lost {
                true => Ok(Goes::Dropped),
                false => Ok(Goes::Alone),
            },
            _ => Err(not_awaited(dir)),
        }
    }

    /// Things awaited of it.
    pub(super) fn awaited(&self) -> usize {
        let end = match self {
            Dir::Asked(_) | Dir::New(_) => 1,
            Dir::Judged(_) => 0,
        };
        self.list().wanted.len() + end
    }

    /// The first of these, in words.
    pub(super) fn first_awaited(&self, shown: impl Fn(&RelPath) -> String) -> String {
        let list = self.list();
        match (list.wanted.first(), self) {
            (Some(number), _) => {
                let at = list.position(number);
                let name = at.and_then(|at| list.entries.name(at)).unwrap_or_default();
                format!("the content of {}", shown(&list.path.join(&name)))
            }
            (None, Dir::New(new)) if new.all_announced => {
                format!("the end of directory {}", shown(&list.path))
            }
            (None, _) => format!("the entries of directory {}", shown(&list.path)),
        }
    }
}

impl InMemory for Dir {
    fn memory_len(&self) -> usize {
        let list = self.list();
        let numbers = list.numbers.as_ref();
        let unmatched = match self {
            Dir::Asked(asked) => size_of_val(&*asked.unmatched),
            _ => 0,
        };
        size_of::<Dir>()
            + list.path.memory_len()
            + list.entries.memory_len()
            + numbers.map_or(0, |numbers| size_of_val(&**numbers))
            + list.wanted.memory_len()
            + unmatched
    }
}

/// Refuses a link to what does not come before it, or is a directory that it is in.
fn check_first(dir: &RelPath, entry: &Entry) -> Result<(), Error> {
    let Some(first) = &entry.link_to else {
        return Ok(());
    };
    let first = links::parse(first)?;
    let is_before = first
        .split()
        .is_some_and(|(above, name)| above < *dir || above == *dir && name < &*entry.name);
    match is_before && !dir.is_within(&first) {
        true => Ok(()),
        false => Err(Error::peer(Refusal::LinkForward)),
    }
}

pub(super) fn not_awaited(dir: DirIndex) -> Error {
    Error::peer(Refusal::NotAwaited { dir })
}
