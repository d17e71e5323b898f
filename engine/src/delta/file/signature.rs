//! The signature file: one part that says how long the encoded signature is, one that holds it.

use std::io::{self, Read, Write};

use super::super::signature::Signature;
use super::error::{FileError, FileKind};
use super::sealed::{Sealer, Unsealer};

/// Writes `signature` as a file of its own. Takes memory for a second copy of it.
pub fn write_signature<W: Write>(signature: &Signature, writer: W) -> io::Result<W> {
    let mut encoded = Vec::new();
    signature.encode(&mut encoded);
    let mut sealer = Sealer::begin(writer, FileKind::Signature, encoded.len() as u64)?;
    sealer.write(&encoded)?;
    sealer.seal()?;
    sealer.end()
}

/// Reads what [`write_signature`] wrote, of at most `max_blocks` blocks, to the end of `reader`.
///
/// Allocates little more than twice what the file really holds, whatever it announces.
pub fn read_signature(reader: impl Read, max_blocks: u64) -> Result<Signature, FileError> {
    let (mut unsealer, len) = Unsealer::begin(reader, FileKind::Signature)?;
    let max = (Signature::BLOCK_SUM_LEN as u64)
        .saturating_mul(max_blocks)
        .saturating_add(Signature::HEADER_LEN as u64);
    if len > max {
        return Err(FileError::PartLen { len, max });
    }
    let mut encoded = Vec::new();
    let mut left = len;
    while left > 0 {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(READ_LEN);
        let start = encoded.len();
        encoded.resize(start + step, 0);
        unsealer.fill(encoded.get_mut(start..).unwrap_or_default())?;
        left -= step as u64;
    }
    unsealer.check()?;
    unsealer.end()?;
    Signature::decode(&encoded, max_blocks).map_err(FileError::Signature)
}

/// A bound for [`read_signature`] that suits a machine of today: 64 GiB in blocks of 1 KiB, 512 GiB
/// in blocks of 8 KiB, any file in the block length that its length suggests. Signature and index
/// then take about 2.5 GiB of memory.
pub const MAX_SIGNATURE_BLOCKS: u64 = 1 << 26;

/// Bytes read at once.
const READ_LEN: usize = 1 << 20;
