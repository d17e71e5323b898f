//! The prints of a directory that differs, as they travel: cut as short as its size allows. Two
//! entries may then share a print, so the sender adds up the full prints of what it takes to be
//! equal, and the receiver asks again with full prints if its own do not add up to the same.

use crate::digest::EntryPrint;
use crate::error::Error;
use crate::refusal::Refusal;

/// Length of a print that is not cut, in bytes.
pub(super) const FULL_LEN: u8 = 8;

/// How long the prints of `count` entries are at first, in bytes. If few entries have changed, one
/// in a hundred directories or fewer is asked about again.
pub(super) fn first_len(count: usize) -> u8 {
    match count {
        0..=256 => 2,
        257..=4_096 => 3,
        4_097..=65_536 => 4,
        _ => 6,
    }
}

/// The first `len` bytes of a print.
pub(super) fn cut(print: EntryPrint, len: u8) -> EntryPrint {
    let bits = u32::from(len) * 8;
    print
        & EntryPrint::MAX
            .checked_shl(bits)
            .map_or(EntryPrint::MAX, |rest| !rest)
}

/// Adds a print, cut to `len` bytes, to a row of them.
pub(super) fn put(row: &mut Vec<u8>, print: EntryPrint, len: u8) {
    let whole = print.to_le_bytes();
    row.extend_from_slice(whole.get(..usize::from(len)).unwrap_or(&whole));
}

/// The prints in a row.
pub(super) fn decode(bytes: &[u8], len: u8) -> Result<Vec<EntryPrint>, Error> {
    if !(1..=FULL_LEN).contains(&len) || !bytes.len().is_multiple_of(usize::from(len)) {
        let total = bytes.len();
        return Err(Error::peer(Refusal::PrintsLen { total, len }));
    }
    let print = |bytes: &[u8]| {
        let mut whole = [0; 8];
        let at = whole.iter_mut().zip(bytes);
        at.for_each(|(byte, &told)| *byte = told);
        EntryPrint::from_le_bytes(whole)
    };
    Ok(bytes.chunks(usize::from(len)).map(print).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prints_come_back_cut() {
        let prints = [0, 1, 0x0102_0304_0506_0708, u64::MAX];
        for len in 1..=FULL_LEN {
            let mut bytes = Vec::new();
            prints.iter().for_each(|&print| put(&mut bytes, print, len));
            assert_eq!(bytes.len(), prints.len() * usize::from(len));
            let cut: Vec<_> = prints.iter().map(|&print| cut(print, len)).collect();
            assert_eq!(decode(&bytes, len).unwrap(), cut);
        }
        assert_eq!(cut(0x0102_0304_0506_0708, 2), 0x0708);
        assert_eq!(cut(u64::MAX, FULL_LEN), u64::MAX);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (total, len) in [(0, 0), (9, 9), (7, 2), (255, 255)] {
            assert!(decode(&vec![0; total], len).is_err(), "{total} {len}");
        }
        assert_eq!(decode(&[], 2).unwrap(), Vec::<EntryPrint>::new());
    }

    #[test]
    fn large_directories_get_longer_prints() {
        let lens = [0, 256, 257, 5_000, 1 << 20].map(first_len);
        assert!(lens.is_sorted());
        assert!(lens.iter().all(|len| (1..FULL_LEN).contains(len)));
    }
}
