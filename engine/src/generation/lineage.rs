//! What each node says of a tree before a push, whether the other believes it, and whether the push
//! may change the receiver's tree: who may send, and what it must have come from.

use serde::{Deserialize, Serialize};

use super::clock::{AsOf, now_ns};
use super::head::{Generation, GenerationCounts, GenerationId, GenerationKind, Partial};
use super::node::{Node, Standing, spent};
use super::node_id::NodeId;
use super::ordinal::{Epoch, Number};
use super::tree::{Held, Tree};
use crate::error::{Error, ErrorKind};
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
    /// Its own heads: the present one, then one that it asked for and heard nothing of.
    pub(crate) heads: Vec<GenerationId>,
    /// Heads from which its promotions led to the present one.
    pub(crate) ancestors: Vec<GenerationId>,
    /// Number and state of the present one.
    pub(crate) number: Number,
    /// The generation that this push will make, if it changes anything.
    pub(crate) intended: GenerationId,
    /// The sender's clock, in nanoseconds since 1970.
    pub(crate) now_ns: i64,
    /// It asks for nothing but a comparison, in a dry run: however the nodes stand, it gets it.
    pub(crate) compares: bool,
}

/// Own heads: the present one, and one that was asked for.
const HEADS_MAX: usize = 2;

/// Most ids that led to the own heads.
const ANCESTORS_MAX: usize = 1024;

/// Longest name of a node, in bytes.
const NODE_LEN_MAX: usize = 255;

impl Claim {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.tree.len()) {
            return Err(Error::peer(Refusal::ClaimWithoutTree));
        }
        check_node(&self.node, &self.heads, &self.ancestors)?;
        if self.compares {
            return Ok(());
        }
        if self.heads.is_empty() || self.epoch == Epoch::default() {
            return Err(Error::peer(Refusal::ClaimWithoutHead));
        }
        Ok(())
    }

    /// Refuses what cannot be true, given what this node knows.
    pub(crate) fn believe(&self, held: &Held, data: Option<&Generation>) -> Result<(), Error> {
        let Claim { tree, node, .. } = self;
        self.epoch.believe(held.node.epoch(data), tree, node)?;
        self.number.believe(held.node.number(data), tree, node)?;
        let is_old = self.intended == GenerationId::NONE
            || self.leads_from(self.intended)
            || held.knows(self.intended, data)?;
        if is_old {
            return Err(Error::peer(Refusal::NotNew {
                id: self.intended.to_string(),
                tree: tree.clone(),
            }));
        }
        Ok(())
    }

    /// Refuses the push unless this node is a standby whose data the sender's led from.
    pub(crate) fn allow(&self, node: &Node, data: Option<&Generation>) -> Result<(), Error> {
        let Claim { tree, epoch, .. } = self;
        let sender = &self.node;
        let own_epoch = node.epoch(data);
        let own = node
            .own_head(data)
            .map_or_else(|| "none".to_owned(), |own| own.shown());
        if node.record().is_primary {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "the standby is primary of tree {tree} itself, since epoch {own_epoch} \
                     (generation {own}); {sender} claims epoch {epoch}. Decide which node has the \
                     data to keep, and run `hasync demote {tree}` on the other"
                ),
            ));
        }
        let is_adopted = node
            .adopted(data)
            .is_some_and(|adopted| adopted.names(self));
        if *epoch < own_epoch {
            let push = if is_adopted {
                format!(
                    "Its data was accepted here: run `hasync promote {tree} --above {own_epoch}` \
                     on {sender} first"
                )
            } else {
                format!(
                    "Run `hasync demote {tree}` on {sender}, and push from the node that was \
                     promoted last"
                )
            };
            return Err(Error::new(
                ErrorKind::Fenced,
                format!(
                    "{sender} is a former primary of tree {tree}: its epoch is {epoch}, the \
                     standby has seen epoch {own_epoch} (generation {own}). {push}"
                ),
            ));
        }
        let own_heads = node.own_heads(data);
        let fits = |head: &GenerationId| self.leads_from(*head);
        if own_heads.is_empty() || is_adopted || own_heads.iter().any(fits) {
            return Ok(());
        }
        let theirs = self
            .heads
            .first()
            .map_or_else(|| "none".to_owned(), |id| self.shown(*id));
        Err(Error::new(
            ErrorKind::Diverged,
            format!(
                "the nodes have diverged on tree {tree}: the standby has generation {own}, which \
                 {sender} (generation {theirs}, epoch {epoch}) did not come from. Nothing was \
                 changed. `hasync diverged {tree}` lists what differs and the two ways out"
            ),
        ))
    }

    /// Whether that generation is, or led to, what the sender has.
    pub(crate) fn leads_from(&self, id: GenerationId) -> bool {
        self.heads.contains(&id) || self.ancestors.contains(&id)
    }

    fn shown(&self, id: GenerationId) -> String {
        let id = id.to_string();
        format!("{} ({})", self.number, &id[..8])
    }

    /// The parent of the generation that this push makes on data whose head is `data`.
    pub(crate) fn parent(&self, data: Option<&Generation>) -> Option<GenerationId> {
        match (data, self.heads.as_slice()) {
            // Its acknowledgement was lost: the sender has not moved on to it yet.
            (Some(data), [_, open]) if data.id == *open => Some(data.id),
            (_, [head, ..]) => Some(*head),
            (data, []) => data.map(|data| data.id),
        }
    }

    /// The generation that this push makes of a tree whose data was `own` before. Both nodes write
    /// down the same, each with its own clock.
    pub(crate) fn generation(
        &self,
        tree: &Tree,
        own: Option<&Generation>,
        as_of: Option<AsOf>,
        counts: GenerationCounts,
        partial: Option<Partial>,
    ) -> Result<Generation, Error> {
        let before = own.map(|own| own.number).unwrap_or_default();
        let number = self.number.max(before).next();
        Ok(Generation {
            id: self.intended,
            epoch: self.epoch,
            number: number.ok_or_else(|| spent(tree, "number"))?,
            node: self.node.clone(),
            is_group: tree.is_group,
            parent: self.parent(own),
            kind: GenerationKind::Push,
            state: self.intended,
            parent_state: own.map(|own| own.state),
            made_ns: now_ns(),
            as_of,
            counts,
            partial,
        })
    }
}

impl Standing {
    /// Refuses what a peer sent if it cannot be true, given what this node knows: its epoch, and
    /// the number of its own head.
    pub(crate) fn believe(&self, tree: &str, epoch: Epoch, number: Number) -> Result<(), Error> {
        check_node(&self.node, &self.heads, &self.ancestors)?;
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
}

/// Checks what a node says of itself.
fn check_node(name: &str, heads: &[GenerationId], ancestors: &[GenerationId]) -> Result<(), Error> {
    if !(1..=NODE_LEN_MAX).contains(&name.len()) {
        let len = name.len();
        return Err(Error::peer(Refusal::NodeName { len }));
    }
    if heads.len() > HEADS_MAX || ancestors.len() > ANCESTORS_MAX {
        let (heads, ancestors) = (heads.len(), ancestors.len());
        return Err(Error::peer(Refusal::TooManyAncestors { heads, ancestors }));
    }
    Ok(())
}
