//! A push of a tree with a name: whether it may be received, and what its generation says.

use std::sync::Arc;

use crate::attributes::Scope;
use crate::clock::{AsOf, now_ns};
use crate::error::{Error, ErrorKind};
use crate::fs::{Alike, Root};
use crate::generation::{Held, SessionLock, Tree};
use crate::lineage::claim::{Claim, Made};
use crate::lineage::generation::{Generation, GenerationCounts, Partial};
use crate::lineage::record::Spent;
use crate::lineage::rules::{Data, Equal};
use crate::node_id::NodeId;
use crate::options::Options;
use crate::path::Shown;
use crate::policy::ServePolicy;
use crate::session::outbox::Outbox;
use crate::target::Found;
use crate::wire::ToSender;

/// The named tree that is being received.
pub(super) struct Named {
    pub(super) tree: Tree,
    /// Nothing was known of the tree here before.
    pub(super) is_first: bool,
    claim: Claim,
    /// The time at which the scan of the source began, by both clocks.
    as_of: AsOf,
    /// Nothing was in it when the push began.
    is_empty: bool,
    alike: Option<Arc<Alike>>,
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
        let session = tree.lock_session()?;
        let held = if dry_run {
            let held = tree.hold_at(found.root(), None)?;
            held.refuse_interrupted(&tree)?;
            held
        } else {
            tree.hold_whole_at(found.root(), None)?
        };
        claim.believe(held.view())?;
        if held.has_had(claim.intended)? {
            return Err(claim.not_new());
        }
        refuse_unseen(&tree, &held)?;
        {
            let standing = held.standing(&tree, tree.me()?);
            let mut writer = outbox.lock();
            writer.put_to_sender(&ToSender::Standing(Box::new(standing)))?;
        }
        let is_empty = held.is_empty();
        if !claim.compares {
            let received = held.view().receives(&claim, is_empty);
            received.map_err(|why| why.told(&claim, held.view()))?;
        }
        let is_first = held.view().heads().is_empty();
        drop(held);
        let named = Named {
            tree,
            is_first,
            claim,
            as_of,
            is_empty,
            alike: None,
            _session: session,
        };
        Ok((named, found))
    }

    /// Takes the locks for the commit to the tree in `root`, and makes sure that the push may still
    /// be received: this node may have been promoted meanwhile.
    pub(super) fn hold(&self, root: Option<&Arc<Root>>) -> Result<Held, Error> {
        let held = self.tree.hold_at(root, self.tree.lock_files()?)?;
        let received = held.view().receives(&self.claim, self.is_empty);
        received.map_err(|why| why.told(&self.claim, held.view()))?;
        Ok(held)
    }

    /// What is known of its attributes from before.
    pub(super) fn remembered(&mut self, scope: Scope, options: &Options) -> Option<Arc<Alike>> {
        self.alike = self.tree.remembered(scope, options);
        self.alike.clone()
    }

    /// Keeps what has been found of them.
    pub(super) fn remember(&self) {
        self.tree.remember(self.alike.as_deref());
    }

    /// The name of the sending node.
    pub(super) fn sender(&self) -> &str {
        &self.claim.node
    }

    /// What its clock showed when it began, in seconds since 1970.
    pub(super) fn source_now_s(&self) -> i64 {
        self.claim.now_ns.div_euclid(1_000_000_000)
    }

    /// What the push leaves of the head if it found nothing to change: what that is then, and
    /// whether it has to be noted. `None` if a generation has to be made all the same.
    pub(super) fn equal(&self, held: &Held, problems: &Partial) -> Option<(Generation, bool)> {
        let made = Made {
            is_group: self.tree.is_group(),
            as_of: self.as_of(problems),
            now_ns: now_ns(),
        };
        match held.view().equal_to(&self.claim) {
            Equal::Stays => held.data().map(|head| (head.clone(), false)),
            Equal::HandedOn(head, own) => Some((self.claim.handed_on(head, own, made), true)),
            Equal::Made => None,
        }
    }

    /// That generation is beside the data now.
    pub(super) fn received(&self, held: &mut Held, head: &Generation) -> Result<(), Error> {
        held.received(head, self.claim.led())
    }

    /// The time at which the source was like this; with problems nobody can tell.
    pub(super) fn as_of(&self, problems: &Partial) -> Option<AsOf> {
        (problems.count == 0).then_some(self.as_of)
    }

    /// How far the primary's clock is ahead of this node's.
    pub(super) fn peer_ahead_ns(&self) -> i64 {
        self.as_of.source_ns.saturating_sub(self.as_of.here_ns)
    }

    /// The generation that the push makes of the tree.
    pub(super) fn generation(
        &self,
        held: &Held,
        counts: GenerationCounts,
        problems: Partial,
    ) -> Result<Generation, Error> {
        let made = Made {
            is_group: self.tree.is_group(),
            as_of: self.as_of(&problems),
            now_ns: now_ns(),
        };
        let partial = (problems.count > 0).then_some(problems);
        let own = held.view().head();
        let made = self.claim.generation(own, made, counts, partial);
        made.ok_or_else(|| self.tree.spent(Spent("number")))
    }
}

/// Refuses a tree whose data this node has received and cannot see. One that was emptied, where it
/// was, has nothing to lose.
fn refuse_unseen(tree: &Tree, held: &Held) -> Result<(), Error> {
    let what = match held.finds() {
        Data::Here | Data::Emptied => return Ok(()),
        Data::NotMounted => "is not a file system of its own any more",
        Data::NoHead => "holds no record of any",
    };
    let (name, state_dir) = (&tree.name, tree.state_dir.display());
    let root = Shown(tree.root.as_os_str().as_encoded_bytes());
    Err(Error::new(
        ErrorKind::FileIo,
        format!(
            "tree {name} was received before, but {root} on the standby {what}: is its file system \
             mounted? if it was replaced on purpose, remove {state_dir}/trees/{name} there"
        ),
    ))
}
