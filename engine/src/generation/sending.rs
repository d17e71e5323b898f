//! A push of a named tree on the node that sends: whether it may, and what it notes at which
//! moment. What the receiver says is believed as far as it fits, and never written down as it is:
//! epoch, number and times are this node's own.
//!
//! Order of durable effects: the id of the generation is noted as asked for before the receiver is
//! asked to commit; when the acknowledgement is there, it is noted as this node's head. A push that
//! breaks off between the two leaves both the old head and the new id as possible ones.

use super::clock::{AsOf, now_ns};
use super::head::{Generation, GenerationId, Partial, Sealed};
use super::lineage::Claim;
use super::lock_file::LockFile;
use super::node::{Node, SessionLock, Standing};
use super::node_id::NodeId;
use super::ordinal::{Epoch, Number};
use super::tree::Tree;
use crate::error::{Error, ErrorKind};
use crate::refusal::Refusal;

/// A push of a named tree, as far as lineage goes.
pub(crate) struct Sending {
    tree: Tree,
    node: Node,
    claim: Claim,
    /// The highest number that this node knows of.
    number: Number,
    as_of: AsOf,
    recheck: Option<(i64, i64)>,
    /// This node becomes primary by its first push, once that is accepted.
    is_first: bool,
    dry_run: bool,
    /// How the receiver's node stands, once it has said so.
    peer: Option<Standing>,
    _session: Option<SessionLock>,
    _lock_file: Option<LockFile>,
}

