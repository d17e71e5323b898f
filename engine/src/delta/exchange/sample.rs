//! A look before the work: a few blocks of the basis, from which the source's owner learns whether
//! the files are equal in place, shifted against each other, or strangers.
//!
//! Each of these has its own way: equal places are found by the trees, which both sides must then
//! sum; moved content only by rolling, for which the trees are wasted; and strangers go over whole.

use std::io;
use std::ops::Range;

use super::super::block::BlockLen;
use super::super::index::IndexedSignature;
use super::super::patch::Basis;
use super::super::search::has_match;
use super::super::signature::Signature;
use super::super::tree::{Salt, StrongKey, block_value};
use super::super::weak::weak_sum;
use super::message::{MessageError, ShortSum, shorten};
use super::ranges::total_len;
use crate::page_buf::PageBuf;

/// Sums of blocks spread evenly over the basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) salt: Salt,
    pub(super) basis_len: u64,
    /// Weak and strong sum of each block of [`sampled_blocks`].
    pub(super) sums: Vec<(u32, ShortSum)>,
}

/// What a sample tells about the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Parts are in the basis at the same offset.
    InPlace,
    /// Nothing is, but parts seem to be elsewhere.
    Moved,
    /// Nothing of the source was found in the basis.
    Hopeless,
}

impl Sample {
    pub(super) fn of<F: Basis + ?Sized>(file: &F, basis_len: u64, salt: Salt) -> io::Result<Self> {
        let key = StrongKey::new(&salt);
        let mut bytes = vec![0; BLOCK_LEN as usize];
        let sums = sampled_blocks(basis_len).map(|block| {
            let start = block * BLOCK_LEN;
            file.read_exact_at(&mut bytes, start)?;
            let strong = shorten(key.strong(&block_value(start, &bytes)));
            Ok((weak_sum(&bytes), strong))
        });
        let sums = sums.collect::<io::Result<_>>()?;
        Ok(Self {
            salt,
            basis_len,
            sums,
        })
    }

    /// Looks at the source, `len` bytes of `file`: first at the places of the sampled blocks, then
    /// by rolling over stretches long enough that one with nothing but moved content holds one.
    /// Also tells where sampled blocks were looked at in place, and whether they were equal.
    pub(super) fn outlook<F: Basis + ?Sized>(
        &self,
        file: &F,
        len: u64,
    ) -> io::Result<(Outlook, Vec<(u64, bool)>)> {
        let (in_place, places) = self.in_place(file, len)?;
        let whole = 0..len;
        let outlook = if in_place {
            Outlook::InPlace
        } else if self.is_moved(file, &[whole])? {
            Outlook::Moved
        } else {
            Outlook::Hopeless
        };
        Ok((outlook, places))
    }

