//! Large files that change in every way there is: the target becomes equal, and the link carries
//! what changed.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod halves;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use halves::{options, push_ok};
use hasync_engine::{Options, Summary};

const MIB: usize = 1 << 20;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

struct Pair {
    _temp: tempfile::TempDir,
    source: PathBuf,
    target: PathBuf,
}

impl Pair {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (source, target) = (temp.path().join("s"), temp.path().join("t"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        Pair {
            _temp: temp,
            source,
            target,
        }
    }
}

/// Pushes `source` over `basis`; the target must become equal, without a trace left.
fn push_over(basis: &[u8], source: &[u8], options: &Options) -> Summary {
    let pair = Pair::new();
    fs::write(pair.target.join("file"), basis).unwrap();
    fs::write(pair.source.join("file"), source).unwrap();
    old(&pair.target.join("file"));
    let (summary, _) = push_ok(&pair.source, &pair.target, options);
    assert!(fs::read(pair.target.join("file")).unwrap() == source);
    assert!(!pair.target.join(".hasync").exists());
    let (second, log) = push_ok(&pair.source, &pair.target, options);
    assert_eq!((second.dirs_exchanged, log.lines.len()), (0, 0));
    assert_eq!(summary.resent_files, 0);
    summary
}

/// Gives the file a time that is not that of its counterpart.
fn old(path: &Path) {
    let time = std::time::SystemTime::UNIX_EPOCH;
    let times = fs::FileTimes::new().set_modified(time);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

#[test]
fn every_shape_of_change_costs_what_changed() {
    let basis = noise(1, 8 * MIB + 4321);
    let mut pages = basis.clone();
    for page in pages.chunks_mut(8192).step_by(97) {
        let len = page.len();
        page.copy_from_slice(&noise(2, len));
    }
    let splice = |at: usize, inserted: usize| {
        let mut source = basis.clone();
        source.splice(at..at, noise(3, inserted));
        source
    };
    let sparse = Options {
        sparse: true,
        ..options()
    };
    let zeros = vec![0; 5 * MIB];
    let shapes: [(&str, &[u8], Vec<u8>, u64); 11] = [
        ("equal", &basis, basis.clone(), 0),
        ("pages", &basis, pages, 11 * 8192),
        ("inserted at the front", &basis, splice(0, 1237), 20_000),
        ("inserted within", &basis, splice(3 * MIB + 5, 77), 20_000),
        (
            "appended",
            &basis,
            splice(basis.len(), MIB),
            (MIB + 4096) as u64,
        ),
        ("truncated", &basis, basis[..5 * MIB + 7].to_vec(), 4096),
        (
            "cut at the front",
            &basis,
            basis[MIB + 1..].to_vec(),
            20_000,
        ),
        (
            "repeated",
            &basis[..3 * MIB],
            basis[..3 * MIB].repeat(3),
            40_000,
        ),
        ("unrelated", &basis, noise(9, 6 * MIB), (6 * MIB) as u64),
        (
            "zeros and a byte",
            &zeros,
            [&zeros[..], b"x"].concat(),
            4096,
        ),
        (
            "a byte and zeros",
            &zeros,
            [b"x", &zeros[..]].concat(),
            8192,
        ),
    ];
    for (shape, basis, source, literal_max) in shapes {
        for options in [options(), sparse.clone()] {
            let summary = push_over(basis, &source, &options);
            assert!(summary.literal_bytes <= literal_max, "{shape}: {summary:?}");
            let link_bytes = summary.sent_bytes + summary.received_bytes;
            assert!(link_bytes < literal_max + 20_000, "{shape}: {summary:?}");
        }
    }
}

#[test]
fn more_files_than_may_be_compared_at_once() {
    let pair = Pair::new();
    for number in 0..200_u64 {
        let mut content = noise(number, MIB + 1);
        let name = number.to_string();
        fs::write(pair.target.join(&name), &content).unwrap();
        content[500_000..500_010].fill(7);
        fs::write(pair.source.join(&name), &content).unwrap();
        old(&pair.target.join(&name));
    }
    let (summary, _) = push_ok(&pair.source, &pair.target, &options());
    assert_eq!(summary.transferred_files, 200);
    assert!(summary.literal_bytes <= 200 * 4096, "{summary:?}");
    for number in 0..200 {
        let read = |dir: &Path| fs::read(dir.join(number.to_string())).unwrap();
        assert!(read(&pair.source) == read(&pair.target));
    }
}

#[test]
fn a_basis_that_changes_all_the_time_never_spoils_the_result() {
    let pair = Pair::new();
    let basis = noise(1, 12 * MIB);
    let mut source = basis.clone();
    source.splice(6 * MIB..6 * MIB, *b"inserted");
    for round in 0..6 {
        source[round * 1000] ^= 1;
        fs::write(pair.source.join("file"), &source).unwrap();
        fs::write(pair.target.join("file"), &basis).unwrap();
        old(&pair.target.join("file"));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Its inode, not its name: what takes its place is not written to.
                let options = File::options().write(true).open(pair.target.join("file"));
                let file = options.unwrap();
                for at in (0_u64..).map(|step| step * 7919 * 13 % (12 << 20)) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    file.write_all_at(&at.to_le_bytes(), at).unwrap();
                }
            });
            push_ok(&pair.source, &pair.target, &options());
            stop.store(true, Ordering::Relaxed);
        });
        assert!(fs::read(pair.target.join("file")).unwrap() == source);
    }
}

#[test]
fn holes_of_a_file_that_changes_in_place_stay_holes() {
    let pair = Pair::new();
    for dir in [&pair.source, &pair.target] {
        let file = File::create(dir.join("image")).unwrap();
        file.set_len(256 << 20).unwrap();
        for at in [0, 77 << 20, 200 << 20] {
            file.write_all_at(&noise(at, 100_000), at).unwrap();
        }
    }
    old(&pair.target.join("image"));
    let source = File::options().write(true).open(pair.source.join("image"));
    source.unwrap().write_all_at(b"new", 100 << 20).unwrap();
    let (summary, _) = push_ok(&pair.source, &pair.target, &options());
    assert!(summary.literal_bytes <= 4096, "{summary:?}");
    let blocks = fs::metadata(pair.target.join("image")).unwrap().blocks();
    assert!(blocks * 512 < 4 << 20, "{blocks} blocks");
    let read = |dir: &Path| fs::read(dir.join("image")).unwrap();
    assert!(read(&pair.source) == read(&pair.target));
}
