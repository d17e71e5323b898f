//! `hasync plan`: whether cycles fit into an interval. What comparing costs is measured now, by a
//! dry run of every tree over the real link, and what hashing costs by a sample; what changes, and
//! how fast that travels, is what the cycles so far have seen. The standby says what room it has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hasync_engine::Wish;
use hasync_engine::history::Space;

use crate::args::PlanArgs;
use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::generations::any;
use crate::memory::{Course, Memory};
use crate::numbers::{bytes, commas};
use crate::out::Out;
use crate::peer_link::PeerLink;
use crate::push_trees::{self, Plan};
use crate::times::long;

/// The most that is read to find out how fast files are hashed, in bytes and in time.
const SAMPLE_LEN: u64 = 256 << 20;
const SAMPLE_TIME: Duration = Duration::from_secs(3);

/// Cycles that moved less than this say nothing about the link, in bytes.
const TELLING_BYTES: u64 = 1_000_000;

/// Measures, and answers by line and exit code: 0 if it fits, 3 if it does not.
pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.which.config.config.as_deref())?;
    let interval = args.interval.unwrap_or(config.cycle.interval.0);
    let out = Out::stdout();
    let mut link = PeerLink::configured(&config)?;
    let plan = Plan::of(&config, true);
    let (mut comparing, mut sites) = (Duration::ZERO, Vec::new());
    for tree in any(&config, &args.which)? {
        let began = Instant::now();
        let summary = push_trees::compare(tree, &plan, &mut link)?;
        comparing += began.elapsed();
        let line = format!(
            "{}: {} entries compared in {:.2} s, {} of files{}",
            tree.name,
            commas(summary.entries.total()),
            began.elapsed().as_secs_f64(),
            bytes(summary.total_len),
            hashing(tree, summary.total_len)
        );
        out.say(&line);
        let named = tree.on(&config.node);
        let (_, there, _) = link.push(|connection| connection.ask(&named, Wish::Nothing))?;
        if let Some(space) = there.space {
            sites.push(Site {
                space,
                first_len: there.head.is_none().then_some(summary.total_len),
                keep: tree.undo.keep,
                now_len: summary.transferred_len,
            });
        }
    }
    link.close();
    let observed = Observed::of(&Memory::recall(&config.node.state).cycles, comparing);
    out.say(&observed.shown());
    let (lines, lacking) = room(&sites, observed.change_max * interval.as_secs_f64());
    for line in lines {
        out.say(&line);
    }
    let (fits, line) = verdict(interval, comparing, &observed, &lacking);
    out.say(&line);
    out.finish()?;
    Ok(if fits { Exit::Ok } else { Exit::NotEqual })
}

/// How fast this node sums what is in the tree, by a sample of it.
fn hashing(tree: &Tree, total_len: u64) -> String {
    // A group is a few files; what else is in their directory says nothing.
    if tree.is_group() {
        return String::new();
    }
    let sample = hasync_engine::sample(tree.dir(), SAMPLE_LEN, SAMPLE_TIME).unwrap_or_default();
    let Some(rate) = sample.bytes_per_s() else {
        return String::new();
    };
    let all = Duration::from_secs_f64(total_len as f64 / rate);
    format!(
        ", read and hashed here at {}/s, all of it in {}",
        bytes(rate as u64),
        long(all)
    )
}

/// A tree on the standby, and what it may still need there.
#[derive(Clone, Copy, Debug)]
struct Site {
    space: Space,
    /// Bytes of the whole tree, if the standby has none of it yet.
    first_len: Option<u64>,
    /// Generations whose replaced entries are kept.
    keep: u32,
    /// Bytes of the files that would be sent now.
    now_len: u64,
}

