//! How much of what the receiver has said waits to be handled. Deletions are told as fast as they
//! are listed, which may be faster than they can be printed: those are waited for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes on the wire that may wait when there is no need to read on; in memory it is several times
/// as much.
const EASY_BYTES_MAX: u64 = 1 << 20;

/// How much more is read, and how often, while nothing is handled: a receiver that could not write
/// for long would take this side for dead.
const TRICKLE_BYTES: u64 = 64 << 10;
const TRICKLE_TIME: Duration = Duration::from_millis(250);

/// Shared between the reading thread and the main thread of a sender.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting_bytes: u64,
    /// Bytes beyond [`EASY_BYTES_MAX`] that may wait by now.
    trickled_bytes: u64,
    /// The main thread does nothing but handle what is waiting.
    all_said: bool,
    /// The reading thread waits.
    is_awaited: bool,
    closed: bool,
}

impl Backlog {
    /// Adds a message of that length; returns how many bytes wait.
    pub(super) fn add(&self, len: u64) -> u64 {
        let mut state = self.lock();
        state.waiting_bytes += len;
        state.waiting_bytes
    }

    /// A message of that length has been handled.
    pub(super) fn handled(&self, len: u64) {
        let mut state = self.lock();
        state.waiting_bytes = state.waiting_bytes.saturating_sub(len);
        if state.is_awaited && state.waiting_bytes <= EASY_BYTES_MAX / 2 {
            state.is_awaited = false;
            state.trickled_bytes = 0;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// A push begins: the main thread may have to wait until the peer reads, and that for us.
    pub(super) fn begin(&self) {
        self.lock().all_said = false;
    }

    /// The receiver has been told everything.
    pub(super) fn all_said(&self) {
        self.lock().all_said = true;
    }

    /// Waits until little is left to be handled, once everything has been said, or until it is time
    /// for a little more.
    pub(super) fn ease(&self) {
        let mut state = self.lock();
        let easy_bytes = EASY_BYTES_MAX + state.trickled_bytes;
        if state.waiting_bytes <= easy_bytes || !state.all_said {
            return;
        }
        state.is_awaited = !state.closed;
        let waits = |state: &mut State| state.is_awaited && !state.closed;
        let waited = self.changed.wait_timeout_while(state, TRICKLE_TIME, waits);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.trickled_bytes += TRICKLE_BYTES;
        }
    }

    /// Ends every wait: nothing is handled any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_can_wait_is_waited_for() {
        let backlog = Arc::new(Backlog::default());
        backlog.ease();
        assert_eq!(backlog.add(EASY_BYTES_MAX), EASY_BYTES_MAX);
        backlog.add(EASY_BYTES_MAX);
        // Nothing is waited for as long as something has to be said.
        backlog.ease();
        backlog.handled(2 * EASY_BYTES_MAX);
        backlog.all_said();
        for ends in [
            |backlog: &Backlog| backlog.handled(2 * EASY_BYTES_MAX),
            |backlog: &Backlog| backlog.close(),
        ] {
            backlog.add(2 * EASY_BYTES_MAX);
            let reader = Arc::clone(&backlog);
            let thread = std::thread::spawn(move || reader.ease());
            ends(&backlog);
            thread.join().unwrap();
        }
    }

    #[test]
    fn whoever_handles_nothing_hears_a_little() {
        let backlog = Backlog::default();
        backlog.all_said();
        backlog.add(EASY_BYTES_MAX + TRICKLE_BYTES);
        backlog.ease();
        // What has been allowed is not waited for again.
        assert_eq!(backlog.lock().trickled_bytes, TRICKLE_BYTES);
        backlog.ease();
        assert_eq!(backlog.lock().trickled_bytes, TRICKLE_BYTES);
        backlog.handled(EASY_BYTES_MAX + TRICKLE_BYTES);
        assert_eq!(backlog.lock().trickled_bytes, 0);
    }
}
