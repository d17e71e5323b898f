//! The searchable form of a signature: from a weak sum to the few basis blocks that may have it.
//!
//! A bit filter small enough for the cache answers "surely not" for almost every position of a
//! rolling window; only what passes it touches the hash table. Chains are bounded when the table is
//! built, so that no signature, however many equal sums it holds, makes a look-up slow.

use blake3::hazmat::ChainingValue;

use super::block::BlockLen;
use super::filter::{Filter, mix};
use super::signature::Signature;
use super::tree::{StrongKey, StrongSum};

/// A signature with its search index, ready for [`diff`](super::diff).
#[derive(Debug)]
pub struct IndexedSignature {
    signature: Signature,
    /// The block numbers that the sums belong to, rising; `None` if they are all blocks in order.
    numbers: Option<Box<[u64]>>,
    /// How much of each strong sum is known, in bytes.
    strong_len: usize,
    key: StrongKey,
    filter: Filter,
    /// Place of the first block of each chain, by the mixed weak sum; `NONE` if empty.
    heads: Box<[u32]>,
    /// By place in the signature: the next block of its chain.
    next: Box<[u32]>,
    head_shift: u32,
}

impl Signature {
    /// Builds the search index. Costs 8 to 16 bytes of memory per block.
    #[must_use]
    pub fn index(self) -> IndexedSignature {
        IndexedSignature::new(self)
    }
}

impl IndexedSignature {
    pub(super) fn new(signature: Signature) -> Self {
        let count = signature.basis_len / u64::from(signature.block_len.get());
        let strong_len = size_of::<StrongSum>();
        Self::build(signature, None, count, strong_len)
    }

    /// An index of some full blocks only: `signature` holds their sums in the order of `numbers`,
    /// the strong ones known to `strong_len` bytes.
    pub(super) fn of_blocks(signature: Signature, numbers: Vec<u64>, strong_len: usize) -> Self {
        let count = numbers.len() as u64;
        Self::build(signature, Some(numbers.into()), count, strong_len)
    }

    fn build(
        signature: Signature,
        numbers: Option<Box<[u64]>>,
        full_blocks: u64,
        strong_len: usize,
    ) -> Self {
        // Blocks past this limit are matched in sequence, but not found by look-up.
        let count = u32::try_from(full_blocks)
            .unwrap_or(NONE)
            .min(MAX_INDEXED_BLOCKS);
        let head_bits = (count.max(1).ilog2() + 1).clamp(1, 31);
        let mut indexed = Self {
            numbers,
            strong_len,
            key: StrongKey::new(&signature.salt),
            filter: Filter::for_count(count),
            heads: vec![NONE; 1 << head_bits].into(),
            next: vec![NONE; count as usize].into(),
            head_shift: 32 - head_bits,
            signature,
        };
        for place in 0..count {
            indexed.insert(place);
        }
        indexed
    }

    /// The length of the basis in bytes.
    #[must_use]
    pub fn basis_len(&self) -> u64 {
        self.signature.basis_len
    }

