//! What a node has: its record, together with the head beside its data.

use super::claim::{Adopted, Claim, Head, Me, Standing};
use super::generation::{Generation, GenerationId, GenerationKind};
use super::ordinal::{Epoch, Number};
use super::record::{LINE_MAX, NodeRecord, Own, Peer};
use crate::clock::AsOf;

/// The coarsest step in which a file system on Linux keeps times.
const TICK_NS: i64 = 2_000_000_000;

/// What a node is to a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// It has neither sent nor received the tree.
    New,
    /// It was promoted, or made the first push.
    Primary,
    /// It receives.
    Standby,
}

/// What is still to come of a primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owes {
    /// No standby is known to have its head: it was promoted or undone since, or never pushed to
    /// the end.
    pub head: bool,
    /// A generation that was asked for, and nothing heard of since.
    pub open: Option<GenerationId>,
}

/// A record, and the head beside the data that it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(super) record: &'a NodeRecord,
    pub(super) data: Option<&'a Generation>,
}

impl<'a> View<'a> {
    pub(crate) fn new(record: &'a NodeRecord, data: Option<&'a Generation>) -> Self {
        View { record, data }
    }

    /// What it made as primary, while that is what its data is.
    pub(super) fn own(&self) -> Option<&'a Own> {
        let base = self.data.map(|data| data.id);
        self.record.own.as_ref().filter(|own| own.base == base)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.record.is_primary()
    }

    pub(crate) fn role(&self) -> NodeRole {
        match (self.head(), self.record.received) {
            _ if self.is_primary() => NodeRole::Primary,
            (None, None) => NodeRole::New,
            _ => NodeRole::Standby,
        }
    }

    pub(crate) fn has_received(&self) -> bool {
        self.record.received.is_some()
    }

    /// The generation that its data is, as far as it knows.
    pub(crate) fn head(&self) -> Option<&'a Generation> {
        self.own().map(|own| &own.head).or(self.data)
    }

    /// The ids that its data may have: as primary it may have been heard of by one that it asked
    /// for itself.
    pub(crate) fn heads(&self) -> Vec<GenerationId> {
        let head = self.head().map(|head| head.id);
        head.into_iter().chain(self.open()).collect()
    }

    /// What it asked for and heard nothing of.
    pub(crate) fn open(&self) -> impl Iterator<Item = GenerationId> + 'a {
        let head = self.own().map(|own| own.head.id);
        let peers = head.into_iter().flat_map(|_| self.record.peers.values());
        let open = peers.flat_map(|peer| &peer.open).copied();
        open.filter(move |id| Some(*id) != head)
    }

    /// What is still to come of it, if it is primary.
    pub(crate) fn owes(&self) -> Owes {
        let head = self.head().map(|head| head.id);
        let mut peers = self.record.peers.values();
        let is_known = peers.any(|peer| peer.acked.is_some() && peer.acked == head);
        Owes {
            head: self.is_primary() && !is_known,
            open: self.open().next(),
        }
    }

    /// The ids that led to what it has.
    pub(crate) fn line(&self) -> Vec<GenerationId> {
        let own = self.own();
        let peers = own.into_iter().flat_map(|_| self.record.peers.values());
        let mut line: Vec<_> = peers.filter_map(|peer| peer.acked).collect();
        let promotions = own.into_iter().flat_map(|own| &own.promotions);
        for id in promotions.chain(&self.record.line) {
            if !line.contains(id) {
                line.push(*id);
            }
        }
        line.truncate(LINE_MAX);
        line
    }

    pub(crate) fn epoch(&self) -> Epoch {
        let data = self.data.map(|data| data.epoch).unwrap_or_default();
        self.record.epoch.get().max(data)
    }

    /// The highest number that it knows of, or asked for.
    pub(crate) fn number(&self) -> Number {
        let data = self.data.map(|data| data.number);
        let asked = self.record.peers.values().map(|peer| peer.asked);
        let own = self.record.number.get();
        data.into_iter().chain(asked).fold(own, Number::max)
    }

    /// Whether that identity occurs in what this node knows, its logs apart.
    pub(crate) fn knows(&self, id: GenerationId) -> bool {
        let record = self.record;
        let given_up = record.given_up.as_ref();
        let single = [
            record.received,
            record.own.as_ref().and_then(|own| own.base),
            given_up.map(|given_up| given_up.adopted.id),
            given_up.and_then(|given_up| given_up.on),
        ];
        let own = record.own.as_ref().map(|own| &own.head);
        let asked = |peer: &Peer| peer.acked == Some(id) || peer.open.contains(&id);
        single.contains(&Some(id))
            || record.line.contains(&id)
            || record.peers.values().any(asked)
            || own.into_iter().chain(self.data).any(|old| old.names(id))
    }

    /// Whether this standby's data is what it had as primary; and if so, whether its last push had
    /// taken all of it.
    pub(crate) fn was_primary(&self) -> Option<bool> {
        let own = self.own().filter(|_| !self.is_primary());
        own.map(|own| own.handed_over)
    }

    /// Whether it may have data that nobody else has: it was primary until it broke off, its data
    /// was given up by hand, or nothing is known of what it was. The next push that it receives
    /// keeps that.
    pub(crate) fn may_be_alone(&self) -> bool {
        let broke_off = self.own().is_some_and(|own| !own.handed_over);
        broke_off || self.record.is_new || self.adopted().is_some() || self.head().is_none()
    }

    /// What the data here is given up for.
    pub(crate) fn adopted(&self) -> Option<&'a Adopted> {
        let given_up = self.record.given_up.as_ref();
        let here = given_up.filter(|given_up| given_up.on == self.data.map(|data| data.id));
        here.map(|given_up| &given_up.adopted)
    }

    /// When a standby that it pushed to was last known to be equal.
    pub(crate) fn sent_as_of(&self) -> Option<AsOf> {
        self.sent().map(|peer| peer.as_of)?
    }

    fn sent(&self) -> Option<&'a Peer> {
        let peers = self.record.peers.values();
        peers.max_by_key(|peer| peer.as_of.map(|as_of| as_of.here_ns))
    }

    /// The modification times, in nanoseconds since 1970, at which a file may have changed once
    /// more after it was last compared, given when the data here was received: within one
    /// tick of a clock a second change shows in neither time nor length. After a promotion the
    /// other node may have written, too, at any time since.
    pub(crate) fn recheck(&self, received: Option<AsOf>, now_ns: i64) -> Option<(i64, i64)> {
        let sent = self
            .sent()
            .and_then(|peer| Some((peer.as_of?, peer.read_until_ns)));
        let received = received.map(|as_of| (as_of, i64::MAX));
        let both = [sent, received].into_iter().flatten();
        let (as_of, until) = both.max_by_key(|(as_of, _)| as_of.here_ns)?;
        // Times of what was received are the other node's.
        let from = as_of.source_ns.min(as_of.here_ns);
        let is_promotion = |head: &Generation| head.kind == GenerationKind::Promotion;
        let until = match self.head().is_some_and(is_promotion) {
            true => now_ns,
            false => until.min(now_ns),
        };
        Some((from.saturating_sub(TICK_NS), until.saturating_add(TICK_NS)))
    }

    /// What it says when it begins a push that may make the generation `intended`. Before its first
    /// one a new node has nothing, and `first` stands for that.
    pub(crate) fn claim(
        &self,
        me: Me,
        intended: GenerationId,
        first: GenerationId,
        now_ns: i64,
    ) -> Claim {
        Claim {
            tree: me.tree,
            node: me.node,
            node_id: me.node_id,
            epoch: self.epoch().max(Epoch::FIRST),
            head: Some(self.head().map_or(Head::first(first), Head::of)),
            open: self.open().collect(),
            line: self.line(),
            number: self.number(),
            intended,
            now_ns,
            compares: false,
        }
    }

    /// What it says of itself when a push begins or is compared. `is_empty`: its tree is there and
    /// has nothing in it.
    pub(crate) fn standing(&self, me: Me, is_empty: bool) -> Standing {
        Standing {
            node: me.node,
            node_id: me.node_id,
            is_primary: self.is_primary(),
            epoch: self.epoch(),
            head: self.head().cloned(),
            space: None,
            is_empty,
            adopted: self.adopted().cloned(),
            heads: self.heads(),
            line: self.line(),
        }
    }
}
