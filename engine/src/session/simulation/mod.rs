//! Tests: both halves of a push in one thread, over a [link](link) and by a clock that exist only
//! here. A seed decides everything: the trees, the options, which half goes on next, which job is
//! done next, how long frames take, and whether the link stalls or is cut. `HASYNC_SEED=n` plays
//! one seed, `HASYNC_SOAK=1` many.

#![allow(clippy::unwrap_used, clippy::panic)]

mod chance;
mod link;
mod trees;
mod world;

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::observer::Summary;
use crate::options::{Compression, Options};
use chance::Chance;
use link::Weather;
use trees::{Tree, seen};
use world::{Ended, Meddling, World};

const SEEDS: u64 = 300;
const SOAK_SEEDS: u64 = 10_000;

#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a seed is chosen by the environment, and a failing one is told"
)]
fn halves_get_on_whatever_the_order_of_things() {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let seeds = match (number("HASYNC_SEED"), number("HASYNC_SOAK")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(1)) => 0..SOAK_SEEDS,
        _ => 0..SEEDS,
    };
    let (mut cut, mut whole) = (0, 0);
    for seed in seeds.clone() {
        match std::panic::catch_unwind(|| play(seed)) {
            Ok(true) => whole += 1,
            Ok(false) => cut += 1,
            Err(why) => {
                eprintln!("HASYNC_SEED={seed} plays this again");
                std::panic::resume_unwind(why);
            }
        }
    }
    if seeds.end - seeds.start >= SEEDS {
        assert!(cut > 0 && whole > 0, "{cut} cut, {whole} whole");
    }
}

/// Plays one seed; whether the push came to its end at once.
fn play(seed: u64) -> bool {
    let mut chance = Chance::new(seed);
    // Where there is memory for it, no disk is waited for.
    let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let temp = temp.unwrap();
    let [source, target, beside] = ["source", "target", "beside"].map(|name| {
        let dir = temp.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    });
    fs::write(beside.join("file"), "untouched").unwrap();
    trees::make(&source, &mut chance);
    let options = options(&mut chance);
    if !chance.one_in(4) {
        // The target has been equal once.
        push(&source, &target, &options, &mut chance);
        trees::change(&source, &mut chance);
        if chance.one_in(2) {
            trees::change(&target, &mut chance);
        }
    }
    let before = seen(&target, false);
    let meddling = match chance.below(8) {
        0 | 1 => Some(Meddling::One {
            tree: chance.of(&[&source, &target]).clone(),
            after_steps: chance.below(300),
        }),
        2 | 3 => Some(Meddling::Bases {
            target: target.clone(),
            after_pieces: chance.below(4),
        }),
        _ => None,
    };
    let is_alone = meddling.is_none();
    let weather = weather(&mut chance);
    let ended = World::run(&source, &target, &options, weather, meddling, &mut chance);
    let is_whole = matches!(ended, Ended::Done(_));
    let summary = match ended {
        Ended::Done(summary) if is_alone => summary,
        _ => {
            if is_alone {
                assert_each_whole(&source, &target, &before);
            }
            push(&source, &target, &options, &mut chance)
        }
    };
    // Without `--delete` a full directory stays where a file is to be.
    assert!(!summary.partial || !options.delete, "{summary:?}");
    if !summary.partial {
        assert_equal(&source, &target, &options);
    }
    assert_eq!(seen(&beside, false).len(), 2);
    assert_eq!(fs::read(beside.join("file")).unwrap(), b"untouched");
    is_whole
}

/// A push that nothing disturbs.
fn push(source: &Path, target: &Path, options: &Options, chance: &mut Chance) -> Summary {
    match World::run(source, target, options, calm(), None, chance) {
        Ended::Done(summary) => summary,
        Ended::Cut => panic!("nobody was to cut the link"),
    }
}

fn options(chance: &mut Chance) -> Options {
    Options {
        delete: !chance.one_in(4),
        hard_links: !chance.one_in(3),
        checksum: chance.one_in(8),
        sparse: chance.one_in(4),
        atomic: chance.one_in(4),
        whole_file: chance.one_in(4),
        compression: chance.of(&[Compression::Never, Compression::Always { level: Some(1) }]),
        ..Options::archive()
    }
}

fn calm() -> [Weather; 2] {
    [Weather {
        delay: Duration::from_micros(100),
        stalls_one_in: usize::MAX,
        stall: Duration::ZERO,
        cut_after: usize::MAX,
    }; 2]
}

fn weather(chance: &mut Chance) -> [Weather; 2] {
    let mut way = || Weather {
        delay: Duration::from_millis(chance.of(&[0, 1, 50])),
        stalls_one_in: chance.of(&[5, 50, usize::MAX]),
        stall: Duration::from_secs(chance.of(&[1, 100])),
        cut_after: usize::MAX,
    };
    let mut ways = [way(), way()];
    if chance.one_in(2) {
        let way = chance.below(2);
        ways[way].cut_after = chance.of(&[0, 1, 2, 3]) + chance.below(30);
    }
    ways
}

/// Each file of the target is what it was, or what the source has.
fn assert_each_whole(source: &Path, target: &Path, before: &Tree) {
    let (source, after) = (seen(source, false), seen(target, false));
    for (path, found) in &after {
        let is = |tree: &Tree| {
            let known = tree.get(path);
            known.is_some_and(|known| (known.content, known.len) == (found.content, found.len))
        };
        assert!(is(before) || is(&source), "{path:?} is {found:?}");
    }
}

/// The target has what the source has, and with `--delete` nothing else.
fn assert_equal(source: &Path, target: &Path, options: &Options) {
    let with_links = options.hard_links && options.delete;
    let (source, mut target) = (seen(source, with_links), seen(target, with_links));
    if !options.delete {
        target.retain(|path, _| source.contains_key(path));
    }
    let pairs = source
        .iter()
        .map(|(path, entry)| (path, entry, target.get(path)));
    let differing: Vec<_> = pairs.filter(|(_, a, b)| Some(*a) != *b).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    let more: Vec<_> = target
        .keys()
        .filter(|path| !source.contains_key(*path))
        .collect();
    assert!(more.is_empty(), "{more:?}");
}
