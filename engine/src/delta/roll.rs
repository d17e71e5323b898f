//! The scan of bytes that nothing is known about: the positions of a window whose weak sum passes
//! the filter, in order. Nearly all of the time spent on unmatched data is spent here.

use std::ops::ControlFlow;

use super::filter::{Bits, Filter, look};
use super::lanes::{BATCH_GROUPS, Batch, LANES, Lanes, PIECES, STEPS};
use super::weak::{Rolling, Sums};
use super::wide::widest;
use super::zero::zero_prefix_len;

/// What is to be scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<'a> {
    pub(super) bytes: &'a [u8],
    /// From this position on, only one window length of positions in [`SPARSE_STRIDE`] is looked
    /// at. Content of [`SPARSE_STRIDE`] blocks that follow each other in the basis is met all the
    /// same, but perhaps not at its first block.
    pub(super) dense_len: usize,
    /// Whether the last positions may wait until more bytes are there. There must be two window
    /// lengths then.
    pub(super) goes_on: bool,
}

/// Calls `candidate(position, weak sum)` for each position of a window of `window_len` bytes (a
/// power of two, at least 1 KiB) that passes `filter`, in order, until it breaks. Continues with
/// the first position that it has left out at the end.
pub(super) fn scan<T>(
    stretch: &Stretch<'_>,
    window_len: usize,
    filter: &Filter,
    mut candidate: impl FnMut(usize, u32) -> ControlFlow<T>,
) -> ControlFlow<T, usize> {
    let bytes = stretch.bytes;
    let Some(last) = bytes.len().checked_sub(window_len) else {
        return ControlFlow::Continue(0);
    };
    let (mut position, mut room) = (0, Room::new());
    while last.saturating_sub(position) >= window_len {
        let ahead = bytes.get(position..).unwrap_or_default();
        let zeros = zero_prefix_len(ahead);
        if zeros > window_len {
            // The same window again and again: one look is enough.
            if filter.maybe(0) {
                candidate(position, 0)?;
            }
            position += zeros - window_len + 1;
            room.known = None;
            continue;
        }
        let Some((side_by_side, _)) = ahead.split_at_checked(2 * window_len) else {
            break;
        };
        match filter {
            Filter::Tiny(bits) => look_side_by_side(side_by_side, bits, &mut room),
            Filter::Small(bits) => look_side_by_side(side_by_side, bits, &mut room),
            Filter::Medium(bits) => look_side_by_side(side_by_side, bits, &mut room),
            Filter::Large(bits) => look_side_by_side(side_by_side, bits, &mut room),
            Filter::Huge(bits) => look_side_by_side(side_by_side, bits, &mut room),
        }
        for &(offset, weak) in &room.hits {
            candidate(position + offset, weak)?;
        }
        position += window_len;
        if position > stretch.dense_len {
            position = (position + (SPARSE_STRIDE - 1) * window_len).min(last);
            room.known = None;
        }
    }
    if !stretch.goes_on {
        let tail = bytes.get(position..).unwrap_or_default();
        roll_over(tail, window_len, filter, |at, weak| {
            candidate(position + at, weak)
        })?;
        position = last + 1;
    }
    ControlFlow::Continue(position)
}

/// Looks at each position one by one: for the last ones, too few for windows side by side.
fn roll_over<T>(
    bytes: &[u8],
    window_len: usize,
    filter: &Filter,
    mut candidate: impl FnMut(usize, u32) -> ControlFlow<T>,
) -> ControlFlow<T> {
    let Some((first, entering)) = bytes.split_at_checked(window_len) else {
        return ControlFlow::Continue(());
    };
    let mut window = Rolling::new(first);
    if filter.maybe(window.weak) {
        candidate(0, window.weak)?;
    }
    for (position, (&old, &new)) in bytes.iter().zip(entering).enumerate() {
        window.roll(old, new);
        if filter.maybe(window.weak) {
            candidate(position + 1, window.weak)?;
        }
    }
    ControlFlow::Continue(())
}

/// Lists the positions of a window in `bytes`, twice as long, that pass the filter, in order; the
/// last position is left to the next stretch.
fn look_side_by_side<const WORDS: usize>(bytes: &[u8], bits: &Bits<WORDS>, room: &mut Room) {
    room.hits.clear();
    let piece_len = bytes.len() / PIECES;
    widest(
        #[inline(always)]
        || {
            let mut pieces = [Default::default(); PIECES];
            for (piece, own) in pieces
                .iter_mut()
                .zip(bytes.chunks_exact(piece_len.max(STEPS)))
            {
                (*piece, _) = own.as_chunks();
            }
            let (mut lanes, later) = Lanes::new(pieces, room.known.take());
            room.known = Some(later);
            let weak = lanes.first();
            if bits.maybe(weak) {
                room.hits.push((0, weak));
            }
            roll_all(&mut lanes, piece_len, bits, room);
        },
    );
    room.hits.retain(|&(offset, _)| offset < bytes.len() / 2);
    room.hits.sort_unstable();
}

