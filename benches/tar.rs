//! First copies beside `tar | ssh | tar` with a fast cipher, which flushes nothing and checks no
//! sums: into sshd, and tar into that beside hasync into `serve --listen`.

use std::process::Command;

use crate::listen::Listener;
use crate::paired::measure;
use crate::support::{Hasync, Sshd};
use crate::{ROWS, Scene, Tool, over_loopback, push, scale, timed};

const TAR_ROWS: [&str; 2] = ["first copy, 100,000 files", "first copy, one 2 GiB file"];

/// Measures the rows that are wanted and prints two lines for each.
pub(crate) fn measure_all(sshd: &Sshd, shrink: usize, is_wanted: impl Fn(&str) -> bool) {
    println!(
        "sizes: {}; hasync / tar, median (lowest to highest) of the pairs",
        scale(shrink)
    );
    let is_row = |name: &str| TAR_ROWS.contains(&name) && is_wanted(name);
    for row in ROWS.iter().filter(|row| is_row(row.name)) {
        let scene = Scene::new(row, shrink);
        let way = over_loopback(sshd, row.letters());
        measure(row.name, |tool| match tool {
            0 => copy(&scene, sshd),
            _ => {
                let cost = push(&Tool::hasync(), &scene.work, &scene.fresh_target(), &way);
                [cost.wall_s, cost.cpu_s]
            }
        });
        let listener = Listener::start(&Hasync::program(), &scene.work.path(""), sshd);
        measure(&format!("{}, --listen", row.name), |tool| match tool {
            0 => [copy(&scene, sshd)[0]],
            _ => [listener.push(&scene.work.contents_of("source"), &scene.fresh_target())],
        });
    }
}

fn copy(scene: &Scene<'_>, sshd: &Sshd) -> [f64; 2] {
    let target = scene.fresh_target();
    let (source, config) = (scene.work.path("source"), sshd.file("ssh_config"));
    let [source, target, config] = [&source, &target, &config].map(|path| path.display());
    let far = format!("mkdir {target} && tar -C {target} -xpf -");
    let cipher = "-c aes128-gcm@openssh.com";
    let pipe = format!("tar -C {source} -cf - . | ssh -F {config} {cipher} standby '{far}'");
    timed(Command::new("sh").args(["-c", &pipe]), sshd)
}
