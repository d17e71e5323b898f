//! Undo: what a commit replaced or removed stays beside the data for a while, with the journal
//! that tells where it was. Read backwards, that journal leads back; doing so is a commit like any
//! other, whose own journal leads forward again.
//!
//! Each kept commit is a step from one state of the tree to another. An undo finds the steps from
//! the present state back to the wanted one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, AtFlags, accessat};

use super::journal::{Journal, Waypoint};
use super::kept::{self, Step};
use super::store::Store;
use crate::change::{Changes, Op, Ops, SessionPlace, is_mount_point, reversed};
use crate::clock::now_ns;
use crate::error::{Error, ErrorKind};
use crate::fs::{Attrs, Inode, Root, is_bordered, numbers_hold};
use crate::lineage::generation::{Generation, GenerationCounts, GenerationId, GenerationKind};
use crate::lineage::ordinal::Number;
use crate::path::{RelPath, Shown};
use crate::spill::{self, SpillMap};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UndoPolicy {
    /// Commits that can be undone; 0 keeps nothing.
    pub keep: u32,
    /// Commits older than this go, in seconds.
    pub max_age_s: Option<u64>,
    /// The oldest commits go when what is kept takes more than this on disk, in bytes. The last
    /// one stays.
    pub max_bytes: Option<u64>,
    /// The last ones stay, so many of them, even if a push finds no room.
    pub floor: u32,
}

/// The journal that leads from the present state of the tree back to that of `wanted`, or, without
/// one, to where the head was to lead as an undo that was not carried out whole, or else to the
/// state before the head. The generation that it makes has that number.
pub(super) fn plan(
    store: &Store,
    head: &Generation,
    number: Number,
    wanted: Option<GenerationId>,
) -> Result<Journal, Error> {
    let steps = kept::steps(store).map_err(|e| Error::file("read what is kept for undo", &e))?;
    let unfinished = steps
        .iter()
        .find(|step| step.is_rest && step.to == head.state);
    let unfinished = unfinished.map(|step| step.from);
    let wanted = wanted.or(unfinished).or(head.parent_state).ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "generation {} is the first, there is nothing to undo",
                head.shown()
            ),
        )
    })?;
    let Some(route) = route(&steps, head.state, wanted) else {
        return Err(no_way(store, &reachable(&steps, head.state)));
    };
    let mut journal = Journal::new(Changes::default());
    journal.keep = true;
    for step in route {
        let first = journal.sessions.len() as u32;
        journal.sessions.extend(step.sessions.iter().cloned());
        for op in reversed(&step.ops)?.iter() {
            let mut op = op?;
            if let Some(slot) = op.slot_mut() {
                slot.session += first;
            }
            journal.ops.push(&op)?;
        }
        journal.waypoints.push(Waypoint {
            ops_len: journal.ops.len() as u64,
            sessions_len: journal.sessions.len() as u32,
            state: step.from,
        });
    }
    journal.generation = Some(Generation {
        kind: GenerationKind::Undo,
        state: wanted,
        parent: Some(head.id),
        parent_state: Some(head.state),
        number,
        made_ns: now_ns(),
        as_of: None,
        partial: None,
        counts: counts(&journal.ops)?,
        id: GenerationId::random().map_err(|e| Error::file("get random numbers", &e))?,
        ..head.clone()
    });
    Ok(journal)
}

/// Why there is no way, and what there is.
fn no_way(store: &Store, reach: &[String]) -> Error {
    let reach = if reach.is_empty() {
        "nothing can be undone".to_owned()
    } else {
        format!("generations that can be undone: {}", reach.join(", "))
    };
    let message = match kept::hidden(store) {
        Ok(Some(dir)) => format!(
            "the way back to that generation leads through {}, and what is kept there cannot be \
             reached now: mount it, or give its key; {reach}",
            store.root().shown(&dir)
        ),
        _ => format!("the way back to that generation is not kept; {reach}"),
    };
    Error::new(ErrorKind::Usage, message)
}

/// The steps to take back, in order, from one state to another: the fewest.
fn route(steps: &[Step], from: GenerationId, to: GenerationId) -> Option<Vec<&Step>> {
    let mut came_by: HashMap<GenerationId, &Step> = HashMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(state) = queue.pop_front() {
        if state == to {
            let mut route = Vec::new();
            let mut at = to;
            while at != from {
                let step = came_by.get(&at)?;
                route.push(*step);
                at = step.to;
            }
            route.reverse();
            return Some(route);
        }
        for step in steps.iter().filter(|step| step.to == state) {
            if step.from != from && !came_by.contains_key(&step.from) {
                came_by.insert(step.from, step);
                queue.push_back(step.from);
            }
        }
    }
    None
}

/// The generations that can be undone from `head`, the last one first: to what each came from there
/// is a way.
pub(crate) fn undoable(store: &Store, head: &Generation) -> io::Result<Vec<Generation>> {
    let (steps, mut kept) = (kept::steps(store)?, kept::generations(store)?);
    kept.retain(|one| {
        let before = one.parent_state;
        before.is_some_and(|before| route(&steps, head.state, before).is_some())
    });
    Ok(kept)
}

