//! The bytes of samples, offers, asks and answers. Integers are little-endian; a *number* is
//! unsigned LEB128.
//!
//! Sample: format (1 byte, 2), salt (16), basis length (8), then for each sampled block its weak
//! sum (4) and its strong sum (8). Offer: format (1 byte, 3), salt (16), basis length (8), BLAKE3
//! of the basis (32), then 8 bytes for each node of the top span. Ask for the offer: 3. Ask for
//! children: 1, log2 of the span (1 byte), then for each node its index as a number, less one more
//! than the index before it. Ask for rolling sums: 2, log2 of the block length, then for each run
//! of blocks two numbers: the blocks left out since the last run and the blocks in it, less one.
//! Answer for children: 8 bytes for each child of each node. Answer for rolling sums: for each
//! block its weak sum (4) and its strong sum (8).

use std::fmt;

use super::super::block::BlockLen;
use super::super::ops::{put_number, take_number};
use super::super::signature::MAX_BASIS_LEN;
use super::super::tree::Salt;
use super::{FINE_SPAN, top_span};

/// What the wire carries of a node's or block's strong sum.
pub(super) type ShortSum = [u8; 8];

/// The first half of a strong sum.
pub(super) fn shorten(strong: [u8; 16]) -> ShortSum {
    let [a, b, c, d, e, f, g, h, ..] = strong;
    [a, b, c, d, e, f, g, h]
}

/// The first message: the basis in general, and the sums of its top nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) salt: Salt,
    pub(super) basis_len: u64,
    pub(super) sum: [u8; 32],
    pub(super) nodes: Vec<ShortSum>,
}

impl Offer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.salt);
        out.extend(self.basis_len.to_le_bytes());
        out.extend(self.sum);
        out.extend(self.nodes.as_flattened());
        out
    }

    pub(super) fn decode(encoded: &[u8]) -> Result<Self, MessageError> {
        let error = MessageError {
            what: "offer",
            len: encoded.len(),
        };
        let (&[FORMAT], rest) = encoded.split_first_chunk().ok_or(error)? else {
            return Err(error);
        };
        let (&salt, rest) = rest.split_first_chunk().ok_or(error)?;
        let (&basis_len, rest) = rest.split_first_chunk().ok_or(error)?;
        let (&sum, rest) = rest.split_first_chunk().ok_or(error)?;
        let basis_len = u64::from_le_bytes(basis_len);
        if basis_len > MAX_BASIS_LEN {
            return Err(error);
        }
        let nodes = short_sums(rest, basis_len.div_ceil(top_span(basis_len))).ok_or(error)?;
        Ok(Self {
            salt,
            basis_len,
            sum,
            nodes: nodes.to_vec(),
        })
    }
}

/// What the source's owner wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The offer: both sides are to sum their files.
    Tree,
    /// The sums of the children of these nodes, in rising order.
    Children { span: u64, nodes: Vec<u64> },
    /// The rolling sums of these blocks, in rising order.
    Blocks {
        block_len: BlockLen,
        blocks: Vec<u64>,
    },
}

