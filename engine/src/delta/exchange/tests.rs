//! The exchange as a whole: its ops rebuild the source, and it costs what changed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;

use proptest::prelude::*;

use super::super::tests::{Edit, apply_edit, edit, file, noise};
use super::super::{DiffSummary, Patcher};
use super::message::{Ask, MAX_ASK_NODES, Offer};
use super::sample::Sample;
use super::{AskError, BasisSums, Comparison, MAX_ANSWER_LEN, MAX_ASK_LEN, Step, SumTree};

const MIB: usize = 1 << 20;

/// What an exchange cost.
#[derive(Debug)]
struct Cost {
    summary: DiffSummary,
    /// Bytes of offers and answers, and of asks.
    sums: usize,
    asks: usize,
    rounds: usize,
}

/// Runs the exchange and applies what comes out; panics unless that is `source`.
fn exchange(basis: &[u8], source: &[u8]) -> Cost {
    let mut sums = BasisSums::new(basis, basis.len() as u64, 2).unwrap();
    let sample = sums.sample().unwrap();
    let (mut cost_sums, mut asks, mut rounds) = (sample.len(), 0, 0);
    let len = source.len() as u64;
    let (mut comparison, mut step) = Comparison::start(source, len, 2, &sample).unwrap();
    let plan = loop {
        match step {
            Step::Ready(plan) => break plan,
            Step::Ask(ask) => {
                let answer = sums.answer(&ask).unwrap();
                assert!(ask.len() <= MAX_ASK_LEN && answer.len() <= MAX_ANSWER_LEN);
                (cost_sums, asks, rounds) =
                    (cost_sums + answer.len(), asks + ask.len(), rounds + 1);
                step = comparison.answer(&answer).unwrap();
            }
        }
    };
    let mut patcher = Patcher::new(basis, basis.len() as u64, Vec::new(), source.len() as u64);
    let mut sink = |op: super::super::Op<'_>| patcher.apply(op).map_err(io::Error::other);
    let summary = plan.emit(comparison.file(), &mut sink).unwrap();
    let (patched, result) = patcher.finish().unwrap();
    assert!(result == source, "result differs from the source");
    assert_eq!(summary.sum, blake3::hash(source));
    assert_eq!(
        (patched.len, patched.sum),
        (summary.source_len, summary.sum)
    );
    Cost {
        summary,
        sums: cost_sums,
        asks,
        rounds,
    }
}

#[test]
fn tree_sums_are_blake3_whatever_the_threads() {
    let data = noise(1, 3 * MIB + 12_345);
    for len in [
        0,
        1,
        4096,
        4097,
        8192,
        20_000,
        MIB,
        MIB + 1,
        2 * MIB + 16_384,
        data.len(),
    ] {
        for threads in [0, 1, 3] {
            let tree = SumTree::of(&data[..len], len as u64, threads).unwrap();
            assert_eq!(tree.sum(), blake3::hash(&data[..len]), "{len}");
        }
    }
    assert!(SumTree::of(&data[..], data.len() as u64 + 1, 2).is_err());
}

#[test]
fn equal_files_cost_a_sample_and_an_offer() {
    for len in [4096, 100_000, 5 * MIB + 1] {
        let data = noise(1, len);
        let cost = exchange(&data, &data);
        assert_eq!((cost.summary.matched_bytes, cost.rounds), (len as u64, 1));
        assert!(cost.sums <= 2150 + 12 * 16, "{cost:?}");
    }
}

#[test]
fn scattered_pages_cost_little_more_than_themselves() {
    let basis = noise(1, 64 * MIB);
    let mut source = basis.clone();
    let page_count = 80;
    for page in 0..page_count {
        let at = (page * 797 % 8192) * 8192;
        source[at..at + 8192].copy_from_slice(&noise(page as u64 + 2, 8192));
    }
    let cost = exchange(&basis, &source);
    assert_eq!(cost.summary.literal_bytes, page_count as u64 * 8192);
    assert!(cost.sums + cost.asks < page_count * 500, "{cost:?}");
}

#[test]
fn appends_and_truncations_cost_the_tail() {
    let basis = noise(1, 20 * MIB + 777);
    let longer = [&basis[..], &noise(2, MIB)].concat();
    for (basis, source, literal_max) in [(&basis, &longer, MIB + 4096), (&longer, &basis, 4096)] {
        let cost = exchange(basis, source);
        assert!(cost.summary.literal_bytes <= literal_max as u64, "{cost:?}");
        assert!(cost.sums < 6000 && cost.rounds <= 3, "{cost:?}");
    }
}

#[test]
fn insertions_are_rolled_over_after_a_sample_of_the_trees() {
    let basis = noise(1, 48 * MIB);
    for at in [0, 30 * MIB + 5] {
        let mut source = basis.clone();
        source.splice(at..at, noise(2, 1237));
        let cost = exchange(&basis, &source);
        let block_len = 8192;
        assert!(
            cost.summary.literal_bytes <= 1237 + 4 * block_len,
            "{cost:?}"
        );
        assert!(cost.sums < 48 * MIB / 300, "{cost:?}");
    }
}

