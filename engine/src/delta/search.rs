//! The search: which parts of the source are in the basis, in one pass over the source.
//!
//! Tried in this order at each position: the block that follows the last match (files change in
//! place, or shift as a whole); the block at the same offset of the basis; then every position, by
//! weak sum, up to the next block that is known to match at its own offset. Blocks at their own
//! offset are compared by the values that the whole-file sum needs anyway, so unchanged data is
//! hashed once and never rolled over. Wasted hashing is bounded: see [`FALSE_ALARM_ALLOWANCE`].

use std::io::{self, Read};
use std::ops::{ControlFlow, Deref};

use super::emit::{DiffSummary, Emitter, Sink};
use super::index::IndexedSignature;
use super::ops::Op;
use super::roll::{SPARSE_STRIDE, Stretch, scan};
use super::tree::{TreeHasher, block_value, block_values};
use super::weak::weak_sum;
use super::window::{Window, read_full};
use crate::page_buf::PageBuf;

/// Searches `source`, read to its end, for the blocks of a basis, and passes the ops that rebuild
/// it to `sink`.
///
/// The ops follow from the bytes alone, not from how the reader splits them. Adjacent copies arrive
/// merged; no op is empty. Holds 256 KiB of the source, or 16 blocks up to 4 MiB, or four blocks,
/// whichever is most. Errors are the reader's and the sink's.
///
/// Where nothing has matched for 32 blocks, matches are looked for in a quarter of the positions,
/// such that four blocks in a row are always found: what may be missed are single blocks, a few
/// percent of the source at most.
pub fn diff<R: Read>(
    source: R,
    signature: &IndexedSignature,
    sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
) -> io::Result<DiffSummary> {
    let mut search = Search::new(source, u64::MAX, signature, Emitter::default());
    while search.step(sink)? {}
    search.finish(sink)
}

/// As [`diff`] without a basis: literals and zero runs only.
pub fn whole<R: Read>(
    source: R,
    sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
) -> io::Result<DiffSummary> {
    let mut whole = Whole::new(source);
    while whole.step(sink)? {}
    whole.finish(sink)
}

/// Makes the ops of [`whole`] piece by piece.
pub(super) struct Whole<R> {
    source: R,
    emitter: Emitter,
    hasher: blake3::Hasher,
    buffer: PageBuf,
}

impl<R: Read> Whole<R> {
    pub(super) fn new(source: R) -> Self {
        Whole {
            source,
            emitter: Emitter::default(),
            hasher: blake3::Hasher::new(),
            buffer: PageBuf::with_len(MIN_WHOLE_BUFFER_LEN),
        }
    }

    /// Reads once; `false` at the end.
    pub(super) fn step(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        if self.hasher.count() > 0 {
            self.buffer.resize(WINDOW_LEN);
        }
        let filled = read_full(&mut self.source, &mut self.buffer)?;
        let read = self.buffer.get(..filled).unwrap_or_default();
        self.hasher.update(read);
        self.emitter.new_bytes(read, sink)?;
        Ok(filled == self.buffer.len())
    }

    pub(super) fn finish(&mut self, sink: &mut Sink<'_>) -> io::Result<DiffSummary> {
        self.emitter.finish(self.hasher.finalize(), sink)
    }
}

