//! How much this process has done, as a number that only grows: entries read, bytes read, summed or
//! written, changes made. A half says it to its peer in each ping, which learns from it whether it
//! waits for a long piece of work or for nothing.
//!
//! It is the process's, not a session's: one process serves one session at a time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

static DONE: AtomicU64 = AtomicU64::new(0);
static FLUSHES: AtomicUsize = AtomicUsize::new(0);

/// Takes note of work. The unit does not matter.
pub(crate) fn did(count: u64) {
    DONE.fetch_add(count, Ordering::Relaxed);
}

/// The work done so far.
pub(crate) fn done() -> u64 {
    DONE.load(Ordering::Relaxed)
}

/// Whether a file system is being waited for to write what it holds.
pub(crate) fn is_flushing() -> bool {
    FLUSHES.load(Ordering::Relaxed) > 0
}

/// To be held during a flush.
#[must_use]
pub(crate) fn flushing() -> Flushing {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
    Flushing(())
}

/// See [`flushing`].
pub(crate) struct Flushing(());

impl Drop for Flushing {
    fn drop(&mut self) {
        FLUSHES.fetch_sub(1, Ordering::Relaxed);
    }
}
