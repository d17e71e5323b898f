//! The journal of an atomic commit: everything that it will change, written down and on disk
//! before the first change, so that a commit which was cut off can be brought to its end. Kept
//! after the commit, the same list, read backwards, is what undo needs.

use std::collections::BTreeSet;
use std::io;

use serde::{Deserialize, Serialize};

use crate::change::{Changes, Failures, Op, Ops, SessionPlace};
use crate::error::Error;
use crate::fs::{Attrs, Birth, Root};
use crate::lineage::generation::{Generation, GenerationId, Partial};
use crate::path::RelPath;
use crate::spill::SpillMap;

/// All of an atomic commit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// What the tree becomes; `None` if nobody keeps its lineage.
    pub(crate) generation: Option<Generation>,
    pub(crate) sessions: Vec<SessionPlace>,
    /// The `.hasync` of the root and of each mount that a session is on, by the directory that has
    /// it: where it is another one, the tree is a copy, and has other inode numbers.
    pub(crate) births: Vec<(RelPath, Birth)>,
    pub(crate) ops: Ops,
    pub(crate) direction: Direction,
    /// The generation is made even if nothing can be carried out: it notes where the tree stands.
    pub(crate) notes_lineage: bool,
    /// What becomes of the replaced entries: whether they are kept, for undo.
    pub(crate) keep: bool,
    /// They are all that is left of what a former primary had: kept until somebody says otherwise.
    pub(crate) pinned: bool,
    /// Those of them that somebody had written there since the generation before.
    pub(crate) written: Partial,
    /// States of the tree that the ops pass through, if there are any before the last.
    pub(crate) waypoints: Vec<Waypoint>,
    /// Of an undo, if something could not be carried out.
    pub(crate) rest: Option<Rest>,
}

/// What an undo could not carry out: the way on to where it was to lead.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rest {
    /// The state that it was to lead to.
    pub(crate) wanted: GenerationId,
    pub(crate) ops: Ops,
    /// The sessions that take over the slots of these ops, and from which of the journal's.
    pub(crate) sessions: Vec<(u32, SessionPlace)>,
}

/// Where a journal leads that is carried out again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Direction {
    Forward,
    /// It was all or nothing, and something failed: back to where it began.
    Back,
}

/// A state of the tree between the ops of one journal, which leads over several commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waypoint {
    /// The state of the tree after so many ops, which use so many of the sessions.
    pub(crate) ops_len: u64,
    pub(crate) sessions_len: u32,
    pub(crate) state: GenerationId,
}

impl Rest {
    /// Position of the session beside that one of the journal's.
    fn session_beside(&mut self, all: &[SessionPlace], from: u32, id: GenerationId) -> u32 {
        let known = self.sessions.iter().position(|(at, _)| *at == from);
        let at = known.unwrap_or_else(|| {
            // No other session has the name.
            let name = format!("{id}-{from}").into_bytes();
            let beside = all.get(from as usize).cloned();
            let beside = beside.map(|session| (from, SessionPlace { name, ..session }));
            self.sessions.extend(beside);
            self.sessions.len().saturating_sub(1)
        });
        at as u32
    }
}

impl Journal {
    /// A journal that makes those changes, and keeps nothing of what they replace.
    pub(crate) fn new(changes: Changes) -> Self {
        Journal {
            generation: None,
            sessions: changes.sessions,
            births: Vec::new(),
            ops: changes.ops,
            direction: Direction::Forward,
            notes_lineage: false,
            keep: false,
            pinned: false,
            written: Partial::default(),
            waypoints: Vec::new(),
            rest: None,
        }
    }

    /// Notes what tells the tree from a copy.
    pub(crate) fn note_births(&mut self, root: &Root) -> io::Result<()> {
        let holders = self.sessions.iter().map(|session| session.holder.clone());
        let holders: BTreeSet<RelPath> = holders.chain([RelPath::root()]).collect();
        let born = |holder: RelPath| {
            let birth = Birth::of(root.open_reserved(&holder, &RelPath::root())?)?;
            Ok((holder, birth))
        };
        self.births = holders.into_iter().map(born).collect::<io::Result<_>>()?;
        Ok(())
    }

    /// Lets the ops say no inode number where the tree is a copy of the one they are about.
    pub(crate) fn locate(&mut self, root: &Root) -> Result<(), Error> {
        let is_there = |(holder, birth): &(RelPath, Birth)| {
            let found = root.open_reserved(holder, &RelPath::root());
            found.and_then(Birth::of).is_ok_and(|found| found == *birth)
        };
        let judged = self.births.iter().map(|one| (&one.0, is_there(one)));
        let judged: Vec<(&RelPath, bool)> = judged.collect();
        if judged.iter().all(|(_, is_there)| *is_there) {
            return Ok(());
        }
        let is_copied = |op: &Op| {
            let path = op.path();
            let around = judged.iter().filter(|(holder, _)| path.is_within(holder));
            let nearest = around.max_by_key(|(holder, _)| holder.len());
            nearest.is_some_and(|(_, is_there)| !is_there)
        };
        for ops in [
            Some(&mut self.ops),
            self.rest.as_mut().map(|rest| &mut rest.ops),
        ] {
            let Some(ops) = ops else { continue };
            let mut known = Ops::default();
            for op in ops.iter() {
                let op = op?;
                known.push(&if is_copied(&op) { op.copied() } else { op })?;
            }
            *ops = known;
        }
        Ok(())
    }

    /// All sessions that are kept with it.
    pub(crate) fn kept_sessions(&self) -> impl Iterator<Item = &SessionPlace> {
        let rest = self.rest.iter().flat_map(|rest| &rest.sessions);
        self.sessions.iter().chain(rest.map(|(_, session)| session))
    }

