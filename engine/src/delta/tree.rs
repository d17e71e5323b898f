//! Block sums and whole-file sum in one hash pass: BLAKE3 is a tree, and a block is a subtree of
//! it.
//!
//! A block's *value* is its chaining value at its place in the file, so equal bytes at two offsets
//! have two values; merging the values of all blocks gives the file's plain BLAKE3. What travels is
//! the block's *strong sum*: 16 bytes of a hash of the value, keyed by the signature's salt, so
//! that nobody can prepare two blocks that collide in somebody else's signature.

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

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

/// Turns block values into strong sums.
#[derive(Clone, Debug)]
pub(super) struct StrongKey([u8; 32]);

impl StrongKey {
    pub(super) fn new(salt: &Salt) -> Self {
        Self(blake3::derive_key("hasync delta block sum v1", salt))
    }

    pub(super) fn strong(&self, value: &ChainingValue) -> StrongSum {
        let mut strong = [0; 16];
        let keyed = blake3::keyed_hash(&self.0, value);
        strong.copy_from_slice(keyed.as_bytes().split_at(16).0);
        strong
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
        while self.stack.len() > self.count.count_ones() as usize {
            self.merge_top();
        }
        self.stack.push(value);
        self.count += 1;
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

#[cfg(test)]
mod tests {
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
    fn strong_sums_depend_on_salt_and_place() {
        let (a, b) = (StrongKey::new(&[1; 16]), StrongKey::new(&[2; 16]));
        let block = [7; 1024];
        let (here, there) = (block_value(0, &block), block_value(1024, &block));
        assert_eq!(a.strong(&here), a.strong(&block_value(0, &block)));
        assert_ne!(a.strong(&here), a.strong(&there));
        assert_ne!(a.strong(&here), b.strong(&here));
    }
}
