//! Which of two nodes had better be promoted: a rank of each for one tree, by the order of
//! generations. There is no time in it: clocks differ, and an old generation may be the newest.
//!
//! A generation that is partial ranks as any other: an unreadable file of one user's is no reason
//! to keep a node from being promoted.

use super::claim::Standing;
use super::generation::{GenerationId, GenerationKind};
use super::rules::Data;

/// How well a node is fit to be promoted; a later one is fitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Not at all, for this reason.
    None(Unfit),
    /// The peer has a newer generation.
    Behind,
    /// It is known that the peer has none that is newer.
    Newest,
    /// It was primary last and has not handed over: it alone may have what changed since.
    LastPrimary,
    /// It is primary.
    Primary,
}

/// Why a node is not to be promoted without a word from people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// A commit was cut off: its data may be a mixture.
    Interrupted,
    /// The data that it has had cannot be seen.
    Unseen,
    /// Its data was given up for the peer's.
    GivenUp,
    /// Neither node's data came from the other's.
    Diverged,
    /// It has received nothing yet, and the peer has data.
    Empty,
    /// Neither node has a generation.
    BothEmpty,
    /// Nobody has confirmed that it has the newest generation.
    Unknown,
}

/// What a node knows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// How it stands to the tree.
    pub standing: &'a Standing,
    /// As standby that was primary last: whether it has handed over.
    pub was_primary: Option<bool>,
    /// Whether its data can be seen.
    pub data: Data,
    /// A commit was cut off.
    pub is_interrupted: bool,
    /// The generation that it was last known to share with a peer that had none that is newer.
    pub proven: Option<GenerationId>,
}

impl Rank {
    /// Ranks a node, given how its peer stands if that can be asked.
    #[must_use]
    pub fn of(own: Candidate<'_>, peer: Option<&Standing>) -> Self {
        let here = own.standing;
        let unfit = match own.data {
            _ if own.is_interrupted => Some(Unfit::Interrupted),
            Data::NotMounted | Data::NoHead | Data::Emptied => Some(Unfit::Unseen),
            Data::Here if here.adopted.is_some() => Some(Unfit::GivenUp),
            Data::Here if here.head.is_some() => None,
            Data::Here => Some(match peer {
                Some(there) if there.head.is_none() => Unfit::BothEmpty,
                Some(_) => Unfit::Empty,
                None => Unfit::Unknown,
            }),
        };
        let last = if here.is_primary {
            Some(Rank::Primary)
        } else {
            (own.was_primary == Some(false)).then_some(Rank::LastPrimary)
        };
        match (unfit, peer, last) {
            (Some(why), _, _) => Rank::None(why),
            (None, Some(there), _) => beside(here, there, last),
            (None, None, Some(last)) => last,
            (None, None, None) if own.is_proven() => Rank::Newest,
            (None, None, None) => Rank::None(Unfit::Unknown),
        }
    }
}

/// The rank beside a peer that stands like this; `last` is that of a node that was primary last.
fn beside(here: &Standing, there: &Standing, last: Option<Rank>) -> Rank {
    let state = |standing: &Standing| standing.head.as_ref().map(|head| head.state);
    // A promotion says nothing of data.
    let is_same = state(here) == state(there);
    match (here.led_to(there), there.led_to(here)) {
        (true, false) if is_same => last.unwrap_or(Rank::Newest),
        (true, false) => Rank::Behind,
        (false, false) => Rank::None(Unfit::Diverged),
        // A standby has what its primary does not know of: an undo.
        (false, true) if there.is_primary && last.is_none() => Rank::None(Unfit::Diverged),
        (_, true) => last.unwrap_or(Rank::Newest),
    }
}

