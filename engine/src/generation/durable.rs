//! Making an atomic commit durable, and bringing one to its end that was cut off.
//!
//! The order of durable effects stands in `change/mod.rs`.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use crate::change::{
    Failed, Failures, Lines, OnFailure, Ops, Roll, SessionPlace, Stage, Told, remove_if_empty,
    reversed,
};
use crate::clock::AsOf;
use crate::error::Error;
use crate::fail::fail_point;
use crate::fs::{Root, is_absent, keeping_time, remove_own_tree};
use crate::history::journal::{Direction, Journal};
use crate::history::store::Store;
use crate::history::{counts, kept};
use crate::lineage::generation::{Generation, PARTIAL_LINES_MAX, Partial};
use crate::path::{RESERVED_NAME, RelPath, Shown};
use crate::path_set::PathSet;

/// What became of a commit.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// What could not be carried out, in words.
    pub(crate) failed: Lines,
    /// Where something was to be put or removed, and was not.
    pub(crate) unmoved: PathSet,
    /// Whether the generation was made: none is of which nothing could be carried out.
    pub(crate) made: bool,
}

/// Carries out a commit that is staged and described by `journal`. `flushed_by` are descriptors,
/// opened before the first staged byte, on every file system that was staged on.
///
/// # Errors
///
/// If it fails before the journal is on disk nothing has changed; after that the journal stays,
/// for [`recover`] to carry out.
pub(crate) fn commit(
    store: &Store,
    journal: &mut Journal,
    flushed_by: &[impl AsFd],
) -> Result<Done, Error> {
    fail_point("staged");
    flush(store.root(), flushed_by)?;
    fail_point("flushed");
    journal
        .note_births(store.root())
        .map_err(|e| Error::file("look at the records of the tree", &e))?;
    write_journal(store, journal)?;
    fail_point("journal");
    carry_out(store, journal, false)
}

/// The same with what one push or undo has staged, for which the journal answers from then on.
pub(crate) fn commit_staged(
    store: &Store,
    journal: &mut Journal,
    stage: &mut Stage,
) -> Result<Done, Error> {
    let result = commit(store, journal, &stage.sessions());
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

/// Brings a commit to its end that was cut off, the way that its journal says. Returns `None` if
/// there is none.
pub(crate) fn recover(store: &Store) -> Result<Option<Done>, Error> {
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
    let is_made = head.is_some_and(|head| {
        journal
            .generation
            .as_ref()
            .is_some_and(|generation| generation.id == head.id)
    });
    if is_made {
        let mut done = Done {
            made: true,
            ..Done::default()
        };
        settle(store, &journal, &mut done.failed)?;
        return Ok(Some(done));
    }
    journal.locate(store.root())?;
    carry_out(store, &mut journal, true).map(Some)
}

/// Everything after the journal is on disk, `again` if it was cut off.
fn carry_out(store: &Store, journal: &mut Journal, again: bool) -> Result<Done, Error> {
    let root = store.root();
    let mut roll =
        Roll::open(root, &journal.sessions).map_err(|e| Error::file("open what was staged", &e))?;
    if journal.direction == Direction::Back {
        return lead_back(store, journal, &mut roll, Failures::default());
    }
    let is_whole = journal.is_all_or_nothing();
    let on_failure = if is_whole {
        OnFailure::Stop
    } else {
        OnFailure::GoOn
    };
    let failed = roll.forward(&journal.ops, again, on_failure)?;
    if is_whole && !failed.is_empty() {
        journal.direction = Direction::Back;
        write_journal(store, journal)?;
        fail_point("aborted");
        return lead_back(store, journal, &mut roll, failed);
    }
    fail_point("rolled");
    let mut unplaced = Ops::default();
    if !failed.is_empty() {
        if !journal.is_undo() {
            for at in failed.positions() {
                unplaced.push(&journal.ops.get(at?)?)?;
            }
        }
        journal.strike(&failed)?;
    }
    if !failed.is_empty() || !failed.lines.is_empty() {
        if let Some(generation) = &mut journal.generation {
            generation.add_failed(&in_short(&failed.lines)?);
        }
        write_journal(store, journal)?;
        fail_point("struck");
    }
    for op in unplaced.iter() {
        roll.drop_unplaced(&op?);
    }
    let Failures {
        lines: mut failed,
        unmoved,
        ..
    } = failed;
    flush(root, roll.sessions())?;
    drop(roll);
    // Cut off after that was struck, it is only the generation that tells.
    let was_partial = || {
        journal
            .generation
            .as_ref()
            .is_some_and(|g| g.partial.is_some())
    };
    let has_failed = !failed.is_empty() || again && was_partial();
    let is_nothing = journal.ops.is_empty() && has_failed && !journal.notes_lineage;
    if is_nothing {
        drop_sessions(store, journal, &mut failed)?;
        return Ok(Done {
            failed,
            ..Done::default()
        });
    }
    if let Some(generation) = &mut journal.generation {
        generation.counts = counts(&journal.ops)?;
        store
            .set_head(generation)
            .map_err(|e| Error::file("record the generation", &e))?;
    }
    fail_point("recorded");
    settle(store, journal, &mut failed)?;
    Ok(Done {
        failed,
        unmoved,
        made: true,
    })
}

/// Brings the tree back to where it was before the commit, of which `failed` made that necessary.
fn lead_back(
    store: &Store,
    journal: &Journal,
    roll: &mut Roll,
    failed: Failures,
) -> Result<Done, Error> {
    let root = store.root();
    let back = reversed(&journal.ops)?;
    let stuck = roll.forward(&back, true, OnFailure::GoOn)?;
    if let Some(stuck) = stuck.first_unmoved {
        // What belongs there is in staging: it stays until this can be done.
        return Err(stuck.into_error(root));
    }
    flush(root, roll.sessions())?;
    fail_point("led back");
    let mut lines = failed.lines;
    for line in stuck.lines.iter() {
        lines.push(&line?)?;
    }
    drop_sessions(store, journal, &mut lines)?;
    if let Some(full) = failed.first_full {
        return Err(full.into_error(root));
    }
    lines.push(&format!(
        "nothing in {} was changed: its files change together or not at all",
        Shown(root.path().as_os_str().as_bytes())
    ))?;
    Ok(Done {
        failed: lines,
        ..Done::default()
    })
}

fn write_journal(store: &Store, journal: &Journal) -> Result<(), Error> {
    store
        .set_journal(journal)
        .map_err(|e| Error::file("write the journal of the commit", &e))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what an error is mapped by"
)]
fn put_away(e: io::Error) -> Error {
    Error::file("put away what the commit replaced", &e)
}

