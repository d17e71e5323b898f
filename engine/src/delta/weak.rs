//! The weak sum: a 32-bit rolling sum of a window, cheap to move by one byte and cheap to compute in bulk.
//!
//! For a window x[0..n] it is the sum of (SPREAD + n - i) * x[i] modulo 2^32. That is the classic pair
//! (sum, position-weighted sum) folded into one word: the plain sum, times SPREAD, fills the bits that the
//! weighted sum of a small window leaves empty. Only additions run along the bytes, so that compilers
//! vectorise the bulk form for any x86-64 or aarch64.

/// The weak sum of `window`.
pub(super) fn weak_sum(window: &[u8]) -> u32 {
    Rolling::new(window).weak()
}

/// The weak sum of a window that can move by one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    /// Sum of the bytes: zero only if all bytes are (a window has at most 2^22 of them).
    pub(super) sum: u32,
    weak: u32,
    /// SPREAD + n, the weight of the oldest byte.
    oldest_weight: u32,
}

impl Rolling {
    pub(super) fn new(window: &[u8]) -> Self {
        let (sum, weighted) = bulk_sums(window);
        Self {
            sum,
            weak: weighted.wrapping_add(sum.wrapping_mul(SPREAD)),
            oldest_weight: SPREAD.wrapping_add(window.len() as u32),
        }
    }

    pub(super) fn weak(&self) -> u32 {
        self.weak
    }

    /// Moves the window by one byte: `old` leaves at its front, `new` enters at its back.
    #[inline(always)]
    pub(super) fn roll(&mut self, old: u8, new: u8) {
        let (old, new) = (u32::from(old), u32::from(new));
        self.sum = self.sum.wrapping_add(new).wrapping_sub(old);
        self.weak = self
            .weak
            .wrapping_add(self.sum)
            .wrapping_add(SPREAD.wrapping_mul(new))
            .wrapping_sub(self.oldest_weight.wrapping_mul(old));
    }
}

/// The sum of x[i] and the sum of (n - i) * x[i], modulo 2^32.
fn bulk_sums(window: &[u8]) -> (u32, u32) {
    // Lane j holds bytes j, j + LANES, j + 2 * LANES, …; `later` sums the lane's running sums before each
    // byte is added, which weights each byte by the number of strides after it.
    let mut plain = [0_u32; LANES];
    let mut later = [0_u32; LANES];
    let (strides, rest) = window.as_chunks::<LANES>();
    for stride in strides {
        for ((plain, later), &byte) in plain.iter_mut().zip(&mut later).zip(stride) {
            *later = later.wrapping_add(*plain);
            *plain = plain.wrapping_add(u32::from(byte));
        }
    }
    let (mut sum, mut weighted) = (0_u32, 0_u32);
    let mut weight_in_stride = LANES as u32;
    for (&plain, &later) in plain.iter().zip(&later) {
        sum = sum.wrapping_add(plain);
        weighted = weighted
            .wrapping_add(later.wrapping_mul(LANES as u32))
            .wrapping_add(plain.wrapping_mul(weight_in_stride));
        weight_in_stride -= 1;
    }
    for &byte in rest {
        sum = sum.wrapping_add(u32::from(byte));
        weighted = weighted.wrapping_add(sum);
    }
    (sum, weighted)
}

/// Weight of the plain sum; odd, with well mixed bits (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9E37_79B1;

/// Bytes summed side by side.
const LANES: usize = 16;

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
        for len in [1, 15, 16, 17, 100, 1024, 4096] {
            let mut rolling = Rolling::new(&data[..len]);
            for start in 0..400 {
                let window = &data[start..start + len];
                assert_eq!(
                    rolling.weak(),
                    by_definition(window),
                    "start {start} len {len}"
                );
                assert_eq!(weak_sum(window), rolling.weak());
                assert_eq!(
                    rolling.sum,
                    window.iter().map(|&b| u32::from(b)).sum::<u32>()
                );
                rolling.roll(data[start], data[start + len]);
            }
        }
    }

    #[test]
    fn largest_window_of_largest_bytes_has_a_nonzero_plain_sum() {
        assert_ne!(Rolling::new(&vec![255; 1 << 22]).sum, 0);
    }
}
