//! The delta engine as a whole: what is searched and applied is the source, on every shape of
//! change.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Read;

use proptest::prelude::*;

mod shapes;

use super::{BlockLen, DiffSummary, Op, OpDecoder, OpEncoder, Patcher, Signature, diff, whole};

const KIB: usize = 1024;

/// Searches, encodes, decodes, applies; panics unless that gives `source` again.
fn check_with(basis: &[u8], source: &[u8], block_len: u32) -> DiffSummary {
    let block_len = BlockLen::new(block_len).unwrap();
    let signature = Signature::with_salt(basis, basis.len() as u64, block_len, [3; 16]).unwrap();
    let (mut encoder, mut encoded) = (OpEncoder::default(), Vec::new());
    let summary = diff(source, &signature.index(), &mut |op| {
        encoder.encode(op, &mut encoded);
        Ok(())
    })
    .unwrap();
    let mut patcher = Patcher::new(basis, basis.len() as u64, Vec::new(), source.len() as u64);
    let (mut decoder, mut input) = (OpDecoder::default(), encoded.as_slice());
    while let Some(op) = decoder.next(&mut input).unwrap() {
        patcher.apply(op).unwrap();
    }
    let (patched, result) = patcher.finish().unwrap();
    assert!(result == source, "result differs from the source");
    assert_eq!(patched.sum, summary.sum);
    assert_eq!(summary.sum, blake3::hash(source));
    assert_eq!(summary.source_len, source.len() as u64);
    summary
}

fn check(basis: &[u8], source: &[u8]) -> DiffSummary {
    check_with(basis, source, 1024)
}

/// Bytes without repetition, different for each seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

#[test]
fn equal_data_is_all_copies() {
    for len in [0, 1, 1023, 1024, 1025, 100 * KIB, 3 * 1024 * KIB + 17] {
        let data = noise(1, len);
        let summary = check(&data, &data);
        assert_eq!(summary.matched_bytes, len as u64);
        assert_eq!(summary.hash_hits, 0, "nothing needs a look-up");
    }
}

#[test]
fn unrelated_data_is_all_literals() {
    for len in [1, 1024, 100 * KIB, 2 * 1024 * KIB + 1] {
        let summary = check(&noise(1, len), &noise(2, len));
        assert_eq!(summary.literal_bytes, len as u64);
    }
}

#[test]
fn missing_basis_or_source_is_fine() {
    assert_eq!(check(&[], &noise(1, 5000)).literal_bytes, 5000);
    assert_eq!(check(&noise(1, 5000), &[]).source_len, 0);
}

#[test]
fn changed_pages_cost_their_blocks() {
    let basis = noise(1, 4096 * KIB);
    let mut source = basis.clone();
    for page in [0, 17, 18, 500, 1023] {
        source[page * 4096 + 100] ^= 1;
    }
    let summary = check_with(&basis, &source, 4096);
    assert_eq!(summary.literal_bytes, 5 * 4096);
}

#[test]
fn insertion_costs_what_was_inserted() {
    let basis = noise(1, 3000 * KIB);
    for (at, len) in [(0, 1), (0, 1237), (512 * KIB, 3), (1234 * KIB + 5, 100_000)] {
        let mut source = basis.clone();
        source.splice(at..at, noise(9, len));
        let summary = check(&basis, &source);
        assert!(
            summary.literal_bytes <= (len + KIB) as u64,
            "{at} {len}: {summary:?}"
        );
    }
}

#[test]
fn deletion_append_and_truncation_cost_at_most_a_block_at_each_cut() {
    let basis = noise(1, 2500 * KIB + 300);
    let cases: [(Vec<u8>, usize); 4] = [
        ([&basis[..700_001], &basis[800_007..]].concat(), 2 * KIB),
        ([&basis[..], &noise(5, 5000)].concat(), 5000),
        (basis[..1_000_000].to_vec(), KIB),
        (basis[1_000_001..].to_vec(), KIB),
    ];
    for (source, allowed) in &cases {
        let summary = check(&basis, source);
        assert!(summary.literal_bytes <= *allowed as u64, "{summary:?}");
    }
}

