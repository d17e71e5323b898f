//! Which metadata to set.

use serde::{Deserialize, Serialize};

use crate::entry::Time;

/// Metadata to set; `None` leaves a part as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attrs {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Permission bits: 0o7777.
    pub mode: Option<u32>,
    /// Time of the last change of content.
    pub mtime: Option<Time>,
}

impl Attrs {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Attrs::default()
    }
}
