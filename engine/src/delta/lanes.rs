//! Windows rolling side by side: what makes the search of unmatched data fast.
//!
//! A stretch of bytes is cut into pieces, and a window spans [`LANES`] of them. One window starts
//! at each of the first [`LANES`] pieces and rolls to the next, so that together they pass one
//! window length. What leaves a window is then the piece it starts with, and what enters is the
//! piece [`LANES`] further on. The steps are written lane by lane over small arrays, which
//! compilers turn into vector instructions.

use super::weak::{SPREAD_SHIFT, Sums};

/// The weak sums of [`STEPS`] steps: by step, then by lane.
pub(super) type Weaks = [[u32; LANES]; STEPS];

/// Room for one batch of steps.
#[derive(Debug)]
pub(super) struct Batch {
    /// The bytes of a step side by side, so that the steps load them at once.
    groups: [[u32; PIECES]; BATCH_GROUPS],
    pub(super) weaks: [Weaks; BATCH_GROUPS],
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            groups: [[0; PIECES]; BATCH_GROUPS],
            weaks: [Weaks::default(); BATCH_GROUPS],
        }
    }
}

/// Windows of one length on their way.
#[derive(Debug)]
pub(super) struct Lanes<'a> {
    sum: [u32; LANES],
    weak: [u32; LANES],
    window_len_log2: u32,
    /// What is left of each piece.
    pieces: [&'a [Group]; PIECES],
}

impl<'a> Lanes<'a> {
    /// Windows over `pieces`, which have one length: a power of two, and at least [`STEPS`].
    /// `known` are the sums of the first pieces, if known; those of the last are returned.
    #[inline(always)]
    pub(super) fn new(
        pieces: [&'a [Group]; PIECES],
        known: Option<[Sums; LANES]>,
    ) -> (Self, [Sums; LANES]) {
        let [first, ..] = pieces;
        let piece_len = (first.len() * STEPS) as u32;
        let (front, back) = pieces.split_at(LANES);
        let front = known.unwrap_or_else(
            #[inline(always)]
            || sums_of(front),
        );
        let back = sums_of(back);
        let mut sums = [Sums::default(); PIECES];
        for (sums, known) in sums.iter_mut().zip(front.iter().chain(&back)) {
            *sums = *known;
        }
        let (mut sum, mut weak) = ([0; LANES], [0; LANES]);
        let windows = sums.windows(LANES).zip(sum.iter_mut().zip(&mut weak));
        for (pieces, (sum, weak)) in windows {
            let mut window = Sums::default();
            for piece in pieces {
                window.append(*piece, piece_len);
            }
            (*sum, *weak) = (window.plain, window.weak());
        }
        let lanes = Self {
            sum,
            weak,
            window_len_log2: (piece_len * LANES as u32).max(1).ilog2(),
            pieces,
        };
        (lanes, back)
    }

    /// The weak sum of the first window.
    #[inline(always)]
    pub(super) fn first(&self) -> u32 {
        let [weak, ..] = self.weak;
        weak
    }

    /// Moves on by up to [`STEPS`] steps for each of `batch.weaks`, and puts the sums after each
    /// step there. Returns how many of them are filled: fewer than all at the end, then none.
    #[inline(always)]
    pub(super) fn roll(&mut self, batch: &mut Batch) -> usize {
        let Batch { groups, weaks } = batch;
        let mut count = 0;
        for (lane, piece) in self.pieces.iter_mut().enumerate() {
            count = piece.len().min(BATCH_GROUPS);
            let (now, later) = piece.split_at(count);
            for (groups, group) in groups.iter_mut().zip(now) {
                if let Some(bytes) = groups.get_mut(lane) {
                    *bytes = u32::from_le_bytes(*group);
                }
            }
            *piece = later;
        }
        let (mut sum, mut weak) = (self.sum, self.weak);
        for (groups, weaks) in groups.iter().zip(weaks).take(count) {
            let (old, new) = groups.split_at(LANES);
            for (step, weaks) in weaks.iter_mut().enumerate() {
                let bytes = old.iter().zip(new);
                for ((sum, weak), (old, new)) in sum.iter_mut().zip(&mut weak).zip(bytes) {
                    let leaves = old >> (8 * step) & 0xff;
                    let enters = new >> (8 * step) & 0xff;
                    let change = enters.wrapping_sub(leaves);
                    *sum = sum.wrapping_add(change);
                    let rolled = sum.wrapping_add(change << SPREAD_SHIFT);
                    let aged = leaves.wrapping_shl(self.window_len_log2);
                    *weak = weak.wrapping_add(rolled).wrapping_sub(aged);
                }
                *weaks = weak;
            }
        }
        (self.sum, self.weak) = (sum, weak);
        count
    }
}

#[inline(always)]
fn sums_of(pieces: &[&[Group]]) -> [Sums; LANES] {
    let mut sums = [Sums::default(); LANES];
    for (sums, piece) in sums.iter_mut().zip(pieces) {
        *sums = Sums::of_here(piece.as_flattened());
    }
    sums
}

/// Bytes that one lane takes in at once.
pub(super) type Group = [u8; STEPS];

/// Windows side by side.
pub(super) const LANES: usize = 8;

/// Pieces of a stretch: those of the first window and those of the last.
pub(super) const PIECES: usize = 2 * LANES;

/// Steps that each lane moves at once.
pub(super) const STEPS: usize = 4;

/// Groups of steps summed before the filter is looked at: their sums stay in the first-level cache.
pub(super) const BATCH_GROUPS: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use super::super::weak::Rolling;
    use super::*;

    #[test]
    fn lanes_roll_as_a_single_window_does() {
        for window_len in [1024, 4096, 8192] {
            let mut data = vec![0; 2 * window_len];
            blake3::Hasher::new().finalize_xof().fill(&mut data);
            data[500..600].fill(255);
            data[window_len - 300..window_len + 300].fill(0);
            let piece_len = window_len / LANES;
            let mut pieces = data.chunks(piece_len).map(|piece| piece.as_chunks().0);
            let pieces: [_; PIECES] = std::array::from_fn(|_| pieces.next().unwrap());
            let (_, sums) = Lanes::new(pieces, None);
            assert_eq!(
                sums.map(Sums::weak),
                sums_of(&pieces[LANES..]).map(Sums::weak)
            );
            let (mut lanes, _) = Lanes::new(pieces, Some(sums_of(&pieces[..LANES])));
            let mut expected: [Rolling; LANES] =
                std::array::from_fn(|lane| Rolling::new(&data[lane * piece_len..][..window_len]));
            assert_eq!(lanes.first(), expected[0].weak);
            let mut batch = Batch::new();
            let mut done = 0;
            loop {
                let count = lanes.roll(&mut batch);
                for weaks in batch.weaks[..count].as_flattened() {
                    for (lane, rolling) in expected.iter_mut().enumerate() {
                        let at = lane * piece_len + done;
                        rolling.roll(data[at], data[at + window_len]);
                        assert_eq!(weaks[lane], rolling.weak, "lane {lane} at {at}");
                    }
                    done += 1;
                }
                if count == 0 {
                    break;
                }
            }
            assert_eq!(done, piece_len);
        }
    }
}
