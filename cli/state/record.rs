//! What there is to say about a node and its trees, as one value. It is what `status --json` prints
//! and what `/run/hasync/status.json` holds; fields are only ever added, and what changes meaning
//! gets a new `schema_version`. Times are RFC 3339 in UTC, with seconds since 1970 beside them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hasync_engine::generation::{AsOf, Epoch, Generation, GenerationKind, NodeRole, Number};
use serde::{Deserialize, Serialize};

use super::tell::Told;
use crate::memory::{LastStop, now};
use crate::times::rfc3339_of_ns;

/// The version of everything below, and of what `log --json` prints.
pub(crate) const SCHEMA_VERSION: u32 = 2;

const NS: i64 = 1_000_000_000;

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeState {
    pub(crate) schema_version: u32,
    pub(crate) node: String,
    /// The file of the configuration that this is by.
    pub(crate) config: String,
    pub(crate) written: Written,
    /// By the test of `[role]`; `None` without one.
    pub(crate) role: Option<RoleSeen>,
    /// What keeps this node from doing anything: its configuration, or the test of its role.
    pub(crate) fault: Option<Trouble>,
    pub(crate) interval_seconds: u64,
    /// Beyond this lag `check` is critical.
    pub(crate) max_lag_seconds: u64,
    pub(crate) last_cycle: Option<LastCycle>,
    /// The end of the last cycle that pushed everything.
    pub(crate) last_success: Option<Moment>,
    /// How this node, as primary, was last stopped.
    pub(crate) last_stop: Option<LastStopState>,
    pub(crate) trees: Vec<TreeState>,
}

/// A tree on that node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TreeState {
    #[serde(flatten)]
    pub(crate) told: Told,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// What is known of a tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) is_group: bool,
    /// Where the records of it are that are not beside the data.
    pub(crate) records: String,
    /// What the standby need not keep, in the words of the configuration.
    pub(crate) lossy: Vec<String>,
    #[serde(flatten)]
    pub(crate) part: Part,
    #[serde(flatten)]
    pub(crate) data: DataState,
    #[serde(flatten)]
    pub(crate) past: Past,
    /// Why the records cannot be read; all else is empty then.
    pub(crate) unreadable: Option<Trouble>,
    /// What failed last, while it still stands.
    pub(crate) last_failure: Option<Trouble>,
    /// What the peer said last.
    pub(crate) peer: Option<PeerState>,
}

/// This node's part in mirroring a tree.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    /// By the record of promotions and demotions.
    pub(crate) role: RoleWord,
    /// By the test of `[role]`.
    pub(crate) role_by_test: Option<RoleWord>,
    /// The two do not fit.
    pub(crate) role_mismatch: bool,
    pub(crate) epoch: Epoch,
    /// It may have data that the other node has not.
    pub(crate) may_be_alone: bool,
    /// As standby that was primary and has received nothing since: whether its last push had taken
    /// all it had.
    pub(crate) handed_over: Option<bool>,
    /// Until then a refused first push after the promotion is no failure.
    pub(crate) held_until: Option<Moment>,
    /// They do not fit, and it was promoted or demoted a moment ago: the service follows.
    pub(crate) is_moving: bool,
    /// As primary: what it has was made by a promotion or an undo after the standby was last known
    /// to be equal.
    pub(crate) is_unsent: bool,
    /// As primary: asked for, and nothing heard of since.
    pub(crate) unacknowledged: Option<String>,
    pub(crate) given_up_for: Option<GivenUp>,
}

/// What its data is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DataState {
    pub(crate) state: DataWord,
    pub(crate) head: Option<GenerationState>,
    /// When both nodes were last equal.
    pub(crate) as_of: Option<AsOfState>,
    /// How long ago that was; `None` if the clocks do not tell.
    pub(crate) lag_seconds: Option<u64>,
    /// As standby whose last generation is an undo: the one before it that the other node has.
    pub(crate) undone_from: Option<GivenUp>,
}

/// What is kept beside the data, and the room that is left.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Past {
    pub(crate) bytes: Bytes,
    /// Of the file system that the tree is on.
    pub(crate) space: Option<SpaceState>,
    /// What `hasync undo` takes back, the last first.
    pub(crate) undo: Vec<GenerationState>,
    pub(crate) pinned: Vec<PinnedState>,
    /// What kept generations replaced though it was written here in between.
    pub(crate) written_here: Vec<WrittenState>,
    pub(crate) staged: Vec<StagedState>,
    /// Directories of what was kept once and could not be removed.
    pub(crate) rubbish: Vec<String>,
}

/// A point in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) time: String,
    pub(crate) seconds: u64,
}

/// When the record was written, by the clocks that tell how old it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    #[serde(flatten)]
    pub(crate) moment: Moment,
    since_boot_ns: i64,
    /// Which boot that was, in hexadecimal digits.
    boot: String,
}

