//! What failed, until it no longer stands: it is done, or the node is something else by now.

use std::collections::BTreeMap;

use hasync_engine::generation::{Epoch, Standing};
use serde::{Deserialize, Serialize};

use super::gather::part_of;
use super::record::{Doing, Moment, PeerState, Relation, RoleWord, Trouble};
use crate::config::{Config, Tree};
use crate::exit::{Exit, Failure};
use crate::memory::Memory;

/// A failure, and what the node was when it was noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    trouble: Trouble,
    mark: Mark,
}

/// What a node is to a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) role: RoleWord,
    pub(super) epoch: Epoch,
    pub(super) head_id: Option<String>,
    pub(super) given_up_for: Option<String>,
}

impl Noted {
    /// The failure, if it still stands for a node that is that now. Who came from whom is another
    /// question after each change of the lineage; whatever else fails does so until it is done, or
    /// until the node has another part. `is_asked_for`: this node serves, or may.
    pub(super) fn standing(&self, now: &Mark, is_asked_for: bool) -> Option<&Trouble> {
        let is_lineage = [Exit::Fenced, Exit::Diverged].map(|exit| exit as u8);
        let stands = match self.trouble.doing {
            Doing::Promoting => self.mark == *now && is_asked_for,
            Doing::Rejoining => self.mark == *now,
            _ if is_lineage.contains(&self.trouble.exit) => self.mark == *now,
            Doing::Pushing => now.role != RoleWord::Standby,
            Doing::Receiving => now.role != RoleWord::Primary,
            Doing::Looking => true,
        };
        stands.then_some(&self.trouble)
    }
}

/// Notes that something failed for a tree.
pub(crate) fn put(
    config: &Config,
    tree: &Tree,
    doing: Doing,
    failure: &Failure,
    next: String,
) -> Result<(), Failure> {
    let mark = part_of(config, tree)?;
    let trouble = Trouble {
        doing,
        exit: failure.exit as u8,
        line: failure.message.clone(),
        next,
        at: Moment::now(),
    };
    Memory::change(&config.node.state, |memory| {
        memory
            .troubles
            .insert(tree.name.clone(), Noted { trouble, mark });
    })
}

/// Notes that it went well: whatever failed before, or that alone.
pub(crate) fn clear(config: &Config, tree: &Tree, of: Option<Doing>) -> Result<(), Failure> {
    let state = &config.node.state;
    let is_over = |noted: &Noted| of.is_none_or(|doing| noted.trouble.doing == doing);
    if !Memory::recall(state)
        .troubles
        .get(&tree.name)
        .is_some_and(is_over)
    {
        return Ok(());
    }
    Memory::change(state, |memory| {
        memory.troubles.remove(&tree.name);
    })
}

/// What the peer said of a tree, as it stands to what is here. Whether it has the service is known
/// if it was asked.
pub(crate) fn peer_said(here: &Standing, there: &Standing, serves: Option<bool>) -> PeerState {
    let id = |standing: &Standing| standing.head.as_ref().map(|head| head.id.to_string());
    let (here_id, head_id) = (id(here), id(there));
    let relation = if here_id.is_none() || head_id.is_none() {
        Relation::Unknown
    } else if here_id == head_id {
        Relation::Equal
    } else if here.led_to(there) {
        Relation::Ahead
    } else if there.led_to(here) {
        Relation::Behind
    } else {
        Relation::Diverged
    };
    PeerState {
        node: there.node.clone(),
        said: Moment::now(),
        role: match (there.is_primary, &there.head) {
            (true, _) => RoleWord::Primary,
            (false, Some(_)) => RoleWord::Standby,
            (false, None) => RoleWord::New,
        },
        epoch: there.epoch,
        head_number: there.head.as_ref().map(|head| head.number),
        head_id,
        relation,
        here_id,
        serves,
        free_bytes: there.space.map(|space| space.free_bytes),
        total_bytes: there.space.map(|space| space.total_bytes),
    }
}

/// Remembers what the peer said of trees.
pub(crate) fn heard(config: &Config, said: BTreeMap<String, PeerState>) -> Result<(), Failure> {
    Memory::change(&config.node.state, |memory| memory.peers.extend(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(role: RoleWord, epoch: u64, head: &str) -> Mark {
        Mark {
            role,
            epoch: Epoch::from(epoch),
            head_id: Some(head.to_owned()),
            given_up_for: None,
        }
    }

    #[test]
    fn a_failure_stands_until_it_is_about_something_else() {
        use Doing::{Promoting, Pushing, Receiving, Rejoining};
        let primary = mark(RoleWord::Primary, 1, "a");
        let standby = mark(RoleWord::Standby, 1, "a");
        let promoted = mark(RoleWord::Primary, 2, "b");
        let moved = mark(RoleWord::Standby, 1, "b");
        let given_up = Mark {
            given_up_for: Some("c".to_owned()),
            ..standby.clone()
        };
        for (doing, exit, then, now, stands) in [
            (Pushing, Exit::Fenced, &primary, &primary, true),
            (Pushing, Exit::Fenced, &primary, &promoted, false),
            (Pushing, Exit::Fenced, &primary, &standby, false),
            (Pushing, Exit::NoSpace, &primary, &promoted, true),
            (Pushing, Exit::NoSpace, &primary, &standby, false),
            (Receiving, Exit::Diverged, &standby, &standby, true),
            (Receiving, Exit::Diverged, &standby, &given_up, false),
            (Receiving, Exit::Diverged, &standby, &moved, false),
            (Receiving, Exit::NoSpace, &standby, &moved, true),
            (Receiving, Exit::NoSpace, &standby, &promoted, false),
            (Promoting, Exit::Fenced, &standby, &promoted, false),
            (Promoting, Exit::Fenced, &standby, &standby, true),
            (Rejoining, Exit::Diverged, &primary, &primary, true),
            (Rejoining, Exit::Diverged, &primary, &standby, false),
        ] {
            let trouble = Trouble {
                doing,
                exit: exit as u8,
                line: String::new(),
                next: String::new(),
                at: Moment::of(0),
            };
            let noted = Noted {
                trouble,
                mark: then.clone(),
            };
            let found = noted.standing(now, true);
            assert_eq!(found.is_some(), stands, "{noted:?} {now:?}");
            // Whether the service is here decides about promotions alone.
            let elsewhere = noted.standing(now, false).is_some();
            assert_eq!(elsewhere, stands && doing != Promoting, "{noted:?} {now:?}");
        }
    }
}
