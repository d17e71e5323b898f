//! A local user exchanges a directory of his and a symlink, thousands of times a second, while
//! root pushes there or from there: the push goes where it was sent, or is refused by name, and
//! nothing that the symlink leads to is read or changed.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::local_user::{Flipper, home_of_local_user, plant};
use crate::support::{Finished, Hasync, Snapshot, TempTree, need_root, report, soak};

/// What became of the pushes of a campaign.
#[derive(Default)]
struct Outcomes {
    pushed: usize,
    refused: usize,
}

impl Outcomes {
    #[track_caller]
    fn add(&mut self, done: &Finished, refusal: i32) {
        match done.code {
            0 => self.pushed += 1,
            code if code == refusal && done.stderr.contains("is a symlink to") => {
                self.refused += 1;
            }
            _ => panic!("neither pushed nor refused\n{done}"),
        }
    }
}

/// Pushes while `one` and `other` are exchanged, for as long as the campaign takes, and at least
/// until both outcomes were met.
fn campaign(name: &str, one: &Path, other: &Path, mut push: impl FnMut(&mut Outcomes)) {
    let time = Duration::from_secs(if soak() { 30 } else { 5 });
    let (began, mut outcomes) = (Instant::now(), Outcomes::default());
    let flipper = Flipper::start(one, other);
    let is_met = |outcomes: &Outcomes| outcomes.pushed > 0 && outcomes.refused > 0;
    while began.elapsed() < time || (!is_met(&outcomes) && began.elapsed() < 20 * time) {
        push(&mut outcomes);
    }
    let flips = flipper.stop();
    let Outcomes { pushed, refused } = outcomes;
    report(&format!(
        "{name}: {flips} flips in {} s, {pushed} pushes went where they were sent, {refused} \
         were refused",
        time.as_secs()
    ));
    assert!(pushed > 0 && refused > 0, "only one outcome was met");
    assert!(flips > 1000, "hardly anything was flipped");
}

/// What is not his: nothing of it may change, or be read.
fn with_victim(below: &str) -> TempTree {
    need_root();
    let trees = TempTree::new();
    trees.write(Path::new("victim").join(below).join("precious"), "of root");
    trees.write("source/file", "new");
    home_of_local_user(&trees, "home");
    trees
}

/// Pushes to `destination` with everything that could do harm.
fn push_into(trees: &TempTree, destination: &str) -> Finished {
    Hasync::push(&["-a", "--delete", "--no-fsync"])
        .args([&trees.contents_of("source"), &trees.text(destination)])
        .run()
}

fn flip_destination(name: &str, flipped: &str, destinations: &[&str]) {
    let below = Path::new(destinations[0]).strip_prefix(flipped).unwrap();
    let trees = with_victim(below.to_str().unwrap());
    home_of_local_user(&trees, flipped);
    let aside = trees.path("home/aside");
    plant(&trees.path("victim"), &aside);
    let before = Snapshot::of(&trees.path("victim"));
    let mut spellings = destinations.iter().cycle();
    campaign(name, &trees.path(flipped), &aside, |outcomes| {
        let destination = spellings.next().unwrap();
        let done = push_into(&trees, destination);
        outcomes.add(&done, 11);
        let diff = before.diff(&Snapshot::of(&trees.path("victim")));
        assert!(diff.is_empty(), "{diff}\n{done}");
    });
}

#[test]
fn a_flipped_destination_leads_nowhere_else() {
    let spellings = ["home/site/", "home/site", "home/site/."];
    flip_destination("flipped destination", "home/site", &spellings);
}

#[test]
fn a_flipped_component_of_a_destination_leads_nowhere_else() {
    let spellings = [
        "home/middle/site/",
        "home/middle/site",
        "home/middle/./site/.",
    ];
    flip_destination("flipped component", "home/middle", &spellings);
}

#[test]
fn a_flipped_source_gives_nothing_else() {
    let trees = with_victim("");
    home_of_local_user(&trees, "home/site");
    trees.write("home/site/public", "his");
    let aside = trees.path("home/aside");
    plant(&trees.path("victim"), &aside);
    let mut spellings = ["home/site/", "home/site/."].iter().cycle();
    campaign(
        "flipped source",
        &trees.path("home/site"),
        &aside,
        |outcomes| {
            let source = trees.text(spellings.next().unwrap());
            let push = Hasync::push(&["-a", "--delete", "--no-fsync"]);
            let done = push.args([source, trees.text("target")]).run();
            outcomes.add(&done, 23);
            let target = trees.path("target");
            assert!(!target.join("precious").exists(), "{done}");
            assert!(done.code != 0 || target.join("public").exists(), "{done}");
        },
    );
}