#[inline(always)]
fn roll_all<const WORDS: usize>(
    lanes: &mut Lanes<'_>,
    piece_len: usize,
    bits: &Bits<WORDS>,
    room: &mut Room,
) {
    // First all sums of a batch, then all looks at the filter, then what passed: none of these
    // loops has a branch to guess for each position, and none waits for the one before.
    let table = bits.first();
    let mut first = 1;
    loop {
        let count = lanes.roll(&mut room.batch);
        if count == 0 {
            break;
        }
        let weaks = room.batch.weaks.get(..count).unwrap_or_default();
        let steps = weaks.as_flattened();
        let mut passing_count = 0;
        for (step, index) in steps.iter().zip(0_u8..) {
            let mut any = 0;
            for &weak in step {
                any |= look(table, weak);
            }
            // There is always room; the compiler sees that too.
            if let Some(next) = room.passing.get_mut(passing_count % BATCH_STEPS) {
                *next = index;
            }
            passing_count += (any & 1) as usize;
        }
        for &index in room.passing.get(..passing_count).unwrap_or_default() {
            let step = steps.get(usize::from(index)).unwrap_or(&[0; LANES]);
            for (lane, &weak) in step.iter().enumerate() {
                if look(table, weak) & 1 != 0 && bits.look_again(weak) {
                    let offset = first + lane * piece_len + usize::from(index);
                    room.hits.push((offset, weak));
                }
            }
        }
        first += count * STEPS;
    }
}

/// What the loops work in, kept from one stretch to the next.
struct Room {
    batch: Batch,
    /// The steps of a batch in which a weak sum passed the first look.
    passing: [u8; BATCH_STEPS],
    /// Sums of the pieces that the next stretch begins with, if it follows.
    known: Option<[Sums; LANES]>,
    hits: Vec<(usize, u32)>,
}

impl Room {
    fn new() -> Self {
        Self {
            batch: Batch::new(),
            passing: [0; BATCH_STEPS],
            known: None,
            hits: Vec::new(),
        }
    }
}

/// Of so many window lengths, one is looked at where nothing has matched for long.
pub(super) const SPARSE_STRIDE: usize = 4;

/// Steps in a batch.
const BATCH_STEPS: usize = BATCH_GROUPS * STEPS;

#[cfg(test)]
mod tests {
    use super::super::weak::weak_sum;
    use super::*;

    const WINDOW_LEN: usize = 1024;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn filter_of(blocks: &[&[u8]]) -> Filter {
        let mut filter = Filter::for_count(blocks.len() as u32);
        blocks
            .iter()
            .for_each(|block| filter.insert(weak_sum(block)));
        filter
    }

    /// All candidates, and how far the scan got.
    fn scanned(stretch: &Stretch<'_>, filter: &Filter) -> (Vec<(usize, u32)>, usize) {
        let mut found = Vec::new();
        let flow = scan(stretch, WINDOW_LEN, filter, |at, weak| {
            found.push((at, weak));
            ControlFlow::<()>::Continue(())
        });
        (found, flow.continue_value().unwrap_or_default())
    }

    #[test]
    fn dense_scans_meet_every_passing_position_once_and_in_order() {
        let bytes = noise(9 * WINDOW_LEN + 123);
        // So many sums that unrelated positions pass, too.
        let filter = filter_of(&bytes.windows(WINDOW_LEN).step_by(9).collect::<Vec<_>>());
        for len in [0, 1023, 1024, 1025, 2047, 2048, 2049, 5000, bytes.len()] {
            let bytes = &bytes[..len];
            let windows = bytes.windows(WINDOW_LEN).map(weak_sum).enumerate();
            let expected: Vec<_> = windows.filter(|(_, weak)| filter.maybe(*weak)).collect();
            let stretch = Stretch {
                bytes,
                dense_len: usize::MAX,
                goes_on: false,
            };
            assert_eq!(scanned(&stretch, &filter).0, expected, "{len}");
            let stretch = Stretch {
                goes_on: true,
                ..stretch
            };
            let (found, reached) = scanned(&stretch, &filter);
            let until = expected.iter().take_while(|(at, _)| *at < reached).count();
            assert_eq!(found, expected[..until], "{len}");
            assert!(len < 2 * WINDOW_LEN || reached >= WINDOW_LEN);
        }
    }

    #[test]
    fn sparse_scans_meet_one_of_four_windows_in_a_row() {
        let bytes = noise(40 * WINDOW_LEN);
        let stretch = Stretch {
            bytes: &bytes,
            dense_len: 2000,
            goes_on: false,
        };
        for start in (0..36 * WINDOW_LEN).step_by(701) {
            let row: Vec<_> = bytes[start..]
                .chunks(WINDOW_LEN)
                .take(SPARSE_STRIDE)
                .collect();
            let (found, _) = scanned(&stretch, &filter_of(&row));
            let is_met = |(at, _): &(usize, u32)| {
                (start..start + SPARSE_STRIDE * WINDOW_LEN).contains(at)
                    && (at - start).is_multiple_of(WINDOW_LEN)
            };
            assert!(found.iter().any(is_met), "{start}");
        }
    }

    #[test]
    fn most_of_a_run_of_zeros_is_skipped() {
        let mut bytes = noise(20 * WINDOW_LEN);
        bytes[5000..15_000].fill(0);
        let filter = filter_of(&[&[0; WINDOW_LEN]]);
        let stretch = Stretch {
            bytes: &bytes,
            dense_len: usize::MAX,
            goes_on: false,
        };
        let (found, _) = scanned(&stretch, &filter);
        let zeros = found.iter().filter(|(_, weak)| *weak == 0).count();
        assert!((1..=2 * WINDOW_LEN).contains(&zeros), "{zeros}");
        assert!(found.contains(&(5000, 0)));
    }
}