/// What is to come, and the room that there is, on each of the standby's file systems, given how
/// many bytes change in an interval at most; and what lacks room.
fn room(sites: &[Site], change: f64) -> (Vec<String>, Vec<String>) {
    let mut by_device: BTreeMap<u64, (Space, f64, bool)> = BTreeMap::new();
    for site in sites {
        // What is sent is staged beside the old, and what it replaces is kept for undo.
        let change = change.max(site.now_len as f64) * f64::from(site.keep.saturating_add(1));
        let need = site.first_len.map_or(change, |len| len as f64);
        let entry = by_device.entry(site.space.device);
        let (_, needed, is_first) = entry.or_insert((site.space, 0.0, false));
        *needed += need;
        *is_first |= site.first_len.is_some();
    }
    let (mut lines, mut lacking) = (Vec::new(), Vec::new());
    for (space, needed, is_first) in by_device.values() {
        let (free, total) = (bytes(space.free_bytes), bytes(space.total_bytes));
        let what = if *is_first {
            "first copies and changes"
        } else {
            "changes with what is kept for undo"
        };
        let needed_len = bytes(*needed as u64);
        lines.push(format!(
            "the standby has {free} of {total} free, {what} may take {needed_len} of it"
        ));
        if *needed > space.free_bytes as f64 {
            lacking.push(format!(
                "the standby has {free} free for {needed_len}; make room there, or keep less for \
                 undo"
            ));
        }
    }
    (lines, lacking)
}

/// What the cycles so far tell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Observed {
    /// Good cycles with another before them.
    count: usize,
    /// Bytes that had to be sent for each second since the cycle before: on average, and at most.
    change: f64,
    change_max: f64,
    /// Bytes per second that the link carried, as the median; `None` before much has moved.
    link: Option<f64>,
}

impl Observed {
    fn of(cycles: &[Course], comparing: Duration) -> Self {
        let (mut rates, mut links) = (Vec::new(), Vec::new());
        for pair in cycles.windows(2) {
            let [before, course] = pair else { continue };
            let since = course.began.saturating_sub(before.began);
            if course.exit != 0 || before.exit != 0 || since == 0 {
                continue;
            }
            rates.push(course.sent_bytes as f64 / since as f64);
            let sending = (course.took_ms as f64 / 1000.0 - comparing.as_secs_f64()).max(0.001);
            if course.sent_bytes >= TELLING_BYTES {
                links.push(course.sent_bytes as f64 / sending);
            }
        }
        links.sort_by(f64::total_cmp);
        let sum: f64 = rates.iter().sum();
        Observed {
            count: rates.len(),
            change: sum / rates.len().max(1) as f64,
            change_max: rates.iter().copied().fold(0.0, f64::max),
            link: links.get(links.len() / 2).copied(),
        }
    }

    fn shown(&self) -> String {
        if self.count == 0 {
            return "no two good cycles in a row were seen yet: what changes is unknown".to_owned();
        }
        let link = self.link.map_or_else(
            || "none moved enough to tell the rate of the link".to_owned(),
            |link| format!("the link carried {}/s", bytes(link as u64)),
        );
        format!(
            "{} cycles seen: {} to send per minute on average, {} at most; {link}",
            commas(self.count as u64),
            bytes((self.change * 60.0) as u64),
            bytes((self.change_max * 60.0) as u64)
        )
    }
}

