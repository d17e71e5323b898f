//! Windows rolling side by side: what makes the search of unmatched data fast.
//!
//! The windows start a fixed distance apart in the same bytes, so that together they cover a
//! stretch. The steps are written lane by lane over small arrays, which compilers turn into vector
//! instructions.

use super::weak::{Rolling, SPREAD_SHIFT};

/// The weak sums of [`STEPS`] steps: by step, then by lane.
pub(super) type Weaks = [[u32; LANES]; STEPS];

/// Windows of one length on their way.
#[derive(Debug)]
pub(super) struct Lanes<'a> {
    sum: [u32; LANES],
    weak: [u32; LANES],
    window_len_log2: u32,
    /// Per lane, the bytes that are to leave.
    old: [&'a [Group]; LANES],
    /// Per lane, the bytes that are to enter.
    new: [&'a [Group]; LANES],
}

impl<'a> Lanes<'a> {
    /// Windows that stand before `old` leaves and `new` enters, slices of one length.
    pub(super) fn new(
        windows: [Rolling; LANES],
        old: [&'a [Group]; LANES],
        new: [&'a [Group]; LANES],
    ) -> Self {
        let [
            Rolling {
                window_len_log2, ..
            },
            ..,
        ] = windows;
        let (sum, weak) = (
            windows.map(|window| window.sum),
            windows.map(|window| window.weak),
        );
        Self {
            sum,
            weak,
            window_len_log2,
            old,
            new,
        }
    }

    /// Moves on by up to [`STEPS`] steps for each of `weaks`, and puts the sums after each step
    /// there. Returns how many of `weaks` are filled: fewer than all at the end, then none.
    pub(super) fn roll(&mut self, weaks: &mut [Weaks]) -> usize {
        let groups = self
            .old
            .iter()
            .chain(&self.new)
            .map(|lane| lane.len())
            .min()
            .unwrap_or(0);
        let count = groups.min(weaks.len());
        let [old_a, old_b, old_c, old_d] = self.old.map(|lane| lane.get(..count).unwrap_or(&[]));
        let [new_a, new_b, new_c, new_d] = self.new.map(|lane| lane.get(..count).unwrap_or(&[]));
        let olds = old_a.iter().zip(old_b).zip(old_c.iter().zip(old_d));
        let news = new_a.iter().zip(new_b).zip(new_c.iter().zip(new_d));
        let (mut sum, mut weak) = (self.sum, self.weak);
        for ((((old_a, old_b), (old_c, old_d)), ((new_a, new_b), (new_c, new_d))), weaks) in
            olds.zip(news).zip(weaks)
        {
            let old = [*old_a, *old_b, *old_c, *old_d].map(u32::from_le_bytes);
            let new = [*new_a, *new_b, *new_c, *new_d].map(u32::from_le_bytes);
            for (step, weaks) in weaks.iter_mut().enumerate() {
                for lane in 0..LANES {
                    let leaves = old[lane] >> (8 * step) & 0xff;
                    let enters = new[lane] >> (8 * step) & 0xff;
                    let change = enters.wrapping_sub(leaves);
                    sum[lane] = sum[lane].wrapping_add(change);
                    let rolled = sum[lane].wrapping_add(change << SPREAD_SHIFT);
                    let aged = leaves << self.window_len_log2;
                    weak[lane] = weak[lane].wrapping_add(rolled).wrapping_sub(aged);
                }
                *weaks = weak;
            }
        }
        (self.sum, self.weak) = (sum, weak);
        self.old = self.old.map(|lane| lane.get(count..).unwrap_or(&[]));
        self.new = self.new.map(|lane| lane.get(count..).unwrap_or(&[]));
        count
    }
}

/// Bytes that one lane takes in at once.
pub(super) type Group = [u8; STEPS];

/// Windows side by side.
pub(super) const LANES: usize = 4;

/// Steps that each lane moves at once.
pub(super) const STEPS: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn lanes_roll_as_a_single_window_does() {
        let mut data = vec![0; 40_000];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        data[5000..6000].fill(255);
        data[16_000..18_000].fill(0);
        for window_len in [1024, 4096, 8192] {
            let (starts, steps) = ([0, 3000, 7001, 16_384], 3200);
            let windows = starts.map(|start| Rolling::new(&data[start..start + window_len]));
            let mut expected = windows;
            let old = starts.map(|start| data[start..start + steps].as_chunks().0);
            let new = starts.map(|start| data[start + window_len..][..steps].as_chunks().0);
            let mut lanes = Lanes::new(windows, old, new);
            let mut weaks = [Weaks::default(); 7];
            let mut done = 0;
            loop {
                let count = lanes.roll(&mut weaks);
                for weaks in weaks[..count].as_flattened() {
                    for (lane, start) in starts.iter().enumerate() {
                        let at = start + done;
                        expected[lane].roll(data[at], data[at + window_len]);
                        assert_eq!(weaks[lane], expected[lane].weak, "lane {lane} at {at}");
                    }
                    done += 1;
                }
                if count == 0 {
                    break;
                }
            }
            assert_eq!(done, steps);
            assert_eq!(lanes.sum, expected.map(|window| window.sum));
        }
    }
}
