//! Two nodes with one tree, and a push that may be under way between them. Everything that decides
//! or changes a record is the product's own; the disk, the link and the people are made up here.
//!
//! A write is a bit. A tree holds the writes that it has seen, a push replaces what its receiver
//! holds by what its sender held when it began.

use serde::Serialize;

use crate::clock::Boot;
use crate::lineage::claim::{Adopted, Claim, Made, Me, Standing};
use crate::lineage::generation::{Generation, GenerationCounts, GenerationId, GenerationKind};
use crate::lineage::ordinal::Epoch;
use crate::lineage::record::{NodeRecord, Promotion};
use crate::lineage::rules::{Data, Equal, Reconcile, Refused, Rejoin, Serves};
use crate::lineage::view::{NodeRole, View};
use crate::node_id::NodeId;

/// Faults that were in the product once, to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Fault {
    None,
    /// A push writes back the record that it read at its beginning.
    StaleCopy,
    /// An equal push leaves the receiver's head as it is.
    NotHandedOn,
}

/// The writes that a tree holds.
pub(super) type Writes = u16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Node {
    pub(super) record: NodeRecord,
    /// The head beside the data.
    pub(super) head: Option<Generation>,
    pub(super) writes: Writes,
    /// What was replaced and is pinned.
    pub(super) kept: Writes,
    /// What the last commit replaced: the state before, and the writes that it held.
    before: Option<(GenerationId, Writes)>,
    pub(super) is_mounted: bool,
    boot: u8,
}

