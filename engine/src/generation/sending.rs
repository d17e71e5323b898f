//! A push of a named tree on the node that sends. It keeps no copy of the node's record: each thing
//! that is noted is a step of its own, which looks first whether the node still is what the push
//! began with. What the receiver says is believed as far as it fits, and never written down as it
//! is: epoch, number and times are this node's own.
//!
//! Order of durable effects: the id of the generation is noted as asked for before the receiver is
//! asked to commit; when the acknowledgement is there, it is noted as this node's head. A push that
//! breaks off between the two leaves both the old head and the new id as possible ones.

use std::sync::Arc;

use super::held::Held;
use super::lock_file::LockFile;
use super::node::SessionLock;
use super::tree::{Tree, shown_path};
use crate::attributes::Scope;
use crate::clock::{AsOf, boot, now_ns};
use crate::error::{Error, ErrorKind};
use crate::fs::Alike;
use crate::lineage::claim::{Claim, Made, Standing};
use crate::lineage::generation::{Generation, GenerationId, Partial, Sealed};
use crate::lineage::record::{Overtaken, Promotion, Spent};
use crate::lineage::rules::{Data, Reconcile};
use crate::lineage::view::NodeRole;
use crate::options::Options;
use crate::refusal::Refusal;

/// A push of a named tree, as far as lineage goes.
pub(crate) struct Sending {
    tree: Tree,
    claim: Claim,
    as_of: AsOf,
    recheck: Option<(i64, i64)>,
    /// This node becomes primary by its first push, once that is accepted.
    is_first: bool,
    dry_run: bool,
    alike: Option<Arc<Alike>>,
    /// How the receiver's node stands, once it has said so.
    peer: Option<Standing>,
    _session: Option<SessionLock>,
    _lock_file: Option<LockFile>,
}

/// What became of a push that the peer refused because of the lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The refusal stands.
    No,
    /// The tree here is empty, and is not what a peer is to become.
    Empty,
    /// The data of both nodes was compared by content, and is equal: this node's lineage goes on
    /// from both.
    Equal(Generation),
    /// The peer has nothing that could be lost, and this node's epoch is above its now.
    Risen(Generation),
}

