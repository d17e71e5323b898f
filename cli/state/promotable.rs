//! Whether a node can take over with what it has of a tree, as far as its records and the peer's
//! last words tell. A pure rule.

use std::time::Duration;

use hasync_engine::escape;

use super::record::{DataWord, Doing, Facts, Relation, RoleWord};
use crate::times::long;

/// Whether it can, and why or why not.
pub(super) fn judge(facts: &Facts) -> (bool, String) {
    let (name, path) = (&facts.name, &facts.path);
    let refuse = |why: String| (false, why);
    if let Some(trouble) = &facts.unreadable {
        return refuse(trouble.line.clone());
    }
    let noted = facts.last_failure.as_ref();
    if let Some(trouble) = noted.filter(|trouble| trouble.doing == Doing::Looking) {
        return refuse(trouble.line.clone());
    }
    match facts.data.state {
        DataWord::Unmounted => return refuse(format!("{path} is not mounted")),
        DataWord::Emptied => return refuse(format!("{path} is empty")),
        DataWord::Missing => return refuse(format!("{path} is not there")),
        DataWord::Unrecorded => return refuse(format!("{path} has no record of {name} beside it")),
        DataWord::Interrupted => {
            return refuse(format!("a commit was cut off: run hasync recover {name}"));
        }
        DataWord::New if facts.part.role != RoleWord::Primary => {
            return refuse(format!(
                "this node has no generation of {name}: run hasync promote {name} on the node with \
                 the data"
            ));
        }
        DataWord::New | DataWord::Partial | DataWord::Complete => {}
    }
    if facts.part.role == RoleWord::Primary {
        return (true, "it is primary".to_owned());
    }
    if let Some(given_up) = &facts.part.given_up_for {
        let node = escape(given_up.node.as_bytes());
        return refuse(format!("its data is given up for that of {node}"));
    }
    let here = facts.data.head.as_ref().map(|head| &head.id);
    let peer = facts
        .peer
        .as_ref()
        .filter(|peer| peer.here_id.as_ref() == here);
    let ahead = peer.filter(|peer| peer.relation == Relation::Ahead);
    let diverged = peer.filter(|peer| peer.relation == Relation::Diverged);
    if let Some(peer) = ahead.or(diverged) {
        let (node, said) = (escape(peer.node.as_bytes()), &peer.said.time);
        let how = match peer.relation {
            Relation::Ahead => "had newer data",
            _ => "had data that did not come from what is here",
        };
        return refuse(format!("{node} {how} at {said}"));
    }
    let partial = match facts.data.state {
        DataWord::Partial => "; some entries are not as on the source",
        _ => "",
    };
    let lag = facts.data.lag_seconds.map(Duration::from_secs);
    (
        true,
        match (lag, facts.part.may_be_alone) {
            (_, true) => format!("it was primary, and may have data that is here alone{partial}"),
            (Some(lag), _) => format!("it was equal {} ago{partial}", long(lag)),
            (None, _) => format!("when it was equal is not known{partial}"),
        },
    )
}
