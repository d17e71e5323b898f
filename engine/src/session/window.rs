//! How far the scan may run ahead of the link: a count of entries that have been read and are not
//! yet dealt with. Credits go back when the directory that holds them is dropped.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Entries that may be on their way. A directory with more is let through alone.
const ENTRIES_MAX: usize = 65_536;

#[derive(Debug, Default)]
struct State {
    entries: usize,
    closed: bool,
}

/// Shared between the scanning thread and the sender.
#[derive(Debug, Default)]
pub(super) struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

impl Window {
    /// Waits until `entries` more are allowed; `None` once the window is closed.
    pub(super) fn take(self: &Arc<Self>, entries: usize) -> Option<Credit> {
        // An empty directory costs memory too.
        let entries = entries + 1;
        let full = |s: &mut State| !s.closed && s.entries > 0 && s.entries + entries > ENTRIES_MAX;
        let waited = self.changed.wait_while(self.lock(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.entries += entries;
        Some(Credit {
            window: Arc::clone(self),
            entries,
        })
    }

    /// Ends every wait: the sender is gone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries taken from the window, given back on drop.
#[derive(Debug)]
pub(super) struct Credit {
    window: Arc<Window>,
    entries: usize,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.window.lock().entries -= self.entries;
        self.window.changed.notify_all();
    }
}
