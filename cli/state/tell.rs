//! What a tree's state comes to: one condition, how bad that is, one sentence and one next step.
//! A pure rule about the record: whoever tells a state tells this.

use std::time::Duration;

use hasync_engine::escape;
use serde::{Deserialize, Serialize};

use super::record::{DataWord, Doing, Facts, KindWord, PeerState, RoleWord, Trouble};
use crate::exit::Exit;
use crate::times::long;

/// Of all that can be said of a tree, what has to be known first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// Its records cannot be read.
    Unreadable,
    Unmounted,
    Emptied,
    Unrecorded,
    Interrupted,
    /// Something failed, and still stands.
    Failing,
    /// Its data is given up for the peer's.
    GivenUp,
    /// It was undone on the standby.
    Undone,
    /// It was promoted or demoted, and the service has not followed yet.
    Moving,
    /// The record and the test of the role do not fit.
    Mismatch,
    Partial,
    /// Neither sent nor received.
    #[default]
    New,
    /// What the primary has was not pushed yet.
    Unsent,
    /// This standby was primary until it broke off.
    BrokeOff,
    /// This standby was primary, and handed over.
    HandedOver,
    /// When it was equal is known, how long ago that is not.
    Ageless,
    Equal,
}

/// How bad something is, in the order in which it outranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    Warning,
    #[default]
    Unknown,
    Critical,
}

/// A state in words.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) condition: Condition,
    /// The lag apart: how much of that is too much, whoever asks decides.
    pub(crate) level: Level,
    pub(crate) sentence: String,
    pub(crate) next: String,
    /// Whether this node can take over with what it has.
    pub(crate) promotable: bool,
    pub(crate) promotable_reason: String,
}

/// Where nothing is wrong.
pub(crate) const NOTHING: &str = "nothing needs to be done";

impl Told {
    /// Of a tree on the node of that name.
    pub(crate) fn of(facts: &Facts, node: &str) -> Self {
        let condition = Condition::of(facts);
        let (promotable, reason) = super::promotable::judge(facts);
        Told {
            condition,
            level: condition.level(facts),
            sentence: sentence(facts, condition),
            next: next(facts, condition, node),
            promotable,
            promotable_reason: reason,
        }
    }
}

impl Condition {
    fn of(facts: &Facts) -> Self {
        let (part, data) = (&facts.part, &facts.data);
        let head = data.head.as_ref();
        let is_undo = head.is_some_and(|head| head.kind == KindWord::Undo);
        match data.state {
            _ if facts.unreadable.is_some() => Condition::Unreadable,
            DataWord::Unmounted => Condition::Unmounted,
            DataWord::Emptied | DataWord::Missing => Condition::Emptied,
            DataWord::Unrecorded => Condition::Unrecorded,
            DataWord::Interrupted => Condition::Interrupted,
            _ if facts.last_failure.is_some() => Condition::Failing,
            _ if part.given_up_for.is_some() => Condition::GivenUp,
            _ if is_undo && part.role == RoleWord::Standby => Condition::Undone,
            _ if part.is_moving => Condition::Moving,
            _ if part.role_mismatch => Condition::Mismatch,
            DataWord::Partial => Condition::Partial,
            _ if part.role == RoleWord::New => Condition::New,
            _ if part.is_unsent => Condition::Unsent,
            _ => match part.handed_over {
                Some(true) => Condition::HandedOver,
                Some(false) => Condition::BrokeOff,
                None if data.lag_seconds.is_none() => Condition::Ageless,
                None => Condition::Equal,
            },
        }
    }

    fn level(self, facts: &Facts) -> Level {
        let of = |trouble: &Option<Trouble>| trouble.as_ref().map_or(Level::Ok, level_of);
        match self {
            Condition::Unreadable => of(&facts.unreadable).max(Level::Unknown),
            Condition::Unmounted
            | Condition::Emptied
            | Condition::Unrecorded
            | Condition::Interrupted => Level::Critical,
            Condition::Failing => of(&facts.last_failure),
            Condition::GivenUp | Condition::Undone | Condition::Mismatch | Condition::Partial => {
                Level::Warning
            }
            Condition::New | Condition::Ageless => Level::Unknown,
            Condition::Unsent if facts.data.lag_seconds.is_none() => Level::Unknown,
            Condition::Moving
            | Condition::Unsent
            | Condition::BrokeOff
            | Condition::HandedOver
            | Condition::Equal => Level::Ok,
        }
    }
}

