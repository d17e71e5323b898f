//! The first half of the demo: what three pushes cost, in a table with bars.

use std::path::Path;
use std::time::{Duration, Instant};

use hasync_engine::{self as engine, Change, Duplex, Note, Observer, Options, Warning};

use super::compare::Picture;
use super::scene::Scene;
use super::{must_be, rsync, tree};
use crate::exit::Failure;
use crate::numbers::{bytes, commas};
use crate::out;
use crate::reach::{self, Reach};
use crate::target::Target;

/// The longest bar, in columns.
const BAR: f64 = 20.0;

/// Shows them.
pub(super) fn show(scene: &mut Scene, say: &dyn Fn(&str)) -> Result<(), Failure> {
    let (primary, standby) = (scene.path("primary"), scene.path("standby"));
    tree::build(&primary).map_err(|cause| Failure::cannot("make the tree", &cause))?;
    let reach = scene.start_server()?;
    let mut table = Table::new(say);
    table.row("first copy", &push(&primary, &standby, &reach)?);
    equal(&primary, &standby)?;
    table.row("nothing changed", &push(&primary, &standby, &reach)?);
    equal(&primary, &standby)?;
    let rsync = rsync::Rsync::prepare(scene)?;
    tree::change(&primary).map_err(|cause| Failure::cannot("change the tree", &cause))?;
    table.row("1 % changed", &push(&primary, &standby, &reach)?);
    let picture = equal(&primary, &standby)?;
    let beside = match rsync {
        Some(rsync) => {
            table.row("1 % changed, rsync", &rsync.push()?);
            "rsync runs through a pipe here, without SSH"
        }
        None => "rsync is not installed here; install it to see it beside",
    };
    say(&format!(
        "\nEqual after each push: type, content, permissions, owner, times and links of {} entries \
         and\n{} of content. {beside}.",
        commas(picture.entries()),
        bytes(picture.bytes())
    ));
    Ok(())
}

fn equal(primary: &Path, standby: &Path) -> Result<Picture, Failure> {
    let of = |root: &Path| {
        Picture::of(root).map_err(|cause| Failure::cannot("compare the trees", &cause))
    };
    let picture = of(primary)?;
    must_be(&picture, &of(standby)?)?;
    Ok(picture)
}

/// What one push cost.
pub(super) struct Course {
    pub(super) entries: Option<u64>,
    pub(super) changes: Option<u64>,
    pub(super) link_bytes: u64,
    pub(super) elapsed: Duration,
}

struct Table<'a> {
    say: &'a dyn Fn(&str),
    /// Of the first row, which the bars are measured by.
    longest: Option<Duration>,
}

impl<'a> Table<'a> {
    fn new(say: &'a dyn Fn(&str)) -> Self {
        say(&format!(
            "\n  {:<19}{:>8}{:>9}{:>12}{:>9}",
            "push", "entries", "changed", "on the link", "time"
        ));
        Table { say, longest: None }
    }

    fn row(&mut self, name: &str, course: &Course) {
        let longest = *self.longest.get_or_insert(course.elapsed);
        let count = |number: Option<u64>| number.map(commas).unwrap_or_default();
        let line = format!(
            "  {name:<19}{:>8}{:>9}{:>12}{:>9}  {}",
            count(course.entries),
            count(course.changes),
            bytes(course.link_bytes),
            format!("{:.2} s", course.elapsed.as_secs_f64()),
            bar(course.elapsed, longest)
        );
        (self.say)(&line);
    }
}

/// A bar whose length is a share of the longest one's; never nothing at all.
fn bar(time: Duration, longest: Duration) -> String {
    let share = time.as_secs_f64() / longest.as_secs_f64().max(1e-6);
    let eighths = (share.min(1.5) * BAR * 8.0).round().max(1.0) as usize;
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let last = rest.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{last}", "█".repeat(eighths / 8))
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
        entries: Some(summary.entries.total()),
        changes: Some(counter.changes),
        link_bytes: traffic.sent_bytes + traffic.received_bytes,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_a_share_of_the_longest() {
        let ms = Duration::from_millis;
        assert_eq!(bar(ms(800), ms(800)), "█".repeat(20));
        assert_eq!(bar(ms(420), ms(800)), format!("{}▌", "█".repeat(10)));
        assert_eq!(bar(ms(0), ms(800)), "▏");
        assert_eq!(bar(ms(9_000), ms(800)), "█".repeat(30));
    }
}
