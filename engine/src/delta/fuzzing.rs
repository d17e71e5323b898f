//! What the fuzz targets run, beside the code they attack. The tests replay the committed corpus
//! through it.

use super::exchange::{BasisSums, Comparison, MAX_ANSWER_LEN, Step};
use super::file::{DeltaReader, apply, read_signature, reseal};
use super::{BlockLen, Op, OpDecoder, Patcher, Signature, diff};

/// Any bytes as a signature: if they decode, they encode to the same bytes, and searching with them
/// terminates and accounts for every byte of the source.
pub fn signature_decode(data: &[u8]) {
    let Ok(signature) = Signature::decode(data, 1 << 16) else {
        return;
    };
    let mut encoded = Vec::new();
    signature.encode(&mut encoded);
    assert_eq!(encoded, data);
    let mut len = 0;
    let summary = diff(data, &signature.index(), &mut |op| {
        len += op.output_len();
        Ok(())
    });
    assert_eq!(summary.map(|summary| summary.source_len).ok(), Some(len));
    assert_eq!(len, data.len() as u64);
}

/// Any bytes as a basis (its length in the first two) and a delta: an error or a result within the
/// limit.
pub fn delta_apply(data: &[u8]) {
    let Some((&[low, high], rest)) = data.split_first_chunk() else {
        return;
    };
    let basis_len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
    let (basis, mut delta) = rest.split_at(basis_len);
    let mut decoder = OpDecoder::default();
    let mut patcher = Patcher::new(basis, basis_len as u64, Vec::new(), MAX_OUTPUT_LEN);
    let mut has_hole = false;
    while let Ok(Some(op)) = decoder.next(&mut delta) {
        has_hole |= matches!(op, Op::Hole { .. });
        if patcher.apply(op).is_err() {
            return;
        }
    }
    if let Ok((summary, result)) = patcher.finish() {
        assert!(summary.len <= MAX_OUTPUT_LEN);
        assert_eq!(summary.len, result.len() as u64);
        assert_eq!(summary.sum == blake3::hash(&result), !has_hole);
    }
}

/// Any bytes as a source and a basis (its length in the first two): the delta rebuilds the source.
pub fn round_trip(data: &[u8]) {
    let Some((&[low, high], rest)) = data.split_first_chunk() else {
        return;
    };
    let (basis, source) =
        rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
    let Ok(signature) = Signature::with_salt(basis, 0, BlockLen::MIN, [0; 16]) else {
        return;
    };
    let mut patcher = Patcher::new(basis, basis.len() as u64, Vec::new(), source.len() as u64);
    let summary = diff(source, &signature.index(), &mut |op| {
        patcher.apply(op).map_err(std::io::Error::other)
    });
    let (patched, result) = patcher
        .finish()
        .map_or((None, Vec::new()), |(s, r)| (Some(s.sum), r));
    assert_eq!(result, source);
    assert_eq!(summary.map(|summary| summary.sum).ok(), patched);
}

/// Any bytes as an ask about a basis of 2 MiB: an error or an answer within the limit.
pub fn exchange_ask(data: &[u8]) {
    let basis = vec![1; 2 << 20];
    let Ok(mut sums) = BasisSums::new(&basis[..], basis.len() as u64, 1) else {
        return;
    };
    if let Ok(answer) = sums.answer(data) {
        assert!(answer.len() <= MAX_ANSWER_LEN);
    }
}

/// Any bytes as a sample, an offer and an answer (the lengths of the first two in the first four
/// bytes): an error, or a plan that emits the whole source.
pub fn exchange_compare(data: &[u8]) {
    let Some((&[a, b, c, d], rest)) = data.split_first_chunk() else {
        return;
    };
    let split =
        |bytes: &'_ [u8], len: [u8; 2]| usize::from(u16::from_le_bytes(len)).min(bytes.len());
    let (sample, rest) = rest.split_at(split(rest, [a, b]));
    let (offer, answer) = rest.split_at(split(rest, [c, d]));
    let source = vec![7; 300_000];
    let len = source.len() as u64;
    let Ok((mut comparison, mut step)) = Comparison::start(&source[..], len, 1, sample) else {
        return;
    };
    for answer in [offer, answer] {
        if let Step::Ask(_) = step {
            let Ok(next) = comparison.answer(answer) else {
                return;
            };
            step = next;
        }
    }
    if let Step::Ready(plan) = step {
        let mut emitted = 0;
        let summary = plan.emit(comparison.file(), &mut |op| {
            emitted += op.output_len();
            Ok(())
        });
        assert_eq!(summary.map(|summary| summary.source_len).ok(), Some(len));
        assert_eq!(emitted, len);
    }
}

/// Any bytes as a signature file, as a delta file, and as the ops of a delta file whose seals are
/// right (lengths of basis and first part in the first four bytes): an error, or a result within
/// the limit.
pub fn delta_file(data: &[u8]) {
    if let Ok(signature) = read_signature(data, 1 << 16) {
        assert!(signature.encoded_len() < data.len());
    }
    let Some((&[a, b, c, d], rest)) = data.split_first_chunk() else {
        return;
    };
    let split =
        |bytes: &'_ [u8], len: [u8; 2]| usize::from(u16::from_le_bytes(len)).min(bytes.len());
    let (basis, rest) = rest.split_at(split(rest, [a, b]));
    let (first, second) = rest.split_at(split(rest, [c, d]));
    let ops_len = |mut ops: &[u8], decoder: &mut OpDecoder| {
        let mut len = 0_u64;
        while let Ok(Some(op)) = decoder.next(&mut ops) {
            len = len.saturating_add(op.output_len());
        }
        len
    };
    let mut decoder = OpDecoder::default();
    let made = ops_len(first, &mut decoder).saturating_add(ops_len(second, &mut decoder));
    let parts: Vec<&[u8]> = [first, second]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let sealed = reseal(basis.len() as u64, &parts, made, &[0; 32]);
    for file in [data, sealed.as_deref().unwrap_or_default()] {
        let Ok(delta) = DeltaReader::open(file) else {
            continue;
        };
        let len = basis.len() as u64;
        if let Ok((summary, result)) = apply(delta, basis, len, Vec::new(), MAX_OUTPUT_LEN) {
            assert!(summary.len <= MAX_OUTPUT_LEN);
            assert_eq!(
                (summary.len, summary.sum),
                (result.len() as u64, blake3::hash(&result))
            );
        }
    }
}

const MAX_OUTPUT_LEN: u64 = 1 << 20;
