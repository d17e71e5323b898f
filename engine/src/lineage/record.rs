//! A node's record about one tree, and the steps by which it changes. Each step is made on a record
//! that was read under its lock, and is written before that lock is given up: nobody keeps a copy.
//!
//! What the data is that the node made as primary stands in [`Own`], and counts as long as the head
//! beside the data is the one that was there when the node became primary.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claim::{Adopted, Claim, Standing};
use super::generation::{Generation, GenerationCounts, GenerationId, GenerationKind};
use super::ordinal::{Epoch, Mark, Number};
use super::view::View;
use crate::clock::{AsOf, Boot};

/// Longest line that is kept. Promotions that no peer was asked to take over are not in it: a node
/// may be restarted any number of times while its peer is away.
pub(crate) const LINE_MAX: usize = 64;

/// So many of these are kept all the same: a peer may have seen one, and given its data up for it.
const PROMOTIONS_MAX: usize = 16;

/// Most peers that are remembered.
pub(crate) const PEERS_MAX: usize = 8;

/// What a node knows about a tree apart from the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(super) role: Role,
    /// The highest epoch that it was in.
    pub(super) epoch: Mark<Epoch>,
    /// The highest number that it gave or received.
    pub(super) number: Mark<Number>,
    pub(super) own: Option<Own>,
    /// The generation received last.
    pub(super) received: Option<GenerationId>,
    /// It was begun beside data that had a head: what the node was before is not known.
    pub(super) is_new: bool,
    /// The data was on a file system of its own when this node last received or was promoted.
    pub(super) is_mount: bool,
    pub(super) given_up: Option<GivenUp>,
    /// Ids that led to what it has and that others may have, the latest first.
    pub(super) line: Vec<GenerationId>,
    /// The nodes that it has pushed to, by name.
    pub(super) peers: BTreeMap<String, Peer>,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// It receives, or would.
    #[default]
    Standby,
    /// It was promoted and not demoted since; the last boot in which it acted as primary.
    Primary { boot: Boot },
}

/// What a node's data is that was primary and has received nothing since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) head: Generation,
    /// The promotions that led there, the latest first.
    pub(super) promotions: Vec<GenerationId>,
    /// The head beside the data when it became primary: another one there means that it has
    /// received since.
    pub(super) base: Option<GenerationId>,
    /// It was demoted after a push that took all it had: nothing is here alone.
    pub(super) handed_over: bool,
}

/// The data here was given up for a generation of a peer's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GivenUp {
    pub(super) adopted: Adopted,
    /// The head beside it then: under another one that is over.
    pub(super) on: Option<GenerationId>,
}

/// What a primary knows of one standby.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// The generation that it is known to have.
    pub(super) acked: Option<GenerationId>,
    /// What it was asked to make or to take over, while nothing is heard of that.
    pub(super) open: Vec<GenerationId>,
    /// The number that it was asked to make, while that is open.
    pub(super) asked: Number,
    /// When it was last known to be equal.
    pub(super) as_of: Option<AsOf>,
    /// Until when the last push that counts may have read files, in nanoseconds since 1970; the
    /// largest number while nothing was heard of it.
    pub(super) read_until_ns: i64,
    /// Heads, this node's and its, whose data were compared and differ.
    pub(super) differs: Option<(GenerationId, GenerationId)>,
}

/// A promotion that is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promotion<'a> {
    pub(crate) id: GenerationId,
    pub(crate) node: &'a str,
    pub(crate) is_group: bool,
    /// The epoch and the number that it has to be above, besides the node's own.
    pub(crate) above: (Epoch, Number),
    /// Heads of the peer whose data was found to be what is here.
    pub(crate) equal_to: &'a [GenerationId],
    /// By the first push: it stands for the tree before its first generation.
    pub(crate) by_push: bool,
    /// When its source was what was received here.
    pub(crate) received_as_of: Option<AsOf>,
    pub(crate) is_mount: bool,
    pub(crate) now_ns: i64,
    pub(crate) boot: Boot,
}

/// There is nothing above the last epoch and the last number. No honest pair gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent(pub(crate) &'static str);

/// Why a push cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtaken {
    /// This node was demoted since the push began.
    Demoted,
    /// It was promoted anew, or its tree is another one.
    Moved,
}

impl NodeRecord {
    /// It pushes the tree, and receives nothing.
    pub(crate) fn is_primary(&self) -> bool {
        self.role != Role::Standby
    }