impl Ask {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Tree => out.push(TREE),
            Self::Children { span, nodes } => {
                out.extend([CHILDREN, span.trailing_zeros() as u8]);
                let mut next = 0;
                for &node in nodes {
                    put_number(&mut out, u128::from(node - next));
                    next = node + 1;
                }
            }
            Self::Blocks { block_len, blocks } => {
                out.extend([BLOCKS, block_len.log2()]);
                let mut next = 0;
                for run in blocks.chunk_by(|a, b| a + 1 == *b) {
                    let [first, ..] = run else { continue };
                    put_number(&mut out, u128::from(first - next));
                    put_number(&mut out, run.len() as u128 - 1);
                    next = first + run.len() as u64;
                }
            }
        }
        out
    }

    /// Decodes an ask about a basis of `basis_len` bytes. All nodes and blocks exist there; there
    /// are at most [`MAX_ASK_NODES`] or [`MAX_ASK_BLOCKS`] of them, and blocks have full length.
    pub(super) fn decode(encoded: &[u8], basis_len: u64) -> Result<Self, MessageError> {
        let error = MessageError {
            what: "ask",
            len: encoded.len(),
        };
        if encoded == [TREE] {
            return Ok(Self::Tree);
        }
        let (&[kind, log2], mut rest) = encoded.split_first_chunk().ok_or(error)?;
        let mut number = || -> Option<Result<u64, MessageError>> {
            (!rest.is_empty()).then(|| {
                let number = take_number(&mut rest).map_err(|_| error)?;
                u64::try_from(number).map_err(|_| error)
            })
        };
        let mut next = 0_u64;
        match kind {
            CHILDREN => {
                let span = 1_u64.checked_shl(u32::from(log2)).ok_or(error)?;
                if span <= FINE_SPAN || span > top_span(basis_len) {
                    return Err(error);
                }
                let count = basis_len.div_ceil(span);
                let mut nodes = Vec::new();
                while let Some(left_out) = number() {
                    let node = next.checked_add(left_out?).filter(|node| *node < count);
                    let node = node.filter(|_| nodes.len() < MAX_ASK_NODES).ok_or(error)?;
                    nodes.push(node);
                    next = node + 1;
                }
                Ok(Self::Children { span, nodes })
            }
            BLOCKS => {
                let block_len = BlockLen::from_log2(log2).ok_or(error)?;
                let count = basis_len / u64::from(block_len.get());
                let mut blocks = Vec::new();
                while let Some(left_out) = number() {
                    let more = number().ok_or(error)??;
                    let first = next.checked_add(left_out?).ok_or(error)?;
                    let end = first.checked_add(more).and_then(|last| last.checked_add(1));
                    let end = end.filter(|end| *end <= count).ok_or(error)?;
                    if end - first > (MAX_ASK_BLOCKS - blocks.len()) as u64 {
                        return Err(error);
                    }
                    blocks.extend(first..end);
                    next = end;
                }
                Ok(Self::Blocks { block_len, blocks })
            }
            _ => Err(error),
        }
    }
}

/// True if `ask` is the one that has both sides sum their files.
#[must_use]
pub fn asks_for_tree(ask: &[u8]) -> bool {
    ask == [TREE]
}

/// Exactly `count` sums.
pub(super) fn short_sums(encoded: &[u8], count: u64) -> Option<&[ShortSum]> {
    let (sums, rest) = encoded.as_chunks();
    (sums.len() as u64 == count && rest.is_empty()).then_some(sums)
}

/// Exactly `count` pairs of weak and strong sum, as bytes.
pub(super) fn block_sums(encoded: &[u8], count: usize) -> Option<&[[u8; 12]]> {
    let (sums, rest) = encoded.as_chunks();
    (sums.len() == count && rest.is_empty()).then_some(sums)
}

/// Bytes that are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageError {
    pub(super) what: &'static str,
    pub(super) len: usize,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of delta exchange are not a valid {}",
            self.len, self.what
        )
    }
}

impl std::error::Error for MessageError {}

const FORMAT: u8 = 3;
const CHILDREN: u8 = 1;
const BLOCKS: u8 = 2;
const TREE: u8 = 3;

/// Nodes in one ask; more are asked for in turn.
pub(super) const MAX_ASK_NODES: usize = 1 << 15;

/// Blocks in one ask.
pub(super) const MAX_ASK_BLOCKS: usize = 1 << 18;

/// The longest ask, in bytes.
pub const MAX_ASK_LEN: usize = 2 + 10 * MAX_ASK_BLOCKS;

/// The longest sample, offer or answer, in bytes.
pub const MAX_ANSWER_LEN: usize = 8 * 16 * MAX_ASK_NODES;
