//! The basis's side: offers the top of its tree and answers what is asked.

use std::fmt;
use std::io;

use super::super::block::BlockLen;
use super::super::patch::Basis;
use super::super::signature::random_salt;
use super::super::tree::{Salt, StrongKey, block_value};
use super::super::weak::weak_sum;
use super::message::{Ask, MessageError, Offer, ShortSum};
use super::sum_tree::SumTree;
use super::{child_span, top_span};

/// A summed basis that answers the source's owner. Asks are independent of each other.
#[derive(Debug)]
pub struct BasisSums<F> {
    file: F,
    tree: SumTree,
    salt: Salt,
    key: StrongKey,
}

impl<F: Basis> BasisSums<F> {
    /// Prepares `file`, which `tree` sums, under a fresh random salt.
    pub fn new(file: F, tree: SumTree) -> io::Result<Self> {
        let salt = random_salt()?;
        Ok(Self {
            file,
            tree,
            salt,
            key: StrongKey::new(&salt),
        })
    }

    /// The first message of the exchange.
    pub fn offer(&self) -> io::Result<Vec<u8>> {
        let basis_len = self.tree.file_len();
        let span = top_span(basis_len);
        let nodes = (0..basis_len.div_ceil(span)).map(|index| self.short_sum(span, index));
        let nodes = nodes.collect::<io::Result<_>>()?;
        let offer = Offer {
            salt: self.salt,
            basis_len,
            sum: *self.tree.sum().as_bytes(),
            nodes,
        };
        Ok(offer.encode())
    }

    /// Answers an ask. Reads the basis where the tree is not fine enough, and for rolling sums.
    ///
    /// The answer has at most [`MAX_ANSWER_LEN`](super::MAX_ANSWER_LEN) bytes, whatever is asked.
    pub fn answer(&self, ask: &[u8]) -> Result<Vec<u8>, AskError> {
        match Ask::decode(ask, self.tree.file_len()).map_err(AskError::Peer)? {
            Ask::Children { span, nodes } => self.children(span, &nodes).map_err(AskError::Basis),
            Ask::Blocks { block_len, blocks } => {
                self.block_sums(block_len, &blocks).map_err(AskError::Basis)
            }
        }
    }

    /// The file.
    pub fn into_file(self) -> F {
        self.file
    }

    fn children(&self, span: u64, nodes: &[u64]) -> io::Result<Vec<u8>> {
        let mut sums = Vec::new();
        for child in child_span(span).into_iter().flat_map(|child_span| {
            nodes.iter().flat_map(move |node| {
                let first = node * (span / child_span);
                (first..first + span / child_span).map(move |index| (child_span, index))
            })
        }) {
            let (child_span, index) = child;
            if index.saturating_mul(child_span) < self.tree.file_len() {
                sums.extend(self.short_sum(child_span, index)?);
            }
        }
        Ok(sums)
    }

    fn block_sums(&self, block_len: BlockLen, blocks: &[u64]) -> io::Result<Vec<u8>> {
        let mut sums = Vec::with_capacity(12 * blocks.len());
        let mut bytes = vec![0; block_len.as_usize()];
        for block in blocks {
            let start = block * u64::from(block_len.get());
            self.file.read_exact_at(&mut bytes, start)?;
            let strong = self.key.strong(&block_value(start, &bytes));
            sums.extend(weak_sum(&bytes).to_le_bytes());
            sums.extend(shorten(strong));
        }
        Ok(sums)
    }

    fn short_sum(&self, span: u64, index: u64) -> io::Result<ShortSum> {
        let value = self.tree.value(&self.file, span, index)?;
        let value = value.ok_or_else(|| io::Error::other("the tree lacks a node"))?;
        Ok(shorten(self.key.strong(&value)))
    }
}

/// The first half of a strong sum.
pub(super) fn shorten(strong: [u8; 16]) -> ShortSum {
    let [a, b, c, d, e, f, g, h, ..] = strong;
    [a, b, c, d, e, f, g, h]
}

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
