//! Nodes as they tell about themselves.

#![allow(clippy::unwrap_used)]
use crate::lineage::claim::Standing;
use crate::lineage::generation::{Generation, GenerationCounts, GenerationId, GenerationKind};
use crate::lineage::ordinal::Epoch;

pub(crate) fn id(n: u8) -> GenerationId {
    GenerationId::of_bytes([n; 16])
}

/// A node in an epoch, with the generations of these numbers as head, which is of that kind, and
/// as line.
pub(crate) fn standing(
    is_primary: bool,
    epoch: u64,
    (head, kind): (u8, GenerationKind),
    line: &[u8],
) -> Standing {
    let state = match kind {
        GenerationKind::Promotion => line.first().copied().unwrap_or(head),
        _ => head,
    };
    let generation = Generation {
        id: id(head),
        epoch: Epoch::from(epoch),
        number: u64::from(head).into(),
        node: "a".to_owned(),
        is_group: false,
        parent: None,
        kind,
        state: id(state),
        parent_state: None,
        made_ns: 0,
        as_of: None,
        counts: GenerationCounts::default(),
        partial: None,
    };
    let temp = tempfile::tempdir().unwrap();
    Standing {
        node: "a".to_owned(),
        node_id: crate::node_id::NodeId::of(temp.path()).unwrap(),
        is_primary,
        epoch: Epoch::from(epoch),
        heads: (head > 0).then(|| id(head)).into_iter().collect(),
        head: (head > 0).then_some(generation),
        space: None,
        is_empty: false,
        adopted: None,
        line: line.iter().map(|n| id(*n)).collect(),
    }
}
