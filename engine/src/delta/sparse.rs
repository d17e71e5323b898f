//! Sparse files: what the file system keeps as a hole costs neither reading nor summing, on either
//! side, however long it is.
//!
//! BLAKE3 numbers its chunks, so that zeros have another value at each place: their sum cannot be
//! had without going through them. A hole therefore counts in the sum by its place and its length,
//! which prove as much: the receiver makes a hole of that length there, and sums what it made.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::emit::{DiffSummary, Emitter, Sink};
use crate::page_buf::PageBuf;
use crate::work;

/// Shorter holes are read like data.
pub(super) const HOLE_LEN_MIN: u64 = 1 << 20;

/// Bytes read at once.
const READ_LEN: usize = 1 << 18;

/// Holes are summed as zeros where files are compared in place, up to this many bytes and this many
/// times what there is of data.
const SUMMED_HOLES_LEN: u64 = 1 << 30;
const SUMMED_HOLES_SHARE: u64 = 4;

/// Sums a file some of whose zeros are holes: without any, to its plain BLAKE3.
#[derive(Clone, Debug, Default)]
pub(crate) struct HoleSummer(Option<Box<blake3::Hasher>>);

impl HoleSummer {
    /// A hole of `len` bytes, `offset` bytes into the file.
    pub(crate) fn hole(&mut self, offset: u64, len: u64) {
        let new = || Box::new(blake3::Hasher::new_keyed(&[0; 32]));
        let hasher = self.0.get_or_insert_with(new);
        hasher.update(&offset.to_le_bytes());
        hasher.update(&len.to_le_bytes());
    }

    /// The sum of the file; `rest` is the BLAKE3 of all that is not in holes.
    pub(crate) fn finish(self, rest: blake3::Hash) -> blake3::Hash {
        match self.0 {
            Some(mut hasher) => hasher.update(rest.as_bytes()).finalize(),
            None => rest,
        }
    }
}

/// Makes ops as [`whole`](super::whole) does, piece by piece, of the first `len` bytes of a file,
/// of which holes are not read.
pub(super) struct WholeFile {
    file: Arc<File>,
    at: u64,
    /// Up to where there is data.
    data_end: u64,
    len: u64,
    may_have_holes: bool,
    buffer: PageBuf,
    hasher: blake3::Hasher,
    holes: HoleSummer,
    emitter: Emitter,
}

impl WholeFile {
    pub(super) fn new(file: Arc<File>, len: u64) -> io::Result<Self> {
        let may_have_holes = holes_len(&file.metadata()?) >= HOLE_LEN_MIN;
        let read_len = usize::try_from(len).unwrap_or(READ_LEN).min(READ_LEN);
        Ok(WholeFile {
            file,
            at: 0,
            data_end: if may_have_holes { 0 } else { len },
            len,
            may_have_holes,
            buffer: PageBuf::with_len(read_len),
            hasher: blake3::Hasher::new(),
            holes: HoleSummer::default(),
            emitter: Emitter::default(),
        })
    }

    /// Passes a hole by, or reads once; `false` at the end.
    pub(super) fn step(&mut self, sink: &mut Sink<'_>) -> io::Result<bool> {
        if self.at == self.data_end && self.at < self.len && self.may_have_holes {
            let data = next_data(&self.file, self.at, self.len);
            self.data_end = data.end;
            let hole_len = data.start - self.at;
            if hole_len >= HOLE_LEN_MIN {
                self.holes.hole(self.at, hole_len);
                self.emitter.hole(hole_len, sink)?;
                self.at = data.start;
            }
        }
        if self.at == self.len {
            return Ok(false);
        }
        let room = usize::try_from(self.data_end - self.at).unwrap_or(usize::MAX);
        let room = self.buffer.get_mut(..room.min(READ_LEN));
        let room = room.unwrap_or_default();
        let read = match self.file.read_at(room, self.at) {
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        work::did(read as u64);
        let bytes = room.get(..read).unwrap_or_default();
        self.hasher.update(bytes);
        self.emitter.new_bytes(bytes, sink)?;
        self.at += read as u64;
        // What should be there and is not has been cut off meanwhile.
        Ok(read > 0 && self.at < self.len)
    }

    pub(super) fn finish(&mut self, sink: &mut Sink<'_>) -> io::Result<DiffSummary> {
        let holes = std::mem::take(&mut self.holes);
        self.emitter
            .finish(holes.finish(self.hasher.finalize()), sink)
    }
}

/// The next data from `at` on. A file system that does not tell has no holes.
fn next_data(file: &File, at: u64, len: u64) -> Range<u64> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) if start >= at => start.min(len),
        Err(Errno::NXIO) => len,
        _ => return at..len,
    };
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(len);
    start..if end > start { end.min(len) } else { len }
}

