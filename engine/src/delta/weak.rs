//! The weak sum: a 32-bit rolling sum of a window, cheap to move by one byte and cheap to compute
//! in bulk.
//!
//! For a window x[0..n] it is the sum of (SPREAD + n - i) * x[i] modulo 2^32. That is the classic
//! pair (sum, position-weighted sum) folded into one word: the plain sum, times SPREAD, fills the
//! bits that the weighted sum of a small window leaves empty.

use super::wide::widest;

/// The weak sum of `window`.
pub(super) fn weak_sum(window: &[u8]) -> u32 {
    Sums::of(window).weak()
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
        let sums = Sums::of(window);
        Self {
            sum: sums.plain,
            weak: sums.weak(),
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

/// The sum of x[i] and the sum of (n - i) * x[i] of a window, modulo 2^32.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) plain: u32,
    pub(super) weighted: u32,
}

impl Sums {
    pub(super) fn of(bytes: &[u8]) -> Self {
        widest(
            #[inline(always)]
            || Self::of_here(bytes),
        )
    }

    /// [`Sums::of`], compiled into the caller.
    #[inline(always)]
    pub(super) fn of_here(bytes: &[u8]) -> Self {
        let (rows, rest) = bytes.as_chunks::<COLUMNS>();
        let mut sums = Self::default();
        for stride in rows.chunks(ROWS) {
            let own = Self::of_stride(stride);
            sums.append(own, (stride.len() * COLUMNS) as u32);
        }
        for &byte in rest {
            sums.plain = sums.plain.wrapping_add(u32::from(byte));
            sums.weighted = sums.weighted.wrapping_add(sums.plain);
        }
        sums
    }

    /// Extends the window by another one of `len` bytes.
    #[inline(always)]
    pub(super) fn append(&mut self, other: Self, len: u32) {
        self.weighted = self
            .weighted
            .wrapping_add(self.plain.wrapping_mul(len))
            .wrapping_add(other.weighted);
        self.plain = self.plain.wrapping_add(other.plain);
    }

    #[inline(always)]
    pub(super) fn weak(self) -> u32 {
        self.weighted.wrapping_add(self.plain << SPREAD_SHIFT)
    }

    /// The sums of up to [`ROWS`] rows, in 16-bit lanes: column by column over the rows, then over
    /// the columns.
    #[inline(always)]
    fn of_stride(rows: &[[u8; COLUMNS]]) -> Self {
        // `later` sums the running sums before each byte is added: it weights each byte by the rows
        // after it. It is at most (ROWS - 1) * ROWS / 2 * 255, which fits: nothing wraps, but a
        // check of each sum would keep them out of vectors.
        let mut plain = [0_u16; COLUMNS];
        let mut later = [0_u16; COLUMNS];
        for row in rows {
            for ((plain, later), &byte) in plain.iter_mut().zip(&mut later).zip(row) {
                *later = later.wrapping_add(*plain);
                *plain = plain.wrapping_add(u16::from(byte));
            }
        }
        let sum = dot(&plain, &[1; COLUMNS]);
        let rows_after = dot(&later, &[1; COLUMNS]);
        let in_row = dot(&plain, &COLUMN_WEIGHTS);
        Self {
            plain: sum,
            weighted: rows_after.wrapping_mul(COLUMNS as u32).wrapping_add(in_row),
        }
    }
}

/// The sum of products, lane by lane for as long as possible.
#[inline(always)]
fn dot(values: &[u16; COLUMNS], weights: &[u16; COLUMNS]) -> u32 {
    let mut sums = [0_u32; 8];
    let (values, _) = values.as_chunks::<8>();
    let (weights, _) = weights.as_chunks::<8>();
    for (values, weights) in values.iter().zip(weights) {
        for ((sum, value), weight) in sums.iter_mut().zip(values).zip(weights) {
            let product = u32::from(*value).wrapping_mul(u32::from(*weight));
            *sum = sum.wrapping_add(product);
        }
    }
    sums.into_iter().fold(0, u32::wrapping_add)
}

/// Weight of the plain sum, as a shift: large enough that the sums of a 1 KiB window reach all
/// 32-bit values.
pub(super) const SPREAD_SHIFT: u32 = 19;

/// Bytes side by side.
const COLUMNS: usize = 32;

/// Rows summed without leaving 16-bit lanes.
const ROWS: usize = 16;

/// The weights within a row: the number of columns down to one.
const COLUMN_WEIGHTS: [u16; COLUMNS] = {
    let mut weights = [0; COLUMNS];
    let mut column = 0;
    while column < COLUMNS {
        weights[column] = (COLUMNS - column) as u16;
        column += 1;
    }
    weights
};

#[cfg(test)]
mod tests {
    use super::*;

    fn by_definition(window: &[u8]) -> u32 {
        let n = window.len() as u32;
        window.iter().zip(0_u32..).fold(0, |weak: u32, (&byte, i)| {
            let weight = (1_u32 << SPREAD_SHIFT).wrapping_add(n - i);
            weak.wrapping_add(weight.wrapping_mul(u32::from(byte)))
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
            // As processors without AVX2 compute it.
            let plain = Sums::of_here(&data[..len]).weak();
            assert_eq!(plain, by_definition(&data[..len]), "{len}");
        }
    }

    #[test]
    fn largest_window_of_largest_bytes_is_exact() {
        let window = vec![255; 1 << 22];
        assert_eq!(weak_sum(&window), by_definition(&window));
        assert_eq!(Rolling::new(&window).sum, 255 << 22);
    }
}
