//! The search: which parts of the source are in the basis, in one pass over the source.
//!
//! Tried in this order at each position: the block that follows the last match (files change in
//! place, or shift as a whole); the block at the same offset of the basis; then every position, by
//! weak sum, up to the next block that is known to match at its own offset. Blocks at their own
//! offset are compared by the values that the whole-file sum needs anyway, so unchanged data is
//! hashed once and never rolled over. Wasted hashing is bounded: see [`FALSE_ALARM_ALLOWANCE`].

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::emit::{DiffSummary, Emitter};
use super::index::IndexedSignature;
use super::ops::Op;
use super::roll::scan;
use super::tree::{TreeHasher, block_value};
use super::weak::weak_sum;
use super::window::{Window, read_full};

/// Searches `source`, read to its end, for the blocks of a basis, and passes the ops that rebuild
/// it to `sink`.
///
/// The ops follow from the bytes alone, not from how the reader splits them. Adjacent copies arrive
/// merged; no op is empty. Holds 1 MiB of the source or four blocks, whichever is more. Errors are
/// the reader's and the sink's.
pub fn diff<R: Read>(
    source: R,
    signature: &IndexedSignature,
    sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
) -> io::Result<DiffSummary> {
    let capacity = WINDOW_LEN.max(4 * signature.block_len().as_usize());
    let search = Search::new(source, capacity, signature, Emitter::new(sink));
    let (emitter, tree) = search.run()?;
    emitter.finish(tree.finish())
}

/// As [`diff`] without a basis: literals and zero runs only.
pub fn whole<R: Read>(
    mut source: R,
    sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
) -> io::Result<DiffSummary> {
    let mut emitter = Emitter::new(sink);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; MIN_WHOLE_BUFFER_LEN];
    loop {
        let filled = read_full(&mut source, &mut buffer)?;
        let read = buffer.get(..filled).unwrap_or_default();
        hasher.update(read);
        emitter.new_bytes(read)?;
        if filled < buffer.len() {
            return emitter.finish(hasher.finalize());
        }
        if buffer.len() < WINDOW_LEN {
            buffer.resize(WINDOW_LEN, 0);
        }
    }
}

/// Searches `len` bytes of a source that `reader` yields, none of which are in place in the basis,
/// and emits them.
pub(super) fn search_gap<'s, R: Read>(
    reader: R,
    len: u64,
    signature: &'s IndexedSignature,
    emitter: Emitter<'s>,
) -> io::Result<Emitter<'s>> {
    let capacity = WINDOW_LEN.max(4 * signature.block_len().as_usize());
    // With room for a byte more than there is, the first read meets the end.
    let needed = usize::try_from(len + 1).unwrap_or(usize::MAX);
    let mut search = Search::new(reader, capacity.min(needed), signature, emitter);
    search.may_be_in_place = false;
    search.expected = NO_BLOCK;
    Ok(search.run()?.0)
}