/// The role by its test, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleSeen {
    pub(crate) role: RoleWord,
    pub(crate) why: String,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleWord {
    /// It has neither sent nor received.
    #[default]
    New,
    Primary,
    Standby,
    /// The test does not tell.
    Unknown,
}

/// What became of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataWord {
    /// It was neither sent nor received.
    #[default]
    New,
    /// Its file system is not mounted.
    Unmounted,
    /// There was some, and nothing is there.
    Emptied,
    /// There was some, and its directory is not there.
    Missing,
    /// There was some, and what is there has no record beside it.
    Unrecorded,
    /// A commit was cut off: it may be a mixture.
    Interrupted,
    /// Some of its entries are not as on the source.
    Partial,
    /// All of it is a generation.
    Complete,
}

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) doing: Doing,
    /// The exit code.
    pub(crate) exit: u8,
    pub(crate) line: String,
    /// What to do about it.
    pub(crate) next: String,
    pub(crate) at: Moment,
}

/// What a node was about when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Doing {
    /// Reading its configuration, its role or its records, or keeping these.
    Looking,
    /// Pushing the tree.
    Pushing,
    /// Receiving it.
    Receiving,
    /// Taking over.
    Promoting,
    /// Coming back as standby.
    Rejoining,
}

/// A cycle, or what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastCycle {
    pub(crate) began: Moment,
    pub(crate) took_ms: u64,
    pub(crate) sent_bytes: u64,
    /// Of the interval, in percent.
    pub(crate) share_percent: u64,
    pub(crate) exit: u8,
    pub(crate) is_good: bool,
    /// What was said about the worst that happened.
    pub(crate) line: Option<String>,
}

/// A stop, or what became of its last push.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LastStopState {
    pub(crate) began: Moment,
    /// By tree, why what changed since the last good push could not be sent.
    pub(crate) unsent: BTreeMap<String, String>,
}

/// A generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationState {
    pub(crate) id: String,
    pub(crate) number: Number,
    pub(crate) epoch: Epoch,
    pub(crate) kind: KindWord,
    pub(crate) node: String,
    pub(crate) parent: Option<String>,
    pub(crate) state_of: String,
    pub(crate) made: String,
    pub(crate) made_seconds: i64,
    pub(crate) as_of: Option<AsOfState>,
    pub(crate) placed: u64,
    pub(crate) removed: u64,
    pub(crate) attributes: u64,
    pub(crate) partial: Option<PartialState>,
}

/// How a generation came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KindWord {
    Push,
    Undo,
    Promotion,
}

/// What of it is not as on the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialState {
    pub(crate) count: u64,
    /// The first ones, in words.
    pub(crate) lines: Vec<String>,
}

/// When the source had that state, by the primary's clock and by that of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AsOfState {
    pub(crate) time: String,
    pub(crate) seconds: i64,
    pub(crate) here_time: String,
    pub(crate) here_seconds: i64,
}

/// The data here is given up for that, which the next push brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(crate) node: String,
    pub(crate) id: String,
}

/// Bytes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bytes {
    pub(crate) undo: u64,
    /// Until they are forgotten.
    pub(crate) kept: u64,
    pub(crate) staged: u64,
    pub(crate) unremovable: u64,
}

/// The room on a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceState {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// A generation whose replaced entries are kept until they are forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinnedState {
    pub(crate) id: String,
    pub(crate) number: Number,
    pub(crate) node: String,
    /// Where they are.
    pub(crate) path: String,
}

/// Entries that a generation replaced though they were written here since the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WrittenState {
    pub(crate) id: String,
    pub(crate) number: Number,
    pub(crate) count: u64,
    /// The first ones, below the root.
    pub(crate) paths: Vec<String>,
}

/// What a push has staged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StagedState {
    pub(crate) name: String,
    pub(crate) is_running: bool,
}

/// What the peer said of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerState {
    pub(crate) node: String,
    pub(crate) said: Moment,
    pub(crate) role: RoleWord,
    pub(crate) epoch: Epoch,
    pub(crate) head_id: Option<String>,
    pub(crate) head_number: Option<Number>,
    /// How its data stood to what was here.
    pub(crate) relation: Relation,
    /// The head here then: under another one the relation is over.
    pub(crate) here_id: Option<String>,
    /// Whether it has the service, by its `[role]`.
    pub(crate) serves: Option<bool>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) total_bytes: Option<u64>,
}

/// How the peer's data stands to a node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Relation {
    /// It is the same generation.
    Equal,
    /// It came from what is here.
    Ahead,
    /// What is here came from it.
    Behind,
    /// Neither came from the other.
    Diverged,
    /// One of the two has no generation.
    Unknown,
}

