//! Applying a delta: ops in, the new file out, its BLAKE3 taken from the very bytes that were
//! written.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::ops::{MERGED_COPY_LEN, Op};
use super::sparse::HoleSummer;
use super::summer::Summer;

/// A basis that can be read at any offset.
pub trait Basis {
    /// Fills `buffer` with the bytes from `offset` on; fails if there are fewer.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where the result goes, front to back.
pub trait Output {
    /// Appends `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Appends `len` zero bytes, or a hole of that length.
    fn zero(&mut self, len: u64) -> io::Result<()>;

    /// Appends a hole of `len` bytes, or if there can be none zero bytes.
    fn hole(&mut self, len: u64) -> io::Result<()> {
        self.zero(len)
    }

    /// Appends `bytes`, which were just read from the basis at `basis_offset`.
    ///
    /// An output that starts as a clone of the basis overrides this: where `basis_offset` is its
    /// own position, it need not write.
    fn copied(&mut self, basis_offset: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = basis_offset;
        self.write_all(bytes)
    }
}

/// What a finished patch wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchSummary {
    /// Bytes written, zero runs included.
    pub len: u64,
    /// The BLAKE3 of those bytes, holes told by their length: it must equal the source's
    /// [`sum`](super::DiffSummary::sum).
    pub sum: blake3::Hash,
}

/// Applies ops, pushed one by one, to a basis.
///
/// Reads the basis in pieces of at most 512 KiB; holds no more. After an error the patch is lost.
#[derive(Debug)]
pub struct Patcher<B, O> {
    basis: B,
    basis_len: u64,
    output: O,
    max_output_len: u64,
    len: u64,
    summer: Summer,
    holes: HoleSummer,
    /// A copy not carried out yet, because the next op may continue it: offset and length.
    pending: Option<(u64, u64)>,
}

impl<B: Basis, O: Output> Patcher<B, O> {
    /// Starts a patch of `basis`, of which the first `basis_len` bytes may be copied, into
    /// `output`, which may grow to `max_output_len` bytes.
    pub fn new(basis: B, basis_len: u64, output: O, max_output_len: u64) -> Self {
        Self {
            basis,
            basis_len,
            output,
            max_output_len,
            len: 0,
            summer: Summer::new(),
            holes: HoleSummer::default(),
            pending: None,
        }
    }

    /// Applies one op.
    pub fn apply(&mut self, op: Op<'_>) -> Result<(), PatchError> {
        match op {
            Op::Copy { offset, len } => self.copy(offset, len),
            Op::Literal(bytes) => self.literal(bytes),
            Op::Zero { len } => self.zero(len),
            Op::Hole { len } => self.hole(len),
        }
    }

    /// Appends `len` bytes of the basis from `offset` on.
    pub fn copy(&mut self, offset: u64, len: u64) -> Result<(), PatchError> {
        check_copy(offset, len, self.basis_len)?;
        self.grow(len)?;
        match &mut self.pending {
            Some((start, pending_len)) if *start + *pending_len == offset => *pending_len += len,
            _ => {
                self.carry_out_copy()?;
                self.pending = Some((offset, len));
            }
        }
        match self.pending {
            Some((_, len)) if len >= MERGED_COPY_LEN => self.carry_out_copy(),
            _ => Ok(()),
        }
    }

    /// Appends `bytes`.
    pub fn literal(&mut self, bytes: &[u8]) -> Result<(), PatchError> {
        self.grow(bytes.len() as u64)?;
        self.carry_out_copy()?;
        self.summer.update(bytes);
        self.output.write_all(bytes).map_err(PatchError::Output)
    }

    /// Appends `len` zero bytes.
    pub fn zero(&mut self, len: u64) -> Result<(), PatchError> {
        self.grow(len)?;
        self.carry_out_copy()?;
        self.summer.update_zeros(len);
        self.output.zero(len).map_err(PatchError::Output)
    }