#[test]
fn swapped_blocks_are_copies() {
    let basis = noise(1, 64 * KIB);
    let source = [&basis[32 * KIB..], &basis[..32 * KIB]].concat();
    assert_eq!(check(&basis, &source).literal_bytes, 0);
    let interleaved: Vec<u8> = basis.chunks(KIB).rev().flatten().copied().collect();
    assert_eq!(check(&basis, &interleaved).literal_bytes, 0);
}

#[test]
fn equal_blocks_are_linear_and_copied() {
    let basis = vec![0; 8 << 20];
    let summary = check(&basis, &[&basis[..], b"x"].concat());
    assert_eq!((summary.literal_bytes, summary.matched_bytes), (1, 8 << 20));
    let summary = check(&basis, &[b"x", &basis[..]].concat());
    assert!(
        summary.literal_bytes <= 1025 && summary.false_alarms == 0,
        "{summary:?}"
    );
    let periodic: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 100) as u8).collect();
    let summary = check(&periodic, &periodic[37..]);
    assert!(summary.literal_bytes <= 2048, "{summary:?}");
}

#[test]
fn crafted_false_alarms_stop_the_look_ups_not_the_search() {
    // Every window of the source has the weak sum of the basis blocks, but none their content.
    let mut block = vec![b'a'; KIB];
    for (index, delta) in [(0, 1_i8), (1, -2), (2, 1)] {
        block[index] = block[index].wrapping_add_signed(delta);
    }
    assert_eq!(
        super::weak::weak_sum(&block),
        super::weak::weak_sum(&[b'a'; KIB])
    );
    let basis = block.repeat(8);
    let summary = check(&basis, &vec![b'a'; 2 << 20]);
    assert_eq!(summary.literal_bytes, 2 << 20);
    assert!(
        summary.false_alarms * 1024 <= (66 << 20) + 4096,
        "{summary:?}"
    );
}

#[test]
fn zero_runs_that_the_basis_lacks_are_zero_ops() {
    let basis = noise(1, 100 * KIB);
    let source = [&basis[..], &vec![0; 5 << 20], &noise(2, 10)].concat();
    let summary = check(&basis, &source);
    assert!(
        summary.zero_bytes > (5 << 20) - 4096 && summary.literal_bytes < 4200,
        "{summary:?}"
    );
}

#[test]
fn whole_is_literals_and_zero_runs() {
    let source = [noise(1, 100_000), vec![0; 3 << 20], noise(2, 500_000)].concat();
    let mut patcher = Patcher::new(&[][..], 0, Vec::new(), source.len() as u64);
    let mut sink = |op: Op<'_>| patcher.apply(op).map_err(std::io::Error::other);
    let summary = whole(source.as_slice(), &mut sink).unwrap();
    let (patched, result) = patcher.finish().unwrap();
    assert!(result == source);
    assert_eq!(
        (patched.sum, summary.sum),
        (blake3::hash(&source), patched.sum)
    );
    assert_eq!(summary.matched_bytes, 0);
    assert!(summary.zero_bytes >= (3 << 20) - 2 * 4096);
}

#[test]
fn errors_of_reader_and_sink_arrive() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk gone"))
        }
    }
    let signature = Signature::of(&b"x"[..], 1, BlockLen::MIN).unwrap().index();
    let read_error = diff(Broken, &signature, &mut |_| Ok(())).unwrap_err();
    assert_eq!(read_error.to_string(), "disk gone");
    assert!(Signature::of(Broken, 1, BlockLen::MIN).is_err());
    let full = diff(&b"y"[..], &signature, &mut |_| {
        Err(std::io::Error::other("pipe full"))
    });
    assert_eq!(full.unwrap_err().to_string(), "pipe full");
}

/// Yields the data in pieces of the given sizes, over and over.
struct Split<'a> {
    data: &'a [u8],
    sizes: &'a [usize],
    turn: usize,
}

impl Read for Split<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        let room = buffer.len().min(size);
        self.data.read(&mut buffer[..room])
    }
}

