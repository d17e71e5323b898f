//! The delta engine beside `fast_rsync`, on the same buffers in the same run, in bytes per second.
//!
//! Groups: `signature` in the blocks that suit the length and in blocks of 16 KiB, `diff-*` for
//! each shape of change, `apply`; sizes 64 KiB, 16 MiB and 1 GiB. All engines run with the same
//! block length on one thread, and all write an encoded delta, whose length is printed. Ours also
//! take the BLAKE3 of the whole file, in diff and in apply. `hasync-tree` is the tree exchange: the
//! sums of the source, and all that both sides do from the offer on. It needs some 6 GiB of memory,
//! and most of its time for fast_rsync on 1 GiB of unrelated data.
#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use hasync_engine::delta::exchange::{BasisSums, Comparison, Step, SumTree};
use hasync_engine::delta::{
    BlockLen, IndexedSignature, OpDecoder, OpEncoder, Patcher, Signature, diff,
};

criterion_group!(benches, bench_delta);
criterion_main!(benches);

fn bench_delta(criterion: &mut Criterion) {
    for len in [64 << 10, 16 << 20, 1 << 30] {
        let basis = noise(1, len);
        signature(criterion, "signature", &basis, block_len(&basis));
        let blocks = BlockLen::new(16 << 10).expect("a power of two in range");
        signature(criterion, "signature-16KiB", &basis, blocks);
        for (shape, source) in SHAPES {
            diff_shape(criterion, shape, &basis, &source(&basis));
        }
        apply(criterion, &basis, &one_percent_changed(&basis));
        drop(basis);
        diff_shape(criterion, "diff-all-zero", &vec![0; len], &vec![0; len + 1]);
    }
}

fn signature(criterion: &mut Criterion, name: &str, basis: &[u8], block_len: BlockLen) {
    let mut group = group(criterion, name, basis.len());
    group.bench_function(BenchmarkId::new("hasync", basis.len()), |bencher| {
        bencher.iter(|| sign(black_box(basis), block_len));
    });
    group.bench_function(BenchmarkId::new("hasync-tree", basis.len()), |bencher| {
        bencher.iter(|| sum_tree(black_box(basis)));
    });
    group.bench_function(BenchmarkId::new("fast_rsync", basis.len()), |bencher| {
        bencher.iter(|| fast_sign(black_box(basis), block_len));
    });
}

fn diff_shape(criterion: &mut Criterion, name: &str, basis: &[u8], source: &[u8]) {
    let mut group = group(criterion, name, source.len());
    let block_len = block_len(basis);
    let mut delta = Vec::new();
    let tell = |engine: &str, delta: &[u8]| {
        // A filter on the command line may have left the engine out.
        if !delta.is_empty() {
            println!(
                "{name}/{engine}/{}: delta of {} bytes",
                basis.len(),
                delta.len()
            );
        }
    };
    let index = sign(basis, block_len).index();
    group.bench_function(BenchmarkId::new("hasync", basis.len()), |bencher| {
        bencher.iter(|| encode_delta(black_box(source), &index, &mut delta));
    });
    tell("hasync", &delta);
    delta.clear();
    let len = basis.len() as u64;
    let mut sums = BasisSums::new(basis, len, 1).expect("the kernel gives random bytes");
    sums.set_tree(Arc::new(sum_tree(basis)));
    group.bench_function(BenchmarkId::new("hasync-tree", basis.len()), |bencher| {
        bencher.iter(|| exchange(black_box(source), &mut sums, &mut delta));
    });
    tell("hasync-tree", &delta);
    delta.clear();
    let signature = fast_sign(basis, block_len);
    let index = signature.index();
    group.bench_function(BenchmarkId::new("fast_rsync", basis.len()), |bencher| {
        bencher.iter(|| {
            delta.clear();
            fast_rsync::diff(&index, black_box(source), &mut delta).expect("a Vec takes all");
        });
    });
    tell("fast_rsync", &delta);
}

