//! What a receiver accepts, as the node that runs it decides.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::generation::Tree;

/// What a receiver accepts.
#[derive(Clone, Debug, Default)]
pub struct ServePolicy {
    /// Directories that targets must be in or below; empty means anywhere. A relative destination
    /// is taken from the first.
    pub roots: Vec<PathBuf>,
    /// Stands for a leading `~/` in a destination.
    pub home: Option<PathBuf>,
    /// The trees that can be pushed by name; into their roots nothing else can be pushed.
    pub trees: Vec<Tree>,
    /// Asked before a tree is received by its name.
    pub ready: Option<Ready>,
}

/// Says in one line why this node is not ready to receive, if it is not.
#[derive(Clone)]
pub struct Ready(pub Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}
