//! Whether this node can record that it is primary: it is not to be promoted where that would fail.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use hasync_engine::{describe, escape};
use rustix::fs::{Mode, OFlags};

use crate::config::{Config, Tree};

/// A block, as each record of a promotion takes one.
const RECORD_LEN: usize = 4096;

/// Why nothing can be recorded on this node, if that is so.
pub(super) fn obstacle(config: &Config, trees: &[&Tree]) -> Option<String> {
    let dirs = trees.iter().map(|tree| tree.dir());
    let mut dirs = [config.node.state.as_path()].into_iter().chain(dirs);
    let (dir, why) = dirs.find_map(|dir| Some((dir, write_to(dir).err()?)))?;
    let shown = escape(dir.as_os_str().as_encoded_bytes());
    Some(format!(
        "this node is not to be promoted: nothing can be written to {shown} ({})",
        describe(&why)
    ))
}

/// Writes to a file without a name, of which no trace is left.
fn write_to(dir: &Path) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let unnamed = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR);
    let written = unnamed
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all(&[0; RECORD_LEN]));
    match written {
        Err(e) if tells_of_the_disk(&e) => Err(e),
        // It is not there, which others tell, or its file system has no such files.
        _ => Ok(()),
    }
}

fn tells_of_the_disk(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}
