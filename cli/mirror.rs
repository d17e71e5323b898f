//! `hasync mirror start|stop|status|restart`: the resource script of heartbeat v1 and LSB. What
//! starts and stops it decides who is primary; this makes it so for the trees, in an order that
//! loses nothing: at the stop the last push goes before the demotion, at the start what was cut
//! off is completed before the promotion.

use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::generation::NodeRole;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::args::{Action, MirrorArgs};
use crate::config::{Config, Event, Tree};
use crate::cycle::{self, CycleLock};
use crate::exit::{self, Exit, Failure};
use crate::freshness;
use crate::generations::{demote_one, must_be_seen, promote_one};
use crate::itself;
use crate::notify::{self, Notice};
use crate::out::{self, Out};
use crate::rejoin::{self, Back};
use crate::role::{self, Role};
use crate::state;
use crate::state::record::RoleWord;
use crate::times::long;

/// What the last push gets to leave by itself after its time is up.
const GRACE: Duration = Duration::from_secs(2);
/// How often the end of the last push is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Status of LSB: the program is not running.
const NOT_RUNNING: u8 = 3;
/// Status of LSB: unknown.
const UNKNOWN: u8 = 4;

/// Carries an action out, with the exit codes of LSB.
pub(crate) fn run(args: &MirrorArgs) -> ExitCode {
    let out = Out::stdout();
    let config = state::config(args.config.as_deref());
    let done = config
        .as_ref()
        .map_err(Failure::clone)
        .and_then(|config| match args.action {
            Action::Start => start(config, args.force, &out).map(|()| 0),
            Action::Stop if args.unless_serving && serves(config) => Ok(0),
            Action::Stop => stop(config, &out).map(|()| 0),
            Action::Restart => stop(config, &out)
                .and_then(|()| start(config, args.force, &out))
                .map(|()| 0),
            Action::Status => status(config, &out),
        });
    if let (Ok(config), true) = (&config, args.action != Action::Status) {
        state::note(config);
    }
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

/// Whether this node has the service, or may have it.
fn serves(config: &Config) -> bool {
    !role::find(config).is_ok_and(|found| found.role == Role::Standby)
}

fn start(config: &Config, force: bool, out: &Out) -> Result<(), Failure> {
    let mut failed = Failed::default();
    let mut trees = config.in_push_order();
    trees.retain(|tree| failed.note(tree, recover(config, tree, out)).is_some());
    for back in rejoin::rejoin(config, &trees)? {
        if let Back::Follows(tree, peer) = back {
            out.say(&rejoin::follows(tree, &peer));
        }
    }
    if !force {
        let seen = |tree: &&Tree| must_be_seen(&tree.on(&config.node));
        trees.retain(|tree| failed.note(tree, seen(tree)).is_some());
        // Of a tree that this node is primary of already, too: it may have crashed as that.
        for (stale, why) in freshness::stale(config, &trees, out)? {
            trees.retain(|tree| tree.name != stale.name);
            failed.note::<()>(stale, Err(why));
        }
    }
    let (mut promoted, mut lines) = (Vec::new(), Vec::new());
    for tree in trees {
        if let Some(Some(line)) = failed.note(tree, promote(config, tree)) {
            promoted.push(tree);
            lines.push(line);
        }
    }
    if !promoted.is_empty() {
        // The other node may not know yet: the first push of each waits until it is standby.
        if let Err(failure) = cycle::hold(config, &promoted) {
            out::error(&failure.message);
        }
        lines.iter().for_each(|line| out.say(line));
        let next = "nothing needs to be done if this was a switchover; after a crash see hasync \
                    status, and what the other node had not sent yet is there alone";
        tell(config, Event::Promotion, &lines.join("; "), next);
    }
    failed.end(&config.in_push_order())
}

/// What could not be done, tree by tree.
#[derive(Default)]
struct Failed(Vec<(String, Exit)>);

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
        self.0.push((tree.name.clone(), failure.exit));
        None
    }

    /// How a start ends.
    fn end(self, trees: &[&Tree]) -> Result<(), Failure> {
        let Some(exit) = self.0.iter().map(|(_, exit)| *exit).reduce(exit::worse) else {
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
        for line in &recovered.failed {
            out::error(line);
        }
    }
    Ok(())
}

/// Makes this node primary, unless it is.
fn promote(config: &Config, tree: &Tree) -> Result<Option<String>, Failure> {
    let named = tree.on(&config.node);
    if named.status()?.role == NodeRole::Primary {
        named.serves()?;
        return Ok(None);
    }
    promote_one(&named, None).map(Some)
}

fn stop(config: &Config, out: &Out) -> Result<(), Failure> {
    let mut primary = Vec::new();
    for tree in config.in_push_order() {
        let named = tree.on(&config.node);
        if named.status()?.role == NodeRole::Primary {
            primary.push(named);
        }
    }
    if primary.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + config.cycle.last_push.0;
    // A running cycle is not disturbed; its lock keeps further ones away until all is done.
    let lock = CycleLock::wait_for_last_push(&config.node.state, deadline);
    let last = match &lock {
        Ok(Ok(_)) => last_push(config, deadline),
        Ok(Err(holder)) => Err(format!(
            "a cycle (process {}) was running for {} and did not end in time",
            holder.pid,
            long(holder.age)
        )),
        // Whoever takes over does not wait until that is mended.
        Err(failure) => Err(failure.message.clone()),
    };
    let mut failed = None;
    for named in &primary {
        match demote_one(named, last.is_ok()) {
            Ok(line) => out.say(&line),
            Err(failure) => {
                out::error(&format!("tree {}: {}", named.name, failure.message));
                failed = Some(failure);
            }
        }
    }
    let (line, next) = match &last {
        Ok(()) => (
            "this node is standby; the last push is complete".to_owned(),
            "nothing needs to be done".to_owned(),
        ),
        Err(why) => (
            format!("this node is standby; the last push is not complete: {why}"),
            "what changed here since the last good push is here alone: see hasync status before \
             the other node's first push"
                .to_owned(),
        ),
    };
    if let Err(why) = &last {
        out::error(&format!("the last push is not complete: {why}"));
    }
    tell(config, Event::Demotion, &line, &next);
    match failed {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Pushes everything once more, in a process of its own that can be ended at the deadline: what
/// it had not committed by then is not visible on the standby.
fn last_push(config: &Config, deadline: Instant) -> Result<(), String> {
    let mut child = itself::command()
        .map_err(|failure| failure.message)?
        .args(["push", "--all", "-q", "--config"])
        .arg(&config.file)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|cause| format!("it cannot be started: {}", exit::cause(&cause)))?;
    let pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
    let mut asked = false;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if asked => return Err(format!("its time was up ({status})")),
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}, see above")),
            Ok(None) => {}
            Err(cause) => return Err(format!("it cannot be waited for: {}", exit::cause(&cause))),
        }
        if Instant::now() >= deadline + GRACE {
            let _ = child.kill();
            // A file server that hangs may keep it from dying: then it does nothing more either.
            while Instant::now() < deadline + 2 * GRACE && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
            return Err("its time was up".to_owned());
        }
        if Instant::now() >= deadline && !asked {
            asked = true;
            if let Some(pid) = pid {
                let _ = kill(pid, Signal::SIGTERM);
            }
        }
        thread::sleep(POLL);
    }
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