#[test]
fn unrelated_files_go_over_whole_and_cheaply() {
    let (basis, source) = (noise(1, 40 * MIB), noise(2, 40 * MIB));
    let cost = exchange(&basis, &source);
    assert_eq!(cost.summary.literal_bytes, source.len() as u64);
    assert!(cost.sums + cost.asks < source.len() / 200, "{cost:?}");
}

#[test]
fn zeros_with_a_byte_more_are_copies() {
    let basis = vec![0; 10 * MIB];
    for source in [[&basis[..], b"x"].concat(), [b"x", &basis[..]].concat()] {
        let cost = exchange(&basis, &source);
        assert!(cost.summary.literal_bytes <= 8192, "{cost:?}");
    }
}

#[test]
fn dense_changes_after_a_sample_are_compared_everywhere() {
    // Every top node differs, and nearly every node below; half of the pages are equal.
    let basis = noise(1, 16 * MIB);
    let mut source = basis.clone();
    for page in source.chunks_mut(4096).step_by(20) {
        page[7] ^= 1;
    }
    let cost = exchange(&basis, &source);
    assert!(
        cost.summary.literal_bytes <= 16 * MIB as u64 / 20 + 4096,
        "{cost:?}"
    );
}

#[test]
fn asks_that_make_no_sense_are_refused() {
    let basis = noise(1, 2 * MIB);
    let mut sums = BasisSums::new(&basis[..], basis.len() as u64, 1).unwrap();
    let children = |span: u64, nodes: &[u64]| {
        Ask::Children {
            span,
            nodes: nodes.to_vec(),
        }
        .encode()
    };
    assert_eq!(
        sums.answer(&children(16_384, &[0, 127])).unwrap().len(),
        2 * 4 * 8
    );
    let too_many: Vec<u64> = (0..=MAX_ASK_NODES as u64).collect();
    for bad in [
        vec![],
        vec![1],
        vec![3, 14],
        vec![1, 200, 0],
        vec![2, 9, 0, 0],
        vec![2, 12, 0],
        vec![2, 12, 0xff],
        children(16_384, &[128]),
        children(4096, &[0]),
        children(1 << 40, &[0]),
        children(16_384, &too_many),
    ] {
        assert!(
            matches!(sums.answer(&bad), Err(AskError::Peer(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn offers_and_answers_that_make_no_sense_are_refused() {
    let data = noise(1, 3 * MIB);
    let offer = Offer {
        salt: [1; 16],
        basis_len: 3 << 20,
        sum: [9; 32],
        nodes: vec![[0; 8]; 192],
    };
    let good = offer.encode();
    assert_eq!(Offer::decode(&good).unwrap(), offer);
    let sample = Sample::of(&data[..], 3 << 20, offer.salt).unwrap().encode();
    let start = || Comparison::start(&data[..], 3 << 20, 1, &sample).unwrap().0;
    for cut in 0..good.len() {
        assert!(start().answer(&good[..cut]).is_err());
    }
    assert!(start().answer(&[&good[..], &[0]].concat()).is_err());
    for other in [
        Offer {
            basis_len: u64::MAX,
            ..offer.clone()
        },
        Offer {
            salt: [2; 16],
            ..offer
        },
    ] {
        assert!(start().answer(&other.encode()).is_err());
    }
    for answer in [&[][..], &[0; 7], &[0; 8], &[0; 100_000]] {
        let mut comparison = start();
        comparison.answer(&good).unwrap();
        assert!(comparison.answer(answer).is_err());
        assert!(
            comparison.answer(answer).is_err(),
            "an ended comparison stays ended"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_edits_round_trip(
        basis in file(), edits in prop::collection::vec(edit(), 0..6), times in 1..20_usize,
    ) {
        let basis = basis.repeat(times);
        let mut source = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut source, edit));
        exchange(&basis, &source);
    }

    #[test]
    fn unrelated_files_round_trip(basis in file(), source in file()) {
        exchange(&basis, &source);
    }

    #[test]
    fn insertions_into_large_files_round_trip(
        seed in any::<u64>(), len in 0..4 * MIB, at in 0.0..1.0,
        inserted in prop::collection::vec(any::<u8>(), 1..5000),
    ) {
        let basis = noise(seed, len);
        let mut source = basis.clone();
        let inserted_len = inserted.len();
        apply_edit(&mut source, &Edit::Insert(at, inserted));
        let cost = exchange(&basis, &source);
        prop_assert!(cost.summary.literal_bytes <= (inserted_len + 70_000) as u64, "{cost:?}");
    }

    #[test]
    fn hostile_asks_are_errors(ask in prop::collection::vec(any::<u8>(), 0..60)) {
        super::super::fuzzing::exchange_ask(&ask);
        for kind in [1, 2] {
            let ask = [&[kind, 14][..], &ask].concat();
            super::super::fuzzing::exchange_ask(&ask);
        }
    }
}
