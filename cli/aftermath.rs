//! What is remembered of a push when it is over, for whoever asks for the state of this node: how
//! it ended, what is to be done, and what the peer said.

use std::collections::BTreeMap;

use hasync_engine::generation::Standing;
use hasync_engine::{Wish, escape};

use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::generations;
use crate::out;
use crate::peer_link::PeerLink;
use crate::push_trees::Pushed;
use crate::state;
use crate::state::record::Doing;

/// Remembers how the push of a tree ended. Gives what did not end well, and what is to be done.
pub(crate) fn remember(
    config: &Config,
    tree: &Tree,
    link: &mut PeerLink,
    ended: Result<&Pushed, &Failure>,
) -> Option<(Failure, String)> {
    let failure = match ended {
        Ok(pushed) => match (pushed.exit, &pushed.line) {
            (Exit::Ok | Exit::Vanished, _) | (_, None) => {
                try_to(state::clear(config, tree, None));
                return None;
            }
            (exit, Some(line)) => Failure::new(exit, line),
        },
        // Whoever holds the lock will tell.
        Err(failure) if failure.exit == Exit::Locked => return None,
        Err(failure) => failure.clone(),
    };
    let next = next_step(config, tree, failure.exit, link);
    try_to(state::put(
        config,
        tree,
        Doing::Pushing,
        &failure,
        next.clone(),
    ));
    Some((failure, next))
}

/// That something is not remembered is no reason to stop.
fn try_to(remembered: Result<(), Failure>) {
    if let Err(failure) = remembered {
        out::error(&failure.message);
    }
}

/// What to do after a push that ended like that. Where the lineage may be at odds, both nodes are
/// asked how they stand: an empty tree may be a new one, which the other node can fill.
fn next_step(config: &Config, tree: &Tree, exit: Exit, link: &mut PeerLink) -> String {
    if matches!(exit, Exit::Fenced | Exit::Diverged | Exit::DeleteLimit)
        && let Ok((here, there, _)) = ask(config, tree, link)
    {
        let ways = generations::ways_out(&tree.name, &here, &there, None);
        let ways: Vec<String> = ways.into_iter().filter(|way| way.contains('`')).collect();
        if !ways.is_empty() {
            return ways.join("; ");
        }
        // Nothing is at odds: the other node is the one that pushes.
        if there.is_primary && !here.is_primary {
            let (name, peer) = (&tree.name, escape(there.node.as_bytes()));
            return format!(
                "on {peer} `hasync push --tree {name}`; to go on with what is here, `hasync \
                 promote {name}`"
            );
        }
    }
    state::advice_after(config, Some(tree), exit)
}

/// Remembers what the peer says of its trees now. A peer that cannot be asked is none the worse.
pub(crate) fn hear(config: &Config, link: &mut PeerLink) {
    let mut said = BTreeMap::new();
    for tree in &config.trees {
        match ask(config, tree, link) {
            Ok((here, there, serves)) => {
                said.insert(tree.name.clone(), state::peer_said(&here, &there, serves));
            }
            Err(_) if link.is_open() => {}
            Err(_) => break,
        }
    }
    if !said.is_empty() {
        try_to(state::heard(config, said));
    }
}

fn ask(
    config: &Config,
    tree: &Tree,
    link: &mut PeerLink,
) -> Result<(Standing, Standing, Option<bool>), Failure> {
    let named = tree.on(&config.node);
    link.push(|connection| connection.ask(&named, Wish::Nothing))
}
