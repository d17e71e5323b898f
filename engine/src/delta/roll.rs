//! The scan of bytes that nothing is known about: every position of a window whose weak sum passes
//! the filter, in order. Nearly all of the time spent on unmatched data is spent here.

use std::ops::ControlFlow;

use super::filter::{Bits, Filter};
use super::lanes::{LANES, Lanes, STEPS, Weaks};
use super::weak::Rolling;
use super::zero::zero_prefix_len;

/// Calls `candidate(position, weak sum)` for each position in `bytes` of a window of `window_len`
/// bytes (a power of two) that passes `filter`, in order, until it breaks.
pub(super) fn scan<T>(
    bytes: &[u8],
    window_len: usize,
    filter: &Filter,
    mut candidate: impl FnMut(usize, u32) -> ControlFlow<T>,
) -> Option<T> {
    let flow = match filter {
        Filter::Tiny(bits) => scan_with(bytes, window_len, bits, &mut candidate),
        Filter::Small(bits) => scan_with(bytes, window_len, bits, &mut candidate),
        Filter::Medium(bits) => scan_with(bytes, window_len, bits, &mut candidate),
        Filter::Large(bits) => scan_with(bytes, window_len, bits, &mut candidate),
        Filter::Huge(bits) => scan_with(bytes, window_len, bits, &mut candidate),
    };
    flow.break_value()
}

fn scan_with<T, const WORDS: usize>(
    bytes: &[u8],
    window_len: usize,
    bits: &Bits<WORDS>,
    candidate: &mut impl FnMut(usize, u32) -> ControlFlow<T>,
) -> ControlFlow<T> {
    let Some(first_window) = bytes.get(..window_len) else {
        return ControlFlow::Continue(());
    };
    let mut scan = Scan {
        bytes,
        window_len,
        bits,
        position: 0,
        window: Rolling::new(first_window),
    };
    if bits.maybe(scan.window.weak) {
        candidate(0, scan.window.weak)?;
    }
    scan.roll(FIRST_STRETCH, candidate)?;
    let mut hits = Vec::new();
    let mut lane_len = MIN_LANE_LEN;
    while scan.left() > 0 {
        // Four windows are summed anew for each stretch: make it long once nothing was found for a
        // while.
        lane_len = (2 * lane_len)
            .min(8 * window_len)
            .min(scan.left() / LANES / STEPS * STEPS);
        if lane_len < MIN_LANE_LEN {
            scan.roll(LANES * MIN_LANE_LEN, candidate)?;
            lane_len = MIN_LANE_LEN;
            continue;
        }
        scan.roll_side_by_side(lane_len, &mut hits);
        hits.iter()
            .try_for_each(|&(position, weak)| candidate(position, weak))?;
    }
    ControlFlow::Continue(())
}

/// A window on its way over the bytes; its present position has been looked at.
struct Scan<'a, const WORDS: usize> {
    bytes: &'a [u8],
    window_len: usize,
    bits: &'a Bits<WORDS>,
    position: usize,
    window: Rolling,
}

impl<'a, const WORDS: usize> Scan<'a, WORDS> {
    /// How many positions are still to come.
    fn left(&self) -> usize {
        self.bytes.len() - self.window_len - self.position
    }

    /// Moves on by at most `stretch` positions.
    fn roll<T>(
        &mut self,
        stretch: usize,
        candidate: &mut impl FnMut(usize, u32) -> ControlFlow<T>,
    ) -> ControlFlow<T> {
        self.skip_zeros();
        let (old, new) = self.ahead(0, stretch.min(self.left()));
        for (&old, &new) in old.iter().zip(new) {
            self.window.roll(old, new);
            self.position += 1;
            if self.bits.maybe(self.window.weak) {
                candidate(self.position, self.window.weak)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Moves on by four times `lane_len` positions, and lists those that pass the filter.
    fn roll_side_by_side(&mut self, lane_len: usize, hits: &mut Vec<(usize, u32)>) {
        hits.clear();
        self.skip_zeros();
        if self.left() < LANES * lane_len {
            return;
        }
        let starts: [usize; LANES] = std::array::from_fn(|lane| lane * lane_len);
        let windows = starts.map(|start| self.window_at(self.position + start));
        let old = starts.map(|start| self.ahead(start, lane_len).0.as_chunks().0);
        let new = starts.map(|start| self.ahead(start, lane_len).1.as_chunks().0);
        let mut lanes = Lanes::new(windows, old, new);
        // First all sums of a batch, then all looks at the filter, then what passed: none of these
        // loops has to guess a branch, and none waits for the one before.
        let mut weaks = [Weaks::default(); BATCH_GROUPS];
        let mut first = self.position + 1;
        loop {
            let count = lanes.roll(&mut weaks);
            let weaks = weaks
                .get(..count)
                .unwrap_or_default()
                .as_flattened()
                .as_flattened();
            if weaks.is_empty() {
                break;
            }
            let mut passing = [0_u16; BATCH_LEN];
            let mut passing_count = 0;
            for (&weak, index) in weaks.iter().zip(0_u16..) {
                if let Some(next) = passing.get_mut(passing_count) {
                    *next = index;
                }
                passing_count += (self.bits.look(weak) & 1) as usize;
            }
            for &index in passing.get(..passing_count).unwrap_or_default() {
                let index = usize::from(index);
                let weak = weaks.get(index).copied().unwrap_or_default();
                if self.bits.look_again(weak) {
                    let start = starts.get(index % LANES).copied().unwrap_or_default();
                    hits.push((first + start + index / LANES, weak));
                }
            }
            first += count * STEPS;
        }
        hits.sort_unstable();
        self.position += LANES * lane_len;
        self.window = self.window_at(self.position);
    }

    /// If the window is all zeros, moves on to the last position at which it is: those between need
    /// no look.
    fn skip_zeros(&mut self) {
        if self.window.sum == 0 {
            let (_, new) = self.ahead(0, self.left());
            self.position += zero_prefix_len(new);
        }
    }

    fn window_at(&self, position: usize) -> Rolling {
        Rolling::new(
            self.bytes
                .get(position..position + self.window_len)
                .unwrap_or_default(),
        )
    }

    /// The bytes that leave, and those that enter, during `stretch` moves that begin `start`
    /// positions on.
    fn ahead(&self, start: usize, stretch: usize) -> (&'a [u8], &'a [u8]) {
        let bytes: &'a [u8] = self.bytes;
        let old = bytes.get(self.position + start..).unwrap_or_default();
        let new = old.get(self.window_len..).unwrap_or_default();
        (
            old.get(..stretch).unwrap_or_default(),
            new.get(..stretch).unwrap_or_default(),
        )
    }
}

/// Positions looked at one by one before windows roll side by side: gaps between matches are mostly
/// short.
const FIRST_STRETCH: usize = 512;

/// The shortest way worth setting up four windows for.
const MIN_LANE_LEN: usize = 512;

/// Groups of steps summed before the filter is looked at: their sums stay in the first-level cache.
const BATCH_GROUPS: usize = 64;

/// Positions in a batch.
const BATCH_LEN: usize = BATCH_GROUPS * STEPS * LANES;
