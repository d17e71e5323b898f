//! What can be wrong with a signature or delta file, and with applying one.

use std::fmt;
use std::io;

use super::super::ops::OpsError;
use super::super::patch::PatchError;
use super::super::signature::SignatureError;
use super::VERSION;

/// The two kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// What [`write_signature`](super::write_signature) writes.
    Signature,
    /// What [`DeltaWriter`](super::DeltaWriter) writes.
    Delta,
}

/// Why a signature or delta file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// The reader failed.
    Read(io::Error),
    /// Another kind of file.
    Kind {
        /// What it should be.
        wanted: FileKind,
        /// What it is, if that is known.
        found: Option<FileKind>,
    },
    /// A version of the format that this program does not read.
    Version {
        /// The version found.
        version: u8,
    },
    /// The file ends too early.
    Truncated {
        /// Its length in bytes.
        len: u64,
    },
    /// A seal does not fit what is before it.
    Damaged {
        /// Where the seal stands, in bytes from the start.
        before: u64,
    },
    /// The file goes on after its end.
    TrailingBytes {
        /// Where it should end, in bytes from the start.
        len: u64,
    },
    /// A part is longer than the format allows.
    PartLen {
        /// The length announced, in bytes.
        len: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The seals are right, but what is within is no signature.
    Signature(SignatureError),
    /// The seals are right, but what is within are no ops.
    Ops(OpsError),
    /// The ops make more or fewer bytes than the end of the delta says.
    SourceLen {
        /// What the delta says, in bytes.
        announced: u64,
        /// What its ops make, in bytes.
        made: u64,
    },
}

/// Why a delta could not be applied.
#[derive(Debug)]
pub enum ApplyError {
    /// The delta cannot be read, or is damaged.
    Delta(FileError),
    /// The basis has another length than the one that was signed.
    BasisLen {
        /// The length of the basis that was signed, in bytes.
        expected: u64,
        /// The length of this one, in bytes.
        found: u64,
    },
    /// An op could not be carried out.
    Patch(PatchError),
    /// The result is not the source, though the delta is sound: the basis is not the one that was
    /// signed, or changed while it was read.
    OtherBasis,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Delta => "delta",
        })
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Kind {
                wanted,
                found: None,
            } => write!(f, "is no hasync {wanted}"),
            Self::Kind {
                wanted,
                found: Some(found),
            } => write!(f, "is a {found}, not a {wanted}"),
            Self::Version { version } => {
                write!(
                    f,
                    "is of format version {version}, this program reads version {VERSION}"
                )
            }
            Self::Truncated { len } => write!(f, "is cut off after {len} bytes"),
            Self::Damaged { before } => write!(f, "is damaged within its first {before} bytes"),
            Self::TrailingBytes { len } => {
                write!(f, "goes on after its end at {len} bytes")
            }
            Self::PartLen { len, max } => {
                write!(f, "announces a part of {len} bytes, the limit is {max}")
            }
            Self::Signature(error) => write!(f, "is malformed: {error}"),
            Self::Ops(error) => write!(f, "is malformed: {error}"),
            Self::SourceLen { announced, made } => {
                write!(
                    f,
                    "is malformed: it makes {made} bytes and says {announced}"
                )
            }
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta(error) => write!(f, "the delta {error}"),
            Self::BasisLen { expected, found } => {
                write!(
                    f,
                    "the basis has {found} bytes, the one that was signed {expected}"
                )
            }
            Self::Patch(error) => error.fmt(f),
            Self::OtherBasis => {
                write!(
                    f,
                    "the basis is not the one that was signed, or changed while it was read"
                )
            }
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Signature(error) => Some(error),
            Self::Ops(error) => Some(error),
            _ => None,
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Delta(error) => Some(error),
            Self::Patch(error) => Some(error),
            Self::BasisLen { .. } | Self::OtherBasis => None,
        }
    }
}