    /// The block length the basis was cut into.
    #[must_use]
    pub fn block_len(&self) -> BlockLen {
        self.signature.block_len
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// True if there is a full block, and so anything that a rolling window could find.
    pub(super) fn has_full_blocks(&self) -> bool {
        !self.next.is_empty()
    }

    /// Length of block `number` in bytes: short for the last one, 0 for one that is not known.
    pub(super) fn len_of(&self, number: u64) -> u64 {
        if self.place_of(number).is_none() {
            return 0;
        }
        let block_len = u64::from(self.block_len().get());
        let start = number.saturating_mul(block_len);
        self.basis_len().saturating_sub(start).min(block_len)
    }

    pub(super) fn has_weak(&self, number: u64, weak: u32) -> bool {
        self.place_of(number).and_then(|place| self.weak_at(place)) == Some(weak)
    }

    pub(super) fn has_value(&self, number: u64, value: &ChainingValue) -> bool {
        self.has_strong(number, &self.key.strong(value))
    }

    /// What the values of blocks are compared with.
    pub(super) fn key(&self) -> &StrongKey {
        &self.key
    }

    pub(super) fn has_strong(&self, number: u64, found: &StrongSum) -> bool {
        let place = self.place_of(number);
        let expected = place.and_then(|place| self.signature.strong.get(place));
        expected.is_some_and(|sum| {
            sum.iter()
                .zip(found)
                .take(self.strong_len)
                .all(|(a, b)| a == b)
        })
    }

    /// The numbers of the full blocks with this weak sum, at most [`MAX_SAME_WEAK`] of them.
    pub(super) fn candidates(&self, weak: u32) -> impl Iterator<Item = u64> {
        self.same_weak(weak)
            .filter_map(|place| match &self.numbers {
                None => Some(place as u64),
                Some(numbers) => numbers.get(place).copied(),
            })
    }

    fn same_weak(&self, weak: u32) -> impl Iterator<Item = usize> {
        let places = self.chain(weak).map(|place| place as usize);
        places.filter(move |&place| self.weak_at(place) == Some(weak))
    }

    fn insert(&mut self, place: u32) {
        let Some(weak) = self.weak_at(place as usize) else {
            return;
        };
        let same = self.same_weak(weak).count();
        if same >= MAX_SAME_WEAK || self.chain(weak).count() >= MAX_CHAIN {
            return;
        }
        self.filter.insert(weak);
        let slot = self.slot(weak);
        let next = self.next.get_mut(place as usize);
        if let (Some(head), Some(next)) = (self.heads.get_mut(slot), next) {
            *next = std::mem::replace(head, place);
        }
    }

    fn chain(&self, weak: u32) -> impl Iterator<Item = u32> {
        let existing = |block: u32| (block != NONE).then_some(block);
        let head = self.heads.get(self.slot(weak)).copied().and_then(existing);
        std::iter::successors(head, move |&block| {
            self.next.get(block as usize).copied().and_then(existing)
        })
    }

    fn slot(&self, weak: u32) -> usize {
        (mix(weak) >> self.head_shift) as usize
    }

    fn weak_at(&self, place: usize) -> Option<u32> {
        self.signature.weak.get(place).copied()
    }

    /// Where the sums of block `number` are.
    fn place_of(&self, number: u64) -> Option<usize> {
        match &self.numbers {
            None => usize::try_from(number)
                .ok()
                .filter(|&at| at < self.signature.weak.len()),
            Some(numbers) => numbers.binary_search(&number).ok(),
        }
    }
}

/// Ends a chain.
const NONE: u32 = u32::MAX;

/// Blocks with equal weak sums that are tried at one position: more than one is rare in honest
/// data, and those are mostly equal blocks, of which one will do.
pub(super) const MAX_SAME_WEAK: usize = 4;

/// Blocks in one chain, whatever their sums.
const MAX_CHAIN: usize = 16;

/// Blocks in the table: 2 TiB in the smallest blocks.
const MAX_INDEXED_BLOCKS: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn index_of(basis: &[u8]) -> IndexedSignature {
        Signature::with_salt(basis, 0, BlockLen::MIN, [1; 16])
            .unwrap()
            .index()
    }

    #[test]
    fn every_block_of_different_content_is_found_by_its_weak_sum() {
        let mut basis = vec![0; 300 << 10];
        blake3::Hasher::new().finalize_xof().fill(&mut basis);
        let index = index_of(&basis);
        for (block, number) in basis.chunks(1 << 10).zip(0..) {
            let weak = super::super::weak::weak_sum(block);
            assert!(index.candidates(weak).any(|candidate| candidate == number));
        }
    }

    #[test]
    fn equal_blocks_make_a_short_chain() {
        let index = index_of(&[0; 1 << 20]);
        assert_eq!(index.candidates(0).count(), MAX_SAME_WEAK);
        assert_eq!(index.candidates(1).count(), 0);
    }

    #[test]
    fn a_short_last_block_is_not_looked_up() {
        let index = index_of(&[9; 1500]);
        assert_eq!(index.next.len(), 1);
        assert_eq!(
            [index.len_of(0), index.len_of(1), index.len_of(2)],
            [1024, 476, 0]
        );
        assert!(!index_of(&[9; 1000]).has_full_blocks());
    }
}
