//! From matches and new bytes to ops: merges copies, splits literals and zero runs, and counts.

use std::io;

use super::ops::{MAX_LITERAL_LEN, MERGED_COPY_LEN, Op};
use super::zero::split_zero_runs;

/// What a search found out about the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffSummary {
    /// Length of the source in bytes.
    pub source_len: u64,
    /// BLAKE3 of the source; with holes in the ops, of what is not in them, and of the holes.
    pub sum: blake3::Hash,
    /// Bytes emitted as literals.
    pub literal_bytes: u64,
    /// Bytes emitted as copies.
    pub matched_bytes: u64,
    /// Bytes emitted as zero runs or holes.
    pub zero_bytes: u64,
    /// Positions whose weak sum a block of the basis has.
    pub hash_hits: u64,
    /// Strong sums computed for such positions that turned out to differ.
    pub false_alarms: u64,
}

/// Takes ops, in order.
pub(crate) type Sink<'s> = dyn FnMut(Op<'_>) -> io::Result<()> + 's;

/// Merges copies, splits what is new into literals and zero runs, and counts.
pub(super) struct Emitter {
    pending: Option<(u64, u64)>,
    pub(super) summary: DiffSummary,
}

impl Default for Emitter {
    fn default() -> Self {
        let summary = DiffSummary {
            source_len: 0,
            sum: blake3::Hash::from_bytes([0; 32]),
            literal_bytes: 0,
            matched_bytes: 0,
            zero_bytes: 0,
            hash_hits: 0,
            false_alarms: 0,
        };
        let pending = None;
        Self { pending, summary }
    }
}

impl Emitter {
    pub(super) fn copy(&mut self, offset: u64, len: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        self.summary.matched_bytes += len;
        match &mut self.pending {
            Some((start, pending_len)) if *start + *pending_len == offset => *pending_len += len,
            _ => {
                self.flush_copy(sink)?;
                self.pending = Some((offset, len));
            }
        }
        match self.pending {
            Some((_, len)) if len >= MERGED_COPY_LEN => self.flush_copy(sink),
            _ => Ok(()),
        }
    }

    pub(super) fn new_bytes(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.flush_copy(sink)?;
        let summary = &mut self.summary;
        split_zero_runs(bytes, |range, is_zero| {
            let run = bytes.get(range).unwrap_or_default();
            let len = run.len() as u64;
            if is_zero {
                summary.zero_bytes += len;
                return sink(Op::Zero { len });
            }
            summary.literal_bytes += len;
            run.chunks(MAX_LITERAL_LEN)
                .try_for_each(|literal| sink(Op::Literal(literal)))
        })
    }

    pub(super) fn hole(&mut self, len: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        self.flush_copy(sink)?;
        self.summary.zero_bytes += len;
        sink(Op::Hole { len })
    }

    /// Bytes of the source that ops were made of.
    pub(super) fn source_len(&self) -> u64 {
        let DiffSummary {
            literal_bytes,
            matched_bytes,
            zero_bytes,
            ..
        } = self.summary;
        literal_bytes + matched_bytes + zero_bytes
    }

    fn flush_copy(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        match self.pending.take() {
            Some((offset, len)) => sink(Op::Copy { offset, len }),
            None => Ok(()),
        }
    }

    /// To be called once, when nothing follows.
    pub(super) fn finish(
        &mut self,
        sum: blake3::Hash,
        sink: &mut Sink<'_>,
    ) -> io::Result<DiffSummary> {
        self.flush_copy(sink)?;
        let source_len = self.source_len();
        Ok(DiffSummary {
            source_len,
            sum,
            ..self.summary
        })
    }
}
