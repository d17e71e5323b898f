//! What can happen, what has to hold whatever happens, and the search for a history in which it
//! does not: breadth first, so that what is found is short. States that differ in the names of
//! their generations alone are one.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;

use super::world::{End, Fault, ID_MARK, NAMES, World};
use crate::lineage::claim::Adopted;
use crate::lineage::rules::Rejoin;
use crate::lineage::ways_out::{Command, WayOut, ways_out};

/// Something that happens, on the node of that position where one is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Write(usize),
    /// A whole push, as a cycle makes it, with what is done about a refusal.
    Push(usize),
    Begin(usize),
    Advance,
    Cut,
    Crash(usize),
    Promote(usize),
    Demote(usize),
    /// The last push, and the demotion after it.
    Stop(usize),
    Adopt(usize),
    Rejoin(usize),
    Undo(usize),
    Unmount(usize),
    Mount(usize),
    LoseState(usize),
    LoseData(usize),
}

use Action::{
    Adopt, Advance, Begin, Crash, Cut, Demote, LoseData, LoseState, Mount, Promote, Push, Stop,
    Undo, Unmount, Write,
};

pub(super) const ACTIONS: [Action; 30] = [
    Push(0),
    Push(1),
    Stop(0),
    Stop(1),
    Promote(0),
    Promote(1),
    Demote(0),
    Demote(1),
    Write(0),
    Write(1),
    Begin(0),
    Begin(1),
    Advance,
    Cut,
    Crash(0),
    Crash(1),
    Action::Rejoin(0),
    Action::Rejoin(1),
    Adopt(0),
    Adopt(1),
    Undo(0),
    Undo(1),
    Unmount(0),
    Unmount(1),
    Mount(0),
    Mount(1),
    LoseState(0),
    LoseState(1),
    LoseData(0),
    LoseData(1),
];

/// Most writes in one history.
const WRITES_MAX: u32 = 4;

/// A promise that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A node's epoch is lower than before.
    EpochFell,
    /// A node that was demoted has asked its peer for a generation.
    StandbyAsked,
    /// A write is neither in a tree nor kept.
    WriteVanished,
    /// Pushes from both nodes would be received.
    BothReceived,
    /// An orderly hand-over between nodes that mirror was refused.
    HandOver,
    /// Two commands and a push do not lead back to a mirroring pair.
    WayOut,
}

/// The history that breaks a promise.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) broken: Broken,
    history: Vec<Action>,
    world: World,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (broken, history) = (self.broken, &self.history);
        writeln!(f, "{broken:?} after {history:?}")?;
        for at in 0..2 {
            let node = &self.world.nodes[at];
            let (writes, kept) = (node.writes, node.kept);
            writeln!(
                f,
                "{writes:b}, kept {kept:b}: {:?}",
                self.world.standing(at)
            )?;
        }
        Ok(())
    }
}

pub(super) struct Search<'a> {
    actions: &'a [Action],
    depth: usize,
    seen: HashSet<blake3::Hash>,
}

impl<'a> Search<'a> {
    pub(super) fn new(actions: &'a [Action], depth: usize) -> Self {
        Search {
            actions,
            depth,
            seen: HashSet::new(),
        }
    }

    /// How many states there are up to the depth, or one that breaks a promise.
    pub(super) fn run(&mut self, world: World) -> ControlFlow<Found, usize> {
        let mut level = vec![(world, Vec::new())];
        for _ in 0..self.depth {
            let mut next = Vec::new();
            for (world, history) in level {
                self.expand(&world, &history, &mut next)?;
            }
            level = next;
        }
        ControlFlow::Continue(self.seen.len())
    }

    fn expand(
        &mut self,
        world: &World,
        history: &[Action],
        next: &mut Vec<(World, Vec<Action>)>,
    ) -> ControlFlow<Found> {
        for &action in self.actions {
            let Some(after) = act(world, action) else {
                continue;
            };
            if !self.seen.insert(key(&after)) {
                continue;
            }
            let mut history = history.to_vec();
            history.push(action);
            if let Some(broken) = check(world, action, &after) {
                return ControlFlow::Break(Found {
                    broken,
                    history,
                    world: after,
                });
            }
            next.push((after, history));
        }
        ControlFlow::Continue(())
    }
}

/// The state, with its generations numbered in the order in which they occur.
pub(super) fn key(world: &World) -> blake3::Hash {
    let mut bytes = Vec::new();
    crate::wire::encode(world, &mut bytes).unwrap();
    let mut ids: Vec<[u8; 8]> = Vec::new();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(8).position(|found| found == ID_MARK) {
        at += found + 8;
        let id: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
        let known = ids.iter().position(|known| *known == id);
        let number = known.unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        });
        bytes[at..at + 8].copy_from_slice(&(number as u64).to_be_bytes());
    }
    blake3::hash(&bytes)
}

