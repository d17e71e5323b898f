//! The signature: what the owner of a basis tells about it, block by block.
//!
//! Encoded, little-endian: format (1 byte, 1), log2 of the block length (1), salt (16), basis
//! length (8), then per block its weak sum (4) and its strong sum (16). The block count follows
//! from the two lengths; the last block may be short. A signature is [`Signature::HEADER_LEN`] + 20
//! bytes per block, no more, no less.

use std::fmt;
use std::io::{self, Read};

use super::block::BlockLen;
use super::patch::Basis;
use super::pieces::in_threads;
use super::tree::{Salt, StrongKey, StrongSum, block_value, block_values};
use super::weak::weak_sum;
use super::window::read_full;
use crate::page_buf::PageBuf;

/// The sums of a basis. [`Signature::index`] makes it searchable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub(super) block_len: BlockLen,
    pub(super) salt: Salt,
    pub(super) basis_len: u64,
    pub(super) weak: Vec<u32>,
    pub(super) strong: Vec<StrongSum>,
}

impl Signature {
    /// Bytes before the first block in an encoded signature.
    pub const HEADER_LEN: usize = 26;
    /// Bytes per block in an encoded signature.
    pub const BLOCK_SUM_LEN: usize = 20;

    /// Sums everything `basis` yields, in blocks of `block_len`, under a fresh random salt.
    ///
    /// `len_hint` (bytes, 0 if unknown) only sizes the allocation: what was read decides the
    /// length. Needs a read buffer of 256 KiB or one block beside the result.
    pub fn of(basis: impl Read, len_hint: u64, block_len: BlockLen) -> io::Result<Self> {
        Self::with_salt(basis, len_hint, block_len, random_salt()?)
    }

    /// As [`Signature::of`], over the first `len` bytes of `file`, in up to `threads` threads (one
    /// of them the caller's). Fails if the file is shorter.
    pub fn of_file<F: Basis + Sync + ?Sized>(
        file: &F,
        len: u64,
        block_len: BlockLen,
        threads: usize,
    ) -> io::Result<Self> {
        Self::of_file_with_salt(file, len, block_len, threads, random_salt()?)
    }

    fn of_file_with_salt<F: Basis + Sync + ?Sized>(
        file: &F,
        len: u64,
        block_len: BlockLen,
        threads: usize,
        salt: Salt,
    ) -> io::Result<Self> {
        let block_bytes = block_len.as_usize();
        let block_count = usize::try_from(block_len.count_for(len)).unwrap_or(usize::MAX);
        let key = StrongKey::new(&salt);
        let (mut weak, mut strong) = (vec![0; block_count], vec![[0; 16]; block_count]);
        let per_piece = (READ_LEN / block_bytes).max(1);
        let piece_len = per_piece as u64 * u64::from(block_len.get());
        let pieces = weak
            .chunks_mut(per_piece)
            .zip(strong.chunks_mut(per_piece))
            .zip(0_u64..);
        let piece_count = block_count.div_ceil(per_piece);
        in_threads(
            pieces,
            piece_count,
            threads,
            |((weak, strong), number), buffer| {
                let offset = number * piece_len;
                let piece_len = usize::try_from((len - offset).min(piece_len)).unwrap_or(0);
                buffer.resize(piece_len);
                file.read_exact_at(buffer, offset)?;
                let (mut own_weak, mut own_strong) = (Vec::new(), Vec::new());
                push_sums(
                    offset,
                    buffer,
                    block_bytes,
                    &key,
                    &mut own_weak,
                    &mut own_strong,
                );
                weak.copy_from_slice(&own_weak);
                strong.copy_from_slice(&own_strong);
                Ok(())
            },
        )?;
        Ok(Self {
            block_len,
            salt,
            basis_len: len,
            weak,
            strong,
        })
    }

    /// As [`Signature::of`], with a salt that the caller chose: for reproducible signatures, not
    /// for peers.
    pub fn with_salt(
        mut basis: impl Read,
        len_hint: u64,
        block_len: BlockLen,
        salt: [u8; 16],
    ) -> io::Result<Self> {
        let block_bytes = block_len.as_usize();
        let expected_count = usize::try_from(block_len.count_for(len_hint))
            .unwrap_or(0)
            .min(MAX_RESERVED_BLOCKS);
        let mut signature = Self {
            block_len,
            salt,
            basis_len: 0,
            weak: Vec::with_capacity(expected_count),
            strong: Vec::with_capacity(expected_count),
        };
        let key = StrongKey::new(&salt);
        let buffer_len = block_bytes.max(READ_LEN);
        let buffer_len = buffer_len.min(buffer_len_for(len_hint, block_bytes));
        let mut buffer = PageBuf::with_len(buffer_len);
        loop {
            let filled = read_full(&mut basis, &mut buffer)?;
            let read = buffer.get(..filled).unwrap_or_default();
            let (weak, strong) = (&mut signature.weak, &mut signature.strong);
            push_sums(signature.basis_len, read, block_bytes, &key, weak, strong);
            signature.basis_len += filled as u64;
            if filled < buffer.len() {
                return Ok(signature);
            }
        }
    }

