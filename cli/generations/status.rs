//! `hasync status`: what each tree is on this node, when it was last equal, and what, if anything,
//! has to be done; in sentences, or as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use hasync_engine::escape;

use super::any;
use crate::args::StatusArgs;
use crate::config::Config;
use crate::exit::{self, Exit, Failure};
use crate::memory;
use crate::numbers::bytes;
use crate::out::{self, Out};
use crate::state::record::{Facts, LastCycle, RoleWord};
use crate::state::{self, Condition, NOTHING, NodeState, RoleLook, TreeState};
use crate::times::long;

/// Prints the state of the trees.
pub(crate) fn run(args: &StatusArgs) -> Result<Exit, Failure> {
    let (state, exit) = find(args)?;
    let out = Out::stdout();
    if args.json {
        out.json(&serde_json::to_value(&state).unwrap_or_default());
    } else {
        say(&state, &out);
    }
    out.finish()?;
    Ok(exit)
}

/// The state, from the records or, for who is not root, from the file; and how this leaves.
fn find(args: &StatusArgs) -> Result<(NodeState, Exit), Failure> {
    let named = args.which.config.config.as_deref();
    let config = match Config::load(named) {
        Ok(config) => config,
        Err(failure) => {
            state::note_fault(named, &failure);
            return match state::read_of(named) {
                Ok(state) if args.json => {
                    out::error(&failure.message);
                    Ok((state, failure.exit))
                }
                _ => Err(failure),
            };
        }
    };
    let trees = any(&config, &args.which)?;
    if !state::ours(&config)
        && let Ok(mut state) = state::read_of(named)
    {
        state.age(&args.which.trees);
        return Ok((state, Exit::Ok));
    }
    let state = state::look(&config, &trees, RoleLook::Test);
    let mut worst = Exit::Ok;
    for tree in &trees {
        // What is not told of it is why.
        if let Err(failure) = tree.on(&config.node).status().map_err(Failure::from) {
            out::error(&format!("tree {}: {}", tree.name, failure.message));
            worst = exit::worse(worst, failure.exit);
        }
    }
    Ok((state, worst))
}

fn say(state: &NodeState, out: &Out) {
    if let Some(fault) = &state.fault {
        out.say(&format!("this node: {}; next: {}", fault.line, fault.next));
    }
    for tree in &state.trees {
        out.say_all(&text(tree));
    }
    let is_primary = |tree: &TreeState| tree.facts.part.role == RoleWord::Primary;
    let failed = state.last_cycle.as_ref().filter(|cycle| !cycle.is_good);
    if let Some(cycle) = failed.filter(|_| state.trees.iter().any(is_primary)) {
        out.say(&failed_cycle(cycle));
    }
}

/// What is said about a last cycle that did not end well.
fn failed_cycle(cycle: &LastCycle) -> String {
    let ago = Duration::from_secs(memory::now().saturating_sub(cycle.began.seconds));
    let why = cycle.line.as_deref().unwrap_or("see the notices");
    format!(
        "the last cycle, {} ago, failed: {why}; the next one tries again",
        long(ago)
    )
}

fn text(tree: &TreeState) -> String {
    let (facts, told) = (&tree.facts, &tree.told);
    let mut text = format!("{}: {}\n", facts.name, told.sentence);
    let mut say = |line: String| {
        let _ = writeln!(text, "  {line}");
    };
    if told.next != NOTHING {
        say(format!("next: {}", told.next));
    }
    if facts.part.role_mismatch && told.condition != Condition::Mismatch {
        say(format!("note: {}", state::core(facts, Condition::Mismatch)));
    }
    let partial = facts
        .data
        .head
        .as_ref()
        .and_then(|head| head.partial.as_ref());
    for line in partial.iter().flat_map(|partial| &partial.lines) {
        say(format!("not mirrored: {}", escape(line.as_bytes())));
    }
    if !facts.lossy.is_empty() {
        say(format!(
            "mirrored without {}: it is lossy",
            facts.lossy.join(" and ")
        ));
    }
    if let Some(held) = &facts.part.held_until {
        say(format!(
            "the first push after the promotion may be refused until {}, which is no failure",
            held.time
        ));
    }
    if let Some(id) = &facts.part.unacknowledged {
        say(format!(
            "generation {id} was sent and not acknowledged: the next push finds out whether it is \
             there"
        ));
    }
    past(facts, &mut say);
    text
}

/// The first of so many paths.
pub(crate) fn first_paths(paths: &[String], count: u64) -> String {
    const SHOWN: usize = 3;
    let first: Vec<&str> = paths.iter().take(SHOWN).map(String::as_str).collect();
    let more = if count > first.len() as u64 {
        ", ..."
    } else {
        ""
    };
    format!("{}{more}", first.join(", "))
}

/// What is kept beside the data.
fn past(facts: &Facts, say: &mut impl FnMut(String)) {
    let (past, name) = (&facts.past, &facts.name);
    for left in &past.staged {
        let session = escape(left.name.as_bytes());
        say(if left.is_running {
            format!("a push is running, and stages in .hasync/stage/{session}")
        } else {
            format!(".hasync/stage/{session} is left of an interrupted push, for the next one")
        });
    }
    for pinned in &past.pinned {
        let (number, node) = (pinned.number, escape(pinned.node.as_bytes()));
        let id = pinned.id.get(..8).unwrap_or(&pinned.id);
        say(format!(
            "kept: generation {number} ({id}) of {node} replaced what only this node had; that \
             is in {} until `hasync undo {name} --forget {number}`",
            pinned.path,
        ));
    }
    for written in &past.written_here {
        let number = written.number;
        say(format!(
            "generation {number} replaced {} entries that had been written here since the one \
             before: {}; `hasync kept {name} --extract {number} DIR` copies them out",
            written.count,
            first_paths(&written.paths, written.count),
        ));
    }
    if let Some(first) = past.rubbish.first() {
        say(format!(
            "{} of what undo kept once could not be removed, first {first}: the next push tries \
             again; if it stays, see what holds it (lsattr, fuser) and remove it",
            past.rubbish.len(),
        ));
    }
    if let (Some(last), Some(first)) = (past.undo.last(), past.undo.first()) {
        say(format!(
            "{} can be undone, back to before generation {} (the last is {}); {} on disk",
            past.undo.len(),
            last.shown(),
            first.shown(),
            bytes(past.bytes.undo + past.bytes.kept),
        ));
    }
}
