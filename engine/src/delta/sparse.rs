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

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::emit::{DiffSummary, Emitter};
use super::ops::Op;
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

/// As [`whole`](super::whole) for the first `len` bytes of a file, of which holes are not read.
pub(crate) fn whole_file(
    file: &File,
    len: u64,
    sink: &mut dyn FnMut(Op<'_>) -> io::Result<()>,
) -> io::Result<DiffSummary> {
    let mut emitter = Emitter::new(sink);
    let (mut hasher, mut holes) = (blake3::Hasher::new(), HoleSummer::default());
    let mut buffer = PageBuf::with_len(usize::try_from(len).unwrap_or(READ_LEN).min(READ_LEN));
    let may_have_holes = holes_len(&file.metadata()?) >= HOLE_LEN_MIN;
    let mut at = 0;
    'file: while at < len {
        let mut data = at..len;
        if may_have_holes {
            data = next_data(file, at, len);
            let hole_len = data.start - at;
            if hole_len >= HOLE_LEN_MIN {
                holes.hole(at, hole_len);
                emitter.hole(hole_len)?;
                at = data.start;
            }
        }
        while at < data.end {
            let room = usize::try_from(data.end - at).unwrap_or(usize::MAX);
            let room = buffer.get_mut(..room.min(READ_LEN)).unwrap_or_default();
            let read = match file.read_at(room, at) {
                Ok(0) => break 'file,
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            work::did(read as u64);
            let bytes = room.get(..read).unwrap_or_default();
            hasher.update(bytes);
            emitter.new_bytes(bytes)?;
            at += read as u64;
        }
    }
    emitter.finish(holes.finish(hasher.finalize()))
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

    use super::super::{OpDecoder, OpEncoder, Patcher, whole};
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
        let summary = whole_file(file, len, &mut |op| {
            encoder.encode(op, &mut ops);
            Ok(())
        });
        (ops, summary.unwrap())
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