/// Numbers of the generations that can be undone, for a message.
fn reachable(steps: &[Step], from: GenerationId) -> Vec<String> {
    let is_reachable = |step: &&Step| route(steps, from, step.from).is_some();
    let mut numbers: Vec<Number> = steps
        .iter()
        .filter(is_reachable)
        .map(|s| s.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.iter().map(Number::to_string).collect()
}

/// Checks that what is kept can be put away anew, on each mount that has a part of it.
pub(super) fn check_writable(root: &Root, sessions: &[SessionPlace]) -> Result<(), Error> {
    for place in sessions {
        let writable = root
            .open_reserved(&place.holder, &place.within)
            .and_then(|dir| Ok(accessat(&dir, ".", Access::WRITE_OK, AtFlags::empty())?));
        let path = root.path_of_reserved(&place.holder, &place.within);
        let shown = Shown(path.as_os_str().as_bytes());
        let doing = format_args!("undo anything: {shown} cannot be changed");
        writable.map_err(|e| Error::file(doing, &e))?;
    }
    Ok(())
}

/// What ops come to.
pub(crate) fn counts(ops: &Ops) -> Result<GenerationCounts, Error> {
    let mut counts = GenerationCounts::default();
    for op in ops.iter() {
        match op? {
            Op::Place { .. } | Op::Replace { .. } => counts.placed += 1,
            Op::Remove { .. } | Op::Discard { .. } => counts.removed += 1,
            Op::SetAttrs { .. } => counts.attributes += 1,
            Op::SetDirAttrs { .. } => {}
        }
    }
    Ok(counts)
}

/// What an op expects under a name.
enum Expected {
    Inode(Option<Inode>),
    /// Whatever its time is now.
    AnyTime(Inode),
}

/// The first path that is not what the journal's ops expect to find, if there is one: somebody
/// else has changed the tree since.
/// Only what `concerns` says matters.
pub(super) fn first_conflict(
    root: &Root,
    ops: &Ops,
    concerns: impl Fn(&RelPath) -> bool,
) -> Result<Option<RelPath>, Error> {
    // Between a project and what is not its own, entries may have been moved as copies.
    let is_project = is_bordered(root);
    let mut moved = SpillMap::default();
    // Under whichever of its names, its time is another one than the journal of it says.
    let mut touched = SpillMap::default();
    for op in ops.iter() {
        let op = op?;
        if let Op::SetAttrs {
            dir, name, inode, ..
        } = &op
        {
            let number = if inode.is_numbered() {
                inode.number
            } else {
                let found = root.open_dir(dir).and_then(|dir| Inode::at(dir, name));
                found.ok().flatten().map_or(0, |found| found.number)
            };
            touched.insert(&number.to_le_bytes(), &op.path().as_bytes());
        }
    }
    for op in ops.iter() {
        let (dir, name, expected) = match op? {
            Op::Place { dir, name, old, .. } => (dir, name, Expected::Inode(old)),
            Op::Remove { dir, name, old, .. } => (dir, name, Expected::Inode(Some(old))),
            Op::SetAttrs {
                dir, name, inode, ..
            } => (dir, name, Expected::AnyTime(inode)),
            Op::SetDirAttrs { .. } | Op::Replace { .. } | Op::Discard { .. } => continue,
        };
        let path = dir.join(&name);
        if !concerns(&path) {
            continue;
        }
        // What earlier ops moved, or moved something into, is not there yet.
        let mut above = Some(path.clone());
        let is_moved = std::iter::from_fn(|| {
            let this = above.take()?;
            above = this.split().map(|(above, _)| above);
            Some(this)
        })
        .any(|path| moved.contains(&path.as_bytes()));
        if !is_moved {
            let fits = || -> io::Result<bool> {
                let dir = root.open_dir(&dir)?;
                if is_mount_point(&dir, &name) {
                    // What it hides is not known, and the change itself will say so.
                    return Ok(true);
                }
                let found = Inode::at(&dir, &name)?;
                // Where numbers do not hold, all else tells.
                let is_it = |found: Inode, wanted: Inode| {
                    found.number == wanted.number
                        || found.file_type() == wanted.file_type()
                            && (is_project || is_bordered(&dir) || !numbers_hold(&dir))
                };
                // In a copy of the tree, it is told by what the executor tells it by.
                let may_be = |found: Inode, copied: Inode| {
                    let by = touched.get(&found.number.to_le_bytes());
                    let is_touched = by.is_some_and(|by| *by != *path.as_bytes());
                    found.may_be(&copied, &Attrs::default())
                        || is_touched && found.file_type() == copied.file_type()
                };
                Ok(match (expected, found) {
                    (Expected::Inode(None), found) => found.is_none(),
                    (_, None) => false,
                    (Expected::AnyTime(copied) | Expected::Inode(Some(copied)), Some(found))
                        if !copied.is_numbered() =>
                    {
                        may_be(found, copied)
                    }
                    (Expected::AnyTime(wanted), Some(found)) => is_it(found, wanted),
                    (Expected::Inode(Some(wanted)), Some(found)) => {
                        let same = Inode {
                            number: wanted.number,
                            ..found
                        };
                        let is_touched = touched.contains(&wanted.number.to_le_bytes());
                        is_it(found, wanted) && (is_touched || same.is_same(&wanted))
                    }
                })
            };
            if !fits().is_ok_and(|fits| fits) {
                return Ok(Some(path));
            }
        }
        moved.insert(&path.as_bytes(), b"");
    }
    spill::check()?;
    Ok(None)
}