/// What was replaced goes to undo, or away, and the journal with it. What stays is told in `lines`.
fn settle(store: &Store, journal: &Journal, lines: &mut Lines) -> Result<(), Error> {
    if let Some(generation) = &journal.generation {
        store.log_once(generation).map_err(put_away)?;
        if journal.keep {
            kept::keep(store, journal, generation).map_err(put_away)?;
            return tell(&tidy(store, journal), store.root(), lines);
        }
    }
    drop_sessions(store, journal, lines)
}

/// Removes the journal, then what was replaced: a session that no journal names is nobody's. What
/// an undo was to take from stays with the step that keeps it. What cannot be removed is told in
/// `lines`.
fn drop_sessions(store: &Store, journal: &Journal, lines: &mut Lines) -> Result<(), Error> {
    store.remove_journal().map_err(put_away)?;
    fail_point("settled");
    let root = store.root();
    let mut failed = Vec::new();
    for SessionPlace {
        holder,
        within,
        name,
    } in &journal.sessions
    {
        if kept::is_kept(store, within) {
            continue;
        }
        match root.open_reserved(holder, within) {
            Ok(dir) => {
                let path = holder.join(RESERVED_NAME).join_path(within).join(name);
                let stuck = remove_own_tree(&dir, name).err();
                failed.extend(stuck.map(|stuck| Failed::new(root, "remove", &path, stuck)));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(put_away(e)),
        }
    }
    failed.extend(tidy(store, journal));
    tell(&failed, root, lines)
}

/// The first of these, and how many there are.
pub(crate) fn in_short(lines: &Lines) -> Result<Partial, Error> {
    let first = lines.iter().take(PARTIAL_LINES_MAX);
    Ok(Partial {
        count: lines.len() as u64,
        lines: first.collect::<Result<_, _>>()?,
    })
}

fn tell(failed: &[Failed], root: &Root, lines: &mut Lines) -> Result<(), Error> {
    let mut told = Told::default();
    let mut said = failed.iter().filter_map(|failed| told.line(failed, root));
    said.try_for_each(|line| lines.push(&line))
}

/// Removes directories of hasync's own that are empty now, and spares the times of what holds them.
/// Returns what stays all the same.
fn tidy(store: &Store, journal: &Journal) -> Vec<Failed> {
    let root = store.root();
    let holders: BTreeSet<RelPath> = journal
        .sessions
        .iter()
        .map(|place| place.holder.clone())
        .chain([RelPath::root()])
        .collect();
    let tidied = |path: &RelPath| {
        let holder = root.open_dir(path)?;
        keeping_time(&holder, || {
            if path.is_root() && journal.generation.is_none() {
                store.remove_if_empty()?;
            }
            remove_if_empty(&holder, RESERVED_NAME)
        })?
    };
    let stays = |path: &RelPath| {
        // What has gone since has nothing left in it.
        let e = tidied(path).err().filter(|e| !is_absent(e))?;
        Some(Failed::new(
            root,
            "remove",
            &path.join(RESERVED_NAME),
            e.into(),
        ))
    };
    holders.iter().filter_map(stays).collect()
}

fn flush(root: &Root, others: &[impl AsFd]) -> Result<(), Error> {
    let others = others.iter().map(AsFd::as_fd);
    crate::fs::flush(others.chain([root.as_fd()]))
        .map_err(|e| Error::file("flush the target to disk", &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::apply::create_file;
    use crate::attributes::Scope;
    use crate::change::{Commit, Ops, Over, Tree};
    use crate::fs::Attrs;
    use crate::options::Options;
    use crate::source::stat_name;

    /// Name, content, mode and time of everything.
    fn state(root: &Path) -> Vec<(String, String, u32, i64)> {
        let entries = walkdir::WalkDir::new(root).sort_by_file_name();
        let entries = entries.into_iter().map(Result::unwrap);
        let of = |entry: walkdir::DirEntry| {
            let found = entry.metadata().unwrap();
            let content = fs::read_to_string(entry.path()).unwrap_or_default();
            let name = entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .display()
                .to_string();
            (name, content, found.mode(), found.mtime())
        };
        entries.map(of).collect()
    }

    /// A tree, and the journal of a commit that replaces, makes, removes and changes metadata.
    fn begun(root: &Arc<Root>, path: &Path) -> (Store, Journal) {
        for (dir, mode) in [("open", 0o755), ("closed", 0o700)] {
            fs::create_dir(path.join(dir)).unwrap();
            fs::set_permissions(path.join(dir), fs::Permissions::from_mode(mode)).unwrap();
        }
        for name in ["changed", "mode", "open/gone", "closed/changed"] {
            fs::write(path.join(name), "old").unwrap();
        }
        let options = Options {
            atomic: true,
            ..Options::archive()
        };
        let mut commit = Commit::new(Arc::clone(root), &options);
        let top = RelPath::root();
        let (open, closed) = (top.join(b"open"), top.join(b"closed"));
        for (dir, name) in [(&top, "changed"), (&top, "new"), (&closed, "changed")] {
            let staged = commit.stage_for(dir).unwrap();
            let mut file = create_file(&*staged.stage, &staged.name, 0o600).unwrap();
            io::Write::write_all(&mut file, b"new").unwrap();
            let name = name.as_bytes().to_vec();
            commit
                .place(&staged, dir.clone(), name, Over::default())
                .unwrap();
        }
        for (name, mode) in [("mode", 0o600), ("open", 0o700), ("closed", 0o755)] {
            let listed = stat_name(&**root, name.as_bytes(), Scope::default()).unwrap();
            let mode = Some(mode);
            let attrs = Attrs {
                mode,
                ..Attrs::default()
            };
            commit.set_attrs(&top, &listed, attrs).unwrap();
        }
        let gone = b"gone".to_vec();
        commit.remove((open, None), gone, Tree::Any).unwrap();
        let journal = Journal::new(commit.seal().unwrap());
        commit.stage().forget();
        assert_eq!(commit.take_warnings().unwrap().len(), 0);
        (Store::make(root, None).unwrap(), journal)
    }

    /// Cut off after any op, the journal leads where its mark says.
    #[test]
    fn the_mark_decides_after_a_crash() {
        let temp = tempfile::tempdir().unwrap();
        let mut cases = 0;
        for direction in [Direction::Forward, Direction::Back] {
            let mut cut = 0;
            loop {
                let path = temp.path().join(format!("{direction:?} {cut}"));
                fs::create_dir(&path).unwrap();
                let root = Arc::new(Root::open(&path).unwrap());
                let (store, mut journal) = begun(&root, &path);
                if cut > journal.ops.len() {
                    break;
                }
                let mut done = Ops::default();
                for op in journal.ops.iter().take(cut) {
                    done.push(&op.unwrap()).unwrap();
                }
                let is_ours = |(name, ..): &(String, String, u32, i64)| name.starts_with(".hasync");
                let mut old = state(&path);
                old.retain(|entry| !is_ours(entry));
                store.set_journal(&journal).unwrap();
                let mut roll = Roll::open(&root, &journal.sessions).unwrap();
                let failed = roll.forward(&done, false, OnFailure::GoOn).unwrap();
                assert_eq!(failed.len(), 0);
                journal.direction = direction;
                store.set_journal(&journal).unwrap();
                drop(roll);
                let done = recover(&store).unwrap().unwrap();
                assert_eq!(done.made, direction == Direction::Forward);
                let now = state(&path);
                let of = |name: &str| now.iter().find(|entry| entry.0 == name).cloned();
                match direction {
                    Direction::Back => assert_eq!(now, old, "cut off after {cut}"),
                    Direction::Forward => {
                        assert_eq!(of("changed").unwrap().1, "new");
                        assert_eq!(of("new").unwrap().1, "new");
                        assert_eq!(of("open/gone"), None);
                        assert_eq!(of("open").unwrap().2 & 0o777, 0o700);
                        assert_eq!(of("closed").unwrap().2 & 0o777, 0o755);
                        assert_eq!(of(".hasync"), None);
                    }
                }
                (cut, cases) = (cut + 1, cases + 1);
            }
        }
        assert!(cases > 12);
    }
}