    /// Appends a hole of `len` bytes, at no cost that grows with it.
    pub fn hole(&mut self, len: u64) -> Result<(), PatchError> {
        let offset = self.len;
        self.grow(len)?;
        self.carry_out_copy()?;
        self.holes.hole(offset, len);
        self.output.hole(len).map_err(PatchError::Output)
    }

    /// Bytes that the ops so far make.
    #[must_use]
    pub fn output_len(&self) -> u64 {
        self.len
    }

    /// Completes the patch and hands the output back.
    pub fn finish(mut self) -> Result<(PatchSummary, O), PatchError> {
        self.carry_out_copy()?;
        let died = || PatchError::Output(io::Error::other("the summing thread died"));
        let sum = self.holes.finish(self.summer.finish().ok_or_else(died)?);
        let summary = PatchSummary { len: self.len, sum };
        Ok((summary, self.output))
    }

    /// The length of the result when it has grown, if it may.
    pub(crate) fn grown(&self, by: u64) -> Result<u64, PatchError> {
        check_grown(self.len, by, self.max_output_len)
    }

    fn grow(&mut self, by: u64) -> Result<(), PatchError> {
        self.len = self.grown(by)?;
        Ok(())
    }

    fn carry_out_copy(&mut self) -> Result<(), PatchError> {
        let Some((mut offset, mut left)) = self.pending.take() else {
            return Ok(());
        };
        if self.len >= SUM_BESIDE_LEN {
            self.summer.move_beside();
        }
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_LEN);
            let mut bytes = self.summer.buffer();
            bytes.resize(step);
            let read = self.basis.read_exact_at(&mut bytes, offset);
            read.map_err(|error| PatchError::Basis {
                offset,
                len: step,
                error,
            })?;
            self.output
                .copied(offset, &bytes)
                .map_err(PatchError::Output)?;
            self.summer.update_with(bytes);
            offset += step as u64;
            left -= step as u64;
        }
        Ok(())
    }
}

impl Basis for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

impl Basis for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<B: Basis + ?Sized> Basis for &B {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

impl<B: Basis + ?Sized> Basis for Arc<B> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

impl Output for Vec<u8> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, len: u64) -> io::Result<()> {
        let grown = usize::try_from(len)
            .ok()
            .and_then(|len| self.len().checked_add(len));
        self.resize(grown.ok_or(io::ErrorKind::OutOfMemory)?, 0);
        Ok(())
    }
}

impl<O: Output + ?Sized> Output for &mut O {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).write_all(bytes)
    }

    fn zero(&mut self, len: u64) -> io::Result<()> {
        (**self).zero(len)
    }

    fn hole(&mut self, len: u64) -> io::Result<()> {
        (**self).hole(len)
    }

    fn copied(&mut self, basis_offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).copied(basis_offset, bytes)
    }
}

/// Why an op could not be applied.
#[derive(Debug)]
pub enum PatchError {
    /// A copy reaches past the end of the basis: the delta is wrong or made for another basis.
    CopyOutOfBasis {
        /// Where the copy starts.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// The length of the basis.
        basis_len: u64,
    },
    /// The result would exceed the caller's limit.
    OutputTooLong {
        /// Bytes so far.
        len: u64,
        /// Bytes the op adds.
        more: u64,
        /// The limit.
        max: u64,
    },
    /// A hole where the result is a copy of the basis that is changed in place.
    HoleInCopy,
    /// The basis could not be read, for instance because it was truncated meanwhile.
    Basis {
        /// Where in the basis.
        offset: u64,
        /// How many bytes were asked for.
        len: usize,
        /// What the system said.
        error: io::Error,
    },
    /// The output could not be written.
    Output(io::Error),
}

/// The length of a result of `len` bytes that grows, if it may.
pub(super) fn check_grown(len: u64, more: u64, max: u64) -> Result<u64, PatchError> {
    let grown = len.checked_add(more).filter(|&grown| grown <= max);
    grown.ok_or(PatchError::OutputTooLong { len, more, max })
}

