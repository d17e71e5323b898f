//! Signatures and deltas as files, for those who carry them by other means than a session: written
//! to any writer, read from any reader, front to back.
//!
//! Both files guard themselves: at the end of each part stand 16 bytes of BLAKE3 over everything
//! before, so that damage, a lost end or bytes too many are told from a basis that is not the right
//! one, and nothing of a damaged part is ever applied. That is proof against accidents; whoever
//! may change a file can make new sums for it. `engine/PROTOCOL.md` describes every byte.

mod delta;
mod error;
mod sealed;
mod signature;

#[cfg(test)]
mod tests;

use std::io::Read;

use super::patch::{Basis, Output, PatchSummary, Patcher};

pub use delta::{DeltaReader, DeltaWriter};
pub use error::{ApplyError, FileError, FileKind};
pub use signature::{MAX_SIGNATURE_BLOCKS, read_signature, write_signature};

#[cfg(any(test, fuzzing))]
pub(super) use delta::reseal;

/// The version of both formats.
const VERSION: u8 = 1;

/// Applies all of `delta` to `basis`, of `basis_len` bytes, and checks that the result is the
/// source that the delta was made of.
///
/// The result may grow to `max_output_len` bytes: a few bytes of delta can stand for a file of any
/// length. What `output` has been given is worth nothing unless this returns `Ok`.
pub fn apply<R: Read, B: Basis, O: Output>(
    mut delta: DeltaReader<R>,
    basis: B,
    basis_len: u64,
    output: O,
    max_output_len: u64,
) -> Result<(PatchSummary, O), ApplyError> {
    if basis_len != delta.basis_len() {
        return Err(ApplyError::BasisLen {
            expected: delta.basis_len(),
            found: basis_len,
        });
    }
    let mut patcher = Patcher::new(basis, basis_len, output, max_output_len);
    let source_sum = loop {
        match delta.next_op().map_err(ApplyError::Delta)? {
            Some(op) => patcher.apply(op).map_err(ApplyError::Patch)?,
            None => break delta.source_sum(),
        }
    };
    let (summary, output) = patcher.finish().map_err(ApplyError::Patch)?;
    // The length is right: the reader checked what the ops make.
    if Some(summary.sum) != source_sum {
        return Err(ApplyError::OtherBasis);
    }
    Ok((summary, output))
}
