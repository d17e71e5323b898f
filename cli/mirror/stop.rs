//! The stop: a last push, then the demotion. Whoever takes over waits for it, so it ends in time
//! and with success, whatever stands in its way: a broken configuration, a peer that does not
//! answer, a disk that hangs. What could not be sent is told, and remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::generation::{self, AsOf, NodeRole};

use super::last_push::{Ended, last_push};
use super::tell;
use crate::config::{Config, DEFAULT_FILE, DEFAULT_LAST_PUSH, Event};
use crate::cycle::CycleLock;
use crate::exit::{Exit, Failure};
use crate::generations::demote_one;
use crate::memory::{self, LastStop, Memory};
use crate::out::{self, Out};
use crate::role::{self, Role};
use crate::state;
use crate::times::long;

/// What is left of the time, at most, when the last push has to be over.
const RESERVE: Duration = Duration::from_secs(4);
/// How long the records of a tree may take to be read, as a share of the time.
const LOOK_SHARE: u32 = 4;
/// The most time that anybody can mean.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How a node is to be stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop<'a> {
    /// The file of the configuration, if it is not the default one.
    pub(crate) file: Option<&'a Path>,
    /// The time for all of it; `None` is `last_push` of the configuration, and a reserve.
    pub(crate) within: Option<Duration>,
    /// Not while this node has the service.
    pub(crate) unless_serving: bool,
}

/// Stops in time. Returns why this node may still be primary of something, if it may.
pub(crate) fn stop(how: Stop<'_>, out: &Out) -> Option<String> {
    let began = Instant::now();
    let (tell_time, time) = channel();
    let (tell_end, end) = channel();
    let file = how.file.map(Path::to_owned);
    let (within, unless_serving) = (how.within, how.unless_serving);
    let lines = out.clone();
    thread::spawn(move || {
        let Some((config, fault)) = config(file.as_deref()) else {
            return;
        };
        let within = time_for(within, config.cycle.last_push.0);
        let _ = tell_time.send(within);
        if unless_serving && serves(&config) {
            return;
        }
        let primary = stop_all(&config, Times::new(began, within), &lines);
        let _ = tell_end.send(primary);
        note(config, file.as_deref(), fault.as_ref());
    });
    // A file server that hangs may have the configuration, too.
    let patience = time_for(within, DEFAULT_LAST_PUSH);
    let limit = time.recv_timeout(patience).unwrap_or(patience);
    let left = || limit.saturating_sub(began.elapsed());
    match end.recv_timeout(left()) {
        Ok(primary) => {
            // What it writes down for everybody may take a disk that hangs.
            let _ = end.recv_timeout(left());
            primary
        }
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            let line = format!(
                "the mirror could not be stopped within {}: what is asked for here does not \
                 answer; whoever is promoted next fences this node's pushes",
                long(limit)
            );
            out::error(&line);
            Some(line)
        }
    }
}

fn time_for(within: Option<Duration>, last_push: Duration) -> Duration {
    let usual = last_push.min(LONGEST) + RESERVE;
    within.map_or(usual, |within| within.min(LONGEST))
}

/// Writes down for everybody what this node is now, by the file that was named, and what is wrong
/// with that.
fn note(mut config: Config, named: Option<&Path>, fault: Option<&Failure>) {
    config.file = named.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    state::note(&config);
    if let Some(fault) = fault {
        state::note_fault(named, fault);
    }
}

/// The configuration; or what the last good one said, with why it is needed.
fn config(file: Option<&Path>) -> Option<(Config, Option<Failure>)> {
    let fault = match state::config(file) {
        Ok(config) if !config.trees.is_empty() => return Some((config, None)),
        Ok(config) => {
            let message = format!("{} names no tree", config.shown_file());
            Failure::new(Exit::Config, message)
        }
        Err(fault) => fault,
    };
    let kept = Config::last_good(file);
    out::error(&match &kept {
        Some(kept) => format!(
            "{}; the mirror is stopped as the last good configuration says, {}",
            fault.message,
            kept.shown_file()
        ),
        None => format!(
            "{}; no good one was ever used on this node, so there is nothing to stop",
            fault.message
        ),
    });
    kept.map(|kept| (kept, Some(fault)))
}

/// Whether this node has the service, or may have it.
fn serves(config: &Config) -> bool {
    !role::find(config).is_ok_and(|found| found.role == Role::Standby)
}

/// When which part has to be over.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// What the trees' records say.
    looked: Instant,
    /// The last push is asked to end.
    pushed: Instant,
    /// It is killed.
    killed: Instant,
    /// Everything.
    end: Instant,
}

