//! Windows rolling side by side: what makes the search of unmatched data fast.
//!
//! The windows start a fixed distance apart in the same bytes, so that together they cover a
//! stretch. The steps are written lane by lane over small arrays, which compilers turn into vector
//! instructions.

use super::weak::{Rolling, SPREAD_SHIFT};

/// The weak sums of [`STEPS`] steps: by step, then by lane.
pub(super) type Weaks = [[u32; LANES]; STEPS];

/// Moves windows over their bytes, [`STEPS`] at a time.
///
/// `old` holds, per lane, the bytes that leave, `new` those that enter; all have the same length.
/// All windows have one length. `each` gets the number of steps done before, and the sums after
/// each of the next ones.
#[inline(always)]
pub(super) fn roll_lanes(
    windows: &mut [Rolling; LANES],
    old: [&[Group]; LANES],
    new: [&[Group]; LANES],
    mut each: impl FnMut(usize, &Weaks),
) {
    let mut sum = windows.map(|window| window.sum);
    let mut weak = windows.map(|window| window.weak);
    let [
        Rolling {
            window_len_log2, ..
        },
        ..,
    ] = *windows;
    let ([old_a, old_b, old_c, old_d], [new_a, new_b, new_c, new_d]) = (old, new);
    let olds = old_a.iter().zip(old_b).zip(old_c.iter().zip(old_d));
    let news = new_a.iter().zip(new_b).zip(new_c.iter().zip(new_d));
    let mut done = 0;
    for (((old_a, old_b), (old_c, old_d)), ((new_a, new_b), (new_c, new_d))) in olds.zip(news) {
        let old = [*old_a, *old_b, *old_c, *old_d].map(u32::from_le_bytes);
        let new = [*new_a, *new_b, *new_c, *new_d].map(u32::from_le_bytes);
        let mut weaks = Weaks::default();
        for (step, weaks) in weaks.iter_mut().enumerate() {
            for lane in 0..LANES {
                let (old, new) = (
                    old[lane] >> (8 * step) & 0xff,
                    new[lane] >> (8 * step) & 0xff,
                );
                let change = new.wrapping_sub(old);
                sum[lane] = sum[lane].wrapping_add(change);
                let rolled = sum[lane].wrapping_add(change << SPREAD_SHIFT);
                weak[lane] = weak[lane]
                    .wrapping_add(rolled)
                    .wrapping_sub(old << window_len_log2);
            }
            *weaks = weak;
        }
        each(done, &weaks);
        done += STEPS;
    }
    for ((window, sum), weak) in windows.iter_mut().zip(sum).zip(weak) {
        (window.sum, window.weak) = (sum, weak);
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
            let mut windows = starts.map(|start| Rolling::new(&data[start..start + window_len]));
            let mut expected = windows;
            let old = starts.map(|start| data[start..start + steps].as_chunks().0);
            let new = starts.map(|start| data[start + window_len..][..steps].as_chunks().0);
            let mut groups = 0;
            roll_lanes(&mut windows, old, new, |done, weaks| {
                assert_eq!(done, groups * STEPS);
                groups += 1;
                for (step, weaks) in weaks.iter().enumerate() {
                    for (lane, start) in starts.iter().enumerate() {
                        let at = start + done + step;
                        expected[lane].roll(data[at], data[at + window_len]);
                        assert_eq!(weaks[lane], expected[lane].weak, "lane {lane} at {at}");
                    }
                }
            });
            assert_eq!(groups * STEPS, steps);
            assert_eq!(
                windows.map(|window| (window.sum, window.weak)),
                expected.map(|w| (w.sum, w.weak))
            );
        }
    }
}
