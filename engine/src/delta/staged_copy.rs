//! A staged copy of the basis, summed while it is made and then patched where the source differs.
//! For files that change in place this is all the writing there is: on a file system with reflinks
//! what is shared stays shared, elsewhere the basis is read once, for sums and copy together.
//!
//! The sum it ends with covers the bytes of the copy, whatever happens to the basis meanwhile: a
//! leaf is summed from the buffer that was written, or from the clone, and again from the copy once
//! ops have touched it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::hazmat::ChainingValue;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::exchange::SumTree;
use super::exchange::sum_tree::{MAX_LEAVES, leaf_len_for, range_value};
use super::ops::Op;
use super::patch::{Basis, PatchError, PatchSummary, check_copy, check_grown};
use super::tree::TreeHasher;
use super::zero::split_zero_runs;
use crate::page_buf::PageBuf;

/// A copy of the basis that nobody else can write to, with its sums.
#[derive(Debug)]
pub(crate) struct StagedCopy {
    file: File,
    tree: Arc<SumTree>,
    sparse: bool,
}

impl StagedCopy {
    /// Makes `file`, empty and open for reading and writing, a copy of the first `len` bytes of
    /// `basis`; holes stay holes, and with `sparse` zeros become some. `result_len` is the length
    /// that the file will have in the end, as far as it is known. Up to `threads` threads.
    pub(crate) fn make(
        basis: &File,
        file: File,
        len: u64,
        result_len: u64,
        sparse: bool,
        threads: usize,
    ) -> io::Result<Self> {
        let leaf_len = leaf_len_for(len.max(result_len));
        let cloned = ioctl_ficlone(&file, basis).is_ok();
        file.set_len(len)?;
        let tree = if cloned {
            let read = |bytes: &mut [u8], offset| FileExt::read_exact_at(&file, bytes, offset);
            SumTree::of_pieces(&read, len, leaf_len, threads)?
        } else {
            let holes = Holes::of(basis)?;
            // Writers of one file wait for each other in the kernel, and there they may spin.
            let writing = Mutex::new(());
            let write = |bytes: &[u8], at| {
                let _turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all_at(bytes, at)
            };
            let copy = |bytes: &mut [u8], offset| {
                let end = offset + bytes.len() as u64;
                match holes.within(basis, offset..end) {
                    Within::Hole => {
                        bytes.fill(0);
                        return Ok(());
                    }
                    Within::Data if !sparse => {
                        FileExt::read_exact_at(basis, bytes, offset)?;
                        return write(bytes, offset);
                    }
                    Within::Data | Within::Both => {
                        FileExt::read_exact_at(basis, bytes, offset)?;
                    }
                }
                // The copy begins as one hole: what is not written stays it.
                split_zero_runs(bytes, |range, is_zero| {
                    let at = offset + range.start as u64;
                    match bytes.get(range) {
                        Some(data) if !is_zero => write(data, at),
                        _ => Ok(()),
                    }
                })
            };
            SumTree::of_pieces(&copy, len, leaf_len, threads)?
        };
        Ok(Self {
            file,
            tree: Arc::new(tree),
            sparse,
        })
    }

    /// The sums of the basis as it was copied.
    pub(crate) fn tree(&self) -> Arc<SumTree> {
        Arc::clone(&self.tree)
    }
}

/// Finds the holes of a file. Looking for the next one costs time by its distance, so what is known
/// to be data is kept.
struct Holes {
    any: bool,
    data: Mutex<Range<u64>>,
}

/// What a range holds.
enum Within {
    Data,
    Both,
    Hole,
}