    /// Makes the node primary in a new epoch, with what it has. A primary stays what it is, unless
    /// its epoch is not above the one asked for, or its data is equal to what a peer has.
    pub(crate) fn promote(
        &mut self,
        data: Option<&Generation>,
        by: Promotion<'_>,
    ) -> Result<Generation, Spent> {
        let view = View::new(self, data);
        let (head, own) = (view.head().cloned(), view.own());
        let mut promotions = own.map_or_else(Vec::new, |own| own.promotions.clone());
        promotions.splice(0..0, own.map(|own| own.head.id));
        promotions.truncate(PROMOTIONS_MAX);
        let is_own = own.is_some();
        let known = view.epoch().max(by.above.0);
        if let Some(head) = head.as_ref().filter(|_| self.is_primary())
            && self.epoch.get() > by.above.0
            && by.equal_to.is_empty()
        {
            return Ok(head.clone());
        }
        let number = view.number().max(by.above.1);
        let promotion = Generation {
            id: by.id,
            epoch: known.next().ok_or(Spent("epoch"))?,
            number: if by.by_push {
                number
            } else {
                number.next().ok_or(Spent("number"))?
            },
            node: by.node.to_owned(),
            is_group: by.is_group,
            parent: head.as_ref().map(|head| head.id),
            kind: GenerationKind::Promotion,
            state: head.as_ref().map_or(by.id, |head| head.state),
            parent_state: head.as_ref().map(|head| head.state),
            made_ns: by.now_ns,
            as_of: head.as_ref().and_then(|head| head.as_of),
            counts: GenerationCounts::default(),
            partial: None,
        };
        if let Some(data) = data.filter(|_| !is_own) {
            // Who it came from has it, and was equal then.
            self.peers.clear();
            let peer = self.peer(&data.node);
            peer.as_of = by.received_as_of;
            peer.read_until_ns = i64::MAX;
            self.led(data.id);
        }
        by.equal_to.iter().rev().for_each(|id| self.led(*id));
        self.role = Role::Primary { boot: by.boot };
        self.epoch.raise(promotion.epoch);
        self.number.raise(promotion.number);
        self.received = data.map(|data| data.id);
        self.is_mount = by.is_mount;
        self.is_new = false;
        self.given_up = None;
        self.own = Some(Own {
            head: promotion.clone(),
            promotions,
            base: data.map(|data| data.id),
            handed_over: false,
        });
        Ok(promotion)
    }

    /// As primary: notes that it acts as one in this boot. `true` if that was not known.
    pub(crate) fn serves(&mut self, boot: Boot) -> bool {
        let role = Role::Primary { boot };
        let is_news = self.is_primary() && self.role != role;
        if is_news {
            self.role = role;
        }
        is_news
    }

    /// Makes the node a standby; `handed_over` says that its last push took all it had.
    pub(crate) fn demote(&mut self, handed_over: bool) {
        if self.is_primary()
            && let Some(own) = &mut self.own
        {
            own.handed_over = handed_over;
        }
        self.role = Role::Standby;
    }

    /// Gives the data here up: the peer's next push from that generation is received.
    pub(crate) fn give_up(&mut self, adopted: Adopted, data: Option<&Generation>) {
        self.demote(false);
        let on = data.map(|data| data.id);
        self.given_up = Some(GivenUp { adopted, on });
    }

    /// That generation is now beside the data. `line` is what led to it, as its sender said; where
    /// the push broke off before that was noted, its parent alone is known.
    pub(crate) fn received(
        &mut self,
        generation: &Generation,
        line: Option<Vec<GenerationId>>,
        is_mount: bool,
    ) {
        let follows = |parent: &GenerationId| {
            let own = self.own.as_ref().map(|own| own.head.id);
            own == Some(*parent) || self.received == Some(*parent) || self.line.contains(parent)
        };
        match (line, generation.parent) {
            (Some(line), _) => self.line = line,
            (None, Some(parent)) if follows(&parent) => self.led(parent),
            (None, parent) => self.line = parent.into_iter().collect(),
        }
        self.line.truncate(LINE_MAX);
        self.epoch.raise(generation.epoch);
        self.number.raise(generation.number);
        self.received = Some(generation.id);
        self.is_mount = is_mount;
        self.is_new = false;
        self.own = None;
        self.given_up = None;
        self.peers.clear();
    }

    /// Takes in a generation that is beside the data and that this record has not heard of: the
    /// push or undo that made it broke off between the two. `true` if there was one.
    pub(crate) fn catch_up(&mut self, data: Option<&Generation>, is_mount: bool) -> bool {
        let Some(data) = data.filter(|data| self.received != Some(data.id)) else {
            return false;
        };
        let is_new = *self == Self::default();
        let before = self.own.as_ref().map(|own| own.base);
        match before {
            Some(base) if base == Some(data.id) => return false,
            Some(base) if self.is_primary() || data.parent == base => self.moved(data),
            _ => self.received(data, None, is_mount),
        }
        self.is_new |= is_new;
        true
    }

    /// An undo has led this node's tree from the generation beside the data to another.
    pub(crate) fn undone(&mut self, from: &Generation, to: &Generation) {
        if View::new(self, Some(from)).own().is_none() {
            self.own = None;
        }
        self.led(from.id);
        self.moved(to);
    }