#[test]
fn ops_do_not_depend_on_how_the_reader_splits() {
    let basis = noise(1, 1500 * KIB + 77);
    let mut source = basis.clone();
    source.splice(700_000..700_100, noise(2, 5000));
    source.splice(1_000_000..1_000_000, noise(3, 300_000));
    source[200_000] ^= 1;
    let signature = Signature::with_salt(basis.as_slice(), 0, BlockLen::MIN, [0; 16]).unwrap();
    let indexed = signature.clone().index();
    let ops_with = |sizes: &[usize]| {
        let (mut encoder, mut encoded) = (OpEncoder::default(), Vec::new());
        diff(
            Split {
                data: &source,
                sizes,
                turn: 0,
            },
            &indexed,
            &mut |op| {
                encoder.encode(op, &mut encoded);
                Ok(())
            },
        )
        .unwrap();
        encoded
    };
    let expected = ops_with(&[usize::MAX]);
    for sizes in [
        &[1][..],
        &[2],
        &[3],
        &[7],
        &[15],
        &[100],
        &[10_000],
        &[200_000],
        &[1, 1_000_000, 13],
    ] {
        assert!(ops_with(sizes) == expected, "{sizes:?}");
        let split = Split {
            data: &basis,
            sizes,
            turn: 0,
        };
        let again = Signature::with_salt(split, 0, BlockLen::MIN, [0; 16]).unwrap();
        assert!(again == signature, "{sizes:?}");
    }
}

#[test]
fn fuzz_corpus_passes() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
    type Entry = fn(&[u8]);
    let targets: [(&str, Entry); 6] = [
        ("signature_decode", super::fuzzing::signature_decode),
        ("delta_apply", super::fuzzing::delta_apply),
        ("delta_round_trip", super::fuzzing::round_trip),
        ("delta_file", super::fuzzing::delta_file),
        ("exchange_ask", super::fuzzing::exchange_ask),
        ("exchange_compare", super::fuzzing::exchange_compare),
    ];
    for (target, run) in targets {
        let files: Vec<_> = std::fs::read_dir(format!("{corpus}/{target}"))
            .unwrap()
            .collect();
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            run(&std::fs::read(file.unwrap().path()).unwrap());
        }
    }
}

