//! Generations as JSON, for programs, in the words of the record of the state.

use hasync_engine::generation::Generation;
use serde_json::{Value, json};

use crate::config::Tree;
use crate::state::record::{GenerationState, SCHEMA_VERSION};

/// What `log --json` prints.
pub(super) fn log(tree: &Tree, log: &[Generation]) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "tree": tree.name,
        "generations": log.iter().map(GenerationState::from).collect::<Vec<_>>(),
    })
}