impl NodeState {
    /// What it has become since it was written, of these trees or of all.
    pub(crate) fn age(&mut self, names: &[String]) {
        let age = self.written.age();
        self.trees
            .retain(|tree| names.is_empty() || names.contains(&tree.facts.name));
        for tree in &mut self.trees {
            let lag = tree.facts.data.lag_seconds;
            tree.facts.data.lag_seconds =
                lag.and_then(|lag| Some(lag.saturating_add(age?.as_secs())));
            tree.told = Told::of(&tree.facts, &self.node);
        }
    }

    /// What is known of the tree of this name.
    pub(super) fn tree(&self, name: &str) -> Option<&Facts> {
        let mut trees = self.trees.iter().map(|tree| &tree.facts);
        trees.find(|facts| facts.name == name)
    }

    /// Of a node of which nothing is known.
    pub(super) fn unknown(config: String, written: Written) -> Self {
        NodeState {
            schema_version: SCHEMA_VERSION,
            node: String::new(),
            config,
            written,
            role: None,
            fault: None,
            interval_seconds: 0,
            max_lag_seconds: 0,
            last_cycle: None,
            last_success: None,
            last_stop: None,
            trees: Vec::new(),
        }
    }
}

impl From<&LastStop> for LastStopState {
    fn from(stop: &LastStop) -> Self {
        LastStopState {
            began: Moment::of(stop.began),
            unsent: stop.unsent.clone(),
        }
    }
}

impl Moment {
    pub(crate) fn of(seconds: u64) -> Self {
        let ns = i64::try_from(seconds).unwrap_or(i64::MAX / NS);
        Moment {
            time: rfc3339_of_ns(ns.saturating_mul(NS)),
            seconds,
        }
    }

    pub(crate) fn now() -> Self {
        Moment::of(now())
    }
}

impl Written {
    pub(crate) fn now() -> Self {
        let now = AsOf::now();
        Written {
            moment: Moment::of(u64::try_from(now.here_ns / NS).unwrap_or(0)),
            since_boot_ns: now.since_boot_ns,
            boot: format!("{:032x}", u128::from_be_bytes(now.boot)),
        }
    }

    /// How old the record is; `None` if the clocks do not tell.
    pub(crate) fn age(&self) -> Option<Duration> {
        let here_ns = i64::try_from(self.moment.seconds).unwrap_or(0);
        let here_ns = here_ns.saturating_mul(NS);
        let written = AsOf {
            source_ns: here_ns,
            here_ns,
            since_boot_ns: self.since_boot_ns,
            boot: u128::from_str_radix(&self.boot, 16)
                .unwrap_or_default()
                .to_be_bytes(),
        };
        let age = written.lag_ns().and_then(|ns| u64::try_from(ns).ok());
        age.map(Duration::from_nanos)
    }
}

impl GenerationState {
    /// Number and the beginning of the identity.
    pub(crate) fn shown(&self) -> String {
        let id = self.id.get(..8).unwrap_or(&self.id);
        format!("{} ({id})", self.number)
    }
}

impl From<&Generation> for GenerationState {
    fn from(generation: &Generation) -> Self {
        let counts = &generation.counts;
        GenerationState {
            id: generation.id.to_string(),
            number: generation.number,
            epoch: generation.epoch,
            kind: generation.kind.into(),
            node: generation.node.clone(),
            parent: generation.parent.map(|id| id.to_string()),
            state_of: generation.state.to_string(),
            made: rfc3339_of_ns(generation.made_ns),
            made_seconds: generation.made_ns / NS,
            as_of: generation.as_of.as_ref().map(AsOfState::from),
            placed: counts.placed,
            removed: counts.removed,
            attributes: counts.attributes,
            partial: generation.partial.as_ref().map(|partial| PartialState {
                count: partial.count,
                lines: partial.lines.clone(),
            }),
        }
    }
}

impl From<&AsOf> for AsOfState {
    fn from(as_of: &AsOf) -> Self {
        AsOfState {
            time: rfc3339_of_ns(as_of.source_ns),
            seconds: as_of.source_ns / NS,
            here_time: rfc3339_of_ns(as_of.here_ns),
            here_seconds: as_of.here_ns / NS,
        }
    }
}

impl From<GenerationKind> for KindWord {
    fn from(kind: GenerationKind) -> Self {
        match kind {
            GenerationKind::Push => KindWord::Push,
            GenerationKind::Undo => KindWord::Undo,
            GenerationKind::Promotion => KindWord::Promotion,
        }
    }
}

impl fmt::Display for KindWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KindWord::Push => "push",
            KindWord::Undo => "undo",
            KindWord::Promotion => "promotion",
        })
    }
}

impl From<NodeRole> for RoleWord {
    fn from(role: NodeRole) -> Self {
        match role {
            NodeRole::New => RoleWord::New,
            NodeRole::Primary => RoleWord::Primary,
            NodeRole::Standby => RoleWord::Standby,
        }
    }
}

impl fmt::Display for RoleWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleWord::New => "new",
            RoleWord::Primary => "primary",
            RoleWord::Standby => "standby",
            RoleWord::Unknown => "unknown",
        })
    }
}
