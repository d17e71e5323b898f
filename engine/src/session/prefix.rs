//! What the receiver tells about the basis of a short file that has grown: one sum over all of it.
//! A source that begins with the basis, as a log does that was appended to, then needs no
//! signature, and even a file of less than a block need not travel whole. If it turns out
//! otherwise the sender asks for the signature.

use std::fs::File;
use std::io::{self, Read};

/// The first byte of the description; a signature, a sample and an offer have others.
pub(super) const FORMAT: u8 = 4;

/// What the sender asks if the source begins otherwise.
pub(super) const ASK_SIGNATURE: [u8; 1] = [4];

/// Shorter bases are not described at all: there is too little to save.
pub(super) const LEN_MIN: u64 = 512;

/// The sum of a basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) len: u64,
    /// The first half of its BLAKE3.
    sum: [u8; 16],
}

impl Prefix {
    /// Sums the first `len` bytes of `file`, which is read from where it stands.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file.take(len))?;
        if hasher.count() != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut sum = [0; 16];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok(Prefix { len, sum })
    }

    /// Whether `source` begins with the basis; it is read from where it stands.
    pub(super) fn begins(&self, source: &File) -> bool {
        Prefix::of(source, self.len).is_ok_and(|own| own == *self)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&[FORMAT][..], &self.len.to_le_bytes(), &self.sum].concat()
    }

    /// Decodes what [`encode`](Self::encode) made; `None` if it is anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = bytes.split_first()? else {
            return None;
        };
        let (len, sum) = rest.split_first_chunk::<8>()?;
        Some(Prefix {
            len: u64::from_le_bytes(*len),
            sum: sum.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_source_that_begins_with_the_basis_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let open = |content: &[u8]| {
            let path = dir.path().join("file");
            std::fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        };
        let basis = Prefix::of(&open(b"line\n"), 5).unwrap();
        let told = Prefix::decode(&basis.encode()).unwrap();
        assert_eq!(told, basis);
        for (source, begins) in [
            (&b"line\nanother\n"[..], true),
            (b"line\n", true),
            (b"Line\nanother\n", false),
            (b"lin", false),
            (b"", false),
        ] {
            assert_eq!(told.begins(&open(source)), begins, "{source:?}");
        }
        assert!(Prefix::of(&open(b"line"), 5).is_err());
    }

    #[test]
    fn damaged_descriptions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let encoded = Prefix::of(&File::open(path).unwrap(), 7).unwrap().encode();
        for len in 0..encoded.len() {
            assert_eq!(Prefix::decode(&encoded[..len]), None);
        }
        assert_eq!(Prefix::decode(&[&encoded[..], &[0]].concat()), None);
        assert_eq!(Prefix::decode(&[&[1], &encoded[1..]].concat()), None);
    }
}