impl Holes {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            any: metadata.blocks().saturating_mul(512) < metadata.len(),
            data: Mutex::new(0..0),
        })
    }

    /// A file system that does not tell has no holes.
    fn within(&self, file: &File, range: Range<u64>) -> Within {
        let known = || self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let is_data = |data: &Range<u64>| data.start <= range.start && range.end <= data.end;
        if !self.any || is_data(&known()) {
            return Within::Data;
        }
        match seek(file, SeekFrom::Data(range.start)) {
            Err(Errno::NXIO) => return Within::Hole,
            Ok(data) if data >= range.end => return Within::Hole,
            Ok(data) if data > range.start => return Within::Both,
            Ok(_) => {}
            Err(_) => return Within::Data,
        }
        let hole = seek(file, SeekFrom::Hole(range.start)).unwrap_or(u64::MAX);
        *known() = range.start..hole;
        if hole < range.end {
            Within::Both
        } else {
            Within::Data
        }
    }
}

/// Applies ops to a staged copy, front to back. What the ops leave as it is costs nothing.
#[derive(Debug)]
pub(crate) struct CopyPatcher {
    copy: StagedCopy,
    basis: File,
    basis_len: u64,
    max_len: u64,
    /// Where the next op goes.
    position: u64,
    /// How far the copy reaches; beyond it there is nothing to overwrite.
    written_len: u64,
    /// Leaves that ops have touched and that are not summed again yet, in rising order.
    touched: Vec<u64>,
    /// New values of leaves.
    summed: BTreeMap<u64, ChainingValue>,
}

impl CopyPatcher {
    /// Patches `copy` to at most `max_len` bytes; moved content comes from `basis`. `None` if the
    /// result would have too many leaves for this copy.
    pub(crate) fn new(copy: StagedCopy, basis: File, max_len: u64) -> Option<Self> {
        let basis_len = copy.tree.file_len();
        let leaf_count = max_len.div_ceil(copy.tree.leaf_len());
        (leaf_count <= 2 * MAX_LEAVES).then(|| Self {
            copy,
            basis,
            basis_len,
            max_len,
            position: 0,
            written_len: basis_len,
            touched: Vec::new(),
            summed: BTreeMap::new(),
        })
    }

    /// The length of the result when it has grown, if it may.
    pub(crate) fn grown(&self, by: u64) -> Result<u64, PatchError> {
        check_grown(self.position, by, self.max_len)
    }

    /// Applies one op.
    pub(crate) fn apply(&mut self, op: Op<'_>) -> Result<(), PatchError> {
        let (start, len) = (self.position, op.output_len());
        let end = self.grown(len)?;
        match op {
            Op::Copy { offset, len } => {
                check_copy(offset, len, self.basis_len)?;
                if offset == start {
                    self.position = end;
                    return self.sum_touched(false);
                }
                self.copy_moved(offset, len)?;
            }
            Op::Literal(bytes) => self.write(bytes, start)?,
            Op::Zero { .. } => self.zero(start..end)?,
            // What is copied is summed as a tree, holes and all.
            Op::Hole { .. } => return Err(PatchError::HoleInCopy),
        }
        let leaf_len = self.copy.tree.leaf_len();
        let last = self.touched.last().copied();
        let first = (start / leaf_len).max(last.map_or(0, |leaf| leaf + 1));
        self.touched.extend(first..end.div_ceil(leaf_len));
        self.position = end;
        self.sum_touched(false)
    }

