//! What is kept of a tree beside its data, and the ways back.
//!
//! [`store`] is the place of it all, [`journal`] what a commit changes; [`kept`] keeps what that
//! replaced, as long as [`clocks`] and the policy say; [`undo`] finds the way back and [`undoing`]
//! goes it; [`replaced`] copies out what a
//! generation replaced, [`restore`] brings back single paths, out of the [`past`];
//! [`interrupted`] is what a push had staged when its connection broke, and [`space`] is how much
//! of that there is room for; [`written`] is what somebody else
//! wrote in between; [`room`] is made by what gives way, and [`sizes`] is what all of it takes.

mod clocks;
mod interrupted;
pub(crate) mod journal;
pub(crate) mod kept;
mod past;
pub(crate) mod prune;
mod replaced;
mod restore;
mod room;
mod sizes;
pub(crate) mod space;
pub(crate) mod store;
pub(crate) mod undo;
mod undoing;
mod written;

pub use kept::Pinned;
pub use replaced::{Extracted, Replaced, ReplacedEntry};
pub use sizes::Sizes;
pub use space::Space;
pub use undo::UndoPolicy;
pub use undoing::{Undone, UndoneChange};

pub(crate) use interrupted::{Interrupted, leave};
pub(crate) use journal::Journal;
pub(crate) use prune::prune;
pub(crate) use room::Room;
pub(crate) use store::Store;
pub(crate) use undo::counts;
pub(crate) use written::{count_from_now, written_since};
