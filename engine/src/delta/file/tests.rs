//! Signature and delta files: what is written is read back, and every damage is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;

use proptest::prelude::*;

use super::super::tests::{apply_edit, edit, noise};
use super::super::{BlockLen, Op, OpEncoder, Signature, diff};
use super::sealed::SEAL_LEN;
use super::*;

const MAX: u64 = 1 << 40;

fn signature_file(basis: &[u8]) -> Vec<u8> {
    let signature = Signature::with_salt(basis, 0, BlockLen::MIN, [1; 16]).unwrap();
    write_signature(&signature, Vec::new()).unwrap()
}

fn delta_file(basis: &[u8], source: &[u8]) -> Vec<u8> {
    let signature = read_signature(&signature_file(basis)[..], 1 << 20).unwrap();
    let indexed = signature.index();
    let mut delta = DeltaWriter::new(Vec::new(), indexed.basis_len()).unwrap();
    let summary = diff(source, &indexed, &mut |op| delta.op(op)).unwrap();
    delta.finish(&summary).unwrap()
}

fn patch(basis: &[u8], delta: impl Read) -> Result<Vec<u8>, ApplyError> {
    let delta = DeltaReader::open(delta).map_err(ApplyError::Delta)?;
    apply(delta, basis, basis.len() as u64, Vec::new(), MAX).map(|(_, result)| result)
}

fn patch_error(basis: &[u8], delta: &[u8]) -> String {
    patch(basis, delta).unwrap_err().to_string()
}

/// Yields its data one byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

/// A few blocks, changed in the middle and at the end.
fn sample() -> (Vec<u8>, Vec<u8>) {
    let basis = noise(1, 5000);
    let mut source = basis.clone();
    source[2500] ^= 1;
    source.extend(b"tail");
    (basis, source)
}

#[test]
fn round_trips_at_every_edge() {
    let long = noise(7, 3 << 20);
    for (basis, source) in [
        (&b""[..], &b""[..]),
        (b"", b"x"),
        (b"x", b""),
        (&long[..1], &long[..1]),
        (&long[..1024], &long[..1025]),
        (&long[..1 << 20], &long[..]),
        (&long[..], &long[5..2 << 20]),
        (b"other", &long[..]),
    ] {
        let delta = delta_file(basis, source);
        assert!(patch(basis, &delta[..]).unwrap() == source);
        assert!(patch(basis, Trickle(&delta)).unwrap() == source);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn round_trips_of_edited_files(
        seed in any::<u64>(), len in 0..60_000_usize, edits in prop::collection::vec(edit(), 0..6),
    ) {
        let basis = noise(seed, len);
        let mut source = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut source, edit));
        let delta = delta_file(&basis, &source);
        prop_assert!(patch(&basis, &delta[..]).unwrap() == source);
    }
}

#[test]
fn a_file_cut_off_anywhere_is_told() {
    let (basis, source) = sample();
    let (signature, delta) = (signature_file(&basis), delta_file(&basis, &source));
    for len in 0..signature.len() {
        let error = read_signature(&signature[..len], 99).unwrap_err();
        assert!(
            matches!(error, FileError::Truncated { len: told } if told == len as u64),
            "{len}: {error}"
        );
    }
    for len in 0..delta.len() {
        let error = patch_error(&basis, &delta[..len]);
        let expected = format!("the delta is cut off after {len} bytes");
        assert_eq!(error, expected);
    }
}

#[test]
fn every_flipped_bit_is_told() {
    let (basis, source) = sample();
    let (signature, delta) = (signature_file(&basis), delta_file(&basis, &source));
    for at in 0..signature.len() {
        let mut bad = signature.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(read_signature(&bad[..], 1 << 20).is_err(), "{at}");
    }
    for at in 0..delta.len() {
        let mut bad = delta.clone();
        bad[at] ^= 1 << (at % 8);
        let error = patch(&basis, &bad[..]).unwrap_err();
        assert!(matches!(error, ApplyError::Delta(_)), "{at}: {error}");
    }
}