/// How far a push is: each of these is on disk before the next begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Phase {
    Claimed,
    Answered(Box<Standing>),
    Accepted(Box<Standing>),
    Intended(Box<Standing>),
    /// The receiver's data is another generation, or equal; its record may not know yet.
    Committed(Box<Standing>, Box<Done>),
    Noted(Box<Standing>, Box<Done>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Done {
    head: Generation,
    changed: bool,
    is_news: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Flight {
    pub(super) from: usize,
    claim: Claim,
    /// What a push with a stale copy writes back.
    copy: NodeRecord,
    writes: Writes,
    is_first: bool,
    /// The sender is gone; what was asked for comes about or not.
    is_alone: bool,
    phase: Phase,
}

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Equal,
    Changed,
    /// The sender is no primary, or was overtaken: nothing that an admin hears of.
    NotPushed,
    /// The tree of one side cannot be seen.
    Unseen,
    Refused(Refused),
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct World {
    pub(super) nodes: [Node; 2],
    pub(super) flight: Option<Flight>,
    pub(super) fault: Fault,
    pub(super) written: Writes,
    /// What was taken back, or was lost with a disk.
    pub(super) gone: Writes,
    ids: u64,
    /// The number of each generation that there ever was.
    numbers: Vec<(GenerationId, u64)>,
}

pub(super) const NAMES: [&str; 2] = ["a", "b"];

/// In front of each id, by which a search finds them.
pub(super) const ID_MARK: [u8; 8] = *b"\xffid-mark";

impl World {
    pub(super) fn new(fault: Fault) -> Self {
        let node = || Node {
            record: NodeRecord::default(),
            head: None,
            writes: 0,
            kept: 0,
            before: None,
            is_mounted: true,
            boot: 1,
        };
        World {
            nodes: [node(), node()],
            flight: None,
            fault,
            written: 0,
            gone: 0,
            ids: 0,
            numbers: Vec::new(),
        }
    }

    pub(super) fn view(&self, at: usize) -> View<'_> {
        let node = &self.nodes[at];
        View::new(&node.record, node.data())
    }

    pub(super) fn standing(&self, at: usize) -> Standing {
        let is_empty = self.nodes[at].is_empty();
        self.view(at).standing(me(at), is_empty)
    }

    /// Who has asked its peer for a generation, and has not heard of that.
    pub(super) fn asked(&self) -> Option<usize> {
        let flight = self.flight.as_ref().filter(|flight| flight.was_asked());
        flight.map(|flight| flight.from)
    }

    fn finds(&self, at: usize) -> Data {
        let node = &self.nodes[at];
        self.view(at).finds(node.is_mounted, node.found_empty())
    }

    /// Its tree is mounted, and nobody has taken the head away that was beside it.
    pub(super) fn sees_its_data(&self, at: usize) -> bool {
        self.nodes[at].is_mounted && self.finds(at) != Data::NoHead
    }

    fn id(&mut self) -> GenerationId {
        self.ids += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&ID_MARK);
        bytes[8..].copy_from_slice(&self.ids.to_be_bytes());
        GenerationId::of_bytes(bytes)
    }

    /// Notes a generation, whose number is no other's in its lineage.
    fn made(&mut self, generation: &Generation, line: &[GenerationId]) {
        let number = generation.number.to_string().parse().unwrap();
        let is_shared = |(id, other): &(GenerationId, u64)| *other == number && line.contains(id);
        let shared = self.numbers.iter().find(|known| is_shared(known));
        assert!(
            shared.is_none(),
            "number {number} is used twice in one lineage"
        );
        if number > 0 && !self.numbers.iter().any(|(id, _)| *id == generation.id) {
            self.numbers.push((generation.id, number));
        }
    }

    /// What every verb does first that changes a record.
    fn catch_up(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let data = node.data().cloned();
        node.record.catch_up(data.as_ref(), node.is_mounted);
    }

    pub(super) fn write(&mut self, at: usize) {
        let bit = self.written + 1;
        self.written |= bit;
        self.nodes[at].writes |= bit;
    }

    pub(super) fn promote(&mut self, at: usize, above: Epoch) {
        self.catch_up(at);
        let (id, line) = (self.id(), self.line_of(at));
        let before = self.view(at).head().map(|head| head.id);
        let node = &mut self.nodes[at];
        let data = node.data().cloned();
        let promotion = Promotion {
            above: (above, Default::default()),
            ..promotion(id, at, node.boot())
        };
        let head = node.record.promote(data.as_ref(), promotion).unwrap();
        if Some(head.id) != before {
            self.made(&head, &line);
        }
    }

    pub(super) fn demote(&mut self, at: usize, handed_over: bool) {
        self.catch_up(at);
        self.nodes[at].record.demote(handed_over);
    }

    pub(super) fn adopt(&mut self, at: usize, adopted: Adopted) {
        self.catch_up(at);
        let data = self.nodes[at].data().cloned();
        self.nodes[at].record.give_up(adopted, data.as_ref());
    }

    pub(super) fn rejoin(&mut self, at: usize) -> Rejoin {
        self.catch_up(at);
        let peer = self.standing(1 - at);
        let boot = self.nodes[at].boot();
        let rejoin = self.view(at).rejoins(&peer, Serves::No, boot);
        if rejoin == Rejoin::Follows {
            self.nodes[at].record.demote(false);
        }
        rejoin
    }

    /// Takes back what the last commit to this node changed.
    pub(super) fn undo(&mut self, at: usize) {
        self.catch_up(at);
        let (epoch, number) = (self.view(at).epoch(), self.view(at).number().next());
        let (id, line) = (self.id(), self.line_of(at));
        let node = &mut self.nodes[at];
        let (Some(head), Some((state, writes))) = (node.head.clone(), node.before.take()) else {
            return;
        };
        let undo = Generation {
            id,
            epoch,
            number: number.unwrap(),
            node: NAMES[at].to_owned(),
            parent: Some(head.id),
            kind: GenerationKind::Undo,
            state,
            parent_state: Some(head.state),
            ..head.clone()
        };
        node.head = Some(undo.clone());
        self.gone |= node.writes & !writes;
        node.writes = writes;
        node.record.undone(&head, &undo);
        self.made(&undo, &line);
    }

    /// The machine goes down and comes up again.
    pub(super) fn crash(&mut self, at: usize) {
        self.nodes[at].boot += 1;
        match &mut self.flight {
            Some(flight) if flight.from == at && flight.was_asked() => flight.is_alone = true,
            flight => *flight = None,
        }
    }

    /// The link breaks: the sender gives up, and the receiver goes on with what it was asked for.
    pub(super) fn cut(&mut self) {
        match &mut self.flight {
            Some(flight) if flight.was_asked() => flight.is_alone = true,
            flight => *flight = None,
        }
    }

    pub(super) fn lose_state(&mut self, at: usize) {
        self.nodes[at].record = NodeRecord::default();
    }

    /// The tree is on a new disk.
    pub(super) fn lose_data(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        self.gone |= node.writes | node.kept;
        (node.head, node.before, node.writes, node.kept) = (None, None, 0, 0);
    }

    /// A push from there begins, or is refused on its own node.
    pub(super) fn begin(&mut self, from: usize) -> Option<End> {
        self.catch_up(from);
        let role = self.view(from).role();
        if role == NodeRole::Standby {
            return Some(End::NotPushed);
        }
        if self.finds(from) != Data::Here {
            return Some(End::Unseen);
        }
        let (intended, first) = (self.id(), self.id());
        let boot = self.nodes[from].boot();
        self.nodes[from].record.serves(boot);
        self.flight = Some(Flight {
            from,
            claim: self.view(from).claim(me(from), intended, first, 0),
            copy: self.nodes[from].record.clone(),
            writes: self.nodes[from].writes,
            is_first: role == NodeRole::New,
            is_alone: false,
            phase: Phase::Claimed,
        });
        None
    }

    /// The push under way makes one step; an end if that was the last.
    pub(super) fn advance(&mut self) -> Option<End> {
        let mut flight = self.flight.take()?;
        let (from, to) = (flight.from, 1 - flight.from);
        flight.phase = match flight.phase {
            Phase::Claimed => match self.answer(to, &flight.claim) {
                Ok(standing) => Phase::Answered(Box::new(standing)),
                Err(end) => return Some(end),
            },
            Phase::Answered(peer) => {
                if !self.accepted(&mut flight.copy, &flight.claim, flight.is_first, &peer) {
                    return Some(End::NotPushed);
                }
                Phase::Accepted(peer)
            }
            Phase::Accepted(peer) => {
                let (claim, fault) = (&flight.claim, self.fault);
                let node = &mut self.nodes[from];
                let data = node.data().cloned();
                let intend = |record: &mut NodeRecord| record.intend(claim, data.as_ref(), &peer);
                if !node.step(fault, &mut flight.copy, |record| intend(record).is_ok()) {
                    return Some(End::NotPushed);
                }
                Phase::Intended(peer)
            }
            Phase::Intended(peer) => match self.commit(to, &flight.claim, flight.writes) {
                Ok(done) => Phase::Committed(peer, Box::new(done)),
                Err(end) => return Some(end),
            },
            Phase::Committed(peer, done) => {
                let node = &mut self.nodes[to];
                if done.is_news {
                    node.record
                        .received(&done.head, Some(flight.claim.led()), node.is_mounted);
                }
                if flight.is_alone {
                    return Some(End::NotPushed);
                }
                Phase::Noted(peer, done)
            }
            Phase::Noted(_, _) if flight.is_alone => return Some(End::NotPushed),
            Phase::Noted(peer, done) => {
                let (claim, fault) = (&flight.claim, self.fault);
                let node = &mut self.nodes[from];
                let data = node.data().cloned();
                let is_own = done.changed || claim.leads_from(done.head.id);
                node.step(fault, &mut flight.copy, |record| {
                    if is_own {
                        let made = (peer.node.as_str(), &done.head);
                        record.acknowledged(claim, data.as_ref(), made, None, 0);
                    }
                    true
                });
                return Some(if done.changed {
                    End::Changed
                } else {
                    End::Equal
                });
            }
        };
        self.flight = Some(flight);
        None
    }

    /// The push under way makes so many steps, unless it ends before.
    pub(super) fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            let _ = self.advance();
        }
    }

    fn answer(&mut self, to: usize, claim: &Claim) -> Result<Standing, End> {
        self.catch_up(to);
        let node = &self.nodes[to];
        let view = self.view(to);
        claim.check().unwrap();
        claim.believe(view).unwrap();
        match self.finds(to) {
            Data::Here | Data::Emptied => {}
            Data::NotMounted | Data::NoHead => return Err(End::Unseen),
        }
        let standing = self.standing(to);
        standing.believe("t", claim.epoch, claim.number).unwrap();
        view.receives(claim, node.is_empty())
            .map_err(End::Refused)?;
        Ok(standing)
    }

    fn accepted(
        &mut self,
        copy: &mut NodeRecord,
        claim: &Claim,
        is_first: bool,
        peer: &Standing,
    ) -> bool {
        let (fault, at) = (self.fault, usize::from(claim.node == NAMES[1]));
        let node = &mut self.nodes[at];
        let (boot, data) = (node.boot(), node.data().cloned());
        node.step(fault, copy, |record| {
            let role = View::new(record, data.as_ref()).role();
            if let Some(head) = claim.head.filter(|_| is_first && role == NodeRole::New) {
                let promotion = Promotion {
                    by_push: true,
                    ..promotion(head.id, at, boot)
                };
                record.promote(data.as_ref(), promotion).unwrap();
            }
            record.accepted(claim, data.as_ref(), peer).is_ok()
        })
    }

    /// The receiver's commit, up to where the head beside the data says so.
    fn commit(&mut self, to: usize, claim: &Claim, writes: Writes) -> Result<Done, End> {
        let made = made();
        let is_empty = self.nodes[to].is_empty();
        let view = self.view(to);
        view.receives(claim, is_empty).map_err(End::Refused)?;
        if !self.nodes[to].is_mounted {
            return Err(End::Unseen);
        }
        let is_equal = self.nodes[to].writes == writes;
        let (head, changed, is_news) = match view.equal_to(claim) {
            Equal::HandedOn(_, own) if is_equal && self.fault == Fault::NotHandedOn => {
                (own.clone(), false, false)
            }
            Equal::Stays if is_equal => (view.head().unwrap().clone(), false, false),
            Equal::HandedOn(head, own) if is_equal => {
                (claim.handed_on(head, own, made), false, true)
            }
            _ => {
                let counts = GenerationCounts::default();
                let made = claim.generation(view.head(), made, counts, None).unwrap();
                (made, true, true)
            }
        };
        if changed {
            let line: Vec<_> = claim.led().into_iter().chain(view.heads()).collect();
            self.made(&head, &line);
        }
        let is_pinned = self.view(to).may_be_alone();
        let node = &mut self.nodes[to];
        if changed {
            let replaced = node.writes & !writes;
            let state = head.parent_state.unwrap_or(GenerationId::NONE);
            node.before = Some((state, node.writes));
            if is_pinned {
                node.kept |= replaced;
            }
            node.writes = writes;
        }
        if is_news {
            node.head = Some(head.clone());
        }
        Ok(Done {
            head,
            changed,
            is_news,
        })
    }

    /// A push from its begin to its end, as a cycle makes it.
    pub(super) fn push(&mut self, from: usize) -> End {
        let mut end = self.begin(from);
        while end.is_none() {
            end = self.advance();
        }
        end.unwrap()
    }

    /// The same, and what is done about a refusal.
    pub(super) fn push_or_reconcile(&mut self, from: usize) -> End {
        match self.push(from) {
            End::Refused(_) if self.reconcile(from) == Reconcile::Empty => End::Empty,
            End::Refused(_) => self.push(from),
            end => end,
        }
    }

    fn reconcile(&mut self, from: usize) -> Reconcile {
        self.catch_up(from);
        let peer = self.standing(1 - from);
        let is_empty = self.nodes[from].is_empty();
        let decided = self.view(from).reconciles(&peer, is_empty);
        let is_equal = self.nodes[0].writes == self.nodes[1].writes;
        let equal_to = match decided {
            Reconcile::Compare(..) if is_equal => &peer.heads[..],
            Reconcile::Compare(here, there) => {
                self.nodes[from].record.differs(&peer.node, (here, there));
                return decided;
            }
            Reconcile::Rise => &[],
            _ => return decided,
        };
        let (id, line) = (self.id(), self.line_of(from));
        let node = &mut self.nodes[from];
        let number = peer.head.as_ref().map(|head| head.number);
        let promotion = Promotion {
            above: (peer.epoch, number.unwrap_or_default()),
            equal_to,
            ..promotion(id, from, node.boot())
        };
        let data = node.data().cloned();
        let head = node.record.promote(data.as_ref(), promotion).unwrap();
        self.made(&head, &[&line, equal_to].concat());
        decided
    }

    /// What led to what is there, itself included.
    fn line_of(&self, at: usize) -> Vec<GenerationId> {
        let view = self.view(at);
        view.heads().into_iter().chain(view.line()).collect()
    }
}

