//! The home directory: what `~` means, here and in a destination on the other host.

use std::path::PathBuf;

use nix::unistd::{User, getuid};

/// The home directory of the user that runs this, by the password database as ssh takes it:
/// `HOME` is `/` or missing under init and cron, and `sudo` may leave another user's. It counts
/// only for a user whom the database does not know.
pub fn home() -> Option<PathBuf> {
    let entry = User::from_uid(getuid()).ok().flatten();
    let known = entry.map(|entry| entry.dir).filter(|dir| dir.is_absolute());
    known.or_else(|| {
        let set = std::env::var_os("HOME").map(PathBuf::from);
        set.filter(|dir| dir.is_absolute())
    })
}

/// Why `~` means nothing where there is no [`home`], and the way out.
pub(crate) fn no_home() -> String {
    format!(
        "~ means nothing: user {} has no home directory in the password database and no HOME is \
         set; write the path from /",
        getuid()
    )
}
