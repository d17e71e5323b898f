//! What of a node's configuration is to be the same on both nodes, told to the peer in sums: it
//! learns where the two differ, and not what either has.

use serde::{Deserialize, Serialize};

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term {
    /// The tree that it is about, or none.
    pub tree: Option<String>,
    /// Its name, such as `filters`, or `[role] address`.
    pub key: String,
    /// Of its value.
    pub sum: [u8; 8],
}

impl Term {
    /// The term for a value, as both nodes write it.
    #[must_use]
    pub fn new(tree: Option<String>, key: String, value: &[u8]) -> Self {
        let mut sum = [0; 8];
        sum.copy_from_slice(&blake3::hash(value).as_bytes()[..8]);
        Term { tree, key, sum }
    }
}
