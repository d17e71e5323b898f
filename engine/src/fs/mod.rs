//! File-system access that cannot be led out of a tree: directories are opened below a held root
//! without following symlinks, and every other call names one component in a held directory.

mod abilities;
mod alike;
mod attrs;
mod by_name;
mod deep;
mod dir;
mod extent;
mod handed_on;
mod held;
mod inherited;
mod inode;
mod lock;
mod longest;
mod machine;
mod meta;
mod mode;
mod own_place;
mod reaper;
mod regular;
mod remove;
mod root;
mod trust;
mod walk;
mod xattrs;

pub(crate) use abilities::{Abilities, cannot_be_private, means_no_links, open_own, remove_asked};
pub(crate) use alike::{Alike, Memory};
pub use attrs::{Assigned, Attrs};
pub use by_name::{ByName, OwnCalls, set_by_name_through};
pub(crate) use deep::DeepDirs;
pub(crate) use dir::{
    Inodes, Listed, Listing, LookThrough, Wanted, follow_listed, list, stat, stat_with_atime,
};
pub(crate) use extent::{Extent, Mounts, Seen, Shared, ancestors};
pub(crate) use handed_on::{
    HandedOn, drop_default_acl, folds_names, hints_at_extents, is_bordered,
};
pub(crate) use inherited::Inherited;
pub use inode::Inode;
pub(crate) use inode::{Birth, WhichDir, numbers_hold, replaced};
pub use lock::Lock;
pub(crate) use longest::{can_hold, len_max};
pub(crate) use machine::{boot, machine};
pub(crate) use meta::{close_written, keeping_time, set_attrs, set_fd_attrs, set_new_attrs};
pub(crate) use own_place::take_own_place;
pub(crate) use reaper::Reaper;
pub(crate) use regular::FileDir;
pub(crate) use remove::{
    Stuck, has_name, names, remove_other, remove_own_tree, remove_tree, unless_open,
};
pub(crate) use root::{
    DIR_FLAGS, DirId, Root, dir_id, flush, flush_dir, is_absent, is_not_ours, is_private,
    open_dir_below, open_private,
};
pub(crate) use trust::Judgement;
pub use trust::open_trusted;
pub use walk::{
    Existing, Judge, PathCause, PathError, Step, hold, make_dirs, only_files, open_file, open_log,
    put_file,
};
pub(crate) use walk::{
    Follow, Nearest, Place, Spot, find_dir, find_dir_beneath, make_dir, nearest, open_dir,
};
pub(crate) use xattrs::{attributes_at, attributes_of, own_scope, readable, settable};
