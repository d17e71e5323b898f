//! Whether a push may change this node's tree: who may send, and what it must have come from.

use serde::{Deserialize, Serialize};

use super::head::{Generation, GenerationId};
use super::node::Node;
use crate::error::{Error, ErrorKind};

/// What the sender of a push says about the tree, in the hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The tree's name; where it is, the receiver knows.
    pub(crate) tree: String,
    /// The sending node.
    pub(crate) node: String,
    pub(crate) epoch: u64,
    /// Its own heads: the present one, then one that it asked for and heard nothing of.
    pub(crate) heads: Vec<GenerationId>,
    /// Heads from which its promotions led to the present one.
    pub(crate) ancestors: Vec<GenerationId>,
    /// Number and state of the present one.
    pub(crate) number: u64,
    /// The generation that this push will make, if it changes anything.
    pub(crate) intended: GenerationId,
    /// The sender's clock, in nanoseconds since 1970.
    pub(crate) now_ns: i64,
    /// It asks for nothing but a comparison, in a dry run: however the nodes stand, it gets it.
    pub(crate) compares: bool,
}

/// Most ids that a claim may hold.
const CLAIM_IDS_MAX: usize = 1024;

impl Claim {
    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_name = |name: &str, len_max| (1..=len_max).contains(&name.len());
        let ids = self.heads.len().saturating_add(self.ancestors.len());
        if !is_name(&self.tree, 64) || !is_name(&self.node, 255) || ids > CLAIM_IDS_MAX {
            return Err(Error::peer(
                "a claim about a tree that is too long or empty",
            ));
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
                format!("Its data was accepted here: run `hasync promote {tree}` on {sender} first")
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
}
