//! Who is let in, and who gives way: the rules for connections that have not logged in. Pure:
//! arrivals and times go in, victims come out.
//!
//! A connection first waits without a process, for its client to speak; then it gets one to log in
//! with. Both kinds of places are few. When they run out, the *group* that holds most gives up its
//! oldest: a group is an IPv4 address or an IPv6 /64, so whoever floods takes its places from
//! itself. Processes are started at a bounded rate, in turn between the groups. Addresses that
//! `from=` names are groups of their own kind: they start at a rate of their own, and as long as
//! they are few they give way to nobody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::ssh::server::ServerLimits;

/// Names a connection; later ones have larger numbers.
pub(crate) type Id = u64;

/// The book of all connections. Times count from when the server started.
pub(crate) struct Gate {
    limits: ServerLimits,
    next_id: Id,
    /// Not logged in, in the order of arrival.
    held: BTreeMap<Id, Held>,
    sessions: BTreeSet<Id>,
    rates: [Rate; 2],
    /// When a group of `held` last got a process, as a number that grows.
    started: BTreeMap<Group, u64>,
    starts: u64,
}

struct Held {
    group: Group,
    since: Duration,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Has said nothing yet, or not enough.
    Silent,
    /// Speaks SSH, and waits for a process.
    Spoken,
    /// Has a process.
    LoggingIn,
}

/// Those that compete as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// `from=` names its address.
    named: bool,
    network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Network {
    V4(Ipv4Addr),
    /// The first 64 bits: whoever has one such address has them all.
    V6(u64),
}

/// A connection that gets a process now, and one that loses its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) id: Id,
    pub(crate) gives_way: Option<Id>,
}

impl Gate {
    pub(crate) fn new(limits: ServerLimits) -> Gate {
        Gate {
            limits,
            next_id: FIRST_ID,
            held: BTreeMap::new(),
            sessions: BTreeSet::new(),
            rates: [Rate::default(); 2],
            started: BTreeMap::new(),
            starts: 0,
        }
    }

    /// A connection came. It may be the very one that has to give way.
    pub(crate) fn arrive(
        &mut self,
        address: IpAddr,
        named: bool,
        now: Duration,
    ) -> (Id, Option<Id>) {
        let id = self.next_id;
        self.next_id += 1;
        let held = Held {
            group: group(address, named),
            since: now,
            stage: Stage::Silent,
        };
        self.held.insert(id, held);
        let too_many = self.count(is_waiting) > self.limits.waiting_max;
        (id, too_many.then(|| self.give_way()).flatten())
    }

    /// Takes its place from a waiting connection: there is no more room.
    pub(crate) fn give_way(&mut self) -> Option<Id> {
        let id = self.victim(is_waiting, self.limits.waiting_max)?;
        self.leave(id);
        Some(id)
    }

    /// The client of a waiting connection speaks SSH.
    pub(crate) fn spoke(&mut self, id: Id) {
        if let Some(held) = self.held.get_mut(&id).filter(|held| is_waiting(held)) {
            held.stage = Stage::Spoken;
        }
    }

    /// Who gets a process now, if somebody does.
    pub(crate) fn start(&mut self, now: Duration) -> Option<Start> {
        let id = [true, false].into_iter().find_map(|named| {
            let free = self.rates[usize::from(named)].free_at() <= now;
            free.then(|| self.next(named, now)).flatten()
        })?;
        let full = self.count(is_logging_in) >= self.limits.logins_max;
        let gives_way = full
            .then(|| self.victim(is_logging_in, self.limits.logins_max))
            .flatten();
        if let Some(victim) = gives_way {
            self.leave(victim);
        }
        let held = self.held.get_mut(&id)?;
        held.stage = Stage::LoggingIn;
        self.rates[usize::from(held.group.named)].take(now);
        self.starts += 1;
        self.started.insert(held.group, self.starts);
        Some(Start { id, gives_way })
    }

    /// Its client has proved a key: whether there is a place among the sessions.
    pub(crate) fn log_in(&mut self, id: Id) -> bool {
        let logging_in = self.held.get(&id).is_some_and(is_logging_in);
        if !logging_in || self.sessions.len() >= self.limits.sessions_max {
            return false;
        }
        self.leave(id);
        self.sessions.insert(id)
    }

    pub(crate) fn is_session(&self, id: Id) -> bool {
        self.sessions.contains(&id)
    }

