//! Generations of a tree on disk: durable, made as a whole or not at all. What they come from and
//! who may make them, `lineage/` decides.
//!
//! [`record`] is how anything about a generation is kept on disk, [`node`] what is kept apart from
//! the data, with the order of all locks; [`held`] is that and what is beside the data while they
//! are locked, [`place`] where that is; [`sending`] is a push on its primary's side; [`durable`]
//! makes a commit durable or brings one to its end that was cut off; [`remembered`] spares the next
//! push questions. What is kept beside the data, and the ways back, are in [`crate::history`].
//! [`tree`] is all of that for a tree with a name, as the command line uses it.

pub(crate) mod durable;
pub(crate) mod held;
mod lock_file;
pub(crate) mod node;
mod place;
pub(crate) mod record;
mod remembered;
mod sending;
pub(crate) mod tree;

pub use crate::clock::AsOf;
#[cfg(debug_assertions)]
pub use crate::clock::offset_clock;
#[cfg(debug_assertions)]
pub use crate::fail::end_at;
pub use crate::lineage::claim::{Adopted, Standing};
pub use crate::lineage::freshness::Freshness;
pub use crate::lineage::generation::{
    Generation, GenerationCounts, GenerationId, GenerationKind, PARTIAL_LINES_MAX, Partial, Sealed,
};
pub use crate::lineage::ordinal::{Epoch, Number};
pub use crate::lineage::rank::{Candidate, Rank, Unfit};
pub use crate::lineage::rules::{Data, Rejoin, Serves};
pub use crate::lineage::view::{NodeRole, Owes};
pub use crate::lineage::ways_out::{Command, WayOut, ways_out};
pub use sending::Reconciled;
pub use tree::{LeftOver, Recovered, Tree, TreeStatus};

pub(crate) use crate::lineage::rules::Reconcile;
pub(crate) use durable::{commit_staged, note_equal, recover};
pub(crate) use held::Held;
pub(crate) use node::SessionLock;
pub(crate) use sending::{Sending, note_differing, reconcile, to_reconcile};