    /// The length of the basis in bytes.
    #[must_use]
    pub fn basis_len(&self) -> u64 {
        self.basis_len
    }

    /// The block length the basis was cut into.
    #[must_use]
    pub fn block_len(&self) -> BlockLen {
        self.block_len
    }

    /// How many bytes [`Signature::encode`] appends.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        Self::HEADER_LEN + self.weak.len() * Self::BLOCK_SUM_LEN
    }

    /// Appends the encoded signature to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend([FORMAT, self.block_len.log2()]);
        out.extend(self.salt);
        out.extend(self.basis_len.to_le_bytes());
        for (weak, strong) in self.weak.iter().zip(&self.strong) {
            out.extend(weak.to_le_bytes());
            out.extend(strong);
        }
    }

    /// Decodes what [`Signature::encode`] wrote; `encoded` must hold it and nothing else.
    ///
    /// Refuses more than `max_blocks` blocks before anything is allocated. What is allocated never
    /// exceeds the length of `encoded`.
    pub fn decode(encoded: &[u8], max_blocks: u64) -> Result<Self, SignatureError> {
        let header_error = SignatureError::Truncated { len: encoded.len() };
        let (header, blocks) = encoded
            .split_first_chunk::<{ Self::HEADER_LEN }>()
            .ok_or(header_error)?;
        let [format, log2, rest @ ..] = *header;
        if format != FORMAT {
            return Err(SignatureError::Format { format });
        }
        let block_len = BlockLen::from_log2(log2).ok_or(SignatureError::BlockLen { log2 })?;
        let mut salt = Salt::default();
        let mut basis_len = [0; 8];
        let (salt_bytes, len_bytes) = rest.split_at(salt.len());
        salt.copy_from_slice(salt_bytes);
        basis_len.copy_from_slice(len_bytes);
        let basis_len = u64::from_le_bytes(basis_len);

        let count = block_len.count_for(basis_len);
        if count > max_blocks {
            return Err(SignatureError::TooManyBlocks {
                count,
                max: max_blocks,
            });
        }
        if basis_len > MAX_BASIS_LEN {
            return Err(SignatureError::BasisLen { basis_len });
        }
        let (blocks, trailing) = blocks.as_chunks::<{ Self::BLOCK_SUM_LEN }>();
        if blocks.len() as u64 != count || !trailing.is_empty() {
            return Err(SignatureError::Count {
                count,
                len: encoded.len(),
            });
        }
        let (weak, strong) = blocks
            .iter()
            .map(|&[a, b, c, d, ref strong @ ..]| (u32::from_le_bytes([a, b, c, d]), *strong))
            .unzip();
        Ok(Self {
            block_len,
            salt,
            basis_len,
            weak,
            strong,
        })
    }
}

/// Why bytes are not an encoded signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// Shorter than a header.
    Truncated {
        /// Bytes given.
        len: usize,
    },
    /// An unknown format number.
    Format {
        /// The number found.
        format: u8,
    },
    /// A block length out of range.
    BlockLen {
        /// Its base-two logarithm.
        log2: u8,
    },
    /// A basis longer than a file can be (2^63 - 1 bytes).
    BasisLen {
        /// The length found, in bytes.
        basis_len: u64,
    },
    /// More blocks than the caller accepts.
    TooManyBlocks {
        /// Blocks announced.
        count: u64,
        /// The caller's limit.
        max: u64,
    },
    /// The block sums do not fill the rest exactly.
    Count {
        /// Blocks announced.
        count: u64,
        /// Bytes given, header included.
        len: usize,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { len } => {
                write!(
                    f,
                    "signature of {len} bytes is shorter than its {}-byte header",
                    Signature::HEADER_LEN
                )
            }
            Self::Format { format } => write!(f, "signature format {format} is unknown"),
            Self::BlockLen { log2 } => write!(f, "signature block length 2^{log2} is out of range"),
            Self::BasisLen { basis_len } => {
                write!(
                    f,
                    "signature announces a basis of {basis_len} bytes, longer than any file"
                )
            }
            Self::TooManyBlocks { count, max } => {
                write!(f, "signature announces {count} blocks, the limit is {max}")
            }
            Self::Count { count, len } => {
                write!(
                    f,
                    "signature announces {count} blocks, but has {len} bytes in all"
                )
            }
        }
    }
}

impl std::error::Error for SignatureError {}

/// A salt that nobody can foresee.
pub(super) fn random_salt() -> io::Result<Salt> {
    let mut salt = Salt::default();
    let filled = rustix::rand::getrandom(&mut salt[..], rustix::rand::GetRandomFlags::empty())?;
    if filled != salt.len() {
        return Err(io::Error::other(
            "the kernel gave too few random bytes for a salt",
        ));
    }
    Ok(salt)
}

