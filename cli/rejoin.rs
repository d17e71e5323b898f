//! A node that comes back recorded as primary after its peer was promoted. It follows by itself
//! where the records prove that it has not served since, and the test of its role says that it does
//! not serve now; else somebody has to decide.

use hasync_engine::Wish;
use hasync_engine::generation::{NodeRole, Rejoin, Serves};

use crate::config::{AfterCrash, Config, RoleTest, Tree};
use crate::exit::Failure;
use crate::freshness::{Asker, PATIENCE};
use crate::out;
use crate::role::{self, Role};

/// What became of a tree of which this node is recorded as primary.
pub(crate) enum Back<'a> {
    /// It follows the peer now.
    Follows(&'a Tree, String),
    /// It is for people to decide, for this reason.
    Asks(&'a Tree, String),
    /// The peer has nothing that is to be followed.
    Stays(&'a Tree),
}

/// Looks at the trees of which this node is recorded as primary. A peer that cannot be asked
/// decides nothing.
pub(crate) fn rejoin<'a>(config: &Config, trees: &[&'a Tree]) -> Result<Vec<Back<'a>>, Failure> {
    rejoin_that(config, trees, || serves(config))
}

/// The same where `serves` knows whether this node does.
pub(crate) fn rejoin_that<'a>(
    config: &Config,
    trees: &[&'a Tree],
    serves: impl FnOnce() -> Serves,
) -> Result<Vec<Back<'a>>, Failure> {
    let mut recorded = Vec::new();
    for tree in trees {
        match tree.on(&config.node).status() {
            Ok(status) if status.role == NodeRole::Primary => recorded.push(*tree),
            Ok(_) => {}
            // One tree does not keep the others from it.
            Err(why) => out::error(&format!("tree {}: {}", tree.name, why.message)),
        }
    }
    if recorded.is_empty() || config.lineage.rejoin == AfterCrash::Ask {
        return Ok(Vec::new());
    }
    let Ok(answers) = Asker::start(config, &recorded).ask(Wish::Nothing, PATIENCE) else {
        return Ok(Vec::new());
    };
    let (serves, mut back) = (serves(), Vec::new());
    for (tree, answer) in recorded.into_iter().zip(answers) {
        let Ok(answer) = answer else { continue };
        let peer = hasync_engine::escape(answer.there.node.as_bytes()).into_owned();
        match tree.on(&config.node).rejoin(&answer.there, serves)? {
            Rejoin::Stays => back.push(Back::Stays(tree)),
            Rejoin::Follows => back.push(Back::Follows(tree, peer)),
            Rejoin::Asks(why) => {
                let name = &tree.name;
                let line = format!(
                    "{peer} was promoted of tree {name} since this node was, and {why}: `hasync \
                     diverged {name}` lists what differs and the ways out"
                );
                back.push(Back::Asks(tree, line));
            }
        }
    }
    Ok(back)
}

/// The line about a tree that follows the peer now.
pub(crate) fn follows(tree: &Tree, peer: &str) -> String {
    format!(
        "{}: this node was primary before {peer} was promoted, and is its standby now; what it \
         alone has is kept by the first push from there",
        tree.name
    )
}

/// Whether this node has the service, by a test that says more than its own records.
pub(crate) fn serves(config: &Config) -> Serves {
    if config.role == RoleTest::Recorded {
        return Serves::Unknown;
    }
    match role::find(config) {
        Ok(found) if found.role == Role::Primary => Serves::Yes,
        Ok(_) => Serves::No,
        Err(_) => Serves::Unknown,
    }
}
