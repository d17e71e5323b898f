//! `hasync demo`: a primary's tree and a standby's on this one machine, with real SSH between
//! them. Pushes it three times, checks equality on its own, and prints what each push cost.

mod compare;
mod scene;
mod tree;

use std::path::Path;
use std::time::{Duration, Instant};

use hasync_engine::{self as engine, Change, Duplex, Note, Observer, Options, Summary, Warning};
use hasync_transport::Traffic;

use crate::args::DemoArgs;
use crate::exit::{self, Exit, Failure};
use crate::numbers::commas;
use crate::out::{self, Out};
use crate::reach::{self, Reach};
use crate::target::Target;

use scene::Scene;

/// The most differences that are shown.
const MAX_SHOWN: usize = 10;

/// Runs the demo; [`Exit::NotEqual`] if the trees differ after a push.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let out = Out::stdout();
    let mut scene = Scene::set(args.keep)?;
    let (primary, standby) = (scene.path("primary"), scene.path("standby"));
    let say = |text: String| {
        out.say_all(&text);
        out.flush();
    };

    say(format!(
        "hasync demo: a primary and its standby in {}",
        scene.dir().display()
    ));
    tree::build(&primary).map_err(|cause| file_error("make the tree", &cause))?;
    let reach = scene.start_server(&standby)?;
    say(format!(
        "joined by SSH on 127.0.0.1:{}, keys made for this run",
        reach.port.unwrap_or(0)
    ));
    say(format!(
        "\n  {:<18}{:>9}{:>9}{:>15}{:>10}   throughput",
        "push", "entries", "changed", "on the link", "time"
    ));

    for stage in [Stage::FirstCopy, Stage::Unchanged, Stage::OnePercent] {
        if stage == Stage::OnePercent {
            tree::change(&primary).map_err(|cause| file_error("change the tree", &cause))?;
        }
        let course = push(&primary, &standby, &reach)?;
        say(row(stage, &course));
        let found = compare::compare(&primary, &standby)
            .map_err(|cause| file_error("compare the trees", &cause))?;
        if !found.differences.is_empty() {
            return Err(differ(&found.differences));
        }
        if stage == Stage::OnePercent {
            say(format!(
                "\nequal after each push: type, content, permissions, owner, times and links of \
                 {} entries\nand {} of content, compared by a walk over both trees",
                commas(found.entries),
                bytes(found.bytes)
            ));
        }
    }
    out.finish()?;
    Ok(Exit::Ok)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    FirstCopy,
    Unchanged,
    OnePercent,
}

/// What one push did and cost.
struct Course {
    summary: Summary,
    traffic: Traffic,
    changes: u64,
    elapsed: Duration,
}

/// One push as `hasync push -aH --delete PRIMARY/ 127.0.0.1:STANDBY` does it, login included.
fn push(primary: &Path, standby: &Path, reach: &Reach) -> Result<Course, Failure> {
    let target = Target::Remote {
        user: None,
        host: "127.0.0.1".to_owned(),
        path: standby.as_os_str().as_encoded_bytes().to_vec(),
    };
    let options = Options {
        hard_links: true,
        delete: true,
        ..Options::archive()
    };
    // The trailing slash: what is in the directory.
    let source = primary.join("").into_os_string();
    let mut counter = Counter { changes: 0 };

    let began = Instant::now();
    let link = reach::open(&target, reach)?;
    let duplex = Duplex {
        reader: link.reader,
        writer: link.writer,
    };
    let pushed = engine::push(duplex, &[source], target.path(), &options, &mut counter);
    let elapsed = began.elapsed();
    let summary = match pushed {
        Ok(summary) => summary,
        Err(error) => return Err(reach::explain(error, link.control, &target)),
    };
    let traffic = reach::close(link.control);
    Ok(Course {
        summary,
        traffic,
        changes: counter.changes,
        elapsed,
    })
}

/// Counts changes, and passes on what goes wrong.
struct Counter {
    changes: u64,
}

impl Observer for Counter {
    fn change(&mut self, _change: &Change<'_>) {
        self.changes += 1;
    }

    fn warn(&mut self, warning: &Warning) {
        out::error(&warning.message);
    }

    fn note(&mut self, _note: &Note<'_>) {}
}

/// One line of the table.
fn row(stage: Stage, course: &Course) -> String {
    let name = match stage {
        Stage::FirstCopy => "first copy",
        Stage::Unchanged => "nothing changed",
        Stage::OnePercent => "1 % changed",
    };
    let seconds = course.elapsed.as_secs_f64().max(0.001);
    let entries = course.summary.entries.total();
    let throughput = if stage == Stage::FirstCopy {
        format!(
            "{}/s",
            bytes((course.summary.total_len as f64 / seconds) as u64)
        )
    } else {
        format!("{} entries/s", commas((entries as f64 / seconds) as u64))
    };
    let link_bytes = course.traffic.sent_bytes + course.traffic.received_bytes;
    format!(
        "  {name:<18}{:>9}{:>9}{:>15}{:>10}   {throughput}",
        commas(entries),
        commas(course.changes),
        bytes(link_bytes),
        format!("{seconds:.2} s"),
    )
}

/// A number of bytes for a person: three or four digits and a unit of 1000.
fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = number as f64;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if scaled < 1000.0 {
            break;
        }
        scaled /= 1000.0;
        unit = next;
    }
    if unit == "B" {
        format!("{number} B")
    } else {
        format!("{scaled:.1} {unit}")
    }
}

fn differ(differences: &[String]) -> Failure {
    for difference in differences.iter().take(MAX_SHOWN) {
        out::error(difference);
    }
    let count = differences.len();
    Failure::new(
        Exit::NotEqual,
        format!("the trees differ in {count} entries (exit 3)"),
    )
}

fn file_error(what: &str, cause: &std::io::Error) -> Failure {
    Failure::new(
        Exit::FileIo,
        format!("cannot {what}: {}", exit::cause(cause)),
    )
}
