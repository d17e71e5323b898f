//! The walk through the source, as far as there is room for what it finds.

use crate::scan::Scanner;
use crate::session::window::{HeldDir, Window};

pub(in crate::session) struct Scan {
    pub(super) scanner: Scanner,
    pub(super) window: Window,
}

/// What has come of a step.
pub(super) enum Found {
    Dir(Box<HeldDir>),
    /// Nothing, for want of room.
    Full,
    /// Nothing more.
    All,
}

impl Scan {
    pub(super) fn step(&mut self) -> Found {
        if self.window.is_full() {
            return Found::Full;
        }
        self.scanner.next().map_or(Found::All, |dir| {
            Found::Dir(Box::new(self.window.hold(dir)))
        })
    }
}
