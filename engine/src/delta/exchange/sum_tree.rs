//! The BLAKE3 tree of a file: values of its leaves and of all nodes above them, and its sum.

use std::io;

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};

use super::super::patch::Basis;
use super::super::pieces::in_threads;
use super::super::tree::{block_value, block_values};
use crate::page_buf::PageBuf;
use crate::work;

/// The sums of one file as it was when it was read.
///
/// A leaf is 4 KiB up to 1 MiB of file and 16 KiB up to 8 GiB; beyond that leaves double, so that
/// there are at most 2^19 of them and the tree takes at most 32 MiB.
#[derive(Clone, Debug)]
pub struct SumTree {
    len: u64,
    leaf_len: u64,
    /// By level from the leaves up; the last one has at most two nodes. A node without a sibling at
    /// the right edge stands unchanged in the level above, as in BLAKE3 itself.
    levels: Vec<Vec<ChainingValue>>,
    sum: blake3::Hash,
}

impl SumTree {
    /// Sums the first `len` bytes of `file`, in up to `threads` threads (one of them the caller's).
    ///
    /// Needs a read buffer of 128 KiB per thread beside the result. Fails if the file is shorter.
    pub fn of<F: Basis + Sync + ?Sized>(file: &F, len: u64, threads: usize) -> io::Result<Self> {
        let read = |bytes: &mut [u8], offset| file.read_exact_at(bytes, offset);
        Self::of_pieces(&read, len, leaf_len_for(len), threads)
    }

    /// As [`SumTree::of`], in leaves of `leaf_len`, over what `read` puts into buffers: each byte
    /// is asked for once, except in a file of one leaf.
    pub(in super::super) fn of_pieces(
        read: &(impl Fn(&mut [u8], u64) -> io::Result<()> + Sync),
        len: u64,
        leaf_len: u64,
        threads: usize,
    ) -> io::Result<Self> {
        let leaf_count = usize::try_from(len.div_ceil(leaf_len)).unwrap_or(usize::MAX);
        let mut leaves = vec![[0; 32]; leaf_count];
        sum_leaves(read, len, leaf_len, &mut leaves, threads)?;
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 2) {
            let level = below.chunks(2).filter_map(merge).collect();
            levels.push(level);
        }
        let sum = match levels.last().map(Vec::as_slice) {
            Some([left, right]) => hazmat::merge_subtrees_root(left, right, Mode::Hash),
            // A file of one leaf is no subtree but a root, whose sum is made of its bytes.
            _ => sum_range(read, 0, len, blake3::Hasher::new())?.finalize(),
        };
        Ok(Self {
            len,
            leaf_len,
            levels,
            sum,
        })
    }

    /// The length of the file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// The BLAKE3 of the file.
    #[must_use]
    pub fn sum(&self) -> blake3::Hash {
        self.sum
    }

    pub(in super::super) fn leaf_len(&self) -> u64 {
        self.leaf_len
    }

    /// The values of the leaves, in order.
    pub(in super::super) fn leaves(&self) -> &[ChainingValue] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The value of node number `index` of those that span `span` bytes each, which may be short at
    /// the file's end. Nodes within a leaf are summed anew from `file`. `None` if the file has no
    /// such node.
    pub(super) fn value<F: Basis + ?Sized>(
        &self,
        file: &F,
        span: u64,
        index: u64,
    ) -> io::Result<Option<ChainingValue>> {
        if span < self.leaf_len {
            let start = index.saturating_mul(span);
            let len = self.len.saturating_sub(start).min(span);
            if len == 0 {
                return Ok(None);
            }
            let read = |bytes: &mut [u8], offset| file.read_exact_at(bytes, offset);
            return range_value(&read, start, len).map(Some);
        }
        let level = (span / self.leaf_len).ilog2() as usize;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok(self
            .levels
            .get(level)
            .and_then(|level| level.get(index))
            .copied())
    }
}

