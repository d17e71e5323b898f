//! Each push of a named tree remembers ACLs and attributes for the next one. Only speed depends on
//! that: a record that cannot be read is made again, one that cannot be kept is done without.

use std::sync::Arc;

use super::node::Node;
use super::tree::Tree;
use crate::attributes::Scope;
use crate::fs::Alike;
use crate::options::Options;

impl Tree {
    /// What is known from before. A dry run keeps nothing, and who compares by content asks for all
    /// there is.
    pub(crate) fn remembered(&self, scope: Scope, options: &Options) -> Option<Arc<Alike>> {
        if scope.is_empty() || options.dry_run || options.checksum {
            return None;
        }
        let node = Node::look(&self.state_dir, &self.name).ok()?;
        Some(Arc::new(Alike::new(node.remembered(), scope)))
    }

    /// Keeps what a push that has gone well has found.
    pub(crate) fn remember(&self, found: Option<&Alike>) {
        if let Some(news) = found.and_then(Alike::news)
            && let Ok(node) = Node::open(&self.state_dir, &self.name)
        {
            let _ = node.remember(&news);
        }
    }
}
