//! What goes of the past, because nobody wants it any more or for want of space. What is pinned
//! stays and does not count. All of it is to be called with the commit lock.
//!
//! From the moment on at which its manifest is renamed a step is none any more. What is left of it
//! then, because of a crash or of something that cannot be removed, is rubbish: every prune tries
//! to remove it again.

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use super::clocks::{are_believed, times_made};
use super::journal::Journal;
use super::kept::{Kept, PINNED, exists, is_there, open_step, read, step_places, undo_dir};
use super::space::bytes_below;
use super::store::{GOING, JOURNAL, MANIFEST, Store};
use super::undo::UndoPolicy;
use crate::clock::now_ns;
use crate::fail::fail_point;
use crate::fs::{Root, flush_dir, is_absent, remove_tree};
use crate::generation::record;
use crate::path::RelPath;

/// What the directory of a step is.
enum Found {
    Step,
    Pinned,
    Rubbish,
}

/// Removes what the policy does not keep, and rubbish. The peer's clock, if one is known, is so far
/// ahead of this node's. What cannot be removed keeps nothing else; the first reason is returned.
pub(crate) fn prune(
    store: &Store,
    policy: &UndoPolicy,
    peer_ahead_ns: Option<i64>,
) -> io::Result<()> {
    let mut result = sweep(store);
    // Age counts for nothing where the clocks cannot be noted, as on a full disk.
    let mut is_believed = || match are_believed(store.dir(), peer_ahead_ns) {
        Ok(is_believed) => is_believed,
        Err(e) => {
            result = std::mem::replace(&mut result, Ok(())).and(Err(e));
            false
        }
    };
    let oldest_ns = match policy.max_age_s {
        Some(age_s) if is_believed() => {
            let age_s = i64::try_from(age_s).unwrap_or(i64::MAX);
            Some(now_ns().saturating_sub(age_s.saturating_mul(1_000_000_000)))
        }
        _ => None,
    };
    let log = match oldest_ns {
        Some(_) => store.log()?,
        None => Vec::new(),
    };
    let made_ns = times_made(&log);
    let keep = policy.keep as usize;
    let mut bytes = 0;
    for (at, place) in steps_to_lose(store)?.into_iter().enumerate() {
        if at < keep && oldest_ns.is_none() && policy.max_bytes.is_none() {
            // Its manifest has a line for every changed entry, and need not be read.
            continue;
        }
        let step = match read(store, place) {
            Ok(Some(step)) => step,
            Ok(None) => continue,
            Err(e) => {
                result = result.and(Err(e));
                continue;
            }
        };
        let mut goes = at >= keep || oldest_ns.is_some_and(|ns| made_ns(&step.generation) < ns);
        if let Some(max_bytes) = policy.max_bytes.filter(|_| !goes) {
            bytes += bytes_of(store.root(), &step);
            goes = at > 0 && bytes > max_bytes;
        }
        if goes {
            result = result.and(discard(store, &step.place, &step.journal));
        }
    }
    result
}

/// Gives the oldest step up for its space, unless no more than `floor` are left. Returns whether
/// there was one.
pub(crate) fn give_way(store: &Store, floor: u32) -> io::Result<bool> {
    let mut places = steps_to_lose(store)?;
    if places.len() <= floor as usize {
        return Ok(false);
    }
    let oldest = places.pop().map(|place| read(store, place)).transpose()?;
    let Some(step) = oldest.flatten() else {
        return Ok(false);
    };
    discard(store, &step.place, &step.journal)?;
    Ok(true)
}

/// Bytes that the steps take on disk which are kept, and those that are pinned.
pub(crate) fn bytes_kept(store: &Store) -> io::Result<(u64, u64)> {
    let (mut kept, mut pinned) = (0, 0);
    for (_, place) in step_places(store)? {
        let sum = match find(store, &place)? {
            Found::Step => &mut kept,
            Found::Pinned => &mut pinned,
            Found::Rubbish => continue,
        };
        *sum += read(store, place)?.map_or(0, |step| bytes_of(store.root(), &step));
    }
    Ok((kept, pinned))
}

/// Directories of steps that are none any more, and have not been removed.
pub(crate) fn rubbish(store: &Store) -> io::Result<Vec<PathBuf>> {
    if exists(store.dir(), JOURNAL.name)? {
        // A commit that is to be carried on puts its entries there before its journal.
        return Ok(Vec::new());
    }
    let mut rubbish = Vec::new();
    for (_, place) in step_places(store)? {
        if matches!(find(store, &place)?, Found::Rubbish) {
            rubbish.push(store.path_of(&place));
        }
    }
    Ok(rubbish)
}

