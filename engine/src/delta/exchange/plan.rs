//! What an exchange ends with: which ranges are equal in place, what to roll over the rest with,
//! and from these the ops.

use std::io::{self, Read};
use std::ops::Range;

use super::super::emit::{DiffSummary, Emitter};
use super::super::index::IndexedSignature;
use super::super::ops::Op;
use super::super::patch::Basis;
use super::super::search::{diff, has_match, search_gap, whole};
use super::ranges::{gaps, total_len};
use crate::page_buf::PageBuf;

/// How the source follows from the basis. It holds sums and ranges, no content.
#[derive(Debug)]
pub struct Plan {
    /// Joined ranges at which both files have the same bytes.
    equal: Vec<Range<u64>>,
    rolling: Option<IndexedSignature>,
    source_len: u64,
    /// The BLAKE3 of the source, if the trees were compared.
    sum: Option<blake3::Hash>,
}

impl Plan {
    pub(super) fn new(
        equal: Vec<Range<u64>>,
        rolling: Option<IndexedSignature>,
        source_len: u64,
        sum: Option<blake3::Hash>,
    ) -> Self {
        Self {
            equal,
            rolling,
            source_len,
            sum,
        }
    }

    /// True if both files are the same: there is nothing to emit, and nothing to apply.
    #[must_use]
    pub fn is_equal(&self, basis_len: u64) -> bool {
        basis_len == self.source_len && total_len(&self.equal) == basis_len
    }

    /// Bytes known to be in the basis at the same offset.
    #[must_use]
    pub fn equal_bytes(&self) -> u64 {
        total_len(&self.equal)
    }

    /// Reads of `source` what may be new, rolls over it if rolling sums were asked for, and passes
    /// the ops to `sink`.
    ///
    /// If the trees were compared, the summary's sum is that of the tree: if the source changed
    /// since, applying the ops gives another one. Otherwise the source is read whole and summed.
    /// Needs a window of about 1 MiB, or four rolling blocks.
    pub fn emit<F: Basis>(
        &self,
        source: &F,
        sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
    ) -> io::Result<DiffSummary> {
        let Some(sum) = self.sum else {
            let reader = RangeReader {
                file: source,
                range: 0..self.source_len,
            };
            return match &self.rolling {
                Some(index) => diff(reader, index, sink),
                None => whole(reader, sink),
            };
        };
        let rolling = match &self.rolling {
            Some(index) if !self.is_hopeless(source, index)? => Some(index),
            _ => None,
        };
        let mut emitter = Emitter::new(sink);
        let mut buffer = PageBuf::with_len(READ_LEN);
        let mut equal = self.equal.iter();
        let mut position = 0;
        for gap in gaps(&self.equal, self.source_len) {
            while position < gap.start
                && let Some(range) = equal.next()
            {
                emitter.copy(range.start, range.end - range.start)?;
                position = range.end;
            }
            position = gap.end;
            let len = gap.end - gap.start;
            let reader = RangeReader {
                file: source,
                range: gap,
            };
            match rolling {
                Some(index) if len >= u64::from(index.block_len().get()) => {
                    emitter = search_gap(reader, len, index, emitter)?;
                }
                _ => emitter.new_from(reader, &mut buffer)?,
            }
        }
        for range in equal {
            emitter.copy(range.start, range.end - range.start)?;
        }
        emitter.finish(sum)
    }

    /// True if short stretches from all over the gaps match nothing.
    fn is_hopeless<F: Basis>(&self, source: &F, index: &IndexedSignature) -> io::Result<bool> {
        let stretch_len = 3 * u64::from(index.block_len().get());
        let gaps: Vec<_> = gaps(&self.equal, self.source_len).collect();
        let unmatched_len = total_len(&gaps);
        if unmatched_len < 4 * SAMPLES * stretch_len {
            return Ok(false);
        }
        let mut buffer = vec![0; usize::try_from(stretch_len).unwrap_or(0)];
        let mut gaps = gaps.into_iter();
        let mut gap = gaps.next().unwrap_or_default();
        // Offset among the unmatched bytes at which `gap` starts.
        let mut gap_at = 0;
        for sample in 0..SAMPLES {
            let wanted = unmatched_len / SAMPLES * sample;
            while wanted >= gap_at + (gap.end - gap.start)
                && let Some(next) = gaps.next()
            {
                gap_at += gap.end - gap.start;
                gap = next;
            }
            let start = gap.start + (wanted - gap_at);
            let len = stretch_len.min(gap.end.saturating_sub(start));
            let stretch = buffer
                .get_mut(..usize::try_from(len).unwrap_or(0))
                .unwrap_or_default();
            source.read_exact_at(stretch, start)?;
            if has_match(stretch, index) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads one range of a file from front to back.
struct RangeReader<'a, F> {
    file: &'a F,
    range: Range<u64>,
}

impl<F: Basis> Read for RangeReader<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        self.file
            .read_exact_at(buffer.get_mut(..len).unwrap_or_default(), self.range.start)?;
        self.range.start += len as u64;
        Ok(len)
    }
}

/// Bytes of new content read at once.
const READ_LEN: usize = 1 << 18;

/// Stretches looked at before rolling over everything: a tenth of matching content is missed once
/// in a thousand times.
const SAMPLES: u64 = 64;
