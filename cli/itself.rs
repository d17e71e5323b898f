//! This very program, started once more: a receiving half, a last push, a server of its own.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use hasync_engine::escape;

use crate::exit::{Exit, Failure};

/// The file that runs, even if another has taken its name meanwhile.
const RUNNING: &str = "/proc/self/exe";

/// A command that runs this program. Where there is no `/proc`, it is the file under the name by
/// which the kernel was told to start us.
pub(crate) fn command() -> Result<Command, Failure> {
    if Path::new(RUNNING).exists() {
        return Ok(Command::new(RUNNING));
    }
    let started = rustix::param::linux_execfn().to_bytes();
    let file = Path::new(std::ffi::OsStr::from_bytes(started));
    match std::path::absolute(file) {
        Ok(file) if file.is_file() => Ok(Command::new(file)),
        _ => Err(Failure::new(
            Exit::FileIo,
            format!(
                "cannot find the program to start once more: there is no {RUNNING}, and \"{}\" is \
                 no file; mount /proc",
                escape(started)
            ),
        )),
    }
}
