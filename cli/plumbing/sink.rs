//! What a patch writes into: zeros become holes where a file can have them.

use std::io::{self, Write};

use hasync_engine::delta;

use super::output::{self, Output};
use crate::exit::Failure;

/// A result being written front to back.
#[derive(Debug)]
pub(super) struct Sink {
    output: Output,
    /// Whether zeros that are copied are worth holes too, as they are in the basis.
    keeps_holes: bool,
    len: u64,
    ends_with_hole: bool,
}

impl Sink {
    pub(super) fn new(output: Output, keeps_holes: bool) -> Self {
        Self {
            keeps_holes: keeps_holes && output.takes_holes(),
            output,
            len: 0,
            ends_with_hole: false,
        }
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Completes the result and hands the output back.
    pub(super) fn finish(mut self) -> Result<Output, Failure> {
        if self.ends_with_hole {
            let cut = self.output.set_len(self.len);
            cut.map_err(|cause| output::cannot_write(self.output.shown(), &cause))?;
        }
        Ok(self.output)
    }
}

impl delta::Output for Sink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.len += bytes.len() as u64;
        self.ends_with_hole = false;
        Ok(())
    }

    fn zero(&mut self, len: u64) -> io::Result<()> {
        if self.output.takes_holes() {
            self.output.skip(len)?;
            self.len += len;
            self.ends_with_hole = true;
            return Ok(());
        }
        let mut left = len;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..step).unwrap_or_default();
            self.write_all(zeros)?;
            left -= zeros.len() as u64;
        }
        Ok(())
    }

    fn copied(&mut self, _basis_offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.keeps_holes {
            return self.write_all(bytes);
        }
        for (run, is_zero) in runs(self.len, bytes) {
            if is_zero {
                self.zero(run.len() as u64)?;
            } else {
                self.write_all(run)?;
            }
        }
        Ok(())
    }
}

/// Cuts `bytes`, which stand at `offset` of a file, where whole blocks of zeros begin and end.
fn runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    let mut rest = bytes;
    let mut offset = offset;
    std::iter::from_fn(move || {
        let run_is_zero = is_hole(offset, rest)?;
        let mut len = 0;
        while is_hole(offset, rest.get(len..)?) == Some(run_is_zero) {
            let to_boundary = HOLE_LEN - (offset % HOLE_LEN as u64) as usize;
            let step = to_boundary.min(rest.len() - len);
            len += step;
            offset += step as u64;
        }
        let (run, after) = rest.split_at_checked(len)?;
        rest = after;
        Some((run, run_is_zero))
    })
}

/// Whether the bytes from `offset` of a file to the end of its block are a block of zeros; `None`
/// if there are no bytes.
fn is_hole(offset: u64, rest: &[u8]) -> Option<bool> {
    if rest.is_empty() {
        return None;
    }
    let is_aligned = offset.is_multiple_of(HOLE_LEN as u64);
    Some(is_aligned && rest.get(..HOLE_LEN) == ZEROS.get(..HOLE_LEN))
}

/// Bytes of zeros worth a hole: the usual block of a file system.
const HOLE_LEN: usize = 4096;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_blocks_of_zeros_and_what_is_between() {
        let check = |offset: u64, parts: &[(u8, usize)], expected: &[(usize, bool)]| {
            let bytes: Vec<u8> = parts
                .iter()
                .flat_map(|&(byte, len)| std::iter::repeat_n(byte, len))
                .collect();
            let found: Vec<(&[u8], bool)> = runs(offset, &bytes).collect();
            let lens: Vec<(usize, bool)> = found
                .iter()
                .map(|(run, is_zero)| (run.len(), *is_zero))
                .collect();
            assert_eq!(lens, expected, "{offset} {parts:?}");
            let joined: Vec<u8> = found.iter().flat_map(|(run, _)| run.to_vec()).collect();
            assert!(joined == bytes);
        };
        check(0, &[], &[]);
        check(0, &[(0, 8192)], &[(8192, true)]);
        check(0, &[(0, 4095)], &[(4095, false)]);
        check(0, &[(1, 10), (0, 12_278)], &[(4096, false), (8192, true)]);
        check(
            1,
            &[(0, 9000)],
            &[(4095, false), (4096, true), (809, false)],
        );
        check(4000, &[(7, 5000)], &[(5000, false)]);
    }
}