/// How bad a failure is by itself. What the next cycle may find mended shows by the lag.
pub(crate) fn level_of(trouble: &Trouble) -> Level {
    let is = |exits: &[Exit]| exits.iter().any(|exit| *exit as u8 == trouble.exit);
    if is(&[
        Exit::Fenced,
        Exit::Diverged,
        Exit::NoSpace,
        Exit::DeleteLimit,
        Exit::FileIo,
        Exit::Config,
    ]) {
        Level::Critical
    } else if is(&[
        Exit::Signal,
        Exit::Stream,
        Exit::Timeout,
        Exit::Unreachable,
        Exit::Locked,
        Exit::Vanished,
    ]) {
        Level::Ok
    } else {
        Level::Warning
    }
}

/// Role and state of a tree in a sentence.
fn sentence(facts: &Facts, condition: Condition) -> String {
    let core = core(facts, condition);
    if matches!(condition, Condition::New | Condition::Unreadable) {
        return core;
    }
    let part = &facts.part;
    let head = facts.data.head.as_ref();
    let head = head.map_or_else(
        || "no generation".to_owned(),
        |head| {
            let node = escape(head.node.as_bytes());
            format!("generation {} of {node}", head.shown())
        },
    );
    let who = format!("{}, epoch {}, {head}", part.role, part.epoch);
    match condition {
        Condition::Failing | Condition::Partial | Condition::Mismatch | Condition::Unsent => {
            format!("{who}; {core}; {}", equal(facts))
        }
        _ => format!("{who}; {core}"),
    }
}

/// What the condition is, in words.
pub(crate) fn core(facts: &Facts, condition: Condition) -> String {
    let (name, path) = (&facts.name, &facts.path);
    match condition {
        Condition::Unreadable => of_trouble(facts.unreadable.as_ref()),
        Condition::Unmounted => {
            format!("{path} is not a file system of its own any more: its disk is not mounted")
        }
        Condition::Emptied if facts.data.state == DataWord::Missing => {
            format!("{path} is not there, and this node has had data of {name}")
        }
        Condition::Emptied => format!("{path} is empty, and this node has had data of {name}"),
        Condition::Unrecorded => format!(
            "{path} has no record of {name} beside it (.hasync), and this node has had data of it"
        ),
        Condition::Interrupted => {
            "a commit was cut off and the tree may be a mixture: run hasync recover before \
             anything reads it"
                .to_owned()
        }
        Condition::Failing => of_trouble(facts.last_failure.as_ref()),
        Condition::GivenUp => {
            let given_up = facts.part.given_up_for.as_ref();
            given_up.map_or_else(String::new, |to| {
                let (id, node) = (&to.id, escape(to.node.as_bytes()));
                format!(
                    "that is given up for generation {id} of {node}, whose next push is received"
                )
            })
        }
        Condition::Undone => {
            let from = facts.data.undone_from.as_ref();
            let node = from.map_or("the other node".into(), |from| escape(from.node.as_bytes()));
            format!(
                "that is by an undo here: the mirror stands still, the next push of {node} is \
                     refused (81)"
            )
        }
        Condition::Moving if facts.part.role == RoleWord::Primary => {
            "it was promoted just now, and by [role] the service is not here yet".to_owned()
        }
        Condition::Moving => {
            "it was demoted just now, and by [role] the service is still here".to_owned()
        }
        Condition::Mismatch if facts.part.role == RoleWord::Primary => format!(
            "{name} is recorded as primary's here and receives nothing, and by [role] this node \
             does not serve"
        ),
        Condition::Mismatch => format!(
            "{name} is recorded as standby's here and is not pushed, and by [role] this node serves"
        ),
        Condition::Partial => {
            let partial = facts
                .data
                .head
                .as_ref()
                .and_then(|head| head.partial.as_ref());
            let count = partial.map_or(0, |partial| partial.count);
            let first = partial.and_then(|partial| partial.lines.first());
            let first = first.map_or_else(String::new, |line| {
                format!(", first: {}", escape(line.as_bytes()))
            });
            let entries = if count == 1 {
                "entry is"
            } else {
                "entries are"
            };
            format!("{count} {entries} not as on the source{first}")
        }
        Condition::New => "nothing was sent or received yet".to_owned(),
        Condition::Unsent => {
            let kind = facts.data.head.as_ref().map(|head| head.kind);
            match kind {
                Some(KindWord::Promotion) => "it was promoted, and has not pushed since",
                Some(KindWord::Undo) => "that is by an undo here, and not pushed yet",
                _ => "it has not pushed to the end yet",
            }
            .to_owned()
        }
        Condition::BrokeOff | Condition::HandedOver | Condition::Ageless | Condition::Equal => {
            equal(facts)
        }
    }
}

fn of_trouble(trouble: Option<&Trouble>) -> String {
    let Some(trouble) = trouble else {
        return String::new();
    };
    let what = match trouble.doing {
        Doing::Looking => "",
        Doing::Pushing => "the last push failed: ",
        Doing::Receiving => "the last push to this node was refused: ",
        Doing::Promoting => "it was not promoted: ",
        Doing::Rejoining => "it does not follow by itself: ",
    };
    format!("{what}{}", escape(trouble.line.as_bytes()))
}

