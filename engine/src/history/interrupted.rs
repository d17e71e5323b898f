//! What atomic pushes had staged when their connection broke, for the next push to take up.
//!
//! Everything in there had arrived whole and with the right sum, and was flushed before it was
//! noted where it belongs: a session without that note, as a crash leaves it, is of no use.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::syncfs;
use serde::{Deserialize, Serialize};

use super::store::Store;
use crate::attributes::Scope;
use crate::change::{lock_session, open_stage, remove_session};
use crate::entry::Body;
use crate::fs::{Listed, Lock, Root, Stuck, names, open_dir_below};
use crate::generation::record::{self, RecordKind};
use crate::path::{RESERVED_NAME, RelPath};
use crate::source::{open_file, stat_name};
use crate::spill::{Room, SpillList, SpillSorter, SpillValues, put_number, take_number};
use crate::work;

const INTERRUPTED: RecordKind = RecordKind {
    letters: *b"IP",
    name: "interrupted",
};

/// An entry in the staging of a session, a directory with all that is in it, and where in the tree
/// it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Left {
    slot: RelPath,
    path: RelPath,
}

/// Notes in the session's directory what is in it, as paths there and in the tree, once that is on
/// disk.
pub(crate) fn leave(
    session: &OwnedFd,
    left: &mut dyn Iterator<Item = (RelPath, RelPath)>,
) -> io::Result<()> {
    let mut all = SpillValues::default();
    for (slot, path) in left {
        all.push(&Left { slot, path }).map_err(io::Error::other)?;
    }
    let _flushing = work::flushing();
    syncfs(session)?;
    record::write(session, INTERRUPTED, &all)
}

/// All interrupted sessions of a tree. They are locked for as long as this lives, so that nobody
/// else takes from them or removes them.
#[derive(Debug, Default)]
pub(crate) struct Interrupted {
    sessions: Vec<Session>,
    /// Where to look for a path and what is below it, in the order of the paths: of each its key,
    /// an end that no key has in it, the number of the session, and the path there.
    places: SpillList,
    /// The lengths of these paths: nothing else needs to be looked for.
    lens: HashSet<usize>,
}

#[derive(Debug)]
struct Session {
    fd: Lock<OwnedFd>,
    name: Vec<u8>,
}

const KEY_END: [u8; 2] = [0; 2];

/// A file that was found, where it is now.
pub(crate) struct Found {
    pub(crate) dir: OwnedFd,
    pub(crate) name: Vec<u8>,
    pub(crate) file: File,
}

impl Interrupted {
    /// Finds the sessions in the tree at `root` that nobody uses.
    pub(crate) fn claim(root: &Arc<Root>) -> io::Result<Self> {
        let mut claimed = Interrupted::default();
        let stage = match open_stage(&**root, RESERVED_NAME) {
            Ok(stage) => stage,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(claimed),
            Err(e) => return Err(e),
        };
        let needed = Store::sessions_needed(root)?;
        let mut places = SpillSorter::new(Room::default(), |record| (false, record));
        for name in names(&stage)? {
            if needed.contains(&name) {
                continue;
            }
            let Some(fd) = lock_session(&stage, &name) else {
                continue;
            };
            // What cannot be read is of no use, and goes with other leftovers.
            let Ok(Some(left)) = record::read::<SpillValues<Left>>(&*fd, INTERRUPTED) else {
                continue;
            };
            for Left { slot, path } in left.iter().map_while(Result::ok) {
                claimed.lens.insert(path.len());
                let mut place = [&*path.sort_key(), &KEY_END].concat();
                put_number(&mut place, claimed.sessions.len() as u64);
                place.extend_from_slice(&slot.as_bytes());
                places.push(&place);
            }
            claimed.sessions.push(Session { fd, name });
        }
        claimed.places = places.finish();
        Ok(claimed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether anything of the directory at `path`, or of what is below it, may be there.
    pub(crate) fn has_within(&self, path: &RelPath) -> bool {
        let key = path.sort_key();
        let is_within = |place: &[u8]| {
            let rest = place.strip_prefix(&*key);
            rest.is_some_and(|rest| key.is_empty() || rest.starts_with(&[0]))
        };
        let first = self.places.with(self.first_from(&key), is_within);
        first.unwrap_or_default()
            || self
                .slots_of(path)
                .any(|(session, slot)| open_dir_below(session, &slot).is_ok())
    }

    /// The longest file that belongs at `path` and `fits`.
    pub(crate) fn find(&self, path: &RelPath, fits: impl Fn(&Listed) -> bool) -> Option<Found> {
        let fitting = self.slots_of(path).filter_map(|(session, slot)| {
            let (dir, name) = slot.split()?;
            let dir = open_dir_below(session, &dir).ok()?;
            let listed = stat_name(&dir, name, Scope::default()).ok()?;
            let is_file = matches!(listed.entry.body, Body::File { .. });
            (is_file && listed.nlink == 1 && fits(&listed)).then_some((dir, listed.entry))
        });
        let (dir, entry) = fitting.max_by_key(|(_, entry)| entry.len())?;
        let file = open_file(&dir, &entry.name).ok()?;
        let name = entry.name;
        Some(Found { dir, name, file })
    }

    /// Where `path` may be: in its own place, or in that of a directory above it.
    fn slots_of(&self, path: &RelPath) -> impl Iterator<Item = (&OwnedFd, RelPath)> {
        let split = |at: &RelPath| at.split().map(|(above, _)| above);
        let ways = std::iter::successors(Some(path.clone()), split);
        let ways = ways.filter(|at| self.lens.contains(&at.len()));
        ways.flat_map(move |at| {
            let slots = self.slots_at(&at).into_iter().rev();
            slots.filter_map(move |(session, slot)| {
                let session = self.sessions.get(session)?;
                Some((&*session.fd, slot.join_path(&path.below(&at))))
            })
        })
    }

    /// Where the entry is that belongs at `path`: sessions, and paths there.
    fn slots_at(&self, path: &RelPath) -> Vec<(usize, RelPath)> {
        let key = [&*path.sort_key(), &KEY_END].concat();
        let mut places = self.places.walk_from(self.first_from(&key));
        let mut slots = Vec::new();
        while let Some(mut slot) = places.next().and_then(|place| place.strip_prefix(&*key)) {
            slots.push((take_number(&mut slot) as usize, RelPath::of(slot)));
        }
        slots
    }

    /// The first of the places that is not before `key`.
    fn first_from(&self, key: &[u8]) -> usize {
        self.places.partition_point(|place| place < key)
    }

    /// Removes the sessions with what is still in them.
    pub(crate) fn remove(&mut self, root: &Root) -> Result<(), Stuck> {
        let holder = root.open_dir(&RelPath::root())?;
        self.places = SpillList::default();
        let mut removed = self.sessions.drain(..);
        removed.try_for_each(|session| remove_session(&holder, RESERVED_NAME, &session.name))
    }
}
