//! Lineage: who may send a tree to whom, and what its data came from.
//!
//! [`generation`] says what a generation is and [`ordinal`] how generations and promotions are
//! counted; [`record`] is what a node knows about a tree apart from the data, with every step by
//! which that changes; [`view`] is that record together with the head beside the data; [`claim`] is
//! what each node says of itself when a push begins; [`rules`] decide: whether a push is received,
//! what an equal one hands on, when nodes that do not descend from one another are reconciled, when
//! a former primary follows; [`freshness`] says whether a node may be promoted, [`rank`] which of
//! two had better be, and [`ways_out`] are the commands that lead back to a mirroring pair.
//!
//! All of it is a function of what is passed in. There is no file here, no lock, no clock and no
//! random number: `generation/` has those, and calls in here under the lock of the record.
//!
//! Lineage is compared by ids. The *heads* of a node are the ids that its data may have; its *line*
//! are the ids that led there and that others may still have. A push fits if one of the receiver's
//! heads is a head of the sender's or in its line.

pub(crate) mod claim;
pub(crate) mod freshness;
pub(crate) mod generation;
pub(crate) mod ordinal;
pub(crate) mod rank;
pub(crate) mod record;
pub(crate) mod rules;
pub(crate) mod view;
pub(crate) mod ways_out;

#[cfg(test)]
mod tests;
