//! The encoding of messages: serde through bincode 2, variable-length integers, little endian.
//! bincode is archived upstream and pinned; this module is the only one that names it.

use std::io::{self, Read, Write};

use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::FRAME_LEN_MAX;
use crate::error::{Error, ErrorKind};
use crate::refusal::Refusal;

/// Upper bound on what one message may claim to hold when it is decoded, whatever lengths the
/// peer wrote: a few times the frame, since small items grow in memory.
pub(crate) const DECODE_LIMIT: usize = 8 * FRAME_LEN_MAX;

/// Appends the encoding of `message` to `out`.
pub(crate) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    bincode::serde::encode_into_std_write(message, out, bincode::config::standard())
        .map(|_| ())
        .map_err(|e| Error::new(ErrorKind::Stream, format!("cannot encode a message: {e}")))
}

/// Decodes one message that fills `bytes` exactly.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let config = bincode::config::standard().with_limit::<DECODE_LIMIT>();
    let decoded = bincode::serde::decode_from_slice(bytes, config);
    let (message, used) = decoded.map_err(|e| {
        let why = e.to_string();
        Error::peer(Refusal::Undecodable { why })
    })?;
    match bytes.len() - used {
        0 => Ok(message),
        rest => Err(Error::peer(Refusal::MessageRest { rest })),
    }
}

/// Writes the encoding of a record to where it is kept.
pub(crate) fn encode_record<T: Serialize>(record: &T, out: &mut impl Write) -> io::Result<()> {
    let written = bincode::serde::encode_into_std_write(record, out, bincode::config::standard());
    written.map(drop).map_err(|e| match e {
        EncodeError::Io { inner, .. } => inner,
        e => io::Error::other(e.to_string()),
    })
}

/// Reads what this host wrote to its own disk, whose sum has been checked: it may be long.
pub(crate) fn read_record<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let record = bincode::serde::decode_from_std_read(from, bincode::config::standard());
    record.map_err(|e| match e {
        DecodeError::Io { inner, .. } => inner,
        e => io::Error::new(io::ErrorKind::InvalidData, e.to_string()),
    })
}

/// The same of what is in memory.
pub(crate) fn decode_record<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard();
    let (record, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(record)
}
