//! Undo: a tree goes back to an earlier generation, by the way that is kept. That is a generation
//! of its own, atomic, durable, and can itself be undone.

use std::os::fd::OwnedFd;

use super::journal::Journal;
use super::prune::prune;
use super::store::Store;
use super::undo::{check_writable, first_conflict, plan};
use super::written::count_from_now;
use crate::change::Op;
use crate::error::{Error, ErrorKind};
use crate::generation::durable::{self, Done};
use crate::generation::held::Held;
use crate::generation::node::SessionLock;
use crate::generation::tree::Tree;
use crate::lineage::generation::{Generation, GenerationId, Partial};
use crate::lineage::record::Spent;
use crate::path::RelPath;

/// What an undo does, or did.
#[derive(Clone, Debug)]
pub struct Undone {
    /// The generation that it made; in a dry run the one that it would make.
    pub generation: Generation,
    /// What happens to which path below the root.
    pub changes: Vec<(UndoneChange, Vec<u8>)>,
    /// What could not be carried out.
    pub failed: Partial,
    /// The generation that the tree, or the paths, are to be as in.
    pub wanted: GenerationId,
}

/// What an undo does to one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndoneChange {
    /// An earlier entry comes back, in place of a present one or of none.
    Restored,
    /// The entry goes; it had not been there.
    Removed,
    /// Its metadata goes back to what it was.
    Attributes,
}

impl Tree {
    /// Brings back the state that the tree had in generation `wanted`, or, without one, before the
    /// head. It is a generation of its own, atomic, durable, and can itself be undone.
    ///
    /// # Errors
    ///
    /// If the way back is not kept, or if somebody else has changed the tree since: then nothing
    /// is undone.
    pub fn undo(&self, wanted: Option<GenerationId>, dry_run: bool) -> Result<Undone, Error> {
        let (undoing, way_back) = Undoing::begin(self, wanted, |_| true)?;
        let ops = way_back.ops.iter();
        let changes = ops.filter_map(|op| op.map(|op| change(&op)).transpose());
        let changes = changes.collect::<Result<_, _>>()?;
        if dry_run {
            return Ok(undoing.shown(changes));
        }
        check_writable(undoing.store.root(), &way_back.sessions)?;
        let none: [OwnedFd; 0] = [];
        undoing.commit(way_back, changes, |store, journal| {
            durable::commit(store, journal, &none)
        })
    }

    /// The state of the tree that a generation in the log had.
    fn state_of(&self, id: GenerationId) -> Result<GenerationId, Error> {
        let log = self.log()?;
        let found = log.iter().find(|generation| generation.id == id);
        found.map(|generation| generation.state).ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!(
                    "tree {} has no generation {id}; see `hasync log {}`",
                    self.name, self.name
                ),
            )
        })
    }
}

/// An undo that has begun, with the locks that it needs.
pub(super) struct Undoing<'a> {
    tree: &'a Tree,
    held: Held,
    pub(super) store: Store,
    /// The one that the undo makes.
    pub(super) generation: Generation,
    /// The generation that is to be as it was.
    wanted: GenerationId,
    _session: SessionLock,
}

impl<'a> Undoing<'a> {
    /// Finds the way back to the state that the tree had in `wanted`, or before the head, unless
    /// somebody else has changed what `concerns` the undo.
    pub(super) fn begin(
        tree: &'a Tree,
        wanted: Option<GenerationId>,
        concerns: impl Fn(&RelPath) -> bool,
    ) -> Result<(Self, Journal), Error> {
        let session = tree.lock_session()?;
        let mut held = tree.hold_whole(tree.lock_files()?)?;
        let nothing = || {
            let name = &tree.name;
            let message = format!("tree {name} has received nothing that could be undone");
            Error::new(ErrorKind::Usage, message)
        };
        let head = held.data().cloned().ok_or_else(nothing)?;
        let store = held.store.take().ok_or_else(nothing)?;
        let wanted = wanted.map(|id| tree.state_of(id)).transpose()?;
        let number = held.view().number().next();
        let number = number.ok_or_else(|| tree.spent(Spent("number")))?;
        let mut way_back = plan(&store, &head, number, wanted)?;
        if let Some(path) = first_conflict(store.root(), &way_back.ops, concerns)? {
            let (shown, head) = (store.root().shown(&path), head.shown());
            return Err(Error::new(
                ErrorKind::NotEqual,
                format!(
                    "{shown} was changed by somebody else since generation {head}: nothing was \
                     undone"
                ),
            ));
        }
        let mut generation = way_back.generation.take().ok_or_else(nothing)?;
        generation.node.clone_from(&tree.node);
        generation.epoch = held.view().epoch();
        let undoing = Undoing {
            tree,
            held,
            store,
            wanted: generation.state,
            generation,
            _session: session,
        };
        Ok((undoing, way_back))
    }

    /// What would come of it, for a dry run.
    pub(super) fn shown(self, changes: Vec<(UndoneChange, Vec<u8>)>) -> Undone {
        Undone {
            generation: self.generation,
            changes,
            failed: Partial::default(),
            wanted: self.wanted,
        }
    }

    /// Makes the generation by `commit`, which carries out `journal`.
    pub(super) fn commit(
        mut self,
        mut journal: Journal,
        changes: Vec<(UndoneChange, Vec<u8>)>,
        commit: impl FnOnce(&Store, &mut Journal) -> Result<Done, Error>,
    ) -> Result<Undone, Error> {
        journal.generation = Some(self.generation.clone());
        let Done { failed, made, .. } = commit(&self.store, &mut journal)?;
        let failed = durable::in_short(&failed)?;
        if !made {
            let message = format!("{}; nothing was undone", failed.shown().join("; "));
            return Err(Error::new(ErrorKind::FileIo, message));
        }
        let generation = journal.generation.unwrap_or(self.generation);
        self.held.undone(&generation)?;
        // The undo has succeeded. What goes of the past can go after the next one as well, and what
        // cannot go is told by the status.
        let _ =
            prune(&self.store, &self.tree.undo, None).and_then(|()| count_from_now(&self.store));
        Ok(Undone {
            generation,
            changes,
            failed,
            wanted: self.wanted,
        })
    }
}

fn change(op: &Op) -> Option<(UndoneChange, Vec<u8>)> {
    let change = match op {
        Op::Place { .. } | Op::Replace { .. } => UndoneChange::Restored,
        Op::Remove { .. } | Op::Discard { .. } => UndoneChange::Removed,
        Op::SetAttrs { .. } => UndoneChange::Attributes,
        Op::SetDirAttrs { .. } => return None,
    };
    Some((change, op.path().as_bytes().into_owned()))
}
