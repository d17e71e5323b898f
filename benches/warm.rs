//! The row on a warm connection: what a push costs that finds nothing changed and need not log in,
//! beside a whole run of rsync. The pushes run in this process, over the same sshd; there is no
//! memory to be told apart.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use hasync_engine::{Change, Connection, Duplex, Note, Observer, Options, Warning};
use hasync_transport::ssh;

use crate::support::{Hasync, Sshd, TempTree};
use crate::{Cost, Tool, cpu_seconds, loopback_bytes, over_loopback, print_cost, push};

pub(crate) const NAME: &str = "nothing changed, 100,000 files, warm";

const RSYNC_RUNS: usize = 3;
const PUSHES: usize = 20;

/// Measures the row and prints its lines.
pub(crate) fn measure(sshd: &Sshd, shrink: usize) {
    let work = TempTree::within(Path::new("/dev/shm"));
    let (source, target) = (work.mkdir("source"), work.path("target"));
    crate::unchanged(&source, &target, 100_000 / shrink);
    let run = |_| push(&Tool::Rsync, &work, &target, &over_loopback(sshd, "-a"));
    let rsync = best((0..RSYNC_RUNS).map(run));

    let link = ssh::connect(
        &ssh::Destination {
            host: "standby".into(),
            user: None,
            port: None,
        },
        &format!("{} serve", Hasync::program().display()),
        &ssh::ClientOptions {
            config_file: Some(sshd.file("ssh_config")),
            environment: ssh::Environment::current(),
            ..ssh::ClientOptions::default()
        },
    )
    .unwrap();
    let mut connection = Connection::open(Duplex {
        reader: link.reader,
        writer: link.writer,
    });
    let sources = [OsString::from(work.contents_of("source"))];
    let options = Options {
        delete: true,
        ..Options::archive()
    };
    let destination = target.as_os_str().as_encoded_bytes();
    let mut push_warm = |_| {
        let (cpu_before, link_before) = (cpu_seconds(), loopback_bytes());
        let start = Instant::now();
        let summary = connection
            .push(&sources, destination, &options, &mut Silent)
            .unwrap();
        assert_eq!((summary.dirs_exchanged, summary.created.total()), (0, 0));
        Cost {
            wall_s: start.elapsed().as_secs_f64(),
            cpu_s: cpu_seconds() - cpu_before,
            link_bytes: loopback_bytes() - link_before,
            rss_here_kib: 0,
            rss_there_kib: 0,
        }
    };
    // The first one still starts the far half.
    push_warm(0);
    let warm = best((0..PUSHES).map(push_warm));
    print_cost(NAME, "rsync", rsync, rsync);
    print_cost("", "hasync", warm, rsync);
}

fn best(costs: impl Iterator<Item = Cost>) -> Cost {
    costs.min_by(|a, b| a.wall_s.total_cmp(&b.wall_s)).unwrap()
}

struct Silent;

impl Observer for Silent {
    fn change(&mut self, _: &Change<'_>) {}

    fn warn(&mut self, warning: &Warning) {
        panic!("{}", warning.message);
    }

    fn note(&mut self, _: &Note<'_>) {}
}