    /// Whether its files change together, or not at all.
    pub(crate) fn is_all_or_nothing(&self) -> bool {
        let generation = self.generation.as_ref();
        generation.is_some_and(|generation| generation.is_group)
    }

    /// Whether it takes its entries from what is kept, and not from what was staged for it.
    pub(crate) fn is_undo(&self) -> bool {
        self.rest.is_some() || !self.waypoints.is_empty()
    }

    /// Strikes off what could not be carried out: it is nothing that an undo could take back. With
    /// it goes the time of a directory in which nothing has changed. Of an undo, which takes its
    /// entries from what is kept, it is the rest.
    pub(crate) fn strike(&mut self, failures: &Failures) -> Result<(), Error> {
        if self.is_undo() {
            self.keep_rest(failures)?;
        }
        let mut failed = failures.positions();
        let mut next = failed.next().transpose()?;
        let mut changed = SpillMap::default();
        self.retain(|at, op| {
            if next == Some(at) {
                next = failed.next().transpose()?;
                return Ok(keep_way_back(op, &changed));
            }
            if op.moves() {
                changed.insert(&op.dir().as_bytes(), b"");
            }
            Ok(true)
        })?;
        self.retain(|_, op| match op {
            Op::SetDirAttrs { dir, new, old, .. } => {
                Ok(changed.contains(&dir.as_bytes()) || differ(new, old))
            }
            _ => Ok(true),
        })
    }

    /// Notes what could not be carried out, with the times that the directories around it are to
    /// have in the end. From the first of it on the ops lead through states that nothing had.
    fn keep_rest(&mut self, failures: &Failures) -> Result<(), Error> {
        let Some(generation) = &mut self.generation else {
            return Ok(());
        };
        let rest = self.rest.get_or_insert_with(|| Rest {
            wanted: generation.state,
            ops: Ops::default(),
            sessions: Vec::new(),
        });
        generation.state = generation.id;
        // Of each directory around, which op gives it its time in the end.
        let (mut around, mut first) = (SpillMap::default(), None);
        for at in failures.positions() {
            let at = at?;
            let op = self.ops.get(at)?;
            if op.moves() {
                around.insert(&op.dir().as_bytes(), b"");
            }
            first.get_or_insert(at as u64);
        }
        for (at, op) in self.ops.iter().enumerate() {
            if let Op::SetDirAttrs { dir, .. } = op?
                && around.contains(&dir.as_bytes())
            {
                around.set(&dir.as_bytes(), &at.to_le_bytes());
            }
        }
        let passed = |end: &&mut Waypoint| first.is_some_and(|first| end.ops_len > first);
        for end in self.waypoints.iter_mut().filter(passed) {
            end.state =
                GenerationId::random().map_err(|e| Error::file("get random numbers", &e))?;
        }
        if let Some(last) = self.waypoints.last_mut() {
            last.state = generation.id;
        }
        let mut failed = failures.positions();
        let mut next = failed.next().transpose()?;
        for (at, op) in self.ops.iter().enumerate() {
            let mut op = op?;
            if next == Some(at) {
                next = failed.next().transpose()?;
            } else if let Op::SetDirAttrs { dir, new, old, .. } = &mut op
                && around.get(&dir.as_bytes()).as_deref() == Some(&at.to_le_bytes())
            {
                old.clone_from(new);
            } else {
                continue;
            }
            if let Some(slot) = op.slot_mut() {
                slot.session = rest.session_beside(&self.sessions, slot.session, generation.id);
            }
            rest.ops.push(&op)?;
        }
        Ok(())
    }

    fn retain(
        &mut self,
        mut keeps: impl FnMut(usize, &mut Op) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut kept = Ops::default();
        let mut waypoints = self.waypoints.iter_mut().peekable();
        for (at, op) in self.ops.iter().enumerate() {
            let mut op = op?;
            while let Some(end) = waypoints.next_if(|end| end.ops_len <= at as u64) {
                end.ops_len = kept.len() as u64;
            }
            if keeps(at, &mut op)? {
                kept.push(&op)?;
            }
        }
        waypoints.for_each(|end| end.ops_len = kept.len() as u64);
        self.ops = kept;
        Ok(())
    }

    /// Whether one of the steps that it leads over moves nothing: such a step is not used up by
    /// being taken back.
    pub(crate) fn has_step_without_session(&self) -> bool {
        if self
            .rest
            .as_ref()
            .is_some_and(|rest| rest.sessions.is_empty())
        {
            return true;
        }
        let total = self.sessions.len() as u32;
        let mut ends: Vec<u32> = self.waypoints.iter().map(|end| end.sessions_len).collect();
        if ends.last() != Some(&total) {
            ends.push(total);
        }
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).any(|(begin, end)| begin == *end)
    }
}

/// Makes of what failed what leads back all the same: the time of a directory in which something
/// has `changed`, whatever time it came to have by that. Returns whether it is that.
fn keep_way_back(op: &mut Op, changed: &SpillMap) -> bool {
    match op {
        Op::SetDirAttrs { dir, new, old, .. } if changed.contains(&dir.as_bytes()) => {
            let mtime = new.mtime;
            new.clone_from(old);
            new.mtime = mtime;
            true
        }
        _ => false,
    }
}

/// Whether metadata that were `old` have become others.
fn differ(new: &Attrs, old: &Attrs) -> bool {
    new.uid.is_some() && new.uid != old.uid
        || new.gid.is_some() && new.gid != old.gid
        || new.mode.is_some() && new.mode != old.mode
        || new.mtime.is_some() && new.mtime != old.mtime
        || new.attributes.is_some() && new.attributes != old.attributes
}
