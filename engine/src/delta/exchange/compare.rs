//! The source's side: looks at a sample, compares the trees from the top or rolls, asks for what it
//! needs, and ends with a plan. It touches no link: the caller carries its asks and the answers.

use std::fmt;
use std::io;
use std::ops::Range;

use super::super::block::BlockLen;
use super::super::index::IndexedSignature;
use super::super::patch::Basis;
use super::super::signature::Signature;
use super::super::tree::StrongKey;
use super::message::{
    Ask, MAX_ASK_BLOCKS, MAX_ASK_NODES, MessageError, Offer, ShortSum, block_sums, short_sums,
    shorten,
};
use super::plan::Plan;
use super::ranges::{gaps, join, total_len};
use super::sample::{Outlook, Sample};
use super::sum_tree::SumTree;
use super::{child_span, top_span};

/// A source being compared with a basis that somebody else has.
#[derive(Debug)]
pub struct Comparison<F> {
    file: F,
    len: u64,
    threads: usize,
    /// The source's own sums, once they are needed.
    tree: Option<SumTree>,
    sample: Sample,
    /// Where sampled blocks were compared, and whether they were equal.
    places: Vec<(u64, bool)>,
    key: StrongKey,
    basis_len: u64,
    /// Where both files have the same bytes at the same place.
    equal: Vec<Range<u64>>,
    stage: Stage,
}

/// What the next answer is for.
#[derive(Debug)]
enum Stage {
    /// The top of the basis's tree.
    Offer,
    /// The children of the first `asked` nodes of the level.
    Level {
        level: Level,
        asked: usize,
    },
    /// The rolling sums of these blocks.
    Rolling {
        block_len: BlockLen,
        blocks: Vec<u64>,
    },
    Ended,
}

/// Nodes of one span that are known to differ, on the way to being compared one level deeper.
#[derive(Debug, Default)]
struct Level {
    span: u64,
    /// Nodes whose children are still to be compared, in rising order.
    differing: Vec<u64>,
    /// Children found to differ so far.
    children: Vec<u64>,
    /// The level to return to if anything below these nodes is equal. Where all of many nodes
    /// differ, a few are followed down first: if the files are unrelated, or shifted, that is all.
    sampled: Option<(Box<Level>, usize)>,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this to the basis's owner, call [`Comparison::sum_ahead`], and pass the answer to
    /// [`Comparison::answer`].
    Ask(Vec<u8>),
    /// All is known.
    Ready(Box<Plan>),
}

impl<F: Basis + Sync> Comparison<F> {
    /// Begins to compare the first `len` bytes of `file` with the basis that `sample` is of. What
    /// has to be summed is summed in up to `threads` threads.
    pub fn start(
        file: F,
        len: u64,
        threads: usize,
        sample: &[u8],
    ) -> Result<(Self, Step), ComparisonError> {
        let sample = Sample::decode(sample)?;
        let mut comparison = Self {
            file,
            len,
            threads,
            tree: None,
            key: StrongKey::new(&sample.salt),
            basis_len: sample.basis_len,
            sample,
            places: Vec::new(),
            equal: Vec::new(),
            stage: Stage::Ended,
        };
        let outlook = comparison.sample.outlook(&comparison.file, len);
        let (outlook, places) = outlook.map_err(ComparisonError::Source)?;
        comparison.places = places;
        let step = match outlook {
            Outlook::InPlace => {
                comparison.stage = Stage::Offer;
                Step::Ask(Ask::Tree.encode())
            }
            Outlook::Moved => {
                let whole = 0..comparison.basis_len;
                comparison.roll(&[whole])
            }
            Outlook::Hopeless => comparison.ready(None),
        };
        Ok((comparison, step))
    }

    /// The source.
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Sums the source, if the next answer will be compared with its sums: so both sides do it at
    /// the same time. Without this call it happens when the answer is there.
    pub fn sum_ahead(&mut self) -> io::Result<()> {
        if matches!(self.stage, Stage::Offer) && self.tree.is_none() {
            self.tree = Some(SumTree::of(&self.file, self.len, self.threads)?);
        }
        Ok(())
    }

