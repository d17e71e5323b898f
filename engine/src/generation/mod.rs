//! Generations of a tree: durable, made as a whole or not at all, each with its lineage.
//!
//! [`head`] says what a generation is, [`ordinal`] how it is counted and [`clock`] as of when;
//! [`node_id`] says who a node is; [`record`] is how anything about a generation is kept on disk,
//! [`node`] what is kept apart from the data; [`lineage`] decides whether a push may follow,
//! [`sending`] is its primary's side; [`durable`] makes a commit durable or brings one to its end
//! that was cut off. What is kept beside the data, and the ways back, are in [`crate::history`].
//! [`tree`] is all of that for a tree with a name, as the command line uses it.

pub(crate) mod clock;
pub(crate) mod durable;
pub(crate) mod head;
mod lineage;
mod lock_file;
pub(crate) mod node;
mod node_id;
pub(crate) mod ordinal;
pub(crate) mod record;
mod sending;
pub(crate) mod tree;

#[cfg(debug_assertions)]
pub use crate::fail::end_at;
pub use clock::AsOf;
#[cfg(debug_assertions)]
pub use clock::offset_clock;
pub use head::{
    Generation, GenerationCounts, GenerationId, GenerationKind, PARTIAL_LINES_MAX, Partial, Sealed,
};
pub use node::{Adopted, Standing};
pub use ordinal::{Epoch, Number};
pub use tree::{LeftOver, NodeRole, Recovered, Tree, TreeStatus};

pub(crate) use durable::{commit_staged, recover};
pub(crate) use lineage::Claim;
pub(crate) use node::SessionLock;
pub(crate) use node_id::NodeId;
pub(crate) use sending::Sending;
pub(crate) use tree::Held;
