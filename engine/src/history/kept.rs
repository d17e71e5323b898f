//! What is kept of the past: each commit's step, a directory `undo/<number>-<id>` beside the head
//! with the entries that the commit replaced or removed, as its sessions, and its journal as the
//! manifest. On other mounts a directory of the same name holds the sessions of that mount.
//!
//! A directory without a manifest is no step.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, statat};
use rustix::io::Errno;

use super::journal::{Journal, Rest, Waypoint};
use super::prune::{discard, remove_used};
use super::store::{JOURNAL, MANIFEST, Store, mkdir_open};
use crate::change::{Ops, SessionPlace, reversed, take_away};
use crate::error::Error;
use crate::fail::fail_point;
use crate::fs::{Root, flush_dir, is_absent, names, open_dir_below};
use crate::generation::record;
use crate::lineage::generation::{Generation, GenerationId, Partial};
use crate::lineage::ordinal::Number;
use crate::path::{RESERVED_NAME, RelPath};

/// An empty file beside the manifest of a step that stays until somebody says otherwise.
pub(super) const PINNED: &str = "pinned";

/// A generation that replaced what this node had as primary, or what was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// What it is.
    pub generation: Generation,
    /// Where what it replaced is, as an absolute path.
    pub path: PathBuf,
}

/// A commit that is kept.
pub(super) struct Kept {
    /// Where it is, below `.hasync`.
    pub(super) place: RelPath,
    pub(super) journal: Journal,
    pub(super) generation: Generation,
}

/// A step from one state of the tree to another, which can be taken back. A commit is one, and an
/// undo over several commits is several.
pub(super) struct Step {
    pub(super) sessions: Vec<SessionPlace>,
    pub(super) ops: Ops,
    pub(super) from: GenerationId,
    pub(super) to: GenerationId,
    /// The generation that it led to, or through.
    pub(super) number: Number,
    /// It is what an undo could not carry out: to take it back is to go on with that undo.
    pub(super) is_rest: bool,
}

