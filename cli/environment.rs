//! What rsync reads from its environment and a push made by hand goes by, too. All else that rsync
//! reads there concerns daemons, or is as good or better here without; hasync-rsync(7) lists it.

use std::ffi::OsString;

use crate::exit::Failure;

/// The command that reaches another host where no `-e` names one.
pub(crate) const RSH: &str = "RSYNC_RSH";

/// A usual `--iconv`.
const ICONV: &str = "RSYNC_ICONV";

/// The command in `RSYNC_RSH`.
pub(crate) fn rsh() -> Option<OsString> {
    std::env::var_os(RSH).filter(|command| !command.is_empty())
}

/// Refuses what would give files other names than rsync gives them.
pub(crate) fn check(without_iconv: bool) -> Result<(), Failure> {
    let asked = std::env::var_os(ICONV).filter(|names| !names.is_empty() && names != "-");
    if asked.is_none() || without_iconv {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{ICONV} asks for --iconv, which is refused: names are bytes, and equal on both sides; \
         unset it, or give --no-iconv"
    )))
}
