//! Two builds of hasync beside each other: seven pairs of pushes a row, in turns, and the median of
//! the pairs' ratios, which holds where the speed of the machine drifts.

use std::path::Path;

use crate::fast_ethernet::{self, FastEthernet};
use crate::listen::Listener;
use crate::support::{Hasync, Sshd};
use crate::{ROWS, Scene, Tool, over_loopback, push, scale, warm};

const PAIRS: usize = 7;
/// Rows that are measured into `serve --listen` too.
const LISTEN_ROWS: [&str; 3] = [
    "nothing changed, 100,000 files",
    "first copy, 100,000 files",
    "first copy, one 2 GiB file",
];

/// Measures every row that is wanted and prints a line for each.
pub(crate) fn measure_all(
    other: &Path,
    sshd: &Sshd,
    shrink: usize,
    is_wanted: impl Fn(&str) -> bool,
) {
    println!(
        "sizes: {}; this build / {}, median (lowest to highest) of {PAIRS} pairs",
        scale(shrink),
        other.display()
    );
    let builds = [
        Tool::Hasync(other.to_owned()),
        Tool::Hasync(Hasync::program()),
    ];
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        let scene = Scene::new(row, shrink);
        let way = over_loopback(sshd, row.letters());
        measure(row.name, |build| {
            let cost = push(&builds[build], &scene.work, &scene.fresh_target(), &way);
            [cost.wall_s, cost.cpu_s]
        });
        if LISTEN_ROWS.contains(&row.name) {
            into_listener(&scene, other, sshd);
        }
    }
    if is_wanted(fast_ethernet::NAME)
        && let Some(scene) = FastEthernet::new(shrink)
    {
        measure(fast_ethernet::NAME, |build| {
            let cost = scene.push(&builds[build], "-a");
            [cost.wall_s, cost.cpu_s]
        });
    }
    if is_wanted(warm::NAME) {
        println!(
            "{:<44} pushes from within the bench: run each build's own",
            warm::NAME
        );
    }
}

fn into_listener(scene: &Scene<'_>, other: &Path, sshd: &Sshd) {
    let root = scene.work.path("");
    let listeners = [other, &Hasync::program()].map(|build| Listener::start(build, &root, sshd));
    measure(&format!("{}, --listen", scene.row.name), |build| {
        let source = scene.work.contents_of("source");
        [listeners[build].push(&source, &scene.fresh_target())]
    });
}

/// `run` copies with tool 0 or 1 and gives figures; prints the ratios of the second to the first.
pub(crate) fn measure<const N: usize>(name: &str, mut run: impl FnMut(usize) -> [f64; N]) {
    for build in [0, 1] {
        run(build);
    }
    let mut ratios: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let mut walls = [const { Vec::new() }; 2];
    for pair in 0..PAIRS {
        // Neither build is always the one that runs after the other.
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut figures = [[0.0; N]; 2];
        for build in order {
            figures[build] = run(build);
            walls[build].push(figures[build][0]);
        }
        for (at, ratios) in ratios.iter_mut().enumerate() {
            ratios.push(figures[1][at] / figures[0][at]);
        }
    }
    let [before, after] = walls.map(|walls| spread(walls)[1]);
    let shown = ratios.map(|ratios| {
        let [low, median, high] = spread(ratios);
        format!("{median:.3} ({low:.2} to {high:.2})")
    });
    let shown = shown.join("  CPU ");
    println!("{name:<44} {after:>7.3} / {before:>7.3} s = {shown}");
}

/// The lowest, the median and the highest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}
