//! What is decided about a push and about a node that comes back.

use super::claim::{Claim, Head, Standing};
use super::generation::{Generation, GenerationId};
use super::record::Role;
use super::view::View;
use crate::clock::Boot;
use crate::error::{Error, ErrorKind};

/// Why a standby does not receive a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is primary itself.
    Primary,
    /// It was in a higher epoch than the sender.
    Epoch,
    /// Its data did not lead to the sender's.
    Diverged,
}

/// What an equal push leaves of the receiver's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Equal<'a> {
    /// It is the sender's already, or one that the sender asked for and moves on to.
    Stays,
    /// The sender's takes its place.
    HandedOn(&'a Head, &'a Generation),
    /// The sender's would not be a step forward: a generation above both is made.
    Made,
}

/// What is to be done about a push that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reconcile {
    /// Nothing: the refusal stands.
    No,
    /// The tree here is empty, which is no reason to empty another.
    Empty,
    /// A full comparison of these heads decides.
    Compare(GenerationId, GenerationId),
    /// The peer has nothing to lose: this node's epoch rises above its, and it pushes again.
    Rise,
}

/// What the role test of a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// It serves.
    Yes,
    /// It does not.
    No,
    /// There is no test, or it failed or did not end in time.
    Unknown,
}

/// Whether a node that is recorded as primary follows its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// It was primary before the peer was promoted, and has not served since: it is a standby now.
    Follows,
    /// There is nothing to follow: the peer was not promoted since.
    Stays,
    /// Somebody has to decide, for this reason.
    Asks(&'static str),
}

/// Whether the data that a node has received can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// As far as anybody can tell.
    Here,
    /// It was on a file system of its own, which is not mounted.
    NotMounted,
    /// A generation was received, and there is no record of any beside what is there.
    NoHead,
    /// The same, and nothing at all is there: the place was emptied or is a new one.
    Emptied,
}

