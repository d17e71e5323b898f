//! Whether a disk takes what a promotion and a push record there: it is tried, before either fails.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use hasync_engine::{describe, escape};
use rustix::fs::{Mode, OFlags};

use crate::exit::{Exit, Failure};

/// A block, as each record takes one.
const RECORD_LEN: usize = 4096;

/// Why nothing can be recorded there, if its disk says so.
pub(crate) fn obstacle(dir: &Path) -> Option<Failure> {
    let e = write_to(dir).err()?;
    let exit = match e.kind() {
        ErrorKind::ReadOnlyFilesystem => Exit::FileIo,
        _ => Exit::NoSpace,
    };
    let shown = escape(dir.as_os_str().as_encoded_bytes());
    let why = describe(&e);
    Some(Failure::new(
        exit,
        format!("nothing can be written to {shown} ({why})"),
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