impl Sending {
    /// Makes sure that this node may push the tree.
    ///
    /// # Errors
    ///
    /// Fenced, if it is a standby; locked, if another push of the tree is running here.
    pub(crate) fn begin(tree: &Tree, dry_run: bool) -> Result<Self, Error> {
        let mut held = tree.hold()?;
        let session = held.node.lock_session()?;
        if dry_run {
            held.refuse_interrupted(tree)?;
        } else {
            held.recover(tree)?;
        }
        let data = held.data()?;
        let is_first =
            !held.node.record().is_primary && held.node.own_heads(data.as_ref()).is_empty();
        if !held.node.record().is_primary && !is_first {
            let own = held.node.own_head(data.as_ref());
            let own = own.map_or_else(|| "none".to_owned(), |own| own.shown());
            let name = &tree.name;
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "this node is a standby of tree {name} (generation {own}) and does not push \
                     it; if it is to be the primary, run `hasync promote {name}` here"
                ),
            ));
        }
        let random = || GenerationId::random().map_err(|e| Error::file("get random numbers", &e));
        let (mut heads, ancestors) = held.node.claim();
        if is_first {
            heads = vec![random()?];
        }
        let own = held.node.own_head(data.as_ref());
        let recheck = held.node.recheck(held.received()?);
        let now_ns = now_ns();
        let claim = Claim {
            tree: tree.name.clone(),
            node: tree.node.clone(),
            node_id: NodeId::of(&tree.state_dir)?,
            epoch: held.node.epoch(data.as_ref()).max(Epoch::FIRST),
            heads,
            ancestors,
            number: own.map(|own| own.number).unwrap_or_default(),
            intended: random()?,
            now_ns,
            compares: false,
        };
        let number = held.node.number(data.as_ref());
        Ok(Sending {
            node: held.into_node(),
            number,
            claim,
            as_of: AsOf::seen(now_ns, now_ns),
            recheck,
            is_first,
            dry_run,
            peer: None,
            _session: Some(session),
            _lock_file: tree.lock_files()?,
            tree: tree.clone(),
        })
    }

    /// Makes a claim that only compares: whatever this node is, and whoever sends or receives.
    /// Returns how this node stands too.
    ///
    /// # Errors
    ///
    /// If a commit was cut off here: nothing should read the tree then.
    pub(crate) fn compare(tree: &Tree) -> Result<(Self, Standing), Error> {
        let held = tree.hold()?;
        held.refuse_interrupted(tree)?;
        let data = held.data()?;
        let node_id = NodeId::of(&tree.state_dir)?;
        let own = held.node.standing(tree, node_id, data.as_ref());
        let now_ns = now_ns();
        let claim = Claim {
            tree: tree.name.clone(),
            node: tree.node.clone(),
            node_id,
            epoch: own.epoch,
            heads: Vec::new(),
            ancestors: Vec::new(),
            number: own.head.as_ref().map(|own| own.number).unwrap_or_default(),
            intended: GenerationId::random().map_err(|e| Error::file("get random numbers", &e))?,
            now_ns,
            compares: true,
        };
        let number = held.node.number(data.as_ref());
        let sending = Sending {
            node: held.into_node(),
            number,
            claim,
            as_of: AsOf::seen(now_ns, now_ns),
            recheck: None,
            is_first: false,
            dry_run: true,
            peer: None,
            _session: None,
            _lock_file: tree.lock_files()?,
            tree: tree.clone(),
        };
        Ok((sending, own))
    }

    /// How the receiver's node stands, after the push.
    pub(crate) fn into_peer(self) -> Option<Standing> {
        self.peer
    }

    /// What the tree is called.
    pub(crate) fn name(&self) -> &str {
        &self.tree.name
    }

    /// What the hello says.
    pub(crate) fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Which files are to be compared by content, by their modification times.
    pub(crate) fn recheck(&self) -> Option<(i64, i64)> {
        self.recheck
    }

    /// How the receiver's node stands; it may refuse next.
    pub(crate) fn heard(&mut self, standing: &Standing) -> Result<(), Error> {
        let own = self.claim.node_id;
        own.refuse_own(standing.node_id, &self.tree.state_dir)?;
        standing.believe(&self.tree.name, self.claim.epoch, self.number)?;
        self.peer = Some(standing.clone());
        Ok(())
    }

    /// The receiver has let the push begin.
    pub(crate) fn accepted(&mut self) -> Result<(), Error> {
        let peer = self.peer()?;
        if !self.claim.compares && (peer.is_primary || peer.epoch > self.claim.epoch) {
            return Err(Error::peer(Refusal::LetIn));
        }
        if self.is_first && !self.dry_run {
            let _lock = self.node.lock_commit()?;
            let id = self.claim.heads.first().copied();
            let id = id.ok_or_else(|| Error::new(ErrorKind::Usage, "a claim without a head"))?;
            self.node.promote(&self.tree, id, None, Epoch::default())?;
        }
        Ok(())
    }

    fn peer(&self) -> Result<&Standing, Error> {
        let tree = &self.tree.name;
        self.peer
            .as_ref()
            .ok_or_else(|| Error::peer(Refusal::NoStanding { tree: tree.clone() }))
    }

    /// The receiver is about to be asked for the generation.
    pub(crate) fn intend(&mut self) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        self.node.intend(self.claim.intended)
    }

    /// The receiver has it, or has been equal all along. What it says of its head gives way to what
    /// this node knows. Equal is what neither side had a problem with.
    pub(crate) fn acknowledged(&mut self, sealed: &mut Sealed, partial: bool) -> Result<(), Error> {
        let is_partial = partial || sealed.changed && sealed.head.partial.is_some();
        let as_of = sealed.as_of.map(|_| self.as_of).filter(|_| !is_partial);
        sealed.as_of = as_of;
        sealed.head = self.head(sealed)?;
        let id = sealed.head.id;
        // An equal standby that a promotion came from stays where it is; so does the promotion.
        let is_own = sealed.changed || self.claim.heads.contains(&id);
        self.node
            .acknowledged(is_own.then_some(&sealed.head), as_of)
    }

    /// The generation that the receiver has by its acknowledgement, as this node sees it.
    fn head(&self, sealed: &Sealed) -> Result<Generation, Error> {
        let (id, theirs) = (sealed.head.id, self.peer()?.head.as_ref());
        if sealed.changed && id == self.claim.intended {
            let partial = sealed.head.partial.as_ref().map(|theirs| {
                let mut partial = Partial::default();
                partial.add(theirs);
                partial
            });
            let counts = sealed.head.counts;
            return self
                .claim
                .generation(&self.tree, theirs, sealed.as_of, counts, partial);
        }
        let own = self.node.record().head.as_ref();
        if let Some(own) = own.filter(|own| !sealed.changed && own.id == id) {
            return Ok(own.clone());
        }
        let fits = !sealed.changed && self.claim.leads_from(id);
        let theirs = theirs.filter(|theirs| fits && theirs.id == id);
        let theirs = theirs.ok_or_else(|| Error::peer(Refusal::OtherGeneration))?;
        Ok(Generation {
            made_ns: now_ns(),
            as_of: sealed.as_of,
            ..theirs.clone()
        })
    }
}