impl View<'_> {
    /// Whether what the record speaks of is there. `is_mount` and `is_empty` say what is found
    /// where the tree is.
    pub(crate) fn finds(&self, is_mount: bool, is_empty: bool) -> Data {
        let has_received = self.record.received.is_some();
        // Whoever was only promoted may have had nothing from the start.
        let was_equal = self.own().is_some_and(|own| own.head.as_of.is_some());
        if self.data.is_some() || !has_received && self.own().is_none() {
            Data::Here
        } else if self.record.is_mount && !is_mount {
            Data::NotMounted
        } else if is_empty && (has_received || was_equal) {
            Data::Emptied
        } else if has_received {
            Data::NoHead
        } else {
            Data::Here
        }
    }

    /// Whether this node receives a push. `is_empty`: its tree is where it was, with nothing in it.
    pub(crate) fn receives(&self, claim: &Claim, is_empty: bool) -> Result<(), Refused> {
        let fits = |head: &GenerationId| claim.leads_from(*head);
        let heads = self.heads();
        if self.is_primary() {
            Err(Refused::Primary)
        } else if claim.epoch < self.epoch() {
            Err(Refused::Epoch)
        } else if is_empty
            || heads.is_empty()
            || heads.iter().any(fits)
            || self.adopted().is_some_and(|adopted| adopted.names(claim))
        {
            Ok(())
        } else {
            Err(Refused::Diverged)
        }
    }

    /// What a push leaves of this node's head if it finds nothing to change.
    pub(crate) fn equal_to<'a>(&'a self, claim: &'a Claim) -> Equal<'a> {
        let (Some(own), Some(head)) = (self.head(), &claim.head) else {
            return Equal::Made;
        };
        let is_noted = self.data.is_some_and(|data| data.id == own.id);
        if head.number > own.number && claim.leads_from(own.id) {
            Equal::HandedOn(head, own)
        } else if is_noted && (head.id == own.id || claim.open.contains(&own.id)) {
            Equal::Stays
        } else {
            Equal::Made
        }
    }

    /// What this node, which pushes, does about a refusal of a peer that stands like this.
    pub(crate) fn reconciles(&self, peer: &Standing, is_empty: bool) -> Reconcile {
        let leads = self.heads().into_iter().chain(self.line());
        let fits = peer.is_empty
            || peer.heads.is_empty()
            || leads.clone().any(|id| peer.heads.contains(&id));
        let is_adopted = |peer: &Standing| {
            let adopted = peer.adopted.as_ref();
            adopted.is_some_and(|adopted| leads.clone().any(|id| id == adopted.id))
        };
        let has_nothing_to_lose = fits || is_adopted(peer);
        if peer.is_primary || has_nothing_to_lose && peer.epoch <= self.epoch() {
            return Reconcile::No;
        }
        if is_empty {
            return Reconcile::Empty;
        }
        if has_nothing_to_lose {
            return Reconcile::Rise;
        }
        let own = self.head().map_or(GenerationId::NONE, |head| head.id);
        let Some(theirs) = peer.heads.first().copied() else {
            return Reconcile::No;
        };
        let known = self.record.peers.get(&peer.node);
        match known.and_then(|known| known.differs) {
            Some(differs) if differs == (own, theirs) => Reconcile::No,
            _ => Reconcile::Compare(own, theirs),
        }
    }

    /// Whether this node, which is recorded as primary, follows a peer that stands like this.
    pub(crate) fn rejoins(&self, peer: &Standing, serves: Serves, boot: Boot) -> Rejoin {
        let Role::Primary { boot: last } = self.record.role else {
            return Rejoin::Stays;
        };
        let leads = |id: &GenerationId| peer.heads.contains(id) || peer.line.contains(id);
        if !peer.is_primary || peer.epoch <= self.epoch() {
            Rejoin::Stays
        } else if !self.heads().iter().any(leads) {
            Rejoin::Asks("the peer's data did not come from what is here")
        } else if serves != Serves::No {
            Rejoin::Asks("no [role] says that this node does not serve")
        } else if boot == Boot::default() || last == Boot::default() || boot == last {
            Rejoin::Asks("this node has been primary in this boot, and may have served meanwhile")
        } else {
            Rejoin::Follows
        }
    }
}

impl Refused {
    /// In words, for the sender's admin.
    pub(crate) fn told(self, claim: &Claim, view: View<'_>) -> Error {
        let Claim { tree, epoch, .. } = claim;
        let (sender, own_epoch) = (&claim.node, view.epoch());
        let own = view
            .head()
            .map_or_else(|| "none".to_owned(), Generation::shown);
        match self {
            Refused::Primary => Error::new(
                ErrorKind::Fenced,
                format!(
                    "the standby is primary of tree {tree} itself, since epoch {own_epoch} \
                     (generation {own}); {sender} claims epoch {epoch}. `hasync diverged {tree}` \
                     on either lists what differs and the two ways out"
                ),
            ),
            Refused::Epoch => Error::new(
                ErrorKind::Fenced,
                format!(
                    "{sender} is a former primary of tree {tree}: its epoch is {epoch}, the \
                     standby has seen epoch {own_epoch} (generation {own}). Run `hasync demote \
                     {tree}` on {sender}, and push from the node that was promoted last"
                ),
            ),
            Refused::Diverged => {
                let theirs = claim.head.as_ref().map_or_else(
                    || "none".to_owned(),
                    |head| format!("{} ({})", head.number, &head.id.to_string()[..8]),
                );
                Error::new(
                    ErrorKind::Diverged,
                    format!(
                        "the nodes have diverged on tree {tree}: the standby has generation \
                         {own}, which {sender} (generation {theirs}, epoch {epoch}) did not come \
                         from. Nothing was changed. `hasync diverged {tree}` lists what differs \
                         and the two ways out"
                    ),
                )
            }
        }
    }
}