impl Sending {
    /// Makes sure that this node may push the tree.
    ///
    /// # Errors
    ///
    /// Fenced, if it is a standby; locked, if another push of the tree is running here.
    pub(crate) fn begin(tree: &Tree, dry_run: bool) -> Result<Self, Error> {
        let session = tree.lock_session()?;
        let mut held = if dry_run {
            let held = tree.hold()?;
            held.refuse_interrupted(tree)?;
            held
        } else {
            tree.hold_whole(None)?
        };
        let role = held.view().role();
        if role == NodeRole::Standby {
            let own = held.view().head();
            let own = own.map_or_else(|| "none".to_owned(), Generation::shown);
            let name = &tree.name;
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "this node is a standby of tree {name} (generation {own}) and does not push \
                     it; if it is to be the primary, run `hasync promote {name}` here"
                ),
            ));
        }
        // A source that never received anything has a brake of its own.
        if held.finds() != Data::Here && held.view().has_received() {
            let (name, root) = (&tree.name, shown_path(&tree.root));
            return Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "the generation that tree {name} had here is not in {root}: is its file system \
                     mounted? if it was replaced on purpose, run `hasync demote {name}` here and \
                     let the other node push, or begin anew by removing trees/{name} in {}",
                    shown_path(&tree.state_dir)
                ),
            ));
        }
        if !dry_run {
            held.step(|record, _| record.serves(boot()))?;
        }
        let now_ns = now_ns();
        let claim = held.view().claim(tree.me()?, random()?, random()?, now_ns);
        let recheck = held.view().recheck(held.received_as_of()?, now_ns);
        drop(held);
        Ok(Sending {
            claim,
            as_of: AsOf::seen(now_ns, now_ns),
            recheck,
            is_first: role == NodeRole::New,
            dry_run,
            alike: None,
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
        let now_ns = now_ns();
        let own = held.standing(tree, tree.me()?);
        let claim = Claim {
            epoch: own.epoch,
            head: None,
            open: Vec::new(),
            line: Vec::new(),
            compares: true,
            ..held.view().claim(tree.me()?, random()?, random()?, now_ns)
        };
        let recheck = held.view().recheck(held.received_as_of()?, now_ns);
        drop(held);
        let sending = Sending {
            claim,
            as_of: AsOf::seen(now_ns, now_ns),
            recheck,
            is_first: false,
            dry_run: true,
            alike: None,
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

    /// What is known of the tree's attributes from before.
    pub(crate) fn remembered(&mut self, scope: Scope, options: &Options) -> Option<Arc<Alike>> {
        self.alike = self.tree.remembered(scope, options);
        self.alike.clone()
    }

    /// How the receiver's node stands; it may refuse next.
    pub(crate) fn heard(&mut self, standing: &Standing) -> Result<(), Error> {
        let claim = &self.claim;
        claim
            .node_id
            .refuse_own(standing.node_id, &self.tree.state_dir)?;
        standing.believe(&self.tree.name, claim.epoch, claim.number)?;
        self.peer = Some(standing.clone());
        Ok(())
    }

    /// The receiver has let the push begin.
    pub(crate) fn accepted(&mut self) -> Result<(), Error> {
        let peer = self.peer()?;
        if !self.claim.compares && (peer.is_primary || peer.epoch > self.claim.epoch) {
            return Err(Error::peer(Refusal::LetIn));
        }
        if self.dry_run {
            return Ok(());
        }
        let mut held = self.tree.hold()?;
        if let Some(head) = self.claim.head.filter(|_| self.is_first)
            && held.view().role() == NodeRole::New
        {
            let promotion = Promotion {
                by_push: true,
                ..held.promotion(&self.tree, head.id)?
            };
            held.promote(&self.tree, promotion)?;
        }
        let settled = held.step(|record, data| record.accepted(&self.claim, data, peer))?;
        settled.map_err(|why| self.overtaken(why))
    }

    /// The receiver is about to be asked for the generation.
    pub(crate) fn intend(&mut self) -> Result<(), Error> {
        if self.dry_run {
            return Ok(());
        }
        let peer = self.peer()?;
        let mut held = self.tree.hold()?;
        let intended = held.step(|record, data| record.intend(&self.claim, data, peer))?;
        intended.map_err(|why| self.overtaken(why))
    }

    /// The receiver has it, or has been equal all along. What it says of its head gives way to what
    /// this node knows. Equal is what neither side had a problem with.
    pub(crate) fn acknowledged(&mut self, sealed: &mut Sealed, partial: bool) -> Result<(), Error> {
        self.tree.remember(self.alike.as_deref());
        let is_partial = partial || sealed.changed && sealed.head.partial.is_some();
        let as_of = sealed.as_of.map(|_| self.as_of).filter(|_| !is_partial);
        sealed.as_of = as_of;
        let written = std::mem::take(&mut sealed.written);
        sealed.written.add(&written);
        let peer = self.peer()?;
        let mut held = self.tree.hold()?;
        sealed.head = self.head(sealed, &held, peer)?;
        if sealed.changed {
            held.log_once(&sealed.head)?;
        }
        held.step(|record, data| {
            let made = (peer.node.as_str(), &sealed.head);
            record.acknowledged(&self.claim, data, made, as_of, now_ns());
        })
    }

    /// The generation that the receiver has by its acknowledgement, as this node sees it.
    fn head(&self, sealed: &Sealed, held: &Held, peer: &Standing) -> Result<Generation, Error> {
        let (id, theirs) = (sealed.head.id, peer.head.as_ref());
        let other = || Error::peer(Refusal::OtherGeneration);
        let made = Made {
            is_group: self.tree.is_group(),
            as_of: sealed.as_of,
            now_ns: now_ns(),
        };
        if sealed.changed {
            if id != self.claim.intended {
                return Err(other());
            }
            let partial = sealed.head.partial.as_ref().map(|theirs| {
                let mut partial = Partial::default();
                partial.add(theirs);
                partial
            });
            let made = self
                .claim
                .generation(theirs, made, sealed.head.counts, partial);
            return made.ok_or_else(|| self.tree.spent(Spent("number")));
        }
        if let Some(own) = held.view().head().filter(|own| own.id == id) {
            return Ok(own.clone());
        }
        match (&self.claim.head, theirs) {
            // This node was promoted meanwhile; what it handed on is in its log.
            (Some(head), Some(theirs)) if head.id == id => {
                Ok(self.claim.handed_on(head, theirs, made))
            }
            // Its acknowledgement was lost.
            (_, Some(theirs)) if theirs.id == id && self.claim.open.contains(&id) => {
                Ok(Generation {
                    made_ns: made.now_ns,
                    as_of: sealed.as_of,
                    ..theirs.clone()
                })
            }
            _ => Err(other()),
        }
    }

    fn peer(&self) -> Result<&Standing, Error> {
        let tree = &self.tree.name;
        self.peer
            .as_ref()
            .ok_or_else(|| Error::peer(Refusal::NoStanding { tree: tree.clone() }))
    }

    /// Something was decided about this node while it pushed.
    fn overtaken(&self, why: Overtaken) -> Error {
        let name = &self.tree.name;
        Error::new(
            ErrorKind::Locked,
            match why {
                Overtaken::Demoted => format!(
                    "this node was made a standby of tree {name} while it pushed; nothing was \
                     changed, and the other node pushes now"
                ),
                Overtaken::Moved => format!(
                    "this node was promoted, or its tree was undone, while it pushed tree {name}; \
                     nothing was changed, push again"
                ),
            },
        )
    }
}

/// What this node does about the refusal of a peer that stands like this.
pub(crate) fn to_reconcile(tree: &Tree, peer: &Standing) -> Result<Reconcile, Error> {
    let held = tree.hold()?;
    if held.view().role() == NodeRole::Standby {
        return Ok(Reconcile::No);
    }
    Ok(held.view().reconciles(peer, held.is_empty()))
}

/// Takes this node above a peer that has nothing to lose by its push, or whose data was found to
/// be what is here. Nothing of that kind is sent before this is on disk.
pub(crate) fn reconcile(
    tree: &Tree,
    peer: &Standing,
    decided: Reconcile,
) -> Result<Option<Generation>, Error> {
    let mut held = tree.hold_whole(None)?;
    let is_still_so = held.view().role() != NodeRole::Standby
        && held.view().reconciles(peer, held.is_empty()) == decided;
    if !is_still_so {
        return Ok(None);
    }
    let number = peer.head.as_ref().map(|head| head.number);
    let promotion = Promotion {
        above: (peer.epoch, number.unwrap_or_default()),
        equal_to: match decided {
            Reconcile::Compare(..) => &peer.heads,
            _ => &[],
        },
        ..held.promotion(tree, random()?)?
    };
    held.promote(tree, promotion).map(Some)
}

/// Notes that the data of the two was compared and differs.
pub(crate) fn note_differing(
    tree: &Tree,
    peer: &Standing,
    heads: (GenerationId, GenerationId),
) -> Result<(), Error> {
    let mut held = tree.hold()?;
    held.step(|record, _| record.differs(&peer.node, heads))
}

fn random() -> Result<GenerationId, Error> {
    GenerationId::random().map_err(|e| Error::file("get random numbers", &e))
}