impl Times {
    fn new(began: Instant, within: Duration) -> Self {
        let reserve = RESERVE.min(within / 2);
        let end = began + within;
        Times {
            looked: began + within / LOOK_SHARE,
            pushed: end - reserve,
            killed: end - reserve / 2,
            end,
        }
    }
}

fn stop_all(config: &Config, times: Times, out: &Out) -> Option<String> {
    let trees = config.in_push_order();
    let trees: Vec<_> = trees.iter().map(|tree| tree.on(&config.node)).collect();
    let roles = of_each(&trees, times.looked, |tree| {
        tree.status()
            .map(|status| status.role)
            .map_err(Failure::from)
    });
    let (mut primary, mut unsent) = (Vec::new(), BTreeMap::new());
    for (tree, role) in trees.into_iter().zip(roles) {
        match role {
            Ok(NodeRole::Primary) => primary.push(tree),
            Ok(NodeRole::Standby | NodeRole::New) => {}
            Err(why) => {
                out::error(&format!("tree {}: {why}", tree.name));
                unsent.insert(tree.name.clone(), why);
                primary.push(tree);
            }
        }
    }
    if primary.is_empty() {
        return None;
    }
    let began = memory::now();
    let to_push = primary
        .iter()
        .filter(|tree| !unsent.contains_key(&tree.name));
    let sent = push(config, &to_push.cloned().collect::<Vec<_>>(), times);
    unsent.extend(sent.unsent);
    if let Some(why) = &sent.why {
        out::error(&format!("the last push is not complete: {why}"));
    }
    let (handed_over, mut kept) = (sent.sent, BTreeMap::new());
    let demoted = of_each(
        &primary,
        times.end - (times.end - times.killed) / 4,
        move |tree| demote_one(tree, handed_over.contains(&tree.name)),
    );
    for (tree, line) in primary.iter().zip(demoted) {
        match line {
            Ok(line) => out.say(&line),
            Err(why) => {
                out::error(&format!("tree {}: {why}", tree.name));
                kept.insert(tree.name.clone(), why);
            }
        }
    }
    let still = may_be_primary(&kept);
    if let Some(line) = &still {
        out::error(line);
    }
    let (line, next) = words(&kept, &unsent, sent.why.as_deref());
    // What is still primary may be written to, and none of that is sent.
    for (tree, why) in kept {
        unsent.entry(tree).or_insert(why);
    }
    remember(config, began, &unsent);
    tell(config, Event::Demotion, &line, &next);
    still
}

/// What came of the last push.
struct Sent {
    /// The trees that are complete on the other node.
    sent: BTreeSet<String>,
    /// Why others are not.
    unsent: BTreeMap<String, String>,
    /// That in one line.
    why: Option<String>,
}

fn push(config: &Config, trees: &[generation::Tree], times: Times) -> Sent {
    // A running cycle is not disturbed; its lock keeps further ones away until all is done.
    let lock = CycleLock::wait_for_last_push(&config.node.state, times.pushed);
    let before: Vec<_> = trees.iter().map(equal_since).collect();
    let began_ns = AsOf::now().here_ns;
    let ended = match &lock {
        Ok(Ok(_)) => last_push(config, trees, times.pushed, times.killed),
        Ok(Err(holder)) => Ended::not_begun(format!(
            "a cycle (process {}) was running for {} and did not end in time",
            holder.pid,
            long(holder.age)
        )),
        // Whoever takes over does not wait until that is mended.
        Err(failure) => Ended::not_begun(failure.message.clone()),
    };
    let Err(why) = ended.all else {
        let sent = trees.iter().map(|tree| tree.name.clone()).collect();
        return Sent {
            sent,
            unsent: BTreeMap::new(),
            why: None,
        };
    };
    let (mut sent, mut unsent) = (BTreeSet::new(), BTreeMap::new());
    for (tree, before) in trees.iter().zip(before) {
        let name = tree.name.clone();
        // Its own push came through although another's did not. One that somebody else had begun
        // lacks what was written since.
        let is_new = |equal_ns: &i64| *equal_ns >= began_ns && Some(*equal_ns) != before;
        if equal_since(tree).filter(is_new).is_some() {
            sent.insert(name);
        } else {
            let own = ended.lines.get(&name).unwrap_or(&why).clone();
            unsent.insert(name, own);
        }
    }
    let why = (!unsent.is_empty()).then_some(why);
    Sent { sent, unsent, why }
}

