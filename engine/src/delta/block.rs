//! The block length: which lengths are legal, and which one suits a file of a given length.

use std::fmt;

/// The length of a basis block in bytes: a power of two between 1 KiB and 4 MiB.
///
/// Powers of two make every block a complete subtree of the file's BLAKE3 tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockLen(u32);

impl BlockLen {
    /// The smallest block, 1 KiB: one BLAKE3 chunk.
    pub const MIN: Self = Self(1 << 10);
    /// The largest block, 4 MiB.
    pub const MAX: Self = Self(1 << 22);

    /// Accepts `len` bytes if that is a power of two within [`BlockLen::MIN`]..=[`BlockLen::MAX`].
    pub fn new(len: u32) -> Result<Self, BlockLenError> {
        if len.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&len) {
            Ok(Self(len))
        } else {
            Err(BlockLenError { len })
        }
    }

    /// The block length for a basis of `len` bytes.
    ///
    /// Small files get small blocks, so that an 8 KiB file can still be matched in parts; from a
    /// megabyte on a block is 8 KiB, about the page in which databases change and the least that
    /// hashes at full speed, and the signature a quarter percent of the file; beyond 8 GiB blocks
    /// double so that there are at most 2^20.
    #[must_use]
    pub fn for_file_len(len: u64) -> Self {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let len = if len <= 64 * KIB {
            KIB
        } else if len < MIB {
            2 * KIB
        } else {
            len.div_ceil(MAX_PREFERRED_BLOCKS)
                .clamp(8 * KIB, 4 * MIB)
                .next_power_of_two()
        };
        Self(u32::try_from(len).unwrap_or(Self::MAX.0))
    }

    /// The length in bytes.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The length in bytes, for slices.
    #[must_use]
    pub(super) fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// How many blocks a file of `len` bytes has, a short last one included.
    #[must_use]
    pub fn count_for(self, len: u64) -> u64 {
        len.div_ceil(u64::from(self.0))
    }

    /// Base-two logarithm, the form it has in an encoded signature.
    pub(super) fn log2(self) -> u8 {
        // A u32 has at most 31 trailing zeros.
        self.0.trailing_zeros() as u8
    }

    /// The inverse of [`BlockLen::log2`].
    pub(super) fn from_log2(log2: u8) -> Option<Self> {
        1_u32
            .checked_shl(u32::from(log2))
            .and_then(|len| Self::new(len).ok())
    }
}

/// A block length that is no power of two or out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLenError {
    len: u32,
}

impl fmt::Display for BlockLenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (BlockLen::MIN.0, BlockLen::MAX.0);
        write!(
            f,
            "block length {} is not a power of two between {min} and {max}",
            self.len
        )
    }
}

impl std::error::Error for BlockLenError {}

/// Files up to 4 TiB have at most this many blocks, which keeps their signature within tens of
/// megabytes.
const MAX_PREFERRED_BLOCKS: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_powers_of_two_in_range_are_block_lengths() {
        for good in [1 << 10, 1 << 14, 1 << 22] {
            assert_eq!(BlockLen::new(good).unwrap().get(), good);
        }
        for bad in [
            0,
            1,
            512,
            1000,
            1025,
            3 << 10,
            (1 << 22) + 1,
            1 << 23,
            u32::MAX,
        ] {
            assert!(BlockLen::new(bad).is_err(), "{bad}");
        }
        assert_eq!(BlockLen::from_log2(10), Some(BlockLen::MIN));
        for bad in [0, 9, 23, 31, 32, 255] {
            assert_eq!(BlockLen::from_log2(bad), None);
        }
    }

    #[test]
    fn block_length_follows_the_file_length() {
        assert_eq!(BlockLen::for_file_len(0), BlockLen::MIN);
        assert_eq!(BlockLen::for_file_len(8 << 10).get(), 1 << 10);
        assert_eq!(BlockLen::for_file_len(16 << 20).get(), 8 << 10);
        assert_eq!(BlockLen::for_file_len(2 << 30).get(), 8 << 10);
        let mut previous = BlockLen::MIN;
        for bits in 0..=42 {
            let chosen = BlockLen::for_file_len(1 << bits);
            assert!(chosen >= previous);
            assert!(chosen.count_for(1 << bits) <= 1 << 20);
            previous = chosen;
        }
        assert_eq!(BlockLen::for_file_len(u64::MAX), BlockLen::MAX);
    }
}
