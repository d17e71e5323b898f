//! Whether a disk takes what a promotion, a push or a cycle records there: it is tried, before one
//! fails.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use hasync_engine::{describe, escape};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::exit::{Exit, Failure};

/// As much as is written to find out, in bytes: more than a record has.
const TRIAL_LEN: usize = 16 << 10;

/// Why nothing can be recorded there, if its disk says so.
pub(crate) fn obstacle(dir: &Path) -> Option<Failure> {
    let e = write_to(dir).err()?;
    let exit = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Exit::NoSpace,
        _ => Exit::FileIo,
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
        .and_then(|file| File::from(file).write_all(&[0; TRIAL_LEN]));
    match written {
        Err(e) if tells_of_the_disk(&e) => Err(e),
        // It is not there, which others tell, or its file system has no such files.
        _ => Ok(()),
    }
}

fn tells_of_the_disk(e: &io::Error) -> bool {
    let broken = e.raw_os_error() == Some(Errno::IO.raw_os_error());
    broken
        || matches!(
            e.kind(),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        )
}
