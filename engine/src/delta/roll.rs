//! The inner loop: rolls a window byte by byte over bytes that nothing is known about, and stops where its weak
//! sum passes the filter. Nearly all of the time spent on unmatched data is spent here.

use super::index::Filter;
use super::weak::Rolling;
use super::zero::zero_prefix_len;

/// A window rolling over a slice.
#[derive(Debug)]
pub(super) struct Roller<'a> {
    bytes: &'a [u8],
    window_len: usize,
    position: usize,
    rolling: Rolling,
}

impl<'a> Roller<'a> {
    /// Starts at the front of `bytes`; `None` if they are shorter than a window.
    pub(super) fn new(bytes: &'a [u8], window_len: usize) -> Option<Self> {
        let rolling = Rolling::new(bytes.get(..window_len)?);
        Some(Self {
            bytes,
            window_len,
            position: 0,
            rolling,
        })
    }

    /// Where the window starts.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn weak(&self) -> u32 {
        self.rolling.weak()
    }

    pub(super) fn window(&self) -> &'a [u8] {
        self.bytes
            .get(self.position..self.position + self.window_len)
            .unwrap_or_default()
    }

    /// Moves to the next position that passes `filter`; false if there is none.
    pub(super) fn advance(&mut self, filter: &Filter) -> bool {
        loop {
            let old = self.bytes.get(self.position..).unwrap_or_default();
            let new = old.get(self.window_len..).unwrap_or_default();
            if new.is_empty() {
                return false;
            }
            if self.rolling.sum == 0 {
                // This window of zeros was not wanted; no other one will be.
                let zeros = zero_prefix_len(new);
                if zeros > 0 {
                    self.position += zeros;
                    continue;
                }
            }
            if self.advance_within(old, new, filter) {
                return true;
            }
        }
    }

    /// Looks at up to [`STRETCH`] positions; `new` is one window ahead of `old`.
    fn advance_within(&mut self, old: &[u8], new: &[u8], filter: &Filter) -> bool {
        let stretch = new.len().min(STRETCH);
        let (old, new) = (
            old.get(..stretch).unwrap_or_default(),
            new.get(..stretch).unwrap_or_default(),
        );
        let (old_groups, _) = old.as_chunks::<GROUP>();
        let (new_groups, new_rest) = new.as_chunks::<GROUP>();
        // One branch per group: which position it was is found out afterwards.
        let mut rolling = self.rolling;
        for (old_group, new_group) in old_groups.iter().zip(new_groups) {
            let before = rolling;
            let mut any = false;
            for (&old, &new) in old_group.iter().zip(new_group) {
                rolling.roll(old, new);
                any |= filter.first_look(rolling.weak());
            }
            if any {
                rolling = before;
                for (&old, &new) in old_group.iter().zip(new_group) {
                    rolling.roll(old, new);
                    self.position += 1;
                    if filter.maybe(rolling.weak()) {
                        self.rolling = rolling;
                        return true;
                    }
                }
            } else {
                self.position += GROUP;
            }
        }
        let old_rest = old.get(new_groups.len() * GROUP..).unwrap_or_default();
        for (&old, &new) in old_rest.iter().zip(new_rest) {
            rolling.roll(old, new);
            self.position += 1;
            if filter.maybe(rolling.weak()) {
                self.rolling = rolling;
                return true;
            }
        }
        self.rolling = rolling;
        false
    }
}

/// Positions whose filter answers share one branch.
const GROUP: usize = 8;

/// Positions between two looks for a run of zeros.
const STRETCH: usize = 4096;
