//! The place of a tree, as far as lineage asks: whether its file system is there, and whether
//! anything is in it.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, StatxFlags, openat, statx};

use crate::fs::{DIR_FLAGS, Root, has_name};
use crate::path::RESERVED_NAME;

/// What is found where a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// A file system is mounted there.
    pub(crate) is_mount: bool,
    /// Nothing is there that would be mirrored. A group is never empty: other files are around.
    pub(crate) is_empty: bool,
}

/// Looks at a root; without one there is nothing.
pub(crate) fn find(root: Option<&Root>, is_group: bool) -> io::Result<Found> {
    let Some(root) = root else {
        return Ok(Found {
            is_mount: false,
            is_empty: !is_group,
        });
    };
    Ok(Found {
        is_mount: is_mount(root)?,
        is_empty: !is_group && is_empty(root)?,
    })
}

/// Whether the root is mounted; one that is bind-mounted counts, where the kernel tells mounts
/// apart.
fn is_mount(root: &Root) -> io::Result<bool> {
    let of = |path: &str, flags| -> io::Result<(u32, u32, u64)> {
        let stat = statx(root, path, flags, StatxFlags::MNT_ID)?;
        let tells = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
        let id = if tells { stat.stx_mnt_id } else { 0 };
        Ok((stat.stx_dev_major, stat.stx_dev_minor, id))
    };
    Ok(of("", AtFlags::EMPTY_PATH)? != of("..", AtFlags::empty())?)
}

fn is_empty(root: &Root) -> io::Result<bool> {
    let dir = openat(root.as_fd(), ".", DIR_FLAGS, Mode::empty())?;
    let is_own = |name: &[u8]| name == RESERVED_NAME || name == b"lost+found";
    Ok(!has_name(&dir, |name| !is_own(name))?)
}