impl Candidate<'_> {
    /// Whether its data is what was proven to be newest, or has been received since.
    fn is_proven(&self) -> bool {
        let here = self.standing;
        let is_undo = |kind| kind == GenerationKind::Undo;
        let is_own = here.head.as_ref().is_some_and(|head| is_undo(head.kind));
        let leads = |id: &GenerationId| here.heads.contains(id) || here.line.contains(id);
        !is_own && self.proven.as_ref().is_some_and(leads)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lineage::generation::Partial;
    use crate::lineage::tests::standings::{self, id};

    /// A node with the generations of these numbers as head, which is of that kind, and as line.
    fn standing(is_primary: bool, head: u8, kind: GenerationKind, line: &[u8]) -> Standing {
        standings::standing(is_primary, 1, (head, kind), line)
    }

    fn push(is_primary: bool, head: u8, line: &[u8]) -> Standing {
        standing(is_primary, head, GenerationKind::Push, line)
    }

    fn rank(
        here: &Standing,
        was_primary: Option<bool>,
        proven: u8,
        peer: Option<&Standing>,
    ) -> Rank {
        let own = Candidate {
            standing: here,
            was_primary,
            data: Data::Here,
            is_interrupted: false,
            proven: (proven > 0).then(|| id(proven)),
        };
        Rank::of(own, peer)
    }

    #[test]
    fn the_order_of_generations_ranks_the_nodes() {
        use GenerationKind::{Promotion, Undo};
        use Rank::{Behind, LastPrimary, Newest, Primary};
        let none = Rank::None;
        let new = push(false, 0, &[]);
        let (standby, primary) = (push(false, 5, &[4]), push(true, 5, &[4]));
        let promoted_since = standing(true, 6, Promotion, &[5, 4]);
        let (undone, ahead) = (standing(false, 6, Undo, &[5, 4]), push(false, 6, &[5]));
        let apart = push(true, 9, &[8]);
        for (name, here, was_primary, proven, peer, expected) in [
            (
                "two empty nodes",
                &new,
                None,
                0,
                Some(&new),
                none(Unfit::BothEmpty),
            ),
            (
                "an empty standby",
                &new,
                None,
                0,
                Some(&primary),
                none(Unfit::Empty),
            ),
            (
                "an empty node alone",
                &new,
                None,
                0,
                None,
                none(Unfit::Unknown),
            ),
            ("the primary", &primary, None, 0, Some(&standby), Primary),
            ("the primary alone", &primary, None, 0, None, Primary),
            (
                "the primary of an empty pair",
                &primary,
                None,
                0,
                Some(&new),
                Primary,
            ),
            ("its standby", &standby, None, 0, Some(&primary), Newest),
            (
                "its standby, once proven, alone",
                &standby,
                None,
                5,
                None,
                Newest,
            ),
            (
                "the same, after another push",
                &ahead,
                None,
                5,
                None,
                Newest,
            ),
            (
                "the same, never proven",
                &standby,
                None,
                0,
                None,
                none(Unfit::Unknown),
            ),
            (
                "proven with what is gone",
                &standby,
                None,
                9,
                None,
                none(Unfit::Unknown),
            ),
            (
                "an older standby",
                &push(false, 4, &[]),
                None,
                0,
                Some(&primary),
                Behind,
            ),
            (
                "the same beside a standby",
                &standby,
                None,
                5,
                Some(&ahead),
                Behind,
            ),
            (
                "the newer of two standbys",
                &ahead,
                None,
                0,
                Some(&standby),
                Newest,
            ),
            (
                "a promotion alone, seen from the standby",
                &standby,
                None,
                0,
                Some(&promoted_since),
                Newest,
            ),
            (
                "the same, from the former primary",
                &primary,
                None,
                0,
                Some(&promoted_since),
                Primary,
            ),
            (
                "promoted and pushed since",
                &primary,
                None,
                0,
                Some(&push(true, 7, &[6, 5])),
                Behind,
            ),
            (
                "broke off",
                &standby,
                Some(false),
                0,
                Some(&standby),
                LastPrimary,
            ),
            (
                "broke off, alone",
                &standby,
                Some(false),
                0,
                None,
                LastPrimary,
            ),
            (
                "broke off long ago",
                &standby,
                Some(false),
                0,
                Some(&ahead),
                Behind,
            ),
            (
                "handed over",
                &standby,
                Some(true),
                0,
                Some(&primary),
                Newest,
            ),
            (
                "handed over, alone",
                &standby,
                Some(true),
                0,
                None,
                none(Unfit::Unknown),
            ),
            (
                "diverged",
                &standby,
                None,
                5,
                Some(&apart),
                none(Unfit::Diverged),
            ),
            (
                "undone on the standby",
                &undone,
                None,
                5,
                Some(&primary),
                none(Unfit::Diverged),
            ),
            (
                "the same, alone",
                &undone,
                None,
                5,
                None,
                none(Unfit::Unknown),
            ),
        ] {
            assert_eq!(rank(here, was_primary, proven, peer), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_not_promoted_and_what_is_partial_is() {
        let standing = push(true, 5, &[4]);
        let own = Candidate {
            standing: &standing,
            was_primary: None,
            data: Data::Here,
            is_interrupted: false,
            proven: None,
        };
        for data in [Data::NotMounted, Data::NoHead, Data::Emptied] {
            let unseen = Candidate { data, ..own };
            assert_eq!(Rank::of(unseen, None), Rank::None(Unfit::Unseen));
        }
        let interrupted = Candidate {
            is_interrupted: true,
            ..own
        };
        assert_eq!(Rank::of(interrupted, None), Rank::None(Unfit::Interrupted));
        let (mut partial, peer) = (push(false, 5, &[4]), push(true, 5, &[4]));
        partial.head.as_mut().unwrap().partial = Some(Partial::default());
        assert_eq!(rank(&partial, None, 0, Some(&peer)), Rank::Newest);
    }

    #[test]
    fn the_last_primary_ranks_above_its_standby_until_it_has_handed_over() {
        let (primary, standby) = (push(true, 5, &[4]), push(false, 5, &[4]));
        let of_standby = rank(&standby, None, 5, Some(&primary));
        assert!(rank(&primary, None, 0, Some(&standby)) > of_standby);
        assert!(rank(&standby, Some(false), 0, Some(&standby)) > of_standby);
        assert_eq!(rank(&standby, Some(true), 0, Some(&standby)), of_standby);
        assert!(Rank::None(Unfit::Unknown) < Rank::Behind && Rank::Behind < of_standby);
    }
}
