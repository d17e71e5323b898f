//! The first push of a tree after a promotion: the other node may not know yet that it is not the
//! primary any more, and refuses it. For one interval that is no failure. What waiting does not
//! mend is told at once, and no tree waits for another.

use std::time::Duration;

use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::memory::{self, Memory};
use crate::times::long;

/// From now on the first pushes of these trees may be refused for a while.
pub(crate) fn hold(config: &Config, trees: &[&Tree]) -> Result<(), Failure> {
    Memory::change(&config.node.state, |memory| {
        let held = trees.iter().map(|tree| (tree.name.clone(), memory::now()));
        memory.held.extend(held);
    })
}

/// How long the push of a tree may go on being refused like that; `None` if that is a failure.
pub(super) fn left(
    config: &Config,
    interval: Duration,
    tree: &Tree,
    exit: Exit,
) -> Option<Duration> {
    let since = *Memory::recall(&config.node.state).held.get(&tree.name)?;
    memory::left(since, interval).filter(|_| passes(exit))
}

/// Whether it may be over by the next cycle without anybody doing anything.
fn passes(exit: Exit) -> bool {
    matches!(
        exit,
        Exit::Stream
            | Exit::Timeout
            | Exit::NameNotResolved
            | Exit::Unreachable
            | Exit::Locked
            | Exit::Fenced
    )
}

/// What is said in place of a failure.
pub(super) fn line(tree: &Tree, left: Duration, failure: &Failure) -> String {
    format!(
        "{}: the first push after the promotion is held back, at most {} more, until the peer is \
         seen as standby: {}",
        tree.name,
        long(left),
        failure.message
    )
}

/// The tree was pushed.
pub(super) fn release(config: &Config, tree: &Tree) -> Result<(), Failure> {
    let state = &config.node.state;
    if !Memory::recall(state).held.contains_key(&tree.name) {
        return Ok(());
    }
    Memory::change(state, |memory| {
        memory.held.remove(&tree.name);
    })
}
