//! `hasync status`: what each tree is on this node, when it was last equal, and what, if anything,
//! has to be done; in sentences, or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use hasync_engine::escape;
use hasync_engine::generation::{Generation, NodeRole, TreeStatus};

use super::{any, json, unseen};
use crate::args::StatusArgs;
use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::memory::{self, Course, Memory};
use crate::out::Out;
use crate::role;
use crate::times::{long, rfc3339_of_ns};

/// The records of a tree, read, and what they come to.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) status: TreeStatus,
    pub(crate) state: State,
    /// How far the standby is behind; `None` if that is unknown.
    pub(crate) lag: Option<Duration>,
}

/// What a tree is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It was neither sent nor received.
    New,
    /// A commit was cut off: it may be a mixture.
    Interrupted,
    /// Some of its entries are not as on the source.
    Partial,
    /// All of it is a generation.
    Complete,
}

/// Prints the state of the trees.
pub(crate) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let config = Config::load(args.which.config.config.as_deref())?;
    let trees = any(&config, &args.which)?;
    let looks = trees
        .into_iter()
        .map(|tree| Ok((tree, look(&config, tree)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let out = Out::stdout();
    let is_primary = |(_, look): &(&Tree, Look)| look.status.role == NodeRole::Primary;
    let failed = looks.iter().any(is_primary).then(|| failed_cycle(&config));
    let failed = failed.flatten();
    if args.json {
        let failed = failed.as_ref().map(|(cycle, _)| cycle);
        out.json(&json::status(&config, &looks, failed));
    } else {
        for (tree, look) in &looks {
            out.say_all(&text(tree, look));
            if let Some(why) = unseen(&tree.on(&config.node))? {
                out.say(&format!("  {why}"));
            }
        }
        if let Some((_, line)) = failed {
            out.say(&line);
        }
        for line in role::notes(&config) {
            out.say(&format!("note: {line}"));
        }
    }
    out.finish()?;
    Ok(Exit::Ok)
}

/// The last cycle of this node, if it did not end well, and what is said about it.
fn failed_cycle(config: &Config) -> Option<(Course, String)> {
    let cycle = Memory::recall(&config.node.state).cycles.pop()?;
    if cycle.is_good() {
        return None;
    }
    let ago = Duration::from_secs(memory::now().saturating_sub(cycle.began));
    let why = cycle.line.as_deref().unwrap_or("see the notices");
    let line = format!(
        "the last cycle, {} ago, failed: {why}; the next one tries again",
        long(ago)
    );
    Some((cycle, line))
}

/// Reads the records of one tree.
pub(crate) fn look(config: &Config, tree: &Tree) -> Result<Look, Failure> {
    let status = tree.on(&config.node).status()?;
    let is_partial = |head: &Generation| head.partial.is_some();
    let state = if status.is_interrupted {
        State::Interrupted
    } else if status.head.as_ref().is_some_and(is_partial) {
        State::Partial
    } else if status.head.is_some() {
        State::Complete
    } else {
        State::New
    };
    let lag = status.as_of.as_ref().and_then(|as_of| as_of.lag_ns());
    let lag = lag.and_then(|ns| u64::try_from(ns).ok());
    Ok(Look {
        state,
        lag: lag.map(Duration::from_nanos),
        status,
    })
}

/// Role and state of a tree in a sentence, with what is to be done about it.
pub(crate) fn sentence(look: &Look) -> String {
    let status = &look.status;
    let head = status.head.as_ref();
    let head = head.map_or_else(
        || "no generation".to_owned(),
        |head| {
            format!(
                "generation {} of {}",
                head.shown(),
                escape(head.node.as_bytes())
            )
        },
    );
    let who = match status.role {
        NodeRole::New => {
            return "nothing was sent or received yet; push it, or promote this node".to_owned();
        }
        role => format!("{}, epoch {}, {head}", json::role(role), status.epoch),
    };
    let as_of = status
        .as_of
        .as_ref()
        .map(|as_of| rfc3339_of_ns(as_of.source_ns));
    let equal = match (look.lag, as_of) {
        (lag, Some(as_of)) if status.was_primary.is_some() => {
            let ago = lag.map_or_else(String::new, |lag| format!(", {} ago", long(lag)));
            let what = match status.was_primary {
                Some(true) => "it handed over to the other node, which had all of it",
                _ => {
                    "it was primary and has received nothing since: what changed here after that \
                     may be here alone, and the first push to it will keep that; the other node \
                     was equal"
                }
            };
            format!("{what} as of {as_of} by the primary's clock{ago}")
        }
        (Some(lag), Some(as_of)) => {
            format!(
                "the standby is equal as of {as_of} by the primary's clock, {} ago",
                long(lag)
            )
        }
        (None, Some(as_of)) => format!(
            "the standby was equal as of {as_of} by the primary's clock, how long ago is unknown \
             because a clock was set; push again"
        ),
        _ => "it is not known when the standby was last equal; push".to_owned(),
    };
    match look.state {
        State::Interrupted => format!(
            "{who}; a commit was cut off and the tree may be a mixture: run hasync recover before \
             anything reads it"
        ),
        State::Partial => {
            let count = status.head.as_ref().and_then(|head| head.partial.as_ref());
            let count = count.map_or(0, |partial| partial.count);
            format!(
                "{who}; {count} entries are not as on the source, see below; mend that and push \
                 again; {equal}"
            )
        }
        _ => match &status.adopted {
            Some(adopted) => format!(
                "{who}; that is given up for generation {} of {}, whose next push is received",
                adopted.id,
                escape(adopted.node.as_bytes())
            ),
            None => format!("{who}; {equal}"),
        },
    }
}

/// What the configuration says that the standby need not keep, in its words.
pub(super) fn lossy_words(tree: &Tree) -> Vec<&'static str> {
    let lossy = tree.options.lossy;
    let words = [(lossy.owner, "owners"), (lossy.perms, "modes")];
    words
        .into_iter()
        .filter_map(|(is_set, word)| is_set.then_some(word))
        .collect()
}

fn text(tree: &Tree, look: &Look) -> String {
    let status = &look.status;
    let mut text = format!("{}: {}\n", tree.name, sentence(look));
    let mut say = |line: String| {
        let _ = writeln!(text, "  {line}");
    };
    if let Some(partial) = status.head.as_ref().and_then(|head| head.partial.as_ref()) {
        for line in &partial.lines {
            say(format!("not mirrored: {}", escape(line.as_bytes())));
        }
    }
    let lossy = lossy_words(tree);
    if !lossy.is_empty() {
        say(format!(
            "mirrored without {}: it is lossy",
            lossy.join(" and ")
        ));
    }
    if let Some(id) = status.open {
        say(format!(
            "generation {id} was sent and not acknowledged: the next push finds out whether it is \
             there"
        ));
    }
    for left in &status.staged {
        let name = escape(left.name.as_bytes());
        say(if left.is_running {
            format!("a push is running, and stages in .hasync/stage/{name}")
        } else {
            format!(".hasync/stage/{name} is left of an interrupted push, for the next one")
        });
    }
    for pinned in &status.pinned {
        let (generation, number) = (&pinned.generation, pinned.generation.number);
        say(format!(
            "kept: generation {} of {} replaced what only this node had; that is in {} until \
             `hasync undo {} --forget {number}`",
            generation.shown(),
            escape(generation.node.as_bytes()),
            escape(pinned.path.as_os_str().as_encoded_bytes()),
            tree.name,
        ));
    }
    if let Some(first) = status.rubbish.first() {
        say(format!(
            "{} of what undo kept once could not be removed, first {}: the next push tries again; \
             if it stays, see what holds it (lsattr, fuser) and remove it",
            status.rubbish.len(),
            escape(first.as_os_str().as_encoded_bytes()),
        ));
    }
    if let (Some(last), Some(first)) = (status.undo.last(), status.undo.first()) {
        say(format!(
            "{} can be undone, back to before generation {} (the last is {})",
            status.undo.len(),
            last.shown(),
            first.shown()
        ));
    }
    text
}
