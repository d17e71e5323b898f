//! The delta file: a part that names the length of the basis, parts that hold ops, a last part that
//! holds the length and the BLAKE3 of the source.

use std::io::{self, Read, Write};

use super::super::emit::DiffSummary;
use super::super::ops::{MAX_LITERAL_LEN, Op, OpDecoder, OpEncoder};
use super::error::{FileError, FileKind};
use super::sealed::{Sealer, Unsealer};

/// Writes a delta as a file of its own, op by op.
///
/// Holds at most half a MiB. A delta that is not [finished](DeltaWriter::finish) is recognised as
/// cut off.
#[derive(Debug)]
pub struct DeltaWriter<W> {
    sealer: Sealer<W>,
    encoder: OpEncoder,
    /// The ops of the part being filled.
    part: Vec<u8>,
    made: u64,
}

impl<W: Write> DeltaWriter<W> {
    /// Begins a delta against a basis of `basis_len` bytes.
    pub fn new(writer: W, basis_len: u64) -> io::Result<Self> {
        Ok(Self {
            sealer: Sealer::begin(writer, FileKind::Delta, basis_len)?,
            encoder: OpEncoder::default(),
            part: Vec::new(),
            made: 0,
        })
    }

    /// Appends an op. Refuses a literal of more than [`MAX_LITERAL_LEN`] bytes.
    pub fn op(&mut self, op: Op<'_>) -> io::Result<()> {
        if matches!(op, Op::Literal(bytes) if bytes.len() > MAX_LITERAL_LEN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a literal is at most {MAX_LITERAL_LEN} bytes"),
            ));
        }
        self.encoder.encode(op, &mut self.part);
        self.made = self.made.saturating_add(op.output_len());
        if self.part.len() >= FULL_PART_LEN {
            self.end_part()?;
        }
        Ok(())
    }

    /// Completes the delta with what is known of the source, flushes, and hands the writer back.
    ///
    /// Fails if `source` is not as long as what the ops make.
    pub fn finish(mut self, source: &DiffSummary) -> io::Result<W> {
        if source.source_len != self.made {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the ops make {} bytes, the source has {}",
                    self.made, source.source_len
                ),
            ));
        }
        self.end_part()?;
        self.sealer.write(&[0; PART_LEN_LEN])?;
        self.sealer.write(&source.source_len.to_le_bytes())?;
        self.sealer.write(source.sum.as_bytes())?;
        self.sealer.seal()?;
        self.sealer.end()
    }

    fn end_part(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        // At most FULL_PART_LEN and one literal: three bytes hold it.
        let [a, b, c, ..] = (self.part.len() as u64).to_le_bytes();
        self.sealer.write(&[a, b, c])?;
        self.sealer.write(&self.part)?;
        self.sealer.seal()?;
        self.part.clear();
        Ok(())
    }
}

/// Reads a delta file op by op.
///
/// Holds one part, at most 1 MiB, and hands out only ops of parts whose seal was right.
#[derive(Debug)]
pub struct DeltaReader<R> {
    unsealer: Unsealer<R>,
    basis_len: u64,
    decoder: OpDecoder,
    part: Vec<u8>,
    /// How much of the part is decoded.
    decoded: usize,
    made: u64,
    source_sum: Option<blake3::Hash>,
}

impl<R: Read> DeltaReader<R> {
    /// Reads the first part.
    pub fn open(reader: R) -> Result<Self, FileError> {
        let (unsealer, basis_len) = Unsealer::begin(reader, FileKind::Delta)?;
        Ok(Self {
            unsealer,
            basis_len,
            decoder: OpDecoder::default(),
            part: Vec::new(),
            decoded: 0,
            made: 0,
            source_sum: None,
        })
    }

    /// The length of the basis that the delta was made against, in bytes.
    #[must_use]
    pub fn basis_len(&self) -> u64 {
        self.basis_len
    }

    /// The next op; `None` when the delta is complete, its length is right and nothing follows it.
    ///
    /// Whether a copy lies within the basis is for the [`Patcher`](super::super::Patcher) to
    /// check. After an error the delta is lost.
    pub fn next_op(&mut self) -> Result<Option<Op<'_>>, FileError> {
        if self.source_sum.is_some() {
            return Ok(None);
        }
        if self.decoded == self.part.len() && !self.read_part()? {
            return Ok(None);
        }
        let mut rest = self.part.get(self.decoded..).unwrap_or_default();
        let before = rest.len();
        let op = self.decoder.next(&mut rest).map_err(FileError::Ops)?;
        self.decoded += before - rest.len();
        let len = op.map_or(0, |op| op.output_len());
        self.made = self.made.saturating_add(len);
        Ok(op)
    }

    /// The BLAKE3 of the source; known once [`next_op`](Self::next_op) has returned `None`.
    #[must_use]
    pub fn source_sum(&self) -> Option<blake3::Hash> {
        self.source_sum
    }

    /// Reads the next part with ops; false if it was the last part instead.
    fn read_part(&mut self) -> Result<bool, FileError> {
        let [a, b, c] = self.unsealer.array()?;
        let len = u32::from_le_bytes([a, b, c, 0]);
        if len > MAX_PART_LEN {
            let (len, max) = (u64::from(len), u64::from(MAX_PART_LEN));
            return Err(FileError::PartLen { len, max });
        }
        if len > 0 {
            self.decoded = 0;
            self.part.resize(len as usize, 0);
            self.unsealer.fill(&mut self.part)?;
            self.unsealer.check()?;
            return Ok(true);
        }
        let announced = u64::from_le_bytes(self.unsealer.array()?);
        let sum = self.unsealer.array()?;
        self.unsealer.check()?;
        self.unsealer.end()?;
        let made = self.made;
        if announced != made {
            return Err(FileError::SourceLen { announced, made });
        }
        self.source_sum = Some(blake3::Hash::from_bytes(sum));
        Ok(false)
    }
}

/// A delta file with right seals around any bytes: what is behind the seals can be attacked only
/// so. The basis has `basis_len` bytes, the ops are `parts`, the source is said to have
/// `source_len` bytes.
#[cfg(any(test, fuzzing))]
pub(in super::super) fn reseal(
    basis_len: u64,
    parts: &[&[u8]],
    source_len: u64,
    sum: &[u8; 32],
) -> io::Result<Vec<u8>> {
    let mut sealer = Sealer::begin(Vec::new(), FileKind::Delta, basis_len)?;
    for part in parts {
        let [a, b, c, ..] = (part.len() as u64).to_le_bytes();
        sealer.write(&[a, b, c])?;
        sealer.write(part)?;
        sealer.seal()?;
    }
    sealer.write(&[0; PART_LEN_LEN])?;
    sealer.write(&source_len.to_le_bytes())?;
    sealer.write(sum)?;
    sealer.seal()?;
    sealer.end()
}

/// A part with this many bytes of ops is written.
const FULL_PART_LEN: usize = 1 << 18;

/// No part has more bytes of ops.
const MAX_PART_LEN: u32 = 1 << 20;

const PART_LEN_LEN: usize = 3;