#[test]
fn bytes_after_the_end_are_told() {
    let (basis, source) = sample();
    for file in [signature_file(&basis), delta_file(&basis, &source)] {
        let long = [&file[..], b"\n"].concat();
        let expected = format!("goes on after its end at {} bytes", file.len());
        let signature_error = read_signature(&long[..], 99).map(|_| ());
        let error = match signature_error {
            Err(FileError::Kind { .. }) => patch_error(&basis, &long),
            other => format!("the signature {}", other.unwrap_err()),
        };
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[test]
fn the_kinds_and_versions_of_files_are_told_apart() {
    let (basis, source) = sample();
    let (signature, delta) = (signature_file(&basis), delta_file(&basis, &source));
    let sign_error = |bytes: &[u8]| read_signature(bytes, 99).unwrap_err().to_string();
    assert_eq!(sign_error(&delta), "is a delta, not a signature");
    assert_eq!(sign_error(&basis), "is no hasync signature");
    assert_eq!(
        patch_error(&basis, &signature),
        "the delta is a signature, not a delta"
    );
    let mut newer = delta;
    newer[8] = 2;
    assert_eq!(
        patch_error(&basis, &newer),
        "the delta is of format version 2, this program reads version 1"
    );
}

#[test]
fn another_basis_is_told_from_damage() {
    let (basis, source) = sample();
    let delta = delta_file(&basis, &source);
    assert_eq!(
        patch_error(&basis[1..], &delta),
        "the basis has 4999 bytes, the one that was signed 5000"
    );
    let mut other = basis.clone();
    other[0] ^= 1;
    let error = patch(&other, &delta[..]).unwrap_err();
    assert!(matches!(error, ApplyError::OtherBasis), "{error}");
    // A difference that the delta overwrites anyway does no harm.
    let mut other = basis;
    other[2500] ^= 2;
    assert!(patch(&other, &delta[..]).unwrap() == source);
}

#[test]
fn limits_hold_behind_right_seals() {
    let encoded = |ops: &[Op<'_>]| {
        let (mut encoder, mut part) = (OpEncoder::default(), Vec::new());
        ops.iter().for_each(|op| encoder.encode(*op, &mut part));
        part
    };
    let check = |parts: &[&[u8]], source_len: u64, expected: &str| {
        let file = reseal(4, parts, source_len, &[0; 32]).unwrap();
        let error = patch(b"1234", &file[..]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let far = encoded(&[Op::Copy { offset: 2, len: 3 }]);
    check(&[&far], 3, "copies 3 bytes from offset 2 of a basis of 4");
    let huge = encoded(&[Op::Zero { len: MAX + 1 }]);
    check(&[&huge], MAX + 1, "the limit is 1099511627776");
    check(&[&huge[..1]], 1, "cut off or too large");
    let four = encoded(&[Op::Copy { offset: 0, len: 4 }]);
    check(&[&four], 5, "it makes 4 bytes and says 5");
    check(&[&four], 4, "the basis is not the one");
    check(&[&vec![0; (1 << 20) + 1]], 4, "a part of 1048577 bytes");
    let long = reseal(u64::MAX, &[], 0, blake3::hash(b"").as_bytes()).unwrap();
    let delta = DeltaReader::open(&long[..]).unwrap();
    assert_eq!(delta.basis_len(), u64::MAX);
}

#[test]
fn a_signature_that_announces_too_much_is_refused_before_it_is_read() {
    let file = signature_file(&noise(1, 5000));
    let error = read_signature(&file[..], 4).unwrap_err().to_string();
    assert_eq!(error, "announces a part of 126 bytes, the limit is 106");
    assert!(read_signature(&file[..], 5).is_ok());
}

#[test]
fn writers_refuse_what_readers_would() {
    let mut delta = DeltaWriter::new(Vec::new(), 0).unwrap();
    assert!(delta.op(Op::Literal(&vec![0; (1 << 18) + 1])).is_err());
    delta.op(Op::Literal(b"1")).unwrap();
    let signature = Signature::of(&b""[..], 0, BlockLen::MIN).unwrap();
    let summary = diff(&b""[..], &signature.index(), &mut |_| Ok(())).unwrap();
    assert!(delta.finish(&summary).is_err());
}

#[test]
fn the_smallest_delta_is_as_documented() {
    let delta = delta_file(b"", b"");
    let mut expected = b"hasyncDL\x01\0\0\0\0\0\0\0\0".to_vec();
    let seal = |bytes: &mut Vec<u8>| {
        let seal = blake3::hash(bytes);
        bytes.extend(&seal.as_bytes()[..SEAL_LEN]);
    };
    seal(&mut expected);
    expected.extend([0; 3 + 8]);
    expected.extend(blake3::hash(b"").as_bytes());
    seal(&mut expected);
    assert_eq!(delta, expected);
}
