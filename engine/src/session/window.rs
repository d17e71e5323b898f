//! How far the scan may run ahead of the link: a count of entries that have been read and are not
//! yet dealt with. Credits go back when the directory that holds them is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::scan::ScannedDir;

/// Entries that may be on their way, and those of one directory more.
const ENTRIES_MAX: usize = 65_536;

/// Shared between the scan and the sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Window(Arc<AtomicUsize>);

impl Window {
    /// Notes the entries of a directory; an empty one costs memory too.
    pub(super) fn hold(&self, dir: ScannedDir) -> HeldDir {
        let entries = dir.entries.len() + 1;
        self.0.fetch_add(entries, Ordering::Relaxed);
        let window = self.clone();
        let credit = Some(Credit { window, entries });
        HeldDir { dir, credit }
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= ENTRIES_MAX
    }

    /// Whether a scan that has been paused is to go on.
    pub(super) fn is_half_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= ENTRIES_MAX / 2
    }
}

/// A scanned directory together with its place in the window, if it has one.
pub(super) struct HeldDir {
    pub(super) dir: ScannedDir,
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    credit: Option<Credit>,
}

impl HeldDir {
    /// One that is not counted.
    pub(super) fn uncounted(dir: ScannedDir) -> Self {
        HeldDir { dir, credit: None }
    }
}

/// Entries taken from the window, given back on drop.
#[derive(Debug)]
struct Credit {
    window: Window,
    entries: usize,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.window.0.fetch_sub(self.entries, Ordering::Relaxed);
    }
}