    /// True if stretches of the source within `gaps` hold a sampled block, wherever the basis has
    /// it; also if the basis is too long to tell.
    pub(super) fn is_moved<F: Basis + ?Sized>(
        &self,
        file: &F,
        gaps: &[Range<u64>],
    ) -> io::Result<bool> {
        let spacing = self.basis_len / self.sums.len().max(1) as u64 + 2 * BLOCK_LEN;
        if spacing > MAX_STRETCH_LEN {
            return Ok(true);
        }
        let index = self.index();
        let gaps_len = total_len(gaps);
        let count = STRETCHES.min(gaps_len.div_ceil(spacing)).max(1);
        let mut bytes = PageBuf::default();
        for stretch in 0..count {
            // Counted over the gaps alone.
            let mut wanted = gaps_len / count * stretch;
            let gap = gaps.iter().find(|gap| {
                let len = gap.end - gap.start;
                let is_here = wanted < len;
                wanted -= if is_here { 0 } else { len };
                is_here
            });
            let Some(gap) = gap else { break };
            // Rather before than beyond its end.
            let latest = gap.end.saturating_sub(spacing).max(gap.start);
            let start = (gap.start + wanted).min(latest);
            let len = spacing.min(gap.end - start);
            bytes.resize(usize::try_from(len).unwrap_or(0));
            file.read_exact_at(&mut bytes, start)?;
            if has_match(&bytes, &index) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Zeros at the same place say little, unless there is not much else.
    fn in_place<F: Basis + ?Sized>(
        &self,
        file: &F,
        len: u64,
    ) -> io::Result<(bool, Vec<(u64, bool)>)> {
        let key = StrongKey::new(&self.salt);
        let mut bytes = vec![0; BLOCK_LEN as usize];
        let (mut equal, mut equal_zeros) = (0, 0);
        let mut places = Vec::new();
        for (block, (weak, strong)) in sampled_blocks(self.basis_len).zip(&self.sums) {
            let start = block * BLOCK_LEN;
            if start + BLOCK_LEN > len {
                break;
            }
            file.read_exact_at(&mut bytes, start)?;
            let is_equal = weak_sum(&bytes) == *weak
                && shorten(key.strong(&block_value(start, &bytes))) == *strong;
            if is_equal {
                let is_zero = bytes.iter().all(|byte| *byte == 0);
                *(if is_zero {
                    &mut equal_zeros
                } else {
                    &mut equal
                }) += 1;
            }
            places.push((start, is_equal));
        }
        let count = self.sums.len();
        let in_place = equal * MIN_EQUAL_SHARE >= count.max(1) || equal_zeros * 2 > count;
        Ok((in_place, places))
    }

    /// The sampled blocks, to be searched for; not zeros, which are everywhere and cost nothing.
    fn index(&self) -> IndexedSignature {
        let padded = |short: &ShortSum| {
            let mut strong = [0; 16];
            strong.split_at_mut(short.len()).0.copy_from_slice(short);
            strong
        };
        let mut signature = Signature {
            block_len: BlockLen::new(BLOCK_LEN as u32).unwrap_or(BlockLen::MIN),
            salt: self.salt,
            basis_len: self.basis_len,
            weak: Vec::new(),
            strong: Vec::new(),
        };
        let mut blocks = Vec::new();
        let zeros = weak_sum(&[0; BLOCK_LEN as usize]);
        for (block, (weak, strong)) in sampled_blocks(self.basis_len).zip(&self.sums) {
            if *weak != zeros {
                signature.weak.push(*weak);
                signature.strong.push(padded(strong));
                blocks.push(block);
            }
        }
        IndexedSignature::of_blocks(signature, blocks, size_of::<ShortSum>())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend(self.salt);
        out.extend(self.basis_len.to_le_bytes());
        for (weak, strong) in &self.sums {
            out.extend(weak.to_le_bytes());
            out.extend(strong);
        }
        out
    }

    pub(super) fn decode(encoded: &[u8]) -> Result<Self, MessageError> {
        let error = MessageError {
            what: "sample",
            len: encoded.len(),
        };
        let (&[FORMAT], rest) = encoded.split_first_chunk().ok_or(error)? else {
            return Err(error);
        };
        let (&salt, rest) = rest.split_first_chunk().ok_or(error)?;
        let (&basis_len, rest) = rest.split_first_chunk().ok_or(error)?;
        let basis_len = u64::from_le_bytes(basis_len);
        let (sums, rest) = rest.as_chunks::<12>();
        let count = sampled_blocks(basis_len.min(MAX_BASIS_LEN)).count();
        if basis_len > MAX_BASIS_LEN || sums.len() != count || !rest.is_empty() {
            return Err(error);
        }
        let sums = sums.iter().map(|&[a, b, c, d, ref strong @ ..]| {
            let mut short = ShortSum::default();
            short.copy_from_slice(strong);
            (u32::from_le_bytes([a, b, c, d]), short)
        });
        Ok(Self {
            salt,
            basis_len,
            sums: sums.collect(),
        })
    }
}

/// Numbers of the sampled blocks, rising: one for every 4 MiB, at least 16 and at most 4096 if the
/// basis has as many; the first and the last full block are among them.
fn sampled_blocks(basis_len: u64) -> impl Iterator<Item = u64> {
    let block_count = basis_len / BLOCK_LEN;
    let wanted = (basis_len / SPACING).clamp(MIN_SAMPLES, MAX_SAMPLES);
    let count = wanted.min(block_count);
    let last = block_count.saturating_sub(1);
    (0..count).map(move |number| {
        let numerator = u128::from(last) * u128::from(number);
        // Not above `last`, which is a u64.
        (numerator / u128::from((count - 1).max(1))) as u64
    })
}

/// True if a message is the sample that a receiver begins with; its first byte tells.
#[must_use]
pub fn is_sample(message: &[u8]) -> bool {
    message.first() == Some(&FORMAT)
}

/// Sets a sample apart from the other first bytes of an exchange: 1 is a signature.
const FORMAT: u8 = 2;

const BLOCK_LEN: u64 = 1 << 12;
const SPACING: u64 = 1 << 22;
const MIN_SAMPLES: u64 = 16;
const MAX_SAMPLES: u64 = 4096;
const MAX_BASIS_LEN: u64 = super::super::signature::MAX_BASIS_LEN;

/// One of so many equal blocks is enough to compare the trees. Fewer may be no more than a common
/// header.
const MIN_EQUAL_SHARE: usize = 64;

/// Stretches of the source that are rolled over.
const STRETCHES: u64 = 16;

/// The longest stretch, in bytes: what the spacing comes to at 64 GiB.
const MAX_STRETCH_LEN: u64 = (1 << 24) + 2 * BLOCK_LEN;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::tests::noise;
    use super::*;

    const MIB: usize = 1 << 20;

    fn outlook(basis: &[u8], source: &[u8]) -> Outlook {
        let sample = Sample::of(basis, basis.len() as u64, [3; 16]).unwrap();
        assert_eq!(Sample::decode(&sample.encode()).unwrap(), sample);
        sample.outlook(source, source.len() as u64).unwrap().0
    }

    #[test]
    fn outlooks_tell_the_shapes_apart() {
        for len in [MIB, 10 * MIB + 77, 40 * MIB] {
            let basis = noise(1, len);
            let mut pages = basis.clone();
            pages
                .chunks_mut(8192)
                .step_by(3)
                .for_each(|page| page.fill(9));
            let shifted = [&noise(2, 1237), &basis[..]].concat();
            let halves = [&noise(2, len / 2), &basis[..len / 2]].concat();
            assert_eq!(outlook(&basis, &basis), Outlook::InPlace);
            assert_eq!(outlook(&basis, &pages), Outlook::InPlace);
            assert_eq!(outlook(&basis, &basis[..len / 2]), Outlook::InPlace);
            assert_eq!(outlook(&basis, &shifted), Outlook::Moved);
            assert_eq!(outlook(&basis, &halves), Outlook::Moved);
            assert_eq!(outlook(&basis, &noise(5, len)), Outlook::Hopeless);
            assert_eq!(outlook(&basis, b""), Outlook::Hopeless);
        }
    }

    #[test]
    fn zeros_are_in_place_if_they_are_most_of_it() {
        let zeros = vec![0; 5 * MIB];
        assert_eq!(
            outlook(&zeros, &[&zeros[..], b"x"].concat()),
            Outlook::InPlace
        );
        assert_eq!(
            outlook(&zeros, &[b"x", &zeros[..]].concat()),
            Outlook::InPlace
        );
        // A common hole in the middle of otherwise strange files.
        let with_hole = |seed| [noise(seed, 3 * MIB), vec![0; MIB], noise(seed + 1, MIB)].concat();
        assert_ne!(outlook(&with_hole(1), &with_hole(7)), Outlook::InPlace);
    }

    #[test]
    fn damaged_samples_are_errors() {
        let good = Sample::of(&noise(1, MIB)[..], MIB as u64, [3; 16])
            .unwrap()
            .encode();
        for cut in 0..good.len() {
            assert!(Sample::decode(&good[..cut]).is_err());
        }
        assert!(Sample::decode(&[&good[..], &[0]].concat()).is_err());
        let mut huge = good;
        huge[17..25].fill(0xff);
        assert!(Sample::decode(&huge).is_err());
    }

    #[test]
    fn samples_are_spread_and_bounded() {
        for len in [
            0,
            1,
            4095,
            4096,
            5000,
            100_000,
            1 << 30,
            1 << 50,
            MAX_BASIS_LEN,
        ] {
            let blocks: Vec<_> = sampled_blocks(len).collect();
            assert!(blocks.is_sorted() && blocks.len() as u64 <= MAX_SAMPLES);
            assert!(blocks.iter().all(|block| (block + 1) * BLOCK_LEN <= len));
            assert_eq!(blocks.is_empty(), len < BLOCK_LEN);
        }
    }
}
