//! Generations of a tree: durable, made as a whole or not at all, each with its lineage.
//!
//! [`head`] says what a generation is, [`ordinal`] how it is counted and [`clock`] as of when;
//! [`node_id`] says who a node is; [`record`] is how anything about a generation is kept on disk,
//! [`store`] what is kept beside the data and [`node`] what apart from it; [`lineage`] decides
//! whether a push may follow, [`sending`] is its primary's side; [`durable`] makes a commit durable
//! or brings one to its end that was cut off, [`kept`] keeps what it replaced, [`undo`] finds the
//! way back and [`undoing`] goes it; [`restore`] brings back single paths, out of the [`past`];
//! [`interrupted`] is what a push had staged when its connection broke.
//! [`tree`] is all of that for a tree with a name, as the command line uses it.

mod clock;
mod durable;
mod fail;
mod head;
mod interrupted;
mod kept;
mod lineage;
mod lock_file;
mod node;
mod node_id;
mod ordinal;
mod past;
mod record;
mod restore;
mod sending;
mod space;
mod store;
mod tree;
mod undo;
mod undoing;

pub use clock::AsOf;
#[cfg(debug_assertions)]
pub use clock::offset_clock;
#[cfg(debug_assertions)]
pub use fail::end_at;
pub use head::{
    Generation, GenerationCounts, GenerationId, GenerationKind, PARTIAL_LINES_MAX, Partial, Sealed,
};
pub use kept::Pinned;
pub use node::{Adopted, Standing};
pub use ordinal::{Epoch, Number};
pub use space::Space;
pub use tree::{LeftOver, NodeRole, Recovered, Tree, TreeStatus};
pub use undo::UndoPolicy;
pub use undoing::{Undone, UndoneChange};

pub(crate) use durable::{commit_staged, recover};
pub(crate) use fail::fail_point;
pub(crate) use interrupted::{Interrupted, Left, leave};
pub(crate) use kept::prune;
pub(crate) use lineage::Claim;
pub(crate) use node::SessionLock;
pub(crate) use node_id::NodeId;
pub(crate) use sending::Sending;
pub(crate) use store::Store;
pub(crate) use tree::Held;
pub(crate) use undo::counts;
