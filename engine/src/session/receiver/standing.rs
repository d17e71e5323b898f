//! A question in place of a push: how this node stands to a named tree, and whether it has the
//! service or another configuration. It changes nothing and takes no lock, so that it is answered
//! while a push runs.

use crate::error::Error;
use crate::node_id::NodeId;
use crate::policy::{ServePolicy, Service, Wish};
use crate::session::outbox::Outbox;
use crate::target::Found;
use crate::term::Term;
use crate::wire::{Ask, ToSender};

/// Tells what was asked; of a tree that the peer cannot push, nothing.
pub(super) fn tell(ask: &Ask, policy: &ServePolicy, outbox: &Outbox) -> Result<(), Error> {
    let standing = match policy.tree(&ask.tree) {
        Some(tree) => {
            let node_id = NodeId::of(&tree.state_dir)?;
            node_id.refuse_own(ask.node_id, &tree.state_dir)?;
            let found = Found::tree(tree, policy)?;
            Some(Box::new(tree.standing_at(found.root())?))
        }
        None => None,
    };
    let serves = match (&policy.service, ask.service) {
        (Some(Service(service)), Wish::Service | Wish::LastPush) if standing.is_some() => {
            service(ask.service)
        }
        _ => None,
    };
    let terms = match ask.service {
        Wish::Terms if standing.is_some() => terms(policy),
        _ => Vec::new(),
    };
    let mut writer = outbox.lock();
    writer.put_to_sender(&ToSender::Told {
        standing,
        serves,
        terms,
    })?;
    writer.flush()
}

/// What the peer may know of the configuration.
fn terms(policy: &ServePolicy) -> Vec<Term> {
    let is_its = |term: &&Term| match &term.tree {
        Some(tree) => policy.tree(tree).is_some(),
        None => true,
    };
    policy.terms.iter().filter(is_its).cloned().collect()
}
