//! A push of a tree with a name: whether it may be received, and what its generation says.

use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::fs::Root;
use crate::generation::{
    AsOf, Claim, Generation, GenerationCounts, GenerationId, Held, NodeId, Partial, SessionLock,
    Tree,
};
use crate::path::Shown;
use crate::policy::ServePolicy;
use crate::session::outbox::Outbox;
use crate::target::Found;
use crate::wire::ToSender;

/// The named tree that is being received.
pub(super) struct Named {
    pub(super) tree: Tree,
    claim: Claim,
    /// As of when the source is being scanned.
    as_of: AsOf,
    _session: SessionLock,
}

impl Named {
    /// Decides whether the push may go on, after telling the sender how this node stands. Gives
    /// the place of the tree too.
    pub(super) fn begin(
        claim: Claim,
        dry_run: bool,
        policy: &ServePolicy,
        outbox: &Outbox,
    ) -> Result<(Self, Found), Error> {
        claim.check()?;
        let as_of = AsOf::seen(claim.now_ns, claim.now_ns);
        let name = &claim.tree;
        let tree = policy.tree(name).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!(
                    "the standby has no tree named {name} for this key; add it to the hasync.toml \
                     there, or its directory to the roots of hasync serve (and its name to --tree)"
                ),
            )
        })?;
        // Before any lock: if it is this node, it holds them itself.
        let node_id = NodeId::of(&tree.state_dir)?;
        node_id.refuse_own(claim.node_id, &tree.state_dir)?;
        if let Some(ready) = policy.ready.as_ref().filter(|_| !claim.compares) {
            (ready.0)().map_err(|why| Error::new(ErrorKind::Locked, why))?;
        }
        // Where the tree is, is settled here for the whole push.
        let found = Found::tree(&tree, policy)?;
        let mut held = tree.hold_at(found.root())?;
        let session = held.node.lock_session()?;
        if dry_run {
            held.refuse_interrupted(&tree)?;
        } else {
            held.recover(&tree)?;
        }
        let data = held.data()?;
        claim.believe(&held, data.as_ref())?;
        let root = Shown(tree.root.as_os_str().as_encoded_bytes());
        if data.is_none()
            && let Some(received) = held.node.record().received
        {
            let state_dir = tree.state_dir.display();
            return Err(Error::new(
                ErrorKind::FileIo,
                format!(
                    "tree {name} received generation {received} before, but {root} on the standby \
                     holds no record of any: is its file system mounted? if it was replaced on \
                     purpose, remove {state_dir}/trees/{name} there"
                ),
            ));
        }
        {
            let standing = held.node.standing(&tree, node_id, data.as_ref());
            let mut writer = outbox.lock();
            writer.put_to_sender(&ToSender::Standing(Box::new(standing)))?;
        }
        if !claim.compares {
            claim.allow(&held.node, data.as_ref())?;
        }
        drop(held);
        let named = Named {
            tree,
            claim,
            as_of,
            _session: session,
        };
        Ok((named, found))
    }

    /// Takes the locks for the commit to the tree in `root`, and makes sure that the push may still
    /// be received: this node may have been promoted meanwhile.
    pub(super) fn hold(
        &self,
        root: Option<&Arc<Root>>,
    ) -> Result<(Held, Option<Generation>), Error> {
        let mut held = self.tree.hold_at(root)?;
        held.lock_files(&self.tree)?;
        let data = held.data()?;
        self.claim.allow(&held.node, data.as_ref())?;
        Ok((held, data))
    }

    /// Whether that generation led to the sender's: one that was given up did not.
    pub(super) fn leads_from(&self, id: GenerationId) -> bool {
        self.claim.leads_from(id)
    }

    /// As of when the source was like this; nobody can tell if there were problems.
    pub(super) fn as_of(&self, problems: &Partial) -> Option<AsOf> {
        (problems.count == 0).then_some(self.as_of)
    }

    /// The generation that the push makes of the tree, which was `own` before.
    pub(super) fn generation(
        &self,
        own: Option<&Generation>,
        counts: GenerationCounts,
        problems: Partial,
    ) -> Result<Generation, Error> {
        let as_of = self.as_of(&problems);
        let partial = (problems.count > 0).then_some(problems);
        self.claim
            .generation(&self.tree, own, as_of, counts, partial)
    }
}
