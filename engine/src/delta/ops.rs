//! Ops, the words of a delta, and their encoding.
//!
//! Each op starts with an unsigned LEB128 number, the length times four plus a tag (0 literal, 1
//! copy, 2 zero, 3 hole), and covers at least one byte. A literal's bytes follow. A copy is
//! followed by its basis offset as a zigzag LEB128 difference to the end of the previous copy (0 at
//! first), so that copies in sequence are short. Ops can be split into frames between any two of
//! them, as long as one decoder sees all frames in order.

use std::fmt;

/// A step that makes the next bytes of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `len` bytes of the basis from `offset` on.
    Copy {
        /// Where in the basis, in bytes.
        offset: u64,
        /// How many bytes, at least 1.
        len: u64,
    },
    /// These bytes, 1 to [`MAX_LITERAL_LEN`] of them.
    Literal(&'a [u8]),
    /// `len` zero bytes, a page or more.
    Zero {
        /// How many bytes.
        len: u64,
    },
    /// `len` zero bytes that are a hole in the source and are to be one: they count in the sum by
    /// their place and length.
    Hole {
        /// How many bytes.
        len: u64,
    },
}

impl Op<'_> {
    /// How many bytes of the result the op makes.
    #[must_use]
    pub fn output_len(&self) -> u64 {
        match *self {
            Op::Copy { len, .. } | Op::Zero { len } | Op::Hole { len } => len,
            Op::Literal(bytes) => bytes.len() as u64,
        }
    }
}

impl<'a> Op<'a> {
    /// The same in ops of at most `len` bytes (not 0): what the peer says in a few bytes may be
    /// work for years. A literal is as short as its frame, and a hole no work, but summed as one.
    pub(crate) fn slices(self, len: u64) -> impl Iterator<Item = Op<'a>> {
        let starts = match self {
            Op::Literal(_) | Op::Hole { .. } => 0..1,
            Op::Copy { len: all, .. } | Op::Zero { len: all } => 0..all.div_ceil(len),
        };
        starts.map(move |slice| {
            let done = slice * len;
            match self {
                Op::Literal(_) | Op::Hole { .. } => self,
                Op::Copy { offset, len: all } => Op::Copy {
                    offset: offset.saturating_add(done),
                    len: len.min(all - done),
                },
                Op::Zero { len: all } => Op::Zero {
                    len: len.min(all - done),
                },
            }
        })
    }
}

/// Encodes ops. One encoder serves one delta.
#[derive(Clone, Debug, Default)]
pub struct OpEncoder {
    copy_end: u64,
}

impl OpEncoder {
    /// Appends `op` to `out`: its literal bytes and at most 20 bytes more. An op that covers no
    /// byte is left out.
    pub fn encode(&mut self, op: Op<'_>, out: &mut Vec<u8>) {
        let literal = self.encode_head(op, out);
        out.extend_from_slice(literal);
    }

    /// As [`encode`](Self::encode) without the bytes of a literal, which are handed back: they
    /// must follow.
    pub fn encode_head<'a>(&mut self, op: Op<'a>, out: &mut Vec<u8>) -> &'a [u8] {
        let len = op.output_len();
        if len == 0 {
            return &[];
        }
        match op {
            Op::Literal(bytes) => {
                put_number(out, u128::from(len) << 2 | u128::from(LITERAL));
                return bytes;
            }
            Op::Copy { offset, .. } => {
                put_number(out, u128::from(len) << 2 | u128::from(COPY));
                let distance = offset.wrapping_sub(self.copy_end) as i64;
                put_number(out, u128::from(((distance << 1) ^ (distance >> 63)) as u64));
                self.copy_end = offset.wrapping_add(len);
            }
            Op::Zero { .. } => put_number(out, u128::from(len) << 2 | u128::from(ZERO)),
            Op::Hole { .. } => put_number(out, u128::from(len) << 2 | u128::from(HOLE)),
        }
        &[]
    }
}

/// Decodes ops. One decoder serves one delta.
#[derive(Clone, Debug, Default)]
pub struct OpDecoder {
    copy_end: u64,
}

impl OpDecoder {
    /// Takes one op off the front of `input`; `None` at its end. Allocates nothing.
    ///
    /// Lengths are as the peer sent them: the [`Patcher`](super::Patcher) checks them against basis
    /// and output. After an error the input position is unspecified, and the delta is lost.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Op<'a>>, OpsError> {
        if input.is_empty() {
            return Ok(None);
        }
        let head = take_number(input)?;
        let len = u64::try_from(head >> 2).map_err(|_| OpsError::Number)?;
        if len == 0 {
            return Err(OpsError::EmptyOp);
        }
        match (head & 3) as u8 {
            LITERAL => {
                let taken = usize::try_from(len)
                    .ok()
                    .filter(|&len| len <= MAX_LITERAL_LEN);
                let taken = taken.ok_or(OpsError::LiteralLen { len })?;
                let truncated = OpsError::Truncated {
                    wanted: len,
                    left: input.len(),
                };
                let (bytes, rest) = input.split_at_checked(taken).ok_or(truncated)?;
                *input = rest;
                Ok(Some(Op::Literal(bytes)))
            }
            COPY => {
                let zigzag = u64::try_from(take_number(input)?).map_err(|_| OpsError::Number)?;
                let distance = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
                let offset = self.copy_end.wrapping_add(distance);
                self.copy_end = offset
                    .checked_add(len)
                    .ok_or(OpsError::CopyEnd { offset, len })?;
                Ok(Some(Op::Copy { offset, len }))
            }
            ZERO => Ok(Some(Op::Zero { len })),
            // No other tag fits into two bits.
            _ => Ok(Some(Op::Hole { len })),
        }
    }
}

