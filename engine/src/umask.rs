//! The umask: what new entries lose where permissions are not preserved.

use std::sync::OnceLock;

use rustix::fs::Mode;

static UMASK: OnceLock<u32> = OnceLock::new();

/// The umask that the process began with.
///
/// The kernel tells it only in exchange for another, so it is asked once: by the program before it
/// has a second thread. A file that another thread made in between would be private.
pub fn umask() -> u32 {
    *UMASK.get_or_init(|| {
        let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(umask);
        umask.as_raw_mode()
    })
}
