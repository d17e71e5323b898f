//! What each node says of a tree when a push begins, and whether the other believes it.

use serde::{Deserialize, Serialize};

use super::generation::{Generation, GenerationCounts, GenerationId, GenerationKind, Partial};
use super::ordinal::{Epoch, Number};
use super::record::LINE_MAX;
use super::view::View;
use crate::clock::AsOf;
use crate::error::Error;
use crate::history::Space;
use crate::node_id::NodeId;
use crate::refusal::Refusal;

/// What the sender of a push says about the tree, in the hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The tree's name; where it is, the receiver knows.
    pub(crate) tree: String,
    /// The sending node.
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
    pub(crate) epoch: Epoch,
    /// The generation that its data is. One that only compares has nothing to say here.
    pub(crate) head: Option<Head>,
    /// Ids that it asked for or handed on without hearing of that.
    pub(crate) open: Vec<GenerationId>,
    /// Ids that led to what it has.
    pub(crate) line: Vec<GenerationId>,
    /// The highest number that it knows of.
    pub(crate) number: Number,
    /// The generation that this push will make, if it changes anything.
    pub(crate) intended: GenerationId,
    /// The sender's clock, in nanoseconds since 1970.
    pub(crate) now_ns: i64,
    /// It asks for nothing but a comparison, in a dry run: however the nodes stand, it gets it.
    pub(crate) compares: bool,
}

/// What an equal push hands on of the sender's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) id: GenerationId,
    pub(crate) number: Number,
    pub(crate) kind: GenerationKind,
}

/// Who a node is, and of which tree it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Me {
    pub(crate) tree: String,
    pub(crate) node: String,
    pub(crate) node_id: NodeId,
}

/// A generation of the peer's that was accepted by hand in place of the data here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// The peer's name.
    pub node: String,
    /// The generation that it has, or that led to the one it has by then.
    pub id: GenerationId,
}

/// What a node says about itself when a push begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub node: String,
    /// Its identity.
    pub(crate) node_id: NodeId,
    /// It pushes the tree, and receives nothing.
    pub is_primary: bool,
    /// The highest epoch that it was in.
    pub epoch: Epoch,
    /// The generation that its data is, if any.
    pub head: Option<Generation>,
    /// The file system that the tree is on, or would be; `None` if it does not tell.
    pub space: Option<Space>,
    /// The tree is where it was, and nothing is in it.
    pub is_empty: bool,
    /// What it gave its data up for.
    pub adopted: Option<Adopted>,
    /// The ids that its data may have, and those that led there.
    pub(crate) heads: Vec<GenerationId>,
    pub(crate) line: Vec<GenerationId>,
}

/// The present one, and for each of the peers that are remembered one that was asked for and one
/// handed on.
const HEADS_MAX: usize = 17;

/// Longest name of a node, in bytes.
const NODE_LEN_MAX: usize = 255;

impl Head {
    pub(crate) fn of(generation: &Generation) -> Self {
        Head {
            id: generation.id,
            number: generation.number,
            kind: generation.kind,
        }
    }

    /// What stands for a tree before its first generation.
    pub(crate) fn first(id: GenerationId) -> Self {
        Head {
            id,
            number: Number::default(),
            kind: GenerationKind::Promotion,
        }
    }
}

impl Adopted {
    /// Whether a push is from that peer, of that generation or of what it led to.
    pub(crate) fn names(&self, claim: &Claim) -> bool {
        self.node == claim.node && claim.leads_from(self.id)
    }
}