/// What comes of it; `None` where it cannot happen.
pub(super) fn act(world: &World, action: Action) -> Option<World> {
    let mut next = world.clone();
    let is_free = world.flight.is_none();
    match action {
        Write(at) => {
            let may = world.view(at).is_primary() && world.nodes[at].is_mounted;
            (may && world.written.count_ones() < WRITES_MAX).then(|| next.write(at))?;
        }
        Push(at) => is_free.then(|| next.push_or_reconcile(at)).map(|_| ())?,
        Begin(at) => is_free.then(|| next.begin(at)).map(|_| ())?,
        Advance => (!is_free).then(|| next.advance()).map(|_| ())?,
        Cut => (!is_free).then(|| next.cut())?,
        Crash(at) => next.crash(at),
        Promote(at) => world.nodes[at]
            .is_mounted
            .then(|| next.promote(at, Default::default()))?,
        Demote(at) => next.demote(at, false),
        Stop(at) => (is_free && world.view(at).is_primary()).then(|| {
            let end = next.push_or_reconcile(at);
            next.demote(at, matches!(end, End::Equal | End::Changed));
        })?,
        Adopt(at) => {
            let other = world.standing(1 - at);
            let id = other.head.filter(|_| world.view(at).head().is_some())?.id;
            let node = other.node;
            next.adopt(at, Adopted { node, id });
        }
        Action::Rejoin(at) => (next.rejoin(at) == Rejoin::Follows).then_some(())?,
        Undo(at) => (is_free && world.nodes[at].is_mounted).then(|| next.undo(at))?,
        Unmount(at) => next.nodes[at].is_mounted = false,
        Mount(at) => next.nodes[at].is_mounted = true,
        LoseState(at) => is_free.then(|| next.lose_state(at))?,
        LoseData(at) => is_free.then(|| next.lose_data(at))?,
    }
    (next != *world).then_some(next)
}

/// What does not hold after that.
pub(super) fn check(before: &World, action: Action, after: &World) -> Option<Broken> {
    let fell = |at: usize| after.view(at).epoch() < before.view(at).epoch();
    let is_loss = |at: usize| {
        // A disk that is away takes its head along.
        [LoseState(at), LoseData(at), Unmount(at)].contains(&action)
    };
    if (0..2).any(|at| fell(at) && !is_loss(at)) {
        return Some(Broken::EpochFell);
    }
    if let (Some(from), None) = (after.asked(), before.asked())
        && !after.view(from).is_primary()
    {
        return Some(Broken::StandbyAsked);
    }
    let [a, b] = &after.nodes;
    let there = a.writes | b.writes | a.kept | b.kept | after.gone;
    if after.written & !there != 0 {
        return Some(Broken::WriteVanished);
    }
    if after.flight.is_some() {
        return None;
    }
    let receives = |from: usize| {
        let mut world = after.clone();
        matches!(world.push(from), End::Equal | End::Changed)
    };
    let receives = [receives(0), receives(1)];
    if receives == [true, true] && (0..2).any(|at| after.view(at).is_primary()) {
        return Some(Broken::BothReceived);
    }
    for (at, _) in receives.iter().enumerate().filter(|(_, is)| **is) {
        if !hands_over(after, at) {
            return Some(Broken::HandOver);
        }
    }
    let is_whole = (0..2).all(|at| after.sees_its_data(at));
    (is_whole && !has_ways_out(after)).then_some(Broken::WayOut)
}

/// Two hand-overs in order, there and back, each with a restart on the way.
fn hands_over(world: &World, from: usize) -> bool {
    let mut world = world.clone();
    let is_received = |end: End| matches!(end, End::Equal | End::Changed | End::Unseen);
    for (from, to) in [(from, 1 - from), (1 - from, from)] {
        for _ in 0..2 {
            if !is_received(world.push(from)) {
                return false;
            }
            world.demote(from, true);
            world.promote(from, Default::default());
        }
        if !is_received(world.push(from)) {
            return false;
        }
        world.demote(from, true);
        world.promote(to, Default::default());
    }
    is_received(world.push(from))
}

/// Whatever way out is told, it has at most two commands, and a push goes through after them.
fn has_ways_out(world: &World) -> bool {
    let (one, other) = (world.standing(0), world.standing(1));
    let ways = ways_out(&one, &other);
    let nothing = one.head.is_none() && other.head.is_none();
    let leads = |way: &WayOut<'_>| {
        let mut world = world.clone();
        for (node, command) in &way.commands {
            let at = usize::from(node.node == NAMES[1]);
            match command.clone() {
                Command::Demote => world.demote(at, false),
                Command::Adopt { from, id } => world.adopt(at, Adopted { node: from, id }),
                Command::Promote { above } => world.promote(at, above.unwrap_or_default()),
            }
        }
        let keeps = usize::from(way.keeps.node == NAMES[1]);
        let end = world.push_or_reconcile(keeps);
        let is_empty = world.nodes[keeps].writes == 0;
        let is_through = matches!(end, End::Equal | End::Changed) || is_empty && end == End::Empty;
        let is_equal = world.nodes[0].writes == world.nodes[1].writes;
        way.commands.len() <= 2 && is_through && (is_equal || is_empty)
    };
    world.fault != Fault::None || ways.iter().all(leads) && (nothing || !ways.is_empty())
}
