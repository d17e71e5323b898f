//! Making an atomic commit durable, and bringing one to its end that was cut off.
//!
//! Order of durable effects:
//! 1. everything is staged;
//! 2. flush: what was staged is on disk;
//! 3. the journal of what is to change is on disk;
//! 4. entries change places, metadata is set;
//! 5. flush: that is on disk;
//! 6. the head says so: from here on this is the generation;
//! 7. what was replaced goes to undo, or away; the journal with it.
//!
//! Cut off before 3, nothing has happened but staging, which the next push removes. Cut off after
//! it, the journal is carried out from its beginning. Between 3 and 6 a mixture of old and new may
//! be on disk, and nothing should read the tree before [`recover`] has run.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use super::fail::fail_point;
use crate::clock::AsOf;
use crate::commit::{Journal, Roll, SessionPlace};
use crate::error::Error;
use crate::fs::{Root, remove_tree};
use crate::history::kept;
use crate::history::store::{Store, keep_time};
use crate::lineage::generation::Generation;
use crate::path::RelPath;
use crate::stage::{Stage, remove_if_empty};

/// Carries out a commit that is staged (1) and described by `journal`. `flushed_by` are
/// descriptors, opened before the first staged byte, on every file system that was staged on.
///
/// Returns what could not be carried out, in words.
///
/// # Errors
///
/// If it fails before the journal is on disk nothing has changed; after that the journal stays,
/// for [`recover`] to carry out.
pub(crate) fn commit(
    store: &Store,
    journal: &mut Journal,
    flushed_by: &[impl AsFd],
) -> Result<Vec<String>, Error> {
    fail_point("staged");
    flush(store.root(), flushed_by)?;
    fail_point("flushed");
    store
        .set_journal(journal)
        .map_err(|e| Error::file("write the journal of the commit", &e))?;
    fail_point("journal");
    carry_out(store, journal, false)
}

/// The same with what one push or undo has staged, for which the journal answers from then on.
pub(crate) fn commit_staged(
    store: &Store,
    journal: &mut Journal,
    stage: &mut Stage,
) -> Result<Vec<String>, Error> {
    let mounts = stage.mounts();
    let result = commit(store, journal, &mounts);
    // Whatever went wrong after the journal was on disk, recovery needs what is staged.
    if result.is_ok() || store.is_interrupted().unwrap_or(true) {
        stage.forget();
    }
    result
}

/// Notes that the tree was found equal, as of then, and what it is from now on if that `is_news`.
/// That is one record, which is on disk or is not.
pub(crate) fn note_equal(
    store: &Store,
    head: &Generation,
    is_news: bool,
    as_of: Option<AsOf>,
) -> Result<(), Error> {
    let note = || -> io::Result<()> {
        if is_news {
            store.lock()?;
            store.set_head(head)?;
            fail_point("recorded");
            store.log_once(head)
        } else if let Some(as_of) = as_of {
            store.set_as_of(head.id, as_of)
        } else {
            Ok(())
        }
    };
    note().map_err(|e| Error::file("record that the tree is equal", &e))
}

/// Brings a commit to its end that was cut off. Returns `None` if there is none, else what could
/// not be carried out.
pub(crate) fn recover(store: &Store) -> Result<Option<Vec<String>>, Error> {
    let is_there = store
        .lock()
        .map_err(|e| Error::file("lock the records of the tree", &e))?;
    if !is_there {
        return Ok(None);
    }
    let journal = store
        .journal()
        .map_err(|e| Error::file("read the journal of an interrupted commit", &e))?;
    let Some(mut journal) = journal else {
        return Ok(None);
    };
    let head = store
        .head()
        .map_err(|e| Error::file("read the head of the tree", &e))?;
    let is_done = head.is_some_and(|head| {
        journal
            .generation
            .as_ref()
            .is_some_and(|generation| generation.id == head.id)
    });
    if is_done {
        settle(store, &journal)?;
        return Ok(Some(Vec::new()));
    }
    carry_out(store, &mut journal, true).map(Some)
}

/// Steps 4 to 7, `again` if they were cut off.
fn carry_out(store: &Store, journal: &mut Journal, again: bool) -> Result<Vec<String>, Error> {
    let privileged = rustix::process::geteuid().is_root();
    let mut roll = Roll::open(store.root(), &journal.sessions, privileged)
        .map_err(|e| Error::file("open what was staged", &e))?;
    let failed = roll.forward(&journal.ops, again)?;
    fail_point("rolled");
    flush(store.root(), roll.sessions())?;
    drop(roll);
    if let Some(generation) = &mut journal.generation {
        generation.add_failed(&failed);
        store
            .set_head(generation)
            .map_err(|e| Error::file("record the generation", &e))?;
    }
    fail_point("recorded");
    settle(store, journal)?;
    Ok(failed)
}

/// Step 7.
fn settle(store: &Store, journal: &Journal) -> Result<(), Error> {
    let result = match &journal.generation {
        Some(generation) if journal.keep => store
            .log_once(generation)
            .and_then(|()| kept::keep(store, journal, generation)),
        Some(generation) => store
            .log_once(generation)
            .and_then(|()| drop_sessions(store, journal)),
        None => drop_sessions(store, journal),
    };
    result.map_err(|e| Error::file("put away what the commit replaced", &e))
}

/// Removes the journal, then what was replaced: a session that no journal names is nobody's.
fn drop_sessions(store: &Store, journal: &Journal) -> io::Result<()> {
    store.remove_journal()?;
    fail_point("settled");
    let root = store.root();
    for SessionPlace {
        holder,
        within,
        name,
    } in &journal.sessions
    {
        match root.open_reserved(holder, within) {
            Ok(dir) => remove_tree(&dir, name)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    tidy(store, journal)
}

/// Removes directories of hasync's own that are empty now, and spares the times of what holds them.
pub(crate) fn tidy(store: &Store, journal: &Journal) -> io::Result<()> {
    let root = store.root();
    let holders: BTreeSet<RelPath> = journal
        .sessions
        .iter()
        .map(|place| place.holder.clone())
        .chain([RelPath::root()])
        .collect();
    for path in holders {
        keep_time(root, &path, || {
            if path.is_root() && journal.generation.is_none() {
                store.remove_if_empty()?;
            }
            remove_if_empty(&root.open_dir(&path)?)
        })??;
    }
    Ok(())
}

fn flush(root: &Root, others: &[impl AsFd]) -> Result<(), Error> {
    let others = others.iter().map(AsFd::as_fd);
    crate::fs::flush(others.chain([root.as_fd()]))
        .map_err(|e| Error::file("flush the target to disk", &e))
}