    /// Takes in the answer to the last ask.
    pub fn answer(&mut self, answer: &[u8]) -> Result<Step, ComparisonError> {
        self.sum_ahead().map_err(ComparisonError::Source)?;
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Offer => self.take_offer(answer),
            Stage::Level { level, asked } => self.take_children(level, asked, answer),
            Stage::Rolling { block_len, blocks } => self.take_blocks(block_len, blocks, answer),
            Stage::Ended => Err(MessageError {
                what: "answer",
                len: answer.len(),
            }
            .into()),
        }
    }

    fn take_offer(&mut self, offer: &[u8]) -> Result<Step, ComparisonError> {
        let error = MessageError {
            what: "offer",
            len: offer.len(),
        };
        let Offer {
            salt,
            basis_len,
            sum,
            nodes,
        } = Offer::decode(offer)?;
        if salt != self.sample.salt || basis_len != self.basis_len {
            return Err(error.into());
        }
        let own_sum = self.tree.as_ref().map(SumTree::sum);
        if own_sum.is_some_and(|own| *own.as_bytes() == sum) && basis_len == self.len {
            self.equal.extend((basis_len > 0).then_some(0..basis_len));
            return Ok(self.ready(None));
        }
        let mut level = Level::default();
        let span = top_span(basis_len);
        self.compare(span, 0, &nodes, &mut level.children)?;
        self.descend(level, span)
    }

    fn take_children(
        &mut self,
        mut level: Level,
        asked: usize,
        answer: &[u8],
    ) -> Result<Step, ComparisonError> {
        let error = MessageError {
            what: "answer",
            len: answer.len(),
        };
        let span = child_span(level.span).ok_or(error)?;
        let children_per_node = level.span / span;
        let (basis_len, node_span) = (self.basis_len, level.span);
        let count_of = |node: u64| {
            let rest = basis_len.saturating_sub(node * node_span).min(node_span);
            rest.div_ceil(span)
        };
        let rest = level.differing.split_off(asked.min(level.differing.len()));
        let nodes = std::mem::replace(&mut level.differing, rest);
        let count = nodes.iter().map(|&node| count_of(node)).sum();
        let mut sums = short_sums(answer, count).ok_or(error)?;
        for &node in &nodes {
            let own_count = usize::try_from(count_of(node)).unwrap_or(usize::MAX);
            let (own, others) = sums.split_at_checked(own_count).ok_or(error)?;
            sums = others;
            self.compare(span, node * children_per_node, own, &mut level.children)?;
        }
        if level.differing.is_empty() {
            self.descend(level, span)
        } else {
            Ok(self.ask(level))
        }
    }

    /// Compares nodes of the basis, numbered from `first` on, with ours.
    fn compare(
        &mut self,
        span: u64,
        first: u64,
        sums: &[ShortSum],
        differing: &mut Vec<u64>,
    ) -> Result<(), ComparisonError> {
        let Some(tree) = &self.tree else {
            return Ok(());
        };
        for (sum, index) in sums.iter().zip(first..) {
            let start = index * span;
            let basis_end = (start + span).min(self.basis_len);
            let own_end = (start + span).min(self.len);
            if start >= own_end {
                break;
            }
            let value = if own_end == basis_end {
                let value = tree.value(&self.file, span, index);
                value.map_err(ComparisonError::Source)?
            } else {
                None
            };
            if value.is_some_and(|value| shorten(self.key.strong(&value)) == *sum) {
                self.equal.push(start..basis_end);
            } else {
                differing.push(index);
            }
        }
        Ok(())
    }

    /// All nodes of a level are compared; `span` is that of their children.
    fn descend(&mut self, level: Level, span: u64) -> Result<Step, ComparisonError> {
        let Level {
            children,
            mut sampled,
            ..
        } = level;
        if let Some((level, equal_count)) = sampled.take() {
            if self.equal.len() > equal_count {
                // What the sample found will be found again.
                self.equal.truncate(equal_count);
                return Ok(self.ask(*level));
            }
            sampled = Some((level, equal_count));
        }
        let is_worthwhile = |next: u64| {
            // What lies within our leaves has to be read again: only if much of it may be equal.
            let differing_len = children.len() as u64 * span;
            let leaf_len = self.tree.as_ref().map_or(0, SumTree::leaf_len);
            let here = |(at, _): &&(u64, bool)| children.binary_search(&(at / span)).is_ok();
            let sampled = self.places.iter().filter(here).count();
            let equal = self.places.iter().filter(here).filter(|place| place.1);
            next >= leaf_len
                || differing_len <= self.len / 2
                || equal.count() * MIN_EQUAL_SHARE > sampled
        };
        let goes_on = match child_span(span) {
            Some(next) => !children.is_empty() && (sampled.is_some() || is_worthwhile(next)),
            None => false,
        };
        if !goes_on {
            return self.roll_or_end();
        }
        let none_equal = self.equal.is_empty();
        let level = Level {
            span,
            differing: children,
            ..Level::default()
        };
        let few = |nodes: &[u64]| {
            let step = nodes.len().div_ceil(SAMPLED_NODES).max(1);
            nodes.iter().copied().step_by(step).collect::<Vec<_>>()
        };
        let next = match sampled {
            None if none_equal && level.differing.len() > SAMPLED_NODES => {
                let differing = few(&level.differing);
                Level {
                    span,
                    differing,
                    sampled: Some((Box::new(level), 0)),
                    ..Level::default()
                }
            }
            Some(_) => Level {
                differing: few(&level.differing),
                sampled,
                ..level
            },
            None => level,
        };
        Ok(self.ask(next))
    }

    fn ask(&mut self, level: Level) -> Step {
        let asked = level.differing.len().min(MAX_ASK_NODES);
        let nodes = level.differing.get(..asked).unwrap_or_default().to_vec();
        let ask = Ask::Children {
            span: level.span,
            nodes,
        }
        .encode();
        self.stage = Stage::Level { level, asked };
        Step::Ask(ask)
    }

    /// The trees have nothing more to say: is there enough left to roll over, and with what?
    fn roll_or_end(&mut self) -> Result<Step, ComparisonError> {
        join(&mut self.equal);
        let source_gaps: Vec<_> = gaps(&self.equal, self.len)
            .filter(|gap| gap.end - gap.start >= MIN_ROLLED_LEN)
            .collect();
        if source_gaps.is_empty() {
            return Ok(self.ready(None));
        }
        // What is new may repeat what is in place: then all of the basis serves, else what is left.
        let repeats = self.sample.is_moved(&self.file, &source_gaps);
        if repeats.map_err(ComparisonError::Source)? {
            let whole = 0..self.basis_len;
            return Ok(self.roll(&[whole]));
        }
        let basis_gaps: Vec<_> = gaps(&self.equal, self.basis_len).collect();
        Ok(self.roll(&basis_gaps))
    }

    /// Asks for rolling sums of these parts of the basis, if there is enough of them.
    fn roll(&mut self, parts: &[Range<u64>]) -> Step {
        let parts_len = total_len(parts);
        let (block_len, blocks) = blocks_of(parts, parts_len);
        if parts_len < MIN_ROLLED_LEN || blocks.is_empty() {
            return self.ready(None);
        }
        let ask = Ask::Blocks { block_len, blocks };
        let encoded = ask.encode();
        if let Ask::Blocks { block_len, blocks } = ask {
            self.stage = Stage::Rolling { block_len, blocks };
        }
        Step::Ask(encoded)
    }

    fn take_blocks(
        &mut self,
        block_len: BlockLen,
        blocks: Vec<u64>,
        answer: &[u8],
    ) -> Result<Step, ComparisonError> {
        let error = MessageError {
            what: "answer",
            len: answer.len(),
        };
        let sums = block_sums(answer, blocks.len()).ok_or(error)?;
        let mut signature = Signature {
            block_len,
            salt: self.sample.salt,
            basis_len: self.basis_len,
            weak: Vec::with_capacity(sums.len()),
            strong: Vec::with_capacity(sums.len()),
        };
        for &[w0, w1, w2, w3, ref strong @ ..] in sums {
            signature.weak.push(u32::from_le_bytes([w0, w1, w2, w3]));
            let mut padded = [0; 16];
            padded
                .iter_mut()
                .zip(strong)
                .for_each(|(to, from)| *to = *from);
            signature.strong.push(padded);
        }
        let index = IndexedSignature::of_blocks(signature, blocks, size_of::<ShortSum>());
        Ok(self.ready(Some(index)))
    }

    fn ready(&mut self, rolling: Option<IndexedSignature>) -> Step {
        self.stage = Stage::Ended;
        let equal = std::mem::take(&mut self.equal);
        Step::Ready(Box::new(Plan::new(
            equal,
            rolling,
            self.len,
            self.tree.as_ref().map(SumTree::sum),
        )))
    }
}

