//! Sets of byte ranges of a file.

use std::ops::Range;

/// Sorts `ranges` and joins those that touch. No two of them overlap.
pub(super) fn join(ranges: &mut Vec<Range<u64>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, joined| {
        let touches = joined.end == next.start;
        if touches {
            joined.end = next.end;
        }
        touches
    });
}

/// The non-empty ranges of `0..len` that lie between the joined `ranges`, cut to that length.
pub(super) fn gaps(ranges: &[Range<u64>], len: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::once(0).chain(ranges.iter().map(|range| range.end));
    let ends = ranges
        .iter()
        .map(|range| range.start)
        .chain(std::iter::once(len));
    starts
        .zip(ends)
        .map(move |(start, end)| start..end.min(len))
        .filter(|gap| gap.start < gap.end)
}

/// How many bytes `ranges` hold.
pub(super) fn total_len(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_joined_ranges_leave() {
        let mut ranges = vec![8..9, 4..6, 2..4];
        join(&mut ranges);
        assert_eq!(ranges, [2..6, 8..9]);
        let found = |ranges: &[Range<u64>], len| gaps(ranges, len).collect::<Vec<_>>();
        assert_eq!(found(&ranges, 12), [0..2, 6..8, 9..12]);
        assert_eq!(found(&ranges, 9), [0..2, 6..8]);
        assert_eq!(found(&[], 5), vec![0..5]);
        assert_eq!(found(&[], 0), vec![]);
        assert_eq!(total_len(&ranges), 5);
    }
}
