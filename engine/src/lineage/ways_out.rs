//! The commands that lead two nodes back to a mirroring pair, if it needs any: for each of the two,
//! those after which its data is what both have. There are never more than two.

use super::claim::Standing;
use super::generation::GenerationId;
use super::ordinal::Epoch;

/// A command about a tree, to be run on one of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `hasync demote`
    Demote,
    /// `hasync adopt --from NODE --generation ID`: it is a standby, and its data is given up.
    Adopt {
        /// The node whose generation that is.
        from: String,
        /// The generation.
        id: GenerationId,
    },
    /// `hasync promote`, above an epoch that it has not seen.
    Promote {
        /// The other node's epoch, if that is higher.
        above: Option<Epoch>,
    },
}

/// How one node's data comes to be what both have. The next push from there then goes through.
#[derive(Clone, Debug)]
pub struct WayOut<'a> {
    /// The node whose data is kept.
    pub keeps: &'a Standing,
    /// The other.
    pub follows: &'a Standing,
    /// What the other gives up did not lead to what is kept.
    pub gives_up: bool,
    /// What to run on which node, in this order.
    pub commands: Vec<(&'a Standing, Command)>,
}

/// The ways out, one for each node that has something to keep.
#[must_use]
pub fn ways_out<'a>(one: &'a Standing, other: &'a Standing) -> Vec<WayOut<'a>> {
    let way = |keeps: &'a Standing, follows: &'a Standing| {
        let head = keeps.head.as_ref()?;
        let fits = follows.led_to(keeps) || follows.is_empty;
        let has_adopted = follows.adopted.as_ref().is_some_and(|adopted| {
            adopted.node == keeps.node
                && (keeps.heads.contains(&adopted.id) || keeps.line.contains(&adopted.id))
        });
        let mut commands = Vec::new();
        if !fits && !has_adopted {
            let (from, id) = (keeps.node.clone(), head.id);
            commands.push((follows, Command::Adopt { from, id }));
        } else if follows.is_primary {
            commands.push((follows, Command::Demote));
        }
        if !keeps.is_primary {
            let above = Some(follows.epoch).filter(|epoch| *epoch > keeps.epoch);
            commands.push((keeps, Command::Promote { above }));
        }
        Some(WayOut {
            keeps,
            follows,
            gives_up: !fits,
            commands,
        })
    };
    [way(one, other), way(other, one)]
        .into_iter()
        .flatten()
        .collect()
}
