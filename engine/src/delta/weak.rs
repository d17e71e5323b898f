//! The weak sum: a 32-bit rolling sum of a window, cheap to move by one byte and cheap to compute
//! in bulk.
//!
//! For a window x[0..n] it is the sum of (SPREAD + n - i) * x[i] modulo 2^32. That is the classic
//! pair (sum, position-weighted sum) folded into one word: the plain sum, times SPREAD, fills the
//! bits that the weighted sum of a small window leaves empty.

/// The weak sum of `window`.
pub(super) fn weak_sum(window: &[u8]) -> u32 {
    Rolling::new(window).weak
}

/// The weak sum of a window that can move by one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    /// Sum of the bytes: zero only if all bytes are (a window has at most 2^22 of them).
    pub(super) sum: u32,
    pub(super) weak: u32,
    pub(super) window_len_log2: u32,
}

impl Rolling {
    /// Only a window whose length is a power of two can be rolled.
    pub(super) fn new(window: &[u8]) -> Self {
        let (sum, weighted) = bulk_sums(window);
        Self {
            sum,
            weak: weighted.wrapping_add(sum.wrapping_mul(SPREAD)),
            window_len_log2: window.len().max(1).ilog2(),
        }
    }

    /// Moves the window by one byte: `old` leaves at its front, `new` enters at its back.
    #[inline(always)]
    pub(super) fn roll(&mut self, old: u8, new: u8) {
        let (old, new) = (u32::from(old), u32::from(new));
        self.sum = self.sum.wrapping_add(new).wrapping_sub(old);
        self.weak = self
            .weak
            .wrapping_add(self.sum)
            .wrapping_add(new.wrapping_sub(old) << SPREAD_SHIFT)
            .wrapping_sub(old << self.window_len_log2);
    }
}

/// The sum of x[i] and the sum of (n - i) * x[i], modulo 2^32.
fn bulk_sums(window: &[u8]) -> (u32, u32) {
    let (strides, rest) = window.as_chunks::<STRIDE>();
    let (mut sum, mut weighted) = (0_u32, 0_u32);
    for stride in strides {
        let (plain, own) = stride_sums(stride);
        weighted = weighted
            .wrapping_add(sum.wrapping_mul(STRIDE as u32))
            .wrapping_add(own);
        sum = sum.wrapping_add(plain);
    }
    for &byte in rest {
        sum = sum.wrapping_add(u32::from(byte));
        weighted = weighted.wrapping_add(sum);
    }
    (sum, weighted)
}

/// [`bulk_sums`] of one stride, in 16-bit lanes: column by column over its rows, then over the
/// columns.
#[inline(always)]
fn stride_sums(stride: &[u8; STRIDE]) -> (u32, u32) {
    // `later` sums the running sums before each byte is added: it weights each byte by the rows
    // after it. It is at most (ROWS - 1) * ROWS / 2 * 255, which fits.
    let mut plain = [0_u16; COLUMNS];
    let mut later = [0_u16; COLUMNS];
    let (rows, _) = stride.as_chunks::<COLUMNS>();
    for row in rows {
        for ((plain, later), &byte) in plain.iter_mut().zip(&mut later).zip(row) {
            *later += *plain;
            *plain += u16::from(byte);
        }
    }
    let sum: u32 = plain.iter().map(|&plain| u32::from(plain)).sum();
    let rows_after: u32 = later.iter().map(|&later| u32::from(later)).sum();
    let in_row: u32 = plain
        .iter()
        .zip(&COLUMN_WEIGHTS)
        .map(|(&plain, &weight)| u32::from(plain) * u32::from(weight))
        .sum();
    (sum, rows_after * COLUMNS as u32 + in_row)
}

/// Weight of the plain sum, as a shift: large enough that the sums of a 1 KiB window reach all
/// 32-bit values.
pub(super) const SPREAD_SHIFT: u32 = 19;
const SPREAD: u32 = 1 << SPREAD_SHIFT;

const COLUMNS: usize = 16;
const ROWS: usize = 16;

/// Bytes summed without leaving 16-bit lanes.
const STRIDE: usize = ROWS * COLUMNS;

/// The weights within a row.
const COLUMN_WEIGHTS: [u16; COLUMNS] = [16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1];

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(window: &[u8]) -> u32 {
        let n = window.len() as u32;
        window.iter().zip(0_u32..).fold(0, |weak: u32, (&byte, i)| {
            weak.wrapping_add(SPREAD.wrapping_add(n - i).wrapping_mul(u32::from(byte)))
        })
    }

    #[test]
    fn bulk_and_rolling_agree_with_the_definition() {
        let data: Vec<u8> = (0..5000_u32).map(|i| (i * i / 7 + 13 * i) as u8).collect();
        for len in [1, 2, 128, 256, 1024, 4096] {
            let mut rolling = Rolling::new(&data[..len]);
            for start in 0..400 {
                let window = &data[start..start + len];
                assert_eq!(
                    rolling.weak,
                    by_definition(window),
                    "start {start} len {len}"
                );
                assert_eq!(
                    rolling.sum,
                    window.iter().map(|&b| u32::from(b)).sum::<u32>()
                );
                rolling.roll(data[start], data[start + len]);
            }
        }
    }

    #[test]
    fn odd_lengths_have_sums_too() {
        let data: Vec<u8> = (0..1000_u32).map(|i| (i * i) as u8).collect();
        for len in [0, 1, 3, 255, 257, 511, 999] {
            assert_eq!(weak_sum(&data[..len]), by_definition(&data[..len]), "{len}");
        }
    }

    #[test]
    fn largest_window_of_largest_bytes_is_exact() {
        let window = vec![255; 1 << 22];
        assert_eq!(weak_sum(&window), by_definition(&window));
        assert_eq!(Rolling::new(&window).sum, 255 << 22);
    }
}