    /// The data is another generation now, which this node made of its own.
    fn moved(&mut self, to: &Generation) {
        if let Some(own) = &mut self.own {
            let before = std::mem::replace(&mut own.head, to.clone());
            own.base = Some(to.id);
            self.led(before.id);
        }
        self.epoch.raise(to.epoch);
        self.number.raise(to.number);
        self.received = Some(to.id);
    }

    /// As primary: the standby has let the push begin, and said what it has. A primary that was new
    /// becomes one by that.
    pub(crate) fn accepted(
        &mut self,
        claim: &Claim,
        data: Option<&Generation>,
        peer: &Standing,
    ) -> Result<(), Overtaken> {
        self.is_current(claim, data)?;
        if self
            .peers
            .get(&peer.node)
            .is_none_or(|known| known.open.is_empty())
        {
            return Ok(());
        }
        // What it was asked for before has happened or not, and nothing of it is running any more.
        let found = peer.head.as_ref().map(|head| head.id);
        let known = self.peer(&peer.node);
        let (open, asked) = (
            std::mem::take(&mut known.open),
            std::mem::take(&mut known.asked),
        );
        if let Some(id) = found.filter(|id| open.contains(id)) {
            self.number.raise(asked);
            self.acked(&peer.node, id);
        }
        Ok(())
    }

    /// As primary: the standby is about to be asked for a generation.
    pub(crate) fn intend(
        &mut self,
        claim: &Claim,
        data: Option<&Generation>,
        peer: &Standing,
    ) -> Result<(), Overtaken> {
        self.is_current(claim, data)?;
        let head = claim.head.as_ref().map(|head| head.id);
        let asked = claim.next_number(peer.head.as_ref());
        let known = self.peer(&peer.node);
        known.asked = asked.unwrap_or_default();
        known.read_until_ns = i64::MAX;
        known.open = [Some(claim.intended), head].into_iter().flatten().collect();
        Ok(())
    }

    /// The standby has that generation, which is the one that this push made, or is equal all
    /// along. It stays true whatever this node has become meanwhile.
    pub(crate) fn acknowledged(
        &mut self,
        claim: &Claim,
        data: Option<&Generation>,
        (peer, generation): (&str, &Generation),
        as_of: Option<AsOf>,
        now_ns: i64,
    ) {
        if View::new(self, data).own().is_none() {
            return;
        }
        self.acked(peer, generation.id);
        self.number.raise(generation.number);
        let known = self.peer(peer);
        (known.open, known.asked) = (Vec::new(), Number::default());
        known.read_until_ns = now_ns;
        known.as_of = as_of.or(known.as_of);
        let Some(own) = &mut self.own else { return };
        let is_same = claim
            .head
            .as_ref()
            .is_some_and(|head| head.id == own.head.id);
        let before = own.head.id;
        if is_same && before != generation.id {
            own.head = generation.clone();
            self.led(before);
        } else if is_same && as_of.is_some() {
            // Whatever it could not take then, it has now.
            own.head.partial = None;
        }
    }

    /// The peer's data and this node's were compared and differ, as long as the heads are these.
    pub(crate) fn differs(&mut self, peer: &str, heads: (GenerationId, GenerationId)) {
        self.peer(peer).differs = Some(heads);
    }

    /// Refuses to go on with a push that began with another record.
    fn is_current(&self, claim: &Claim, data: Option<&Generation>) -> Result<(), Overtaken> {
        if !self.is_primary() {
            return Err(Overtaken::Demoted);
        }
        let head = View::new(self, data).head().map(|head| head.id);
        let is_same = head == claim.head.as_ref().map(|head| head.id);
        if is_same && self.epoch.get() == claim.epoch {
            Ok(())
        } else {
            Err(Overtaken::Moved)
        }
    }

    fn acked(&mut self, peer: &str, id: GenerationId) {
        let before = self.peer(peer).acked.replace(id);
        if let Some(before) = before.filter(|before| *before != id) {
            self.led(before);
        }
    }

    /// The peer of that name. There is room for some; who was equal longest ago is forgotten.
    fn peer(&mut self, name: &str) -> &mut Peer {
        if !self.peers.contains_key(name) && self.peers.len() >= PEERS_MAX {
            let equal = |peer: &Peer| peer.as_of.map(|as_of| as_of.here_ns);
            let oldest = self.peers.iter().min_by_key(|(_, peer)| equal(peer));
            let oldest = oldest.map(|(name, _)| name.clone());
            if let Some(old) = oldest.and_then(|name| self.peers.remove(&name)) {
                self.number.raise(old.asked);
                old.open
                    .iter()
                    .chain(&old.acked)
                    .for_each(|id| self.led(*id));
            }
        }
        self.peers.entry(name.to_owned()).or_default()
    }

    /// That generation led to what this node has.
    fn led(&mut self, id: GenerationId) {
        self.line.retain(|known| *known != id);
        self.line.insert(0, id);
        self.line.truncate(LINE_MAX);
    }
}
