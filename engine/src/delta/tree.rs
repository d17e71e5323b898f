//! Block sums and whole-file sum in one hash pass: BLAKE3 is a tree, and a block is a subtree of
//! it.
//!
//! A block's *value* is its chaining value at its place in the file, so equal bytes at two offsets
//! have two values; merging the values of all blocks gives the file's plain BLAKE3. What travels is
//! the block's *strong sum*: 16 bytes of a hash of the value, keyed by the signature's salt, so
//! that nobody can prepare two blocks that collide in somebody else's signature.

use blake3::IncrementCounter;
use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use blake3::platform::{Platform, words_from_le_bytes_32};

/// The strong sum of one block under one salt.
pub(super) type StrongSum = [u8; 16];

/// The salt of a signature.
pub(super) type Salt = [u8; 16];

/// The value of the non-empty block `bytes` that starts `offset` bytes into the file.
///
/// `offset` is a multiple of the block length, and `bytes` at most that long.
pub(super) fn block_value(offset: u64, bytes: &[u8]) -> ChainingValue {
    blake3::Hasher::new()
        .set_input_offset(offset)
        .update(bytes)
        .finalize_non_root()
}

/// Appends the values of the blocks in `bytes` to `values`: as [`block_value`], but side by side
/// where one block alone would not fill the widest vectors. All blocks have `block_len` bytes, a
/// power of two of at least 1 KiB.
pub(super) fn block_values(
    offset: u64,
    bytes: &[u8],
    block_len: usize,
    values: &mut Vec<ChainingValue>,
) {
    if block_len > MAX_BESIDE_LEN / 2 {
        let blocks = bytes.chunks(block_len).zip(0_u64..);
        values.extend(
            blocks.map(|(block, index)| block_value(offset + index * block_len as u64, block)),
        );
        return;
    }
    let (chunks, _) = bytes.as_chunks::<CHUNK_LEN>();
    let mut counter = offset / CHUNK_LEN as u64;
    for chunks in chunks.chunks(BESIDE) {
        let mut merged = [ChainingValue::default(); BESIDE];
        hash_beside(
            chunks,
            &IV,
            Some(counter),
            0,
            CHUNK_START,
            CHUNK_END,
            &mut merged,
        );
        let (mut len, mut count) = (CHUNK_LEN, chunks.len());
        while len < block_len {
            let pairs = merged;
            count = merge_beside(pairs.get(..count).unwrap_or_default(), &mut merged);
            len *= 2;
        }
        values.extend(merged.iter().take(count));
        counter += chunks.len() as u64;
    }
}

/// Merges neighbours, at most [`BESIDE`] of them, into the front of `merged`; returns how many
/// pairs there were.
fn merge_beside(values: &[ChainingValue], merged: &mut [ChainingValue; BESIDE]) -> usize {
    let (pairs, _) = values.as_flattened().as_chunks::<64>();
    hash_beside(pairs, &IV, None, PARENT, 0, 0, merged);
    pairs.len()
}

/// Hashes inputs of one length, at most [`BESIDE`] of them, side by side. If `counter` is given, it
/// counts them.
fn hash_beside<const N: usize>(
    inputs: &[[u8; N]],
    key: &[u32; 8],
    counter: Option<u64>,
    flags: u8,
    flags_start: u8,
    flags_end: u8,
    out: &mut [ChainingValue; BESIDE],
) {
    let mut references = [&[0; N]; BESIDE];
    for (reference, input) in references.iter_mut().zip(inputs) {
        *reference = input;
    }
    let increment = match counter {
        Some(_) => IncrementCounter::Yes,
        None => IncrementCounter::No,
    };
    let references = references.get(..inputs.len()).unwrap_or_default();
    let counter = counter.unwrap_or(0);
    let out = out.as_flattened_mut();
    Platform::detect().hash_many(
        references,
        key,
        counter,
        increment,
        flags,
        flags_start,
        flags_end,
        out,
    );
}

/// Turns block values into strong sums: the first half of a keyed BLAKE3 over the value and as many
/// zero bytes.
#[derive(Clone, Debug)]
pub(super) struct StrongKey([u32; 8]);