fn holes_len(metadata: &Metadata) -> u64 {
    metadata.len().saturating_sub(data_len(metadata))
}

fn data_len(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// Whether a file is so much of a hole that to sum it as zeros would cost more than to send its
/// data.
pub(crate) fn is_mostly_hole(metadata: &Metadata) -> bool {
    let data = data_len(metadata).saturating_mul(SUMMED_HOLES_SHARE);
    holes_len(metadata) > data.saturating_add(SUMMED_HOLES_LEN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt;

    use super::super::{Op, OpDecoder, OpEncoder, Patcher, whole};
    use super::*;

    /// A file of that length with this at these places.
    fn sparse(len: u64, data: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        for (at, bytes) in data {
            file.write_all_at(bytes, *at).unwrap();
        }
        file
    }

    fn encoded(file: &File, len: u64) -> (Vec<u8>, DiffSummary) {
        let (mut encoder, mut ops) = (OpEncoder::default(), Vec::new());
        let mut sink = |op: Op<'_>| {
            encoder.encode(op, &mut ops);
            Ok(())
        };
        let file = Arc::new(file.try_clone().unwrap());
        let mut whole = WholeFile::new(file, len).unwrap();
        while whole.step(&mut sink).unwrap() {}
        let summary = whole.finish(&mut sink).unwrap();
        (ops, summary)
    }

    #[test]
    fn holes_are_told_by_their_length_and_come_out_as_zeros() {
        let hole = 3 * HOLE_LEN_MIN;
        for (len, data) in [
            (0, &[][..]),
            (10, &[(0, &b"0123456789"[..])]),
            (hole, &[]),
            (hole + 7, &[(hole, &b"the end"[..])]),
            (2 * hole, &[(0, &b"begin"[..]), (hole - 3, b"middle")]),
            (HOLE_LEN_MIN / 2, &[]),
        ] {
            let file = sparse(len, data);
            let (ops, summary) = encoded(&file, len);
            assert_eq!(summary.source_len, len);
            let mut patcher = Patcher::new(&b""[..], 0, Vec::new(), len);
            let (mut decoder, mut input) = (OpDecoder::default(), &ops[..]);
            let mut has_hole = false;
            while let Some(op) = decoder.next(&mut input).unwrap() {
                has_hole |= matches!(op, Op::Hole { .. });
                patcher.apply(op).unwrap();
            }
            let (made, result) = patcher.finish().unwrap();
            assert_eq!((made.sum, made.len), (summary.sum, len));
            let mut expected = vec![0; usize::try_from(len).unwrap()];
            file.read_exact_at(&mut expected, 0).unwrap();
            assert!(result == expected);
            let plain = whole(&expected[..], &mut |_| Ok(())).unwrap();
            assert_eq!(plain.sum == summary.sum, !has_hole);
        }
    }

    #[test]
    fn the_longest_hole_is_one_op() {
        let len = i64::MAX as u64 / 4;
        let file = tempfile::tempfile().unwrap();
        if file.set_len(len).is_err() {
            // No file is that long here; the largest that all file systems have is.
            file.set_len(1 << 40).unwrap();
        }
        let len = file.metadata().unwrap().len();
        let (ops, summary) = encoded(&file, len);
        assert_eq!((summary.zero_bytes, ops.len() < 12), (len, true));
        let mut other = HoleSummer::default();
        other.hole(0, len - 1);
        assert_ne!(other.finish(blake3::hash(b"")), summary.sum);
    }

    #[test]
    fn a_file_that_ends_early_is_told_by_its_length() {
        let file = sparse(10, &[(0, b"0123456789")]);
        assert_eq!(encoded(&file, 12).1.source_len, 10);
        assert_eq!(encoded(&file, 4).1.source_len, 4);
    }
}