    /// A connection ended, in whatever stage.
    pub(crate) fn leave(&mut self, id: Id) {
        self.sessions.remove(&id);
        if let Some(gone) = self.held.remove(&id)
            && !self.held.values().any(|held| held.group == gone.group)
        {
            self.started.remove(&gone.group);
        }
    }

    /// A connection whose time to log in is over; it has left.
    pub(crate) fn late(&mut self, now: Duration) -> Option<Id> {
        let (&id, oldest) = self.held.first_key_value()?;
        if oldest.since + self.limits.login_timeout > now {
            return None;
        }
        self.leave(id);
        Some(id)
    }

    /// When to ask again though nothing has happened.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let (_, oldest) = self.held.first_key_value()?;
        let late = oldest.since + self.limits.login_timeout;
        let room = self.count(is_logging_in) < self.limits.logins_max;
        let startable = self.held.values().filter_map(|held| {
            let rate = self.rates[usize::from(held.group.named)].free_at();
            match held.stage {
                Stage::Spoken => Some(rate),
                Stage::Silent if room => Some(rate.max(held.since + self.limits.patience)),
                Stage::Silent | Stage::LoggingIn => None,
            }
        });
        startable.chain([late]).min()
    }

    /// Who of the named or of the others is next: the group that has fewest processes, then the
    /// one that has waited longest for one. A client that says nothing may be waiting for us to
    /// speak first: it gets a process after a while, but takes none from others.
    fn next(&self, named: bool, now: Duration) -> Option<Id> {
        let room = self.count(is_logging_in) < self.limits.logins_max;
        let ready = |held: &Held| match held.stage {
            Stage::Spoken => true,
            Stage::Silent => room && held.since + self.limits.patience <= now,
            Stage::LoggingIn => false,
        };
        let waiting = self.held.iter();
        let ready = waiting.filter(|(_, held)| held.group.named == named && ready(held));
        let next = ready.min_by_key(|(id, held)| {
            let same = |other: &Held| is_logging_in(other) && other.group == held.group;
            (self.count(same), self.started.get(&held.group), **id)
        });
        next.map(|(id, _)| *id)
    }

    /// The oldest connection of the group that holds most of `places`; of equals, the oldest. The
    /// named ones are spared as long as they are no more than their reserve.
    fn victim(&self, places: impl Fn(&Held) -> bool, places_max: usize) -> Option<Id> {
        let holders = || self.held.iter().filter(|(_, held)| places(held));
        let named = holders().filter(|(_, held)| held.group.named).count();
        let spare_named = named <= places_max / RESERVED_SHARE;
        let mut groups: BTreeMap<Group, (usize, Reverse<Id>)> = BTreeMap::new();
        for (id, held) in holders().filter(|(_, held)| !(spare_named && held.group.named)) {
            groups.entry(held.group).or_insert((0, Reverse(*id))).0 += 1;
        }
        let (_, Reverse(oldest)) = groups.into_values().max()?;
        Some(oldest)
    }

    fn count(&self, which: impl Fn(&Held) -> bool) -> usize {
        self.held.values().filter(|held| which(held)).count()
    }
}

fn is_waiting(held: &Held) -> bool {
    held.stage != Stage::LoggingIn
}

fn is_logging_in(held: &Held) -> bool {
    held.stage == Stage::LoggingIn
}

fn group(address: IpAddr, named: bool) -> Group {
    let network = match address.to_canonical() {
        IpAddr::V4(address) => Network::V4(address),
        IpAddr::V6(address) => Network::V6((address.to_bits() >> 64) as u64),
    };
    Group { named, network }
}

/// Starts at most [`STARTS_PER_SECOND`] in the long run, and as many at once after a pause.
#[derive(Clone, Copy, Default)]
struct Rate {
    /// When all starts so far are paid for.
    paid_at: Duration,
}

impl Rate {
    fn free_at(&self) -> Duration {
        (self.paid_at + START_COST).saturating_sub(Duration::from_secs(1))
    }

    fn take(&mut self, now: Duration) {
        self.paid_at = self.paid_at.max(now) + START_COST;
    }
}

/// Ids below are free for other uses.
pub(crate) const FIRST_ID: Id = 16;
/// A process costs ten milliseconds of CPU or more: a flood may take this many in a second.
const STARTS_PER_SECOND: u32 = 20;
const START_COST: Duration = Duration::from_millis(1000 / STARTS_PER_SECOND as u64);
/// One place in so many is kept for the addresses that `from=` names.
const RESERVED_SHARE: usize = 4;

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