/// Removes the step if all of it has been used.
pub(super) fn remove_used(store: &Store, place: &RelPath) -> io::Result<()> {
    let kept = match read(store, place.clone()) {
        Ok(kept) => kept,
        Err(e) if is_absent(&e) => None,
        Err(e) => return Err(e),
    };
    let Some(Kept { journal, .. }) = kept else {
        return Ok(());
    };
    let is_left = |session| is_there(store.root(), session);
    if journal.has_step_without_session() || journal.kept_sessions().any(is_left) {
        return Ok(());
    }
    let removed = discard(store, place, &journal);
    match find(store, place) {
        // It is none any more: what is left of it is swept up later, and told until then.
        Ok(Found::Rubbish) => Ok(()),
        _ => removed,
    }
}

/// Removes a step.
pub(super) fn discard(store: &Store, place: &RelPath, journal: &Journal) -> io::Result<()> {
    let own = open_step(store, place)?;
    match renameat(&own, MANIFEST.name, &own, GOING.name) {
        // A disk that has no room for a name has some for one less. What is left of the step on
        // other mounts after a crash is told by nothing then.
        Err(Errno::NOSPC | Errno::DQUOT) => unlinkat(&own, MANIFEST.name, AtFlags::empty())?,
        result => result?,
    }
    flush_dir(&own)?;
    fail_point("pruning");
    remove_step(store, place, journal)
}

/// The steps that may go, the last one first.
fn steps_to_lose(store: &Store) -> io::Result<Vec<RelPath>> {
    let mut steps = Vec::new();
    for (_, place) in step_places(store)? {
        if matches!(find(store, &place)?, Found::Step) {
            steps.push(place);
        }
    }
    Ok(steps)
}

fn find(store: &Store, place: &RelPath) -> io::Result<Found> {
    let dir = open_step(store, place)?;
    Ok(match exists(&dir, MANIFEST.name)? {
        false => Found::Rubbish,
        true if exists(&dir, PINNED)? => Found::Pinned,
        true => Found::Step,
    })
}

/// Removes rubbish, as far as possible.
fn sweep(store: &Store) -> io::Result<()> {
    let mut result = Ok(());
    if exists(store.dir(), JOURNAL.name)? {
        return result;
    }
    for (_, place) in step_places(store)? {
        if !matches!(find(store, &place)?, Found::Rubbish) {
            continue;
        }
        let going = record::read::<Journal>(&open_step(store, &place)?, GOING);
        result = result.and(match going {
            Ok(Some(journal)) => remove_step(store, &place, &journal),
            // Nothing tells of other mounts; what is here is nobody's all the same.
            Ok(None) | Err(_) => remove_own(store, &place),
        });
    }
    result
}

/// Its own directory goes last, and stays with its list of sessions as long as one of them does.
fn remove_step(store: &Store, place: &RelPath, journal: &Journal) -> io::Result<()> {
    let mut result = Ok(());
    for session in journal.kept_sessions() {
        let dir = match store.root().open_reserved(&session.holder, place) {
            Ok(dir) => dir,
            // The directory has gone since, or what was mounted on it.
            Err(e) if is_absent(&e) => continue,
            Err(e) => {
                result = result.and(Err(e));
                continue;
            }
        };
        let removed = remove_tree(&dir, &session.name, None);
        result = result.and(removed.map_err(|stuck| stuck.cause));
        if !session.holder.is_root() {
            result = result.and(remove_empty(store.root(), &session.holder, place));
        }
    }
    result?;
    remove_own(store, place)
}

fn remove_own(store: &Store, place: &RelPath) -> io::Result<()> {
    let above = store
        .root()
        .open_reserved(&RelPath::root(), &undo_dir(store))?;
    remove_tree(&above, place.name(), None).map_err(|stuck| stuck.cause)
}

/// Removes the directory of a step on another mount, if no session is left in it.
fn remove_empty(root: &Root, holder: &RelPath, place: &RelPath) -> io::Result<()> {
    let Some((above, name)) = place.split() else {
        return Ok(());
    };
    let above = root.open_reserved(holder, &above)?;
    match unlinkat(&above, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Bytes that a step takes on disk.
fn bytes_of(root: &Root, step: &Kept) -> u64 {
    let mut bytes = 0;
    for session in step.journal.kept_sessions() {
        let place = step.place.join(&session.name);
        // It may have been taken back.
        let Ok(dir) = root.open_reserved(&session.holder, &place) else {
            continue;
        };
        let held = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let path = match std::fs::exists(&held) {
            Ok(true) => PathBuf::from(held),
            // No `/proc`: by its name, which leads at worst to a wrong sum.
            _ => root.path_of_reserved(&session.holder, &place),
        };
        bytes += bytes_below(&path);
    }
    bytes
}
