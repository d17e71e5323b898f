//! What the search finds beyond the plain cases: content that moved far into unrelated bytes,
//! collisions, equal blocks, and fast_rsync as the measure on every kind of edit.

use proptest::prelude::*;

use super::super::tree::{StrongKey, block_value};
use super::super::weak::weak_sum;
use super::*;

/// Blocks of unrelated content, far more than are looked at closely after a match.
const FAR: usize = 150;

#[test]
fn four_blocks_in_a_row_are_found_whole_anywhere() {
    let basis = noise(1, 40 * KIB);
    for shift in [0, 1, 511, 1023, 1500, 2048, 3000, 4095] {
        let kept = &basis[7 * KIB..11 * KIB];
        let (before, after) = (noise(2, FAR * KIB + shift), noise(3, FAR * KIB));
        let source = [&before[..], kept, &after].concat();
        let summary = check(&basis, &source);
        assert_eq!(summary.matched_bytes, 4 * KIB as u64, "shift {shift}");
    }
}

#[test]
fn runs_are_found_whole_across_the_windows_of_the_search() {
    let basis = noise(1, 64 * KIB);
    // Where each run begins moves slowly past the places where the search reads on.
    let gap = 200 * KIB + 333;
    let pieces = (0..40).flat_map(|run| [noise(100 + run, gap), basis[..6 * KIB].to_vec()]);
    let source: Vec<u8> = pieces.flatten().collect();
    let summary = check(&basis, &source);
    assert_eq!(summary.literal_bytes, 40 * gap as u64);
}

#[test]
fn single_blocks_near_each_other_are_all_found() {
    let basis = noise(1, 200 * KIB);
    let blocks = basis.chunks(KIB).rev().zip(0..);
    let source: Vec<u8> = blocks
        .flat_map(|(block, i)| [block.to_vec(), noise(1000 + i, 20 * KIB + 7)].concat())
        .collect();
    let summary = check(&basis, &source);
    assert_eq!(summary.matched_bytes, 200 * KIB as u64);
}

#[test]
fn a_shifted_file_is_matched_with_one_look_up() {
    let basis = noise(1, 900 * KIB + 100);
    let source = [&noise(2, 777)[..], &basis].concat();
    let summary = check(&basis, &source);
    assert_eq!((summary.literal_bytes, summary.hash_hits), (777, 1));
}

#[test]
fn equal_blocks_cost_no_more_look_ups_than_different_ones() {
    let block = noise(1, KIB);
    let basis = block.repeat(2000);
    let source = [&block[100..], &basis[..], &block[..1000]].concat();
    let summary = check(&basis, &source);
    assert!(summary.literal_bytes < 2 * KIB as u64, "{summary:?}");
    let tried = (summary.hash_hits, summary.false_alarms);
    assert!(tried.0 <= 2 && tried.1 == 0, "{tried:?}");
    // The weak sum of all blocks, and of every window of the source, but no block's content.
    let mut twin = vec![9; KIB];
    for (index, value) in [(0, 10), (1, 7), (2, 10)] {
        twin[index] = value;
    }
    let summary = check(&vec![9; 100 * KIB], &twin.repeat(100));
    let most = super::super::index::MAX_SAME_WEAK as u64 * summary.hash_hits;
    assert!(summary.false_alarms <= most, "{summary:?}");
}

#[test]
fn a_collision_shows_in_the_sums_and_never_passes_for_the_source() {
    let basis = noise(1, 50 * KIB);
    let mut source = basis.clone();
    source[20 * KIB..21 * KIB].copy_from_slice(&noise(2, KIB));
    source.splice(0..0, *b"shifted");
    let mut signature = Signature::with_salt(&basis[..], 0, BlockLen::MIN, [6; 16]).unwrap();
    // Block 20 of the basis pretends to be what the source has in its place.
    let forged = &source[20 * KIB + 7..21 * KIB + 7];
    signature.weak[20] = weak_sum(forged);
    signature.strong[20] = StrongKey::new(&[6; 16]).strong(&block_value(20 * KIB as u64, forged));
    let mut patcher = Patcher::new(&basis[..], basis.len() as u64, Vec::new(), u64::MAX);
    let mut sink = |op: Op<'_>| patcher.apply(op).map_err(std::io::Error::other);
    let summary = diff(&source[..], &signature.index(), &mut sink).unwrap();
    let (patched, result) = patcher.finish().unwrap();
    assert_eq!(summary.literal_bytes, 7, "the forged block matches");
    assert_eq!(summary.sum, blake3::hash(&source));
    assert_eq!(patched.sum, blake3::hash(&result));
    assert_ne!(patched.sum, summary.sum);
    // What follows a mismatch: the file goes over whole.
    let mut patcher = Patcher::new(&basis[..], basis.len() as u64, Vec::new(), u64::MAX);
    let mut sink = |op: Op<'_>| patcher.apply(op).map_err(std::io::Error::other);
    let summary = whole(&source[..], &mut sink).unwrap();
    let (patched, result) = patcher.finish().unwrap();
    assert!(patched.sum == summary.sum && result == source);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn fast_rsync_sends_no_fewer_literals_on_any_single_edit(
        seed in any::<u64>(), len in 1..300_000_usize, edit in edit(),
    ) {
        // Zero runs are free for us and not for fast_rsync: count them as literals.
        let basis = noise(seed, len);
        let mut source = basis.clone();
        apply_edit(&mut source, &edit);
        let (rebuilt, literal_bytes) = with_fast_rsync(&basis, &source);
        prop_assert!(rebuilt == source);
        let ours = check(&basis, &source);
        let sent = ours.literal_bytes + ours.zero_bytes;
        prop_assert!(sent <= literal_bytes, "{ours:?}, fast_rsync {literal_bytes}");
    }

    #[test]
    fn fast_rsync_sends_no_fewer_literals_on_joined_and_swapped_files(
        first in 5_000..100_000_usize, second in 5_000..100_000_usize, kept in 0..3_usize,
    ) {
        let (a, b, new) = (noise(1, first), noise(2, second), noise(3, 60_000));
        let basis = [&a[..], &b].concat();
        let source = match kept {
            0 => [&b[..], &a].concat(),
            1 => [&new[..], &b, &new, &a].concat(),
            _ => [&b[..], &b, &a].concat(),
        };
        let (rebuilt, literal_bytes) = with_fast_rsync(&basis, &source);
        prop_assert!(rebuilt == source);
        let ours = check(&basis, &source);
        prop_assert!(ours.literal_bytes <= literal_bytes, "{ours:?}, fast_rsync {literal_bytes}");
    }
}
