//! A tree whose records are locked: what they say, and the steps by which they change.

use super::durable::{in_short, recover};
use super::lock_file::LockFile;
use super::node::Locked;
use super::place;
use super::tree::{Recovered, Tree};
use crate::clock::{AsOf, boot, now_ns};
use crate::error::{Error, ErrorKind};
use crate::history::kept;
use crate::history::space::Space;
use crate::history::store::Store;
use crate::lineage::claim::{Me, Standing};
use crate::lineage::generation::{Generation, GenerationId};
use crate::lineage::record::{NodeRecord, Promotion};
use crate::lineage::rules::Data;
use crate::lineage::view::View;

/// A tree whose records this process may change.
pub(crate) struct Held {
    node: Locked,
    pub(crate) store: Option<Store>,
    data: Option<Generation>,
    found: place::Found,
    recovered: Option<Recovered>,
    files: Option<LockFile>,
}

impl Held {
    pub(super) fn new(
        node: Locked,
        store: Option<Store>,
        found: place::Found,
        files: Option<LockFile>,
    ) -> Result<Self, Error> {
        let mut held = Held {
            node,
            store,
            data: None,
            found,
            recovered: None,
            files,
        };
        held.read_data()?;
        Ok(held)
    }

    /// Whether it has the lock on the files themselves.
    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    pub(super) fn into_recovered(self) -> Option<Recovered> {
        self.recovered
    }

    /// What this node has of the tree.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.node.record(), self.data.as_ref())
    }

    /// The head beside the data.
    pub(crate) fn data(&self) -> Option<&Generation> {
        self.data.as_ref()
    }

    /// Whether what the record speaks of is there.
    pub(crate) fn finds(&self) -> Data {
        self.view().finds(self.found.is_mount, self.found.is_empty)
    }

    /// Nothing is in the tree, and that is not because it is not mounted.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty && self.finds() != Data::NotMounted
    }

    /// Changes the record by one step, given the head beside the data.
    pub(crate) fn step<T>(
        &mut self,
        step: impl FnOnce(&mut NodeRecord, Option<&Generation>) -> T,
    ) -> Result<T, Error> {
        let data = self.data.as_ref();
        self.node.step(|record| step(record, data))
    }

    /// That generation is beside the data now; `line` led to it.
    pub(crate) fn received(
        &mut self,
        generation: &Generation,
        line: Vec<GenerationId>,
    ) -> Result<(), Error> {
        self.data = Some(generation.clone());
        let is_mount = self.found.is_mount;
        self.step(|record, _| record.received(generation, Some(line), is_mount))
    }

    /// An undo has led from the head beside the data to that generation.
    pub(crate) fn undone(&mut self, to: &Generation) -> Result<(), Error> {
        self.step(|record, from| from.map_or((), |from| record.undone(from, to)))?;
        self.data = Some(to.clone());
        Ok(())
    }

    /// A promotion of this node, as nobody asks for more.
    pub(crate) fn promotion<'a>(
        &self,
        tree: &'a Tree,
        id: GenerationId,
    ) -> Result<Promotion<'a>, Error> {
        Ok(Promotion {
            id,
            node: &tree.node,
            is_group: tree.is_group(),
            above: Default::default(),
            equal_to: &[],
            by_push: false,
            received_as_of: self.received_as_of()?,
            is_mount: self.found.is_mount,
            now_ns: now_ns(),
            boot: boot(),
        })
    }

    /// Makes the node primary.
    pub(crate) fn promote(
        &mut self,
        tree: &Tree,
        promotion: Promotion<'_>,
    ) -> Result<Generation, Error> {
        let head = self.step(|record, data| record.promote(data, promotion))?;
        let head = head.map_err(|spent| tree.spent(spent))?;
        self.log_once(&head)?;
        Ok(head)
    }

    /// Adds to the log what this node made as primary or sent.
    pub(crate) fn log_once(&self, generation: &Generation) -> Result<(), Error> {
        self.node.log_once(generation)
    }

    /// What it says of itself.
    pub(crate) fn standing(&self, tree: &Tree, me: Me) -> Standing {
        Standing {
            space: Space::at(&tree.root),
            ..self.view().standing(me, self.is_empty())
        }
    }

    /// Refuses to go on while a commit is cut off, for who must not bring it to its end.
    pub(crate) fn refuse_interrupted(&self, tree: &Tree) -> Result<(), Error> {
        if self.is_interrupted(tree)? {
            let Tree { name, node, .. } = tree;
            return Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "a commit to tree {name} was cut off on {node}: run `hasync recover {name}` \
                     there first"
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn is_interrupted(&self, tree: &Tree) -> Result<bool, Error> {
        let interrupted = self.store.as_ref().map_or(Ok(false), Store::is_interrupted);
        interrupted.map_err(|e| tree.cannot("read the records of", &e))
    }

    /// Brings a commit to its end that was cut off, and the record up to what is beside the data.
    pub(super) fn recover(&mut self, tree: &Tree) -> Result<(), Error> {
        let done = match &self.store {
            Some(store) if self.is_interrupted(tree)? => recover(store)?,
            _ => None,
        };
        self.read_data()?;
        let is_mount = self.found.is_mount;
        self.step(|record, data| record.catch_up(data, is_mount))?;
        let recovered = done.map(|done| {
            in_short(&done.failed).map(|failed| Recovered {
                head: self.data.clone(),
                failed,
            })
        });
        self.recovered = recovered.transpose()?;
        Ok(())
    }

    /// Whether that is the identity of a generation, or of something that stands for one, that
    /// this node had or may still go back to.
    pub(crate) fn has_had(&self, id: GenerationId) -> Result<bool, Error> {
        let had = |log: Vec<Generation>| log.iter().any(|old| old.names(id));
        if had(self.node.log()?) {
            return Ok(true);
        }
        let Some(store) = &self.store else {
            return Ok(false);
        };
        let knows =
            || -> std::io::Result<bool> { Ok(kept::has_like(store, id)? || had(store.log()?)) };
        knows().map_err(|e| Error::file("read the generations of the tree", &e))
    }

    /// When what was received here was last equal to its source.
    pub(crate) fn received_as_of(&self) -> Result<Option<AsOf>, Error> {
        let as_of = self.store.as_ref().map_or(Ok(None), Store::as_of);
        as_of.map_err(|e| {
            Error::file(
                "read when the received tree was last equal to its source",
                &e,
            )
        })
    }

    fn read_data(&mut self) -> Result<(), Error> {
        let head = self.store.as_ref().map_or(Ok(None), Store::head);
        self.data = head.map_err(|e| Error::file("read the head of the tree", &e))?;
        Ok(())
    }
}