/// When both nodes were equal.
fn equal(facts: &Facts) -> String {
    let data = &facts.data;
    let lag = data
        .lag_seconds
        .map(|seconds| long(Duration::from_secs(seconds)));
    let Some(as_of) = &data.as_of else {
        return "it is not known when the standby was last equal".to_owned();
    };
    let (clock, ago) = (
        format!("as of {} by the primary's clock", as_of.time),
        lag.as_ref()
            .map_or_else(String::new, |lag| format!(", {lag} ago")),
    );
    match (facts.part.handed_over, lag) {
        (Some(true), _) => {
            format!("it handed over to the other node, which had all of it {clock}{ago}")
        }
        (Some(false), _) => format!(
            "it was primary and has received nothing since: what changed here after that may be \
             here alone, and the first push to it will keep that; the other node was equal \
             {clock}{ago}"
        ),
        (None, Some(_)) => format!("the standby is equal {clock}{ago}"),
        (None, None) => format!(
            "the standby was equal {clock}, how long ago is unknown because a clock was set"
        ),
    }
}

/// The other node goes on with what it has.
const MOVE: &str = "move the service: here `hasync mirror stop`, then on the other node `hasync \
                    mirror start`";

/// What to do now; what is to be typed stands between backticks.
fn next(facts: &Facts, condition: Condition, node: &str) -> String {
    let (name, path) = (&facts.name, &facts.path);
    let push = format!("`hasync push --tree {name}`");
    // What a former primary has is its own, and comes from the other node now.
    let maker = facts.data.head.as_ref().map(|head| head.node.as_str());
    let other = facts.peer.as_ref().map(|peer| peer.node.as_str());
    let maker = maker.filter(|maker| *maker != node).or(other);
    let maker = maker.map_or("the primary".into(), |maker| escape(maker.as_bytes()));
    let of = |trouble: &Option<Trouble>| {
        let next = trouble.as_ref().map(|trouble| trouble.next.clone());
        next.unwrap_or_else(|| NOTHING.to_owned())
    };
    let is_primary = facts.part.role == RoleWord::Primary;
    match condition {
        Condition::Unreadable => of(&facts.unreadable),
        Condition::Failing => of(&facts.last_failure),
        Condition::Unmounted => format!("`mount {path}`"),
        Condition::Emptied if is_primary => format!(
            "mount its disk, or correct its path; if the data is lost, {MOVE}; to empty the \
             standby too, `hasync push --tree {name} --no-brake`"
        ),
        Condition::Unrecorded if is_primary => {
            format!("mount its disk; if the data is lost, {MOVE}")
        }
        Condition::Emptied => {
            let is_standby = |peer: &PeerState| peer.role != RoleWord::Primary;
            let first = match facts.peer.as_ref().is_some_and(is_standby) {
                true => format!("on {maker} `hasync promote {name}`, then "),
                false => String::new(),
            };
            format!("mount its disk; if it is a new one, {first}on {maker} {push} fills it")
        }
        Condition::Unrecorded => format!(
            "mount its disk; if it is a new one, `rm -r {}`, then on the primary {push}",
            facts.records
        ),
        Condition::Interrupted => format!("`hasync recover {name}`"),
        Condition::GivenUp => {
            let given_up = facts.part.given_up_for.as_ref();
            let node = given_up.map_or(maker, |to| escape(to.node.as_bytes()));
            format!("on {node} {push}")
        }
        Condition::Undone => {
            let back = facts.data.undone_from.as_ref().map(|from| {
                let (node, id) = (escape(from.node.as_bytes()), &from.id);
                format!(
                    "; to take what {node} has, `hasync adopt {name} --from {node} --generation \
                     {id}`"
                )
            });
            format!(
                "to go on with what is here, `hasync promote {name}`{}",
                back.unwrap_or_default()
            )
        }
        Condition::Moving => format!("{NOTHING} while the cluster moves it"),
        Condition::Mismatch if is_primary => "`hasync mirror stop`".to_owned(),
        Condition::Mismatch => "`hasync mirror start`".to_owned(),
        Condition::Partial if is_primary => format!("mend that, then {push}"),
        Condition::Partial => format!("mend that, then on {maker} {push}"),
        Condition::New => format!("on the node with the data {push}"),
        Condition::Unsent => push,
        Condition::Ageless if is_primary => push,
        Condition::Ageless => format!("on {maker} {push}"),
        Condition::BrokeOff => {
            format!("{NOTHING}; to go on with what is here, `hasync promote {name}`")
        }
        Condition::HandedOver | Condition::Equal => NOTHING.to_owned(),
    }
}
