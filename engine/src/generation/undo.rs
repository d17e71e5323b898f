//! Undo: what a commit replaced or removed stays beside the data for a while, with the journal
//! that tells where it was. Read backwards, that journal leads back; doing so is a commit like any
//! other, whose own journal leads forward again.
//!
//! Each kept commit is a step from one state of the tree to another. An undo finds the steps from
//! the present state back to the wanted one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use rustix::io::Errno;

use super::clock::now_ns;
use super::fail::fail_point;
use super::head::{Generation, GenerationCounts, GenerationId, GenerationKind};
use super::record;
use super::store::{JOURNAL, MANIFEST, Store, mkdir_open};
use crate::commit::{Inode, Journal, Op, SessionPlace, Waypoint, inode, reversed};
use crate::error::{Error, ErrorKind};
use crate::fs::{Root, names, open_dir_below, remove_tree};
use crate::path::{RESERVED_NAME, RelPath};

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
}

/// A commit that is kept.
pub(super) struct Kept {
    /// Where it is, below `.hasync`.
    place: RelPath,
    journal: Journal,
    pub(super) generation: Generation,
}

/// A step from one state of the tree to another, which can be taken back. A commit is one, and an
/// undo over several commits is several.
struct Step {
    sessions: Vec<SessionPlace>,
    ops: Vec<Op>,
    from: GenerationId,
    to: GenerationId,
    /// The generation that it led to, or through.
    number: u64,
}

fn undo_dir(store: &Store) -> RelPath {
    store.within().join(b"undo")
}

fn step_dir(store: &Store, generation: &Generation) -> RelPath {
    let id = generation.id.to_string();
    let name = format!("{}-{}", generation.number, &id[..8]);
    undo_dir(store).join(name.as_bytes())
}

/// Puts away what the commit of `journal` replaced, with the journal itself. Can be repeated after
/// it was cut off anywhere.
pub(super) fn keep(store: &Store, journal: &Journal, generation: &Generation) -> io::Result<()> {
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
                fsync(&kept)?;
                fsync(&from)?;
            }
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    fail_point("keeping");
    match renameat(store.dir(), JOURNAL.name, &own, MANIFEST.name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    fsync(&own)?;
    fsync(store.dir())?;
    fail_point("kept");
    // Steps whose entries were used by this one lead nowhere any more.
    for SessionPlace { holder, within, .. } in &journal.sessions {
        if within.is_within(&undo_dir(store)) && *within != to {
            remove_step(root, holder, within)?;
        }
    }
    super::durable::tidy(store, journal)
}

/// The commits that are kept, the last one first.
pub(super) fn kept(store: &Store) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for place in step_places(store)? {
        let dir = store.root().open_reserved(&RelPath::root(), &place)?;
        let Some(mut journal) = record::read::<Journal>(&dir, MANIFEST)? else {
            continue;
        };
        let Some(generation) = journal.generation.take() else {
            continue;
        };
        for session in &mut journal.sessions {
            session.within = place.clone();
        }
        kept.push(Kept {
            place,
            journal,
            generation,
        });
    }
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.generation.number));
    Ok(kept)
}

impl Kept {
    /// The steps of it that have not been taken back.
    fn steps(self, root: &Root) -> Vec<Step> {
        let Kept {
            journal,
            generation,
            ..
        } = self;
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
            let ops = journal.ops.get(ops_at..ops_end);
            if let (Some(sessions), Some(ops), Some(from)) = (sessions, ops, from)
                && sessions.iter().all(|session| is_there(root, session))
            {
                let mut ops = ops.to_vec();
                for slot in ops.iter_mut().filter_map(Op::slot_mut) {
                    slot.session = slot.session.saturating_sub(sessions_at as u32);
                }
                steps.push(Step {
                    sessions: sessions.to_vec(),
                    ops,
                    from,
                    to: end.state,
                    number: generation.number,
                });
            }
            (ops_at, sessions_at, from) = (ops_end, sessions_end, Some(end.state));
        }
        steps
    }
}

fn is_there(root: &Root, session: &SessionPlace) -> bool {
    let place = session.within.join(&session.name);
    root.open_reserved(&session.holder, &place).is_ok()
}