/// Why bytes are not encoded ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpsError {
    /// A number that does not end, or does not fit.
    Number,
    /// An op that covers no byte.
    EmptyOp,
    /// A literal longer than [`MAX_LITERAL_LEN`].
    LiteralLen {
        /// Its length in bytes.
        len: u64,
    },
    /// A copy that ends past the largest offset.
    CopyEnd {
        /// Where it starts.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// The input ends within a literal.
    Truncated {
        /// The literal's length in bytes.
        wanted: u64,
        /// Bytes left in the input.
        left: usize,
    },
}

impl fmt::Display for OpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number => write!(f, "delta holds a number that is cut off or too large"),
            Self::EmptyOp => write!(f, "delta holds an op of length 0"),
            Self::LiteralLen { len } => {
                write!(
                    f,
                    "delta holds a literal of {len} bytes, the limit is {MAX_LITERAL_LEN}"
                )
            }
            Self::CopyEnd { offset, len } => {
                write!(
                    f,
                    "delta copies {len} bytes from offset {offset}, past any file's end"
                )
            }
            Self::Truncated { wanted, left } => {
                write!(
                    f,
                    "delta holds a literal of {wanted} bytes, but ends after {left}"
                )
            }
        }
    }
}

impl std::error::Error for OpsError {}

/// Appends an LEB128 number of at most 66 bits.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes an LEB128 number off the front of `input`.
pub(super) fn take_number(input: &mut &[u8]) -> Result<u128, OpsError> {
    let mut number = 0_u128;
    for place in 0..MAX_NUMBER_LEN {
        let (&byte, rest) = input.split_first().ok_or(OpsError::Number)?;
        *input = rest;
        number |= u128::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            // One number has one encoding: no zero groups at its end.
            return if byte == 0 && place > 0 {
                Err(OpsError::Number)
            } else {
                Ok(number)
            };
        }
    }
    Err(OpsError::Number)
}

/// The longest literal one op carries, in bytes.
pub const MAX_LITERAL_LEN: usize = 1 << 18;

/// Bytes after which a copy is passed on instead of being merged with what may follow, so that the
/// other end works while this one searches on.
pub(super) const MERGED_COPY_LEN: u64 = 1 << 22;

/// Seven bits a byte: enough for a 64-bit length and the tag.
const MAX_NUMBER_LEN: u32 = 10;

const LITERAL: u8 = 0;
const COPY: u8 = 1;
const ZERO: u8 = 2;
const HOLE: u8 = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const EDGE: u64 = u64::MAX;

    fn round_trip(ops: &[Op<'_>]) -> usize {
        let (mut encoder, mut decoder, mut encoded) =
            (OpEncoder::default(), OpDecoder::default(), vec![]);
        for &op in ops {
            encoder.encode(op, &mut encoded);
        }
        let mut input = encoded.as_slice();
        for &op in ops {
            assert_eq!(decoder.next(&mut input), Ok(Some(op)));
        }
        assert_eq!(decoder.next(&mut input), Ok(None));
        encoded.len()
    }

    #[test]
    fn decode_inverts_encode() {
        round_trip(&[
            Op::Literal(b"x"),
            Op::Copy { offset: 0, len: 1 },
            Op::Copy {
                offset: EDGE - 5,
                len: 5,
            },
            Op::Copy {
                offset: 0,
                len: EDGE,
            },
            Op::Zero { len: EDGE },
            Op::Hole { len: EDGE },
            Op::Copy {
                offset: 1 << 63,
                len: 7,
            },
            Op::Copy { offset: 3, len: 7 },
            Op::Literal(&[7; MAX_LITERAL_LEN]),
        ]);
    }

    #[test]
    fn copies_in_sequence_are_short() {
        let far = 1 << 40;
        let one = round_trip(&[Op::Copy {
            offset: far,
            len: 4,
        }]);
        let two = round_trip(&[
            Op::Copy {
                offset: far,
                len: 4,
            },
            Op::Copy {
                offset: far + 4,
                len: 4,
            },
        ]);
        assert_eq!(two - one, 2);
    }

    #[test]
    fn damage_is_an_error() {
        let decode =
            |mut input: &[u8]| OpDecoder::default().next(&mut input).map(|op| op.is_some());
        assert_eq!(decode(&[0]), Err(OpsError::EmptyOp));
        assert_eq!(decode(&[0x80]), Err(OpsError::Number));
        assert_eq!(decode(&[0x80; 11]), Err(OpsError::Number));
        assert_eq!(decode(&[0x84, 0x00, b'x']), Err(OpsError::Number));
        assert_eq!(decode(&[5]), Err(OpsError::Number));
        assert_eq!(
            decode(&[3 << 2, 1, 2]),
            Err(OpsError::Truncated { wanted: 3, left: 2 })
        );
        let mut long = vec![];
        put_number(&mut long, ((MAX_LITERAL_LEN as u128) + 1) << 2);
        let len = MAX_LITERAL_LEN as u64 + 1;
        assert_eq!(decode(&long), Err(OpsError::LiteralLen { len }));
        let mut past = vec![];
        OpEncoder::default().encode(
            Op::Copy {
                offset: EDGE,
                len: 1,
            },
            &mut past,
        );
        assert_eq!(
            decode(&past),
            Err(OpsError::CopyEnd {
                offset: EDGE,
                len: 1
            })
        );
    }
}
