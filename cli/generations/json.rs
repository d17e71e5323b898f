//! Generations and trees as JSON, for programs. Fields are only ever added; what changes meaning
//! gets a new `schema_version`. Times are RFC 3339 in UTC, and seconds since 1970 beside them.

use hasync_engine::generation::{AsOf, Generation, GenerationKind, NodeRole};
use serde_json::{Value, json};

use super::status::{Look, State};
use crate::config::{Config, Tree};
use crate::memory::Course;
use crate::times::rfc3339_of_ns;

/// The version of everything below.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// What `status --json` prints.
pub(super) fn status(config: &Config, looks: &[(&Tree, Look)], failed: Option<&Course>) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "node": config.node.name,
        "failed_cycle": failed.map(|cycle| json!({
            "began_seconds": cycle.began,
            "exit": cycle.exit,
            "line": cycle.line,
        })),
        "trees": looks.iter().map(|(tree, look)| one(tree, look)).collect::<Vec<_>>(),
    })
}

fn one(tree: &Tree, look: &Look) -> Value {
    let status = &look.status;
    let staged = status.staged.iter();
    json!({
        "name": tree.name,
        "path": tree.dir().to_string_lossy(),
        "is_group": tree.is_group(),
        "role": role(status.role),
        "epoch": status.epoch,
        "state": state(look.state),
        "sentence": super::sentence(look),
        "head": status.head.as_ref().map(generation),
        "as_of": status.as_of.as_ref().map(as_of),
        "lag_seconds": look.lag.map(|lag| lag.as_secs()),
        "lossy": super::status::lossy_words(tree),
        "unacknowledged": status.open.map(|id| id.to_string()),
        "staged": staged
            .map(|left| json!({ "name": left.name, "is_running": left.is_running }))
            .collect::<Vec<_>>(),
        "given_up_for": status.adopted.as_ref().map(|adopted| json!({
            "node": adopted.node,
            "id": adopted.id.to_string(),
        })),
        "rubbish": status.rubbish.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "pinned": status.pinned.iter().map(|pinned| json!({
            "id": pinned.generation.id.to_string(),
            "number": pinned.generation.number,
            "path": pinned.path.to_string_lossy(),
        })).collect::<Vec<_>>(),
        "undo": status.undo.iter().map(generation).collect::<Vec<_>>(),
    })
}

/// What `log --json` prints.
pub(super) fn log(tree: &Tree, log: &[Generation]) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "tree": tree.name,
        "generations": log.iter().map(generation).collect::<Vec<_>>(),
    })
}

fn generation(generation: &Generation) -> Value {
    let counts = &generation.counts;
    json!({
        "id": generation.id.to_string(),
        "number": generation.number,
        "epoch": generation.epoch,
        "kind": kind(generation.kind),
        "node": generation.node,
        "parent": generation.parent.map(|id| id.to_string()),
        "state_of": generation.state.to_string(),
        "made": rfc3339_of_ns(generation.made_ns),
        "made_seconds": generation.made_ns / 1_000_000_000,
        "as_of": generation.as_of.as_ref().map(as_of),
        "placed": counts.placed,
        "removed": counts.removed,
        "attributes": counts.attributes,
        "partial": generation.partial.as_ref().map(|partial| json!({
            "count": partial.count,
            "lines": partial.lines,
        })),
    })
}

fn as_of(as_of: &AsOf) -> Value {
    json!({
        // By the primary's clock, then by that of this node.
        "time": rfc3339_of_ns(as_of.source_ns),
        "seconds": as_of.source_ns / 1_000_000_000,
        "here_time": rfc3339_of_ns(as_of.here_ns),
        "here_seconds": as_of.here_ns / 1_000_000_000,
    })
}

/// The word for a role.
pub(super) fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::New => "new",
        NodeRole::Primary => "primary",
        NodeRole::Standby => "standby",
    }
}

/// The word for how a generation came about.
pub(super) fn kind(kind: GenerationKind) -> &'static str {
    match kind {
        GenerationKind::Push => "push",
        GenerationKind::Undo => "undo",
        GenerationKind::Promotion => "promotion",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::New => "new",
        State::Interrupted => "interrupted",
        State::Partial => "partial",
        State::Complete => "complete",
    }
}