/// When all of the tree was last known to be on the other node, in nanoseconds since 1970.
fn equal_since(tree: &generation::Tree) -> Option<i64> {
    let status = tree.status().ok()?;
    let is_whole = status.head.is_none_or(|head| head.partial.is_none());
    status.as_of.filter(|_| is_whole).map(|as_of| as_of.here_ns)
}

/// Does the same to each tree at once: one that hangs does not keep the others from it.
fn of_each<T: Send + 'static>(
    trees: &[generation::Tree],
    deadline: Instant,
    work: impl Fn(&generation::Tree) -> Result<T, Failure> + Clone + Send + 'static,
) -> Vec<Result<T, String>> {
    let begun: Vec<_> = trees
        .iter()
        .map(|tree| {
            let (tell, told) = channel();
            let (tree, work) = (tree.clone(), work.clone());
            thread::spawn(move || tell.send(work(&tree)));
            told
        })
        .collect();
    let patience = || deadline.saturating_duration_since(Instant::now());
    let ended = begun
        .into_iter()
        .map(|told| match told.recv_timeout(patience()) {
            Ok(result) => result.map_err(|failure| failure.message),
            Err(_) => Err("its disk, or its records, did not answer in time".to_owned()),
        });
    ended.collect()
}

fn remember(config: &Config, began: u64, unsent: &BTreeMap<String, String>) {
    let last_stop = LastStop {
        began,
        unsent: unsent.clone(),
    };
    let changed = Memory::change(&config.node.state, |memory| {
        memory.last_stop = Some(last_stop);
    });
    if let Err(failure) = changed {
        out::error(&failure.message);
    }
}

/// That trees could not be demoted, and why not.
fn may_be_primary(kept: &BTreeMap<String, String>) -> Option<String> {
    let (_, why) = kept.first_key_value()?;
    let trees: Vec<_> = kept.keys().map(String::as_str).collect();
    Some(format!(
        "this node may still be primary of {}: {why}",
        trees.join(", ")
    ))
}

/// How the stop went, and what to do next. `kept` holds why trees could not be demoted, `unsent`
/// why they could not be sent, and `why` that in one line.
fn words(
    kept: &BTreeMap<String, String>,
    unsent: &BTreeMap<String, String>,
    why: Option<&str>,
) -> (String, String) {
    let why = why.or(unsent.values().next().map(String::as_str));
    let part = may_be_primary(kept);
    let part = part.unwrap_or_else(|| "this node is standby".to_owned());
    let (push, alone) = match why {
        None => ("the last push is complete".to_owned(), None),
        Some(why) => (
            format!("the last push is not complete: {why}"),
            Some(
                "what changed here since the last good push is here alone: see hasync status \
                 before the other node's first push",
            ),
        ),
    };
    let demote = (!kept.is_empty()).then_some("mend that, then run `hasync demote --all`");
    let next: Vec<_> = demote.into_iter().chain(alone).collect();
    let next = match &*next.join("; ") {
        "" => "nothing needs to be done".to_owned(),
        next => next.to_owned(),
    };
    (format!("{part}; {push}"), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_that_a_node_is_standby_whose_demotion_failed() {
        let trees = |names: &[&str]| -> BTreeMap<String, String> {
            let why = |name: &&str| ((*name).to_owned(), format!("{name} is full"));
            names.iter().map(why).collect()
        };
        for (kept, unsent, line, next) in [
            (
                &[][..],
                &[][..],
                "this node is standby; the last push is complete",
                "nothing needs to be done",
            ),
            (
                &["html"],
                &[],
                "this node may still be primary of html: html is full; the last push is complete",
                "mend that, then run `hasync demote --all`",
            ),
            (
                &["conf", "html"],
                &["html"],
                "this node may still be primary of conf, html: conf is full; the last push is \
                 not complete: html is full",
                "mend that, then run `hasync demote --all`; what changed here ",
            ),
            (
                &[],
                &["conf"],
                "this node is standby; the last push is not complete: conf is full",
                "what changed here since the last good push is here alone",
            ),
        ] {
            let told = words(&trees(kept), &trees(unsent), None);
            assert_eq!(told.0, line);
            assert!(told.1.starts_with(next), "{}", told.1);
        }
    }

    #[test]
    fn however_little_time_there_is_each_part_has_some_of_it() {
        let began = Instant::now();
        for within_ms in [0, 1, 10, 1000, 5000, 60_000, 3_600_000] {
            let within = Duration::from_millis(within_ms);
            let times = Times::new(began, within);
            assert!(times.looked <= times.pushed && times.pushed <= times.killed);
            assert!(times.killed <= times.end && times.end == began + within);
            assert!(times.end - times.pushed <= RESERVE, "{within_ms} ms");
        }
    }
}