/// Whether a cycle of every `interval` has the time for what it has to do at most, and the room.
fn verdict(
    interval: Duration,
    comparing: Duration,
    observed: &Observed,
    lacking: &[String],
) -> (bool, String) {
    let every = interval.as_secs_f64().max(0.001);
    let sending = match observed.link {
        Some(link) => observed.change_max * every / link.max(1.0),
        None => 0.0,
    };
    let needed = comparing.as_secs_f64() + sending;
    let share = needed / every * 100.0;
    let (every, needed) = (long(interval), format!("{needed:.1} s"));
    let (comparing, sending) = (comparing.as_secs_f64(), format!("{sending:.1} s"));
    if share <= 100.0 && lacking.is_empty() {
        let line = format!(
            "fits: uses {share:.0} % of {every}, {needed} at most ({comparing:.1} s to compare, \
             {sending} to send)"
        );
        return (true, line);
    }
    let late = format!(
        "{needed} at most in an interval of {every} ({comparing:.1} s to compare, {sending} to \
         send); make the interval longer or the trees smaller"
    );
    let late = (share > 100.0).then_some(late);
    let why: Vec<String> = late.into_iter().chain(lacking.iter().cloned()).collect();
    (false, format!("does not fit: {}", why.join("; besides, ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(began: u64, took_ms: u64, sent_bytes: u64) -> Course {
        Course {
            began,
            took_ms,
            exit: 0,
            sent_bytes,
            line: None,
        }
    }

    #[test]
    fn change_and_link_are_what_the_cycles_saw() {
        let cycles = [
            course(0, 1_000, 9),
            course(100, 3_000, 20_000_000),
            course(200, 1_000, 500),
            course(300, 2_000, 10_000_000),
        ];
        let observed = Observed::of(&cycles, Duration::from_secs(1));
        assert_eq!(observed.count, 3);
        assert_eq!(observed.change_max as u64, 200_000);
        assert_eq!(observed.link, Some(10_000_000.0));
        assert_eq!(Observed::of(&[], Duration::ZERO).link, None);
    }

    #[test]
    fn cycles_that_failed_say_nothing() {
        let failed = Course {
            exit: 69,
            ..course(100, 1, 50_000_000)
        };
        let observed = Observed::of(&[course(0, 1, 1), failed], Duration::ZERO);
        assert_eq!((observed.count, observed.link), (0, None));
    }

    #[test]
    fn what_comes_has_to_have_room_on_each_file_system() {
        let site = |device, free_bytes, first_len, now_len| Site {
            space: Space {
                free_bytes,
                total_bytes: 1 << 40,
                device,
            },
            first_len,
            keep: 3,
            now_len,
        };
        let gb = 1_000_000_000;
        let both = [site(1, 9 * gb, Some(5 * gb), 5 * gb), site(2, gb, None, 0)];
        let (lines, lacking) = room(&both, 200e6);
        assert!(lacking.is_empty() && lines.len() == 2, "{lines:?}");
        assert!(
            lines[0].contains("first copies and changes may take 5"),
            "{lines:?}"
        );
        assert!(lines[1].contains("kept for undo may take 800"), "{lines:?}");
        // Three kept generations and the one that is staged.
        assert_eq!(room(&both, 300e6).1.len(), 1);
        let now = room(&[site(1, gb, None, gb)], 0.0).1;
        assert_eq!(now.len(), 1, "what is to be sent now");
        let shared = [
            site(1, 9 * gb, Some(5 * gb), 0),
            site(1, 9 * gb, Some(5 * gb), 0),
        ];
        let (lines, lacking) = room(&shared, 0.0);
        assert_eq!((lines.len(), lacking.len()), (1, 1), "{lines:?}");
        // Where there is time enough and no room, it is not said to fit.
        let observed = Observed::of(&[], Duration::ZERO);
        let (fits, line) = verdict(Duration::from_secs(60), Duration::ZERO, &observed, &lacking);
        assert!(
            !fits && line.starts_with("does not fit: the standby has 9"),
            "{line}"
        );
        assert!(!line.contains("fits: "), "{line}");
    }

    #[test]
    fn what_takes_longer_than_the_interval_does_not_fit() {
        let observed = Observed {
            count: 9,
            change: 1e6,
            change_max: 5e6,
            link: Some(10e6),
        };
        let minute = Duration::from_secs(60);
        let (fits, line) = verdict(minute, Duration::from_secs(6), &observed, &[]);
        assert!(
            fits && line.starts_with("fits: uses 60 % of 1 min 0 s, 36.0 s"),
            "{line}"
        );
        let (fits, line) = verdict(minute, Duration::from_secs(40), &observed, &[]);
        assert!(!fits && line.starts_with("does not fit: 70.0 s"), "{line}");
    }
}
