//! How much of what the receiver has said waits to be handled. Deletions are told as fast as they
//! are listed, which may be faster than they can be printed: those are waited for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes on the wire that may wait when there is no need to read on; in memory it is several times
/// as much.
const EASY_BYTES_MAX: u64 = 1 << 20;

/// Shared between the reading thread and the main thread of a sender.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting_bytes: u64,
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

    /// Waits until little is left to be handled, once everything has been said.
    pub(super) fn ease(&self) {
        let mut state = self.lock();
        if state.waiting_bytes <= EASY_BYTES_MAX || !state.all_said {
            return;
        }
        state.is_awaited = !state.closed;
        let waits = |state: &mut State| state.is_awaited && !state.closed;
        drop(self.changed.wait_while(state, waits));
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
    use std::sync::mpsc::channel;

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
            let (told, eased) = channel();
            let reader = Arc::clone(&backlog);
            let thread = std::thread::spawn(move || {
                reader.ease();
                told.send(()).unwrap();
            });
            assert!(eased.try_recv().is_err());
            ends(&backlog);
            thread.join().unwrap();
            eased.recv().unwrap();
        }
    }
}
