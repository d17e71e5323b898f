//! Whether a node may be promoted, as far as its peer knows: the peer may have the service, data
//! that this node lacks, or changes that it has not pushed yet. A pure rule about two standings.

use super::claim::Standing;
use super::generation::{Generation, GenerationKind};

/// How a node's data compares with the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The peer has nothing that this node should wait for.
    Fresh,
    /// The peer is primary, and it is not known whether it has the service.
    Unknown,
    /// The peer is primary and has not the service any more: its last push may be on its way.
    Awaited,
    /// The peer is primary and has the service.
    Served,
    /// The peer is a standby whose data came from this node's, or in a later epoch.
    Behind,
}

impl Freshness {
    /// Compares a node's standing with its peer's, which has the service or not, if that is known.
    #[must_use]
    pub fn of(here: &Standing, there: &Standing, serves: Option<bool>) -> Self {
        match (there.is_primary, serves) {
            (true, None) => Freshness::Unknown,
            (true, Some(false)) => Freshness::Awaited,
            (true, Some(true)) => Freshness::Served,
            (false, _) if is_ahead(there, here) => Freshness::Behind,
            (false, _) => Freshness::Fresh,
        }
    }
}

/// Whether a standby has what came from the other's data and not the other way round; where
/// neither came from the other, the later promotion counts.
fn is_ahead(there: &Standing, here: &Standing) -> bool {
    let has_come = there.head.is_some() && !there.led_to(here);
    has_come && !is_of_nothing(here, there) && (here.led_to(there) || there.epoch > here.epoch)
}

/// Whether neither node has ever been equal to the other: a promotion alone says nothing of data.
fn is_of_nothing(here: &Standing, there: &Standing) -> bool {
    let is_bare =
        |head: &Generation| head.kind == GenerationKind::Promotion && head.as_of.is_none();
    here.head.is_none() && there.head.as_ref().is_some_and(is_bare)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lineage::tests::standings;

    /// A node in an epoch, with the generations of these numbers as head and line.
    fn standing(is_primary: bool, epoch: u64, head: u8, line: &[u8]) -> Standing {
        standings::standing(is_primary, epoch, (head, GenerationKind::Push), line)
    }

    #[test]
    fn only_a_peer_that_is_known_to_be_better_holds_a_promotion_up() {
        use Freshness::{Awaited, Behind, Fresh, Served, Unknown};
        let none = || standing(false, 0, 0, &[]);
        for (here, there, serves, expected) in [
            (none(), none(), None, Fresh),
            (none(), standing(true, 1, 1, &[]), Some(true), Served),
            (none(), standing(true, 1, 1, &[]), Some(false), Awaited),
            (none(), standing(true, 1, 1, &[]), None, Unknown),
            // What the peer has, this node never had.
            (none(), standing(false, 1, 1, &[]), None, Behind),
            (standing(false, 1, 1, &[]), none(), Some(true), Fresh),
            (
                standing(false, 1, 1, &[]),
                standing(false, 1, 1, &[]),
                None,
                Fresh,
            ),
            // The peer was promoted, and demoted; its data came from this node's.
            (
                standing(true, 1, 1, &[]),
                standing(false, 2, 2, &[1]),
                None,
                Behind,
            ),
            // Its ancestors are forgotten.
            (
                standing(true, 1, 1, &[]),
                standing(false, 2, 9, &[]),
                None,
                Behind,
            ),
            // This node was promoted since.
            (
                standing(true, 2, 2, &[1]),
                standing(false, 1, 1, &[]),
                None,
                Fresh,
            ),
            // Neither came from the other in the same epoch: an undo, which diverged tells of.
            (
                standing(false, 1, 1, &[]),
                standing(false, 1, 2, &[]),
                None,
                Fresh,
            ),
            (
                standing(false, 3, 1, &[]),
                standing(false, 2, 2, &[]),
                None,
                Fresh,
            ),
        ] {
            assert_eq!(
                Freshness::of(&here, &there, serves),
                expected,
                "{here:?} {there:?}"
            );
        }
    }
}
