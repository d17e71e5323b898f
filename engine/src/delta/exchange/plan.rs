//! What an exchange ends with: which ranges are equal in place, what to roll over the rest with,
//! and from these the ops.

use std::io::{self, Read};
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::super::emit::{DiffSummary, Emitter, Sink};
use super::super::index::IndexedSignature;
use super::super::ops::Op;
use super::super::patch::Basis;
use super::super::search::{Search, Whole, has_match};
use super::super::window::read_full;
use super::ranges::{gaps, total_len};
use crate::page_buf::PageBuf;
use crate::work;

/// How the source follows from the basis. It holds sums and ranges, no content.
#[derive(Debug)]
pub struct Plan {
    /// Joined ranges at which both files have the same bytes.
    equal: Vec<Range<u64>>,
    rolling: Option<Arc<IndexedSignature>>,
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
            rolling: rolling.map(Arc::new),
            source_len,
            sum,
        }
    }

    /// True if both files are the same: there is nothing to emit, and nothing to apply.
    #[must_use]
    pub fn is_equal(&self, basis_len: u64) -> bool {
        basis_len == self.source_len && total_len(&self.equal) == basis_len
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
        let mut planned = Planned::new(self, source)?;
        while planned.step(sink)? {}
        planned.finish(sink)
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

/// Makes the ops of a plan piece by piece.
pub(in super::super) struct Planned<P, F> {
    plan: P,
    file: F,
    /// With what to roll over gaps.
    rolling: Option<Arc<IndexedSignature>>,
    emitter: Emitter,
    buffer: PageBuf,
    /// How many of the equal ranges have been emitted, and up to where the source has.
    equal_count: usize,
    position: u64,
    stage: Stage<F>,
}

/// What is being emitted.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Stage<F> {
    /// All of the source, which is to be summed.
    Whole(Whole<RangeReader<F>>),
    Searched(Search<Arc<IndexedSignature>, RangeReader<F>>),
    /// What comes next: an equal range or a gap.
    Next,
    Gap(RangeReader<F>),
    SearchedGap(Search<Arc<IndexedSignature>, RangeReader<F>>),
}

impl<P, F> Planned<P, F>
where
    P: Deref<Target = Plan>,
    F: Deref<Target: Basis + Sized> + Clone,
{
    pub(in super::super) fn new(plan: P, file: F) -> io::Result<Self> {
        let range = 0..plan.source_len;
        let reader = RangeReader {
            file: file.clone(),
            range,
        };
        let mut rolling = plan.rolling.clone();
        let stage = match (&plan.sum, &rolling) {
            (Some(_), _) => Stage::Next,
            (None, None) => Stage::Whole(Whole::new(reader)),
            (None, Some(index)) => {
                let (index, emitter) = (Arc::clone(index), Emitter::default());
                Stage::Searched(Search::new(reader, u64::MAX, index, emitter))
            }
        };
        if let (Stage::Next, Some(index)) = (&stage, &rolling)
            && plan.is_hopeless(&*file, index)?
        {
            rolling = None;
        }
        Ok(Planned {
            plan,
            file,
            rolling,
            emitter: Emitter::default(),
            buffer: PageBuf::default(),
            equal_count: 0,
            position: 0,
            stage,
        })
    }

    /// Emits up to the next gap, or reads once; `false` at the end.
    pub(in super::super) fn step(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        match &mut self.stage {
            Stage::Whole(whole) => return whole.step(sink),
            Stage::Searched(search) => return search.step(sink),
            Stage::Next => return self.go_on(sink),
            Stage::Gap(reader) => {
                self.buffer.resize(READ_LEN);
                let filled = read_full(reader, &mut self.buffer)?;
                let new = self.buffer.get(..filled).unwrap_or_default();
                self.emitter.new_bytes(new, sink)?;
                if filled == READ_LEN {
                    return Ok(true);
                }
            }
            Stage::SearchedGap(search) => {
                if search.step(sink)? {
                    return Ok(true);
                }
            }
        }
        if let Stage::SearchedGap(search) = std::mem::replace(&mut self.stage, Stage::Next) {
            self.emitter = search.into_emitter();
        }
        Ok(true)
    }

    /// Emits equal ranges, and begins the gap that follows them.
    fn go_on(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        let equal = self.plan.equal.get(self.equal_count..).unwrap_or_default();
        for range in equal {
            if range.start > self.position {
                break;
            }
            self.emitter
                .copy(range.start, range.end - range.start, sink)?;
            (self.position, self.equal_count) = (range.end, self.equal_count + 1);
        }
        let next = self.plan.equal.get(self.equal_count);
        let gap = self.position..next.map_or(self.plan.source_len, |range| range.start);
        if gap.is_empty() {
            return Ok(false);
        }
        let gap_len = gap.end - gap.start;
        self.position = gap.end;
        let reader = RangeReader {
            file: self.file.clone(),
            range: gap,
        };
        self.stage = match &self.rolling {
            Some(index) if gap_len >= u64::from(index.block_len().get()) => {
                let (index, emitter) = (Arc::clone(index), std::mem::take(&mut self.emitter));
                Stage::SearchedGap(Search::new_gap(reader, gap_len, index, emitter))
            }
            _ => Stage::Gap(reader),
        };
        Ok(true)
    }

    pub(in super::super) fn finish(&mut self, sink: &mut Sink<'_>) -> io::Result<DiffSummary> {
        match (&mut self.stage, self.plan.sum) {
            (Stage::Whole(whole), _) => whole.finish(sink),
            (Stage::Searched(search), _) => search.finish(sink),
            (_, sum) => {
                let sum = sum.unwrap_or_else(|| blake3::hash(b""));
                self.emitter.finish(sum, sink)
            }
        }
    }
}

/// Reads one range of a file from front to back.
struct RangeReader<F> {
    file: F,
    range: Range<u64>,
}

impl<F: Deref<Target: Basis>> Read for RangeReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let room = buffer.get_mut(..len).unwrap_or_default();
        self.file.read_exact_at(room, self.range.start)?;
        work::did(len as u64);
        self.range.start += len as u64;
        Ok(len)
    }
}

/// Bytes of new content read at once.
const READ_LEN: usize = 1 << 18;

/// Stretches looked at before rolling over everything: a tenth of matching content is missed once
/// in a thousand times.
const SAMPLES: u64 = 64;
