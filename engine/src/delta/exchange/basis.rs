//! The basis's side: a sample to begin with, then answers to what is asked.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::super::block::BlockLen;
use super::super::patch::Basis;
use super::super::pieces::in_threads;
use super::super::signature::random_salt;
use super::super::tree::{Salt, StrongKey, block_value};
use super::super::weak::weak_sum;
use super::message::{Ask, MessageError, Offer, ShortSum, asks_for_tree, shorten};
use super::sample::Sample;
use super::sum_tree::SumTree;
use super::{child_span, top_span};

/// A basis that answers the source's owner. Asks are independent of each other.
#[derive(Debug)]
pub struct BasisSums<F> {
    file: F,
    len: u64,
    tree: Option<Arc<SumTree>>,
    salt: Salt,
    key: StrongKey,
    threads: usize,
}

impl<F: Basis + Sync> BasisSums<F> {
    /// Prepares the first `len` bytes of `file`, under a fresh random salt. What has to be summed
    /// is summed in up to `threads` threads.
    pub fn new(file: F, len: u64, threads: usize) -> io::Result<Self> {
        let salt = random_salt()?;
        Ok(Self {
            file,
            len,
            tree: None,
            salt,
            key: StrongKey::new(&salt),
            threads,
        })
    }

    /// The first message of the exchange. Reads at most 4096 blocks of 4 KiB.
    pub fn sample(&self) -> io::Result<Vec<u8>> {
        Ok(Sample::of(&self.file, self.len, self.salt)?.encode())
    }

    /// True if the basis must be summed as a whole to answer `ask`, and has not been.
    #[must_use]
    pub fn needs_tree(&self, ask: &[u8]) -> bool {
        asks_for_tree(ask) && self.tree.is_none()
    }

    /// Hands over the sums of the basis, for an owner who has taken them himself while he did
    /// something else with its bytes.
    pub fn set_tree(&mut self, tree: Arc<SumTree>) {
        self.tree = Some(tree);
    }

    /// The file.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// The length of the basis in bytes.
    #[must_use]
    pub fn basis_len(&self) -> u64 {
        self.len
    }

    /// Answers an ask. Reads the basis where the tree is not fine enough, and for rolling sums.
    ///
    /// The answer has at most [`MAX_ANSWER_LEN`](super::MAX_ANSWER_LEN) bytes, whatever is asked.
    pub fn answer(&mut self, ask: &[u8]) -> Result<Vec<u8>, AskError> {
        match Ask::decode(ask, self.len).map_err(AskError::Peer)? {
            Ask::Tree => self.offer(),
            Ask::Children { span, nodes } => self.children(span, &nodes),
            Ask::Blocks { block_len, blocks } => self.block_sums(block_len, &blocks),
        }
        .map_err(AskError::Basis)
    }

    fn tree(&mut self) -> io::Result<Arc<SumTree>> {
        if let Some(tree) = &self.tree {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(SumTree::of(&self.file, self.len, self.threads)?);
        self.tree = Some(Arc::clone(&tree));
        Ok(tree)
    }

    fn offer(&mut self) -> io::Result<Vec<u8>> {
        let tree = self.tree()?;
        let span = top_span(self.len);
        let nodes = (0..self.len.div_ceil(span)).map(|index| self.short_sum(&tree, span, index));
        let nodes = nodes.collect::<io::Result<_>>()?;
        let offer = Offer {
            salt: self.salt,
            basis_len: self.len,
            sum: *tree.sum().as_bytes(),
            nodes,
        };
        Ok(offer.encode())
    }

    fn children(&mut self, span: u64, nodes: &[u64]) -> io::Result<Vec<u8>> {
        let tree = self.tree()?;
        let mut sums = Vec::new();
        for child in child_span(span).into_iter().flat_map(|child_span| {
            nodes.iter().flat_map(move |node| {
                let first = node * (span / child_span);
                (first..first + span / child_span).map(move |index| (child_span, index))
            })
        }) {
            let (child_span, index) = child;
            if index.saturating_mul(child_span) < self.len {
                sums.extend(self.short_sum(&tree, child_span, index)?);
            }
        }
        Ok(sums)
    }

    fn block_sums(&self, block_len: BlockLen, blocks: &[u64]) -> io::Result<Vec<u8>> {
        let block_bytes = block_len.as_usize();
        let per_piece = (PIECE_LEN / block_bytes).max(1);
        let mut sums = vec![[0; 12]; blocks.len()];
        let pieces = sums.chunks_mut(per_piece).zip(blocks.chunks(per_piece));
        let count = blocks.len().div_ceil(per_piece);
        in_threads(pieces, count, self.threads, |(sums, blocks), buffer| {
            buffer.resize(block_bytes);
            for (sum, block) in sums.iter_mut().zip(blocks) {
                let start = block * u64::from(block_len.get());
                self.file.read_exact_at(buffer, start)?;
                let strong = shorten(self.key.strong(&block_value(start, buffer)));
                let (weak_part, strong_part) = sum.split_at_mut(4);
                weak_part.copy_from_slice(&weak_sum(buffer).to_le_bytes());
                strong_part.copy_from_slice(&strong);
            }
            Ok(())
        })?;
        Ok(sums.into_flattened())
    }

    fn short_sum(&self, tree: &SumTree, span: u64, index: u64) -> io::Result<ShortSum> {
        let value = tree.value(&self.file, span, index)?;
        let value = value.ok_or_else(|| io::Error::other("the tree lacks a node"))?;
        Ok(shorten(self.key.strong(&value)))
    }
}

/// Bytes of blocks that a thread sums before it looks for more.
const PIECE_LEN: usize = 1 << 20;

/// Why an ask was not answered.
#[derive(Debug)]
pub enum AskError {
    /// It makes no sense: the peer is at fault.
    Peer(MessageError),
    /// The basis could not be read.
    Basis(io::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Basis(error) => write!(f, "cannot read the basis: {error}"),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Peer(error) => Some(error),
            Self::Basis(error) => Some(error),
        }
    }
}