pub(in super::super) fn leaf_len_for(len: u64) -> u64 {
    if len <= 1 << 20 {
        1 << 12
    } else {
        len.div_ceil(MAX_LEAVES).next_power_of_two().max(1 << 14)
    }
}

fn merge(pair: &[ChainingValue]) -> Option<ChainingValue> {
    match pair {
        [left, right] => Some(hazmat::merge_subtrees_non_root(left, right, Mode::Hash)),
        [alone] => Some(*alone),
        _ => None,
    }
}

/// Fills in the leaf values, piece by piece; each thread takes the next piece when it is done.
fn sum_leaves(
    read: &(impl Fn(&mut [u8], u64) -> io::Result<()> + Sync),
    len: u64,
    leaf_len: u64,
    leaves: &mut [ChainingValue],
    threads: usize,
) -> io::Result<()> {
    let leaves_per_piece = (PIECE_LEN / leaf_len).max(1);
    let per_piece = usize::try_from(leaves_per_piece).unwrap_or(1);
    let piece_count = leaves.len().div_ceil(per_piece);
    let pieces = leaves.chunks_mut(per_piece).zip(0_u64..);
    in_threads(pieces, piece_count, threads, |(piece, number), buffer| {
        let start = number * leaves_per_piece * leaf_len;
        sum_piece(read, start, len, leaf_len, piece, buffer)
    })
}

fn sum_piece(
    read: &impl Fn(&mut [u8], u64) -> io::Result<()>,
    start: u64,
    len: u64,
    leaf_len: u64,
    leaves: &mut [ChainingValue],
    buffer: &mut PageBuf,
) -> io::Result<()> {
    if leaf_len > PIECE_LEN {
        for (leaf, index) in leaves.iter_mut().zip(0..) {
            let leaf_start = start + index * leaf_len;
            *leaf = range_value(read, leaf_start, leaf_len.min(len - leaf_start))?;
        }
        return Ok(());
    }
    let piece_len = (leaves.len() as u64 * leaf_len).min(len - start);
    buffer.resize(usize::try_from(piece_len).unwrap_or(0));
    read(buffer, start)?;
    work::did(piece_len);
    let leaf_bytes = usize::try_from(leaf_len).unwrap_or(usize::MAX);
    let full_len = buffer.len() / leaf_bytes * leaf_bytes;
    let (full, short) = buffer.split_at(full_len);
    let mut values = Vec::with_capacity(leaves.len());
    block_values(start, full, leaf_bytes, &mut values);
    if !short.is_empty() {
        values.push(block_value(start + full_len as u64, short));
    }
    leaves.copy_from_slice(&values);
    Ok(())
}

/// The value of the subtree over the `len` bytes (not 0) from `start` on, a multiple of its span.
pub(in super::super) fn range_value(
    read: &impl Fn(&mut [u8], u64) -> io::Result<()>,
    start: u64,
    len: u64,
) -> io::Result<ChainingValue> {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    Ok(sum_range(read, start, len, hasher)?.finalize_non_root())
}

fn sum_range(
    read: &impl Fn(&mut [u8], u64) -> io::Result<()>,
    start: u64,
    len: u64,
    mut hasher: blake3::Hasher,
) -> io::Result<blake3::Hasher> {
    let mut buffer = PageBuf::with_len(usize::try_from(len.min(PIECE_LEN)).unwrap_or(0));
    let mut done = 0;
    while done < len {
        let step = usize::try_from(len - done)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let bytes = buffer.get_mut(..step).unwrap_or_default();
        read(bytes, start + done)?;
        hasher.update(bytes);
        work::did(step as u64);
        done += step as u64;
    }
    Ok(hasher)
}

pub(in super::super) const MAX_LEAVES: u64 = 1 << 19;

/// Bytes read at once: they are hashed, and written, while still in the second-level cache.
const PIECE_LEN: u64 = 1 << 17;
