//! A question in place of a push: how this node stands to a named tree, and whether it has the
//! service. It changes nothing and takes no lock, so that it is answered while a push runs.

use crate::error::Error;
use crate::node_id::NodeId;
use crate::policy::{ServePolicy, Service, Wish};
use crate::session::outbox::Outbox;
use crate::target::Found;
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
        (Some(Service(service)), wish) if wish != Wish::Nothing && standing.is_some() => {
            service(wish)
        }
        _ => None,
    };
    let mut writer = outbox.lock();
    writer.put_to_sender(&ToSender::Told { standing, serves })?;
    writer.flush()
}