impl Claim {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.tree.len()) {
            return Err(Error::peer(Refusal::ClaimWithoutTree));
        }
        check_node(&self.node, self.open.len(), self.line.len())?;
        if !self.compares && (self.head.is_none() || self.epoch == Epoch::default()) {
            return Err(Error::peer(Refusal::ClaimWithoutHead));
        }
        Ok(())
    }

    /// Refuses what cannot be true, given what this node knows. Whether the generation to be made
    /// is a new one, its logs tell too.
    pub(crate) fn believe(&self, view: View<'_>) -> Result<(), Error> {
        let Claim { tree, node, .. } = self;
        self.epoch.believe(view.epoch(), tree, node)?;
        self.number.believe(view.number(), tree, node)?;
        let head = self.head.as_ref().map(|head| head.number);
        let is_beyond = head.is_some_and(|number| number > self.number);
        let is_old = self.intended == GenerationId::NONE
            || self.leads_from(self.intended)
            || view.knows(self.intended);
        if is_old || is_beyond {
            return Err(self.not_new());
        }
        Ok(())
    }

    pub(crate) fn not_new(&self) -> Error {
        Error::peer(Refusal::NotNew {
            id: self.intended.to_string(),
            tree: self.tree.clone(),
        })
    }

    /// Whether that generation is, or led to, what the sender has.
    pub(crate) fn leads_from(&self, id: GenerationId) -> bool {
        let is_head = self.head.as_ref().is_some_and(|head| head.id == id);
        is_head || self.open.contains(&id) || self.line.contains(&id)
    }

    /// What led to a generation that this push makes.
    pub(crate) fn led(&self) -> Vec<GenerationId> {
        let head = self.head.iter().map(|head| &head.id);
        head.chain(&self.open).chain(&self.line).copied().collect()
    }

    /// The number of the generation that this push makes of a tree that is `own`.
    pub(crate) fn next_number(&self, own: Option<&Generation>) -> Option<Number> {
        let before = own.map(|own| own.number).unwrap_or_default();
        self.number.max(before).next()
    }

    /// The generation that this push makes of a tree that was `own`; both nodes write down the
    /// same, each with its own clock. `None` after the last number.
    pub(crate) fn generation(
        &self,
        own: Option<&Generation>,
        by: Made,
        counts: GenerationCounts,
        partial: Option<Partial>,
    ) -> Option<Generation> {
        // Its acknowledgement was lost: the sender has not moved on to it yet.
        let is_open = own.is_some_and(|own| self.open.contains(&own.id));
        let head = self.head.as_ref().map(|head| head.id);
        Some(Generation {
            id: self.intended,
            epoch: self.epoch,
            number: self.next_number(own)?,
            node: self.node.clone(),
            is_group: by.is_group,
            parent: own.filter(|_| is_open).map(|own| own.id).or(head),
            kind: GenerationKind::Push,
            state: self.intended,
            parent_state: own.map(|own| own.state),
            made_ns: by.now_ns,
            as_of: by.as_of,
            counts,
            partial,
        })
    }

    /// The sender's head, as what the equal tree of the receiver is from now on. What was there
    /// before its last change stays what an undo goes back to.
    pub(crate) fn handed_on(&self, head: &Head, own: &Generation, by: Made) -> Generation {
        Generation {
            id: head.id,
            epoch: self.epoch,
            number: head.number,
            node: self.node.clone(),
            is_group: by.is_group,
            parent: Some(own.id),
            kind: head.kind,
            state: own.state,
            parent_state: own.parent_state,
            made_ns: by.now_ns,
            as_of: by.as_of,
            counts: GenerationCounts::default(),
            partial: None,
        }
    }
}

/// What a node adds to a generation that is made on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) is_group: bool,
    pub(crate) as_of: Option<AsOf>,
    pub(crate) now_ns: i64,
}

impl Standing {
    /// Refuses what a peer sent if it cannot be true, given what this node knows: its epoch, and
    /// its highest number.
    pub(crate) fn believe(&self, tree: &str, epoch: Epoch, number: Number) -> Result<(), Error> {
        check_node(&self.node, self.heads.len(), self.line.len())?;
        self.epoch.believe(epoch, tree, &self.node)?;
        let Some(head) = &self.head else {
            return Ok(());
        };
        head.number.believe(number, tree, &self.node)?;
        if head.epoch > self.epoch {
            return Err(Error::peer(Refusal::HeadAboveEpoch));
        }
        Ok(())
    }

    /// Whether this node's data led to the other's, so that a push from there fits.
    #[must_use]
    pub fn led_to(&self, other: &Standing) -> bool {
        let fits = |id: &GenerationId| other.heads.contains(id) || other.line.contains(id);
        self.heads.is_empty() || self.heads.iter().any(fits)
    }
}

/// Checks what a node says of itself.
fn check_node(name: &str, heads: usize, line: usize) -> Result<(), Error> {
    if !(1..=NODE_LEN_MAX).contains(&name.len()) {
        let len = name.len();
        return Err(Error::peer(Refusal::NodeName { len }));
    }
    if heads > HEADS_MAX || line > LINE_MAX {
        return Err(Error::peer(Refusal::TooManyAncestors {
            heads,
            ancestors: line,
        }));
    }
    Ok(())
}
