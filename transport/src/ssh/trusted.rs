//! Files that decide who gets in and whom this program believes: read only if nobody but root and
//! this user has a hand in them.

use std::io::{self, Read};
use std::path::Path;

use hasync_engine::{PathCause, open_trusted};

/// Why a file is not believed.
#[derive(Debug)]
pub(crate) enum Distrust {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Somebody else owns it or may write it, or a directory or symlink on the way: one line.
    Others(String),
}

/// The text of a file of at most `len_max` bytes.
pub(crate) fn read(path: &Path, len_max: u64) -> Result<String, Distrust> {
    let file = open(path)?;
    let mut bytes = Vec::new();
    let read = file.take(len_max + 1).read_to_end(&mut bytes);
    read.map_err(Distrust::Unreadable)?;
    if bytes.len() as u64 > len_max {
        let message = format!("larger than {len_max} bytes");
        return Err(Distrust::Unreadable(io::Error::other(message)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file, open for reading.
pub(crate) fn open(path: &Path) -> Result<std::fs::File, Distrust> {
    let path = std::path::absolute(path).map_err(Distrust::Unreadable)?;
    open_trusted(&path).map_err(|fault| match fault.cause {
        PathCause::Io(e) => Distrust::Unreadable(e),
        _ => Distrust::Others(fault.to_string()),
    })
}
