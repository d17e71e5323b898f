//! A lock on an open file or directory that is not waited for without end, and that ends with its
//! guard.

use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How often a lock that somebody has is tried again.
const POLL: Duration = Duration::from_millis(50);

/// A descriptor whose file is locked until this is dropped.
///
/// It is given back and not only closed: such a lock is the open file's, and a child that another
/// thread has just forked has a copy of the descriptor until it runs its program.
#[derive(Debug)]
pub struct Lock<F: AsFd>(F);

impl<F: AsFd> Lock<F> {
    /// Takes the lock; gives the file back if somebody has had it all the time until `deadline`.
    pub(crate) fn take(file: F, deadline: Instant) -> rustix::io::Result<Result<Self, F>> {
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Ok(Lock(file))),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() >= deadline => return Ok(Err(file)),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(POLL),
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the lock if nobody has it, and it can be taken at all.
    pub(crate) fn try_take(file: F) -> Option<Self> {
        Self::take(file, Instant::now()).ok()?.ok()
    }
}

impl<F: AsFd> Deref for Lock<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.0
    }
}

impl<F: AsFd> DerefMut for Lock<F> {
    fn deref_mut(&mut self) -> &mut F {
        &mut self.0
    }
}

impl<F: AsFd> Drop for Lock<F> {
    fn drop(&mut self) {
        // Closing gives it back too, sooner or later.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_lock_is_given_back_though_a_copy_of_the_descriptor_lives_on() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(path.path()).unwrap();
        let file = open();
        // What a child has between its fork and its program.
        let _copy = file.try_clone().unwrap();
        let held = Lock::try_take(file).unwrap();
        assert!(Lock::try_take(open()).is_none());
        drop(held);
        assert!(Lock::try_take(open()).is_some());
    }
}