/// True if any window of `bytes` is a block of the basis.
pub(super) fn has_match(bytes: &[u8], signature: &IndexedSignature) -> bool {
    let block_len = signature.block_len().as_usize();
    let found = scan(bytes, block_len, signature.filter(), |at, weak| {
        let window = bytes.get(at..at + block_len).unwrap_or_default();
        let is_match =
            |block: u64| signature.has_value(block, &block_value(block * block_len as u64, window));
        if signature.candidates(weak).any(is_match) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    found.is_some()
}

struct Search<'s, R> {
    signature: &'s IndexedSignature,
    emitter: Emitter<'s>,
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
    /// Search position; what lies between `done` and here is new.
    position: u64,
    /// The basis block expected at the end of the last match.
    expected: u64,
}

impl<'s, R: Read> Search<'s, R> {
    fn new(
        source: R,
        capacity: usize,
        signature: &'s IndexedSignature,
        emitter: Emitter<'s>,
    ) -> Self {
        Self {
            signature,
            emitted_before: emitter.source_len(),
            emitter,
            window: Window::new(source, capacity),
            tree: TreeHasher::default(),
            block_len: u64::from(signature.block_len().get()),
            may_be_in_place: true,
            in_place: Vec::new(),
            first_block: 0,
            hashed: 0,
            done: 0,
            position: 0,
            expected: 0,
        }
    }

    fn run(mut self) -> io::Result<(Emitter<'s>, TreeHasher)> {
        self.refill()?;
        loop {
            let held = self.window.end() - self.position;
            if held < self.block_len && !self.window.ended() {
                self.refill()?;
            } else if held == 0 {
                break;
            } else if let Some((block, len)) = self.match_here() {
                self.take_match(self.position, block, len)?;
            } else {
                self.search_gap()?;
            }
        }
        self.flush_new()?;
        Ok((self.emitter, self.tree))
    }

    /// Reads on, dropping what is done with, and hashes the blocks that became complete.
    fn refill(&mut self) -> io::Result<()> {
        self.flush_new()?;
        let keep_from = (self.position / self.block_len).min(self.hashed / self.block_len);
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
        while self.hashed < end && (ended || end - self.hashed >= self.block_len) {
            let block = self.window.bytes(self.hashed, self.hashed + self.block_len);
            let value = block_value(self.hashed, block);
            let number = self.hashed / self.block_len;
            let same_len = self.signature.len_of(number) == block.len() as u64;
            self.in_place
                .push(same_len && self.signature.has_value(number, &value));
            self.tree.push(value);
            if self.hashed == 0 && ended && block.len() as u64 == end {
                self.tree.only_block(block);
            }
            self.hashed += block.len() as u64;
        }
    }

    /// The block that matches at the search position without any look-up, and its length.
    fn match_here(&self) -> Option<(u64, u64)> {
        if self.is_in_place(self.position) {
            let number = self.position / self.block_len;
            if self.expected == number || !self.continues(self.position, self.expected) {
                return Some((number, self.signature.len_of(number)));
            }
        }
        let known_to_differ = self.may_be_in_place
            && self.expected * self.block_len == self.position
            && self.signature.len_of(self.expected) == self.block_len;
        if !known_to_differ && self.continues(self.position, self.expected) {
            return Some((self.expected, self.signature.len_of(self.expected)));
        }
        None
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
    fn search_gap(&mut self) -> io::Result<()> {
        let next_in_place = self.next_in_place();
        let gap_end = next_in_place.unwrap_or(self.window.end());
        if let Some((position, block)) = self.look_up(gap_end) {
            return self.take_match(position, block, self.block_len);
        }
        if next_in_place.is_none()
            && self.window.ended()
            && let Some((position, block, len)) = self.short_block_at_end()
        {
            return self.take_match(position, block, len);
        }
        self.position = match next_in_place {
            Some(start) => start,
            None if self.window.ended() => gap_end,
            // Windows that start later need bytes that are not read yet.
            None => self
                .position
                .max((gap_end + 1).saturating_sub(self.block_len)),
        };
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
    /// matches.
    fn look_up(&mut self, gap_end: u64) -> Option<(u64, u64)> {
        let (signature, start, block_len) = (self.signature, self.position, self.block_len);
        let (before, counts) = (self.emitted_before, &mut self.emitter.summary);
        if !signature.has_full_blocks()
            || is_hopeless(counts.false_alarms, before + start, block_len)
        {
            return None;
        }
        let bytes = self.window.bytes(start, gap_end);
        let window_len = signature.block_len().as_usize();
        scan(bytes, window_len, signature.filter(), |at, weak| {
            let window = bytes.get(at..at + window_len).unwrap_or_default();
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
        })
        .flatten()
    }

    /// The short last block of the basis, if the source ends with it.
    fn short_block_at_end(&self) -> Option<(u64, u64, u64)> {
        let number = self.signature.basis_len() / self.block_len;
        let len = self.signature.len_of(number);
        let position = self.window.end().checked_sub(len)?;
        (position >= self.position && self.continues(position, number))
            .then_some((position, number, len))
    }

    fn take_match(&mut self, position: u64, block: u64, len: u64) -> io::Result<()> {
        self.position = position;
        self.flush_new()?;
        self.emitter.copy(block * self.block_len, len)?;
        self.position = position + len;
        self.done = self.position;
        self.expected = block + 1;
        Ok(())
    }

    fn flush_new(&mut self) -> io::Result<()> {
        self.emitter
            .new_bytes(self.window.bytes(self.done, self.position))?;
        self.done = self.position;
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

/// Bytes of the source held: enough for long reads, little enough for the cache.
pub(super) const WINDOW_LEN: usize = 1 << 20;

/// First read of [`whole`]: most files are smaller.
const MIN_WHOLE_BUFFER_LEN: usize = 1 << 16;
