//! What a push costs beside any link: both halves in this process, over a pair of sockets, on
//! tmpfs. In entries or bytes per second.
//!
//! Groups: `scan` is one half alone, a dry run into nothing; `unchanged` is both scans and the
//! digests of their directories, in directories of 100 and in a single one, by metadata and by
//! content (`-c`); `first-copy` is many small files end to end; `pipe` is a large file that the
//! target lacks: reading, hashing, framing and writing.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that cannot go on says so by panicking"
)]

#[path = "../engine/tests/halves/mod.rs"]
mod halves;

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use hasync_engine::{Options, Summary};

criterion_group!(benches, scan, unchanged, first_copy, pipe);
criterion_main!(benches);

const FILE_COUNT: usize = 20_000;
const SMALL_LEN: usize = 8 << 10;
const LARGE_LEN: usize = 512 << 20;

fn scan(criterion: &mut Criterion) {
    let work = tempfile::tempdir_in("/dev/shm").unwrap();
    let (source, target) = (work.path().join("s"), work.path().join("t"));
    make_files(&source, 100);
    let options = Options {
        dry_run: true,
        ..options()
    };
    let mut group = group(criterion, "scan");
    group.throughput(Throughput::Elements(FILE_COUNT as u64));
    group.bench_function("directories of 100", |bencher| {
        bencher.iter(|| push(&source, &target, &options));
    });
}

fn unchanged(criterion: &mut Criterion) {
    let metadata = options();
    let content = Options {
        checksum: true,
        ..options()
    };
    for (name, files_per_dir, options) in [
        ("directories of 100", 100, &metadata),
        ("one directory", FILE_COUNT, &metadata),
        ("directories of 100, by content", 100, &content),
    ] {
        let work = tempfile::tempdir_in("/dev/shm").unwrap();
        let (source, target) = (work.path().join("s"), work.path().join("t"));
        make_files(&source, files_per_dir);
        push(&source, &target, options);
        let mut group = group(criterion, "unchanged");
        group.throughput(Throughput::Elements(FILE_COUNT as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let summary = push(&source, &target, options);
                assert_eq!(summary.dirs_exchanged, 0);
            });
        });
    }
}

fn first_copy(criterion: &mut Criterion) {
    let work = tempfile::tempdir_in("/dev/shm").unwrap();
    let source = work.path().join("s");
    make_files(&source, 100);
    let mut group = group(criterion, "first-copy");
    group.throughput(Throughput::Elements(FILE_COUNT as u64));
    group.bench_function("small files", |bencher| {
        bencher.iter_custom(|rounds| copies(&source, &work.path().join("t"), rounds));
    });
}

fn pipe(criterion: &mut Criterion) {
    let work = tempfile::tempdir_in("/dev/shm").unwrap();
    let source = work.path().join("s");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("large"), noise(LARGE_LEN)).unwrap();
    let mut group = group(criterion, "pipe");
    group.throughput(Throughput::Bytes(LARGE_LEN as u64));
    group.bench_function("large file", |bencher| {
        bencher.iter_custom(|rounds| copies(&source, &work.path().join("t"), rounds));
    });
}

/// The time of pushes into nothing.
fn copies(source: &Path, target: &Path, rounds: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for _ in 0..rounds {
        let _ = std::fs::remove_dir_all(target);
        let start = Instant::now();
        push(source, target, &options());
        taken += start.elapsed();
    }
    taken
}

fn push(source: &Path, target: &Path, options: &Options) -> Summary {
    halves::push_ok(source, target, options).0
}

fn options() -> Options {
    Options {
        fsync: false,
        ..halves::options()
    }
}

fn make_files(root: &Path, files_per_dir: usize) {
    let content = noise(SMALL_LEN);
    for file in 0..FILE_COUNT {
        let dir = root.join(format!("dir-{:05}", file / files_per_dir));
        if file % files_per_dir == 0 {
            std::fs::create_dir_all(&dir).unwrap();
        }
        std::fs::write(dir.join(format!("file-{file:07}")), &content).unwrap();
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn group<'a>(
    criterion: &'a mut Criterion,
    name: &str,
) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    group.sample_size(10);
    group
}
