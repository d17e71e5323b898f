//! Epochs, and the numbers of generations. Both count up by one and cannot be added to. A peer's
//! may be ahead of what this node knows by a bounded step, so that no lie of a peer comes near the
//! end of the range, from which there is no way back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::path::Shown;
use crate::refusal::Refusal;

/// How far a peer's epoch or number may be above the highest that this node knows. Nobody promotes
/// or pushes so often, and it takes 2^32 lies of that size to reach the last epoch.
const STEP_MAX: u64 = 1 << 32;

macro_rules! ordinal {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub struct $name(u64);

        impl $name {
            /// The one after; `None` after the last.
            #[must_use]
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }

            /// Whether it is at most one step above `known`.
            pub(crate) fn is_near(self, known: Self) -> bool {
                self.0.saturating_sub(known.0) <= STEP_MAX
            }

            /// Whether the one after it can be reached from `known`.
            #[must_use]
            pub fn is_within_reach(self, known: Self) -> bool {
                self.next().is_some_and(|next| next.is_near(known))
            }

            /// Refuses what a peer said if it is out of reach of what is `known` here.
            pub(crate) fn believe(self, known: Self, tree: &str, peer: &str) -> Result<(), Error> {
                if self.is_near(known) {
                    return Ok(());
                }
                Err(Error::peer(Refusal::TooFar {
                    peer: Shown(peer.as_bytes()).to_string(),
                    what: $word,
                    claimed: self.0,
                    tree: tree.to_owned(),
                    step: STEP_MAX,
                    known: known.0,
                }))
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

ordinal! {
    /// Which promotion of a primary a generation comes under; zero before the first.
    Epoch, "epoch"
}

impl Epoch {
    /// That of the first primary.
    pub(crate) const FIRST: Self = Self(1);
}

ordinal! {
    /// How many generations led to one, itself included; zero before the first.
    Number, "number"
}

/// The highest of its kind that a node has come to. There is no way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark<T>(T);

impl<T: Copy + Ord> Mark<T> {
    pub(crate) fn get(self) -> T {
        self.0
    }

    pub(crate) fn raise(&mut self, to: T) {
        self.0 = self.0.max(to);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_is_nothing_after_the_last_and_no_way_around() {
        assert_eq!(Epoch::default().next(), Some(Epoch::FIRST));
        assert_eq!(Epoch::from(u64::MAX - 1).next(), Some(u64::MAX.into()));
        assert_eq!(Epoch::from(u64::MAX).next(), None);
        assert_eq!(Number::from(u64::MAX).next(), None);
    }

    #[test]
    fn a_step_is_believed_and_a_leap_is_not() {
        for (told, known, believed) in [
            (0, 0, true),
            (STEP_MAX, 0, true),
            (STEP_MAX + 1, 0, false),
            (STEP_MAX + 7, 7, true),
            (STEP_MAX + 8, 7, false),
            // What is lower is refused by lineage, with better words.
            (0, u64::MAX, true),
            (u64::MAX, u64::MAX - STEP_MAX, true),
            (u64::MAX, u64::MAX - STEP_MAX - 1, false),
            (u64::MAX - 1, 1, false),
            (u64::MAX, 0, false),
            (i64::MAX as u64, 1, false),
        ] {
            let epoch = Epoch::from(told).believe(known.into(), "html", "b");
            assert_eq!(epoch.is_ok(), believed, "{told} {known}");
            let number = Number::from(told).believe(known.into(), "html", "b");
            assert_eq!(number.is_ok(), believed, "{told} {known}");
        }
        let message = Epoch::from(u64::MAX)
            .believe(Epoch::FIRST, "html", "b")
            .unwrap_err()
            .message;
        assert!(message.contains("18446744073709551615"), "{message}");
    }
}