/// True if any window of `bytes` is a block of the basis.
pub(super) fn has_match(bytes: &[u8], signature: &IndexedSignature) -> bool {
    let block_len = signature.block_len().as_usize();
    let whole = Stretch {
        bytes,
        dense_len: usize::MAX,
        goes_on: false,
    };
    let found = scan(&whole, block_len, signature.filter(), |at, weak| {
        let window = bytes.get(at..at + block_len).unwrap_or_default();
        let is_match =
            |block: u64| signature.has_value(block, &block_value(block * block_len as u64, window));
        if signature.candidates(weak).any(is_match) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    matches!(found, ControlFlow::Break(()))
}

/// Makes the ops of [`diff`] piece by piece.
pub(super) struct Search<S, R> {
    signature: S,
    emitter: Emitter,
    window: Window<R>,
    tree: TreeHasher,
    block_len: u64,
    /// Whether the source is a whole file, to be summed and compared with the basis in place.
    may_be_in_place: bool,
    /// Bytes that were emitted before this search.
    emitted_before: u64,
    /// For each whole block of the source in the window, whether the basis has it at the same
    /// offset.
    in_place: Vec<bool>,
    /// Number of the source block that `in_place` starts with.
    first_block: u64,
    /// Source offset up to which blocks are hashed.
    hashed: u64,
    /// Source offset up to which ops are emitted or pending.
    done: u64,
    /// Search position; what lies between `done` and here did not match so far.
    position: u64,
    /// The basis block expected at the end of the last match.
    expected: u64,
    /// Full blocks matched one after the other, up to the last match.
    run: u64,
    /// Source offset up to which the expected blocks are known to match.
    verified: u64,
    /// Source offset from which on only some positions are looked at.
    dense_until: u64,
    /// Bytes before the search position that may still turn out to match.
    held_back: u64,
}

impl<S: Deref<Target = IndexedSignature>, R: Read> Search<S, R> {
    /// For a source of at most `source_len` bytes, whose ops follow those that `emitter` has had.
    pub(super) fn new(source: R, source_len: u64, signature: S, emitter: Emitter) -> Self {
        let block_len = signature.block_len().as_usize();
        let sparse_len = 4 * SPARSE_STRIDE * block_len;
        let capacity = sparse_len
            .min(MAX_SPARSE_WINDOW_LEN)
            .max(4 * block_len)
            .max(WINDOW_LEN);
        let is_sparse = sparse_len <= capacity;
        // With room for a byte more than there is, the first read meets the end.
        let needed = usize::try_from(source_len.saturating_add(1)).unwrap_or(usize::MAX);
        let block_len = block_len as u64;
        Self {
            signature,
            emitted_before: emitter.source_len(),
            emitter,
            window: Window::new(source, capacity.min(needed)),
            tree: TreeHasher::default(),
            block_len,
            may_be_in_place: true,
            in_place: Vec::new(),
            first_block: 0,
            hashed: 0,
            done: 0,
            position: 0,
            expected: 0,
            run: 0,
            verified: 0,
            dense_until: if is_sparse {
                DENSE_BLOCKS * block_len
            } else {
                u64::MAX
            },
            held_back: if is_sparse {
                (SPARSE_STRIDE as u64 - 1) * block_len
            } else {
                0
            },
        }
    }

    /// The same for a source none of whose bytes are in place in the basis.
    pub(super) fn new_gap(source: R, source_len: u64, signature: S, emitter: Emitter) -> Self {
        Self {
            may_be_in_place: false,
            expected: NO_BLOCK,
            ..Self::new(source, source_len, signature, emitter)
        }
    }

    /// Reads on, and searches until more has to be read; `false` at the end.
    pub(super) fn step(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        self.refill(sink)?;
        loop {
            let held = self.window.end() - self.position;
            // Windows side by side need two block lengths.
            if held < 2 * self.block_len && !self.window.ended() {
                return Ok(true);
            } else if held == 0 {
                self.flush_new(self.position, sink)?;
                return Ok(false);
            } else if let Some((block, len)) = self.match_here() {
                self.take_match(self.position, block, len, sink)?;
            } else {
                self.search_gap(sink)?;
            }
        }
    }

    pub(super) fn finish(&mut self, sink: &mut Sink<'_>) -> io::Result<DiffSummary> {
        let tree = std::mem::take(&mut self.tree);
        self.emitter.finish(tree.finish(), sink)
    }

    /// For what follows the source.
    pub(super) fn into_emitter(self) -> Emitter {
        self.emitter
    }

    /// Reads on, dropping what is done with, and hashes the blocks that became complete.
    fn refill(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        let settled = if self.position > self.dense_until {
            self.position - self.held_back.min(self.position)
        } else {
            self.position
        };
        self.flush_new(settled, sink)?;
        let keep_from = self.done.min(self.hashed) / self.block_len;
        let dropped = usize::try_from(keep_from - self.first_block).unwrap_or(usize::MAX);
        self.in_place.drain(..dropped.min(self.in_place.len()));
        self.first_block = keep_from;
        self.window.refill(keep_from * self.block_len)?;
        if self.may_be_in_place {
            self.hash_blocks();
        } else {
            self.hashed = self.window.end();
        }
        Ok(())
    }

    fn hash_blocks(&mut self) {
        let (end, ended) = (self.window.end(), self.window.ended());
        let full_end = end / self.block_len * self.block_len;
        if self.hashed < full_end {
            let blocks = self.window.bytes(self.hashed, full_end);
            let (mut values, mut sums) = (Vec::new(), Vec::new());
            let block_len = self.signature.block_len().as_usize();
            block_values(self.hashed, blocks, block_len, &mut values);
            self.signature.key().strong_all(&values, &mut sums);
            for (sum, number) in sums.iter().zip(self.hashed / self.block_len..) {
                let is_full = self.signature.len_of(number) == self.block_len;
                self.in_place
                    .push(is_full && self.signature.has_strong(number, sum));
            }
            self.tree.push_all(&values);
            self.hashed = full_end;
        }
        if ended && self.hashed < end {
            let short = self.window.bytes(self.hashed, end);
            let value = block_value(self.hashed, short);
            let number = self.hashed / self.block_len;
            let same_len = self.signature.len_of(number) == short.len() as u64;
            self.in_place
                .push(same_len && self.signature.has_value(number, &value));
            self.tree.push(value);
            self.hashed = end;
        }
        if ended && end <= self.block_len && end > 0 {
            self.tree.only_block(self.window.bytes(0, end));
        }
    }

    /// The block that matches at the search position without any look-up, and its length.
    fn match_here(&mut self) -> Option<(u64, u64)> {
        if self.position < self.verified {
            return Some((self.expected, self.block_len));
        }
        if self.is_in_place(self.position) {
            let number = self.position / self.block_len;
            if self.expected == number || !self.continues(self.position, self.expected) {
                return Some((number, self.signature.len_of(number)));
            }
        }
        let known_to_differ = self.may_be_in_place
            && self.expected * self.block_len == self.position
            && self.signature.len_of(self.expected) == self.block_len;
        if known_to_differ {
            return None;
        }
        if self.run > 0 {
            self.verified = self.verified_end();
        }
        if self.position < self.verified || self.continues(self.position, self.expected) {
            return Some((self.expected, self.signature.len_of(self.expected)));
        }
        None
    }

    /// Source offset up to which the source goes on with the expected blocks. Looks ahead by as
    /// many blocks as have matched in a row, so that they are hashed side by side and little is
    /// hashed in vain.
    fn verified_end(&self) -> u64 {
        let (signature, block_len) = (&*self.signature, self.block_len);
        let ahead = self.run.min((MAX_AHEAD_LEN / block_len).max(1)) * block_len;
        let bytes = self.window.bytes(self.position, self.position + ahead);
        let len = signature.block_len().as_usize();
        let alike = bytes.chunks_exact(len).zip(self.expected..);
        let alike = alike.take_while(|(block, number)| {
            signature.len_of(*number) == block_len && signature.has_weak(*number, weak_sum(block))
        });
        let bytes = bytes.get(..alike.count() * len).unwrap_or_default();
        let (mut values, mut sums) = (Vec::new(), Vec::new());
        block_values(self.expected * block_len, bytes, len, &mut values);
        signature.key().strong_all(&values, &mut sums);
        let equal = sums.iter().zip(self.expected..);
        let equal = equal.take_while(|(sum, number)| signature.has_strong(*number, sum));
        self.position + equal.count() as u64 * block_len
    }

    /// True if the source has basis block `number` at `position`.
    fn continues(&self, position: u64, number: u64) -> bool {
        let len = self.signature.len_of(number);
        let bytes = self.window.bytes(position, position.saturating_add(len));
        len > 0
            && bytes.len() as u64 == len
            && self.signature.has_weak(number, weak_sum(bytes))
            && self
                .signature
                .has_value(number, &block_value(number * self.block_len, bytes))
    }

    fn is_in_place(&self, position: u64) -> bool {
        let number = position / self.block_len;
        let index = usize::try_from(number - self.first_block).unwrap_or(usize::MAX);
        position.is_multiple_of(self.block_len) && self.in_place.get(index) == Some(&true)
    }

    /// Searches from the position, where nothing matches, up to the next block that is in place, or
    /// as far as the bytes at hand go.
    fn search_gap(&mut self, sink: &mut Sink<'_>) -> io::Result<()> {
        let next_in_place = self.next_in_place();
        let gap_end = next_in_place.unwrap_or(self.window.end());
        let goes_on = next_in_place.is_none() && !self.window.ended();
        let reached = match self.look_up(gap_end, goes_on) {
            ControlFlow::Break((position, block)) => return self.take_run(position, block, sink),
            ControlFlow::Continue(reached) => reached,
        };
        if next_in_place.is_none()
            && self.window.ended()
            && let Some((position, block, len)) = self.short_block_at_end()
        {
            return self.take_match(position, block, len, sink);
        }
        // If the source goes on, windows that start later need bytes that are not read yet.
        self.position = if goes_on { reached } else { gap_end };
        Ok(())
    }

    /// Offset of the first block after the search position that the basis has at the same offset.
    fn next_in_place(&self) -> Option<u64> {
        let after = self.position / self.block_len + 1;
        let skip = usize::try_from(after - self.first_block).unwrap_or(usize::MAX);
        let later = self.in_place.get(skip..).unwrap_or_default();
        let found = later.iter().position(|&in_place| in_place)?;
        Some((after + found as u64) * self.block_len)
    }

    /// The first window between the search position and `gap_end` that a block of the basis
    /// matches, or else how far the search got.
    fn look_up(&mut self, gap_end: u64, goes_on: bool) -> ControlFlow<(u64, u64), u64> {
        let (signature, start, block_len) = (&*self.signature, self.position, self.block_len);
        let (before, counts) = (self.emitted_before, &mut self.emitter.summary);
        let last = start.max((gap_end + 1).saturating_sub(block_len));
        if !signature.has_full_blocks()
            || is_hopeless(counts.false_alarms, before + start, block_len)
        {
            return ControlFlow::Continue(last);
        }
        let dense_len = self.dense_until.saturating_sub(start);
        let stretch = Stretch {
            bytes: self.window.bytes(start, gap_end),
            dense_len: usize::try_from(dense_len).unwrap_or(usize::MAX),
            goes_on,
        };
        let window_len = signature.block_len().as_usize();
        let scanned = scan(&stretch, window_len, signature.filter(), |at, weak| {
            let window = stretch.bytes.get(at..at + window_len).unwrap_or_default();
            let mut candidates = signature.candidates(weak).peekable();
            counts.hash_hits += u64::from(candidates.peek().is_some());
            for block in candidates {
                if signature.has_value(block, &block_value(block * block_len, window)) {
                    return ControlFlow::Break(Some((start + at as u64, block)));
                }
                counts.false_alarms += 1;
            }
            if is_hopeless(counts.false_alarms, before + start + at as u64, block_len) {
                return ControlFlow::Break(None);
            }
            ControlFlow::Continue(())
        });
        match scanned {
            ControlFlow::Break(Some(found)) => ControlFlow::Break(found),
            ControlFlow::Break(None) => ControlFlow::Continue(last),
            ControlFlow::Continue(reached) => ControlFlow::Continue(start + reached as u64),
        }
    }

    /// The short last block of the basis, if the source ends with it.
    fn short_block_at_end(&self) -> Option<(u64, u64, u64)> {
        let number = self.signature.basis_len() / self.block_len;
        let len = self.signature.len_of(number);
        let position = self.window.end().checked_sub(len)?;
        (position >= self.position && self.continues(position, number))
            .then_some((position, number, len))
    }

    /// Takes the match of a full block that a look-up found, with the blocks before it that match
    /// too: the look-up may have passed them by.
    fn take_run(&mut self, position: u64, block: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        let block_len = self.block_len;
        let mut count = 1;
        while let Some(before) = block.checked_sub(count)
            && let Some(start) = position.checked_sub(count * block_len)
            && start >= self.done
            && self.continues(start, before)
        {
            count += 1;
        }
        let more = count - 1;
        self.take_match(position - more * block_len, block - more, block_len, sink)?;
        for block in block - more + 1..=block {
            self.take_match(self.position, block, block_len, sink)?;
        }
        Ok(())
    }

    fn take_match(
        &mut self,
        position: u64,
        block: u64,
        len: u64,
        sink: &mut Sink<'_>,
    ) -> io::Result<()> {
        self.flush_new(position, sink)?;
        if block != self.expected || position != self.position {
            (self.run, self.verified) = (0, 0);
        }
        self.run += 1;
        self.emitter.copy(block * self.block_len, len, sink)?;
        self.position = position + len;
        self.done = self.position;
        self.expected = block + 1;
        if self.held_back > 0 {
            self.dense_until = self.position + DENSE_BLOCKS * self.block_len;
        }
        Ok(())
    }

    /// Emits what is not emitted yet before source offset `end`: nothing there matches.
    fn flush_new(&mut self, end: u64, sink: &mut Sink<'_>) -> io::Result<()> {
        if end > self.done {
            let new = self.window.bytes(self.done, end);
            self.emitter.new_bytes(new, sink)?;
            self.done = end;
        }
        Ok(())
    }
}

/// Bounds the work that weak sums without a match may cause (a peer can craft them, data hardly
/// can).
fn is_hopeless(false_alarms: u64, searched: u64, block_len: u64) -> bool {
    false_alarms.saturating_mul(block_len) > searched.saturating_add(FALSE_ALARM_ALLOWANCE)
}

/// The number of no block.
const NO_BLOCK: u64 = u64::MAX;

/// False alarms may cost as much hashing as the source is long plus this many bytes; beyond that,
/// only blocks in sequence and in place are matched, and the search stays linear.
const FALSE_ALARM_ALLOWANCE: u64 = 64 << 20;

/// Bytes of the source held: enough for long reads, little enough for the second-level cache.
pub(super) const WINDOW_LEN: usize = 1 << 18;

/// Blocks after a match within which every position is looked at.
const DENSE_BLOCKS: u64 = 32;

/// Bytes of the source hashed ahead where blocks match in a row.
const MAX_AHEAD_LEN: u64 = 1 << 16;

/// Bytes of the source held so that positions can be left out with large blocks.
const MAX_SPARSE_WINDOW_LEN: usize = 1 << 22;

/// First read of [`whole`]: most files are smaller.
const MIN_WHOLE_BUFFER_LEN: usize = 1 << 16;
