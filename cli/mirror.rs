//! `hasync mirror start|stop|status|restart`: the resource script of heartbeat v1 and LSB. What
//! starts and stops it decides who is primary; this makes it so for the trees, in an order that
//! loses nothing: at the stop the last push goes before the demotion, at the start what was cut
//! off is completed before the promotion.

mod last_push;
mod stop;

use std::path::Path;
use std::process::ExitCode;

use hasync_engine::generation::{NodeRole, Serves};

use crate::args::{Action, MirrorArgs};
use crate::config::{Config, Event, Tree};
use crate::cycle;
use crate::exit::{self, Exit, Failure};
use crate::freshness::{self, Heard};
use crate::generations::{must_be_seen, promote_one};
use crate::notify::{self, Notice};
use crate::out::{self, Out};
use crate::rejoin::{self, Back};
use crate::state;
use crate::state::record::{Doing, RoleWord};

pub(crate) use stop::{Stop, stop};

/// Status of LSB: the program is not running.
const NOT_RUNNING: u8 = 3;
/// Status of LSB: unknown.
const UNKNOWN: u8 = 4;

/// Carries an action out, with the exit codes of LSB.
pub(crate) fn run(args: &MirrorArgs) -> ExitCode {
    let out = Out::stdout();
    let file = args.config.as_deref();
    let stop = || {
        let how = Stop {
            file,
            within: args.within,
            unless_serving: args.unless_serving,
        };
        // Whoever waits for it has to go on, whatever it came to.
        drop(stop(how, &out));
    };
    let done = match args.action {
        Action::Start => start(file, args.force, &out).map(|()| 0),
        Action::Stop => {
            stop();
            Ok(0)
        }
        Action::Restart => {
            stop();
            start(file, args.force, &out).map(|()| 0)
        }
        Action::Status => state::config(file).and_then(|config| status(&config, &out)),
    };
    // heartbeat may have closed it.
    let _ = out.finish();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out::error(&failure.message);
            ExitCode::from(match (args.action, failure.exit) {
                (Action::Status, _) => UNKNOWN,
                (_, Exit::Usage) => 2,
                (_, Exit::Config) => 6,
                _ => 1,
            })
        }
    }
}

/// Running is who is primary of all trees. heartbeat reads the word, others the code.
fn status(config: &Config, out: &Out) -> Result<u8, Failure> {
    let mut is_running = !config.trees.is_empty();
    let mut lines = String::new();
    for tree in config.in_push_order() {
        let tree = state::of_tree(config, tree)?;
        is_running &= tree.facts.part.role == RoleWord::Primary;
        lines.push_str(&format!("{}: {}\n", tree.facts.name, tree.told.sentence));
    }
    out.write(if is_running {
        b"running\n"
    } else {
        b"stopped\n"
    });
    out.say_all(&lines);
    Ok(if is_running { 0 } else { NOT_RUNNING })
}

fn start(file: Option<&Path>, force: bool, out: &Out) -> Result<(), Failure> {
    let config = &state::config(file)?;
    let mut failed = Failed::default();
    let mut trees = recover_all(config, &mut failed, out);
    come_back(config, &trees, || rejoin::serves(config), out)?;
    let heard = match force {
        true => Heard::default(),
        false => hear_promotable(config, &mut trees, false, &mut failed, out)?,
    };
    promote_all(config, trees, &heard, &mut failed, out);
    state::note(config);
    failed.end(&config.in_push_order())
}

/// Brings commits to their end that were cut off; the trees that are whole then.
pub(crate) fn recover_all<'a>(config: &'a Config, failed: &mut Failed, out: &Out) -> Vec<&'a Tree> {
    let mut trees = config.in_push_order();
    trees.retain(|tree| failed.note(tree, recover(config, tree, out)).is_some());
    trees
}

/// Lets a node that was primary before its peer was promoted follow; says of which trees it does
/// not, and why.
pub(crate) fn come_back(
    config: &Config,
    trees: &[&Tree],
    serves: impl FnOnce() -> Serves,
    out: &Out,
) -> Result<(), Failure> {
    for back in rejoin::rejoin_that(config, trees, serves)? {
        match back {
            Back::Follows(tree, peer) => out.say(&rejoin::follows(tree, &peer)),
            Back::Asks(tree, line) => out.say(&format!("{}: {line}", tree.name)),
            Back::Stays(_) => {}
        }
    }
    Ok(())
}

