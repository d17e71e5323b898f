//! What was written on a standby: entries that a commit replaces although they were changed there
//! after the end of the commit before, by whatever but hasync. A change time is what nobody sets;
//! the file system gives it to the head as well, which is written last.
//!
//! When what was kept goes, the other names of its inodes change as well: the head counts from then
//! on.

use std::io;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps, fstat, futimens, openat};

use super::store::{HEAD, Store};
use crate::change::{Op, Ops};
use crate::entry::Time;
use crate::error::Error;
use crate::escape::escape;
use crate::fs::Inode;
use crate::lineage::generation::Partial;

const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Times to set: that of access stays, that of modification is the present.
const NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    },
};

/// The entries that these ops replace or remove, and that were changed since the last commit; none
/// where there was no commit before.
pub(crate) fn written_since(store: &Store, ops: &Ops) -> Result<Partial, Error> {
    let mut written = Partial::default();
    let end = last_end(store).map_err(|e| Error::file("read the records of the tree", &e))?;
    let Some(end) = end else {
        return Ok(written);
    };
    for op in ops.iter() {
        let op = op?;
        if changed(&op).is_some_and(|changed| changed.ctime > end) {
            written.add_line(&escape(&op.path().as_bytes()));
        }
    }
    Ok(written)
}

/// From now on counts what is changed.
pub(crate) fn count_from_now(store: &Store) -> io::Result<()> {
    let head = openat(store.dir(), HEAD.name, FLAGS, Mode::empty())?;
    Ok(futimens(head, &NOW)?)
}

/// When the last commit was over, by the clock of the file system.
fn last_end(store: &Store) -> io::Result<Option<Time>> {
    let head = match openat(store.dir(), HEAD.name, FLAGS, Mode::empty()) {
        Ok(head) => head,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(head)?;
    Ok(Some(Time {
        secs: stat.st_ctime,
        nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or_default(),
    }))
}

/// What an op takes away, or gives other metadata. Those of a directory change with what is in it.
fn changed(op: &Op) -> Option<&Inode> {
    match op {
        Op::Place { old, .. } => old.as_ref(),
        Op::Remove { old, .. } => Some(old),
        Op::SetAttrs { inode, .. } => Some(inode).filter(|i| i.file_type() != FileType::Directory),
        Op::Replace { .. } | Op::Discard { .. } | Op::SetDirAttrs { .. } => None,
    }
}
