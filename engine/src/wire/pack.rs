//! The payloads that are not messages: packs of whole small files, and pieces of delta exchanges.
//! (Ops have their own encoding, in `delta`.) Integers are little endian and of fixed width.

use crate::entry::{Sum, Time};
use crate::error::Error;
use crate::refusal::Refusal;
use crate::wire::DirIndex;

/// Longest header of a packed file: entry, flags, time, length.
pub(crate) const PACK_HEADER_LEN_MAX: usize = 4 + 1 + 12 + 4;

/// A pack ends with the sum of all before it: one sum of many files costs a fraction of a sum for
/// each, since BLAKE3 takes short inputs chunk by chunk and long ones several chunks at a time.
const SUM_LEN: usize = size_of::<Sum>();

const FLAG_MTIME: u8 = 1;

/// One whole file out of a pack.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PackedFile<'a> {
    pub(crate) entry: u32,
    /// Set if the file's time had changed since it was announced.
    pub(crate) mtime: Option<Time>,
    pub(crate) content: &'a [u8],
}

/// Appends a file's header with room for the length; the content follows it directly, then
/// [`patch_packed`] completes the header.
pub(crate) fn put_packed_header(out: &mut Vec<u8>, entry: u32, mtime: Option<Time>) {
    out.extend_from_slice(&entry.to_le_bytes());
    out.push(if mtime.is_some() { FLAG_MTIME } else { 0 });
    if let Some(mtime) = mtime {
        out.extend_from_slice(&mtime.secs.to_le_bytes());
        out.extend_from_slice(&mtime.nanos.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
}

/// Completes the header that ends where the content, `out[content_at..]`, begins.
pub(crate) fn patch_packed(out: &mut [u8], content_at: usize) {
    let (head, content) = out.split_at_mut(content_at);
    let at = head.len() - 4;
    head[at..].copy_from_slice(&(content.len() as u32).to_le_bytes());
}

/// The end of a pack that consists of these parts.
pub(crate) fn pack_sum(parts: &[&[u8]]) -> Sum {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Splits a pack whose sum is right: the directory, and its files one by one.
pub(crate) fn parse_pack(
    payload: &[u8],
) -> Result<
    (
        DirIndex,
        impl Iterator<Item = Result<PackedFile<'_>, Error>>,
    ),
    Error,
> {
    let (files, sum) = payload
        .split_last_chunk::<SUM_LEN>()
        .ok_or_else(|| Error::peer(Refusal::PackWithoutSum))?;
    if pack_sum(&[files]) != *sum {
        return Err(Error::peer(Refusal::PackSum));
    }
    let mut rest = Bytes(files);
    let dir = rest.u64()?;
    let files = std::iter::from_fn(move || (!rest.0.is_empty()).then(|| parse_packed(&mut rest)));
    Ok((dir, files))
}

fn parse_packed<'a>(rest: &mut Bytes<'a>) -> Result<PackedFile<'a>, Error> {
    let entry = rest.u32()?;
    let mtime = match rest.u8()? {
        0 => None,
        FLAG_MTIME => {
            let time = Time {
                secs: rest.u64()? as i64,
                nanos: rest.u32()?,
            };
            time.check().map_err(Error::peer)?;
            Some(time)
        }
        flags => return Err(Error::peer(Refusal::PackFlags { flags })),
    };
    let len = rest.u32()?;
    let content = rest.slice(len as usize)?;
    Ok(PackedFile {
        entry,
        mtime,
        content,
    })
}

/// Bases that a receiver may have described and not seen used, each of which may keep a file open
/// on both sides.
pub(crate) const EXCHANGES_MAX: usize = 128;

/// A piece of a message about one entry's basis: from the receiver a signature, sample, offer or
/// answer, from the sender an ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExchangePiece<'a> {
    pub(crate) dir: DirIndex,
    pub(crate) entry: u32,
    pub(crate) last: bool,
    pub(crate) bytes: &'a [u8],
}

impl<'a> ExchangePiece<'a> {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dir.to_le_bytes());
        out.extend_from_slice(&self.entry.to_le_bytes());
        out.push(self.last.into());
        out.extend_from_slice(self.bytes);
    }

    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut rest = Bytes(payload);
        let (dir, entry, last) = (rest.u64()?, rest.u32()?, rest.u8()?);
        if last > 1 {
            return Err(Error::peer(Refusal::ExchangeLast { last }));
        }
        Ok(ExchangePiece {
            dir,
            entry,
            last: last == 1,
            bytes: rest.0,
        })
    }
}

/// Takes fixed-width fields off the front of a payload.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let cut = || self.cut(N);
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(array)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let cut = || self.cut(len);
        let (slice, rest) = self.0.split_at_checked(len).ok_or_else(cut)?;
        self.0 = rest;
        Ok(slice)
    }

    fn cut(&self, due: usize) -> Error {
        let len = self.0.len();
        Error::peer(Refusal::FieldCut { due, len })
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packs_round_trip_and_damaged_ones_are_errors() {
        let mut files = 7_u64.to_le_bytes().to_vec();
        let mtime = Some(Time { secs: -1, nanos: 5 });
        for (entry, mtime, content) in [(1, None, &b"one"[..]), (2, mtime, b""), (9, None, b"9")] {
            put_packed_header(&mut files, entry, mtime);
            let at = files.len();
            files.extend_from_slice(content);
            patch_packed(&mut files, at);
        }
        let sealed = |files: &[u8]| [files, &pack_sum(&[files])].concat();
        let mut pack = sealed(&files);
        let (dir, parsed) = parse_pack(&pack).unwrap();
        let parsed: Vec<_> = parsed.map(Result::unwrap).collect();
        assert_eq!(dir, 7);
        assert_eq!(parsed.len(), 3);
        assert_eq!(
            (parsed[1].entry, parsed[1].mtime, parsed[1].content),
            (2, mtime, &b""[..])
        );
        assert_eq!(parsed[2].content, b"9");
        // A liar's sum is right.
        for cut in 0..files.len() {
            if let Ok((_, parsed)) = parse_pack(&sealed(&files[..cut])) {
                let parsed: Vec<_> = parsed.take(4).collect();
                assert!(
                    parsed.len() < 3 || parsed.iter().any(Result::is_err),
                    "cut at {cut}"
                );
            }
        }
        for at in 0..pack.len() {
            pack[at] ^= 1;
            assert!(parse_pack(&pack).is_err(), "damaged at {at}");
            pack[at] ^= 1;
            assert!(parse_pack(&pack[..at]).is_err(), "cut at {at}");
        }
    }
}
