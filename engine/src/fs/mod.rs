//! File-system access that cannot be led out of a tree: directories are opened below a held root
//! without following symlinks, and every other call names one component in a held directory.

mod dir;
mod meta;
mod mode;
mod reaper;
mod remove;
mod root;
#[allow(dead_code, reason = "destinations are opened by it next")]
mod walk;

pub(crate) use dir::{Listed, Listing, list, stat};
pub(crate) use meta::{Attrs, set_attrs, set_fd_attrs};
pub(crate) use reaper::Reaper;
pub(crate) use remove::{names, remove_tree};
pub(crate) use root::{DirId, Root, dir_id, flush, is_absent, open_dir_below, open_private};
pub(crate) use walk::{Follow, open_dir};
pub use walk::{Judge, PathCause, PathError, Step, open_file};