impl StrongKey {
    pub(super) fn new(salt: &Salt) -> Self {
        let key = blake3::derive_key("hasync delta block sum v1", salt);
        Self(words_from_le_bytes_32(&key))
    }

    pub(super) fn strong(&self, value: &ChainingValue) -> StrongSum {
        let mut sum = [StrongSum::default()];
        self.strong_beside(std::slice::from_ref(value), &mut sum);
        let [sum] = sum;
        sum
    }

    /// Appends the strong sums of `values`.
    pub(super) fn strong_all(&self, values: &[ChainingValue], sums: &mut Vec<StrongSum>) {
        for values in values.chunks(BESIDE) {
            let mut own = [StrongSum::default(); BESIDE];
            self.strong_beside(values, &mut own);
            sums.extend(own.iter().take(values.len()));
        }
    }

    /// The strong sums of at most [`BESIDE`] values.
    fn strong_beside(&self, values: &[ChainingValue], sums: &mut [StrongSum]) {
        let mut inputs = [[0; 64]; BESIDE];
        for (input, value) in inputs.iter_mut().zip(values) {
            if let Some((front, _)) = input.split_first_chunk_mut() {
                *front = *value;
            }
        }
        let inputs = inputs.get(..values.len()).unwrap_or_default();
        let mut out = [ChainingValue::default(); BESIDE];
        let end = CHUNK_END | ROOT;
        hash_beside(
            inputs,
            &self.0,
            None,
            KEYED_HASH,
            CHUNK_START,
            end,
            &mut out,
        );
        for (sum, out) in sums.iter_mut().zip(out) {
            let (front, _) = out.split_at(sum.len());
            sum.copy_from_slice(front);
        }
    }
}

/// Merges the values of a file's blocks, pushed in order, into the file's BLAKE3.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    /// Values of complete subtrees, largest first. Merging lags one push behind, because the last
    /// merge of all must know that it makes the root.
    stack: Vec<ChainingValue>,
    count: u64,
    /// Set if the file is one block: a root is not made of that block's value, but of its bytes.
    only_block: Option<blake3::Hash>,
}

impl TreeHasher {
    /// Adds the next block. All blocks but the last have the same power-of-two length.
    pub(super) fn push(&mut self, value: ChainingValue) {
        self.push_subtree(value, 1);
    }

    /// Adds the next blocks, all of full length.
    pub(super) fn push_all(&mut self, values: &[ChainingValue]) {
        let mut rest = values;
        while !rest.is_empty() {
            // The largest subtree that begins here, but for its last merge: it may be the root's.
            let fitting = rest.len().min(BESIDE).ilog2();
            let blocks = 1 << fitting.min(self.count.trailing_zeros());
            let (values, later) = rest.split_at(blocks);
            rest = later;
            let mut merged = [ChainingValue::default(); BESIDE];
            for (merged, value) in merged.iter_mut().zip(values) {
                *merged = *value;
            }
            let mut count = blocks;
            while count > 2 {
                let pairs = merged;
                count = merge_beside(pairs.get(..count).unwrap_or_default(), &mut merged);
            }
            for value in merged.iter().take(count) {
                self.push_subtree(*value, (blocks / count) as u64);
            }
        }
    }

    /// Adds a subtree of `blocks` blocks, a power of two that divides the number of blocks before.
    fn push_subtree(&mut self, value: ChainingValue, blocks: u64) {
        while self.stack.len() > self.count.count_ones() as usize {
            self.merge_top();
        }
        self.stack.push(value);
        self.count += blocks;
    }

    /// Tells the bytes of a file that consists of one block (pushed all the same).
    pub(super) fn only_block(&mut self, bytes: &[u8]) {
        self.only_block = Some(blake3::hash(bytes));
    }

    /// The BLAKE3 of the file.
    pub(super) fn finish(mut self) -> blake3::Hash {
        if let Some(sum) = self.only_block {
            return sum;
        }
        while self.stack.len() > 2 {
            self.merge_top();
        }
        match self.stack.as_slice() {
            [left, right] => hazmat::merge_subtrees_root(left, right, Mode::Hash),
            _ => blake3::hash(&[]),
        }
    }

