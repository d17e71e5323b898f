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

/// Why nothing can be recorded there, if that is so.
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
    let unnamed = match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        // Its file system has no such files and does not tell.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::ISDIR) => return Ok(()),
        // It is not there, which others tell.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        opened => opened?,
    };
    File::from(unnamed).write_all(&[0; TRIAL_LEN])
}