/// Refuses a copy that reaches past the end of the basis.
pub(super) fn check_copy(offset: u64, len: u64, basis_len: u64) -> Result<(), PatchError> {
    let is_inside = offset.checked_add(len).is_some_and(|end| end <= basis_len);
    is_inside.then_some(()).ok_or(PatchError::CopyOutOfBasis {
        offset,
        len,
        basis_len,
    })
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyOutOfBasis {
                offset,
                len,
                basis_len,
            } => {
                write!(
                    f,
                    "delta copies {len} bytes from offset {offset} of a basis of {basis_len}"
                )
            }
            Self::OutputTooLong { len, more, max } => {
                write!(f, "delta adds {more} bytes to {len}, the limit is {max}")
            }
            Self::HoleInCopy => write!(f, "delta has a hole in a file made from a copy"),
            Self::Basis { offset, len, error } => {
                write!(
                    f,
                    "cannot read {len} bytes at offset {offset} of the basis: {error}"
                )
            }
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

impl std::error::Error for PatchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Basis { error, .. } | Self::Output(error) => Some(error),
            Self::CopyOutOfBasis { .. } | Self::OutputTooLong { .. } | Self::HoleInCopy => None,
        }
    }
}

/// Results longer than this are summed in a thread of their own.
const SUM_BESIDE_LEN: u64 = 1 << 24;

/// Bytes of the basis read at once: they are hashed and written while still in the cache.
const COPY_LEN: usize = 1 << 19;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn result_and_sum_follow_the_ops() {
        let basis = b"0123456789";
        let mut patcher = Patcher::new(&basis[..], 10, Vec::new(), 100);
        for op in [
            Op::Copy { offset: 2, len: 3 },
            Op::Copy { offset: 5, len: 5 },
            Op::Literal(b"ab"),
            Op::Zero { len: 3 },
            Op::Copy { offset: 0, len: 1 },
        ] {
            patcher.apply(op).unwrap();
        }
        let (summary, result) = patcher.finish().unwrap();
        assert_eq!(result, b"23456789ab\0\0\x000");
        assert_eq!((summary.len, summary.sum), (14, blake3::hash(&result)));
    }

    #[test]
    fn adjacent_copies_are_one_read() {
        struct Reads(std::cell::RefCell<Vec<(u64, usize)>>);
        impl Basis for Reads {
            fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                self.0.borrow_mut().push((offset, buffer.len()));
                Ok(())
            }
        }
        let reads = Reads(std::cell::RefCell::default());
        let mut patcher = Patcher::new(&reads, 100, Vec::new(), 100);
        for offset in [10, 20, 30, 0, 10] {
            patcher.copy(offset, 10).unwrap();
        }
        patcher.finish().unwrap();
        assert_eq!(reads.0.into_inner(), [(10, 30), (0, 20)]);
    }

    #[test]
    fn limits_are_errors_with_numbers() {
        let mut patcher = Patcher::new(&b"0123"[..], 4, Vec::new(), 6);
        for (offset, len) in [(0, 5), (4, 1), (u64::MAX, 1), (1, u64::MAX)] {
            let error = patcher.copy(offset, len).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("delta copies {len} bytes from offset {offset} of a basis of 4")
            );
        }
        patcher.copy(0, 4).unwrap();
        let error = patcher.zero(u64::MAX).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("delta adds {} bytes to 4, the limit is 6", u64::MAX)
        );
        assert!(patcher.literal(b"123").is_err());
        patcher.literal(b"12").unwrap();
        assert_eq!(patcher.finish().unwrap().1, b"012312");
    }

    #[test]
    fn a_basis_that_shrank_is_an_error() {
        let mut patcher = Patcher::new(&b"0123"[..], 10, Vec::new(), 100);
        patcher.copy(2, 5).unwrap();
        assert!(matches!(
            patcher.finish(),
            Err(PatchError::Basis {
                offset: 2,
                len: 5,
                ..
            })
        ));
    }
}