/// The blocks to roll with, wholly within `gaps` of the basis. Their length is between one and two
/// square roots of the gaps' total, which balances the sums' traffic against the bytes lost at each
/// edge.
fn blocks_of(gaps: &[Range<u64>], total_len: u64) -> (BlockLen, Vec<u64>) {
    let root = total_len.isqrt().max(1);
    let wanted = u32::try_from(2 << root.ilog2()).unwrap_or(u32::MAX);
    let mut block_len = BlockLen::new(wanted.clamp(BlockLen::MIN.get(), BlockLen::MAX.get()));
    loop {
        let chosen = block_len.unwrap_or(BlockLen::MAX);
        let len = u64::from(chosen.get());
        let runs = || {
            gaps.iter()
                .map(|gap| gap.start.div_ceil(len)..gap.end / len)
        };
        let count: u64 = runs().map(|run| run.end.saturating_sub(run.start)).sum();
        if count <= MAX_ASK_BLOCKS as u64 {
            return (chosen, runs().flatten().collect());
        }
        if chosen == BlockLen::MAX {
            // The first terabyte must do.
            return (chosen, runs().flatten().take(MAX_ASK_BLOCKS).collect());
        }
        block_len = BlockLen::new(chosen.get() * 2);
    }
}

/// Why a comparison could not go on.
#[derive(Debug)]
pub enum ComparisonError {
    /// The peer sent something else than a sample or the answer to the ask.
    Peer(MessageError),
    /// The source could not be read.
    Source(io::Error),
}

impl From<MessageError> for ComparisonError {
    fn from(error: MessageError) -> Self {
        Self::Peer(error)
    }
}

impl fmt::Display for ComparisonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Source(error) => write!(f, "cannot read the source: {error}"),
        }
    }
}

impl std::error::Error for ComparisonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Peer(error) => Some(error),
            Self::Source(error) => Some(error),
        }
    }
}

/// Leaves that differ are compared finer if one of so many sampled blocks in them is equal.
const MIN_EQUAL_SHARE: usize = 8;

/// Nodes followed down where all differ.
const SAMPLED_NODES: usize = 64;

/// Shorter gaps between equal parts are pages written in place; rolling would find nothing there.
const MIN_ROLLED_LEN: u64 = 64 << 10;