/// Appends the sums of the blocks in `bytes`, of which the last may be short.
fn push_sums(
    mut offset: u64,
    bytes: &[u8],
    block_len: usize,
    key: &StrongKey,
    weak: &mut Vec<u32>,
    strong: &mut Vec<StrongSum>,
) {
    let mut values = Vec::new();
    // Piece by piece, so that the second sum finds the bytes in the cache.
    for piece in bytes.chunks(block_len.max(PIECE_LEN)) {
        let (full, short) = piece.split_at(piece.len() / block_len * block_len);
        weak.extend(piece.chunks(block_len).map(weak_sum));
        values.clear();
        block_values(offset, full, block_len, &mut values);
        if !short.is_empty() {
            values.push(block_value(offset + full.len() as u64, short));
        }
        key.strong_all(&values, strong);
        offset += piece.len() as u64;
    }
}

/// A read buffer no longer than the basis needs: one byte more shows the end of a file in one read.
fn buffer_len_for(len_hint: u64, block_bytes: usize) -> usize {
    let needed = usize::try_from(len_hint.saturating_add(1)).unwrap_or(usize::MAX);
    needed
        .clamp(MIN_READ_LEN, usize::MAX / 2)
        .next_multiple_of(block_bytes)
}

const FORMAT: u8 = 1;

/// The largest file offset the kernel knows.
pub(super) const MAX_BASIS_LEN: u64 = i64::MAX as u64;

/// How many blocks a length hint may reserve room for: a wrong hint costs no more than 20 MiB.
const MAX_RESERVED_BLOCKS: usize = 1 << 20;

/// Bytes read at once: within the second-level cache, and long enough that calls cost nothing.
const READ_LEN: usize = 1 << 18;

/// Bytes summed both ways before the next ones.
const PIECE_LEN: usize = 1 << 16;

const MIN_READ_LEN: usize = 1 << 12;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn sample(len: usize) -> Signature {
        let data: Vec<u8> = (0..len).map(|i| (i * i / 11) as u8).collect();
        Signature::with_salt(data.as_slice(), 0, BlockLen::MIN, [5; 16]).unwrap()
    }

    #[test]
    fn decode_inverts_encode() {
        for len in [0, 1, 1023, 1024, 1025, 10_000] {
            let signature = sample(len);
            let mut encoded = Vec::new();
            signature.encode(&mut encoded);
            assert_eq!(encoded.len(), signature.encoded_len());
            assert_eq!(Signature::decode(&encoded, 10).unwrap(), signature);
        }
    }

    #[test]
    fn threads_do_not_change_the_signature() {
        for len in [0_usize, 1, 1024, 100_000, 3 << 20, (3 << 20) + 7] {
            let data: Vec<u8> = (0..len).map(|i| (i * i / 7) as u8).collect();
            let alone = Signature::with_salt(&data[..], 0, BlockLen::MIN, [9; 16]).unwrap();
            for threads in [1, 3] {
                let file = data.as_slice();
                let (len, min, salt) = (len as u64, BlockLen::MIN, [9; 16]);
                let signature = Signature::of_file_with_salt(file, len, min, threads, salt);
                assert_eq!(signature.unwrap(), alone);
            }
        }
        assert!(Signature::of_file(&b"short"[..], 6, BlockLen::MIN, 1).is_err());
    }

    #[test]
    fn length_hint_does_not_change_the_signature() {
        let data = vec![3; 100_000];
        let with_hint =
            |hint| Signature::with_salt(&data[..], hint, BlockLen::MIN, [0; 16]).unwrap();
        let expected = with_hint(100_000);
        for hint in [0, 1, 99_999, 100_001, u64::MAX] {
            assert_eq!(with_hint(hint), expected);
        }
    }

    #[test]
    fn every_damage_is_an_error() {
        let mut good = Vec::new();
        sample(5000).encode(&mut good);
        for cut in 0..good.len() {
            assert!(
                Signature::decode(&good[..cut], 100).is_err(),
                "cut at {cut}"
            );
        }
        let mut long = good.clone();
        long.push(0);
        assert!(Signature::decode(&long, 100).is_err());
        let decode_with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            Signature::decode(&bad, 100)
        };
        assert_eq!(
            decode_with(0, &[2]),
            Err(SignatureError::Format { format: 2 })
        );
        assert_eq!(
            decode_with(1, &[9]),
            Err(SignatureError::BlockLen { log2: 9 })
        );
        assert_eq!(
            decode_with(1, &[64]),
            Err(SignatureError::BlockLen { log2: 64 })
        );
        let too_many = decode_with(18, &u64::MAX.to_le_bytes());
        assert_eq!(
            too_many,
            Err(SignatureError::TooManyBlocks {
                count: 1 << 54,
                max: 100
            })
        );
        assert!(matches!(
            decode_with(18, &6000_u64.to_le_bytes()),
            Err(SignatureError::Count { count: 6, .. })
        ));
        assert!(Signature::decode(&good, 4).is_err());
        assert!(Signature::decode(&good, 5).is_ok());
    }

    #[test]
    fn salts_differ() {
        let sign = || Signature::of(&[1_u8; 10][..], 10, BlockLen::MIN).unwrap();
        assert_ne!(sign().strong, sign().strong);
    }
}