    /// Cuts the copy to what the ops made, and tells its sum.
    pub(crate) fn finish(mut self) -> Result<(PatchSummary, File), PatchError> {
        let len = self.position;
        let leaf_len = self.copy.tree.leaf_len();
        self.copy.file.set_len(len).map_err(PatchError::Output)?;
        let last_leaf = len / leaf_len;
        if len < self.basis_len
            && !len.is_multiple_of(leaf_len)
            && self.touched.last() != Some(&last_leaf)
        {
            // Cut short, so its value is another one.
            self.touched.push(last_leaf);
        }
        self.sum_touched(true)?;
        let mut root = TreeHasher::default();
        for leaf in 0..len.div_ceil(leaf_len) {
            let kept = || {
                let index = usize::try_from(leaf).unwrap_or(usize::MAX);
                self.copy.tree.leaves().get(index).copied()
            };
            let value = self.summed.get(&leaf).copied().or_else(kept);
            let lacking = || io::Error::other("a leaf of the staged copy has no sum");
            root.push(value.ok_or_else(lacking).map_err(PatchError::Output)?);
        }
        if len <= leaf_len {
            let mut only = vec![0; usize::try_from(len).unwrap_or(0)];
            let read = FileExt::read_exact_at(&self.copy.file, &mut only, 0);
            read.map_err(PatchError::Output)?;
            root.only_block(&only);
        }
        let sum = root.finish();
        Ok((PatchSummary { len, sum }, self.copy.file))
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), PatchError> {
        let written = self.copy.file.write_all_at(bytes, at);
        self.written_len = self.written_len.max(at + bytes.len() as u64);
        written.map_err(PatchError::Output)
    }

    fn copy_moved(&mut self, from: u64, len: u64) -> Result<(), PatchError> {
        let buffer_len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut bytes = PageBuf::with_len(buffer_len.min(MOVED_LEN));
        let mut done = 0;
        while done < len {
            let step = usize::try_from(len - done).unwrap_or(usize::MAX);
            let step = step.min(bytes.len());
            let part = bytes.get_mut(..step).unwrap_or_default();
            let offset = from + done;
            let read = Basis::read_exact_at(&self.basis, part, offset);
            read.map_err(|error| PatchError::Basis {
                offset,
                len: step,
                error,
            })?;
            let at = self.position + done;
            self.copy
                .file
                .write_all_at(part, at)
                .map_err(PatchError::Output)?;
            done += step as u64;
        }
        self.written_len = self.written_len.max(self.position + len);
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) -> Result<(), PatchError> {
        let result = (|| {
            let file = &self.copy.file;
            if self.copy.sparse {
                let old_end = range.end.min(self.written_len);
                if range.start < old_end {
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    let old_len = old_end - range.start;
                    if fallocate(file, flags, range.start, old_len).is_err() {
                        write_zeros(file, range.start..old_end)?;
                    }
                }
                return if self.written_len < range.end {
                    file.set_len(range.end)
                } else {
                    Ok(())
                };
            }
            write_zeros(file, range.clone())
        })();
        self.written_len = self.written_len.max(range.end);
        result.map_err(PatchError::Output)
    }

    /// Sums touched leaves anew from the copy: those that no op can touch again, or all.
    fn sum_touched(&mut self, all: bool) -> Result<(), PatchError> {
        let leaf_len = self.copy.tree.leaf_len();
        let done = |leaf: &u64| all || (leaf + 1) * leaf_len <= self.position;
        let count = self.touched.iter().take_while(|leaf| done(leaf)).count();
        let file = &self.copy.file;
        let read = |bytes: &mut [u8], offset| FileExt::read_exact_at(file, bytes, offset);
        for leaf in self.touched.drain(..count) {
            let start = leaf * leaf_len;
            let end = (start + leaf_len).min(self.position);
            let value = range_value(&read, start, end - start).map_err(PatchError::Output)?;
            self.summed.insert(leaf, value);
        }
        Ok(())
    }
}

fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    let mut at = range.start;
    while at < range.end {
        let step = (range.end - at).min(zeros.len() as u64);
        let step_len = usize::try_from(step).unwrap_or(0);
        file.write_all_at(zeros.get(..step_len).unwrap_or_default(), at)?;
        at += step;
    }
    Ok(())
}

