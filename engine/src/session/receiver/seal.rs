//! The end of an atomic push: everything is staged, nothing is changed. From here on it is
//! `generation/durable.rs` that makes it so; this file says which generation it becomes, and what
//! the sender is told.

use super::going::Going;
use super::named::Named;
use super::site::Site;
use crate::change::{Op, Ops, not_ours};
use crate::error::{Error, ErrorKind};
use crate::fail::fail_point;
use crate::generation::{
    AsOf, Generation, GenerationId, Held, Partial, Sealed, commit_staged, note_equal,
};
use crate::history::{Interrupted, Journal, Store, count_from_now, counts, prune, written_since};
use crate::path::RelPath;

/// What the records of a commit take on disk, and each op in its journal, in bytes.
const RECORDS_LEN: u64 = 64 << 10;
const OP_LEN: u64 = 512;

/// Commits what is staged, and tells the sender. What is `left` of interrupted pushes is of no use
/// any more: everything is staged anew.
pub(super) fn run(
    site: &mut Site,
    named: Option<Named>,
    mut left: Interrupted,
    going: &mut Going,
) -> Result<(), Error> {
    let real = site.door.real()?;
    let journal = Journal::new(real.commit.seal()?);
    real.room
        .reserve(RECORDS_LEN + OP_LEN * journal.ops.len() as u64);
    // What stays behind, the next push removes.
    let _ = left.remove(&real.root);
    site.tell_warnings()?;
    match named {
        None => seal_unnamed(site, journal, going),
        Some(named) => seal_named(site, named, journal, going),
    }
}

fn seal_unnamed(site: &mut Site, mut journal: Journal, going: &mut Going) -> Result<(), Error> {
    if journal.ops.is_empty() {
        // What an earlier push changed may not be on disk yet.
        let durable = site.door.real()?.commit.end()?;
        return site.done(durable, None, 0);
    }
    let store = make_store(site, None)?;
    carry_out(site, &store, &mut journal, going)?;
    site.done(true, None, 0)
}

fn seal_named(
    site: &mut Site,
    named: Named,
    mut journal: Journal,
    going: &mut Going,
) -> Result<(), Error> {
    let mut held = named.hold(site.door.root())?;
    let problems = std::mem::take(&mut site.voice.problems);
    let equal = named.equal(&held, &problems);
    let unchanged = equal.as_ref().filter(|(_, is_news)| !is_news);
    let unchanged = unchanged.map(|(head, _)| head.clone());
    let store = match held.store.take() {
        Some(store) => store,
        None => make_store(site, Some(&named.tree.name))?,
    };
    if let Some((head, is_news)) = equal.filter(|_| journal.ops.is_empty()) {
        site.door.real()?.commit.remove_stage()?;
        let as_of = named.as_of(&problems);
        note_equal(&store, &head, is_news, as_of)?;
        if is_news {
            named.received(&mut held, &head)?;
            fail_point("acknowledged");
        }
        named.remember();
        drop(named);
        return site.done(true, Some(unchanged_at(head, as_of)), 0);
    }
    journal.notes_lineage = unchanged.is_none();
    describe(&mut journal, &named, &held, &store, problems)?;
    let is_made = carry_out(site, &store, &mut journal, going)?;
    let head = if is_made {
        journal.generation
    } else {
        unchanged
    };
    let Some(head) = head else {
        return Err(Error::new(
            ErrorKind::FileIo,
            "nothing of the push could be carried out",
        ));
    };
    if !is_made {
        drop(named);
        return site.done(true, Some(unchanged_at(head, None)), 0);
    }
    named.received(&mut held, &head)?;
    fail_point("acknowledged");
    let sealed = Sealed {
        as_of: head.as_of,
        changed: true,
        pinned: journal.pinned,
        written: journal.written,
        head,
    };
    let (policy, peer_ahead_ns) = (named.tree.undo, named.peer_ahead_ns());
    named.remember();
    // Whoever hears that the push is over may push or undo at once: that waits for the commit
    // lock at most.
    drop(named);
    site.done(true, Some(sealed), 0)?;
    site.voice.outbox.lock().flush()?;
    // The push has succeeded. What goes of the past can go after the next one as well, and what
    // cannot go is told by the status.
    let _ = prune(&store, &policy, Some(peer_ahead_ns)).and_then(|()| count_from_now(&store));
    Ok(())
}

/// What a push that made no generation leaves.
fn unchanged_at(head: Generation, as_of: Option<AsOf>) -> Sealed {
    Sealed {
        head,
        changed: false,
        as_of,
        pinned: false,
        written: Partial::default(),
    }
}

/// Says which generation a journal makes, and what is kept of what it replaces.
fn describe(
    journal: &mut Journal,
    named: &Named,
    held: &Held,
    store: &Store,
    problems: Partial,
) -> Result<(), Error> {
    let takes = takes_anything(&journal.ops)?;
    journal.pinned = takes && (named.is_first || held.view().may_be_alone());
    journal.keep = named.tree.undo.keep > 0 || journal.pinned;
    if !journal.pinned {
        journal.written = written_since(store, &journal.ops)?;
    }
    let mut generation = named.generation(held, counts(&journal.ops)?, problems)?;
    if takes && named.is_first {
        // What was there is no generation, and yet a state that can be gone back to.
        let unknown = GenerationId::random();
        generation.parent_state = Some(unknown.map_err(|e| Error::file("get random numbers", &e))?);
    }
    journal.generation = Some(generation);
    Ok(())
}

fn make_store(site: &mut Site, tree: Option<&str>) -> Result<Store, Error> {
    let root = &site.door.real()?.root;
    Store::make(root, tree).map_err(|e| {
        let shown = root.shown(&RelPath::root());
        Error::file(format_args!("make .hasync in {shown}"), &not_ours(root, e))
    })
}

/// Returns whether the generation was made. Of what is `going`, all that is gone is told.
fn carry_out(
    site: &mut Site,
    store: &Store,
    journal: &mut Journal,
    going: &mut Going,
) -> Result<bool, Error> {
    let commit = &mut site.door.real()?.commit;
    let done = commit_staged(store, journal, commit.stage())?;
    let unmoved = commit.take_unmoved();
    if done.made {
        going.tell_rest(site, &[&unmoved, &done.unmoved])?;
    }
    done.failed.iter().try_for_each(|line| site.warn(line?))?;
    Ok(done.made)
}

/// Whether something is taken away that was there.
fn takes_anything(ops: &Ops) -> Result<bool, Error> {
    for op in ops.iter() {
        match op? {
            Op::Place { old: None, .. } | Op::SetDirAttrs { .. } => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}
