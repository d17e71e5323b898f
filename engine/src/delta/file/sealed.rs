//! A stream in parts, each followed by its *seal*: the first [`SEAL_LEN`] bytes of the BLAKE3 of
//! every byte of the stream before it, earlier seals included. The first part says what the
//! stream is.

use std::io::{self, Read, Write};

use super::super::window::read_full;
use super::VERSION;
use super::error::{FileError, FileKind};

/// Writes parts and seals.
#[derive(Debug)]
pub(super) struct Sealer<W> {
    inner: W,
    hasher: Box<blake3::Hasher>,
}

impl<W: Write> Sealer<W> {
    /// Begins a stream of `kind`; `number` is what its first part tells besides.
    pub(super) fn begin(inner: W, kind: FileKind, number: u64) -> io::Result<Self> {
        let mut sealer = Self {
            inner,
            hasher: Box::default(),
        };
        sealer.write(&kind.magic())?;
        sealer.write(&[VERSION])?;
        sealer.write(&number.to_le_bytes())?;
        sealer.seal()?;
        Ok(sealer)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }

    /// Ends a part.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        let seal = seal_of(&self.hasher);
        self.write(&seal)
    }

    /// Flushes, and hands the writer back.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.inner.flush()?;
        Ok(self.inner)
    }
}

/// Reads parts and checks seals.
#[derive(Debug)]
pub(super) struct Unsealer<R> {
    inner: R,
    hasher: Box<blake3::Hasher>,
    /// Bytes read so far.
    at: u64,
}

impl<R: Read> Unsealer<R> {
    /// Reads the first part of a stream that should be of `kind`; returns the number in it.
    pub(super) fn begin(inner: R, kind: FileKind) -> Result<(Self, u64), FileError> {
        let mut unsealer = Self {
            inner,
            hasher: Box::default(),
            at: 0,
        };
        let magic = unsealer.array::<MAGIC_LEN>()?;
        if magic != kind.magic() {
            return Err(FileError::Kind {
                wanted: kind,
                found: FileKind::of_magic(&magic),
            });
        }
        let [version] = unsealer.array()?;
        if version != VERSION {
            return Err(FileError::Version { version });
        }
        let number = u64::from_le_bytes(unsealer.array()?);
        unsealer.check()?;
        Ok((unsealer, number))
    }

    /// Fills `buffer`. Its bytes are to be trusted only when [`check`](Self::check) says so.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), FileError> {
        let filled = read_full(&mut self.inner, buffer).map_err(FileError::Read)?;
        self.at += filled as u64;
        if filled < buffer.len() {
            return Err(FileError::Truncated { len: self.at });
        }
        self.hasher.update(buffer);
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the seal that ends a part.
    pub(super) fn check(&mut self) -> Result<(), FileError> {
        let expected = seal_of(&self.hasher);
        let before = self.at;
        if self.array()? == expected {
            Ok(())
        } else {
            Err(FileError::Damaged { before })
        }
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), FileError> {
        let more = read_full(&mut self.inner, &mut [0]).map_err(FileError::Read)?;
        if more > 0 {
            return Err(FileError::TrailingBytes { len: self.at });
        }
        Ok(())
    }
}

impl FileKind {
    fn magic(self) -> [u8; MAGIC_LEN] {
        match self {
            Self::Signature => *b"hasyncSG",
            Self::Delta => *b"hasyncDL",
        }
    }

    fn of_magic(magic: &[u8; MAGIC_LEN]) -> Option<Self> {
        [Self::Signature, Self::Delta]
            .into_iter()
            .find(|kind| kind.magic() == *magic)
    }
}

fn seal_of(hasher: &blake3::Hasher) -> [u8; SEAL_LEN] {
    let mut seal = [0; SEAL_LEN];
    hasher.finalize_xof().fill(&mut seal);
    seal
}

/// Bytes of a seal.
pub(super) const SEAL_LEN: usize = 16;

const MAGIC_LEN: usize = 8;