/// Bytes of moved content read at once.
const MOVED_LEN: usize = 1 << 18;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::io::{Read, Seek, Write};

    use proptest::prelude::*;

    use super::super::tests::noise;
    use super::super::{BlockLen, OpDecoder, OpEncoder, Signature, diff};
    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn content(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn copy_of(basis: &File, result_len: u64, sparse: bool) -> StagedCopy {
        let len = basis.metadata().unwrap().len();
        let staged = tempfile::tempfile().unwrap();
        StagedCopy::make(basis, staged, len, result_len, sparse, 2).unwrap()
    }

    /// Runs `ops` and checks sum and length against what came out.
    fn patched(basis: &File, ops: &[Op<'_>], result_len: u64, sparse: bool) -> Vec<u8> {
        let copy = copy_of(basis, result_len, sparse);
        let basis_sum = blake3::hash(&content(basis.try_clone().unwrap()));
        assert_eq!(copy.tree().sum(), basis_sum);
        let basis = basis.try_clone().unwrap();
        let mut patcher = CopyPatcher::new(copy, basis, result_len).unwrap();
        for op in ops {
            patcher.apply(*op).unwrap();
        }
        let (summary, file) = patcher.finish().unwrap();
        let result = content(file);
        assert_eq!(summary.len, result.len() as u64);
        assert_eq!(summary.sum, blake3::hash(&result));
        result
    }

    #[test]
    fn ops_in_place_moved_and_new_give_the_result_and_its_sum() {
        let basis = noise(1, 3 << 20);
        let file = file_of(&basis);
        let ops = [
            Op::Copy {
                offset: 0,
                len: 1 << 20,
            },
            Op::Literal(b"xyz"),
            Op::Copy {
                offset: 5,
                len: 300_000,
            },
            Op::Zero { len: 70_000 },
            Op::Copy {
                offset: 1_418_579,
                len: 50_000,
            },
            Op::Copy { offset: 0, len: 10 },
        ];
        let expected = [
            &basis[..1 << 20],
            b"xyz",
            &basis[5..300_005],
            &[0; 70_000],
            &basis[1_418_579..1_468_579],
            &basis[..10],
        ]
        .concat();
        for sparse in [false, true] {
            let result = patched(&file, &ops, expected.len() as u64, sparse);
            assert!(result == expected);
        }
    }

    #[test]
    fn cuts_growth_and_single_leaves_have_the_right_sum() {
        let basis = noise(1, 100_000);
        let file = file_of(&basis);
        for cut in [0, 1, 4096, 5000, 8192, 99_999, 100_000] {
            let ops = [Op::Copy {
                offset: 0,
                len: cut,
            }];
            let ops = if cut == 0 { &[][..] } else { &ops[..] };
            assert!(patched(&file, ops, cut, false) == basis[..cut as usize]);
        }
        let tail = noise(2, 250_000);
        let ops = [
            Op::Copy {
                offset: 0,
                len: 100_000,
            },
            Op::Literal(&tail),
        ];
        assert!(patched(&file, &ops, 350_000, false) == [&basis[..], &tail].concat());
        let ops = [
            Op::Copy {
                offset: 0,
                len: 100_000,
            },
            Op::Zero { len: 9000 },
        ];
        assert!(patched(&file, &ops, 109_000, true) == [&basis[..], &[0; 9000]].concat());
    }

    #[test]
    fn holes_of_the_basis_are_not_filled() {
        let mut basis = tempfile::tempfile().unwrap();
        basis.set_len(64 << 20).unwrap();
        basis.seek(io::SeekFrom::Start(33 << 20)).unwrap();
        basis.write_all(b"data").unwrap();
        let copy = copy_of(&basis, 64 << 20, false);
        assert!(copy.file.metadata().unwrap().blocks() * 512 < 4 << 20);
        let end = 64 << 20;
        let ops = [Op::Copy {
            offset: 0,
            len: end,
        }];
        let result = patched(&basis, &ops, end, false);
        assert!(result == content(basis));
    }

    #[test]
    fn sparse_copies_and_zeros_leave_holes() {
        let basis = file_of(&[&noise(1, 4096)[..], &vec![0; 8 << 20]].concat());
        let copy = copy_of(&basis, 8 << 20, true);
        let patched_basis = file_of(&noise(1, 8 << 20));
        let blocks = |file: &File| file.metadata().unwrap().blocks() * 512;
        assert!(blocks(&copy.file) < 1 << 20);
        let copy = copy_of(&patched_basis, 8 << 20, true);
        let mut patcher = CopyPatcher::new(copy, patched_basis, 8 << 20).unwrap();
        patcher.apply(Op::Zero { len: 8 << 20 }).unwrap();
        let (summary, file) = patcher.finish().unwrap();
        assert_eq!(summary.sum, blake3::hash(&vec![0; 8 << 20]));
        assert!(blocks(&file) < 1 << 20);
    }

    #[test]
    fn a_basis_that_changes_meanwhile_does_not_spoil_the_sum() {
        let mut basis = file_of(&noise(1, 2 << 20));
        let copy = copy_of(&basis, 2 << 20, false);
        basis.rewind().unwrap();
        basis.write_all(&[7; 5000]).unwrap();
        let mut patcher = CopyPatcher::new(copy, basis, 2 << 20).unwrap();
        for op in [
            Op::Copy {
                offset: 0,
                len: 1 << 20,
            },
            Op::Copy {
                offset: 3,
                len: 4000,
            },
        ] {
            patcher.apply(op).unwrap();
        }
        let (summary, file) = patcher.finish().unwrap();
        assert_eq!(summary.sum, blake3::hash(&content(file)));
    }

    #[test]
    fn limits_are_errors() {
        let basis = file_of(&noise(1, 10_000));
        let patcher = || {
            let copy = copy_of(&basis, 20_000, false);
            CopyPatcher::new(copy, basis.try_clone().unwrap(), 20_000).unwrap()
        };
        for (offset, len) in [(0, 10_001), (9999, 2), (u64::MAX, 1), (1, u64::MAX - 5)] {
            assert!(patcher().apply(Op::Copy { offset, len }).is_err());
        }
        assert!(patcher().apply(Op::Zero { len: 20_001 }).is_err());
        assert!(patcher().apply(Op::Hole { len: 1 }).is_err());
        let copy = copy_of(&basis, 20_000, false);
        assert!(CopyPatcher::new(copy, basis.try_clone().unwrap(), 1 << 40).is_none());
        basis.set_len(5000).unwrap();
        let error = patcher_after_cut(&basis);
        assert!(matches!(error, PatchError::Basis { .. }), "{error}");
    }

    /// Moves content that is not there any more.
    fn patcher_after_cut(basis: &File) -> PatchError {
        let full = file_of(&noise(1, 10_000));
        let copy = copy_of(&full, 20_000, false);
        let mut patcher = CopyPatcher::new(copy, basis.try_clone().unwrap(), 20_000).unwrap();
        patcher
            .apply(Op::Copy {
                offset: 4000,
                len: 4000,
            })
            .unwrap_err()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_delta_gives_the_source(
            seed in 0..4_u64, basis_len in 0..300_000_usize, cut in 0..300_000_usize,
            inserted in prop::collection::vec(any::<u8>(), 0..9000),
            sparse: bool, zeros in 0..9000_usize,
        ) {
            let basis = noise(seed, basis_len);
            let cut = cut.min(basis_len);
            let source = [&basis[..cut], &inserted, &vec![0; zeros], &basis[cut / 2..]].concat();
            let signature = Signature::of(&basis[..], 0, BlockLen::MIN).unwrap().index();
            let (mut encoder, mut encoded) = (OpEncoder::default(), Vec::new());
            diff(&source[..], &signature, &mut |op| {
                encoder.encode(op, &mut encoded);
                Ok(())
            }).unwrap();
            let (mut decoder, mut ops) = (OpDecoder::default(), Vec::new());
            let mut input = &encoded[..];
            while let Some(op) = decoder.next(&mut input).unwrap() {
                ops.push(op);
            }
            let result = patched(&file_of(&basis), &ops, source.len() as u64, sparse);
            prop_assert!(result == source);
        }
    }
}