fn step_places(store: &Store) -> io::Result<Vec<RelPath>> {
    let dir = undo_dir(store);
    match store.root().open_reserved(&RelPath::root(), &dir) {
        Ok(fd) => Ok(names(&fd)?.iter().map(|name| dir.join(name)).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Removes what the policy does not keep.
pub(crate) fn prune(store: &Store, policy: &UndoPolicy) -> io::Result<()> {
    let steps = kept(store)?;
    let oldest_ns = policy.max_age_s.map(|age_s| {
        let age_ns = i64::try_from(age_s)
            .unwrap_or(i64::MAX)
            .saturating_mul(1_000_000_000);
        now_ns().saturating_sub(age_ns)
    });
    let mut bytes = 0;
    for (at, step) in steps.iter().enumerate() {
        let mut goes = at >= policy.keep as usize
            || oldest_ns.is_some_and(|oldest_ns| step.generation.made_ns < oldest_ns);
        if let Some(max_bytes) = policy.max_bytes.filter(|_| !goes) {
            bytes += step_bytes(store.root(), step)?;
            goes = at > 0 && bytes > max_bytes;
        }
        if goes {
            // Without its manifest it is no step any more, whatever is left of it.
            let dir = store.root().open_reserved(&RelPath::root(), &step.place)?;
            record::remove(&dir, MANIFEST)?;
            for session in &step.journal.sessions {
                let dir = store.root().open_reserved(&session.holder, &step.place)?;
                remove_tree(&dir, &session.name)?;
                remove_step(store.root(), &session.holder, &step.place)?;
            }
            remove_step(store.root(), &RelPath::root(), &step.place)?;
        }
    }
    Ok(())
}

/// Bytes that a step takes on disk.
fn step_bytes(root: &Root, step: &Kept) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for session in &step.journal.sessions {
        let place = step.place.join(&session.name);
        // It may have been taken back.
        let Ok(dir) = root.open_reserved(&session.holder, &place) else {
            continue;
        };
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&dir));
        for entry in walkdir::WalkDir::new(path).min_depth(1) {
            // Only this user can change anything there: what cannot be read is not counted.
            if let Ok(metadata) = entry
                .map_err(io::Error::from)
                .and_then(|e| Ok(e.metadata()?))
            {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

/// Removes a step's directory, of which nothing is needed any more.
fn remove_step(root: &Root, holder: &RelPath, place: &RelPath) -> io::Result<()> {
    let Some((above, name)) = place.split() else {
        return Ok(());
    };
    let Ok(dir) = root.open_reserved(holder, &above) else {
        return Ok(());
    };
    if let Ok(step) = open_dir_below(&dir, &RelPath::root().join(name)) {
        if names(&step)?
            .iter()
            .any(|name| name != MANIFEST.name.as_bytes())
        {
            // Steps of it are left.
            return Ok(());
        }
        let journal: Option<Journal> = record::read(&step, MANIFEST)?;
        if journal.is_some_and(|journal| journal.has_step_without_session()) {
            return Ok(());
        }
        match unlinkat(&step, MANIFEST.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        // Another session of it is still to be moved.
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn make_reserved(
    root: &Root,
    holder: &RelPath,
    within: &RelPath,
) -> io::Result<std::os::fd::OwnedFd> {
    let mut dir = mkdir_open(root.open_dir(holder)?, RESERVED_NAME)?;
    for name in within.components() {
        dir = mkdir_open(&dir, name)?;
    }
    Ok(dir)
}

/// The journal that leads from the present state of the tree back to that of `wanted`, or, without
/// one, to the state before the head.
pub(super) fn plan(
    store: &Store,
    head: &Generation,
    wanted: Option<GenerationId>,
) -> Result<Journal, Error> {
    let root = store.root();
    let kept = kept(store).map_err(|e| Error::file("read what is kept for undo", &e))?;
    let steps: Vec<Step> = kept.into_iter().flat_map(|kept| kept.steps(root)).collect();
    let wanted = wanted.or(head.parent_state).ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!(
                "generation {} is the first, there is nothing to undo",
                head.shown()
            ),
        )
    })?;
    let route = route(&steps, head.state, wanted).ok_or_else(|| {
        let reach = reachable(&steps, head.state);
        let reach = if reach.is_empty() {
            "nothing can be undone".to_owned()
        } else {
            format!("generations that can be undone: {}", reach.join(", "))
        };
        Error::new(
            ErrorKind::Usage,
            format!("the way back to that generation is not kept; {reach}"),
        )
    })?;
    let mut journal = Journal {
        generation: None,
        sessions: Vec::new(),
        ops: Vec::new(),
        keep: true,
        waypoints: Vec::new(),
    };
    for step in route {
        let first = journal.sessions.len() as u32;
        journal.sessions.extend(step.sessions.iter().cloned());
        for mut op in reversed(&step.ops) {
            if let Some(slot) = op.slot_mut() {
                slot.session += first;
            }
            journal.ops.push(op);
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
        number: head.number + 1,
        made_ns: now_ns(),
        as_of: None,
        partial: None,
        counts: counts(&journal.ops),
        id: GenerationId::random().map_err(|e| Error::file("get random numbers", &e))?,
        ..head.clone()
    });
    Ok(journal)
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

/// Numbers of the generations that can be undone, for a message.
fn reachable(steps: &[Step], from: GenerationId) -> Vec<String> {
    let is_reachable = |step: &&Step| route(steps, from, step.from).is_some();
    let mut numbers: Vec<u64> = steps
        .iter()
        .filter(is_reachable)
        .map(|s| s.number)
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.iter().map(u64::to_string).collect()
}

/// What ops come to.
pub(crate) fn counts(ops: &[Op]) -> GenerationCounts {
    let mut counts = GenerationCounts::default();
    for op in ops {
        match op {
            Op::Place { .. } => counts.placed += 1,
            Op::Remove { .. } => counts.removed += 1,
            Op::SetAttrs { .. } => counts.attributes += 1,
            Op::SetDirAttrs { .. } => {}
        }
    }
    counts
}

/// What an op expects under a name.
enum Expected {
    Inode(Option<Inode>),
    /// Whatever its time is now.
    Number(u64),
}

/// The first path that is not what the journal's ops expect to find, if there is one: somebody
/// else has changed the tree since.
pub(super) fn first_conflict(root: &Arc<Root>, ops: &[Op]) -> Option<RelPath> {
    let mut moved: HashSet<RelPath> = HashSet::new();
    // Under whichever of its names, its time is another one than the journal of it says.
    let touched: HashSet<u64> = ops
        .iter()
        .filter_map(|op| match op {
            Op::SetAttrs { ino, .. } => Some(*ino),
            _ => None,
        })
        .collect();
    for op in ops {
        let (dir, name, expected) = match op {
            Op::Place { dir, name, old, .. } => (dir, name, Expected::Inode(*old)),
            Op::Remove { dir, name, old, .. } => (dir, name, Expected::Inode(Some(*old))),
            Op::SetAttrs { dir, name, ino, .. } => (dir, name, Expected::Number(*ino)),
            Op::SetDirAttrs { .. } => continue,
        };
        let path = dir.join(name);
        // What earlier ops moved, or moved something into, is not there yet.
        let mut above = Some(path.clone());
        let is_moved = std::iter::from_fn(|| {
            let this = above.take()?;
            above = this.split().map(|(above, _)| above);
            Some(this)
        })
        .any(|path| moved.contains(&path));
        if !is_moved {
            let found = root.open_dir(dir).and_then(|dir| inode(&dir, name));
            let fits = found.is_ok_and(|found| match expected {
                Expected::Inode(Some(inode)) if touched.contains(&inode.number) => {
                    found.is_some_and(|found| found.number == inode.number)
                }
                Expected::Inode(Some(inode)) => found.is_some_and(|found| found.is_same(&inode)),
                Expected::Inode(None) => found.is_none(),
                Expected::Number(number) => found.is_some_and(|found| found.number == number),
            });
            if !fits {
                return Some(path);
            }
        }
        moved.insert(path);
    }
    None
}