/// Puts away what the commit of `journal` replaced, with the journal itself. Can be repeated after
/// it was cut off anywhere.
pub(crate) fn keep(store: &Store, journal: &Journal, generation: &Generation) -> io::Result<()> {
    let root = store.root();
    let to = step_dir(store, generation);
    let own = make_reserved(root, &RelPath::root(), &to)?;
    for SessionPlace {
        holder,
        within,
        name,
    } in &journal.sessions
    {
        let kept = make_reserved(root, holder, &to)?;
        let from = match root.open_reserved(holder, within) {
            Ok(from) => from,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        match renameat(&from, &**name, &kept, &**name) {
            Ok(()) => {
                flush_dir(&kept)?;
                flush_dir(&from)?;
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if let Some(rest) = &journal.rest {
        keep_rest(root, &to, journal, rest)?;
    }
    fail_point("keeping");
    // Steps whose entries were used by this one lead nowhere any more.
    let mut used: Vec<&RelPath> = journal.sessions.iter().map(|s| &s.within).collect();
    used.dedup();
    for place in used {
        if is_kept(store, place) && *place != to {
            remove_used(store, place)?;
        }
    }
    if journal.pinned {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&own, PINNED, flags, Mode::RUSR | Mode::WUSR)?;
    }
    match renameat(store.dir(), JOURNAL.name, &own, MANIFEST.name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    flush_dir(&own)?;
    flush_dir(store.dir())?;
    fail_point("kept");
    Ok(())
}

/// Parts the slots of what an undo could not carry out from those that it has used: either way is
/// taken for itself. Can be repeated.
fn keep_rest(root: &Root, to: &RelPath, journal: &Journal, rest: &Rest) -> io::Result<()> {
    let mut dirs = Vec::new();
    for (from, SessionPlace { holder, name, .. }) in &rest.sessions {
        let from = journal.sessions.get(*from as usize);
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let kept = make_reserved(root, holder, to)?;
        let from = root.open_reserved(holder, &to.join(&from.name))?;
        dirs.push((from, mkdir_open(&kept, name)?));
    }
    for op in rest.ops.iter() {
        let op = op.map_err(io::Error::other)?;
        let Some(slot) = op.slot() else { continue };
        let (from, into) = dirs
            .get(slot.session as usize)
            .ok_or(io::ErrorKind::InvalidData)?;
        let (above, name) = slot.path.split().ok_or(io::ErrorKind::InvalidData)?;
        let mut into = into.try_clone()?;
        for name in above.components() {
            into = mkdir_open(&into, name)?;
        }
        match open_dir_below(from, &above).and_then(|from| take_away((&from, name), (&into, name)))
        {
            Ok(()) => {
                flush_dir(&into)?;
                fail_point("parting");
            }
            // Nothing was to come from there, or it has been parted already.
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(e),
        }
    }
    for (from, into) in dirs {
        flush_dir(&from)?;
        flush_dir(&into)?;
    }
    Ok(())
}

/// The generations whose commits are kept, the last one first.
pub(crate) fn generations(store: &Store) -> io::Result<Vec<Generation>> {
    let mut generations = Vec::new();
    for (_, place) in step_places(store)? {
        generations.extend(read(store, place)?.map(|kept| kept.generation));
    }
    Ok(generations)
}

/// Those that stay until they are forgotten, the last one first.
pub(crate) fn pinned(store: &Store) -> io::Result<Vec<Pinned>> {
    let mut pinned = Vec::new();
    for (_, place) in step_places(store)? {
        if !exists(open_step(store, &place)?, PINNED)? {
            continue;
        }
        let path = store.path_of(&place);
        pinned.extend(read(store, place)?.map(|kept| Pinned {
            generation: kept.generation,
            path,
        }));
    }
    Ok(pinned)
}

/// What the kept generations replaced though somebody had written it here in between, the last one
/// first.
pub(crate) fn written(store: &Store) -> io::Result<Vec<(Generation, Partial)>> {
    let mut written = Vec::new();
    for (_, place) in step_places(store)? {
        let kept = read(store, place)?.filter(|kept| kept.journal.written.count > 0);
        written.extend(kept.map(|kept| (kept.generation, kept.journal.written)));
    }
    Ok(written)
}

/// Removes a pinned step with all that it keeps; `None` if that generation is not pinned. To be
/// called with the commit lock.
pub(crate) fn forget(store: &Store, id: GenerationId) -> io::Result<Option<Generation>> {
    for (_, place) in step_places(store)? {
        if !exists(open_step(store, &place)?, PINNED)? {
            continue;
        }
        if let Some(step) = read(store, place)?.filter(|step| step.generation.id == id) {
            discard(store, &step.place, &step.journal)?;
            return Ok(Some(step.generation));
        }
    }
    Ok(None)
}

/// All steps that have not been taken back, the last one first.
pub(super) fn steps(store: &Store) -> io::Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (_, place) in step_places(store)? {
        if let Some(kept) = read(store, place)? {
            steps.extend(kept.steps(store.root()).map_err(io::Error::other)?);
        }
    }
    Ok(steps)
}

/// A directory that steps have a part in, on a mount of its own, where nothing can be found now.
pub(super) fn hidden(store: &Store) -> io::Result<Option<RelPath>> {
    let above = undo_dir(store);
    for (_, place) in step_places(store)? {
        let kept = read(store, place)?;
        let sessions = kept.map_or(Vec::new(), |kept| kept.journal.sessions);
        let holders = sessions.into_iter().map(|session| session.holder);
        let is_hidden = |dir: &RelPath| store.root().open_reserved(dir, &above).is_err();
        if let Some(dir) = holders.filter(|dir| !dir.is_root()).find(is_hidden) {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

impl Kept {
    /// The steps of it that have not been taken back.
    fn steps(self, root: &Root) -> Result<Vec<Step>, Error> {
        let Kept {
            mut journal,
            generation,
            ..
        } = self;
        journal.locate(root)?;
        let mut ends = journal.waypoints;
        if ends.last().is_none_or(|end| end.state != generation.state) {
            ends.push(Waypoint {
                ops_len: journal.ops.len() as u64,
                sessions_len: journal.sessions.len() as u32,
                state: generation.state,
            });
        }
        let mut steps = Vec::new();
        let (mut ops_at, mut sessions_at, mut from) = (0, 0, generation.parent_state);
        for end in ends {
            let (ops_end, sessions_end) = (end.ops_len as usize, end.sessions_len as usize);
            let sessions = journal.sessions.get(sessions_at..sessions_end);
            if let (Some(sessions), Some(from)) = (sessions, from)
                && sessions.iter().all(|session| is_there(root, session))
            {
                let mut ops = Ops::default();
                for at in ops_at..ops_end {
                    let mut op = journal.ops.get(at)?;
                    if let Some(slot) = op.slot_mut() {
                        slot.session = slot.session.saturating_sub(sessions_at as u32);
                    }
                    ops.push(&op)?;
                }
                steps.push(Step {
                    sessions: sessions.to_vec(),
                    ops,
                    from,
                    to: end.state,
                    number: generation.number,
                    is_rest: false,
                });
            }
            (ops_at, sessions_at, from) = (ops_end, sessions_end, Some(end.state));
        }
        let rest = journal.rest.filter(|rest| {
            let mut sessions = rest.sessions.iter();
            sessions.all(|(_, session)| is_there(root, session))
        });
        if let Some(rest) = rest {
            steps.push(Step {
                sessions: rest
                    .sessions
                    .into_iter()
                    .map(|(_, session)| session)
                    .collect(),
                ops: reversed(&rest.ops)?,
                from: rest.wanted,
                to: generation.state,
                number: generation.number,
                is_rest: true,
            });
        }
        Ok(steps)
    }
}

pub(super) fn undo_dir(store: &Store) -> RelPath {
    store.within().join(b"undo")
}

/// Whether a session there belongs to a step.
pub(crate) fn is_kept(store: &Store, within: &RelPath) -> bool {
    within.is_within(&undo_dir(store))
}

fn step_dir(store: &Store, generation: &Generation) -> RelPath {
    let name = format!("{}-{}", generation.number, begin_of(generation.id));
    undo_dir(store).join(name.as_bytes())
}

/// As much of an identity as the name of a step has.
fn begin_of(id: GenerationId) -> String {
    id.to_string().chars().take(8).collect()
}

/// Whether a step is kept whose generation has an identity that begins like that one.
pub(crate) fn has_like(store: &Store, id: GenerationId) -> io::Result<bool> {
    let end = format!("-{}", begin_of(id));
    let is_like = |(_, place): &(u64, RelPath)| place.as_bytes().ends_with(end.as_bytes());
    Ok(step_places(store)?.iter().any(is_like))
}

/// The directories of steps with the numbers of their generations, the last one first.
pub(super) fn step_places(store: &Store) -> io::Result<Vec<(u64, RelPath)>> {
    let dir = undo_dir(store);
    let names = match store.root().open_reserved(&RelPath::root(), &dir) {
        Ok(fd) => names(&fd)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let number = |name: &[u8]| {
        let (number, _) = std::str::from_utf8(name).ok()?.split_once('-')?;
        number.parse().ok()
    };
    let mut places: Vec<(u64, RelPath)> = names
        .iter()
        .map(|name| (number(name).unwrap_or(0), dir.join(name)))
        .collect();
    places.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(places)
}

pub(super) fn open_step(store: &Store, place: &RelPath) -> io::Result<OwnedFd> {
    store.root().open_reserved(&RelPath::root(), place)
}

/// What is kept at `place`; `None` if that is no step.
pub(super) fn read(store: &Store, place: RelPath) -> io::Result<Option<Kept>> {
    let journal = record::read::<Journal>(&open_step(store, &place)?, MANIFEST)?;
    let Some(mut journal) = journal else {
        return Ok(None);
    };
    let rest = journal.rest.iter_mut().flat_map(|rest| &mut rest.sessions);
    let rest = rest.map(|(_, session)| session);
    for session in journal.sessions.iter_mut().chain(rest) {
        session.within = place.clone();
    }
    let generation = journal.generation.take();
    Ok(generation.map(|generation| Kept {
        place,
        journal,
        generation,
    }))
}

pub(super) fn is_there(root: &Root, session: &SessionPlace) -> bool {
    let place = session.within.join(&session.name);
    root.open_reserved(&session.holder, &place).is_ok()
}

pub(super) fn exists(dir: impl AsFd, name: &str) -> io::Result<bool> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn make_reserved(root: &Root, holder: &RelPath, within: &RelPath) -> io::Result<OwnedFd> {
    let mut dir = mkdir_open(root.open_dir(holder)?, RESERVED_NAME)?;
    for name in within.components() {
        dir = mkdir_open(&dir, name)?;
    }
    Ok(dir)
}
