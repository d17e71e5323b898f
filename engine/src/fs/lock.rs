//! A lock on an open file or directory that is not waited for without end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often a lock that somebody has is tried again.
const POLL: Duration = Duration::from_millis(50);

/// Waits for the lock; `false` if somebody has had it for all that time.
pub(crate) fn lock_within(file: impl AsFd, wait: Duration) -> rustix::io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => return Ok(false),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(POLL),
            Err(e) => return Err(e),
        }
    }
}