    fn merge_top(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.stack
                .push(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }
}

/// BLAKE3 hashes chunks of this many bytes, the leaves of its tree.
const CHUNK_LEN: usize = 1 << 10;

/// Inputs handed to the hash at once: several times what the widest vectors take.
const BESIDE: usize = 64;

/// Bytes hashed at once as single chunks.
const MAX_BESIDE_LEN: usize = BESIDE * CHUNK_LEN;

// BLAKE3's initial value and flags, as its specification has them.
const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
const KEYED_HASH: u8 = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn merged_values_are_the_plain_blake3() {
        let data: Vec<u8> = (0..70_000_u32).map(|i| (i ^ (i >> 7)) as u8).collect();
        for block_len in [1024, 4096, 65536] {
            for len in [
                0, 1, 1023, 1024, 1025, 4096, 5000, 8192, 9000, 16384, 65536, 65537, 70_000,
            ] {
                let mut tree = TreeHasher::default();
                for (block, index) in data[..len].chunks(block_len).zip(0_u64..) {
                    tree.push(block_value(index * block_len as u64, block));
                }
                if len <= block_len {
                    tree.only_block(&data[..len]);
                }
                assert_eq!(
                    tree.finish(),
                    blake3::hash(&data[..len]),
                    "{len} in {block_len}"
                );
            }
        }
    }

    #[test]
    fn values_side_by_side_are_those_of_single_blocks() {
        let data: Vec<u8> = (0..300_000_u32).map(|i| (i ^ (i >> 9)) as u8).collect();
        for block_len in [1024, 2048, 8192, 32_768, 65_536] {
            for count in [0, 1, 2, 3, 7, 64, 65, 100] {
                let bytes = &data[..(count * block_len).min(data.len() / block_len * block_len)];
                let offset = 12 * block_len as u64;
                let mut values = Vec::new();
                block_values(offset, bytes, block_len, &mut values);
                let expected = bytes
                    .chunks(block_len)
                    .zip(12..)
                    .map(|(block, number)| block_value(number * block_len as u64, block));
                assert!(
                    values.iter().copied().eq(expected),
                    "{count} of {block_len}"
                );
            }
        }
    }

    #[test]
    fn pushing_many_at_once_is_pushing_each() {
        let values: Vec<ChainingValue> = (0..300_u32)
            .map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes())
            .collect();
        for count in [2, 3, 4, 63, 64, 65, 128, 200, 300] {
            let mut expected = TreeHasher::default();
            values[..count]
                .iter()
                .for_each(|value| expected.push(*value));
            let expected = expected.finish();
            for step in [1, 2, 5, 28, 64, 300] {
                let mut tree = TreeHasher::default();
                values[..count]
                    .chunks(step)
                    .for_each(|values| tree.push_all(values));
                assert_eq!(tree.finish(), expected, "{count} by {step}");
            }
        }
    }

    #[test]
    fn strong_sums_are_keyed_hashes() {
        let values: Vec<ChainingValue> = (0..130).map(|i| [i; 32]).collect();
        let key = blake3::derive_key("hasync delta block sum v1", &[4; 16]);
        let mut sums = Vec::new();
        StrongKey::new(&[4; 16]).strong_all(&values, &mut sums);
        assert_eq!(sums.len(), values.len());
        for (value, sum) in values.iter().zip(&sums) {
            let padded = [&value[..], &[0; 32]].concat();
            assert_eq!(blake3::keyed_hash(&key, &padded).as_bytes()[..16], *sum);
        }
    }

    #[test]
    fn strong_sums_depend_on_salt_and_place() {
        let (a, b) = (StrongKey::new(&[1; 16]), StrongKey::new(&[2; 16]));
        let block = [7; 1024];
        let (here, there) = (block_value(0, &block), block_value(1024, &block));
        assert_eq!(a.strong(&here), a.strong(&block_value(0, &block)));
        assert_ne!(a.strong(&here), a.strong(&there));
        assert_ne!(a.strong(&here), b.strong(&here));
    }
}
