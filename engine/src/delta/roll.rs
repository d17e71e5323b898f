//! The scan of bytes that nothing is known about: every position of a window whose weak sum passes
//! the filter, in order. Nearly all of the time spent on unmatched data is spent here.

use std::ops::ControlFlow;

use super::filter::{Bits, Filter};
use super::lanes::{LANES, STEPS, roll_lanes};
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
        let mut windows = starts.map(|start| self.window_at(self.position + start));
        let old = starts.map(|start| self.ahead(start, lane_len).0.as_chunks().0);
        let new = starts.map(|start| self.ahead(start, lane_len).1.as_chunks().0);
        let first = self.position + 1;
        roll_lanes(&mut windows, old, new, |done, weaks| {
            // One branch for all: which positions it was is found out afterwards.
            let flat = weaks.as_flattened();
            let any = flat.iter().fold(0, |any, &weak| any | self.bits.look(weak));
            if any & 1 != 0 {
                let mut passing = flat
                    .iter()
                    .rev()
                    .fold(0_u32, |set, &weak| set << 1 | self.bits.look(weak) & 1);
                while passing != 0 {
                    let index = passing.trailing_zeros() as usize;
                    passing &= passing - 1;
                    let start = starts.get(index % LANES).copied().unwrap_or_default();
                    let weak = flat.get(index).copied().unwrap_or_default();
                    if self.bits.look_again(weak) {
                        hits.push((first + start + done + index / LANES, weak));
                    }
                }
            }
        });
        hits.sort_unstable();
        self.position += LANES * lane_len;
        let [.., last] = windows;
        self.window = last;
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
