//! The exchange for large files: instead of one flat signature, a look at a sample, and then what
//! the files call for. If they have parts in common at the same place, both sides sum their file
//! once, compare the two BLAKE3 trees from the top, and talk only about what differs. If content
//! has only moved, rolling sums of the basis do without the trees. Strangers go over whole.
//!
//! ```text
//! basis's owner (receiver)              source's owner (sender)
//! BasisSums::sample         -sample-->  Comparison::start
//!                           <---ask---  Step::Ask     for the tree
//! SumTree of the basis                  Comparison::sum_ahead          at the same time
//! BasisSums::answer         --offer-->  Comparison::answer
//!                           <---ask---  Step::Ask     which nodes differ?   once per level
//! BasisSums::answer         -answer-->  Comparison::answer
//!                           <---ask---  Step::Ask     rolling sums of what no tree could match
//! BasisSums::answer         -answer-->  Comparison::answer
//!                           <---ops---  Step::Ready(plan), Plan::emit
//! Patcher
//! ```
//!
//! Samples, asks and answers are opaque bytes that the caller carries, one at a time per file. The
//! ops and the [`DiffSummary`](super::DiffSummary) are those of [`diff`](super::diff), so the
//! applying side is the same. An unchanged file costs a sample (12 bytes for 4 MiB) and an offer of
//! at most 2.1 KiB, a page written somewhere costs some hundred bytes and the page in units of
//! 4 KiB, an append costs its tail.
//!
//! Spans, the lengths of tree nodes in bytes, are powers of two: [`top_span`] of the basis in the
//! offer, then a sixteenth at each level, down to [`FINE_SPAN`]. Sums on the wire are 8 bytes under
//! a salt; the whole-file sum decides in the end.

mod basis;
mod compare;
mod message;
mod plan;
mod ranges;
mod sample;
pub(super) mod sum_tree;
#[cfg(test)]
mod tests;

pub use basis::{AskError, BasisSums};
pub use compare::{Comparison, ComparisonError, Step};
pub use message::{MAX_ANSWER_LEN, MAX_ASK_LEN, MessageError, asks_for_tree};
pub use plan::Plan;
pub(super) use plan::Planned;
pub use sample::is_sample;
pub use sum_tree::SumTree;

/// The span whose nodes the offer for a basis of `len` bytes holds: at most [`MAX_TOP_NODES`].
fn top_span(len: u64) -> u64 {
    let span = len.div_ceil(MAX_TOP_NODES).min(1 << 62);
    span.next_power_of_two().max(sum_tree::leaf_len_for(len))
}

/// The span one level below `span`; [`FINE_SPAN`] has none.
fn child_span(span: u64) -> Option<u64> {
    (span > FINE_SPAN).then(|| (span / FAN_OUT).max(FINE_SPAN))
}

/// The finest span that is compared: a page.
const FINE_SPAN: u64 = 1 << 12;

/// Children of a node, but for the last level.
const FAN_OUT: u64 = 16;

/// Nodes in an offer.
const MAX_TOP_NODES: u64 = 256;