/// Keeps the trees that this node may be promoted of: their data is there, and the peer has none
/// that is newer. `hands_over`: the peer has had to hand over before.
pub(crate) fn hear_promotable<'a>(
    config: &Config,
    trees: &mut Vec<&'a Tree>,
    hands_over: bool,
    failed: &mut Failed,
    out: &Out,
) -> Result<Heard<'a>, Failure> {
    let seen = |tree: &&Tree| must_be_seen(&tree.on(&config.node));
    trees.retain(|tree| failed.note(tree, seen(tree)).is_some());
    // Of a tree that this node is primary of already, too: it may have crashed as that.
    let heard = freshness::hear(config, trees, hands_over, out)?;
    for (stale, why) in &heard.stale {
        trees.retain(|tree| tree.name != stale.name);
        let next = "start the service where the newest data is".to_owned();
        if let Err(failure) = state::put(config, stale, Doing::Promoting, why, next) {
            out::error(&failure.message);
        }
        failed.note::<()>(stale, Err(why.clone()));
    }
    Ok(heard)
}

/// Makes this node primary of the trees, and tells so.
pub(crate) fn promote_all(
    config: &Config,
    trees: Vec<&Tree>,
    heard: &Heard<'_>,
    failed: &mut Failed,
    out: &Out,
) {
    let (mut promoted, mut lines) = (Vec::new(), Vec::new());
    for tree in trees {
        if let Some(Some(line)) = failed.note(tree, promote(config, tree, heard)) {
            promoted.push(tree);
            lines.push(line);
        }
    }
    if promoted.is_empty() {
        return;
    }
    // The other node may not know yet: the first push of each waits until it is standby.
    if let Err(failure) = cycle::hold(config, &promoted) {
        out::error(&failure.message);
    }
    lines.iter().for_each(|line| out.say(line));
    let next = "nothing needs to be done after a switchover; if the other node broke off, what it \
                had not sent is there alone: leave its disk as it is, and the first push to it \
                keeps that";
    tell(config, Event::Promotion, &lines.join("; "), next);
}

/// What could not be done, tree by tree, and why.
#[derive(Default)]
pub(crate) struct Failed(Vec<(String, Failure)>);

impl Failed {
    /// Says why something failed; one tree does not keep the others from it.
    fn note<T>(&mut self, tree: &Tree, result: Result<T, Failure>) -> Option<T> {
        let failure = match result {
            Ok(done) => return Some(done),
            Err(failure) => failure,
        };
        out::error(&format!(
            "tree {}: {} (exit {})",
            tree.name, failure.message, failure.exit
        ));
        self.0.push((tree.name.clone(), failure));
        None
    }

    /// The first of it.
    pub(crate) fn first(&self) -> Option<&Failure> {
        self.0.first().map(|(_, why)| why)
    }

    /// How a start ends.
    fn end(self, trees: &[&Tree]) -> Result<(), Failure> {
        let Some(exit) = self.0.iter().map(|(_, why)| why.exit).reduce(exit::worse) else {
            return Ok(());
        };
        let is_primary = |tree: &&&Tree| self.0.iter().all(|(name, _)| *name != tree.name);
        let primary: Vec<_> = trees
            .iter()
            .filter(is_primary)
            .map(|tree| &*tree.name)
            .collect();
        let others: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        let primary = match &*primary.join(", ") {
            "" => "nothing".to_owned(),
            names => names.to_owned(),
        };
        Err(Failure::new(
            exit,
            format!(
                "this node is primary of {primary} and was not promoted of {}, see above; mend \
                 that and start again",
                others.join(", ")
            ),
        ))
    }
}

/// Brings a commit to its end that was cut off.
fn recover(config: &Config, tree: &Tree, out: &Out) -> Result<(), Failure> {
    let named = tree.on(&config.node);
    if named.status()?.is_interrupted
        && let Some(recovered) = named.recover()?
    {
        out.say(&format!("{}: an interrupted commit is complete", tree.name));
        for line in recovered.failed.shown() {
            out::error(&line);
        }
    }
    Ok(())
}

/// Makes this node primary, unless it is.
fn promote(config: &Config, tree: &Tree, heard: &Heard<'_>) -> Result<Option<String>, Failure> {
    let named = tree.on(&config.node);
    if named.status()?.role == NodeRole::Primary {
        named.serves()?;
        return Ok(None);
    }
    promote_one(&named, heard.epoch(&tree.name)).map(Some)
}

fn tell(config: &Config, event: Event, line: &str, next: &str) {
    let notice = Notice {
        event,
        tree: None,
        exit: 0,
        line: line.to_owned(),
        next: next.to_owned(),
    };
    notify::tell_apart(config, &notice);
}