impl Node {
    fn data(&self) -> Option<&Generation> {
        self.head.as_ref().filter(|_| self.is_mounted)
    }

    fn found_empty(&self) -> bool {
        !self.is_mounted || self.writes == 0
    }

    /// As the product has it: empty, and not for want of a mount.
    fn is_empty(&self) -> bool {
        let view = View::new(&self.record, self.data());
        let found = view.finds(self.is_mounted, self.found_empty());
        self.found_empty() && found != Data::NotMounted
    }

    fn boot(&self) -> Boot {
        [self.boot; 16]
    }

    /// A step of the push under way.
    fn step(
        &mut self,
        fault: Fault,
        copy: &mut NodeRecord,
        step: impl FnOnce(&mut NodeRecord) -> bool,
    ) -> bool {
        if fault == Fault::StaleCopy {
            let done = step(copy);
            self.record = copy.clone();
            return done;
        }
        step(&mut self.record)
    }
}

impl Flight {
    /// The receiver may go on without its sender.
    fn was_asked(&self) -> bool {
        matches!(
            self.phase,
            Phase::Intended(_) | Phase::Committed(..) | Phase::Noted(..)
        )
    }
}

fn me(at: usize) -> Me {
    Me {
        tree: "t".to_owned(),
        node: NAMES[at].to_owned(),
        node_id: NodeId::of_bytes([at as u8 + 1; 16]),
    }
}

fn made() -> Made {
    Made {
        is_group: false,
        as_of: None,
        now_ns: 0,
    }
}

fn promotion(id: GenerationId, at: usize, boot: Boot) -> Promotion<'static> {
    Promotion {
        id,
        node: NAMES[at],
        is_group: false,
        above: Default::default(),
        equal_to: &[],
        by_push: false,
        received_as_of: None,
        is_mount: true,
        now_ns: 0,
        boot,
    }
}