fn apply(criterion: &mut Criterion, basis: &[u8], source: &[u8]) {
    let mut group = group(criterion, "apply", source.len());
    let block_len = block_len(basis);
    let mut delta = Vec::new();
    encode_delta(source, &sign(basis, block_len).index(), &mut delta);
    group.bench_function(BenchmarkId::new("hasync", basis.len()), |bencher| {
        let mut result = Vec::with_capacity(source.len());
        bencher.iter(|| {
            result.clear();
            apply_delta(basis, black_box(&delta), &mut result);
        });
        assert!(
            result.is_empty() || result == source,
            "the delta rebuilds the source"
        );
    });
    let signature = fast_sign(basis, block_len);
    let mut delta = Vec::new();
    fast_rsync::diff(&signature.index(), source, &mut delta).expect("a Vec takes all");
    group.bench_function(BenchmarkId::new("fast_rsync", basis.len()), |bencher| {
        let mut result = Vec::with_capacity(source.len());
        bencher.iter(|| {
            result.clear();
            fast_rsync::apply(basis, black_box(&delta), &mut result).expect("the delta is whole");
        });
    });
}

fn sign(basis: &[u8], block_len: BlockLen) -> Signature {
    Signature::of(basis, basis.len() as u64, block_len).expect("slices can be read")
}

fn fast_sign(basis: &[u8], block_len: BlockLen) -> fast_rsync::Signature {
    let block_size = block_len.get();
    let options = fast_rsync::SignatureOptions {
        block_size,
        crypto_hash_size: 16,
    };
    fast_rsync::Signature::calculate(basis, options)
}

fn encode_delta(source: &[u8], index: &IndexedSignature, delta: &mut Vec<u8>) {
    delta.clear();
    let mut encoder = OpEncoder::default();
    let searched = diff(source, index, &mut |op| {
        encoder.encode(op, delta);
        Ok(())
    });
    black_box(searched.expect("slices can be read"));
}

fn sum_tree(bytes: &[u8]) -> SumTree {
    SumTree::of(bytes, bytes.len() as u64, 1).expect("slices can be read")
}

/// All that both sides do from the sample on, but for the sums of the basis.
fn exchange(source: &[u8], sums: &mut BasisSums<&[u8]>, delta: &mut Vec<u8>) {
    delta.clear();
    let sample = sums.sample().expect("slices can be read");
    let started = Comparison::start(source, source.len() as u64, 1, &sample);
    let (mut comparison, mut step) = started.expect("the sample is whole");
    let plan = loop {
        match step {
            Step::Ready(plan) => break plan,
            Step::Ask(ask) => {
                let answer = sums.answer(&ask).expect("the ask is whole");
                step = comparison.answer(&answer).expect("the answer is whole");
            }
        }
    };
    let mut encoder = OpEncoder::default();
    let emitted = plan.emit(comparison.file(), &mut |op| {
        encoder.encode(op, delta);
        Ok(())
    });
    black_box(emitted.expect("slices can be read"));
}

fn apply_delta(basis: &[u8], mut delta: &[u8], result: &mut Vec<u8>) {
    let mut patcher = Patcher::new(basis, basis.len() as u64, result, u64::MAX);
    let mut decoder = OpDecoder::default();
    while let Some(op) = decoder.next(&mut delta).expect("the delta is whole") {
        patcher.apply(op).expect("the delta fits the basis");
    }
    black_box(patcher.finish().expect("the delta fits the basis").0);
}

fn block_len(basis: &[u8]) -> BlockLen {
    BlockLen::for_file_len(basis.len() as u64)
}

type Change = fn(&[u8]) -> Vec<u8>;

/// What may become of a basis.
const SHAPES: [(&str, Change); 4] = [
    ("diff-equal", <[u8]>::to_vec),
    ("diff-one-percent", one_percent_changed),
    ("diff-shifted", |basis| [&noise(2, 1237), basis].concat()),
    ("diff-unrelated", |basis| noise(3, basis.len())),
];

/// Every hundredth page of 8 KiB overwritten, at least one.
fn one_percent_changed(basis: &[u8]) -> Vec<u8> {
    let mut changed = basis.to_vec();
    for page in changed.chunks_mut(8192).step_by(100) {
        page.copy_from_slice(&noise(4, page.len()));
    }
    changed
}

/// Bytes without repetition, different for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, len: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(len as u64));
    group.warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group.sample_size(10);
    if len > 1 << 20 {
        group.sampling_mode(SamplingMode::Flat);
    }
    group
}
