//! What an entry has besides what `stat` tells: a list of kinds and values, in the one form that is
//! kept, travels and is hashed. An entry without any costs no memory, and one byte on the wire.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// Longest value of one attribute in bytes: an extended attribute's of Linux, and its name.
pub(crate) const ATTRIBUTE_LEN_MAX: usize = 65_536 + 256;

/// Longest list of one entry in bytes: with the entry it fits a message.
pub(crate) const ATTRIBUTES_LEN_MAX: usize = 256 * 1024;

/// The kinds that this version gives a meaning to.
const KINDS: [u16; 0] = [];

/// Bytes in front of a value: its kind and its length.
const HEADER_LEN: usize = 2 + 4;

/// The attributes of one entry: of each its kind (2 bytes), the length of its value (4) and the
/// value, ascending by kind and then by value, none of them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes(#[serde(with = "serde_bytes")] Vec<u8>);

impl Attributes {
    /// Takes back what [`as_bytes`](Self::as_bytes) gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Attributes(bytes.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks what a peer sent.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.check_among(&KINDS)
    }

    fn check_among(&self, known: &[u16]) -> Result<(), Refusal> {
        let max = ATTRIBUTES_LEN_MAX;
        if self.0.len() > max {
            return Err(Refusal::AttributesLen { max });
        }
        let mut rest = &*self.0;
        let (mut last, mut unknown) = (None, None);
        while !rest.is_empty() {
            let (kind, value, tail) = first(rest).ok_or(Refusal::AttributesCut)?;
            let max = ATTRIBUTE_LEN_MAX;
            if value.len() > max {
                return Err(Refusal::AttributesLen { max });
            }
            if last.is_some_and(|last| last >= (kind, value)) {
                return Err(Refusal::AttributesOrder);
            }
            if !known.contains(&kind) {
                unknown.get_or_insert(kind);
            }
            last = Some((kind, value));
            rest = tail;
        }
        unknown.map_or(Ok(()), |kind| Err(Refusal::AttributeKind { kind }))
    }
}

/// The first of some attributes: its kind, its value, and those after it.
fn first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[a, b, len @ ..], rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let len = u32::from_le_bytes(len) as usize;
    let (value, rest) = rest.split_at_checked(len)?;
    Some((u16::from_le_bytes([a, b]), value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(all: &[(u16, &[u8])]) -> Attributes {
        let one = |&(kind, value): &(u16, &[u8])| {
            let len = (value.len() as u32).to_le_bytes();
            [&kind.to_le_bytes()[..], &len, value].concat()
        };
        Attributes(all.iter().flat_map(one).collect())
    }

    #[test]
    fn only_the_canonical_form_is_taken() {
        let long = vec![b'x'; ATTRIBUTE_LEN_MAX];
        let longer = vec![b'x'; ATTRIBUTE_LEN_MAX + 1];
        let too_long = |max| Err(Refusal::AttributesLen { max });
        let check = |all: &[(u16, &[u8])]| attributes(all).check_among(&[1, 2, 300]);
        for (all, expected) in [
            (&[][..], Ok(())),
            (&[(1, &b""[..])], Ok(())),
            (&[(1, b"a"), (1, b"b"), (2, b""), (300, b"a")], Ok(())),
            (&[(1, &long)], Ok(())),
            (&[(1, &longer)], too_long(ATTRIBUTE_LEN_MAX)),
            (&[(1, b"a"), (1, b"a")], Err(Refusal::AttributesOrder)),
            (&[(1, b"b"), (1, b"a")], Err(Refusal::AttributesOrder)),
            (&[(2, b""), (1, b"")], Err(Refusal::AttributesOrder)),
            (&[(300, b""), (2, b"")], Err(Refusal::AttributesOrder)),
            (
                &[(1, b""), (3, b"")],
                Err(Refusal::AttributeKind { kind: 3 }),
            ),
        ] {
            assert_eq!(check(all), expected, "{:?}", all.first());
        }
        let values = [0_u8, 1, 2, 3].map(|n| [&[n], &*long].concat()[..long.len()].to_vec());
        let full: Vec<_> = values.iter().map(|value| (1, &**value)).collect();
        assert_eq!(check(&full[..3]), Ok(()));
        assert_eq!(check(&full), too_long(ATTRIBUTES_LEN_MAX));
    }

    #[test]
    fn cut_ones_are_refused_and_today_all_kinds_are_unknown() {
        let whole = attributes(&[(1, b"value"), (2, b"")]);
        for len in 1..whole.0.len() {
            let cut = Attributes::from_bytes(&whole.as_bytes()[..len]);
            // Between two attributes it is a whole list.
            let expected = if len == HEADER_LEN + 5 {
                Ok(())
            } else {
                Err(Refusal::AttributesCut)
            };
            assert_eq!(cut.check_among(&[1, 2]), expected, "{len}");
        }
        assert_eq!(whole.check(), Err(Refusal::AttributeKind { kind: 1 }));
        assert_eq!(Attributes::default().check(), Ok(()));
    }
}