/// One edit of a file, in fractions of its length so that it fits any.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Overwrite(f64, Vec<u8>),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Move(f64, f64, usize),
    Zero(f64, usize),
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            (any::<u64>(), 0..9000_usize).prop_map(|(seed, len)| noise(seed, len)),
        ]
    };
    prop_oneof![
        (0.0..1.0, bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
        (0.0..1.0, bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (0.0..1.0, 0..9000_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        (0.0..1.0, 0.0..1.0, 0..20_000_usize).prop_map(|(from, to, len)| Edit::Move(from, to, len)),
        (0.0..1.0, 0..20_000_usize).prop_map(|(at, len)| Edit::Zero(at, len)),
    ]
}

pub(super) fn apply_edit(file: &mut Vec<u8>, edit: &Edit) {
    let at = |fraction: f64, len: usize| (fraction * len as f64) as usize;
    match edit {
        Edit::Overwrite(from, bytes) => {
            let start = at(*from, file.len());
            let end = (start + bytes.len()).min(file.len());
            file[start..end].copy_from_slice(&bytes[..end - start]);
        }
        Edit::Insert(from, bytes) => {
            let start = at(*from, file.len());
            file.splice(start..start, bytes.iter().copied());
        }
        Edit::Remove(from, len) => {
            let start = at(*from, file.len());
            file.drain(start..(start + len).min(file.len()));
        }
        Edit::Move(from, to, len) => {
            let start = at(*from, file.len());
            let moved: Vec<u8> = file.drain(start..(start + len).min(file.len())).collect();
            let target = at(*to, file.len());
            file.splice(target..target, moved);
        }
        Edit::Zero(from, len) => {
            let start = at(*from, file.len());
            let end = (start + len).min(file.len());
            file[start..end].fill(0);
        }
    }
}

/// Files with structure: noise, zeros and repetition, up to some 200 KiB.
pub(super) fn file() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (any::<u64>(), 0..60_000_usize).prop_map(|(seed, len)| noise(seed, len)),
        (0..40_000_usize).prop_map(|len| vec![0; len]),
        (any::<u64>(), 1..3000_usize, 1..20_usize)
            .prop_map(|(seed, len, times)| noise(seed, len).repeat(times)),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_edits_round_trip(
        basis in file(), edits in prop::collection::vec(edit(), 0..6), bits in 10..15_u32,
    ) {
        let mut source = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut source, edit));
        check_with(&basis, &source, 1 << bits);
    }

    #[test]
    fn unrelated_files_round_trip(basis in file(), source in file()) {
        check(&basis, &source);
    }

    #[test]
    fn fast_rsync_rebuilds_the_same(basis in file(), edits in prop::collection::vec(edit(), 0..4)) {
        let mut source = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut source, edit));
        prop_assert!(with_fast_rsync(&basis, &source).0 == source);
        check(&basis, &source);
    }

    #[test]
    fn fast_rsync_sends_no_fewer_literals_on_insertions_and_appends(
        seed in any::<u64>(), len in 0..200_000_usize,
        at in prop_oneof![0.0..1.0, Just(1.0)],
        inserted in prop::collection::vec(any::<u8>(), 1..5000),
    ) {
        let basis = noise(seed, len);
        let mut source = basis.clone();
        apply_edit(&mut source, &Edit::Insert(at, inserted));
        let (rebuilt, literal_bytes) = with_fast_rsync(&basis, &source);
        prop_assert!(rebuilt == source);
        let ours = check(&basis, &source);
        prop_assert!(ours.literal_bytes <= literal_bytes, "{ours:?}, fast_rsync {literal_bytes}");
    }

    #[test]
    fn hostile_signatures_and_deltas_are_errors(
        data in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        super::fuzzing::signature_decode(&data);
        super::fuzzing::delta_apply(&data);
        super::fuzzing::delta_file(&data);
        super::fuzzing::round_trip(&data);
    }

    #[test]
    fn hostile_block_sums_are_searched_in_bounds(
        sums in prop::collection::vec(any::<[u8; 20]>(), 0..50), tail in 1..=1024_u64,
    ) {
        let mut encoded = vec![1, 10];
        encoded.extend([0; 16]);
        let full = (sums.len() as u64).saturating_sub(1) * 1024;
        encoded.extend((if sums.is_empty() { 0 } else { full + tail }).to_le_bytes());
        encoded.extend(sums.concat());
        prop_assert!(Signature::decode(&encoded, 50).is_ok());
        super::fuzzing::signature_decode(&encoded);
    }
}

/// The source as fast_rsync rebuilds it, and how many literal bytes it needs in blocks of 1 KiB.
fn with_fast_rsync(basis: &[u8], source: &[u8]) -> (Vec<u8>, u64) {
    let options = fast_rsync::SignatureOptions {
        block_size: 1024,
        crypto_hash_size: 16,
    };
    let signature = fast_rsync::Signature::calculate(basis, options);
    let mut delta = Vec::new();
    fast_rsync::diff(&signature.index(), source, &mut delta).unwrap();
    let mut rebuilt = Vec::new();
    fast_rsync::apply(basis, &delta, &mut rebuilt).unwrap();
    (rebuilt, literal_bytes_of_librsync_delta(&delta))
}

/// Walks a delta in the librsync format: a command byte, its big-endian parameters, the literal.
fn literal_bytes_of_librsync_delta(delta: &[u8]) -> u64 {
    let (mut total, mut rest) = (0, &delta[4..]);
    let mut take = |count: usize| {
        let (number, tail) = rest.split_at(count);
        rest = tail;
        number
            .iter()
            .fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
    };
    loop {
        let command = take(1);
        let literal_len = match command {
            0 => return total,
            1..=0x40 => command,
            0x41..=0x44 => take(1 << (command - 0x41)),
            0x45..=0x54 => {
                take(1 << ((command - 0x45) / 4));
                take(1 << ((command - 0x45) % 4));
                0
            }
            _ => panic!("unknown librsync command {command:#x}"),
        };
        (0..literal_len).for_each(|_| _ = take(1));
        total += literal_len;
    }
}
